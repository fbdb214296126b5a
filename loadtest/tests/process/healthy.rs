//! Every profile over every protocol, against the real server: short, to see that both work, not to measure.

use std::path::Path;

use super::loadtest;

/// Those that have subscribers of a protocol.
const PROFILES: [&str; 7] = [
    "fanout --subscribers 20 --rate 20 --seconds 1",
    "channels --channels 6 --connections 12 --each 3 --rate 4 --seconds 1",
    "publishers --publishers 5 --subscribers 10 --rate 40 --seconds 1",
    "sizes --subscribers 5 --rate 16 --seconds 1",
    "idle --connections 20 --channels 4 --settle 0 --storm",
    "connect --connections 40 --rate 40 --channels 4",
    "presence --watchers 5 --members 4 --rate 12 --seconds 1",
];

/// Runs `profile` against a server that it starts itself, and expects that all goes well.
#[track_caller]
fn passes(profile: &str) {
    let program = Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name("fanfare");
    assert!(program.exists(), "there is no {}: cargo build --bin fanfare makes it", program.display());
    loadtest(&format!("{profile} --server {}", program.display())).expect(&[]);
}

fn passes_over(protocol: &str) {
    for profile in PROFILES {
        passes(&format!("{profile} --protocol {protocol} --start memory"));
    }
    passes(&format!("{} --protocol {protocol} --start memory --tls", PROFILES[0]));
}

#[test]
fn pusher() {
    passes_over("pusher");
}

#[test]
fn ably_json() {
    passes_over("ably-json");
}

#[test]
fn ably_msgpack() {
    passes_over("ably-msgpack");
}

#[test]
fn event_streams() {
    passes_over("sse");
}

#[test]
fn publishers_and_readers() {
    for through in ["http", "ably-json", "ably-msgpack"] {
        passes(&format!("acknowledge --through {through} --rate 40 --seconds 1 --start memory"));
    }
    passes("acknowledge --rate 40 --seconds 1 --start memory --tls");
    passes("publish --connections 3 --seconds 1 --start memory");
    passes("history --channels 3 --messages 10 --rate 20 --seconds 1 --start memory");
}

#[test]
fn clients_of_a_killed_node() {
    for protocol in ["pusher", "ably-json", "ably-msgpack", "sse"] {
        let load = "storm --clients 60 --channels 3 --rate 15 --before 2 --after 4 --spread-ms 500";
        passes(&format!("{load} --protocol {protocol} --start cluster"));
    }
}
