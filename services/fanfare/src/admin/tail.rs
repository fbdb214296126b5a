//! `fanfare admin tail`

use std::fmt::Write as _;

use clap::Args;
use proto::control as wire;
use proto::control::tail_service_client::TailServiceClient;

use super::client::Way;
use super::output::ReaderGone;
use super::{Answer, Failure, Output, moment};

/// What to watch.
#[derive(Args, Debug)]
pub(super) struct Tail {
    /// The app's id
    #[arg(long, value_name = "ID")]
    app: String,
    /// Only what concerns this channel
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    channel: String,
    /// Only what concerns this connection: a socket id such as 1234.5678
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    connection: String,
    /// Most events in a second from each node, 1 to 1000; more are left out and counted
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    rate: u32,
}

impl Tail {
    pub(super) async fn run(self, way: &Way, output: &mut Output<'_>) -> Result<Answer, Failure> {
        let Self { app: app_id, channel, connection, rate: events_per_second } = self;
        let request = wire::TailRequest { app_id, channel, connection, events_per_second };
        let mut stream = TailServiceClient::new(way.open().await?).tail(request).await?.into_inner();
        let mut printed = Ok(());
        while let (Ok(()), Some(event)) = (&printed, stream.message().await?) {
            printed = output.item(&event, || line(&event));
        }
        let (Ok(()) | Err(ReaderGone)) = printed;
        Ok(Answer::printed())
    }
}

/// An event on one line: when, what, to whom, where, why.
fn line(event: &wire::TailEvent) -> String {
    let mut text = String::new();
    if event.omitted > 0 {
        writeln!(text, "… {} left out, more than --rate allows", event.omitted).expect(TAKES_EVERYTHING);
    }
    let what = match event.kind() {
        wire::TailKind::Unspecified => "something",
        wire::TailKind::Connected => "connected",
        wire::TailKind::ConnectionRefused => "connection refused",
        wire::TailKind::Closed => "closed",
        wire::TailKind::Subscribed => "subscribed",
        wire::TailKind::SubscribeRefused => "subscribe refused",
        wire::TailKind::Unsubscribed => "unsubscribed",
        wire::TailKind::Published => "published",
        wire::TailKind::PublishRefused => "publish refused",
        wire::TailKind::Delivered => "delivered",
        wire::TailKind::Dropped => "dropped",
        wire::TailKind::SignedIn => "signed in",
    };
    write!(text, "{}  {what:<18}", moment::show_clock(event.time_ms)).expect(TAKES_EVERYTHING);
    let code = if event.code == 0 { String::new() } else { event.code.to_string() };
    let count = match event.kind() {
        wire::TailKind::Delivered | wire::TailKind::Dropped | wire::TailKind::Published => event.count.to_string(),
        _ if event.count == 0 => String::new(),
        _ => event.count.to_string(),
    };
    for (name, value) in [
        ("connection", &event.connection),
        ("user", &event.user_id),
        ("channel", &event.channel),
        ("event", &event.event),
        ("count", &count),
        ("code", &code),
        ("node", &event.node),
    ] {
        if !value.is_empty() {
            write!(text, "  {name}={}", value.escape_debug()).expect(TAKES_EVERYTHING);
        }
    }
    if !event.reason.is_empty() {
        write!(text, "  {}", event.reason).expect(TAKES_EVERYTHING);
    }
    text.push('\n');
    text
}

const TAKES_EVERYTHING: &str = "a string takes everything";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_and_why() {
        let refused = wire::TailEvent {
            time_ms: 1_795_356_307_005,
            node: "edge-1".to_owned(),
            kind: wire::TailKind::SubscribeRefused.into(),
            connection: "1.2".to_owned(),
            channel: "private-a".to_owned(),
            reason: "the signature does not fit".to_owned(),
            code: 401,
            omitted: 3,
            ..wire::TailEvent::default()
        };
        assert_eq!(
            line(&refused),
            "… 3 left out, more than --rate allows\n14:05:07.005  subscribe refused   connection=1.2  \
             channel=private-a  code=401  node=edge-1  the signature does not fit\n"
        );
        let delivered = wire::TailEvent { kind: wire::TailKind::Delivered.into(), ..wire::TailEvent::default() };
        assert!(line(&delivered).ends_with("delivered           count=0\n"), "{:?}", line(&delivered));
    }
}
