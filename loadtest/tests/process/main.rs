//! The program as it is used: it fails loudly on a server that is at fault, and runs every profile over every protocol
//! against one that is not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod faults;
mod faulty;
mod healthy;

use std::process::{Command, Stdio};

use serde_json::Value;

/// What came of one run.
struct Run {
    /// Exit code.
    code: i32,
    /// Figures of the server, if there was a report.
    figures: Value,
    /// All that was printed.
    output: String,
}

/// Runs the program.
fn loadtest(line: &str) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(line.split(' ')).arg("--json").arg(&json).stdin(Stdio::null());
    let output = command.output().unwrap();
    let report = std::fs::read(json).map(|text| serde_json::from_slice::<Value>(&text).unwrap()).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let figures = report["figures"]["server"].clone();
    Run { code: output.status.code().unwrap(), figures, output: text(&output.stdout) + &text(&output.stderr) }
}

impl Run {
    /// The verdict's counts, by name.
    fn counts(&self) -> [(&'static str, u64); 6] {
        let names = ["lost", "duplicate", "reordered", "unexpected", "closed_by_server", "refused"];
        names.map(|name| (name, self.figures[name].as_u64().unwrap_or_else(|| panic!("{name}: {}", self.output))))
    }

    /// Expects a report with these counts, others being zero, and an exit code that says so.
    #[track_caller]
    fn expect(&self, expected: &[(&str, u64)]) {
        for (name, count) in self.counts() {
            let wanted = expected.iter().find(|(each, _)| *each == name).map_or(0, |(_, count)| *count);
            assert_eq!(count, wanted, "{name}\n{}", self.output);
        }
        let code = i32::from(!expected.is_empty());
        assert_eq!(self.code, code, "{}", self.output);
    }
}
