//! Just enough of Rust's lexical grammar to look at code without its comments and literals, and to
//! find functions and their length. It parses nothing else and judges nothing.

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// Line of the keyword, counted from 1.
    pub(crate) line: usize,
    /// Lines from the keyword to the closing brace, both counted.
    pub(crate) lines: usize,
}

/// `source` with comments, strings and characters replaced by spaces; line breaks stay.
pub(crate) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            code.extend(chars.get(at));
            at += 1;
        } else {
            let hidden = chars.get(at..end).unwrap_or_default();
            code.extend(hidden.iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Functions with a body in `code`, which must come from [`code_only`].
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let chars: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    for (at, word) in words(&chars) {
        if word != "fn" {
            continue;
        }
        let rest = chars.get(at + 2..).unwrap_or_default();
        let Some((_, name)) = words(rest).next() else {
            continue;
        };
        let pointer = rest.iter().find(|c| !c.is_whitespace()) == Some(&'(');
        if pointer {
            continue;
        }
        if let Some(end) = body_end(rest) {
            let before = chars.get(..at).unwrap_or_default();
            let body = rest.get(..end).unwrap_or_default();
            found.push(Function {
                name,
                line: 1 + newlines(before),
                lines: 1 + newlines(body),
            });
        }
    }
    found
}

/// Whether `code` contains `word` as a whole identifier.
pub(crate) fn line_of_word(code: &str, word: &str) -> Option<usize> {
    code.lines()
        .position(|line| {
            let chars: Vec<char> = line.chars().collect();
            words(&chars).any(|(_, found)| found == word)
        })
        .map(|index| index + 1)
}

fn newlines(chars: &[char]) -> usize {
    chars.iter().filter(|c| **c == '\n').count()
}

/// Identifiers and numbers with their positions.
fn words(chars: &[char]) -> impl Iterator<Item = (usize, String)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while chars.get(at).is_some_and(|c| !is_word(*c)) {
            at += 1;
        }
        let start = at;
        while chars.get(at).is_some_and(|c| is_word(*c)) {
            at += 1;
        }
        (at > start).then(|| {
            let word = chars.get(start..at).unwrap_or_default();
            (start, word.iter().collect())
        })
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Position behind the closing brace of the body that follows a signature; `None` when the
/// signature ends in a semicolon.
fn body_end(chars: &[char]) -> Option<usize> {
    let mut brackets = 0_i32;
    let mut braces = 0_i32;
    for (at, c) in chars.iter().enumerate() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 && brackets == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Position behind the comment or literal that starts at `at`; `at` when none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let peek = |offset: usize| chars.get(at + offset).copied();
    let inside_word = at > 0 && chars.get(at - 1).is_some_and(|c| is_word(*c));
    match (peek(0), peek(1)) {
        (Some('/'), Some('/')) => seek(chars, at, |c| c == '\n'),
        (Some('/'), Some('*')) => block_comment_end(chars, at),
        (Some('"'), _) => string_end(chars, at + 1),
        (Some('\''), Some('\\')) => 1 + seek(chars, at + 3, |c| c == '\''),
        (Some('\''), Some(_)) if peek(2) == Some('\'') => at + 3,
        (Some('r'), _) if !inside_word => raw_string_end(chars, at, at + 1),
        (Some('b' | 'c'), Some('r')) if !inside_word => raw_string_end(chars, at, at + 2),
        _ => at,
    }
}

fn seek(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    let mut at = from;
    while chars.get(at).is_some_and(|c| !stop(*c)) {
        at += 1;
    }
    at
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match (chars.get(at), chars.get(at + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                at += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while let Some(c) = chars.get(at) {
        match c {
            '"' => return at + 1,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `hashes` is where the number signs of a raw string would begin.
fn raw_string_end(chars: &[char], start: usize, hashes: usize) -> usize {
    let quote = seek(chars, hashes, |c| c != '#');
    if chars.get(quote) != Some(&'"') {
        return start;
    }
    let count = quote - hashes;
    let mut at = quote + 1;
    while at < chars.len() {
        let closing = chars.get(at + 1..at + 1 + count).unwrap_or_default();
        if chars.get(at) == Some(&'"')
            && closing.len() == count
            && closing.iter().all(|c| *c == '#')
        {
            return at + 1 + count;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_code(source: &str, expected: &str) {
        assert_eq!(code_only(source), expected);
    }

    #[test]
    fn comments_and_literals_vanish_and_lines_stay() {
        check_code("a // b\nc", "a     \nc");
        check_code("a /* b /* \n */ c */ d", "a         \n         d");
        check_code(r#"f("{\"", 'x', '\'', '{')"#, "f(     ,    ,     ,    )");
        check_code("r#\"a\"b\"# c", "         c");
        check_code("br\"{\" d", "      d");
        check_code("&'a str, r#fn, for", "&'a str, r#fn, for");
        check_code("\"open", "     ");
    }

    fn check_functions(source: &str, expected: &[(&str, usize, usize)]) {
        let found: Vec<(String, usize, usize)> = functions(&code_only(source))
            .into_iter()
            .map(|function| (function.name, function.line, function.lines))
            .collect();
        let expected: Vec<(String, usize, usize)> = expected
            .iter()
            .map(|(name, line, lines)| ((*name).to_owned(), *line, *lines))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn functions_are_measured_from_keyword_to_closing_brace() {
        check_functions("fn a() {}", &[("a", 1, 1)]);
        check_functions("\nfn a(x: [u8; 4])\n{\n  if b { c() }\n}\n", &[("a", 2, 4)]);
        check_functions("trait T { fn a(); fn b() { } }", &[("b", 1, 1)]);
        check_functions("let f: fn(u8) = g; // fn h() {\n", &[]);
        check_functions("fn a() { \"}\" ;\n }", &[("a", 1, 2)]);
        check_functions("fn a() {\n fn b() {\n }\n}", &[("a", 1, 4), ("b", 2, 2)]);
    }

    #[test]
    fn a_word_is_found_only_as_a_whole() {
        assert_eq!(line_of_word("a\nunsafe {", "unsafe"), Some(2));
        assert_eq!(line_of_word("unsafe_code", "unsafe"), None);
    }
}
