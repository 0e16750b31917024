//! From what the user wrote to a plan: reads specs, resolves names, applies exclusions and scope.
//! Nothing is sent to a target here, but for the request that makes the neighbours of an interface
//! known where the user names them so.

use crate::segment::{self, Asking};
use crate::{discovery, engine_choice};
use portolan_catalog::{ports, reserved, services};
use portolan_model::{
    AddressSet, Depth, Discovery, EngineChoice, IoChoice, Pace, Plan, PortSet, Scope, Shard,
    Target, Text, Transport,
};
use portolan_net::{interface, resolve};
use portolan_targets::{
    InputError, NamedPorts, OutsideScope, PortNames, PortsError, Reserved, ScopeError, Spec,
    SpecError, apply_scope, authorized_scope, default_scope, parse_ports, parse_scope,
    read_boundaries, read_targets, summary,
};
use std::net::IpAddr;

/// What the user asked for, unread.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Targets, one spec each.
    pub targets: Vec<String>,
    /// Lists of targets.
    pub inputs: Vec<Source>,
    /// Exclusions, one spec each.
    pub exclude: Vec<String>,
    /// Lists of exclusions.
    pub exclude_inputs: Vec<Source>,
    /// On whose word.
    pub authority: Authority,
    /// Ports; `None`: the most worthwhile thousand of TCP, and those of known services of UDP.
    pub ports: Option<String>,
    /// Which transports are probed; `None`: TCP, and UDP where the ports say so.
    pub transports: Option<Transports>,
    /// Seed of the order.
    pub seed: u64,
    /// Part of the order.
    pub shard: Shard,
    /// Rates, retries and times.
    pub pace: Pace,
    /// How ports are probed; `None`: the best that this machine allows.
    pub engine: Option<EngineChoice>,
    /// How raw packets pass between this process and an interface.
    pub io: IoChoice,
    /// Whether hosts are looked for first; `None`: where more are named than are likely to be
    /// there.
    pub discovery: Option<Discovery>,
    /// Nothing may be sent, to whomever.
    pub dry_run: bool,
    /// How far to go.
    pub depth: Depth,
    /// TCP ports whose services get bytes although they act on whatever they are sent; as the user
    /// wrote them.
    pub ask_anyway: Option<String>,
    /// Local address to send from.
    pub source_address: Option<IpAddr>,
    /// Local port to send from.
    pub source_port: Option<u16>,
    /// Interface to send on.
    pub interface: Option<String>,
}

/// Which transports are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transports {
    /// Both.
    Both,
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
}

/// The content of a file or of standard input.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is called in messages.
    pub origin: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// On whose word a scan touches what it touches.
#[derive(Clone, Debug)]
pub enum Authority {
    /// Nobody's: only what the internet does not route.
    Local,
    /// The user's, with the reason given.
    Reason(String),
    /// A scope file's.
    ScopeFile(Source),
}

/// A plan and what the user should know of it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// Sentences for the user.
    pub notices: Vec<String>,
}

