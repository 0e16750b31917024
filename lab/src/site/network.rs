//! The namespaces of a site: the scanner's and one for each host, joined by a switch that is a
//! namespace too.
//!
//! What is not here: what runs in them (`launch`).

use super::place::address_of_host;
use crate::{LabError, Namespace};
use std::net::Ipv4Addr;

/// The namespaces.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) scanner: Namespace,
    pub(crate) hosts: Vec<Namespace>,
    switch: Namespace,
}

/// Address of the scanner, in a /24 with the hosts.
pub(crate) const SCANNER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

impl Network {
    /// Makes the namespaces; `label` tells those of one site from those of another.
    pub(crate) fn create(label: &str, hosts: usize) -> Result<Self, LabError> {
        let switch = Namespace::create_kept(&format!("{label}-switch"))?;
        let scanner = Namespace::create_kept(&format!("{label}-scanner"))?;
        let mut network = Self {
            scanner,
            hosts: Vec::new(),
            switch,
        };
        let switch = &network.switch;
        switch.ip(&["link", "add", "lab", "type", "bridge"])?;
        switch.ip(&["link", "set", "lab", "up"])?;
        plug(switch, &network.scanner, "scanner", SCANNER)?;
        for number in 0..hosts {
            let host = Namespace::create_kept(&format!("{label}-host{number}"))?;
            // The daemons that are not root may have any port that a layout gives them.
            host.set("net/ipv4/ip_unprivileged_port_start", "0")?;
            plug(
                switch,
                &host,
                &format!("host{number}"),
                address_of_host(number),
            )?;
            network.hosts.push(host);
        }
        Ok(network)
    }

    /// The names of all, of which the first is the scanner's.
    pub(crate) fn names(&self) -> Vec<String> {
        let all = [&self.scanner, &self.switch].into_iter().chain(&self.hosts);
        all.map(|it| it.name().to_owned()).collect()
    }
}

/// Joins a namespace to the switch; its end is called `lab0`.
fn plug(
    switch: &Namespace,
    side: &Namespace,
    port: &str,
    address: Ipv4Addr,
) -> Result<(), LabError> {
    let peer = ["peer", "name", "lab0", "netns", side.name()];
    switch.ip(&[&["link", "add", port, "type", "veth"][..], &peer].concat())?;
    switch.ip(&["link", "set", port, "master", "lab", "up"])?;
    side.ip(&["addr", "add", &format!("{address}/24"), "dev", "lab0"])?;
    side.ip(&["link", "set", "lab0", "up"])
}
