//! What is true of the ports of a site: who speaks what there, in which version, and what of that
//! can be learned without a login.
//!
//! What is not here: whether a scan finds it (`cargo xtask lab check`).

use super::packages;
use super::place::{Layout, Place};
use super::recipe::{Disclosure, EndpointRecipe, Part, Tls};
use crate::LabError;
use portolan_net::never_send::gets_no_bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

/// A site's truth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Truth {
    /// Name of the layout.
    pub layout: String,
    /// What decided about its ports.
    pub seed: u64,
    /// The namespace to scan from: `ip netns exec NAME …`.
    pub scanner: String,
    /// The ports that listen, by address and port.
    pub endpoints: Vec<TrueEndpoint>,
}

/// The truth about a port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrueEndpoint {
    /// Of its host.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// The recipe of the daemon.
    pub daemon: String,
    /// What the recipe calls the port.
    pub key: String,
    /// Name of the protocol.
    pub service: String,
    /// Whether it answers nothing that anybody may ask, so that no service is the right answer.
    pub silent: bool,
    /// Other protocols that it really speaks on that port.
    pub also_speaks: Vec<String>,
    /// How TLS comes to it.
    pub tls: Option<Tls>,
    /// What the product may be called, the usual spelling first.
    pub product: Vec<String>,
    /// What else the server names that it is made of.
    pub parts: Vec<Part>,
    /// The upstream part of the package's version.
    pub version: String,
    /// The package and its whole version.
    pub package: String,
    /// What the server says of itself to a client that does not log in.
    pub discloses: Disclosure,
    /// What shows that.
    pub why: String,
    /// Whether it is on a port that gets no byte, so that only what speaks first can be named.
    pub gets_no_bytes: bool,
}

impl Truth {
    pub(crate) fn new(layout: Layout, seed: u64) -> Self {
        Self {
            layout: layout.name().to_owned(),
            seed,
            scanner: String::new(),
            endpoints: Vec::new(),
        }
    }

    /// Tells of the daemons that are there.
    pub(crate) fn tell(&mut self, places: &[&Place], unpacked: &Path) -> Result<(), LabError> {
        let installed = packages::installed()?;
        for place in places {
            for (endpoint, port) in place.recipe.endpoints.iter().zip(&place.ports) {
                let package = endpoint.package.as_deref();
                let package = package.unwrap_or_else(|| place.recipe.own_package());
                let version = if place.recipe.unpack.iter().any(|it| it == package) {
                    packages::unpacked_version(unpacked, package)?
                } else {
                    version(&installed, package)
                };
                self.endpoints.push(TrueEndpoint::of(
                    place,
                    endpoint,
                    *port,
                    (package, &version),
                ));
            }
        }
        self.endpoints
            .sort_unstable_by_key(|endpoint| (endpoint.address, endpoint.port));
        Ok(())
    }
}

fn version(installed: &BTreeMap<String, String>, package: &str) -> String {
    installed.get(package).cloned().unwrap_or_default()
}

impl TrueEndpoint {
    fn of(
        place: &Place,
        endpoint: &EndpointRecipe,
        port: u16,
        (package, version): (&str, &str),
    ) -> Self {
        let product = endpoint.product.as_ref();
        Self {
            address: place.address(),
            port,
            daemon: place.recipe.name.clone(),
            key: endpoint.key().to_owned(),
            service: endpoint.service.clone(),
            silent: endpoint.silent,
            also_speaks: endpoint.also_speaks.clone(),
            tls: endpoint.tls,
            product: product.unwrap_or(&place.recipe.product).clone(),
            parts: endpoint.parts.clone(),
            version: packages::upstream(version).to_owned(),
            package: format!("{package} {version}"),
            discloses: endpoint.discloses,
            why: endpoint.why.clone(),
            gets_no_bytes: gets_no_bytes(port),
        }
    }
}
