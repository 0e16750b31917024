//! Tests of reading targets, for all formats.

use super::*;
use proptest::prelude::*;

/// `expected` is the sets and names as text, or the beginning of the message.
fn check(bytes: impl AsRef<[u8]>, expected: &str) {
    match read_targets(bytes.as_ref(), "hosts.txt") {
        Ok(specs) => {
            let text = |spec| match spec {
                Spec::Addresses(set) => set.to_string(),
                Spec::AllNodes(name) => format!("%{name}"),
                Spec::Name(name) => name,
            };
            let found: Vec<String> = specs.into_iter().map(text).collect();
            assert_eq!(found.join(" + "), expected);
        }
        Err(error) => {
            let found = error.to_string();
            assert!(
                !expected.is_empty() && found.starts_with(expected),
                "{found}"
            );
        }
    }
}

#[test]
fn plain_lists() {
    check("10.0.0.1", "10.0.0.1");
    check("10.0.0.1\n10.0.0.2\n", "10.0.0.1-10.0.0.2");
    check("10.0.0.1\r\n10.0.0.3\r\n", "10.0.0.1, 10.0.0.3");
    check("\u{feff}10.0.0.1\n", "10.0.0.1");
    check(
        "# office\n\n  10.0.0.1 b.example\t::1 # door\n#10.0.0.9\n",
        "10.0.0.1, ::1 + b.example",
    );
    check("a.example\nA.EXAMPLE\nb.example", "a.example + b.example");
    check("[::1]", "::1");
    check("10.0.0.0/31 10.0.0.2,3", "10.0.0.0-10.0.0.3");
}

#[test]
fn what_is_no_list_names_origin_and_line() {
    check("", "hosts.txt: there is no target in it");
    check(
        "\n\n# nothing\n \r\n",
        "hosts.txt: there is no target in it",
    );
    check("\u{feff}", "hosts.txt: there is no target in it");
    check(
        "10.0.0.1\n10.0.0.256\n",
        "hosts.txt, line 2: \"10.0.0.256\" is not a target: 256 is",
    );
    check(
        "a\n\n10.0.0.1,\n",
        "hosts.txt, line 3: \"10.0.0.1,\" is not a target",
    );
    check(
        "2001:db8::/64",
        "hosts.txt, line 1: \"2001:db8::/64\" is not a target: it has more",
    );
    check(
        b"10.0.0.1\n\x7fELF\x02\x01",
        "hosts.txt, line 2: this is no text",
    );
    check(
        b"10.0.0.1\n\xff\xfe\xfd",
        "hosts.txt, line 2: this is no text",
    );
    check(
        b"\x89PNG\r\n\x1a\n\0\0",
        "hosts.txt, line 1: this is no text",
    );
    check(b"\xff\xfe1\x000\x00.\x00", "hosts.txt: the text is UTF-16");
    check(b"\xfe\xff\x001\x000", "hosts.txt: the text is UTF-16");
    check(b"1\x000\x00.\x00", "hosts.txt: the text is UTF-16");
    check(b"\x001\x000\x00.", "hosts.txt: the text is UTF-16");
    check(
        vec![b'#'; INPUT_BYTES_MAX + 1],
        "hosts.txt: it is larger than 64 MiB",
    );
    check(
        "[\"10.0.0.1\"]",
        "hosts.txt, line 1: \"[\\\\\"10.0.0.1\\\\\"]\""
            .replace("\\\\", "")
            .as_str(),
    );
}

#[test]
fn a_boundary_may_be_wide() {
    let wide = read_boundaries(b"2001:db8::/32\n10.0.0.0/8", "deny.txt").unwrap();
    assert!(matches!(wide.as_slice(), [Spec::Addresses(set)] if set.len() > 1 << 95));
    assert!(read_boundaries(b"# none", "deny.txt").is_err());
}

#[test]
fn many_lines_become_few_ranges() {
    let lines: Vec<String> = (0..(1_u32 << 18) + 5)
        .map(|n| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string())
        .collect();
    check(lines.join("\n"), "10.0.0.0-10.4.0.4");
}

const NMAP: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE nmaprun>
<?xml-stylesheet href="file:///usr/share/nmap/nmap.xsl" type="text/xsl"?>
<!-- a report -->
<nmaprun scanner="nmap" args="nmap -oX - 192.0.2.0/29" version="7.93">
<hosthint><status state="up"/><address addr="192.0.2.200" addrtype="ipv4"/></hosthint>
<host><status state="up" reason="arp-response"/>
<address addr="192.0.2.1" addrtype="ipv4"/>
<address addr="00:00:5E:00:53:01" addrtype="mac" vendor="A &amp; B"/>
<hostnames><hostname name="a.example" type="PTR"/></hostnames>
<ports><extraports state="closed" count="999"/><port protocol="tcp" portid="22"><state state="open"/></port></ports>
</host>
<host><status state="down"/><address addr="192.0.2.2" addrtype="ipv4"/></host>
<host endtime="1"><address addr="192.0.2.3" addrtype="ipv4"/><ports><port protocol="tcp" portid="80"/></ports></host>
<host><status state="up"/><address addr="2001:db8::5" addrtype="ipv6"/></host>
<runstats><finished time="1"/><hosts up="3" down="1" total="4"/></runstats>
</nmaprun>
"#;