/// Why there is no plan. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A target or an exclusion.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A list of targets or of exclusions.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A host name.
    #[error("{source}; {what_next}", what_next = after_resolve(.source))]
    Resolve {
        /// Why.
        #[from]
        source: resolve::ResolveError,
    },
    /// The ports.
    #[error(transparent)]
    Ports(#[from] PortsError),
    /// The scope file.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// The scope file has expired.
    #[error("the scope {origin} expired on {expired}: nothing may be probed on its word; renew it")]
    ScopeExpired {
        /// The file.
        origin: String,
        /// When.
        expired: String,
    },
    /// Targets that no scope allows.
    #[error(transparent)]
    OutsideScope(#[from] OutsideScope),
    /// Ports that the scope does not allow.
    #[error(
        "the scope does not allow the ports {0}; leave them out, or have them added to the scope"
    )]
    PortsOutsideScope(PortSet),
    /// Exclusions took everything.
    #[error(
        "nothing is left to probe: {0} is excluded or reserved; check the exclusions and the scope"
    )]
    NothingLeft(String),
    /// The ports that were named are of the transport that is not probed.
    #[error("no {0} port is named; leave out --{0}, or name one, as in --ports {example}",
            example = if *.0 == Transport::Tcp { "T:80" } else { "U:53" })]
    NoPort(Transport),
    /// No target at all.
    #[error("no target is given; name one, as in `portolan scan 10.0.0.0/24`, or a list with -i")]
    NoTarget,
    /// The interfaces could not be read.
    #[error(transparent)]
    Interface(#[from] interface::InterfaceError),
    /// No such interface.
    #[error("there is no interface \"{name}\"; those of this machine are {known}")]
    UnknownInterface {
        /// As given.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// The source address is not this machine's.
    #[error("{address} is not an address of this machine; its addresses are {own}")]
    NotOwnAddress {
        /// As given.
        address: IpAddr,
        /// Those it has.
        own: String,
    },
    /// Raw packets were asked for, and this process may not use them.
    #[error("the syn engine cannot be used: {0}; or leave --engine out")]
    Packets(portolan_net::privilege::NoPackets),
    /// Hosts were to be looked for, which takes raw packets.
    #[error(
        "hosts are looked for by raw packets only, and this scan connects (`portolan doctor` tells \
         why); leave --discovery always out to ask every port of every host"
    )]
    DiscoveryByConnect,
    /// XDP sockets were asked for, which only raw packets pass.
    #[error(
        "only raw packets pass XDP sockets, and this scan connects (`portolan doctor` tells why); \
         leave --io xdp out, or use --engine syn where it can be used"
    )]
    FramesByConnect,
    /// The neighbours of an interface were named, and cannot be asked for.
    #[error(transparent)]
    Segment(#[from] segment::SegmentError),
    /// Raw packets need a block of source ports.
    #[error(
        "the syn engine sends from 256 source ports, the first a multiple of 256, and {port} is \
         none; give --source-port {near}, leave it out, or use --engine connect"
    )]
    SourceBlock {
        /// As given.
        port: u16,
        /// The next that is.
        near: u16,
    },
    /// The source address and the targets are of different families.
    #[error(
        "no target can be reached from {0}: they are of the other IP version; leave --source-ip \
         out, or give an address of theirs"
    )]
    SourceFamily(IpAddr),
}

/// How many of the ordered list are probed when no port is given.
const DEFAULT_TOP: &str = "top1000";
/// Ranges of this machine's addresses that a message names.
const OWN_SHOWN: usize = 16;

/// Makes the plan. Names are resolved, which may ask a name server.
pub async fn prepare(wish: Wish) -> Result<Prepared, PrepareError> {
    let mut notices = Vec::new();
    let names = port_names();
    let reserved = reserved_networks();
    // Everything that can be wrong without asking anybody comes first.
    let (specs, boundaries) = read_specs(&wish)?;
    let (tcp, udp) = select_ports(&wish, &names)?;
    let mut scope = scope_of(&wish.authority, &reserved, &names)?;
    check_source(&wish)?;
    let (tcp, udp) = both_in_scope(tcp, udp, &scope, wish.ports.is_some(), &mut notices)?;

    scope.denied.extend_from(&denied_by(boundaries).await?);
    let (wanted, targets) = resolve_targets(specs, &scope, &wish, &mut notices).await?;
    let scoped = apply_scope(&scope, &wanted);
    if !scoped.denied.is_empty() && !scoped.inside.is_empty() {
        notices.push(format!(
            "{} addresses are excluded or reserved and will not be probed: {}",
            scoped.denied.len(),
            summary(&scoped.denied, 3)
        ));
    }
    let addresses = scoped.inside_only()?;
    if addresses.is_empty() {
        return Err(PrepareError::NothingLeft(summary(&wanted, 3)));
    }
    let addresses = of_source_family(addresses, wish.source_address, &mut notices)?;
    let addresses = of_hosts(addresses, &mut notices);
    let engine = engine_choice::choose(wish.engine, wish.source_port)?;
    if !tcp.is_empty() {
        engine_choice::check_io(wish.io, engine)?;
    }
    let discovery = discovery::choose(wish.discovery, engine, addresses.len(), tcp.len())?;
    let ask_anyway = match &wish.ask_anyway {
        Some(text) => parse_ports(text, &port_names())?.tcp,
        None => PortSet::default(),
    };
    let plan = Plan {
        addresses,
        names: targets,
        tcp,
        udp,
        ask_anyway,
        seed: wish.seed,
        shard: wish.shard,
        engine,
        io: wish.io,
        discovery,
        pace: wish.pace,
        depth: wish.depth,
        source_address: wish.source_address,
        source_port: wish.source_port,
        interface: wish.interface,
        scope,
    };
    Ok(Prepared { plan, notices })
}

