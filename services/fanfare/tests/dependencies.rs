//! The direction of dependencies between our crates, and who may use which library.
//!
//! An absent dependency is invisible in code, so it is written down here.

#![allow(clippy::unwrap_used, reason = "a test says unwrap")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Each crate with the crates of ours that it may depend on.
const ALLOWED: [(&str, &[&str]); 17] = [
    ("channels", &[]),
    ("clock", &[]),
    ("proto", &[]),
    ("telemetry", &[]),
    ("testkit", &[]),
    ("certificate", &["telemetry"]),
    ("auth", &["channels"]),
    ("metering", &["channels"]),
    ("pusher", &["auth", "channels"]),
    ("ably", &["auth", "channels", "metering"]),
    ("backbone", &["channels", "clock", "metering", "proto", "telemetry"]),
    ("agent", &["backbone", "channels", "clock", "metering", "proto", "telemetry"]),
    ("control", &["auth", "backbone", "certificate", "channels", "clock", "metering", "proto", "telemetry"]),
    (
        "edge",
        &[
            "ably",
            "agent",
            "auth",
            "backbone",
            "certificate",
            "channels",
            "clock",
            "metering",
            "proto",
            "pusher",
            "telemetry",
        ],
    ),
    ("worker", &["agent", "auth", "backbone", "channels", "clock", "metering", "proto", "telemetry"]),
    (
        "fanfare",
        &[
            "ably",
            "agent",
            "auth",
            "backbone",
            "certificate",
            "channels",
            "clock",
            "control",
            "edge",
            "metering",
            "proto",
            "pusher",
            "telemetry",
            "worker",
        ],
    ),
    ("loadtest", &["auth", "channels"]),
];

/// Libraries that only these crates may use.
const CONFINED: [(&str, &[&str]); 12] = [
    ("async-nats", &["backbone", "loadtest"]),
    ("redb", &["backbone"]),
    ("tungstenite", &["edge", "loadtest"]),
    ("tokio-tungstenite", &["fanfare"]),
    ("tonic", &["agent", "control", "fanfare", "proto", "telemetry"]),
    ("opentelemetry-proto", &["telemetry"]),
    ("rmp", &["ably"]),
    ("jmespath", &["ably"]),
    ("mimalloc", &["fanfare"]),
    ("hyper", &["control", "edge", "fanfare", "telemetry", "loadtest", "worker"]),
    ("clap", &["fanfare", "loadtest"]),
    ("rustls", &["certificate", "fanfare", "loadtest", "worker"]),
];

/// Crates that know no runtime, no clock and no socket.
const PURE: [&str; 5] = ["channels", "auth", "metering", "pusher", "ably"];
const RUNTIMES: [&str; 7] = ["clock", "tokio", "tokio-util", "hyper", "async-nats", "tonic", "futures-util"];

/// What each workspace crate depends on, development dependencies left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").expect("cargo runs tests");
    let metadata = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let needed = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().clone();
        all.iter().filter(|dependency| dependency["kind"] != "dev").map(name).collect()
    };
    packages.iter().map(|package| (name(package), needed(package))).collect()
}

#[test]
fn our_crates_depend_in_one_direction() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    for (name, needed) in &dependencies {
        let (_, allowed) =
            ALLOWED.iter().find(|(each, _)| each == name).unwrap_or_else(|| panic!("{name} is not listed"));
        for dependency in needed.iter().filter(|dependency| ours.contains(dependency.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn libraries_stay_where_they_belong() {
    for (name, needed) in dependencies() {
        for (library, users) in CONFINED {
            assert!(!needed.contains(library) || users.contains(&name.as_str()), "{name} must not use {library}");
        }
    }
}

#[test]
fn pure_crates_know_no_runtime() {
    let dependencies = dependencies();
    for name in PURE {
        for runtime in RUNTIMES {
            assert!(!dependencies[name].contains(runtime), "{name} must not use {runtime}");
        }
    }
}
