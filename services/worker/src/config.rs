//! What an operator chooses about webhooks.

use std::path::PathBuf;
use std::time::Duration;

use crate::AddressRange;

/// Settings of the worker.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long the active worker may be silent before another takes its place. Default 12 s: an election of a NATS
    /// leader takes 4 to 9 s, in which nobody can renew anything.
    pub lease_ttl: Duration,
    /// How long `channel_vacated` and `member_removed` wait for a return, which cancels them. Default 3 s, as at Pusher.
    pub vacated_grace: Duration,
    /// How long a receiver may take for its answer, connecting included. Default 10 s.
    pub request_timeout: Duration,
    /// Pause before the first retry; it doubles with each one. Default 0.5 s.
    pub first_retry: Duration,
    /// Longest pause between retries. Default 60 s.
    pub longest_retry: Duration,
    /// How long after an event its delivery is given up. Default 290 s: receivers that check the time refuse what is more
    /// than 300 s old.
    pub give_up_after: Duration,
    /// Most events that wait for one webhook; what comes beyond is a dead letter at once. Default 10,000.
    pub waiting_events: usize,
    /// Most bytes of events that wait for one webhook. Default 16 MiB.
    pub waiting_bytes: usize,
    /// Most bytes of events that wait for all webhooks; beyond that each may have an equal share only. Default 128 MiB;
    /// must stay well below what the backbone's queue holds.
    pub total_waiting_bytes: usize,
    /// Addresses that webhooks may go to beside those of the public internet. Empty by default.
    pub allow: Vec<AddressRange>,
    /// Whether webhooks may go to this machine. Off by default.
    pub allow_loopback: bool,
    /// PEM file with authorities to trust beside the system's. None by default.
    pub ca_file: Option<PathBuf>,
    /// How long requests under way may take when the worker is told to stop. Default 5 s; the next worker repeats what
    /// was not answered by then.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(12),
            vacated_grace: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            first_retry: Duration::from_millis(500),
            longest_retry: Duration::from_secs(60),
            give_up_after: Duration::from_secs(290),
            waiting_events: 10_000,
            waiting_bytes: 16 << 20,
            total_waiting_bytes: 128 << 20,
            allow: Vec::new(),
            allow_loopback: false,
            ca_file: None,
            drain: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Everything wrong with these settings, each as a sentence.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |ok: bool, problem: &str| {
            if !ok {
                problems.push(problem.to_owned());
            }
        };
        let second = Duration::from_secs(1);
        let millisecond = Duration::from_millis(1);
        check(self.lease_ttl >= 2 * second, "worker lease must last at least 2 seconds");
        check(self.vacated_grace <= 60 * second, "vacated grace must be at most 1 minute");
        check(self.request_timeout >= millisecond, "webhook timeout must be at least 1 millisecond");
        check(self.first_retry >= millisecond, "first retry must come after at least 1 millisecond");
        check(self.longest_retry >= self.first_retry, "longest retry pause must not be below the first");
        check(self.give_up_after <= 300 * second, "webhooks must be given up after 5 minutes at the latest");
        check(self.give_up_after >= self.first_retry, "webhooks must not be given up before the first retry");
        check(self.waiting_events >= 1, "waiting webhook events must be at least 1");
        check(self.waiting_bytes >= 64 << 10, "waiting webhook bytes must be at least 64 KiB");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_sound_and_mistakes_are_told_together() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
        let wrong = Config { lease_ttl: Duration::ZERO, waiting_events: 0, ..Config::default() };
        assert_eq!(wrong.problems().len(), 2);
    }
}
