//! `cargo xtask lab`: a site of real daemons that is made, looked at, checked and taken down again.
//! `lab/README.md` tells how to use it.
//!
//! What is not here: how daemons are started (`portolan-lab`); what is compared (`check`).

mod check;
mod client;
mod nmap;
mod verdict;

use crate::run;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use portolan_lab::site::{Disclosure, Layout, Recipe, Site, SitePlan, Tls, Truth, packages};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What to do with the site.
#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Checks what a scan says of the site against the truth
    Check {
        #[command(subcommand)]
        what: check::Check,
    },
    /// Takes the site down: no process, namespace, interface or file of it stays
    Down,
    /// Lists the endpoints of the site that runs, else the daemons that it could have
    List {
        /// As a JSON document
        #[arg(long)]
        json: bool,
    },
    /// Makes the site and leaves it running; installs the Debian packages that it lacks
    Up(Selection),
}

/// Which daemons, on which ports.
#[derive(Clone, Debug, Args)]
pub(crate) struct Selection {
    /// Which ports the daemons have
    #[arg(long, value_enum, default_value_t = LayoutName::Standard)]
    layout: LayoutName,
    #[command(flatten)]
    daemons: Daemons,
    /// What decides about the ports of the layout
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Which daemons.
#[derive(Clone, Debug, Args)]
pub(crate) struct Daemons {
    /// These daemons only
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Only the few that every run of the tests starts
    #[arg(long)]
    core: bool,
}

/// A layout, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    High,
    Shuffled,
    Standard,
}

/// Does it.
pub(crate) fn run(root: &Path, lab: Lab) -> Result<()> {
    match lab {
        Lab::Check { what } => check::run(root, &what),
        Lab::Down => down(root),
        Lab::List { json } => list(root, json),
        Lab::Up(selection) => {
            let recipes = selection.daemons.recipes()?;
            let layout = selection.layout.layout();
            let (_, absent) = up(root, recipes, layout, selection.seed)?;
            if !absent.is_empty() {
                bail!("not there: {}", absent.join(", "));
            }
            Ok(())
        }
    }
}

impl LayoutName {
    fn layout(self) -> Layout {
        match self {
            Self::High => Layout::High,
            Self::Shuffled => Layout::Shuffled,
            Self::Standard => Layout::Standard,
        }
    }
}

impl Daemons {
    fn recipes(&self) -> Result<Vec<Recipe>> {
        let mut recipes = Recipe::all()?;
        for name in &self.only {
            if recipes.iter().all(|it| it.name != *name) {
                let names: Vec<&str> = recipes.iter().map(|it| it.name.as_str()).collect();
                bail!("there is no daemon {name}; there are {}", names.join(", "));
            }
        }
        if !self.only.is_empty() {
            recipes.retain(|it| self.only.contains(&it.name));
        }
        if self.core {
            recipes.retain(|it| it.core);
        }
        Ok(recipes)
    }
}

/// Where the site of this checkout has its files.
fn folder(root: &Path) -> PathBuf {
    run::target(root).join("lab")
}

/// Makes the site, in place of one that runs; names the daemons that did not start.
fn up(root: &Path, recipes: Vec<Recipe>, layout: Layout, seed: u64) -> Result<(Site, Vec<String>)> {
    portolan_lab::available().context("the lab needs root, iproute2 and nftables")?;
    let missing = packages::missing(&recipes)?;
    if !missing.is_empty() {
        println!("installing {}", missing.join(" "));
        packages::install(&missing)?;
    }
    let folder = folder(root);
    Site::down(&folder)?;
    let start = Instant::now();
    let plan = SitePlan {
        layout,
        seed,
        recipes,
    };
    let started = match Site::up(&folder, plan) {
        Ok(started) => started,
        Err(error) => {
            Site::down(&folder)?;
            return Err(error.into());
        }
    };
    let truth = &started.site.truth;
    std::fs::write(
        folder.join("truth.json"),
        serde_json::to_string_pretty(truth)?,
    )?;
    print!("{}", table(truth));
    println!(
        "{} endpoints of {} daemons, layout {}, up after {:.1} s",
        truth.endpoints.len(),
        daemons(truth),
        truth.layout,
        start.elapsed().as_secs_f64()
    );
    println!("the truth: {}", folder.join("truth.json").display());
    println!("inside:    ip netns exec {} COMMAND", truth.scanner);
    println!("end it:    cargo xtask lab down");
    for failure in &started.failures {
        println!("{} {}", failure.daemon, failure.said);
    }
    let absent = started.failures.into_iter().map(|it| it.daemon).collect();
    Ok((started.site, absent))
}

fn down(root: &Path) -> Result<()> {
    let folder = folder(root);
    let was_up = Site::down(&folder)?;
    let truth = folder.join("truth.json");
    if truth.exists() {
        std::fs::remove_file(truth)?;
    }
    println!(
        "{}",
        if was_up {
            "taken down"
        } else {
            "there was nothing"
        }
    );
    Ok(())
}

fn list(root: &Path, json: bool) -> Result<()> {
    if let Some(site) = Site::read(&folder(root))? {
        if json {
            println!("{}", serde_json::to_string_pretty(&site.truth)?);
        } else {
            print!("{}", table(&site.truth));
            println!("inside: ip netns exec {} COMMAND", site.truth.scanner);
            for daemon in site.ended() {
                println!("{daemon} has ended");
            }
        }
        return Ok(());
    }
    if json {
        bail!("no site runs; start one with `cargo xtask lab up`");
    }
    for recipe in Recipe::all()? {
        let ports = recipe.endpoints.iter();
        let ports: Vec<String> = ports
            .map(|it| format!("{}/{}", it.port, it.service))
            .collect();
        let core = if recipe.core { "core" } else { "" };
        println!("{:<18} {core:<4}  {}", recipe.name, ports.join(" "));
    }
    println!("no site runs; start one with `cargo xtask lab up`");
    Ok(())
}

/// How many daemons there are.
fn daemons(truth: &Truth) -> usize {
    let names = truth.endpoints.iter().map(|it| it.daemon.as_str());
    names.collect::<std::collections::BTreeSet<_>>().len()
}

fn table(truth: &Truth) -> String {
    let mut text = String::new();
    for endpoint in &truth.endpoints {
        let tls = match endpoint.tls {
            None => "",
            Some(Tls::Implicit) => "implicit",
            Some(Tls::Starttls) => "starttls",
        };
        let product = endpoint.product.first().map_or("", String::as_str);
        let discloses = match endpoint.discloses {
            Disclosure::Nothing => "nothing",
            Disclosure::Product => "product",
            Disclosure::Version => "version",
        };
        let row = format!(
            "{:<13} {:>5}  {:<15} {tls:<8}  {product:<28} {:<12} discloses {discloses}\n",
            endpoint.address.to_string(),
            endpoint.port,
            endpoint.service,
            endpoint.version,
        );
        text.push_str(&row);
    }
    text
}
