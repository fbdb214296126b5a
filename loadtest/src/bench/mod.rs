//! The short set: every goal as a row, each beside its floor in the same run, in about ten minutes.
//!
//! A missed goal is told in the table and fails nothing; a message that was lost, repeated or reordered does.

mod knee;
mod rows;
mod table;
mod turns;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::cli;
use crate::error::Error;
use crate::machine;
use crate::measure::verdict::Verdict;
use crate::report::write;
use crate::servers::{Fanfare, nats, peer_name};
use rows::ROWS;
use table::Table;
pub(crate) use turns::median;

/// What the rows need to know.
#[derive(Debug)]
struct Settings {
    /// The server's program.
    program: PathBuf,
    /// The programs of peers.
    peers: Vec<PathBuf>,
    /// Whether only to try whether all works.
    quick: bool,
}

impl Settings {
    /// How many rounds a row takes.
    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { 3 }
    }

    /// So many clients, or few.
    fn clients(&self, full: u32) -> u32 {
        if self.quick { full / 50 } else { full }
    }

    /// So many seconds, or one.
    fn seconds(&self, full: u32) -> u32 {
        if self.quick { 1 } else { full }
    }
}

/// The names of all rows, for the command line.
pub(crate) fn names() -> Vec<&'static str> {
    ROWS.iter().map(|(name, _)| *name).collect()
}

/// Measures, prints the table and writes it; what became of all messages.
pub(crate) fn run(bench: &cli::Bench) -> Result<Verdict, Error> {
    let program = bench.server.clone().unwrap_or_else(Fanfare::beside_this);
    let settings = Settings { program, peers: bench.peer.clone(), quick: bench.quick };
    let mut about = vec![
        ("date", json!(time::OffsetDateTime::now_utc().date().to_string())),
        ("commit", json!(commit())),
        ("fanfare", json!(Fanfare::version(&settings.program)?)),
        ("nats_server", json!(nats::version())),
    ];
    about.extend(machine::figures()?);
    let mut rows = Vec::new();
    let begun = Instant::now();
    for (name, measure) in ROWS.iter().filter(|(name, _)| bench.only.is_empty() || bench.only.iter().any(|n| n == name))
    {
        eprintln!("bench: {name} ({} s so far)", begun.elapsed().as_secs());
        rows.extend(measure(&settings)?);
    }
    about.push(("took_seconds", json!(begun.elapsed().as_secs())));
    if settings.quick {
        about.push(("quick", json!("few clients for a short time: the figures mean nothing")));
    }
    let peers = settings.peers.iter().map(|path| peer_name(path)).collect();
    let table = Table { about, peers, rows };
    println!("{}", table.markdown());
    if let Some(file) = &bench.markdown {
        write(file, &table.markdown())?;
    }
    if let Some(file) = &bench.json {
        write(file, &format!("{:#}\n", table.json()))?;
    }
    Ok(table.verdict())
}

/// Which commit this was built from, as far as the directory of the sources tells.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| !changes.is_empty());
    if changed { commit + " with changes" } else { commit }
}
