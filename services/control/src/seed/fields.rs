//! TOML tables read field by field, so that one mistake does not hide the next and none shows a value.
//!
//! Deserializing into structs would be shorter, but stops at the first mistake, and its messages quote the offending
//! line, which may be a secret.

use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::mistakes::Mistakes;

/// The file's text and what is wrong with it.
pub(super) struct Report<'t> {
    pub(super) text: &'t str,
    pub(super) mistakes: Mistakes,
}

impl Report<'_> {
    /// Notes a mistake in `place`, with its line.
    pub(super) fn add(&mut self, place: &str, span: Range<usize>, problem: impl Into<String>) {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let comma = if place.is_empty() { "" } else { ", " };
        self.mistakes.add(format!("{place}{comma}line {line}"), problem);
    }
}

/// One table, and which of its fields have been asked for.
pub(super) struct Fields<'t> {
    table: &'t DeTable<'t>,
    /// The table in words: `app 1001, key app-key`. Empty for the file itself.
    place: String,
    known: Vec<&'static str>,
}

/// A field's value, its place in words and in the file.
pub(super) struct Field<'t> {
    pub(super) value: &'t DeValue<'t>,
    pub(super) place: String,
    pub(super) span: Range<usize>,
}

impl<'t> Fields<'t> {
    pub(super) fn new(table: &'t DeTable<'t>, place: String) -> Self {
        Self { table, place, known: Vec::new() }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// From now on mistakes are told of `place`.
    pub(super) fn rename(&mut self, place: String) {
        self.place = place;
    }

    pub(super) fn get(&mut self, name: &'static str) -> Option<Field<'t>> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let value = self.table.get(name)?;
        let place = if self.place.is_empty() { name.to_owned() } else { format!("{}, {name}", self.place) };
        Some(Field { value: value.get_ref(), place, span: value.span() })
    }

    pub(super) fn text(&mut self, name: &'static str, report: &mut Report<'_>) -> Option<(&'t str, Field<'t>)> {
        let field = self.get(name)?;
        match field.value.as_str() {
            Some(text) => Some((text, field)),
            None => {
                field.refuse(report, "must be a string");
                None
            }
        }
    }

    /// As [`text`](Self::text), for what must be there; `has_no` is told of a table, at `span`, that lacks it.
    pub(super) fn required(
        &mut self,
        name: &'static str,
        span: &Range<usize>,
        has_no: &str,
        report: &mut Report<'_>,
    ) -> Option<(&'t str, Field<'t>)> {
        let text = self.text(name, report);
        // A text of the wrong type has been told already.
        if text.is_none() && self.get(name).is_none() {
            report.add(&self.place, span.clone(), has_no);
        }
        text
    }

    pub(super) fn flag(&mut self, name: &'static str, report: &mut Report<'_>) -> Option<bool> {
        let field = self.get(name)?;
        let flag = field.value.as_bool();
        if flag.is_none() {
            field.refuse(report, "must be true or false");
        }
        flag
    }

    pub(super) fn number<T: Number>(&mut self, name: &'static str, report: &mut Report<'_>) -> Option<T> {
        let field = self.get(name)?;
        let number = number(field.value);
        if number.is_none() {
            field.refuse(report, "must be a whole number, not below zero and not huge");
        }
        number
    }

    pub(super) fn table(&mut self, name: &'static str, report: &mut Report<'_>) -> Option<Self> {
        let field = self.get(name)?;
        match field.value.as_table() {
            Some(table) => Some(Self::new(table, field.place)),
            None => {
                field.refuse(report, "must be a table");
                None
            }
        }
    }

    /// The tables of `[[name]]`, each called `{place}, {name} #{number}`, with where it stands.
    pub(super) fn tables(&mut self, name: &'static str, report: &mut Report<'_>) -> Vec<(Self, Range<usize>)> {
        let Some(field) = self.get(name) else { return Vec::new() };
        let Some(array) = field.value.as_array() else {
            field.refuse(report, "must be an array of tables, written with two brackets");
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let place = format!("{} #{}", field.place, index + 1);
            match item.get_ref().as_table() {
                Some(table) => tables.push((Self::new(table, place), item.span())),
                None => report.add(&place, item.span(), "must be a table"),
            }
        }
        tables
    }

    /// Refuses what nobody has asked for.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        for name in self.table.keys() {
            if !self.known.contains(&name.get_ref().as_ref()) {
                let problem = format!("unknown key {:?}; known are {}", name.get_ref(), self.known.join(", "));
                report.add(&self.place, name.span(), problem);
            }
        }
    }
}

impl Field<'_> {
    pub(super) fn refuse(&self, report: &mut Report<'_>, problem: impl Into<String>) {
        report.add(&self.place, self.span.clone(), problem);
    }

    /// The value, or `None` and one mistake more.
    pub(super) fn keep<T, E: std::fmt::Display>(&self, report: &mut Report<'_>, result: Result<T, E>) -> Option<T> {
        result.map_err(|problem| self.refuse(report, problem.to_string())).ok()
    }
}

/// The unsigned integers.
pub(super) trait Number: FromStr + TryFrom<u64> {}
impl Number for u32 {}
impl Number for u64 {}

/// A whole number in any of TOML's notations.
pub(super) fn number<T: Number>(value: &DeValue<'_>) -> Option<T> {
    let integer = value.as_integer()?;
    let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    T::try_from(number).ok()
}

/// An array of nothing but strings.
pub(super) fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
}

/// The entries of a table, in the file's order of keys.
pub(super) fn entries<'t>(table: &'t DeTable<'t>) -> impl Iterator<Item = (&'t str, &'t Spanned<DeValue<'t>>)> {
    table.iter().map(|(name, value)| (name.get_ref().as_ref(), value))
}
