//! Patterns as Ruby reads them, written as the matcher here reads them. Only the spelling is
//! changed; whether a pattern is right is the matcher's to say.

/// Writes `pattern` in the matcher's dialect.
///
/// # Errors
/// When it has something that cannot be matched in linear time, or that nobody defined.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut reading = Reading {
        rest: pattern,
        written: String::with_capacity(pattern.len()),
        classes: 0,
        repeated: false,
    };
    while reading.one()? {}
    Ok(reading.written)
}

struct Reading<'a> {
    rest: &'a str,
    written: String,
    /// Brackets that are open.
    classes: usize,
    /// Whether the last thing was `*`, `+` or `?`, for which a `+` behind it means something else.
    repeated: bool,
}

impl<'a> Reading<'a> {
    /// Reads one thing; `false`: there is none.
    fn one(&mut self) -> Result<bool, String> {
        let mut chars = self.rest.chars();
        let Some(first) = chars.next() else {
            return Ok(false);
        };
        let repeated = std::mem::take(&mut self.repeated);
        if first == '\\' {
            let Some(letter) = chars.next() else {
                return Err("the pattern ends with a backslash: write two for one".to_owned());
            };
            self.rest = chars.as_str();
            self.escape(letter)?;
        } else if self.classes > 0 {
            self.rest = chars.as_str();
            self.in_class(first);
        } else {
            self.outside(first, repeated)?;
        }
        Ok(true)
    }

    fn outside(&mut self, first: char, repeated: bool) -> Result<(), String> {
        if let Some(rest) = self.rest.strip_prefix("(?") {
            return self.group(rest);
        }
        let behind = self.rest.get(first.len_utf8()..).unwrap_or_default();
        self.rest = behind;
        match first {
            '+' if repeated => {
                return Err(cannot(
                    "a possessive repetition",
                    "write it without the second +",
                ));
            }
            '*' | '+' | '?' => {
                self.repeated = true;
                self.written.push(first);
            }
            '[' => self.opens_class(),
            '{' => match counts(behind) {
                Some((counts, rest)) => {
                    self.written.push_str(&counts);
                    self.rest = rest;
                }
                None => self.written.push_str("\\{"),
            },
            // One letter, which may be of several bytes (RFC 3629 §3), or a byte that is none.
            '.' if !behind.starts_with(['*', '+', '?', '{']) => {
                self.written.push_str("(?:.[\\x80-\\xBF]{0,3})");
            }
            other => self.written.push(other),
        }
        Ok(())
    }

    /// What begins with `(?`; `rest` is behind it.
    fn group(&mut self, rest: &'a str) -> Result<(), String> {
        for (sign, what) in [
            ("=", "look-ahead"),
            ("!", "look-ahead"),
            ("<=", "look-behind"),
            ("<!", "look-behind"),
            (">", "an atomic group"),
            ("(", "a condition"),
            ("~", "an absence"),
        ] {
            if rest.starts_with(sign) {
                return Err(cannot(what, "write the pattern without it"));
            }
        }
        let (written, behind) = if let Some(comment) = rest.strip_prefix('#') {
            let Some((_, behind)) = comment.split_once(')') else {
                return Err("a comment in the pattern is not closed: write ) behind it".to_owned());
            };
            (String::new(), behind)
        } else if let Some(named) = rest.strip_prefix('<') {
            ("(?<".to_owned(), named)
        } else if let Some(named) = rest.strip_prefix('\'') {
            let Some((name, behind)) = named.split_once('\'') else {
                return Err("the name of a group is not closed: write (?<name>…)".to_owned());
            };
            (format!("(?<{name}>"), behind)
        } else {
            // Ruby's m lets a dot be a newline, which is s here.
            let letters = rest.find(|c| !matches!(c, 'i' | 'm' | 'x' | '-'));
            let (flags, behind) = rest.split_at(letters.unwrap_or(rest.len()));
            (format!("(?{}", flags.replace('m', "s")), behind)
        };
        self.rest = behind;
        self.written.push_str(&written);
        Ok(())
    }

