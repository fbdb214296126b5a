//! Answers for people. Nothing may rely on their form; scripts take `--output json`.

use std::fmt::Write as _;

/// Blanks between columns.
const GAP: usize = 2;

/// Rows under their headings.
pub(super) fn list<const N: usize>(heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    columns(&rows)
}

/// Names with what they stand for, one a line.
pub(super) fn details(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| [name.to_owned(), value]).collect();
    columns(&rows)
}

/// Rows with their columns under each other.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default() + GAP;
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let line: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

pub(super) fn yes_or_no(switch: bool) -> String {
    if switch { "yes" } else { "no" }.to_owned()
}

/// What is set, or a dash.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// A number of bytes, rounded, in the unit that fits.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        // Tenths, without the detour over floating point.
        Some((unit, size)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} B"),
    }
}

/// Counts by name, sorted by name: `messages_in 5, connections 1`; a dash for none.
pub(super) fn counts<'a>(counts: impl IntoIterator<Item = (&'a String, &'a u64)>) -> String {
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| **count > 0).collect();
    counts.sort();
    let mut text = String::new();
    for (name, count) in counts {
        let gap = if text.is_empty() { "" } else { ", " };
        write!(text, "{gap}{name} {count}").expect("a string takes everything");
    }
    or_dash(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["1".to_owned(), "long name".to_owned()], ["1002".to_owned(), "x".to_owned()]];
        assert_eq!(list(["ID", "NAME"], rows), "ID    NAME\n1     long name\n1002  x\n");
    }

    #[test]
    fn sizes_are_rounded_down() {
        for (size, shown) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (10 << 20, "10.0 MiB")] {
            assert_eq!(bytes(size), shown);
        }
        assert!(bytes(u64::MAX).ends_with(" TiB"));
    }
}
