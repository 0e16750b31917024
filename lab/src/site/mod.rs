//! A site: a dozen hosts with real daemons of Debian on them, most of what speaks on TCP, and the
//! truth about each of their ports. `lab/README.md` tells how to use it and how to add a daemon.
//!
//! What is not here: the daemons themselves (`lab/daemons/`), and the commands (`cargo xtask lab`).

mod launch;
mod network;
pub mod packages;
mod place;
mod recipe;
mod truth;

pub use place::{Layout, Place};
pub use recipe::{Disclosure, EndpointRecipe, Part, Recipe, Tls};
pub use truth::{TrueEndpoint, Truth};

use crate::LabError;
use crate::namespace::Namespace;
use launch::Folders;
use network::Network;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// What to make.
#[derive(Clone, Debug)]
pub struct SitePlan {
    /// Which ports the daemons have.
    pub layout: Layout,
    /// What decides about the ports of the layout.
    pub seed: u64,
    /// The daemons.
    pub recipes: Vec<Recipe>,
}

/// A site that runs; it stays until [`Site::down`], also behind this process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Site {
    namespaces: Vec<String>,
    daemons: Vec<Running>,
    /// What is true of its ports.
    pub truth: Truth,
}

/// A daemon that was started.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    name: String,
    process: u32,
}

/// A daemon that does not listen.
#[derive(Debug)]
pub struct Failure {
    /// The daemon.
    pub daemon: String,
    /// What it said last.
    pub said: String,
}

/// A site and the daemons that are not there.
#[derive(Debug)]
pub struct Started {
    /// The site.
    pub site: Site,
    /// Who does not listen.
    pub failures: Vec<Failure>,
}

/// How long a daemon may take to listen, and how often it is looked.
const LISTENING: Duration = Duration::from_secs(110);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What the lab calls the file that tells of a site.
const STATE: &str = "site.json";

impl Site {
    /// Makes a site whose files are below `folder`, which has none. Packages are there already
    /// ([`packages::missing`]).
    pub fn up(folder: &Path, plan: SitePlan) -> Result<Started, LabError> {
        let folders = folders(folder);
        let places = Place::all(plan.recipes, plan.layout, plan.seed);
        let hosts = places.iter().map(|it| it.host + 1).max().unwrap_or(0);
        fs::create_dir_all(&folders.run).map_err(LabError::file(&folders.run))?;
        let mut truth = Truth::new(plan.layout, plan.seed);
        // Before anything is made: whatever fails, `down` knows what to look for.
        let label = format!("site-{}", label(folder));
        let network = match Network::create(&label, hosts) {
            Ok(network) => network,
            Err(error) => {
                let _ = remove_namespaces(&label);
                return Err(error);
            }
        };
        truth.scanner = network.names().into_iter().next().unwrap_or_default();
        launch::certify(&folders)?;
        let mut children = Vec::new();
        for place in &places {
            if let Some(host) = network.hosts.get(place.host) {
                children.push(launch::start(host, place, &folders)?);
            }
        }
        let daemons = places.iter().zip(&children).map(|(place, child)| Running {
            name: place.recipe.name.clone(),
            process: child.id(),
        });
        let mut site = Self {
            namespaces: network.names(),
            daemons: daemons.collect(),
            truth,
        };
        site.write(folder)?;
        let failures = await_all(&network, &places, &mut children, &folders)?;
        let is_there = |place: &&Place| failures.iter().all(|it| it.daemon != place.recipe.name);
        let there: Vec<&Place> = places.iter().filter(is_there).collect();
        site.truth.tell(&there, &folders.packages)?;
        site.write(folder)?;
        Ok(Started { site, failures })
    }

    /// The site whose files are below `folder`; `None`: there is none.
    pub fn read(folder: &Path) -> Result<Option<Self>, LabError> {
        let path = folder.join(STATE);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read(&path).map_err(LabError::file(&path))?;
        let site = serde_json::from_slice(&text);
        site.map(Some).map_err(|error| LabError::Recipe {
            path,
            why: error.to_string(),
        })
    }

    /// Ends whatever a site, whole or half made, left: its processes, its namespaces with their
    /// interfaces, its files below `folder`. Says whether there was anything.
    pub fn down(folder: &Path) -> Result<bool, LabError> {
        let removed = remove_namespaces(&format!("site-{}", label(folder)))?;
        let run = folders(folder).run;
        let had_files = run.exists();
        if had_files {
            fs::remove_dir_all(&run).map_err(LabError::file(&run))?;
        }
        let state = folder.join(STATE);
        if state.exists() {
            fs::remove_file(&state).map_err(LabError::file(&state))?;
        }
        Ok(removed > 0 || had_files)
    }

