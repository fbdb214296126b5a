//! The table of the short set: what was measured, the floor of it, the goal, and whether it is met.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::measure::verdict::Verdict;
use crate::report::{Figures, object, plain, rounded};

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// At most so many times the floor's.
    Ratio(f64),
    /// At most so much.
    Figure(f64),
}

/// One line.
#[derive(Debug)]
pub(super) struct Row {
    /// By which it is asked for.
    pub(super) name: &'static str,
    /// What is measured.
    pub(super) title: String,
    /// Of the figures.
    pub(super) unit: &'static str,
    /// Fanfare's figure.
    pub(super) fanfare: f64,
    /// The floor's, if there is one.
    pub(super) floor: Option<f64>,
    /// What peers have, in the order of the table's columns; or why they have nothing.
    pub(super) peers: Vec<Result<f64, String>>,
    /// What is to be reached.
    pub(super) goal: Goal,
    /// What became of Fanfare's messages, and the floor's.
    pub(super) verdict: Verdict,
    /// All that was measured, for each server.
    pub(super) details: Value,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| self.fanfare / floor)
    }

    /// By what part of the goal it is missed; none if it is met. What could not be compared is not met.
    fn missed_by(&self) -> Option<f64> {
        let (figure, limit) = match self.goal {
            Goal::Ratio(limit) => (self.ratio().unwrap_or(f64::INFINITY), limit),
            Goal::Figure(limit) => (self.fanfare, limit),
        };
        // Not a number is no goal met either.
        let is_met = figure <= limit;
        (!is_met).then_some(figure / limit - 1.0)
    }

    fn outcome(&self) -> String {
        if !self.verdict.is_clean() {
            return format!("**failed**: {}", plain(&object(&self.verdict.figures())));
        }
        self.missed_by().map_or_else(|| "met".to_owned(), |part| format!("missed by {:.0} %", (part * 100.0).ceil()))
    }

    fn json(&self, peers: &[String]) -> Value {
        let (goal, limit) = match self.goal {
            Goal::Ratio(limit) => ("ratio", limit),
            Goal::Figure(limit) => ("figure", limit),
        };
        let peer = |(name, figure): (&String, &Result<f64, String>)| {
            let figure = figure.as_ref().map_or_else(|reason| json!(reason), |figure| rounded(*figure));
            (name.clone(), figure)
        };
        json!({
            "name": self.name, "title": self.title, "unit": self.unit, "fanfare": rounded(self.fanfare),
            "floor": self.floor.map(rounded), "ratio": self.ratio().map(rounded), "goal": goal, "limit": limit,
            "met": self.missed_by().is_none() && self.verdict.is_clean(), "outcome": self.outcome(),
            "verdict": object(&self.verdict.figures()), "details": self.details,
            "peers": peers.iter().zip(&self.peers).map(peer).collect::<Map<_, _>>(),
        })
    }
}

/// All lines, and what they are about.
#[derive(Debug)]
pub(super) struct Table {
    /// When, what, where.
    pub(super) about: Figures,
    /// What the peers are called.
    pub(super) peers: Vec<String>,
    /// In the order of the issue.
    pub(super) rows: Vec<Row>,
}

impl Table {
    /// What became of all messages.
    pub(super) fn verdict(&self) -> Verdict {
        let mut all = Verdict::default();
        self.rows.iter().for_each(|row| all.add(&row.verdict));
        all
    }

