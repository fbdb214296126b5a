//! How many distinct channels of each app are occupied in the cluster, as far as this node knows.
//!
//! Counted as channels become occupied and vacant, so that a subscription can ask without a walk over all of them. What
//! other edges do is learned some moments later, so that two of them together may open a few channels too many.

use std::collections::HashMap;

use channels::{AppId, ChannelName};
use metering::AppMeter;
use parking_lot::Mutex;

/// The occupied channels of all apps. Those of users (`#…`) are none.
#[derive(Debug, Default)]
pub(crate) struct Occupied {
    apps: Mutex<HashMap<AppId, HashMap<ChannelName, Where>>>,
}

/// Where a channel has subscribers: somewhere, or it would not be listed.
#[derive(Clone, Copy, Debug, Default)]
struct Where {
    /// Subscriptions of this node.
    here: u32,
    /// Whether another edge has any.
    elsewhere: bool,
}

impl Occupied {
    /// Notes a subscription of this node, unless the app would have more occupied channels with it than `limit`; tells
    /// whether it did.
    pub(crate) fn enter(&self, meter: &AppMeter, channel: &ChannelName, limit: Option<u64>) -> bool {
        if !is_counted(channel) {
            return true;
        }
        let mut apps = self.apps.lock();
        let known = apps.get(meter.app());
        let count = known.map_or(0, |channels| channels.len() as u64);
        let is_new = known.is_none_or(|channels| !channels.contains_key(channel));
        if is_new && limit.is_some_and(|limit| count >= limit) {
            return false;
        }
        apps.entry(meter.app().clone()).or_default().entry(channel.clone()).or_default().here += 1;
        meter.set_channels(count + u64::from(is_new));
        true
    }

    /// A subscription of this node is over.
    pub(crate) fn leave(&self, meter: &AppMeter, channel: &ChannelName) {
        self.change(meter.app(), channel, Some(meter), |place| place.here = place.here.saturating_sub(1));
    }

    /// Notes whether other edges have subscribers in `channel`. `meter` is that of `app`, if it has one here.
    pub(super) fn elsewhere(&self, app: &AppId, channel: &ChannelName, meter: Option<&AppMeter>, occupied: bool) {
        self.change(app, channel, meter, |place| place.elsewhere = occupied);
    }

    fn change(&self, app: &AppId, channel: &ChannelName, meter: Option<&AppMeter>, change: impl FnOnce(&mut Where)) {
        if !is_counted(channel) {
            return;
        }
        let mut apps = self.apps.lock();
        let channels = apps.entry(app.clone()).or_default();
        let mut place = channels.get(channel).copied().unwrap_or_default();
        change(&mut place);
        if place.here > 0 || place.elsewhere {
            channels.insert(channel.clone(), place);
        } else {
            channels.remove(channel);
        }
        let left = channels.len() as u64;
        if left == 0 {
            apps.remove(app);
        }
        // Under the lock, so that the last word is the newest.
        if let Some(meter) = meter {
            meter.set_channels(left);
        }
    }
}

fn is_counted(channel: &ChannelName) -> bool {
    !channel.as_str().starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn name(name: &str) -> ChannelName {
        ChannelName::new(name).unwrap()
    }

    /// The app's meter says how many there are.
    fn count(occupied: &Occupied, meter: &AppMeter) -> u64 {
        assert_eq!(occupied.apps.lock().get(meter.app()).map_or(0, HashMap::len) as u64, meter.channels());
        meter.channels()
    }

    #[test]
    fn a_channel_counts_once_wherever_its_subscribers_are() {
        let (occupied, meter) = (Occupied::default(), fixtures::meter(&fixtures::app()));
        let enter =
            |channel: &str, limit| (occupied.enter(&meter, &name(channel), Some(limit)), count(&occupied, &meter));
        let elsewhere = |channel: &str, there| occupied.elsewhere(meter.app(), &name(channel), Some(&meter), there);
        assert_eq!(enter("a", 2), (true, 1));
        assert_eq!(enter("a", 2), (true, 1));
        elsewhere("a", true);
        elsewhere("b", true);
        assert_eq!(enter("c", 2), (false, 2), "there are two");
        assert_eq!(enter("b", 2), (true, 2), "it is one of them");
        assert_eq!(enter("c", 3), (true, 3));
        for (channel, left) in [("a", 3), ("a", 3), ("b", 3), ("c", 2)] {
            occupied.leave(&meter, &name(channel));
            assert_eq!(count(&occupied, &meter), left, "{channel}");
        }
        elsewhere("a", false);
        assert_eq!(enter("c", 2), (true, 2));
        occupied.leave(&meter, &name("c"));
        elsewhere("b", false);
        assert!(occupied.apps.lock().is_empty());
    }

    #[test]
    fn channels_of_users_are_not_counted_and_a_refusal_leaves_nothing() {
        let (occupied, meter) = (Occupied::default(), fixtures::meter(&fixtures::app()));
        assert!(!occupied.enter(&meter, &name("a"), Some(0)));
        let user = name("#server-to-user-ann");
        assert!(occupied.enter(&meter, &user, Some(0)));
        occupied.elsewhere(meter.app(), &user, Some(&meter), true);
        occupied.leave(&meter, &user);
        assert!(occupied.apps.lock().is_empty());
    }
}
