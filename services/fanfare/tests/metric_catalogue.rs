//! Every metric that the code feeds is in the catalogue, and every metric of the catalogue is fed by the code.

#![expect(clippy::unwrap_used, reason = "tests state their expectations with unwrap, helpers of tests too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The sources of every crate that may feed metrics, without the catalogue itself and without tests.
fn sources() -> Vec<String> {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pending: Vec<PathBuf> =
        fs::read_dir(services).unwrap().map(|entry| entry.unwrap().path().join("src")).collect();
    let mut sources = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("telemetry/src/metrics.rs")
        {
            sources.push(fs::read_to_string(path).unwrap());
        }
    }
    sources
}

#[test]
fn what_is_fed_is_in_the_catalogue_and_the_other_way_round() {
    let all = telemetry::metrics::catalogue().chain(telemetry::metrics::app_catalogue());
    let catalogue: BTreeSet<_> = all.map(|metric| metric.name).collect();
    let sources = sources();
    // Crates that do without telemetry name the metric itself in the macros of the facade.
    let macros = ["counter!(\"", "gauge!(\"", "histogram!(\""];
    for source in &sources {
        for name in macros.iter().flat_map(|call| source.split(call).skip(1)).filter_map(|rest| rest.split('"').next())
        {
            assert!(catalogue.contains(name), "{name} is fed, and not in the catalogue");
        }
    }
    let table = include_str!("../../telemetry/src/metrics.rs");
    for name in catalogue {
        let constant = table
            .lines()
            .find(|line| line.contains(&format!("\"{name}\"")))
            .and_then(|line| line.trim().split(':').next())
            .unwrap();
        let by_constant = |source: &String| {
            source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == constant)
        };
        let by_name = |source: &String| source.contains(&format!("\"{name}\""));
        let read_from_the_system = name.starts_with("process_");
        let fed = sources.iter().any(|source| by_constant(source) || by_name(source));
        assert!(fed || read_from_the_system, "{name} is in the catalogue, and nobody feeds it");
    }
}
