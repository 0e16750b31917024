//! From what the user wrote to a plan: reads specs, resolves names, applies exclusions and scope.
//! Nothing is sent to a target here.

use portolan_catalog::{ports, reserved};
use portolan_model::{
    AddressSet, Depth, EngineChoice, Pace, Plan, PortSet, Scope, Shard, Target, Text,
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
    /// Ports; `None`: the most worthwhile thousand.
    pub ports: Option<String>,
    /// Seed of the order.
    pub seed: u64,
    /// Part of the order.
    pub shard: Shard,
    /// Rates, retries and times.
    pub pace: Pace,
    /// How far to go.
    pub depth: Depth,
    /// Local address to send from.
    pub source_address: Option<IpAddr>,
    /// Local port to send from.
    pub source_port: Option<u16>,
    /// Interface to send on.
    pub interface: Option<String>,
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
    #[error("{0}; check the spelling and the resolver (`getent hosts NAME`), or give its address")]
    Resolve(#[from] resolve::ResolveError),
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
    /// UDP ports were asked for.
    #[error(
        "UDP ports are not probed by this version; leave out --udp, the ports under U: and the \
         names of UDP services"
    )]
    Udp,
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
    /// The source address and the targets are of different families.
    #[error(
        "no target can be reached from {0}: they are of the other IP version; leave --source-ip \
         out, or give an address of theirs"
    )]
    SourceFamily(IpAddr),
}

/// How many of the ordered list are probed when no port is given.
const DEFAULT_TOP: &str = "top1000";

/// Makes the plan. Names are resolved, which may ask a name server.
pub async fn prepare(wish: Wish) -> Result<Prepared, PrepareError> {
    let mut notices = Vec::new();
    let names = port_names();
    let reserved = Reserved {
        local: reserved::addresses(reserved::Usage::Local),
        never: reserved::addresses(reserved::Usage::Never),
    };
    // Everything that can be wrong without asking anybody comes first.
    let (specs, boundaries) = read_specs(&wish)?;
    let selection = parse_ports(wish.ports.as_deref().unwrap_or(DEFAULT_TOP), &names)?;
    if !selection.udp.is_empty() || selection.tcp.is_empty() {
        return Err(PrepareError::Udp);
    }
    let mut scope = scope_of(&wish.authority, &reserved, &names)?;
    check_source(&wish)?;
    let tcp = ports_in_scope(selection.tcp, &scope, wish.ports.is_some(), &mut notices)?;

    for (addresses, _) in resolve_all(boundaries, &mut Vec::new()).await? {
        scope.denied.extend_from(&addresses);
    }
    let mut targets = Vec::new();
    let mut wanted = Vec::new();
    for (addresses, target) in resolve_all(specs, &mut notices).await? {
        wanted.push(addresses);
        targets.extend(target);
    }
    let wanted = AddressSet::union_of(wanted);
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
    let plan = Plan {
        addresses,
        names: targets,
        tcp,
        seed: wish.seed,
        shard: wish.shard,
        engine: EngineChoice::Connect,
        pace: wish.pace,
        depth: wish.depth,
        source_address: wish.source_address,
        source_port: wish.source_port,
        interface: wish.interface,
        scope,
    };
    Ok(Prepared { plan, notices })
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
        let own = attached.own.to_string();
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

/// The addresses of every spec, with the name where it was one.
async fn resolve_all(
    specs: Vec<Spec>,
    notices: &mut Vec<String>,
) -> Result<Vec<(AddressSet, Option<Target>)>, PrepareError> {
    let mut resolved = Vec::with_capacity(specs.len());
    for spec in specs {
        match spec {
            Spec::Addresses(addresses) => resolved.push((addresses, None)),
            Spec::Name(name) => {
                let all = resolve::resolve(&name).await?;
                let routed: Vec<IpAddr> = all
                    .iter()
                    .copied()
                    .filter(|address| resolve::has_route(*address))
                    .collect();
                // Without any route the run says so port by port.
                let addresses = if routed.is_empty() {
                    all.clone()
                } else {
                    routed
                };
                let left_out: AddressSet = all
                    .into_iter()
                    .filter(|address| !addresses.contains(address))
                    .collect();
                if !left_out.is_empty() {
                    notices.push(format!(
                        "{name} is also {left_out}, to which there is no route"
                    ));
                }
                let set = addresses.iter().copied().collect();
                resolved.push((
                    set,
                    Some(Target {
                        name: Text::from(name),
                        addresses,
                    }),
                ));
            }
        }
    }
    Ok(resolved)
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
