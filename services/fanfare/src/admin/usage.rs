//! `fanfare admin usage …`

use clap::{Subcommand, ValueEnum};
use proto::control as wire;
use proto::control::usage_service_client::UsageServiceClient;

use super::client::Way;
use super::output::ReaderGone;
use super::table::{bytes, counts, list as table};
use super::{Answer, Failure, Output, moment, pages};

/// What can be asked about usage.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what an app has used, oldest first, by intervals in UTC
    Show {
        /// The app's id
        app: String,
        /// By what length of time
        #[arg(long, value_enum, default_value_t = Interval::Hour, value_name = "INTERVAL")]
        interval: Interval,
        /// From when on, as in 2026-11-22T14:00:00Z, 2026-11-22, 2026-11, or 24h for a day ago [default: the oldest that
        /// is kept]
        #[arg(long, value_name = "TIME", value_parser = moment::parse)]
        start: Option<u64>,
        /// Until when [default: now]
        #[arg(long, value_name = "TIME", value_parser = moment::parse)]
        end: Option<u64>,
    },
    /// Show what an app is using, a line a second, until interrupted
    Watch {
        /// The app's id
        app: String,
    },
}

/// Lengths of time by which usage is counted.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Interval {
    /// Minutes
    Minute,
    /// Hours
    Hour,
    /// Days
    Day,
    /// Months
    Month,
}

impl From<Interval> for wire::Interval {
    fn from(interval: Interval) -> Self {
        match interval {
            Interval::Minute => Self::Minute,
            Interval::Hour => Self::Hour,
            Interval::Day => Self::Day,
            Interval::Month => Self::Month,
        }
    }
}

impl Command {
    pub(super) async fn run(self, way: &Way, output: &mut Output<'_>) -> Result<Answer, Failure> {
        let mut client = UsageServiceClient::new(way.open().await?);
        match self {
            Self::Show { app, interval, start, end } => {
                let page = async |page_size, page_token| {
                    let request = wire::QueryUsageRequest {
                        app_id: app.clone(),
                        interval: wire::Interval::from(interval).into(),
                        start_ms: start.unwrap_or_default(),
                        end_ms: end.unwrap_or_default(),
                        page_size,
                        page_token,
                    };
                    let page = client.query_usage(request).await?.into_inner();
                    Ok((page.usage, page.next_page_token))
                };
                let (usage, next_page_token) = pages::all(None, page).await?;
                let text = list(&usage);
                Ok(Answer::new(&wire::QueryUsageResponse { usage, next_page_token }, text))
            }
            Self::Watch { app: app_id } => {
                let mut stream = client.watch_usage(wire::WatchUsageRequest { app_id }).await?.into_inner();
                let mut printed = output.head(&line("TIME", LIVE_HEADS.map(str::to_owned)));
                while let (Ok(()), Some(usage)) = (&printed, stream.message().await?) {
                    printed = output.item(&usage, || live(&usage));
                }
                let (Ok(()) | Err(ReaderGone)) = printed;
                Ok(Answer::printed())
            }
        }
    }
}

fn list(usage: &[wire::Usage]) -> String {
    let rows = usage.iter().map(|usage| {
        let so_far = if usage.complete { "" } else { " (so far)" };
        [
            format!("{}{so_far}", usage.interval_id),
            usage.messages_in.to_string(),
            usage.messages_out.to_string(),
            bytes(usage.bytes_in),
            bytes(usage.bytes_out),
            usage.peak_connections.to_string(),
            usage.peak_channels.to_string(),
            usage.connections_opened.to_string(),
            format!("{} / {}", usage.webhooks_delivered, usage.webhooks_failed),
            counts(&usage.refused),
        ]
    });
    let heads =
        ["INTERVAL", "IN", "OUT", "BYTES IN", "BYTES OUT", "CONNECTIONS", "CHANNELS", "OPENED", "WEBHOOKS", "REFUSED"];
    table(heads, rows)
}

const LIVE_HEADS: [&str; 7] = ["CONNECTIONS", "CHANNELS", "MEMBERS", "IN/S", "OUT/S", "HISTORY", "REFUSED"];

fn live(usage: &wire::LiveUsage) -> String {
    let cells = [
        usage.connections.to_string(),
        usage.channels.to_string(),
        usage.presence_members.to_string(),
        format!("{:.1}", usage.messages_in_per_second),
        format!("{:.1}", usage.messages_out_per_second),
        bytes(usage.history_bytes),
        counts(&usage.refused),
    ];
    line(&moment::show_clock(usage.time_ms), cells)
}

/// Columns as wide as what is normally in them: there is no telling what will come.
fn line(
    time: &str,
    [connections, channels, members, messages_in, messages_out, history, refused]: [String; 7],
) -> String {
    format!(
        "{time:<14}{connections:>11}  {channels:>9}  {members:>8}  {messages_in:>9}  {messages_out:>9}  {history:>10}  {refused}\n"
    )
}