/// The TCP and UDP ports that the user means. Numbers without a transport are TCP ports, unless
/// UDP is asked for. Ports of devices that fail easily are probed only where they are named.
fn select_ports(wish: &Wish, names: &PortNames) -> Result<(PortSet, PortSet), PrepareError> {
    let Some(spec) = &wish.ports else {
        let tcp = parse_ports(DEFAULT_TOP, names)?.tcp;
        let listed: PortSet = ports::udp().iter().map(|it| it.port).collect();
        let known = services::udp_ports();
        let fragile = services::fragile_udp_ports();
        let all = PortSet::union_of([known.clone(), listed.without(&fragile)]);
        return Ok(match wish.transports {
            None => (tcp, known),
            Some(Transports::Both) => (tcp, all),
            Some(Transports::Tcp) => (tcp, PortSet::default()),
            Some(Transports::Udp) => (PortSet::default(), all),
        });
    };
    let chosen = parse_ports(spec, names)?;
    let all_udp = || PortSet::union_of([chosen.udp.clone(), chosen.unprefixed.clone()]);
    let (tcp, udp) = match wish.transports {
        None => (chosen.tcp.clone(), chosen.udp.clone()),
        Some(Transports::Both) => (chosen.tcp.clone(), all_udp()),
        Some(Transports::Tcp) => (chosen.tcp.clone(), PortSet::default()),
        Some(Transports::Udp) => (PortSet::default(), all_udp()),
    };
    match wish.transports {
        Some(Transports::Tcp) if tcp.is_empty() => Err(PrepareError::NoPort(Transport::Tcp)),
        Some(Transports::Udp) if udp.is_empty() => Err(PrepareError::NoPort(Transport::Udp)),
        _ => Ok((tcp, udp)),
    }
}

/// Ports of both transports, without those that the scope rules out where nobody named them.
fn both_in_scope(
    tcp: PortSet,
    udp: PortSet,
    scope: &Scope,
    named: bool,
    notices: &mut Vec<String>,
) -> Result<(PortSet, PortSet), PrepareError> {
    let allowed = |ports: &PortSet| match &scope.ports {
        Some(allowed) => ports.without(&ports.without(allowed)),
        None => ports.clone(),
    };
    // The UDP ports that nobody named may all be outside: then TCP alone is probed.
    let udp = if named { udp } else { allowed(&udp) };
    if tcp.is_empty() {
        let udp = ports_in_scope(udp, scope, named, notices)?;
        return Ok((tcp, udp));
    }
    let tcp = ports_in_scope(tcp, scope, named, notices)?;
    let udp = if udp.is_empty() {
        udp
    } else {
        ports_in_scope(udp, scope, named, notices)?
    };
    Ok((tcp, udp))
}

/// Without the addresses of attached networks that no host has, unless there is nothing else.
fn of_hosts(addresses: AddressSet, notices: &mut Vec<String>) -> AddressSet {
    let no_hosts = interface::attached()
        .map(|it| it.no_hosts())
        .unwrap_or_default();
    let left_out = addresses.intersection(&no_hosts);
    let rest = addresses.without(&left_out);
    if left_out.is_empty() || rest.is_empty() {
        return addresses;
    }
    notices.push(format!(
        "network and broadcast addresses are left out: {}",
        summary(&left_out, 3)
    ));
    rest
}

/// The plan of an earlier run with what may be touched now. A scope that nobody has given is
/// worked out again: this machine may be attached to other networks since. What the user or a
/// scope file allowed stays. What is never probed is denied in any case.
///
/// # Errors
/// When the plan names addresses that may not be probed any more, or nothing else.
pub fn current_scope(plan: &Plan) -> Result<Plan, PrepareError> {
    let reserved = reserved_networks();
    let attached = if is_default(&plan.scope, &reserved) {
        interface::attached()?.networks
    } else {
        AddressSet::new()
    };
    scope_now(plan, &reserved, &attached)
}

/// The plan of an earlier run with the engine that goes on: the one that is `wished` for, or else the
/// one it began with, where this process may use that, and connections elsewhere.
///
/// # Errors
/// When the engine that is wished for cannot be used.
pub fn current_engine(mut plan: Plan, wished: Option<EngineChoice>) -> Result<Plan, PrepareError> {
    let began_with = plan.engine;
    plan.engine = match (wished, began_with) {
        (None, EngineChoice::Connect) => EngineChoice::Connect,
        (wished, _) => engine_choice::choose(wished, plan.source_port)?,
    };
    Ok(plan)
}

