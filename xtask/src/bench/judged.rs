//! One run of Portolan at repliers, with what it said of each port beside the truth.

use super::measure::{Outcome, Subject, Usage};
use anyhow::{Context as _, Result};
use clap::ValueEnum;
use portolan_lab::Namespace;
use portolan_lab::repliers::{Ledger, Replier, Repliers, Verdict};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

/// Soft limit of open files, as systems have it.
const OPEN_FILES: u64 = 1_024;

/// How ports are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    /// By connections
    Connect,
    /// By raw packets
    Syn,
}

/// Where the repliers are, and who asks them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage<'a> {
    pub(super) program: &'a Path,
    pub(super) scanner: &'a Namespace,
    pub(super) target: &'a Namespace,
    pub(super) address: IpAddr,
    pub(super) timeout_s: u64,
}

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Judged {
    pub(super) engine: Engine,
    pub(super) endpoints: usize,
    pub(super) usage: Usage,
    /// Whether it ended by itself with everything looked at.
    pub(super) complete: bool,
    /// Ports that were not called open.
    pub(super) not_open: usize,
    /// Ports of which it was said that they were not looked at.
    pub(super) not_looked_at: usize,
    pub(super) false_names: usize,
    pub(super) false_tls: usize,
    pub(super) missed: usize,
    /// Ports of which something can be named, or TLS, and was.
    pub(super) named: usize,
    pub(super) namable: usize,
    /// Most connections to one port, in all and at once.
    pub(super) connections_max: u64,
    pub(super) at_once_max: u64,
    /// Most bytes sent to one port.
    pub(super) heard_max: u64,
    /// Longest time during which connections to one port stood, in seconds.
    pub(super) stood_max_s: f64,
    /// Connections that the repliers could not serve.
    pub(super) turned_away: u64,
    /// What was said that is not right.
    pub(super) wrong: Vec<Wrong>,
}

/// A port of which something was said that is not right.
#[derive(Debug, Serialize)]
pub(super) struct Wrong {
    port: u16,
    kind: String,
    seed: u64,
    verdict: String,
    said: Value,
}

impl Engine {
    pub(super) const ALL: [Self; 2] = [Self::Syn, Self::Connect];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Syn => "syn",
        }
    }
}

impl Stage<'_> {
    /// Asks `ports`, as Portolan takes them. `repliers` start now and end with the run.
    pub(super) fn run(&self, repliers: &[Replier], ports: &str, engine: Engine) -> Result<Judged> {
        let address = self.address.to_string();
        let words = [
            "scan",
            &address,
            "-p",
            ports,
            "--engine",
            engine.name(),
            "--depth",
            "identify",
            "--format",
            "json",
            "--progress",
            "never",
        ];
        let mut command = vec![self.program.to_string_lossy().into_owned()];
        command.extend(words.map(ToOwned::to_owned));
        let subject = Subject {
            command,
            open_files: OPEN_FILES,
            timeout_s: self.timeout_s,
        };
        let started = Repliers::start(self.target, repliers)?;
        let outcome = subject.measure(self.scanner);
        let ledger = started.end();
        let judged = judge(engine, repliers, outcome?, &ledger)?;
        judged.print();
        Ok(judged)
    }
}

/// Compares what was said with the truth. A run that was killed said nothing.
fn judge(
    engine: Engine,
    repliers: &[Replier],
    outcome: Outcome,
    ledger: &Ledger,
) -> Result<Judged> {
    let Outcome {
        usage,
        stdout,
        stderr,
    } = outcome;
    let document: Value = match serde_json::from_str(&stdout) {
        Err(_) if usage.timed_out => Value::Null,
        document => document.with_context(|| format!("no document: {stderr}"))?,
    };
    let said = said(&document);
    let most = |of: fn(&portolan_lab::repliers::PortLedger) -> u64| {
        ledger.ports.values().map(of).max().unwrap_or(0)
    };
    let stood = ledger.ports.values().map(|it| it.stood).max();
    let mut judged = Judged {
        engine,
        endpoints: repliers.len(),
        complete: usage.code == Some(0) && at(&document, "/run/complete") == true,
        usage,
        not_open: 0,
        not_looked_at: 0,
        false_names: 0,
        false_tls: 0,
        missed: 0,
        named: 0,
        namable: 0,
        connections_max: most(|it| it.connections),
        at_once_max: most(|it| it.at_once),
        heard_max: most(|it| it.heard),
        stood_max_s: stood.unwrap_or_default().as_secs_f64(),
        turned_away: ledger.turned_away,
        wrong: Vec::new(),
    };
    for replier in repliers {
        judged.count(replier, said.get(&replier.port));
    }
    Ok(judged)
}

