//! The configuration file: TOML, flattened to dotted paths and texts, each with its line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something that a file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The dotted path of the key.
    pub(super) path: String,
    /// Its value as a text, or what is wrong with it.
    pub(super) value: Result<String, String>,
    /// Where it stands, from 1.
    pub(super) number: usize,
}

/// Reads a whole file. What is no TOML comes back as mistakes with their lines, beside what could be read.
pub(super) fn read(text: &str) -> (Vec<Line>, Vec<(usize, String)>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mistakes = errors.iter().map(|error| {
        let start = error.span().map_or(0, |span| span.start);
        (line_number(text, start), error.message().to_owned())
    });
    let mistakes: Vec<_> = mistakes.collect();
    let mut lines = Vec::new();
    // After a mistake, what was recovered is a guess: do not report mistakes in a guess.
    if mistakes.is_empty() {
        flatten(text, "", table.get_ref(), &mut lines);
        lines.sort_by_key(|line| line.number);
    }
    (lines, mistakes)
}

fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut Vec<Line>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(text, &path, inner, lines),
            _ => lines.push(Line { path, value: scalar(value), number: line_number(text, key.span().start) }),
        }
    }
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(switch) => Ok(switch.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Integer(_) => Err("is not a decimal number".to_owned()),
        DeValue::Array(items) => {
            let texts: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            Ok(texts.ok_or("is not a list of strings")?.join(","))
        }
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Datetime(_) => Err("is a date, which no setting takes".to_owned()),
        DeValue::Table(_) => Err("is a table, where a value is expected".to_owned()),
    }
}

fn line_number(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flattens_tables_in_any_notation() {
        let text = "a = 'x'\n[b]\nc = 1000\n[b.d]\ne = true\nf = ['p', 'q']\n";
        let (lines, mistakes) = read(text);
        let lines: Vec<_> = lines.iter().map(|line| (line.path.as_str(), line.value.as_deref(), line.number)).collect();
        assert_eq!(
            lines,
            [("a", Ok("x"), 1), ("b.c", Ok("1000"), 3), ("b.d.e", Ok("true"), 5), ("b.d.f", Ok("p,q"), 6)]
        );
        assert!(mistakes.is_empty());
    }

    #[test]
    fn says_where_it_stopped_making_sense() {
        let (lines, mistakes) = read("a = 1\nb = = 2\n");
        assert!(lines.is_empty());
        assert_eq!(mistakes[0].0, 2, "{mistakes:?}");
        let (lines, _) = read("b = [1]\nc = 2026-01-01\nd = 0x10\n");
        assert!(lines.len() == 3 && lines.iter().all(|line| line.value.is_err()), "{lines:?}");
        assert_eq!(read("a = 0.25").0[0].value.as_deref(), Ok("0.25"));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[a-c\\[\\]=.\"'#{},0-9\\n é-]{0,80}") {
            let (lines, mistakes) = read(&text);
            let last = text.lines().count().max(1) + 1;
            prop_assert!(lines.iter().map(|line| line.number).chain(mistakes.iter().map(|(number, _)| *number)).all(|n| n <= last));
        }
    }
}