/// Whether nobody gave this scope: it says nothing but networks, all the local ones among them.
fn is_default(scope: &Scope, reserved: &Reserved) -> bool {
    let Scope {
        allowed,
        denied: _,
        ports: None,
        rate: None,
        host_rate: None,
        owner: None,
        contact: None,
        reason: None,
        expires_unix_s: None,
    } = scope
    else {
        return false;
    };
    reserved.local.without(allowed).is_empty()
}

fn scope_now(
    plan: &Plan,
    reserved: &Reserved,
    attached: &AddressSet,
) -> Result<Plan, PrepareError> {
    let mut plan = plan.clone();
    if is_default(&plan.scope, reserved) {
        let now = default_scope(attached, reserved).allowed;
        plan.scope.allowed = plan.scope.allowed.intersection(&now);
    }
    plan.scope.denied.extend_from(&reserved.never);
    let planned = plan.addresses.clone();
    plan.addresses = apply_scope(&plan.scope, &planned).inside_only()?;
    // The order is that of the addresses the run began with.
    if plan.addresses == planned {
        Ok(plan)
    } else {
        let denied = planned.without(&plan.addresses);
        Err(PrepareError::NothingLeft(summary(&denied, 3)))
    }
}

fn reserved_networks() -> Reserved {
    Reserved {
        local: reserved::addresses(reserved::Usage::Local),
        never: reserved::addresses(reserved::Usage::Never),
    }
}

/// What to do about a name that was not resolved.
fn after_resolve(error: &resolve::ResolveError) -> &'static str {
    match error {
        resolve::ResolveError::TooMany { .. } => "name the networks that are meant instead",
        _ => "check the spelling and the resolver (`getent hosts NAME`), or give its address",
    }
}

/// The targets and what limits them.
fn read_specs(wish: &Wish) -> Result<(Vec<Spec>, Vec<Spec>), PrepareError> {
    let (mut specs, mut boundaries) = (Vec::new(), Vec::new());
    for text in &wish.targets {
        specs.push(Spec::parse(text)?);
    }
    for source in &wish.inputs {
        specs.extend(read_targets(&source.bytes, &source.origin)?);
    }
    for text in &wish.exclude {
        boundaries.push(Spec::parse_boundary(text)?);
    }
    for source in &wish.exclude_inputs {
        boundaries.extend(read_boundaries(&source.bytes, &source.origin)?);
    }
    if specs.is_empty() {
        return Err(PrepareError::NoTarget);
    }
    Ok((specs, boundaries))
}

/// The names and the list of the catalogue.
fn port_names() -> PortNames {
    let services = ports::service_names().iter().map(|service| {
        let named = NamedPorts {
            tcp: service.tcp.clone(),
            udp: service.udp.clone(),
        };
        (service.name.to_lowercase(), named)
    });
    PortNames {
        services: services.collect(),
        top_tcp: ports::tcp().iter().map(|listed| listed.port).collect(),
        top_udp: ports::udp().iter().map(|listed| listed.port).collect(),
    }
}

fn scope_of(
    authority: &Authority,
    reserved: &Reserved,
    names: &PortNames,
) -> Result<Scope, PrepareError> {
    match authority {
        Authority::Local => Ok(default_scope(&interface::attached()?.networks, reserved)),
        Authority::Reason(reason) => Ok(authorized_scope(reason, reserved)),
        Authority::ScopeFile(source) => {
            let text = String::from_utf8_lossy(&source.bytes);
            let scope = parse_scope(&text, &source.origin, reserved, names)?;
            let now = jiff::Timestamp::now().as_second();
            if let Some(expires) = scope.expires_unix_s.filter(|expires| *expires <= now) {
                let expired = jiff::Timestamp::from_second(expires)
                    .map_or_else(|_| expires.to_string(), |moment| moment.to_string());
                let origin = source.origin.clone();
                return Err(PrepareError::ScopeExpired { origin, expired });
            }
            Ok(scope)
        }
    }
}