    fn opens_class(&mut self) {
        self.classes = self.classes.saturating_add(1);
        self.written.push('[');
        // A bracket that closes is a letter where nothing was opened before it.
        for sign in ["^", "]"] {
            if let Some(rest) = self.rest.strip_prefix(sign) {
                self.written
                    .push_str(if sign == "]" { "\\]" } else { sign });
                self.rest = rest;
            }
        }
    }

    fn in_class(&mut self, first: char) {
        match first {
            '[' => {
                // `[:alpha:]` is one thing.
                let name = self
                    .rest
                    .strip_prefix(':')
                    .and_then(|it| it.split_once(":]"));
                match name {
                    Some((name, behind)) if name.chars().all(|c| c == '^' || c.is_alphabetic()) => {
                        self.written.extend(["[:", name, ":]"]);
                        self.rest = behind;
                    }
                    _ => self.opens_class(),
                }
            }
            ']' => {
                self.classes = self.classes.saturating_sub(1);
                self.written.push(']');
            }
            // Two of these would take one class from another.
            '-' | '~' if self.rest.starts_with(first) => {
                self.written.push('\\');
                self.written.push(first);
            }
            other => self.written.push(other),
        }
    }

    fn escape(&mut self, letter: char) -> Result<(), String> {
        let in_class = self.classes > 0;
        let written = match letter {
            'h' if in_class => "0-9A-Fa-f",
            'h' => "[0-9A-Fa-f]",
            'H' => "[^0-9A-Fa-f]",
            'e' => "\\x1B",
            'b' if in_class => "\\x08",
            'R' if !in_class => "(?:\\r\\n|[\\n\\x0B\\f\\r])",
            'Z' if !in_class => "(?:\\n?\\z)",
            '<' => "<",
            '>' => ">",
            '0' => return self.octal(),
            'x' => return self.hexadecimal(),
            '1'..='9' | 'k' | 'g' => {
                return Err(cannot("a back-reference", "write out what it repeats"));
            }
            'p' | 'P' | 'u' => {
                self.written.push('\\');
                self.written.push(letter);
                self.in_braces();
                return Ok(());
            }
            'a' | 'd' | 'D' | 'f' | 'n' | 'r' | 's' | 'S' | 't' | 'v' | 'w' | 'W' => {
                self.written.push('\\');
                self.written.push(letter);
                return Ok(());
            }
            'A' | 'b' | 'B' | 'z' if !in_class => {
                self.written.push('\\');
                self.written.push(letter);
                return Ok(());
            }
            other if regex_syntax::is_escapeable_character(other) => {
                self.written.push('\\');
                self.written.push(other);
                return Ok(());
            }
            other if !other.is_ascii_alphanumeric() => {
                self.written.push(other);
                return Ok(());
            }
            other => {
                return Err(format!(
                    "\\{other} in the pattern has no meaning: write {other} alone, or [{other}]"
                ));
            }
        };
        self.written.push_str(written);
        Ok(())
    }

    /// Takes over what stands in braces, if anything does: there they count nothing.
    fn in_braces(&mut self) {
        if let Some((inside, behind)) = self.rest.split_once('}')
            && inside.starts_with('{')
        {
            self.written.push_str(inside);
            self.written.push('}');
            self.rest = behind;
        }
    }

    /// Up to two digits behind `\0`.
    fn octal(&mut self) -> Result<(), String> {
        let digits = self.rest.bytes().take(2);
        let count = digits.take_while(|it| matches!(it, b'0'..=b'7')).count();
        let (digits, behind) = self.rest.split_at(count);
        let value = if digits.is_empty() {
            0
        } else {
            u8::from_str_radix(digits, 8).map_err(|error| error.to_string())?
        };
        self.rest = behind;
        self.byte(value);
        Ok(())
    }

