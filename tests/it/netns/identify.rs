//! A dozen and a half of real daemons on hosts of their own, asked what they are: every port is found
//! and named right, and nobody is harmed by the question.

use crate::program::Program;
use crate::result::{Document, list};
use portolan_lab::site::{Disclosure, Layout, Recipe, Site, SitePlan, Started, Tls, TrueEndpoint};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A site that is taken down when the test ends, however it ends.
struct Core {
    site: Site,
    folder: PathBuf,
}

impl Core {
    fn up(layout: Layout) -> Self {
        let name = format!("portolan-lab-{}-{}", std::process::id(), layout.name());
        let folder = std::env::temp_dir().join(name);
        let recipes = Recipe::all().unwrap().into_iter().filter(|it| it.core);
        let plan = SitePlan {
            layout,
            seed: 1,
            recipes: recipes.collect(),
        };
        let Started { site, failures } = Site::up(&folder, plan).unwrap();
        let core = Self { site, folder };
        assert!(failures.is_empty(), "{failures:#?}");
        core
    }

    fn namespaces(&self) -> Vec<&String> {
        let here = |name: &&String| Path::new("/run/netns").join(name).exists();
        self.site.namespaces().iter().filter(here).collect()
    }

    fn check_asked_and_unharmed(&self) {
        let endpoints = &self.site.truth.endpoints;
        let hosts: BTreeSet<String> = endpoints.iter().map(|it| it.address.to_string()).collect();
        let hosts: Vec<String> = hosts.into_iter().collect();
        let ports: BTreeSet<u16> = endpoints.iter().map(|it| it.port).collect();
        let ports: Vec<u16> = ports.into_iter().collect();
        let program = Program::new(&format!(
            "scan {} -p {} --tcp --format json --progress never",
            hosts.join(" "),
            list(&ports)
        ));
        let ended = self.site.scanner().enter(|| program.run()).unwrap();
        let document = Document::of(&ended.expect_code(0));
        assert!(document.complete(), "{}", document.0["run"]);
        for host in &hosts {
            let own = endpoints
                .iter()
                .filter(|it| it.address.to_string() == *host);
            let own: Vec<u16> = own.map(|it| it.port).collect();
            let open: BTreeSet<u16> = document.open(host).into_iter().collect();
            let missed: Vec<&u16> = own.iter().filter(|port| !open.contains(*port)).collect();
            assert!(missed.is_empty(), "{host}: {missed:?}");
        }
        for endpoint in endpoints {
            let shown = document.port(&endpoint.address.to_string(), endpoint.port);
            check_named(endpoint, &shown["service"]);
        }
        assert_eq!(self.site.ended(), [""; 0]);
    }
}

/// The protocol is named right, a product is not named wrongly, and a disclosed version is the
/// package's.
fn check_named(endpoint: &TrueEndpoint, service: &Value) {
    assert_eq!(
        service["name"], *endpoint.service,
        "{endpoint:?}: {service}"
    );
    if endpoint.tls == Some(Tls::Implicit) {
        assert_eq!(service["tls"], "implicit", "{endpoint:?}: {service}");
    }
    let parts = endpoint.parts.iter().map(|part| &part.product);
    let mut known = endpoint.product.iter().chain(parts);
    if let Some(product) = service["product"].as_str() {
        assert!(known.any(|it| it == product), "{endpoint:?}: {service}");
    } else {
        assert_eq!(
            endpoint.discloses,
            Disclosure::Nothing,
            "{endpoint:?}: {service}"
        );
    }
    if endpoint.discloses == Disclosure::Version {
        let version = service["version"].as_str().unwrap_or_default();
        assert!(
            version.starts_with(&endpoint.version),
            "{endpoint:?}: {service}"
        );
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // There is nobody to tell; the next run's sweep would not know of it either.
        let _ = Site::down(&self.folder);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn check(layout: Layout) {
    let core = Core::up(layout);
    assert_eq!(core.namespaces().len(), core.site.namespaces().len());
    core.check_asked_and_unharmed();
    assert!(Site::down(&core.folder).unwrap());
    assert!(core.namespaces().is_empty());
    assert!(!Site::folder_of(&core.folder, "nginx").exists());
    assert!(Site::read(&core.folder).unwrap().is_none());
}

#[test]
fn real_daemons_on_their_own_ports_are_named_and_stay() {
    check(Layout::Standard);
}

#[test]
fn real_daemons_on_high_ports_are_named_and_stay() {
    check(Layout::High);
}
