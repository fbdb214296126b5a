//! A report: a short Markdown table for people, JSON for programs, from the same figures.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::Error;

/// Figures in the order in which they are shown. A name ends in its unit.
pub(crate) type Figures = Vec<(&'static str, Value)>;

/// What was done, where, and what came of it.
#[derive(Debug)]
pub(crate) struct Report {
    /// Name of the profile.
    pub(crate) profile: &'static str,
    /// What the server was said to be.
    pub(crate) server_version: String,
    /// Where.
    pub(crate) machine: Figures,
    /// The load.
    pub(crate) settings: Value,
    /// What came of it, for each server.
    pub(crate) columns: Vec<(String, Figures)>,
}

impl Report {
    /// Prints it, and writes it to `file` if there is one.
    pub(crate) fn publish(&self, file: Option<&Path>) -> Result<(), Error> {
        println!("{}", self.markdown());
        let Some(file) = file else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.json()).expect("a value is JSON");
        write(file, &(text + "\n"))
    }

    fn json(&self) -> Value {
        let figures: Map<_, _> = self.columns.iter().map(|(name, figures)| (name.clone(), object(figures))).collect();
        json!({
            "profile": self.profile, "server_version": self.server_version,
            "machine": object(&self.machine), "settings": self.settings, "figures": figures,
        })
    }

    fn markdown(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        let mut text = format!("## {}: {}\n\n", self.profile, self.server_version);
        let mut line = |line: String| writeln!(text, "{line}").expect("a string takes everything");
        line(format!("Machine: {}  ", plain(&object(&self.machine))));
        line(format!("Load: {}\n", plain(&self.settings)));
        line(format!("| | {} |\n| --- |{}", names.join(" | "), " ---: |".repeat(names.len())));
        for (name, _) in self.columns.first().map_or(&[][..], |(_, figures)| figures) {
            let cell = |figures: &Figures| figures.iter().find(|each| each.0 == *name).map(|(_, value)| plain(value));
            let cells: Vec<_> = self.columns.iter().map(|(_, figures)| cell(figures).unwrap_or_default()).collect();
            line(format!("| {} | {} |", name.replace('_', " "), cells.join(" | ")));
        }
        text
    }
}

/// To a thousandth: more digits say nothing.
pub(crate) fn rounded(figure: f64) -> Value {
    json!((figure * 1e3).round() / 1e3)
}

/// Writes a file, in place of what was there.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, text).map_err(Error::system(file.display().to_string()))
}

/// How many times as much as the `floor` it is, for all that is time or memory.
pub(crate) fn over(figures: &Figures, floor: &Figures) -> Figures {
    let is_cost = |name: &str| ["_us", "_ms", "_kib", "_seconds"].iter().any(|unit| name.ends_with(unit));
    let ratio = |one: &Value, other: &Value| Some(rounded(one.as_f64()? / other.as_f64().filter(|it| *it > 0.0)?));
    let of_all = |one: &Value, other: &Value| match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let each = |(name, one): (&String, &Value)| Some((name.clone(), ratio(one, other.get(name)?)?));
            Some(one.iter().filter_map(each).collect::<Map<_, _>>().into())
        }
        (one, other) => ratio(one, other),
    };
    let costs = figures.iter().filter(|(name, _)| is_cost(name));
    let compared = costs.filter_map(|(name, figure)| {
        let (_, of_floor) = floor.iter().find(|(each, _)| each == name)?;
        Some((*name, of_all(figure, of_floor)?))
    });
    compared.collect()
}

/// Figures by their names.
pub(crate) fn object(figures: &Figures) -> Value {
    figures.iter().map(|(name, value)| (name.to_string(), value.clone())).collect::<Map<_, _>>().into()
}

/// A value as people read it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(map) => {
            let pairs = map.iter().map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_programs_get_the_same_figures() {
        let percentiles = json!({"p50": 0.5, "max": 2.0});
        let report = Report {
            profile: "p",
            server_version: "s 1".to_owned(),
            machine: vec![("cores", json!(2))],
            settings: json!({"rate": 50}),
            columns: vec![
                ("server".to_owned(), vec![("wait_ms", percentiles.clone()), ("over_floor", rounded(1.23456))]),
                ("floor".to_owned(), vec![("wait_ms", percentiles)]),
            ],
        };
        let markdown = "## p: s 1\n\nMachine: cores 2  \nLoad: rate 50\n\n| | server | floor |\n| --- | ---: | ---: |\n\
                        | wait ms | max 2.0, p50 0.5 | max 2.0, p50 0.5 |\n| over floor | 1.235 |  |\n";
        assert_eq!(report.markdown(), markdown);
        assert_eq!(report.json()["figures"]["server"]["over_floor"], json!(1.235));
    }

    #[test]
    fn costs_are_compared_and_nothing_else() {
        let figures = |cost: f64| -> Figures {
            vec![("cpu_us", json!(cost)), ("lost", json!(1)), ("wait_ms", json!({"p50": cost, "max": 0.0}))]
        };
        let ratios = over(&figures(3.0), &figures(2.0));
        assert_eq!(ratios, [("cpu_us", json!(1.5)), ("wait_ms", json!({"p50": 1.5}))]);
        assert!(over(&figures(3.0), &vec![]).is_empty());
    }
}
