//! The short set against real servers, with few clients: that each kind of server starts, takes its load, and ends.
//!
//! Needs the NATS server, and `fanfare`, which is named in `FANFARE_BIN` or built beside `loadtest`.

#![allow(clippy::unwrap_used, reason = "a test says unwrap")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// How long a failure may take to show.
const PATIENCE: Duration = Duration::from_secs(60);

const LOADTEST: &str = env!("CARGO_BIN_EXE_loadtest");

fn fanfare() -> PathBuf {
    let beside = || Path::new(LOADTEST).with_file_name("fanfare");
    let program = std::env::var_os("FANFARE_BIN").map_or_else(beside, PathBuf::from);
    assert!(program.exists(), "{} is not there; run cargo build -p fanfare", program.display());
    program
}

/// The command, with all that it writes in `directory`.
fn loadtest(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(LOADTEST);
    command.args(arguments).arg("--server").arg(fanfare()).env("TMPDIR", directory.path());
    command
}

fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The processes whose command line holds `text`.
fn processes_with(text: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(text)).collect()
}

#[test]
fn the_short_set_makes_a_table() {
    let directory = tempfile::tempdir().unwrap();
    // The floor is the one server at hand that is not Fanfare; it takes the place of a peer.
    let peer = directory.path().join("other.sh");
    fs::write(&peer, format!("#!/bin/sh\nexec {LOADTEST} floor-server --listen 127.0.0.1:$PORT\n")).unwrap();
    fs::set_permissions(&peer, fs::Permissions::from_mode(0o700)).unwrap();
    let [json, markdown] = ["bench.json", "bench.md"].map(|name| directory.path().join(name));
    let mut command = loadtest(&directory, &["bench", "--quick"]);
    for row in ["fanout-1000", "idle-tls", "acknowledge", "publish"] {
        command.args(["--only", row]);
    }
    command.arg("--peer").arg(&peer).arg("--json").arg(&json).arg("--markdown").arg(&markdown);
    let printed = succeeded(&command.output().unwrap());

    assert!(printed.contains(&fs::read_to_string(markdown).unwrap()), "{printed}");
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    let four = ["acknowledge"; 4];
    assert_eq!(names, [&["fanout-1000", "idle-tls"][..], &four, &["publish"]].concat());
    for row in rows {
        let figures = ["fanfare", "floor"].map(|server| row[server].as_f64().unwrap());
        assert!(figures.iter().all(|figure| *figure > 0.0), "{row}");
    }
    assert!(rows[0]["peers"]["other"].as_f64().unwrap() > 0.0, "{}", rows[0]);
    assert!(rows[1]["peers"]["other"].is_string(), "a peer speaks no TLS: {}", rows[1]);
    assert!(report["about"]["nats_server"].as_str().unwrap().contains("v2"), "{}", report["about"]);
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "the script and the reports only: {left:?}");
}

#[test]
fn a_profile_starts_a_node_on_nats() {
    let directory = tempfile::tempdir().unwrap();
    let load = ["fanout", "--start", "nats", "--subscribers", "10", "--rate", "20", "--seconds", "1", "--floor"];
    let printed = succeeded(&loadtest(&directory, &load).output().unwrap());
    assert!(printed.contains("| server | floor | ratio |"), "{printed}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    let load = ["idle", "--start", "cluster", "--connections", "1", "--settle", "600"];
    let mut running = loadtest(&directory, &load).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while processes_with(&path).len() < 3 {
        assert!(running.try_wait().unwrap().is_none() && Instant::now() < deadline, "three NATS servers");
        thread::sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    while !processes_with(&path).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", processes_with(&path));
        thread::sleep(Duration::from_millis(10));
    }
}
