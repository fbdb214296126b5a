//! Each fault of a server has its count, and makes the program fail after its report.

use super::faulty::{Fault, LAST, start};
use super::{Run, loadtest};

const SUBSCRIBERS: u64 = 3;

fn run(profile: &str, fault: Fault) -> Run {
    let (address, pid) = (start(fault), std::process::id());
    loadtest(&format!("{profile} --address {address} --pid {pid}"))
}

/// `LAST` messages to `SUBSCRIBERS`.
fn fanout(fault: Fault) -> Run {
    run(&format!("fanout --subscribers {SUBSCRIBERS} --rate {LAST} --seconds 1"), fault)
}

#[test]
fn a_server_without_faults_passes() {
    fanout(Fault::None).expect(&[]);
    run("publishers --publishers 4 --subscribers 3 --rate 20 --seconds 1", Fault::None).expect(&[]);
    run("sizes --subscribers 3 --rate 16 --seconds 1", Fault::None).expect(&[]);
    run("idle --connections 5 --settle 0 --storm", Fault::None).expect(&[]);
    run("connect --connections 20 --rate 20", Fault::None).expect(&[]);
    run("publish --seconds 1", Fault::None).expect(&[]);
    run("acknowledge --rate 20 --seconds 1", Fault::None).expect(&[]);
    run("history --channels 2 --messages 5 --rate 10 --seconds 1", Fault::None).expect(&[]);
}

#[test]
fn losses_are_told() {
    fanout(Fault::Loses).expect(&[("lost", 1)]);
}

#[test]
fn a_loss_at_the_end_is_told() {
    fanout(Fault::LosesTheLast).expect(&[("lost", SUBSCRIBERS)]);
}

#[test]
fn repetitions_are_told() {
    fanout(Fault::Repeats).expect(&[("duplicate", SUBSCRIBERS)]);
}

#[test]
fn another_order_is_told() {
    fanout(Fault::Reorders).expect(&[("reordered", 1)]);
}

#[test]
fn publishers_in_another_order_at_one_subscriber_are_told() {
    let run = run("publishers --publishers 4 --subscribers 2 --rate 20 --seconds 1", Fault::Reorders);
    run.expect(&[("reordered", 1)]);
}

#[test]
fn damage_is_told() {
    fanout(Fault::Damages).expect(&[("unexpected", SUBSCRIBERS), ("lost", SUBSCRIBERS)]);
}

#[test]
fn another_channel_is_told() {
    fanout(Fault::Misleads).expect(&[("unexpected", SUBSCRIBERS), ("lost", SUBSCRIBERS)]);
}

#[test]
fn complaints_are_told() {
    fanout(Fault::Complains).expect(&[("unexpected", SUBSCRIBERS)]);
}

#[test]
fn a_closed_connection_is_told() {
    // The 7th message reaches nobody, and those after it not the one that was closed.
    let lost = SUBSCRIBERS + LAST as u64 - 7;
    fanout(Fault::Closes).expect(&[("closed_by_server", 1), ("lost", lost)]);
}

#[test]
fn refusals_are_told() {
    let run = fanout(Fault::Refuses);
    run.expect(&[("refused", 1)]);
    assert!(run.figures["first_refusal"].as_str().unwrap().starts_with("429"), "{}", run.output);
    self::run("acknowledge --rate 20 --seconds 1", Fault::Refuses).expect(&[("refused", 1)]);
}

#[test]
fn a_history_with_a_hole_is_told() {
    let run = run("history --channels 2 --messages 5 --rate 10 --seconds 1", Fault::ForgetsHistory);
    run.expect(&[("lost", 10)]);
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let run = loadtest(&format!("fanout --address 127.0.0.1:1 --pid {}", std::process::id()));
    assert_eq!(run.code, 1, "{}", run.output);
    assert!(run.figures.is_null(), "{}", run.output);
}
