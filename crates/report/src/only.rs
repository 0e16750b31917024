//! What `--only` leaves: a filter of what is shown, host by host, without a copy of the document.

use crate::document::Shown;
use crate::options::Only;
use portolan_model::{
    HostReport, OtherPorts, PortGroup, PortReport, PortSet, Reason, State, Transport,
};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The hosts of `document` that are shown, in its order, each with the ports that are shown.
pub(crate) fn hosts<'a>(
    document: &Shown<'a>,
    only: Only,
) -> impl Iterator<Item = Cow<'a, HostReport>> + use<'a> {
    let hosts = document.hosts.by_address();
    hosts.filter_map(move |it| match it {
        it if only == Only::All => Some(it),
        Cow::Borrowed(it) => host(it, only),
        Cow::Owned(it) => host(&it, only).map(|shown| Cow::Owned(shown.into_owned())),
    })
}

/// `host` as it is shown; `None` when it is not. Ports that are hidden move to the counted ones,
/// so that listed and counted ports together are always all of them.
pub(crate) fn host(host: &HostReport, only: Only) -> Option<Cow<'_, HostReport>> {
    match only {
        Only::All => Some(Cow::Borrowed(host)),
        Only::Open if !host.ports.iter().any(is_open) => None,
        Only::Open if host.ports.iter().all(is_open) => Some(Cow::Borrowed(host)),
        Only::Open => {
            let mut shown = HostReport {
                ports: host
                    .ports
                    .iter()
                    .filter(|port| is_open(port))
                    .cloned()
                    .collect(),
                ..host.clone()
            };
            for ((state, reason, transport), ports) in listed(host) {
                if state != State::Open {
                    count(
                        &mut shown.other_ports,
                        PortGroup {
                            transport,
                            state,
                            reason,
                            ports,
                        },
                    );
                }
            }
            Some(Cow::Owned(shown))
        }
    }
}

/// Whether something accepts packets on `port`.
pub(crate) fn is_open(port: &PortReport) -> bool {
    port.state == State::Open
}

/// Ports that share transport, state and reason.
pub(crate) struct Tally<'a> {
    /// Transport.
    pub(crate) transport: Transport,
    /// State.
    pub(crate) state: State,
    /// What shows the state; `None` when the document counts the ports without a reason, and for
    /// open ports.
    pub(crate) reason: Option<Reason>,
    /// How many.
    pub(crate) count: u32,
    /// Which; `None` when the document only counts them.
    pub(crate) ports: Option<Cow<'a, PortSet>>,
}

/// Every port of `host`, listed or not, by state and then by reason, most first.
pub(crate) fn tallies(host: &HostReport) -> Vec<Tally<'_>> {
    let mut tallies = other_tallies(&host.other_ports);
    for ((state, reason, transport), ports) in listed(host) {
        let reason = (state != State::Open).then_some(reason);
        let same = tallies.iter_mut().find(|tally| {
            (tally.transport, tally.state, tally.reason) == (transport, state, reason)
        });
        match same {
            Some(tally) => {
                tally.count = tally.count.saturating_add(ports.len());
                if let Some(known) = tally.ports.take() {
                    let both = PortSet::union_of([known.into_owned(), ports]);
                    tally.ports = Some(Cow::Owned(both));
                }
            }
            None => tallies.push(Tally {
                transport,
                state,
                reason,
                count: ports.len(),
                ports: Some(Cow::Owned(ports)),
            }),
        }
    }
    sort(&mut tallies);
    tallies
}

/// The ports of a host that are not listed, by state and then by reason, most first.
pub(crate) fn other_tallies(other: &OtherPorts) -> Vec<Tally<'_>> {
    let mut tallies: Vec<Tally<'_>> = other
        .groups
        .iter()
        .map(|group| Tally {
            transport: group.transport,
            state: group.state,
            reason: Some(group.reason),
            count: group.ports.len(),
            ports: Some(Cow::Borrowed(&group.ports)),
        })
        .collect();
    let counters = [
        (State::Closed, other.closed),
        (State::Filtered, other.filtered),
        (State::OpenFiltered, other.open_filtered),
        (State::NotTested, other.not_tested),
    ];
    for (state, counted) in counters {
        let grouped: u32 = tallies
            .iter()
            .filter(|tally| tally.state == state)
            .map(|tally| tally.count)
            .fold(0, u32::saturating_add);
        if counted > grouped {
            tallies.push(Tally {
                transport: Transport::default(),
                state,
                reason: None,
                count: counted - grouped,
                ports: None,
            });
        }
    }
    sort(&mut tallies);
    tallies
}

/// The listed ports of `host` by state, reason and transport.
fn listed(host: &HostReport) -> BTreeMap<(State, Reason, Transport), PortSet> {
    let mut numbers: BTreeMap<(State, Reason, Transport), Vec<u16>> = BTreeMap::new();
    for port in &host.ports {
        let key = (port.state, port.reason, port.transport);
        let same = numbers.entry(key).or_default();
        same.push(port.port);
    }
    let sets = numbers.into_iter();
    sets.map(|(key, ports)| (key, ports.into_iter().collect()))
        .collect()
}

fn sort(tallies: &mut [Tally<'_>]) {
    tallies.sort_by_key(|tally| {
        let most_first = std::cmp::Reverse(tally.count);
        (tally.transport, tally.state, most_first, tally.reason)
    });
}

/// Moves a group of hidden ports to the counted ones.
fn count(other: &mut OtherPorts, hidden: PortGroup) {
    let counter = match hidden.state {
        State::Closed => Some(&mut other.closed),
        State::Filtered => Some(&mut other.filtered),
        State::NotTested => Some(&mut other.not_tested),
        State::OpenFiltered => Some(&mut other.open_filtered),
        State::Open => None,
    };
    if let Some(counter) = counter {
        *counter = counter.saturating_add(hidden.ports.len());
    }
    let same = other.groups.iter_mut().find(|group| {
        (group.transport, group.state, group.reason)
            == (hidden.transport, hidden.state, hidden.reason)
    });
    match same {
        Some(group) => {
            let both = [std::mem::take(&mut group.ports), hidden.ports];
            group.ports = PortSet::union_of(both);
        }
        None => other.groups.push(hidden),
    }
}
