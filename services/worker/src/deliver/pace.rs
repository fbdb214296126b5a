//! How fast an app's webhooks may be asked: its quota, which all its webhooks share.

use std::sync::Arc;

use channels::{App, AppId};
use metering::{AppMeter, Meters};
use tokio::time::Instant;

/// The pace of one webhook's requests. A request that comes too early is not dropped, it waits with the events behind it.
#[derive(Debug)]
pub(super) struct Pace {
    meters: Arc<Meters>,
    meter: Arc<AppMeter>,
    /// The app whose quota the meter has.
    app: Arc<App>,
    /// No request is asked for before.
    not_before: Option<Instant>,
}

impl Pace {
    pub(super) fn new(app: &Arc<App>, meters: Arc<Meters>) -> Self {
        let meter = meters.meter(app);
        meters.update(app);
        Self { meters, meter, app: Arc::clone(app), not_before: None }
    }

    /// Whose pace it is.
    pub(super) fn app(&self) -> &AppId {
        &self.app.id
    }

    /// Keeps to the quota that `app` has now.
    pub(super) fn follows(&mut self, app: &Arc<App>) -> &Self {
        if !Arc::ptr_eq(app, &self.app) {
            self.app = Arc::clone(app);
            self.meters.update(app);
            self.not_before = None;
        }
        self
    }

    /// Whether a request may be made now, which then counts. If not, it is not to be asked again before [`Self::wake`].
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let refused = self.meter.webhook(now.into()).err();
        self.not_before = refused.map(|refused| now + refused.retry_after);
        refused.is_none()
    }

    /// Before when no request is to be asked for.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }

    /// Counts how a request ended.
    pub(super) fn count(&self, delivered: bool) {
        self.meter.count_webhook(delivered);
    }
}
