//! Benchmarks, most of them in network namespaces: Portolan beside its peers on the same kernel, with
//! the raw results kept in `bench/results/`. What is measured and why is in `bench/README.md`.

mod beside;
mod connect;
mod delayed;
mod fingerprints;
mod instructions;
mod judged;
pub(crate) mod machine;
pub(crate) mod measure;
mod negative;
mod peer;
mod question;
mod runs;
mod scale;
mod scan;
mod send;
pub(crate) mod send_loop;
mod table;
mod udp;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// All ports of one host without privileges: clean, silently filtered, with loss
    Connect(connect::Options),
    /// Reading 4,700 fingerprints of a user at the start, and trying their examples
    Fingerprints,
    /// 200 ports of ten services behind a delay of 50 ms: which are named, and when
    Delayed(delayed::Options),
    /// Instructions a probe takes, against the committed figure; needs valgrind and no root
    Instructions(instructions::Options),
    /// A thousand ports that are hostile or mean nothing: what is said of them
    Negative(negative::Options),
    /// Raw packets: one host in many conditions, and many hosts, beside the peers
    Scan(scan::Options),
    /// A thousand UDP ports of one host, a dozen real daemons on them
    Udp(udp::Options),
    /// Memory of runs of 2^20 probes and of 2^24 and 2^25 raw ones; a dry run over 10.0.0.0/8
    Scale,
    /// Frames a second into a peer that drops them, on one core, beside bare loops and peers
    Send(send::Options),
}

/// Measures, prints and keeps the raw results.
pub(crate) fn run(root: &Path, bench: Bench) -> Result<()> {
    match bench {
        Bench::Connect(options) => may_make_networks().and_then(|()| connect::run(root, &options)),
        Bench::Fingerprints => may_make_networks().and_then(|()| fingerprints::run(root)),
        Bench::Delayed(options) => may_make_networks().and_then(|()| delayed::run(root, &options)),
        Bench::Instructions(options) => instructions::run(root, &options),
        Bench::Negative(options) => {
            may_make_networks().and_then(|()| negative::run(root, &options))
        }
        Bench::Scale => may_make_networks().and_then(|()| scale::run(root)),
        Bench::Scan(options) => may_make_networks().and_then(|()| scan::run(root, &options)),
        Bench::Send(options) => may_make_networks().and_then(|()| send::run(root, &options)),
        Bench::Udp(options) => may_make_networks().and_then(|()| udp::run(root, &options)),
    }
}

/// Clears away what ended benchmarks left, and tries whether there can be new networks.
pub(crate) fn may_make_networks() -> Result<()> {
    portolan_lab::sweep()?;
    portolan_lab::available().context("benchmarks need root, iproute2 and nftables")
}

/// Builds the program as it ships and says where it is.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    crate::run::succeed(&mut crate::run::cargo_command(
        root,
        &["build", "--release", "--locked", "--package", "portolan"],
    ))?;
    Ok(crate::run::target(root).join("release").join("portolan"))
}

/// Keeps raw results under the name of the benchmark and the moment.
pub(crate) fn keep(root: &Path, name: &str, results: &impl Serialize) -> Result<()> {
    let moment = jiff::Timestamp::now().strftime("%Y-%m-%dT%H%MZ");
    let relative = format!("bench/results/{name}-{moment}.json");
    let path = root.join(&relative);
    std::fs::create_dir_all(root.join("bench/results"))?;
    let mut text = serde_json::to_string_pretty(results)?;
    text.push('\n');
    std::fs::write(&path, text).with_context(|| format!("failed to write {relative}"))?;
    println!("raw results: {relative}");
    Ok(())
}