    pub(super) fn json(&self) -> Value {
        let rows: Vec<_> = self.rows.iter().map(|row| row.json(&self.peers)).collect();
        json!({"about": object(&self.about), "rows": rows})
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        let mut line = |cells: Vec<String>| writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes all");
        let mut head: Vec<_> = ["", "Fanfare", "floor", "ratio", "goal", ""].map(str::to_owned).into();
        head.extend(self.peers.iter().flat_map(|peer| [peer.clone(), "÷ floor".to_owned()]));
        let rule = |index| if index == 0 || index == 5 { "---" } else { "---:" }.to_owned();
        let columns = head.len();
        line(head);
        line((0..columns).map(rule).collect());
        for row in &self.rows {
            let goal = match row.goal {
                Goal::Ratio(limit) => format!("ratio ≤ {limit}"),
                Goal::Figure(limit) => format!("≤ {limit} {}", row.unit),
            };
            let figure = |figure: f64| format!("{} {}", short(figure), row.unit);
            let over_floor = |figure: f64| row.floor.map_or_else(String::new, |floor| format!("{:.2}", figure / floor));
            let mut cells = vec![
                row.title.clone(),
                figure(row.fanfare),
                row.floor.map_or_else(String::new, figure),
                over_floor(row.fanfare),
                goal,
                row.outcome(),
            ];
            cells.extend(row.peers.iter().flat_map(|peer| match peer {
                Ok(found) => [figure(*found), over_floor(*found)],
                Err(reason) => [reason.replace('|', "/"), String::new()],
            }));
            line(cells);
        }
        let about = self.about.iter().map(|(name, value)| format!("{}: {}", name.replace('_', " "), plain(value)));
        format!("{text}\n{}.\n", about.collect::<Vec<_>>().join("; "))
    }
}

/// Three digits, as far as they are behind the point.
fn short(figure: f64) -> String {
    let digits = match figure.abs() {
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{figure:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fanfare: f64, floor: Option<f64>, goal: Goal) -> Row {
        Row {
            name: "row",
            title: "CPU".to_owned(),
            unit: "µs",
            fanfare,
            floor,
            peers: vec![Ok(30.0), Err("a|b".to_owned())],
            goal,
            verdict: Verdict::default(),
            details: json!({}),
        }
    }

    #[test]
    fn goals_are_met_at_their_limit() {
        let outcome = |fanfare, floor, goal| row(fanfare, floor, goal).outcome();
        assert_eq!(outcome(13.0, Some(10.0), Goal::Ratio(1.3)), "met");
        assert_eq!(outcome(13.1, Some(10.0), Goal::Ratio(1.3)), "missed by 1 %");
        assert_eq!(outcome(8.0, None, Goal::Figure(8.0)), "met");
        assert_eq!(outcome(12.0, Some(1.0), Goal::Figure(8.0)), "missed by 50 %");
        assert!(outcome(f64::NAN, Some(1.0), Goal::Ratio(1.3)).starts_with("missed"), "nothing was delivered");
    }

    #[test]
    fn a_lost_message_is_no_goal_met() {
        let verdict = Verdict { lost: 1, ..Verdict::default() };
        let row = Row { verdict, ..row(1.0, Some(1.0), Goal::Ratio(1.3)) };
        assert!(row.outcome().contains("failed") && row.json(&[])["met"] == json!(false));
    }

    #[test]
    fn the_table_has_a_column_for_each_peer() {
        let rows = vec![row(12.345, Some(10.0), Goal::Ratio(1.3)), row(120.0, None, Goal::Figure(60.0))];
        let peers = vec!["p".to_owned(), "q".to_owned()];
        let table = Table { about: vec![("cores", json!(2)), ("commit", json!("c"))], peers, rows };
        let markdown = "| | Fanfare | floor | ratio | goal | | p | ÷ floor | q | ÷ floor |\n\
                        | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |\n\
                        | CPU | 12.3 µs | 10.0 µs | 1.23 | ratio ≤ 1.3 | met | 30.0 µs | 3.00 | a/b |  |\n\
                        | CPU | 120 µs |  |  | ≤ 60 µs | missed by 100 % | 30.0 µs |  | a/b |  |\n\
                        \ncores: 2; commit: c.\n";
        assert_eq!(table.markdown().replace("|  | F", "| | F").replace("|  | p", "| | p"), markdown);
        assert_eq!(table.json()["rows"][0]["peers"], json!({"p": 30.0, "q": "a|b"}));
    }
}
