//! `nmap -sV` on the same endpoints: its command, what it found, and its names for services.
//!
//! What is not here: the comparison with the truth (`check`).

use super::verdict::{Found, FoundAt};
use anyhow::Result;
use portolan_lab::site::Tls;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Its names for services, and the ones of the lab.
const NAMES: &[(&str, &str)] = &[
    ("X11", "x11"),
    ("afs3-callback", "http"),
    ("ajp13", "ajp"),
    ("bittorrent-tracker", "bittorrent"),
    ("clam", "clamd"),
    ("distccd", "distcc"),
    ("domain", "dns"),
    ("ftps", "ftp"),
    ("gpsd-ng", "gpsd"),
    ("http-alt", "http"),
    ("http-proxy", "http"),
    ("imaps", "imap"),
    ("ipp", "http"),
    ("kerberos-sec", "kerberos"),
    ("microsoft-ds", "smb"),
    ("ms-wbt-server", "rdp"),
    ("netbios-ssn", "smb"),
    ("nagios-nsca", "nrpe"),
    ("pop3s", "pop3"),
    ("rpcbind", "sunrpc"),
    ("sieve", "managesieve"),
    ("sip-proxy", "sip"),
    ("smtps", "smtp"),
    ("snews", "nntp"),
    ("socks4", "socks"),
    ("socks5", "socks"),
    ("svnserve", "svn"),
    ("telnets", "telnet"),
    ("upnp", "http"),
    ("vnc-http", "http"),
    ("xmpp-client", "xmpp"),
    ("xmpp-server", "xmpp"),
    ("zabbix", "zabbix-agent"),
];

/// Its command line for addresses and ports.
pub(super) fn command(addresses: &[String], ports: &str) -> Vec<String> {
    let words = [
        "nmap", "-sS", "-sV", "-n", "-Pn", "-T4", "-oX", "-", "-p", ports,
    ];
    let words = words.into_iter().map(ToOwned::to_owned);
    words.chain(addresses.iter().cloned()).collect()
}

/// What it wrote, by address and port. A name that it took from its table of ports is none.
pub(super) fn read(xml: &str) -> Result<FoundAt> {
    let mut reader = Reader::from_str(xml);
    let mut found = FoundAt::new();
    let (mut address, mut port) = (String::new(), 0);
    loop {
        let element = match reader.read_event()? {
            Event::Eof => return Ok(found),
            Event::Start(element) | Event::Empty(element) => element,
            _ => continue,
        };
        match element.name().as_ref() {
            "address" if is_ip(&element) => {
                address = attribute(&element, "addr").unwrap_or_default();
            }
            "port" => {
                let number = attribute(&element, "portid").and_then(|it| it.parse().ok());
                port = number.unwrap_or(0);
            }
            "service" if is_probed(&element) => {
                found.insert((address.clone(), port), service(&element));
            }
            _ => {}
        }
    }
}

/// Whether it is an address of the Internet Protocol, and not one of the hardware.
fn is_ip(element: &BytesStart<'_>) -> bool {
    attribute(element, "addrtype").as_deref() != Some("mac")
}

/// Whether it comes from an answer, and not from the table of ports.
fn is_probed(element: &BytesStart<'_>) -> bool {
    attribute(element, "method").as_deref() == Some("probed")
}

fn service(element: &BytesStart<'_>) -> Found {
    let name = attribute(element, "name")
        .filter(|it| it != "tcpwrapped" && it != "unknown" && it != "ssl");
    let ours = name.map(|name| {
        let known = NAMES.iter().find(|(theirs, _)| *theirs == name);
        known.map_or(name, |(_, ours)| (*ours).to_owned())
    });
    let is_inside_tls = attribute(element, "tunnel").as_deref() == Some("ssl");
    Found {
        service: ours,
        tls: is_inside_tls.then_some(Tls::Implicit),
        product: attribute(element, "product"),
        version: attribute(element, "version"),
        evidence: None,
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.try_get_attribute(name).ok()??;
    let text = attribute.value.into_owned();
    Some(text.replace("&amp;", "&"))
}
