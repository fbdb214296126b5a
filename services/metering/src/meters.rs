//! The meters of all apps of a process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use channels::{App, AppId};
use parking_lot::{Mutex, RwLock};

use crate::usage::{Minute, SAMPLE_SECONDS};
use crate::{AppMeter, AppTotals, Live, Report, Share};

/// How long a share counts. It outlasts an election of the leader and a few reports that were lost.
pub const SHARE_TTL: Duration = Duration::from_secs(10);

/// Closed minutes that are kept until they are confirmed: a day. Beyond it the oldest are lost.
const CLOSED_MINUTES: usize = 24 * 60;

/// All meters of a process. Somebody calls [`Self::tick`] once a second; everything else is in memory and at once.
#[derive(Debug)]
pub struct Meters {
    apps: RwLock<HashMap<AppId, Arc<AppMeter>>>,
    /// Never locked on the hot path. Where both are, this one is locked first.
    state: Mutex<State>,
    /// Whether a share was used up that another node may have some of.
    short: Arc<AtomicBool>,
}

#[derive(Debug)]
struct State {
    /// The last tick's time.
    now: Instant,
    live: Live,
    /// The greatest term heard of, and when last.
    term: Option<(u64, Instant)>,
    /// Shares of apps that have no meter here yet, and when they came.
    early: HashMap<AppId, (Share, Instant)>,
    /// The current minute, once there is one.
    minute: Option<u64>,
    /// Minutes that are over and not confirmed, oldest first.
    closed: VecDeque<Minute>,
    /// When the last report was made.
    reported: Instant,
}

impl Meters {
    /// No meters. Until the first tick this process counts as the only one.
    pub fn new(now: Instant) -> Self {
        let state = State {
            now,
            live: Live::default(),
            term: None,
            early: HashMap::new(),
            minute: None,
            closed: VecDeque::new(),
            reported: now,
        };
        Self { apps: RwLock::default(), state: Mutex::new(state), short: Arc::default() }
    }

    /// The meter of `app`, made if there is none. Callers may keep it.
    pub fn meter(&self, app: &App) -> Arc<AppMeter> {
        if let Some(meter) = self.get(&app.id) {
            return meter;
        }
        let mut state = self.state.lock();
        let State { now, live, early, .. } = &mut *state;
        let mut make = || {
            let meter = AppMeter::new(app.id.clone(), app.quota.clone(), early.remove(&app.id), *live, *now);
            meter.telling(Arc::clone(&self.short))
        };
        Arc::clone(self.apps.write().entry(app.id.clone()).or_insert_with(|| Arc::new(make())))
    }

    /// The meter of `app`, if there is one.
    pub fn get(&self, app: &AppId) -> Option<Arc<AppMeter>> {
        self.apps.read().get(app).cloned()
    }

    /// Takes the quota of `app`'s new settings. Nothing to do for an app without a meter.
    pub fn update(&self, app: &App) {
        let now = self.state.lock().now;
        if let Some(meter) = self.get(&app.id) {
            meter.set_quota(&app.quota, now);
        }
    }

    /// Takes shares of the leader of `term`. Returns whether it did: a leader with a lower term than one that was heard
    /// within [`SHARE_TTL`] has been replaced and does not know it yet.
    pub fn apply(&self, term: u64, shares: impl IntoIterator<Item = (AppId, Share)>, now: Instant) -> bool {
        let mut state = self.state.lock();
        let heard = |(_, at): &(u64, Instant)| now.saturating_duration_since(*at) <= SHARE_TTL;
        if state.term.filter(heard).is_some_and(|(greatest, _)| greatest > term) {
            return false;
        }
        state.term = Some((term, now));
        let apps = self.apps.read();
        for (app, share) in shares {
            match apps.get(&app) {
                Some(meter) => meter.apply(share, now),
                None => drop(state.early.insert(app, (share, now))),
            }
        }
        true
    }

