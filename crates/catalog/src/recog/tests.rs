//! Files of the tests' own, and what their fingerprints say.

use super::*;

const SSH: &str = r#"<?xml version="1.0"?>
<fingerprints matches="ssh.banner" protocol="SSH" database_type="service" preference="0.9">
  <!-- made up -->
  <fingerprint pattern="^Acme_([\d.]+)(?:p(\d+))?(?: (\S+))?$" certainty="0.95">
    <description>Acme
      shell</description>
    <example service.version="1.2" service.protocol="ssh"
             service.cpe23="cpe:/a:acme:shell:1.2">Acme_1.2</example>
    <example service.version="1.2" os.product="Fruit &amp; Co" _encoding="base64">QWNtZV8xLjJwMyBGcnVpdA==</example>
    <param pos="0" name="service.vendor" value="Acme"/>
    <param pos="0" name="service.product" value="Shell"/>
    <param pos="1" name="service.version"/>
    <param pos="2" name="_tmp.patch" value="0"/>
    <param pos="3" name="_tmp.os"/>
    <param pos="0" name="os.product" value="{_tmp.os} &#38; Co"/>
    <param pos="0" name="os.version" value="{service.version}-{_tmp.patch}"/>
    <param pos="0" name="service.cpe23" value="cpe:/a:acme:shell:{service.version}"/>
    <param pos="0" name="hw.device" value="Router"/>
  </fingerprint>
  <fingerprint pattern="^acme" flags="REG_ICASE,REG_MULTILINE">
    <description>Some Acme</description>
    <param pos="0" name="service.product" value="Any"/>
    <param pos="0" name="service.cpe23" value="cpe:/a:acme:any:{service.version}"/>
  </fingerprint>
</fingerprints>
"#;

fn read(files: &[(&str, &str)]) -> Result<Fingerprints, FingerprintError> {
    let files = files.iter().map(|(name, text)| (*name, text.as_bytes()));
    Fingerprints::read(files, Examples::Kept)
}

fn no_file(_: &str, path: &str) -> Result<Vec<u8>, String> {
    Err(format!("{path} is not here"))
}

#[test]
fn a_match_says_what_is_captured_and_written() {
    let fingerprints = read(&[("ssh.xml", SSH)]).unwrap();
    assert_eq!((fingerprints.len(), fingerprints.is_empty()), (2, false));
    let found = fingerprints
        .find("ssh.banner", b"Acme_1.2p3 Fruit")
        .unwrap();
    let expected = Match {
        vendor: Some(Text::from("Acme")),
        product: Some(Text::from("Shell")),
        version: Some(Text::from("1.2")),
        os_product: Some(Text::from("Fruit & Co")),
        os_version: Some(Text::from("1.2-3")),
        device: Some(Text::from("Router")),
        certainty: 95,
        description: Text::from("Acme shell"),
        file: "ssh.xml".to_owned(),
        line: 4,
    };
    assert_eq!(found, expected);
    // A group without part in the match: its default, or nothing.
    let found = fingerprints.find("ssh.banner", b"Acme_1.2").unwrap();
    assert_eq!(found.os_version, Some(Text::from("1.2-0")));
    assert_eq!(found.os_product, None);
}

#[test]
fn the_first_pattern_in_a_file_wins() {
    let fingerprints = read(&[("ssh.xml", SSH)]).unwrap();
    let product = |text: &[u8]| fingerprints.find("ssh.banner", text)?.product;
    assert_eq!(product(b"Acme_1.2"), Some(Text::from("Shell")));
    assert_eq!(product(b"ACME_1.2"), Some(Text::from("Any")));
    assert_eq!(product(b"Other"), None);
    assert_eq!(fingerprints.find("ftp.banner", b"Acme_1.2"), None);
    let found = fingerprints.find("ssh.banner", b"ACME").unwrap();
    assert_eq!((found.line, found.certainty), (20, CERTAINTY_USUAL));
}

