//! The idle profile: what a connection that does nothing costs in memory, before it subscribes, subscribed, and after
//! all of them came back at once.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{LOOK_UP, Outcome, defaults, names};
use crate::client::PATIENCE;
use crate::client::crowd::{Crowd, News};
use crate::client::protocol::Protocol;
use crate::error::Error;
use crate::measure::process::Processes;
use crate::measure::verdict::Verdict;
use crate::report::{Figures, rounded};
use crate::target::Target;

/// Connections that do nothing.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct IdleLoad {
    /// How they speak
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: Protocol,
    /// How many
    #[arg(long, default_value = "5000")]
    pub(crate) connections: NonZeroU32,
    /// Over how many channels they are spread [default: one each]
    #[arg(long)]
    pub(crate) channels: Option<NonZeroU32>,
    /// Seconds to wait before each of the last looks
    #[arg(long, default_value = "10")]
    pub(crate) settle: u32,
    /// Close all at the end, let them come back at once, and look again
    #[arg(long)]
    pub(crate) storm: bool,
}

impl Default for IdleLoad {
    fn default() -> Self {
        defaults()
    }
}

/// What came of it. Memory is resident, per connection, over what it was before the first.
#[derive(Debug)]
pub(crate) struct IdleResult {
    /// Of all nodes before the first connection.
    pub(crate) rss_before_kib: u64,
    /// Connected and not subscribed; for streams, which subscribe by connecting, as the next.
    pub(crate) kib_idle: f64,
    /// Just subscribed.
    pub(crate) kib_subscribed: f64,
    /// The same some time later.
    pub(crate) kib_settled: f64,
    /// After all were closed and came back.
    pub(crate) kib_after_storm: Option<f64>,
    /// A few at a time.
    pub(crate) connects_per_second: f64,
    verdict: Verdict,
}

/// Opens the connections, waits, reports.
pub(crate) fn run(target: &Target, load: &IdleLoad) -> Result<IdleResult, Error> {
    let server = Processes::new(&target.pids);
    let count = load.connections.get();
    server.check_open_files(count)?;
    let channels = load.channels.unwrap_or(load.connections).get();
    let subscriptions: Vec<_> = (0..count).map(|n| vec![n % channels]).collect();
    let mut crowd = Crowd::new(target, load.protocol, &names(channels), &subscriptions)?;

    let rss_before_kib = server.resident_kib()?;
    // Memory may also have been given back.
    let look = || server.resident_kib().map(|kib| (kib as f64 - rss_before_kib as f64) / f64::from(count));
    let mut watch = Watch::default();
    crowd.subscribing = load.protocol == Protocol::Sse;
    let took = crowd.open_all(&target.addresses)?;
    let kib_idle = look()?;
    if !crowd.subscribing {
        crowd.subscribing = true;
        (0..crowd.len()).try_for_each(|client| crowd.subscribe(client))?;
        watch.subscribed(&mut crowd)?;
    }
    let kib_subscribed = look()?;
    let settle = Duration::from_secs(load.settle.into());
    watch.pass(&mut crowd, settle)?;
    let kib_settled = look()?;
    let mut kib_after_storm = None;
    if load.storm {
        (0..crowd.len()).for_each(|client| crowd.close(client));
        let addresses = &target.addresses;
        (0..crowd.len()).try_for_each(|client| crowd.open(client, addresses[client % addresses.len()]))?;
        watch.subscribed(&mut crowd)?;
        watch.pass(&mut crowd, settle)?;
        kib_after_storm = Some(look()?);
    }
    Ok(IdleResult {
        rss_before_kib,
        kib_idle,
        kib_subscribed,
        kib_settled,
        kib_after_storm,
        connects_per_second: f64::from(count) / took.as_secs_f64(),
        verdict: watch.verdict,
    })
}

/// Listens to connections that should hear nothing.
#[derive(Default)]
struct Watch {
    verdict: Verdict,
    subscribed: usize,
}

impl Watch {
    fn turn(&mut self, crowd: &mut Crowd) -> Result<(), Error> {
        crowd.turn(LOOK_UP, |_, news, _| match news {
            News::Greeted(_) => {}
            News::Subscribed => self.subscribed += 1,
            News::Message(..) | News::Presence(..) | News::Unexpected(_) => self.verdict.unexpected += 1,
            News::Closed => self.verdict.closed += 1,
        })
    }

    /// Until all are subscribed.
    fn subscribed(&mut self, crowd: &mut Crowd) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        self.subscribed = 0;
        while self.subscribed + usize::try_from(self.verdict.closed).unwrap_or(0) < crowd.len() {
            self.turn(crowd)?;
            if Instant::now() > deadline {
                let received = format!("{} of {}", self.subscribed, crowd.len());
                return Err(Error::Unwelcome { awaited: "all subscriptions", received });
            }
        }
        Ok(())
    }

    fn pass(&mut self, crowd: &mut Crowd, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(crowd)?;
        }
        Ok(())
    }
}

impl Outcome for IdleResult {
    fn figures(&self) -> Figures {
        let mut figures = vec![
            ("rss_before_kib", json!(self.rss_before_kib)),
            ("idle_per_connection_kib", rounded(self.kib_idle)),
            ("subscribed_per_connection_kib", rounded(self.kib_subscribed)),
            ("settled_per_connection_kib", rounded(self.kib_settled)),
            ("connects_per_second", rounded(self.connects_per_second)),
        ];
        if let Some(kib) = self.kib_after_storm {
            figures.push(("after_storm_per_connection_kib", rounded(kib)));
        }
        figures.extend(self.verdict.figures());
        figures
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn rank(&self) -> f64 {
        self.kib_settled
    }
}
