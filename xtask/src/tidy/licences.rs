//! Licences and bans over the whole lock file: what the product is built from may be given away on
//! the product's own terms. Expressions are SPDX (annex D of the SPDX specification).

use super::Problem;
use super::repository::Repository;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What may follow `WITH`: exceptions that only give more.
const ALLOWED_EXCEPTIONS: &[&str] = &["LLVM-exception"];

/// Packages that may never come in, with the reason.
const BANNED: &[(&str, &str)] = &[
    (
        "native-tls",
        "TLS is rustls, so that the binary needs no library beyond libc",
    ),
    (
        "openssl",
        "TLS is rustls, so that the binary needs no library beyond libc",
    ),
    (
        "openssl-sys",
        "TLS is rustls, so that the binary needs no library beyond libc",
    ),
    (
        "pcap",
        "packets come from the kernel's own sockets, not from libpcap",
    ),
];

/// Every package has an allowed licence and none is banned.
pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in &repository.packages {
        let name = format!("{} {}", package.name, package.version);
        match package.license.as_deref() {
            None => problems.push(Problem::new(
                "Cargo.lock",
                format!("{name} names no licence"),
            )),
            Some(license) if !permitted(license) => problems.push(Problem::new(
                "Cargo.lock",
                format!("{name} has the licence {license:?}, which is not on the list"),
            )),
            Some(_) => {}
        }
        if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| *banned == package.name) {
            problems.push(Problem::new(
                "Cargo.lock",
                format!("{name} is banned: {reason}"),
            ));
        }
    }
    problems
}

/// Whether `expression` can be met with allowed licences alone.
fn permitted(expression: &str) -> bool {
    // Before SPDX expressions, a slash meant a choice; packages of that time still say it.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words };
    parser.choice() == Some(true) && parser.words.is_empty()
}

/// Recursive descent; each method answers whether its part is permitted, `None` on bad grammar.
struct Parser<'a> {
    words: &'a [&'a str],
}

impl Parser<'_> {
    fn choice(&mut self) -> Option<bool> {
        let mut permitted = self.all()?;
        while self.take("OR") {
            permitted |= self.all()?;
        }
        Some(permitted)
    }

    fn all(&mut self) -> Option<bool> {
        let mut permitted = self.one()?;
        while self.take("AND") {
            permitted &= self.one()?;
        }
        Some(permitted)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let permitted = self.choice()?;
            return self.take(")").then_some(permitted);
        }
        let mut permitted = ALLOWED.contains(&self.next()?);
        if self.take("WITH") {
            permitted &= ALLOWED_EXCEPTIONS.contains(&self.next()?);
        }
        Some(permitted)
    }

    fn next(&mut self) -> Option<&str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.next();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::repository::Package;

    fn check_expression(expression: &str, expected: bool) {
        assert_eq!(permitted(expression), expected, "{expression}");
    }

    #[test]
    fn a_choice_needs_one_allowed_licence_and_a_sum_needs_all() {
        check_expression("MIT", true);
        check_expression("GPL-3.0-only", false);
        check_expression("MIT OR GPL-3.0-only", true);
        check_expression("MIT AND GPL-3.0-only", false);
        check_expression("Unlicense/MIT", true);
        check_expression("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check_expression("(GPL-2.0-only OR AGPL-3.0-only) AND MIT", false);
        check_expression("GPL-2.0-only OR MIT AND ISC", true);
    }

    #[test]
    fn an_exception_is_judged_too() {
        check_expression("Apache-2.0 WITH LLVM-exception OR MIT", true);
        check_expression("Apache-2.0 WITH LLVM-exception", true);
        check_expression("Apache-2.0 WITH Some-exception", false);
    }

    #[test]
    fn bad_grammar_is_not_permitted() {
        for bad in ["", "MIT OR", "(MIT", "MIT)", "MIT MIT", "WITH"] {
            check_expression(bad, false);
        }
    }

    fn check_package(name: &str, license: Option<&str>, problems: usize) {
        let repository = Repository {
            packages: vec![Package {
                name: name.to_owned(),
                license: license.map(ToOwned::to_owned),
                ..Package::default()
            }],
            ..Repository::default()
        };
        assert_eq!(check(&repository).len(), problems, "{name}");
    }

    #[test]
    fn missing_licences_and_banned_packages_fail() {
        check_package("fine", Some("MIT"), 0);
        check_package("fine", None, 1);
        check_package("openssl-sys", Some("MIT"), 1);
        check_package("pcap", Some("GPL-3.0-only"), 2);
    }
}