fn check_source(wish: &Wish) -> Result<(), PrepareError> {
    if wish.source_address.is_none() && wish.interface.is_none() {
        return Ok(());
    }
    let attached = interface::attached()?;
    if let Some(name) = &wish.interface
        && !attached
            .interfaces
            .iter()
            .any(|it| it.name.as_str() == name)
    {
        let known: Vec<&str> = attached
            .interfaces
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        let known = known.join(", ");
        return Err(PrepareError::UnknownInterface {
            name: name.clone(),
            known,
        });
    }
    if let Some(address) = wish.source_address
        && !attached.own.contains(address)
    {
        let own = summary(&attached.own, OWN_SHOWN);
        return Err(PrepareError::NotOwnAddress { address, own });
    }
    Ok(())
}

/// Ports that the scope rules out are an error where the user named them, and left out with a
/// word where they came from the list.
fn ports_in_scope(
    wanted: PortSet,
    scope: &Scope,
    named: bool,
    notices: &mut Vec<String>,
) -> Result<PortSet, PrepareError> {
    let Some(allowed) = &scope.ports else {
        return Ok(wanted);
    };
    let outside = wanted.without(allowed);
    let inside = wanted.without(&outside);
    if outside.is_empty() {
        return Ok(wanted);
    }
    if named || inside.is_empty() {
        return Err(PrepareError::PortsOutsideScope(outside));
    }
    let count = outside.len();
    notices.push(format!(
        "{count} ports of {DEFAULT_TOP} are outside the scope and left out"
    ));
    Ok(inside)
}

/// What exclusions deny: every address of a name, whether or not there is a route to it now.
async fn denied_by(boundaries: Vec<Spec>) -> Result<AddressSet, PrepareError> {
    let mut denied = Vec::with_capacity(boundaries.len());
    for boundary in boundaries {
        denied.push(match boundary {
            Spec::Addresses(addresses) => addresses,
            // No boundary is read as one.
            Spec::AllNodes(_) => continue,
            Spec::Name(name) => resolve::resolve(&name).await?.into_iter().collect(),
        });
    }
    Ok(AddressSet::union_of(denied))
}

/// The addresses of all targets, and those of them that were names.
async fn resolve_targets(
    specs: Vec<Spec>,
    scope: &Scope,
    wish: &Wish,
    notices: &mut Vec<String>,
) -> Result<(AddressSet, Vec<Target>), PrepareError> {
    let mut sets = Vec::with_capacity(specs.len());
    let mut targets = Vec::new();
    for spec in specs {
        match spec {
            Spec::Addresses(addresses) => sets.push(addresses),
            Spec::AllNodes(interface) => {
                let asking = Asking {
                    interface: &interface,
                    scope,
                    wish,
                };
                sets.push(segment::targets(&asking, notices)?);
            }
            Spec::Name(name) => {
                let all = resolve::resolve(&name).await?;
                let routed = all.iter().copied().map(resolve::has_route).collect();
                let target = with_route(name, &all, routed, notices);
                sets.push(target.addresses.iter().copied().collect());
                targets.push(target);
            }
        }
    }
    Ok((AddressSet::union_of(sets), targets))
}

/// A name as a target: those of its addresses that have a route. Without any, all of them, and the
/// run says so port by port.
fn with_route(
    name: String,
    all: &[IpAddr],
    routed: Vec<bool>,
    notices: &mut Vec<String>,
) -> Target {
    let with: Vec<IpAddr> = all
        .iter()
        .zip(routed)
        .filter_map(|(address, routed)| routed.then_some(*address))
        .collect();
    let addresses = if with.is_empty() { all.to_vec() } else { with };
    let kept: AddressSet = addresses.iter().copied().collect();
    let left_out = all.iter().copied().collect::<AddressSet>().without(&kept);
    if !left_out.is_empty() {
        notices.push(format!(
            "{name} is also {}, to which there is no route",
            summary(&left_out, 3)
        ));
    }
    Target {
        name: Text::from(name),
        addresses,
    }
}

