//! Tables of data files: lines of columns between tabs, `#` for comments.

use std::num::NonZeroUsize;

/// A line of a data file that cannot be read. The files are part of the program, so this is an
/// error of the program and not of its user; a test of this crate reads them all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {problem}")]
pub struct TableError {
    /// Name of the file.
    pub file: &'static str,
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

/// Reads each line of `text` that is not a comment as `COLUMNS` columns.
pub(crate) fn rows<'a, const COLUMNS: usize, Row>(
    file: &'static str,
    text: &'a str,
    mut row: impl FnMut([&'a str; COLUMNS]) -> Result<Row, String>,
) -> Result<Vec<Row>, TableError> {
    let lines = text.lines().zip((1..).map_while(NonZeroUsize::new));
    let filled = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    filled
        .map(|(line, number)| {
            let columns: Vec<&str> = line.split('\t').collect();
            let count = columns.len();
            <[&str; COLUMNS]>::try_from(columns)
                .map_err(|_| format!("{count} columns in place of {COLUMNS}"))
                .and_then(&mut row)
                .map_err(|problem| TableError {
                    file,
                    line: number.get(),
                    problem,
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_skipped_and_faults_name_their_line() {
        let read = |text| {
            rows("a.tsv", text, |[name, number]: [&str; 2]| {
                let number: u8 = number
                    .parse()
                    .map_err(|_| format!("{number:?} is no number"))?;
                Ok((name.to_owned(), number))
            })
        };
        assert_eq!(
            read("# a\n\nx\t1\r\ny\t2"),
            Ok(vec![("x".to_owned(), 1), ("y".to_owned(), 2)])
        );
        let fault = |text| read(text).unwrap_err().to_string();
        assert_eq!(
            fault("#\nx\t1\ty"),
            "a.tsv, line 2: 3 columns in place of 2"
        );
        assert_eq!(fault("x\t1\ny\tz"), "a.tsv, line 2: \"z\" is no number");
        assert_eq!(read(""), Ok(Vec::new()));
    }
}