    /// To be called once a second: shares that are too old end, a minute that is over is closed, connections are looked
    /// at, meters of idle apps are forgotten. `live` counts this process.
    pub fn tick(&self, now: Instant, unix_ms: u64, live: Live) {
        let mut state = self.state.lock();
        state.now = now;
        state.live = live;
        state.early.retain(|_, (_, came)| now.saturating_duration_since(*came) <= SHARE_TTL);

        let minute = unix_ms / 60_000;
        match state.minute {
            Some(current) if minute > current => {
                self.close(&mut state, current);
                state.minute = Some(minute);
            }
            // A clock that was set back: what was written of its minutes must not be written over.
            Some(_) => {}
            None => state.minute = Some(minute),
        }
        let sample = (state.minute == Some(minute)).then_some(unix_ms / 1_000 % 60 / SAMPLE_SECONDS);

        let mut idle = Vec::new();
        for meter in self.apps.read().values() {
            meter.tick(now, unix_ms, live);
            if let Some(Ok(sample)) = sample.map(usize::try_from) {
                meter.sample(sample);
            }
            if meter.is_idle(now, unix_ms) {
                idle.push(meter.app().clone());
            }
        }
        if !idle.is_empty() {
            self.forget(&idle, now, unix_ms);
        }
    }

    /// What there is to say since the last call. To be called about once a second, by one caller, after [`Self::tick`].
    pub fn report(&self, now: Instant, unix_ms: u64) -> Report {
        let mut state = self.state.lock();
        let interval = now.saturating_duration_since(state.reported);
        state.reported = now;
        Report { interval, apps: self.apps.read().values().filter_map(|meter| meter.report(unix_ms)).collect() }
    }

    /// What each app does, and did since its meter was made.
    pub fn totals(&self) -> Vec<AppTotals> {
        self.apps.read().values().map(|meter| meter.totals()).collect()
    }

    /// Whether, since the last call, a connection or member was refused that another node's share may have room for: the
    /// next report should not wait for its second.
    pub fn take_short(&self) -> bool {
        self.short.swap(false, Ordering::Relaxed)
    }

    /// Counts of the minutes that are over and not confirmed, oldest first, and of the current one so far. Each is
    /// everything that this process counted in that minute: whoever writes it writes over what was written of it before.
    pub fn minutes(&self) -> Vec<Minute> {
        let state = self.state.lock();
        let mut minutes: Vec<Minute> = state.closed.iter().cloned().collect();
        minutes.extend(state.minute.and_then(|minute| self.rows(minute, false, AppMeter::minute)));
        minutes
    }

    /// `minute` was written after it was closed, and need not be told again.
    pub fn confirm(&self, minute: u64) {
        self.state.lock().closed.retain(|closed| closed.minute != minute);
    }

    /// How many apps have a meter.
    pub fn len(&self) -> usize {
        self.apps.read().len()
    }

    /// Whether no app has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn close(&self, state: &mut State, minute: u64) {
        state.closed.extend(self.rows(minute, true, AppMeter::close_minute));
        let excess = state.closed.len().saturating_sub(CLOSED_MINUTES);
        state.closed.drain(..excess);
    }

    /// What `read` says of each app, if any has something to say.
    fn rows(&self, minute: u64, closed: bool, read: fn(&AppMeter) -> crate::usage::AppMinute) -> Option<Minute> {
        let read = |meter: &Arc<AppMeter>| (meter.app().clone(), read(meter));
        let mut apps: Vec<_> = self.apps.read().values().map(read).filter(|(_, row)| !row.is_empty()).collect();
        apps.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        (!apps.is_empty()).then_some(Minute { minute, closed, apps })
    }

    fn forget(&self, idle: &[AppId], now: Instant, unix_ms: u64) {
        let mut apps = self.apps.write();
        for app in idle {
            // Whoever holds the meter may still count on it; under this lock nobody new gets it.
            if apps.get(app).is_some_and(|meter| Arc::strong_count(meter) == 1 && meter.is_idle(now, unix_ms)) {
                apps.remove(app);
            }
        }
    }
}