/// What a document says of every open port.
fn said(document: &Value) -> BTreeMap<u16, &Value> {
    let hosts = at(document, "/hosts").as_array();
    let ports = hosts.into_iter().flatten();
    let ports = ports.filter_map(|it| at(it, "/ports").as_array()).flatten();
    ports
        .filter(|it| at(it, "/state") == "open")
        .filter_map(|it| Some((u16::try_from(at(it, "/port").as_u64()?).ok()?, it)))
        .collect()
}

/// The value at an RFC 6901 pointer; null where there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

impl Judged {
    fn count(&mut self, replier: &Replier, said: Option<&&Value>) {
        let said = said.map_or(&Value::Null, |it| *it);
        let truth = replier.kind.truth();
        let has_tls = !at(said, "/service/tls").is_null();
        let verdict = truth.judge(at(said, "/service/name").as_str(), has_tls);
        self.not_open += usize::from(said.is_null());
        let why = at(said, "/incomplete").as_array().into_iter().flatten();
        let passed_over = |it: &Value| {
            at(it, "/why")
                .as_str()
                .is_some_and(|it| it.contains(NOT_LOOKED))
        };
        self.not_looked_at += usize::from(why.into_iter().any(passed_over));
        let is_namable = truth.judge(None, false) == Verdict::Missed;
        self.namable += usize::from(is_namable);
        match verdict {
            Verdict::FalseName => self.false_names += 1,
            Verdict::FalseTls => self.false_tls += 1,
            Verdict::Missed => self.missed += 1,
            Verdict::Right => {
                self.named += usize::from(is_namable);
                return;
            }
        }
        self.wrong.push(Wrong {
            port: replier.port,
            kind: format!("{:?}", replier.kind),
            seed: replier.seed,
            verdict: format!("{verdict:?}"),
            said: said.clone(),
        });
    }

    fn print(&self) {
        println!(
            "  {:<8} {:>7.2} s  {:>4} MiB  {:>3} false names  {:>3} false TLS  {:>3}/{} named  \
             {:>3} not looked at{}",
            self.engine.name(),
            self.usage.seconds,
            self.usage.rss_max_kib / 1024,
            self.false_names,
            self.false_tls,
            self.named,
            self.namable,
            self.not_looked_at,
            if self.complete { "" } else { "  INCOMPLETE" },
        );
        println!(
            "           one port: at most {:.2} s with a connection, {} connections ({} at once), \
             {} bytes sent to it",
            self.stood_max_s, self.connections_max, self.at_once_max, self.heard_max
        );
        let mut kinds = BTreeMap::<(&str, &str, String), usize>::new();
        for wrong in &self.wrong {
            let name = at(&wrong.said, "/service/name").as_str().unwrap_or("-");
            let tls = if at(&wrong.said, "/service/tls").is_null() {
                ""
            } else {
                " in TLS"
            };
            let key = (
                wrong.verdict.as_str(),
                wrong.kind.as_str(),
                format!("{name}{tls}"),
            );
            *kinds.entry(key).or_default() += 1;
        }
        for ((verdict, kind, said), count) in kinds {
            println!("           {count:>3} x {verdict}: {kind}, said: {said}");
        }
    }
}

/// How Portolan says that it held no conversation.
const NOT_LOOKED: &str = "not looked at";

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_lab::repliers::{Kind, Service};

    fn replier(port: u16, kind: Kind) -> Replier {
        Replier {
            port,
            kind,
            seed: 0,
        }
    }

    #[test]
    fn what_was_said_is_judged() {
        let document = r#"{"run": {"complete": true}, "hosts": [{"ports": [
            {"port": 1, "state": "open", "service": {"name": "ssh", "tls": null}},
            {"port": 2, "state": "open", "service": {"name": "ssh", "tls": null}},
            {"port": 3, "state": "open", "service": {"name": null, "tls": "implicit"}},
            {"port": 4, "state": "open", "service": null,
             "incomplete": [{"fact": "service", "why": "not looked at: because"}]},
            {"port": 5, "state": "closed"}
        ]}]}"#;
        let repliers = [
            replier(1, Kind::Speaks(Service::Ssh)),
            replier(2, Kind::Silent),
            replier(3, Kind::Silent),
            replier(4, Kind::TlsAlert),
            replier(5, Kind::Silent),
        ];
        let outcome = Outcome {
            usage: Usage {
                seconds: 1.0,
                processor_seconds: 1.0,
                rss_max_kib: 1,
                timed_out: false,
                code: Some(0),
            },
            stdout: document.to_owned(),
            stderr: String::new(),
        };
        let judged = judge(Engine::Syn, &repliers, outcome, &Ledger::default()).unwrap();
        assert!(judged.complete);
        assert_eq!((judged.named, judged.namable), (1, 2));
        assert_eq!((judged.false_names, judged.false_tls), (1, 1));
        assert_eq!((judged.missed, judged.not_looked_at), (1, 1));
        assert_eq!((judged.not_open, judged.wrong.len()), (1, 3));
    }
}