#[test]
fn of_files_the_preferred_is_asked_first() {
    let file = |attributes: &str, product: &str| {
        format!(
            r#"<fingerprints matches="a" {attributes}><fingerprint pattern="x"><description/>
               <param pos="0" name="service.product" value="{product}"/></fingerprint></fingerprints>"#
        )
    };
    let check = |first: (&str, &str), second: (&str, &str), expected: &str| {
        let files = [file(first.0, first.1), file(second.0, second.1)];
        let read = read(&[("b.xml", &files[0]), ("a.xml", &files[1])]).unwrap();
        let found = read.find("a", b"x").unwrap();
        assert_eq!(found.product, Some(Text::from(expected)));
    };
    check(
        (r#"preference="0.9""#, "b"),
        (r#"preference="0.8""#, "a"),
        "b",
    );
    check(
        (r#"preference="0.8""#, "b"),
        (r#"preference="0.8""#, "a"),
        "a",
    );
    check((r#"priority="10""#, "b"), (r#"priority="20""#, "a"), "b");
    check(("", "b"), (r#"priority="20""#, "a"), "a");
}

#[test]
fn a_file_without_a_kind_is_for_that_of_its_name() {
    let file = "<fingerprints><fingerprint pattern='x'><description>d</description></fingerprint></fingerprints>";
    let read = read(&[("below/html_title.xml", file), ("other.kind.xml", file)]).unwrap();
    assert!(read.find("html_title", b"x").is_some());
    assert_eq!(read.unused_kinds().collect::<Vec<_>>(), ["other.kind"]);
}

#[test]
fn examples_hold_or_are_told() {
    let checked = read(&[("ssh.xml", SSH)]).unwrap().check(no_file);
    assert_eq!((checked.held, checked.failures.as_slice()), (2, &[][..]));
    let check = |from: &str, to: &str, line: usize, expected: &str| {
        let file = SSH.replacen(from, to, 1);
        assert_ne!(file, SSH);
        let checked = read(&[("ssh.xml", &file)]).unwrap().check(no_file);
        let [failure] = checked.failures.as_slice() else {
            panic!("{:?}", checked.failures);
        };
        assert_eq!((failure.file.as_str(), failure.line), ("ssh.xml", line));
        assert!(failure.problem.contains(expected), "{failure}");
    };
    check(">Acme_1.2<", ">Acme-1.2<", 7, "does not match");
    check(
        "version=\"1.2\"",
        "version=\"1.3\"",
        7,
        "should be \"1.3\" here, and is \"1.2\"",
    );
    check("service.protocol=", "os.vendor=", 7, "not found");
    check(
        "_encoding=\"base64\"",
        "_filename=\"a.bin\"",
        9,
        "a.bin is not here",
    );
}

#[test]
fn an_example_may_stand_in_a_file_of_its_own() {
    let file = SSH.replacen("_encoding=\"base64\"", "_filename=\"a.bin\"", 1);
    let checked = read(&[("ssh.xml", &file)]).unwrap().check(|file, path| {
        assert_eq!((file, path), ("ssh.xml", "a.bin"));
        Ok(b"Acme_1.2 Fruit".to_vec())
    });
    assert_eq!((checked.held, checked.failures.len()), (2, 0));
}

#[test]
fn a_fault_names_file_and_line() {
    let check = |from: &str, to: &str, line: usize, expected: &str| {
        let file = SSH.replacen(from, to, 1);
        assert_ne!(file, SSH);
        let error = read(&[("ssh.xml", &file)]).unwrap_err();
        assert_eq!(
            (error.file.as_str(), error.line),
            ("ssh.xml", line),
            "{error}"
        );
        assert!(error.problem.contains(expected), "{error}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("ssh.xml, line {line}: "))
        );
    };
    check(
        "(\\S+)",
        "(\\S+",
        4,
        "the pattern cannot be read: unclosed group",
    );
    check("(\\S+)", "(?=\\S+)", 4, "look-ahead");
    check("REG_ICASE", "REG_FOO", 20, "no flag");
    check("0.95", "95%", 4, "no number from 0 to 1");
    check("0.9\"", "high\"", 2, "no number from 0 to 1");
    check("pos=\"3\"", "pos=\"4\"", 14, "beyond the groups");
    check("pos=\"3\"", "pos=\"x\"", 14, "no number");
    check(" value=\"Router\"", "", 18, "no value");
    check(" name=\"hw.device\"", "", 18, "has no name");
    check("pattern=\"^acme\"", "", 20, "has no pattern");
    check("QWNt", "Q-Nt", 9, "no base64");
    check("base64", "rot13", 9, "not known");
    check("&amp;", "&nbsp;", 9, "");
    check("</description>", "", 19, "no well-formed XML");
    check(
        "<?xml",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><?xml",
        1,
        "declares entities",
    );
    check("<fingerprints ", "<prints ", 2, "no <fingerprints>");
    let error = |text: &[u8]| Fingerprints::read([("a.xml", text)], Examples::Dropped).unwrap_err();
    assert_eq!(error(b"").line, 1);
    assert_eq!(error(b"<fingerprints>\n<a>\n").line, 3);
    assert_eq!(error(b"<fingerprints>\n\xff").line, 2);
    assert!(
        error(&b"<fingerprints>".repeat(99))
            .problem
            .contains("deep")
    );
}

#[test]
fn every_truncation_is_read_or_refused() {
    for end in 0..SSH.len() {
        let cut = SSH.as_bytes().get(..end).unwrap();
        let read = Fingerprints::read([("ssh.xml", cut)], Examples::Kept);
        assert_eq!(
            read.is_ok(),
            cut.trim_ascii_end().ends_with(b"</fingerprints>"),
            "{end}"
        );
    }
}

#[test]
fn examples_of_a_scan_are_passed_over() {
    let file = SSH.replacen("QWNt", "Q-Nt", 1);
    let read = Fingerprints::read([("ssh.xml", file.as_bytes())], Examples::Dropped).unwrap();
    assert_eq!(read.check(no_file), Checked::default());
}

#[test]
fn a_hostile_text_is_cut_and_its_values_are_not_believed() {
    let file = r#"<fingerprints matches="a"><fingerprint pattern="^v(.*)$" flags="REG_DOT_NEWLINE">
        <param pos="1" name="service.version"/></fingerprint>
        <fingerprint pattern="far"/></fingerprints>"#;
    let fingerprints = read(&[("a.xml", file)]).unwrap();
    let version = |length: usize| {
        let text = [b"v".to_vec(), vec![b'\x1b'; length]].concat();
        fingerprints.find("a", &text).unwrap().version
    };
    assert_eq!(version(1), Some(Text::from("\\x1b")));
    assert_eq!(version(VALUE_BYTES_MAX + 1), None);
    assert_eq!(version(1 << 20), None);
    let far = [vec![b'-'; TEXT_BYTES_MAX - 2], b"far".to_vec()].concat();
    assert_eq!(fingerprints.find("a", &far), None);
    assert!(fingerprints.find("a", &far[1..]).is_some());
}