/// A source address serves targets of its own family only.
fn of_source_family(
    addresses: AddressSet,
    source: Option<IpAddr>,
    notices: &mut Vec<String>,
) -> Result<AddressSet, PrepareError> {
    let Some(source) = source else {
        return Ok(addresses);
    };
    let everything = AddressSet::everything();
    let v4 = AddressSet::network(IpAddr::from([0, 0, 0, 0]), 0).unwrap_or_default();
    let family = if source.is_ipv4() {
        v4
    } else {
        everything.without(&v4)
    };
    let fitting = addresses.intersection(&family);
    if fitting.is_empty() {
        return Err(PrepareError::SourceFamily(source));
    }
    let rest = addresses.without(&fitting);
    if !rest.is_empty() {
        notices.push(format!(
            "{} cannot be reached from {source}, which is of the other IP version, and is left out",
            summary(&rest, 3)
        ));
    }
    Ok(fitting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> AddressSet {
        match Spec::parse_boundary(text).unwrap() {
            Spec::Addresses(set) => set,
            Spec::AllNodes(name) => panic!("{name} is an interface"),
            Spec::Name(name) => panic!("{name} is a name"),
        }
    }

    fn plan(addresses: &str, scope: Scope) -> Plan {
        Plan {
            addresses: set(addresses),
            names: Vec::new(),
            tcp: PortSet::range(80, 80),
            udp: PortSet::default(),
            ask_anyway: PortSet::default(),
            seed: 1,
            shard: Shard::WHOLE,
            engine: EngineChoice::Connect,
            io: IoChoice::Auto,
            discovery: Discovery::Never,
            pace: Pace::default(),
            depth: Depth::Ports,
            source_address: None,
            source_port: None,
            interface: None,
            scope,
        }
    }

    /// Resumes a scan of `addresses`, begun under `scope`, where `attached` is attached now.
    fn resumed(addresses: &str, scope: Scope, attached: &str) -> Result<Plan, PrepareError> {
        scope_now(
            &plan(addresses, scope),
            &reserved_networks(),
            &set(attached),
        )
    }

    #[test]
    fn a_default_scope_allows_what_is_attached_now() {
        // Stands for a network that the internet routes.
        let network = "8.8.8.0/24";
        let scope = || default_scope(&set(network), &reserved_networks());
        let kept = resumed("8.8.8.8", scope(), network).unwrap();
        assert!(kept.scope.allowed.contains("8.8.8.9".parse().unwrap()));
        assert!(matches!(
            resumed("8.8.8.8", scope(), "9.9.9.0/24"),
            Err(PrepareError::OutsideScope(_))
        ));
        // What is attached now and was not then is not allowed either.
        let local = resumed("10.0.0.1", scope(), "9.9.9.0/24").unwrap();
        assert!(!local.scope.allowed.contains("9.9.9.9".parse().unwrap()));
        assert!(!local.scope.allowed.contains("8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn a_scope_that_somebody_gave_stays() {
        let reserved = reserved_networks();
        let authorized = authorized_scope("the owner asked", &reserved);
        let kept = resumed("8.8.8.8", authorized.clone(), "127.0.0.0/8").unwrap();
        assert_eq!(kept.scope, authorized);
        let file = parse_scope(
            "allow = [\"8.8.8.0/24\"]",
            "s.toml",
            &reserved,
            &port_names(),
        )
        .unwrap();
        let kept = resumed("8.8.8.8", file.clone(), "127.0.0.0/8").unwrap();
        assert_eq!(kept.scope, file);
    }

    #[test]
    fn what_is_never_probed_is_denied_in_any_scope() {
        let everything = Scope::of(AddressSet::everything());
        let resumed = |addresses: &str| resumed(addresses, everything.clone(), "127.0.0.0/8");
        assert!(matches!(
            resumed("224.0.0.1"),
            Err(PrepareError::NothingLeft(_))
        ));
        let kept = resumed("10.0.0.1").unwrap();
        assert!(kept.scope.denied.contains("224.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_name_is_probed_where_there_is_a_route() {
        let all: Vec<IpAddr> = set("198.18.0.0/25").iter().collect();
        let mut notices = Vec::new();
        let even = (0..all.len()).map(|at| at % 2 == 0).collect();
        let target = with_route("many.test".to_owned(), &all, even, &mut notices);
        assert_eq!(target.addresses.len(), 64);
        assert_eq!(
            notices,
            [
                "many.test is also 198.18.0.1, 198.18.0.3, 198.18.0.5 and 61 more ranges, to which \
                 there is no route"
            ]
        );
        // Without any route nothing is left out.
        let target = with_route("many.test".to_owned(), &all, vec![false; 128], &mut notices);
        assert_eq!((target.addresses, notices.len()), (all, 1));
    }
}
