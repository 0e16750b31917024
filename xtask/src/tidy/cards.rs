//! Whether every card of a service is embedded: a file that nothing reads looks like knowledge.

use super::Problem;
use super::repository::Repository;

/// Where the cards are.
const FOLDER: &str = "data/services/";
/// What lists them.
const LIST: &str = "crates/catalog/src/services/embedded.rs";

/// Cards that the list does not name. What it names and is not there does not compile.
pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let list = repository.files.get(LIST).map_or("", String::as_str);
    let cards = repository.files.keys().filter_map(|path| {
        let card = path.strip_prefix(FOLDER)?.strip_suffix(".toml")?;
        Some((path, card))
    });
    let missing = cards.filter(|(_, card)| !list.contains(&format!("\"{card}\"")));
    missing
        .map(|(path, _)| Problem::new(path, format!("{LIST} does not name it")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_is_not_embedded_is_named() {
        let check_card = |list: &str, expected: bool| {
            let files = [
                ("data/services/dns.toml", ""),
                ("data/services/README.md", ""),
                (LIST, list),
            ];
            let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
            let repository = Repository {
                files: files.into(),
                ..Repository::default()
            };
            assert_eq!(check(&repository).is_empty(), expected, "{list}");
        };
        check_card("files![\"dns\"]", true);
        check_card("files![\"mdns\"]", false);
    }
}