#[test]
fn nmap_reports() {
    check(NMAP, "192.0.2.1, 192.0.2.3, 2001:db8::5");
    check(
        format!("\u{feff}\n{NMAP}"),
        "192.0.2.1, 192.0.2.3, 2001:db8::5",
    );
    check(
        NMAP.replace('\n', "\r\n"),
        "192.0.2.1, 192.0.2.3, 2001:db8::5",
    );
    check(
        NMAP.replace(r#"addr="192.0.2.3""#, r#"addr="192.0.2.999""#),
        "hosts.txt, line 14: \"192.0.2.999\" is not an address",
    );
    check("<nmaprun/>", "hosts.txt: this nmap XML lists no host");
    check(
        "<nmaprun></nmaprun>",
        "hosts.txt: this nmap XML lists no host",
    );
    check(
        "<html><body/></html>",
        "hosts.txt, line 1: this is XML, but not a report of nmap",
    );
    check(
        "<nmaprun><host></nmaprun>",
        "hosts.txt, line 1: nmap XML that cannot be read",
    );
    check(
        "<nmaprun>\n<host>",
        "hosts.txt, line 2: nmap XML that cannot be read: it ends",
    );
    check(
        "<!-- x -->",
        "hosts.txt, line 1: nmap XML that cannot be read: it ends",
    );
    check(
        r#"<nmaprun><host><status state="up"/><address addr="192.0.2.7"/></host></nmaprun>"#,
        "192.0.2.7",
    );
}

#[test]
fn hostile_xml_is_refused() {
    let bomb = "<?xml version=\"1.0\"?>\n<!DOCTYPE nmaprun [<!ENTITY a \"10.0.0.1\"><!ENTITY b \"&a;&a;\">]>\n\
                <nmaprun><host><status state=\"up\"/><address addr=\"&b;\"/></host></nmaprun>";
    check(
        bomb,
        "hosts.txt, line 2: the XML brings a document type of its own",
    );
    check(
        r#"<nmaprun><host><address addr="&b;" addrtype="ipv4"/></host></nmaprun>"#,
        "hosts.txt, line 1: nmap XML that cannot be read",
    );
    let deep = format!("<nmaprun>{}", "<table>".repeat(100_000));
    check(
        deep,
        "hosts.txt, line 1: its elements are nested more than 64 deep",
    );
    // Elements of the right name in the wrong place name no host.
    check(
        r#"<nmaprun><script><host><status state="up"/><address addr="10.0.0.1"/></host></script></nmaprun>"#,
        "hosts.txt: this nmap XML lists no host",
    );
}

const DOCUMENT: &str = r#"{
  "schema": "portolan.run/1", "version": "0.1.0",
  "run": {"id": "x", "later": [1, {"ip": "10.9.9.9"}]},
  "hosts": [
    {"ip": "192.0.2.7", "names": ["a.example"], "ports": []},
    {"ip": "2001:db8::9"}
  ]
}
"#;

#[test]
fn documents_and_events_of_our_own() {
    check(DOCUMENT, "192.0.2.7, 2001:db8::9");
    check(format!("\u{feff}{DOCUMENT}"), "192.0.2.7, 2001:db8::9");
    check(
        "{\"schema\":\"portolan.event/1\",\"type\":\"run-started\",\"addresses\":4}\n\
         {\"schema\":\"portolan.event/1\",\"type\":\"port\",\"ip\":\"192.0.2.1\"}\n\
         {\"schema\":\"portolan.event/1\",\"type\":\"host\",\"host\":{\"ip\":\"192.0.2.4\"}}\n",
        "192.0.2.1, 192.0.2.4",
    );
    check(
        "{}",
        "hosts.txt, line 1: this is JSON, but not a document or events of Portolan",
    );
    check(
        "{\"schema\":\"portolan.run/2\",\"hosts\":[]}",
        "hosts.txt, line 1: this is JSON, but not",
    );
    check(
        "{\"schema\":\"portolan.run/1\",\"hosts\":[]}",
        "hosts.txt: this Portolan JSON lists no host",
    );
    check(
        "{\"schema\":\"portolan.event/1\",\"ip\":\"192.0.2.1\"}\n\n{\"schema\":\"portolan.event/1\",\"ip\":\"x\"}",
        "hosts.txt, line 3: \"x\" is not an address",
    );
    check(
        "{\"schema\":\"portolan.event/1\",\"ip\":\"192.0.2.1\"}\n{\"schema\":",
        "hosts.txt, line 2: Portolan JSON that cannot be read",
    );
    let deep = format!("{{\"x\":{}", "[".repeat(1_000_000));
    check(deep, "hosts.txt, line 1: Portolan JSON that cannot be read");
}

#[test]
fn every_truncation_of_a_document_is_an_error() {
    for whole in [NMAP, DOCUMENT] {
        let end = whole.trim_end().len();
        for cut in 1..end {
            let part = &whole.as_bytes()[..cut];
            assert!(read_targets(part, "cut").is_err(), "{}", &whole[..cut]);
        }
    }
}

proptest! {
    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200), start in 0_usize..5) {
        let start = ["", "<nmaprun>", "{\"schema\":", "\u{feff}", "<?xml"][start];
        let bytes = [start.as_bytes(), &noise].concat();
        if let Ok(specs) = read_targets(&bytes, "noise") {
            prop_assert!(!specs.is_empty());
        }
    }

    #[test]
    fn damaged_reports_never_panic(at in 0_usize..1000, byte: u8, document: bool) {
        let mut bytes = if document { DOCUMENT } else { NMAP }.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(specs) = read_targets(&bytes, "damaged") {
            prop_assert!(!specs.is_empty());
        }
    }
}