    fn byte(&mut self, value: u8) {
        let written = format!("\\x{value:02X}");
        self.written.push_str(&written);
    }

    /// One or two digits behind `\x`.
    fn hexadecimal(&mut self) -> Result<(), String> {
        let digits = self.rest.bytes().take(2);
        let count = digits.take_while(u8::is_ascii_hexdigit).count();
        let (digits, behind) = self.rest.split_at(count);
        let value = u8::from_str_radix(digits, 16)
            .map_err(|_| "\\x in the pattern needs one or two hexadecimal digits".to_owned())?;
        self.rest = behind;
        self.byte(value);
        Ok(())
    }
}

/// `{2}`, `{2,}`, `{2,3}` and `{,3}`; any other brace is a letter. `rest` is behind the brace.
fn counts(rest: &str) -> Option<(String, &str)> {
    let (inside, behind) = rest.split_once('}')?;
    let (low, high) = match inside.split_once(',') {
        Some((low, high)) => (low, Some(high)),
        None => (inside, None),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let written = match (low, high) {
        (low, None) if is_number(low) => format!("{{{low}}}"),
        (low, Some("")) if is_number(low) => format!("{{{low},}}"),
        (low, Some(high)) if is_number(low) && is_number(high) => format!("{{{low},{high}}}"),
        ("", Some(high)) if is_number(high) => format!("{{0,{high}}}"),
        _ => return None,
    };
    Some((written, behind))
}

fn cannot(what: &str, instead: &str) -> String {
    format!("the pattern has {what}, which no time limit would hold for: {instead}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, expected: &str) {
        assert_eq!(translate(pattern).as_deref(), Ok(expected), "{pattern}");
        assert!(regex::bytes::Regex::new(expected).is_ok(), "{expected}");
    }

    #[test]
    fn ruby_is_written_as_the_matcher_reads_it() {
        check(r"^a(\d+)\.b$", r"^a(\d+)\.b$");
        check(r"\Aa\z", r"\Aa\z");
        check(r"a\Z", r"a(?:\n?\z)");
        check(r"\h+[\h_]\H", "[0-9A-Fa-f]+[0-9A-Fa-f_][^0-9A-Fa-f]");
        check(r"\<a\>\/\-", r"<a>\/\-");
        check(r"\e\0\012\x9[\b]", r"\x1B\x00\x0A\x09[\x08]");
        check("(?<name>a)(?'other'b)", "(?<name>a)(?<other>b)");
        check("(?m:a)(?i-m)b(?:c)", "(?s:a)(?i-s)b(?:c)");
        check("a(?#why (not)b", "ab");
        check(
            r"a.b.*c\.[.].",
            r"a(?:.[\x80-\xBF]{0,3})b.*c\.[.](?:.[\x80-\xBF]{0,3})",
        );
        check("{a}{,3}", r"\{a}{0,3}");
        check("a{2}b{2,}c{2,3}", "a{2}b{2,}c{2,3}");
        check("[]a][^]a]", r"[\]a][^\]a]");
        check("[[:alpha:]_][a[b]]", "[[:alpha:]_][a[b]]");
        check("[+--][~~]", r"[+\--][\~~]");
        check(r"a+?b*?\++", r"a+?b*?\++");
        check("é\\é", "éé");
        check(
            r"\p{L}\u{e9}[\P{Lu}]\u00e9{2}",
            r"\p{L}\u{e9}[\P{Lu}]\u00e9{2}",
        );
    }

    #[test]
    fn what_is_not_linear_is_refused() {
        for pattern in [
            "a(?=b)",
            "a(?!b)",
            "(?<=a)b",
            "(?<!a)b",
            "(?>a)b",
            r"(a)\1",
            r"(?<n>a)\k<n>",
            "a++",
            "a*+",
            "a?+",
            r"\y",
            r"\",
            r"\x",
            "(?#a",
            "(?'a",
            r"a\G",
        ] {
            assert!(translate(pattern).is_err(), "{pattern}");
        }
    }
}
