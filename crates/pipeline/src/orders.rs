//! The orders of one run: one for each transport, over the same hosts in the same windows, so that
//! a window ends when both have ended it.

use portolan_model::Plan;
use portolan_targets::{Order, OrderError};

/// The orders of a plan; a transport without ports has none.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) tcp: Option<Order>,
    pub(crate) udp: Option<Order>,
}

impl Orders {
    /// Those of `plan`.
    pub(crate) fn of(plan: &Plan) -> Result<Self, OrderError> {
        let most = plan.tcp.len().max(plan.udp.len());
        let order = |ports| Order::beside(&plan.addresses, ports, most, plan.seed, plan.shard);
        let tcp = order(&plan.tcp);
        let udp = order(&plan.udp);
        match (tcp, udp) {
            (Ok(tcp), Ok(udp)) => Ok(Self {
                tcp: Some(tcp),
                udp: Some(udp),
            }),
            (Ok(tcp), Err(OrderError::NoPort)) => Ok(Self {
                tcp: Some(tcp),
                udp: None,
            }),
            (Err(OrderError::NoPort), Ok(udp)) => Ok(Self {
                tcp: None,
                udp: Some(udp),
            }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// First probes of all transports.
    pub(crate) fn total(&self) -> u64 {
        self.each()
            .fold(0, |sum, it| sum.saturating_add(it.total()))
    }

    /// Windows, the same for every transport.
    pub(crate) fn windows(&self) -> u64 {
        self.each().map(Order::windows).max().unwrap_or(0)
    }

    /// First probes of window `number`.
    pub(crate) fn in_window(&self, number: u64) -> u64 {
        let windows = self.each().filter_map(|it| it.window(number));
        windows.fold(0, |sum, it| sum.saturating_add(it.len()))
    }

    fn each(&self) -> impl Iterator<Item = &Order> {
        self.tcp.iter().chain(&self.udp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::tests::plan;
    use portolan_model::PortSet;

    #[test]
    fn both_transports_have_the_same_hosts_in_each_window() {
        for (tcp, udp) in [
            (PortSet::range(80, 80), PortSet::range(1, 1_000)),
            (PortSet::range(1, 300), PortSet::range(53, 53)),
        ] {
            let mut plan = plan("10.0.0.0-10.1.255.255", "80");
            (plan.tcp, plan.udp) = (tcp, udp);
            let orders = Orders::of(&plan).unwrap();
            let (tcp, udp) = (orders.tcp.clone().unwrap(), orders.udp.clone().unwrap());
            assert_eq!(
                (tcp.windows(), udp.windows()),
                (orders.windows(), orders.windows())
            );
            assert!(orders.windows() > 1);
            for number in [0, 1, orders.windows() - 1] {
                let (tcp, udp) = (tcp.window(number).unwrap(), udp.window(number).unwrap());
                assert_eq!(tcp.hosts(), udp.hosts());
                for host in [0, 1, tcp.hosts() - 1] {
                    assert_eq!(tcp.address(host), udp.address(host));
                }
                assert_eq!(orders.in_window(number), tcp.len() + udp.len());
            }
            assert_eq!(
                orders.total(),
                u64::from(plan.tcp.len() + plan.udp.len()) << 17
            );
        }
    }

    #[test]
    fn a_transport_without_ports_has_no_order() {
        let mut plan = plan("10.0.0.0-10.0.0.3", "80");
        assert!(Orders::of(&plan).unwrap().udp.is_none());
        (plan.udp, plan.tcp) = (plan.tcp, PortSet::default());
        let orders = Orders::of(&plan).unwrap();
        assert!(orders.tcp.is_none() && orders.udp.is_some());
        plan.udp = PortSet::default();
        assert_eq!(Orders::of(&plan).unwrap_err(), OrderError::NoPort);
    }
}
