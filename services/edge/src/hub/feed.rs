//! A channel's task: attaches it, hands out what the attachment yields, and ends it when nobody is there any more.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use backbone::{Attachment, Delivery, Gap};
use channels::{Roster, RosterEntry, Tier};
use clock::Backoff;
use proto::control::TailKind;

use super::Hub;
use super::channel::{Channel, Loaded};
use super::due::Due;
use crate::tail::Told;

/// Pauses between attempts to attach, and to read what a channel begins with.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

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
    // Boxed, here and below, is all that the task does not need while the channel is idle.
    while let Some((attachment, tier)) = Box::pin(begin(hub, channel)).await {
        match pass_on(hub, channel, attachment, tier).await {
            Over::Vacant => return,
            // Other rules, other promises: continuity across the change is unknown, and said so.
            Over::OtherTier => {
                tracing::info!(app = %channel.app, channel_hash = %channel.hash(), "attaching anew for another tier");
                channel.start_over();
            }
            Over::Stale => channel.start_over(),
        }
    }
}

/// Attaches the channel, and lets it go live. If that takes too long, its subscribers are sent elsewhere.
async fn begin(hub: &Arc<Hub>, channel: &Arc<Channel>) -> Option<(Attachment, Tier)> {
    let mut timeout = std::pin::pin!(tokio::time::sleep(hub.settings.attach_timeout));
    let (attachment, tier) = tokio::select! {
        attached = attach(hub, channel) => attached,
        () = &mut timeout => {
            tracing::warn!(app = %channel.app, channel_hash = %channel.hash(), "a channel could not be attached in time");
            hub.remove(channel, |channel| channel.fail(hub));
            return None;
        }
    };
    let loaded = tokio::select! {
        loaded = load(hub, channel, &attachment, tier) => loaded,
        () = &mut timeout => {
            tracing::warn!(app = %channel.app, channel_hash = %channel.hash(), "a channel could not be loaded in time");
            hub.remove(channel, |channel| channel.fail(hub));
            return None;
        }
    };
    channel.go_live(hub, loaded);
    Some((attachment, tier))
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
    // When the channel is to end, while it has no subscriber; and when its members are read anew.
    let mut ends: Option<tokio::time::Instant> = None;
    let mut reconcile = tokio::time::Instant::now();
    // The members, while they are being read: for the first time, or anew since some may have come and gone unseen.
    let mut reading = None;
    let mut due = Due::default();
    // What happened while it was being attached.
    channel.look();
    loop {
        let reconciles = tier == Tier::Ephemeral && channel.follows_members() && !channel.lacks_members();
        let read = async {
            match &mut reading {
                Some(reading) => Pin::new(reading).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            delivery = attachment.next() => match delivery {
                Delivery::Record(position, record) => channel.deliver(hub, &mut due, position, &record),
                Delivery::Gap(gap) => {
                    tell_gap(hub, channel, gap);
                    if channel.kind.is_presence() || channel.kind.is_cache() {
                        return Over::Stale;
                    }
                    if channel.follows_members() {
                        reading = Some(Box::pin(read_members(hub, channel)));
                    }
                }
            },
            () = due.write(&hub.metrics), if !due.is_empty() => {}
            () = channel.look.notified() => {
                if hub.tier(channel) != tier {
                    return Over::OtherTier;
                }
                if reading.is_none() && channel.lacks_members() {
                    reading = Some(Box::pin(read_members(hub, channel)));
                }
                let vacant = channel.subscriptions() == 0;
                ends = vacant.then(|| tokio::time::Instant::now() + hub.settings.detach_linger);
            }
            () = at(ends) => {
                if hub.remove(channel, Channel::end_if_vacant) {
                    return Over::Vacant;
                }
                ends = None;
            }
            (as_of, entries) = read => {
                reading = None;
                channel.members_read(hub, as_of, entries);
            }
            () = at(Some(reconcile)), if reconciles => {
                let read = Box::pin(hub.read_roster(channel));
                if let Ok(Ok((as_of, entries))) = tokio::time::timeout(PATIENCE, read).await {
                    channel.reconcile(hub, as_of, entries);
                }
                reconcile = tokio::time::Instant::now() + RECONCILE;
            }
        }
    }
}

/// Waits until `when`, or for ever.
async fn at(when: Option<tokio::time::Instant>) {
    match when {
        Some(when) => Box::pin(tokio::time::sleep_until(when)).await,
        None => std::future::pending().await,
    }
}

/// Attaches, however long it takes.
async fn attach(hub: &Hub, channel: &Channel) -> (Attachment, Tier) {
    let mut backoff = BACKOFF;
    loop {
        let tier = hub.tier(channel);
        match hub.backbone.attach(&channel.app, &channel.name, tier).await {
            Ok(attachment) => return (attachment, tier),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(app = %channel.app, channel_hash = %channel.hash(), error, "attach failed, trying again");
            }
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// Reads what the channel begins with, however long it takes. After the attachment has begun: what is not in it will be
/// in a record.
async fn load(hub: &Hub, channel: &Channel, attachment: &Attachment, tier: Tier) -> Loaded {
    let mut backoff = BACKOFF;
    loop {
        match try_load(hub, channel, attachment, tier).await {
            Ok(loaded) => return loaded,
            Err(error) => {
                tracing::debug!(app = %channel.app, channel_hash = %channel.hash(), error, "load failed, trying again");
            }
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// Reads who is in the channel, however long it takes.
async fn read_members(hub: &Hub, channel: &Channel) -> (u64, Vec<RosterEntry>) {
    let mut backoff = BACKOFF;
    loop {
        match hub.read_roster(channel).await {
            Ok(read) => return read,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(app = %channel.app, channel_hash = %channel.hash(), error, "members could not be read yet");
            }
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

async fn try_load(
    hub: &Hub,
    channel: &Channel,
    attachment: &Attachment,
    tier: Tier,
) -> Result<Loaded, Box<dyn std::error::Error + Send + Sync>> {
    let stored = tier != Tier::Ephemeral;
    let mut loaded = Loaded { head: attachment.head(), stored, roster: None, cached: None };
    if channel.follows_members() {
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

fn tell_gap(hub: &Arc<Hub>, channel: &Arc<Channel>, gap: Gap) {
    hub.metrics.gaps.increment(1);
    tracing::error!(
        app = %channel.app, channel_hash = %channel.hash(), after = %gap.after, resumes = %gap.resumes,
        subscribers = channel.subscriptions(), "messages of a channel may be missing; its subscribers are told to reconnect"
    );
    let reason = "messages may be missing, subscribers are told to reconnect";
    hub.tails.tell(&channel.app, Told { kind: TailKind::Dropped, reason, ..channel.told() });
    channel.tell_missed(hub, gap.resumes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for each channel.
    #[tokio::test]
    async fn the_task_of_a_channel_is_small() {
        let world = crate::fixtures::World::with(crate::fixtures::app()).await;
        let hub = Hub::new(&crate::Config::default(), world.parts(Duration::from_secs(15)), world.stop.child_token());
        let meter = crate::fixtures::meter(&crate::fixtures::app());
        let name = channels::ChannelName::new("a").unwrap();
        let channel = Arc::new(Channel::new(meter, name, &hub.settings));
        let size = size_of_val(&run(hub, channel));
        assert!(size <= 1408, "{size} bytes");
    }
}
