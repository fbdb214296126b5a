//! A channel's task: attaches it, hands out what the attachment yields, and ends it when nobody is there any more.

use std::sync::Arc;
use std::time::Duration;

use backbone::{Attachment, Delivery, Gap};
use channels::{Roster, Tier};
use proto::control::TailKind;

use super::Hub;
use super::channel::{Channel, Loaded};
use crate::tail::Told;

/// First and longest pause between attempts to attach.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How often the roster of a channel whose records are not stored is read anew: what is lost of them nobody repairs.
const RECONCILE: Duration = Duration::from_secs(30);

/// How long that may take; until then nothing else is delivered.
const PATIENCE: Duration = Duration::from_secs(2);

/// The channel's task: attaches, feeds, lingers, ends.
pub(super) async fn run(hub: Arc<Hub>, channel: Arc<Channel>) {
    let stop = hub.stop.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = feed(&hub, &channel) => {}
    }
}

async fn feed(hub: &Arc<Hub>, channel: &Arc<Channel>) {
    loop {
        let mut timeout = std::pin::pin!(tokio::time::sleep(hub.settings.attach_timeout));
        let (attachment, tier) = tokio::select! {
            attached = attach(hub, channel) => attached,
            () = &mut timeout => {
                tracing::warn!(app = %channel.app, channel = %channel.name, "a channel could not be attached in time");
                hub.remove(channel, |channel| channel.fail(hub));
                return;
            }
        };
        let loaded = tokio::select! {
            loaded = load(hub, channel, &attachment) => loaded,
            () = &mut timeout => {
                tracing::warn!(app = %channel.app, channel = %channel.name, "a channel could not be loaded in time");
                hub.remove(channel, |channel| channel.fail(hub));
                return;
            }
        };
        channel.go_live(hub, loaded);
        match pass_on(hub, channel, attachment, tier).await {
            Over::Vacant => return,
            // Other rules, other promises: continuity across the change is unknown, and said so.
            Over::OtherTier => {
                tracing::info!(app = %channel.app, channel = %channel.name, "attaching anew for another tier");
                channel.start_over();
            }
            Over::Stale => channel.start_over(),
        }
    }
}

/// Why an attachment is not needed any more.
enum Over {
    /// The channel has ended.
    Vacant,
    /// Its app wants it on another tier.
    OtherTier,
    /// Members, or the last event, may have changed unseen.
    Stale,
}

/// Passes on what the attachment yields.
async fn pass_on(hub: &Arc<Hub>, channel: &Arc<Channel>, mut attachment: Attachment, tier: Tier) -> Over {
    // When the channel is to end, while it has no subscriber.
    let mut ends: Option<tokio::time::Instant> = None;
    let mut reconcile = tokio::time::interval(RECONCILE);
    reconcile.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let lossy = channel.kind.is_presence() && tier == Tier::Ephemeral;
    // What happened while it was being attached.
    channel.look();
    loop {
        let linger = async {
            match ends {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            delivery = attachment.next() => match delivery {
                Delivery::Record(position, record) => channel.deliver(hub, position, &record),
                Delivery::Gap(gap) => {
                    tell_gap(hub, channel, gap);
                    if channel.kind.is_presence() || channel.kind.is_cache() {
                        return Over::Stale;
                    }
                }
            },
            () = channel.look.notified() => {
                if hub.tier(channel) != tier {
                    return Over::OtherTier;
                }
                let vacant = channel.subscriptions() == 0;
                ends = vacant.then(|| tokio::time::Instant::now() + hub.settings.detach_linger);
            }
            () = linger => {
                if hub.remove(channel, Channel::end_if_vacant) {
                    return Over::Vacant;
                }
                ends = None;
            }
            _ = reconcile.tick(), if lossy => {
                if let Ok(Ok((as_of, entries))) = tokio::time::timeout(PATIENCE, hub.read_roster(channel)).await {
                    channel.reconcile(hub, as_of, entries);
                }
            }
        }
    }
}

/// Attaches, however long it takes.
async fn attach(hub: &Hub, channel: &Channel) -> (Attachment, Tier) {
    let mut pause = BACKOFF.0;
    loop {
        let tier = hub.tier(channel);
        match hub.backbone.attach(&channel.app, &channel.name, tier).await {
            Ok(attachment) => return (attachment, tier),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(app = %channel.app, channel = %channel.name, error, "attach failed, trying again");
            }
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Reads what the channel begins with, however long it takes. After the attachment has begun: what is not in it will be
/// in a record.
async fn load(hub: &Hub, channel: &Channel, attachment: &Attachment) -> Loaded {
    let mut pause = BACKOFF.0;
    loop {
        match try_load(hub, channel, attachment).await {
            Ok(loaded) => return loaded,
            Err(error) => {
                tracing::debug!(app = %channel.app, channel = %channel.name, error, "load failed, trying again");
            }
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

async fn try_load(
    hub: &Hub,
    channel: &Channel,
    attachment: &Attachment,
) -> Result<Loaded, Box<dyn std::error::Error + Send + Sync>> {
    let mut loaded = Loaded { head: attachment.head(), roster: None, cached: None };
    if channel.kind.is_presence() {
        let (as_of, entries) = hub.read_roster(channel).await?;
        loaded.roster = Some(Roster::new(as_of, entries));
    }
    if channel.kind.is_cache()
        && let Some(app) = hub.apps.get(&channel.app)
    {
        loaded.cached = hub.read_cached(&app, &channel.name, Some(loaded.head)).await?;
    }
    Ok(loaded)
}

fn tell_gap(hub: &Hub, channel: &Channel, gap: Gap) {
    hub.metrics.gaps.increment(1);
    tracing::error!(
        app = %channel.app, channel = %channel.name, after = %gap.after, resumes = %gap.resumes,
        subscribers = channel.subscriptions(), "messages of a channel may be missing; its subscribers are told to reconnect"
    );
    let reason = "messages may be missing, subscribers are told to reconnect";
    hub.tails.tell(&channel.app, Told { kind: TailKind::Dropped, reason, ..channel.told() });
    channel.tell_missed(gap.resumes);
}
