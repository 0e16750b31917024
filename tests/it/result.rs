//! Reads `--format json` as a consumer would: by key, from the page that describes it, without the
//! program's own types.

use crate::program::Ended;
use serde_json::Value;
use std::collections::BTreeMap;

/// The document of a run.
pub(crate) struct Document(pub(crate) Value);

/// State and reason of one port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) state: String,
    pub(crate) reason: String,
}

impl Document {
    /// The document on standard output.
    pub(crate) fn of(ended: &Ended) -> Self {
        Self::parse(&ended.stdout)
    }

    /// The document in `text`.
    pub(crate) fn parse(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| {
            panic!("no JSON document: {error}\n{text}");
        });
        assert_eq!(value["schema"], "portolan.run/1");
        Self(value)
    }

    /// Whether the run looked at everything.
    pub(crate) fn complete(&self) -> bool {
        self.0["run"]["complete"].as_bool().unwrap()
    }

    /// The hosts that answered.
    /// What the user was told that changes no result.
    pub(crate) fn notices(&self) -> &Vec<Value> {
        self.0["run"]["notices"].as_array().unwrap()
    }

    pub(crate) fn hosts(&self) -> &Vec<Value> {
        self.0["hosts"].as_array().unwrap()
    }

    /// A host by its address.
    pub(crate) fn host(&self, address: &str) -> &Value {
        self.hosts()
            .iter()
            .find(|host| host["ip"] == address)
            .unwrap_or_else(|| panic!("{address} is not in {}", self.0))
    }

    /// Open ports of a host, in ascending order; none when the host is not there.
    pub(crate) fn open(&self, address: &str) -> Vec<u16> {
        let host = self.hosts().iter().find(|host| host["ip"] == address);
        let ports = host.map(|host| host["ports"].as_array().unwrap());
        let mut open: Vec<u16> = ports
            .into_iter()
            .flatten()
            .filter(|port| port["state"] == "open")
            .map(number)
            .collect();
        open.sort_unstable();
        open
    }

    /// Addresses from which nothing came back.
    pub(crate) fn unanswered(&self) -> Vec<&str> {
        let addresses = self.0["unanswered"]["addresses"].as_array().unwrap();
        addresses.iter().map(|it| it.as_str().unwrap()).collect()
    }

    /// How many ports of those addresses ended for which reason.
    pub(crate) fn unanswered_reasons(&self) -> BTreeMap<&str, u64> {
        let reasons = self.0["unanswered"]["reasons"].as_array().unwrap();
        let reasons = reasons
            .iter()
            .map(|it| (it[0].as_str().unwrap(), it[1].as_u64().unwrap()));
        reasons.collect()
    }

    /// How many ports of a host are in `state` (`closed`, `filtered`, `not_tested`), listed or
    /// only counted.
    pub(crate) fn count(&self, address: &str, state: &str) -> u64 {
        let host = self.host(address);
        let listed = host["ports"].as_array().unwrap().iter();
        let listed = listed.filter(|port| port["state"] == state).count();
        u64::try_from(listed).unwrap() + host["other_ports"][state].as_u64().unwrap()
    }

    /// State and reason of every port of a host, listed or in a group.
    pub(crate) fn ports(&self, address: &str) -> BTreeMap<u16, Port> {
        let host = self.host(address);
        let mut ports = BTreeMap::new();
        let mut put = |number: u16, from: &Value| {
            let text = |key: &str| from[key].as_str().unwrap().to_owned();
            let port = Port {
                state: text("state"),
                reason: text("reason"),
            };
            assert_eq!(ports.insert(number, port), None, "{number} stands twice");
        };
        for port in host["ports"].as_array().unwrap() {
            put(number(port), port);
        }
        for group in host["other_ports"]["groups"].as_array().unwrap() {
            for number in numbers(group["ports"].as_str().unwrap()) {
                put(number, group);
            }
        }
        ports
    }

    /// One listed port of a host.
    pub(crate) fn port(&self, address: &str, port: u16) -> &Value {
        self.host(address)["ports"]
            .as_array()
            .unwrap()
            .iter()
            .find(|listed| listed["port"] == port)
            .unwrap_or_else(|| panic!("{port} is not listed in {}", self.0))
    }
}

fn number(port: &Value) -> u16 {
    u16::try_from(port["port"].as_u64().unwrap()).unwrap()
}

/// `1-3,7` as numbers.
pub(crate) fn numbers(text: &str) -> Vec<u16> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .flat_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            first.parse::<u16>().unwrap()..=last.parse::<u16>().unwrap()
        })
        .collect()
}

/// Ports as `--ports` takes them.
pub(crate) fn list(ports: &[u16]) -> String {
    let words: Vec<String> = ports.iter().map(u16::to_string).collect();
    words.join(",")
}