    /// The namespace to scan from.
    pub fn scanner(&self) -> Namespace {
        Namespace::existing(&self.truth.scanner)
    }

    /// The namespaces of the hosts, the scanner and the switch.
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// Daemons that have ended.
    pub fn ended(&self) -> Vec<&str> {
        let gone = |it: &&Running| !is_unshare(it.process);
        let daemons = self.daemons.iter().filter(gone);
        daemons.map(|it| it.name.as_str()).collect()
    }

    /// Where a daemon of the site whose files are below `folder` writes what it says.
    pub fn folder_of(folder: &Path, daemon: &str) -> PathBuf {
        folders(folder).of(daemon)
    }

    fn write(&self, folder: &Path) -> Result<(), LabError> {
        let path = folder.join(STATE);
        let text = serde_json::to_vec_pretty(self).map_err(|error| LabError::Recipe {
            path: path.clone(),
            why: error.to_string(),
        })?;
        fs::write(&path, text).map_err(LabError::file(&path))
    }
}

fn folders(folder: &Path) -> Folders {
    Folders {
        run: folder.join("run"),
        packages: folder.join("packages"),
    }
}

/// What tells the namespaces of one folder from those of another; begins with no number.
fn label(folder: &Path) -> String {
    // FNV-1a of the path.
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = folder.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("x{:08x}", hash >> 32)
}

/// Removes every namespace of a site and what runs in it; says how many.
fn remove_namespaces(label: &str) -> Result<usize, LabError> {
    let Ok(entries) = fs::read_dir("/run/netns") else {
        // There never was a namespace.
        return Ok(0);
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ours = format!("portolan-lab-{label}-");
    let names: Vec<String> = names.filter(|name| name.starts_with(&ours)).collect();
    for name in &names {
        Namespace::existing(name).remove()?;
    }
    Ok(names.len())
}

/// Waits until every daemon listens on its ports, and tells of those that do not.
fn await_all(
    network: &Network,
    places: &[Place],
    children: &mut [Child],
    folders: &Folders,
) -> Result<Vec<Failure>, LabError> {
    let deadline = Instant::now() + LISTENING;
    let mut waiting: BTreeSet<usize> = (0..places.len()).collect();
    let mut failures = Vec::new();
    loop {
        let mut listening = Vec::new();
        for host in &network.hosts {
            listening.push(host.enter(listening_ports)?);
        }
        let is_over = Instant::now() > deadline;
        for (number, (place, child)) in places.iter().zip(children.iter_mut()).enumerate() {
            if !waiting.contains(&number) {
                continue;
            }
            let there = listening.get(place.host);
            let absent = |port: &&u16| there.is_none_or(|there| !there.contains(*port));
            let absent: Vec<u16> = place.ports.iter().filter(absent).copied().collect();
            let has_ended = matches!(child.try_wait(), Ok(Some(_)));
            if absent.is_empty() && !has_ended {
                waiting.remove(&number);
            } else if has_ended || is_over {
                waiting.remove(&number);
                let what = if has_ended {
                    "ended"
                } else {
                    "does not listen"
                };
                let said = launch::last_words(&folders.of(&place.recipe.name));
                failures.push(Failure {
                    daemon: place.recipe.name.clone(),
                    said: format!("{what}; not there: {absent:?}\n{said}"),
                });
            }
        }
        if waiting.is_empty() {
            return Ok(failures);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// TCP ports that listen in the namespace of the calling thread.
fn listening_ports() -> BTreeSet<u16> {
    let read = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let tables = ["tcp", "tcp6"].map(|name| read(name).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines());
    let port = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (_, port) = words.next()?.rsplit_once(':')?;
        let is_listening = words.nth(1)? == LISTEN;
        let port = u16::from_str_radix(port, 16).ok()?;
        is_listening.then_some(port)
    };
    lines.filter_map(port).collect()
}

/// `TCP_LISTEN` of Linux, as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";

/// Whether a process is one that holds a daemon, and not another that got its number.
fn is_unshare(process: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{process}/comm"));
    let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let is_zombie = state
        .rsplit_once(')')
        .is_some_and(|(_, it)| it.starts_with(" Z"));
    name.is_ok_and(|name| name.trim() == "unshare") && !is_zombie
}
