//! Groups of tests that need more than Rust: what each needs, whether it is there, how root gets
//! it. A group that cannot run is left out by name and with a reason, never by accident.

use crate::run::{find, output};
use anyhow::{Context as _, Result};
use portolan_lab::site::{Recipe, packages};
use portolan_lab::{Daemon, Daemons};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Parser of nmap's XML that others use; its version is pinned so that a run can be repeated.
const LIBNMAP: &str = "python-libnmap==0.7.3";

/// Environment variable that tells the tests which Python has that parser.
pub(crate) const PYTHON_VARIABLE: &str = "PORTOLAN_TEST_PYTHON";

/// One group: a module of the integration tests.
#[derive(Debug)]
pub(crate) struct Group {
    /// The module.
    pub(crate) module: &'static str,
    /// Who can keep the group from running once its packages are there.
    pub(crate) refused_by: RefusedBy,
    needs: &'static [Need],
    /// What its tests start.
    daemons: &'static [Daemon],
    /// Whether they start the core of the site.
    has_site: bool,
    prepare: fn(&Path) -> Result<()>,
}

/// Who can keep a group from running once its packages are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedBy {
    /// The kernel: in many containers root may not make networks, and nothing can be installed
    /// against that.
    Kernel,
    /// Nobody: what is missing can be installed.
    Nobody,
}

/// A file or program and the Debian package it comes from.
#[derive(Debug)]
struct Need {
    what: What,
    package: &'static str,
}

#[derive(Debug)]
enum What {
    File(&'static str),
    Program(&'static str),
    PythonModule(&'static str),
}

/// Every group, and nothing else: other tests need only Rust.
pub(crate) const GROUPS: &[Group] = &[
    Group {
        module: "netns",
        refused_by: RefusedBy::Kernel,
        needs: &[
            Need {
                what: What::Program("ip"),
                package: "iproute2",
            },
            Need {
                what: What::Program("nft"),
                package: "nftables",
            },
            Need {
                what: What::Program("setcap"),
                package: "libcap2-bin",
            },
        ],
        daemons: &Daemons::FEW,
        has_site: true,
        prepare: namespaces,
    },
    Group {
        module: "xml_consumers",
        refused_by: RefusedBy::Nobody,
        needs: &[
            Need {
                what: What::File("/usr/share/nmap/nmap.dtd"),
                package: "nmap",
            },
            Need {
                what: What::Program("xsltproc"),
                package: "xsltproc",
            },
            Need {
                what: What::Program("xmllint"),
                package: "libxml2-utils",
            },
            Need {
                what: What::PythonModule("ensurepip"),
                package: "python3-venv",
            },
        ],
        daemons: &[],
        has_site: false,
        prepare: libnmap,
    },
];

impl Group {
    /// Why the group cannot run here; `None` when it can.
    pub(crate) fn obstacle(&self, target: &Path) -> Option<String> {
        let missing = self.missing_packages();
        if !missing.is_empty() {
            return Some(format!(
                "Debian packages are missing: {}",
                missing.join(" ")
            ));
        }
        (self.prepare)(target)
            .err()
            .map(|error| format!("{error:#}"))
    }

    /// Debian packages that are needed and not there.
    fn missing_packages(&self) -> Vec<String> {
        let needs = self.needs.iter();
        let absent = needs.filter(|need| !need.what.is_there());
        let daemons = self.daemons.iter();
        let not_installed = daemons.filter(|daemon| find(daemon.program).is_none());
        let packages = absent.map(|need| need.package);
        let packages = packages.chain(not_installed.map(|daemon| daemon.package));
        let mut missing: Vec<String> = packages.map(ToOwned::to_owned).collect();
        if self.has_site {
            missing.extend(missing_for_site());
        }
        missing
    }
}

/// Packages that the core of the site lacks; what cannot be asked for shows when it is started.
fn missing_for_site() -> Vec<String> {
    let core = Recipe::all().map(|recipes| recipes.into_iter().filter(|it| it.core).collect());
    let missing = core.and_then(|core: Vec<Recipe>| packages::missing(&core));
    missing.unwrap_or_default()
}

impl What {
    fn is_there(&self) -> bool {
        match self {
            Self::File(path) => Path::new(path).is_file(),
            Self::Program(program) => find(program).is_some(),
            Self::PythonModule(module) => {
                let import = format!("import {module}");
                output(Command::new(system_python()).args(["-c", &import])).is_ok()
            }
        }
    }
}

/// Installs the packages that any group lacks. Needs root.
pub(crate) fn install() -> Result<()> {
    let mut missing: Vec<String> = GROUPS.iter().flat_map(Group::missing_packages).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        println!("every Debian package that the tests need is installed");
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    packages::install(&missing).context("the packages cannot be installed")
}

/// The Python that has the parser, once its group is prepared.
pub(crate) fn test_python(target: &Path) -> PathBuf {
    target.join("test-venv").join("bin").join("python")
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Debian's own Python where there is one: it is what `python3-venv` completes.
fn system_python() -> PathBuf {
    let debian = PathBuf::from("/usr/bin/python3");
    if debian.is_file() {
        debian
    } else {
        find("python3").unwrap_or(debian)
    }
}

fn namespaces(_target: &Path) -> Result<()> {
    portolan_lab::sweep().context("network namespaces cannot be listed")?;
    portolan_lab::available().context("network namespaces cannot be made (they need root)")
}

fn libnmap(target: &Path) -> Result<()> {
    let python = test_python(target);
    let folder = target.join("test-venv");
    if output(Command::new(&python).args(["-c", "import libnmap"])).is_ok() {
        return Ok(());
    }
    output(
        Command::new(system_python())
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )
    .context("no virtual environment for Python")?;
    output(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        LIBNMAP,
    ]))
    .with_context(|| format!("{LIBNMAP} cannot be installed from PyPI"))?;
    Ok(())
}
