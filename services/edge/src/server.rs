//! The edge as a whole: what its parts share, the accept loop, and the way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backbone::registry::Apps;
use backbone::revocations::Revoked;
use backbone::sealing::ClusterKeys;
use backbone::{Backbone, Publish, PublishError, Published};
use certificate::{Certificate, CertificateError};
use channels::{App, AppId, ChannelName};
use metering::{AppMeter, Meters};
use proto::control::TailKind;
use pusher::Settings;
use telemetry::{Check, Readiness};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::accept;
use crate::admission::Gate;
use crate::config::{Config, TlsConfig};
use crate::connection;
use crate::connection::xhr::Sessions;
use crate::connections::{Connections, Swept};
use crate::hub::{Hub, Parts};
use crate::membership::Membership;
use crate::meta::{self, Meta};
use crate::metrics::{self, Metrics};
use crate::news;
use crate::occupancy::{Changes, Occupancy};
use crate::orders;
use crate::resume::Resumes;
use crate::revocations;
use crate::tail::{Tails, Told};
use crate::users::Users;
use crate::webhooks::Webhooks;

/// How often deadlines are looked at. They are tens of seconds away, so a second more does not matter.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long sockets are not accepted at the start while it is not known which tokens are revoked.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// How long the last requests may take at the very end. With the grace, the duration and the time for closing it stays
/// within the 15 s that orchestrators are told to allow beyond the two; a publish that waits through a leader election
/// may be cut off by it, which its publisher sees as an unknown outcome.
const LAST_REQUESTS: Duration = Duration::from_secs(8);

/// How long HTTP connections are kept once the last client was told to go. Clients that come back have their backends ask
/// what they missed, so that a kept connection never has a request on its way more likely than at that moment; what is
/// answered from then on leaves the backends' pools.
const LAST_KEPT: Duration = Duration::from_secs(2);

/// What every part of an edge shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) backbone: Backbone,
    pub(crate) apps: Apps,
    pub(crate) meters: Arc<Meters>,
    /// Decides which sockets are served at all.
    pub(crate) gate: Gate,
    pub(crate) connections: Arc<Connections>,
    /// Of the HTTP fallback.
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) occupancy: Occupancy,
    pub(crate) users: Arc<Users>,
    pub(crate) resumes: Arc<Resumes>,
    pub(crate) meta: Meta,
    /// Of Ably sessions.
    pub(crate) ably: Arc<ably::session::Settings>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) tails: Arc<Tails>,
    pub(crate) metrics: Arc<Metrics>,
    /// Which tokens are not taken any more.
    pub(crate) revoked: Revoked,
    /// What it shows in TLS handshakes; without one, plain text.
    pub(crate) certificate: Option<Certificate>,
    /// Owns the tasks of all sockets.
    pub(crate) tasks: TaskTracker,
    /// The edge was told to stop: load balancers are to lead elsewhere, and HTTP clients to close.
    pub(crate) draining: CancellationToken,
    /// The grace is over: nobody new.
    pub(crate) closing: CancellationToken,
    /// All connections were told to go a moment ago: idle HTTP connections are closed, too.
    pub(crate) closed: CancellationToken,
    /// The end: requests that are still there are dropped.
    pub(crate) kill: CancellationToken,
    /// Connections that did not part within the close timeout.
    pub(crate) forced: AtomicUsize,
}

impl Shared {
    /// Whether clients come over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.certificate.is_some()
    }

    /// The meter of `app`.
    pub(crate) fn meter(&self, app: &App) -> Arc<AppMeter> {
        if let Some(meter) = self.meters.get(&app.id) {
            return meter;
        }
        let meter = self.meters.meter(app);
        // The settings may be others by now, and nobody could tell a meter that was not there.
        if let Some(app) = self.apps.get(&app.id) {
            self.meters.update(&app);
        }
        meter
    }

    /// Tells those who tail `app` how a publish to `channel` ended; `told` says of what.
    pub(crate) fn tell_published(
        &self,
        app: &AppId,
        channel: &ChannelName,
        told: Told<'_>,
        result: &Result<Published, PublishError>,
    ) {
        let told = Told { channel: channel.as_str(), ..told };
        match result {
            Ok(_) => {
                let count = self.hub.subscriptions(app, channel);
                self.tails.tell(app, Told { kind: TailKind::Published, count, ..told });
            }
            Err(error) => {
                let reason = error.to_string();
                self.tails.tell(app, Told { kind: TailKind::PublishRefused, reason: &reason, ..told });
            }
        }
    }

    pub(crate) fn session_settings(&self) -> Settings {
        Settings { activity_timeout: self.config.activity_timeout, pong_timeout: self.config.pong_timeout }
    }
}

/// Why an edge cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The settings are wrong; each problem is a sentence.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// The certificate or key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// How an edge went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were open when closing began.
    pub closed: usize,
    /// Those that did not part in time.
    pub forced: usize,
    /// From the order to stop to the end.
    pub took: Duration,
}

/// An edge that is ready to serve.
#[derive(Debug)]
pub struct Edge {
    shared: Arc<Shared>,
    /// Counts of which somebody may want to know.
    news: Arc<Changes>,
    /// What metachannels are to be told.
    told: mpsc::Receiver<Publish>,
    readiness: Readiness,
    check: Check,
    /// Ends the tasks that belong to the edge itself.
    stop: CancellationToken,
}

impl Edge {
    /// An edge over `backbone` for `apps`, which somebody else keeps current, and which `meters` count and limit; who
    /// ticks those tells the cluster. By the `keys` of the cluster it knows connections that were on other edges. Adds its
    /// check to `readiness`.
    ///
    /// Must be called within a tokio runtime, after the metrics recorder is installed.
    pub fn new(
        config: Config,
        backbone: Backbone,
        apps: Apps,
        readiness: Readiness,
        meters: Arc<Meters>,
        keys: Arc<ClusterKeys>,
    ) -> Result<Self, EdgeError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(EdgeError::Config(problems));
        }
        let load = |tls: &TlsConfig| Certificate::load("clients", &tls.files, &[b"http/1.1"]);
        let certificate = config.tls.as_ref().map(load).transpose()?;
        let metrics = Arc::new(Metrics::new());
        let stop = CancellationToken::new();
        let parts = Parts {
            backbone: backbone.clone(),
            apps: apps.clone(),
            membership: Membership::new(backbone.clone(), config.lease_ttl),
            changes: Arc::default(),
            news: Arc::default(),
            occupied: Arc::default(),
            tails: Arc::default(),
            webhooks: Arc::new(Webhooks::new(&backbone, Arc::clone(&metrics))),
            metrics: Arc::clone(&metrics),
        };
        let hub = Hub::new(&config, parts.clone(), stop.child_token());
        let users = Arc::new(Users::new(&backbone, Arc::clone(&parts.changes), Arc::clone(&parts.news)));
        let interval = config.occupancy_interval;
        let occupancy = Occupancy::new(&parts, Arc::clone(&hub), Arc::clone(&users), Arc::clone(&meters), interval);
        let Parts { membership, news, webhooks, tails, .. } = parts;
        let (meta, told) = Meta::new();
        let resumes = Resumes::new(&backbone, keys, config.ably_connection_state_ttl);
        let shared = Shared {
            resumes: Arc::new(resumes),
            meta,
            ably: Arc::new(connection::ably::settings(&config, membership.me().as_str())),
            gate: Gate::new(&config),
            connections: Arc::new(Connections::new(config.max_connections, config.max_connection_age)),
            sessions: Arc::default(),
            revoked: Revoked::watch(backbone.revocations()),
            config,
            backbone,
            apps,
            meters,
            hub,
            membership,
            occupancy,
            users,
            webhooks,
            tails,
            metrics,
            certificate,
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
            kill: CancellationToken::new(),
            forced: AtomicUsize::new(0),
        };
        metrics::show_limits(shared.config.max_connections, shared.gate.memory_limit());
        let check = readiness.check("edge");
        Ok(Self { shared: Arc::new(shared), news, told, readiness, check, stop })
    }

    /// What the control plane may ask of it.
    pub fn host(&self) -> Arc<dyn agent::Host> {
        Arc::clone(&self.shared) as Arc<dyn agent::Host>
    }

    /// Serves `listener` until `shutdown`, then drains and returns: for `drain_grace` it goes on, lest clients whom a
    /// load balancer still sends here be without a node, then connections are closed evenly over `drain_duration` and
    /// new ones sent elsewhere. The listener closes with the end of the grace, or of the last session of the HTTP fallback.
    /// HTTP connections that wait for a request are closed last, a moment later.
    ///
    /// Dropping the future instead stops accepting, and the edge's own tasks, at once and without a word to clients.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Drained {
        let Self { shared, news, told, readiness, check, stop } = self;
        let accepting = CancellationToken::new();
        let _at_any_end = (stop.clone().drop_guard(), shared.kill.clone().drop_guard(), accepting.clone().drop_guard());
        let own = TaskTracker::new();
        own.spawn(sweep(Arc::clone(&shared), stop.clone()));
        own.spawn(watch_apps(Arc::clone(&shared), stop.clone()));
        own.spawn(watch_capacity(Arc::clone(&shared), stop.clone()));
        own.spawn(news::tell(Arc::clone(&shared), news, stop.clone()));
        own.spawn(meta::run(Arc::clone(&shared), told, stop.clone()));
        own.spawn(shared.revoked.run(stop.clone()));
        own.spawn(revocations::follow(Arc::clone(&shared), stop.clone()));
        for part in [Part::Membership, Part::Occupancy, Part::Edges, Part::Orders] {
            own.spawn(part.run(Arc::clone(&shared), stop.clone()));
        }
        own.spawn(follow_certificate(Arc::clone(&shared), stop.clone()));
        let address = listener.local_addr().ok();
        tracing::info!(address = ?address, tls = shared.is_tls(), "edge is listening");
        // Who comes in the first moments waits in the backlog rather than be told that nobody knows yet what is revoked.
        tokio::time::timeout(FIRST_LOOK, shared.revoked.ready()).await.ok();
        let acceptor = tokio::spawn(accept(Arc::clone(&shared), listener, accepting.clone()));
        // Until then tokens are refused for the moment; nobody is to be sent here for that.
        tokio::select! {
            () = welcome(&shared, &check) => {}
            () = shutdown.cancelled() => {}
        }

        let begun = Instant::now();
        readiness.drain();
        check.set_not_ready("draining");
        shared.draining.cancel();
        tracing::info!(connections = shared.connections.len(), "edge is draining");
        tokio::time::sleep(shared.config.drain_grace).await;
        shared.closing.cancel();
        let forced_before = shared.forced.load(Ordering::Relaxed);
        let needs_sockets = shared.sessions.are_open();
        let listening = async {
            shared.sessions.ended().await;
            accepting.cancel();
            if let Err(error) = acceptor.await {
                tracing::error!(error = &error as &dyn std::error::Error, "the accept loop ended badly");
            }
        };
        let draining = async {
            let closed = shared.connections.drain(shared.config.drain_duration).await;
            // Connections part within the close timeout; requests get what a publish may take.
            (closed, tokio::time::Instant::now() + shared.config.close_timeout + LAST_REQUESTS)
        };
        let (closed, last) = if needs_sockets {
            tokio::join!(draining, listening).0
        } else {
            // Whom we tell to go comes back at once, and must not meet a listener that is about to close.
            listening.await;
            draining.await
        };
        shared.tasks.close();
        tokio::select! {
            () = shared.tasks.wait() => {}
            () = tokio::time::sleep(LAST_KEPT) => {}
        }
        shared.closed.cancel();
        if tokio::time::timeout_at(last, shared.tasks.wait()).await.is_err() {
            shared.kill.cancel();
            shared.tasks.wait().await;
        }
        stop.cancel();
        own.close();
        own.wait().await;
        shared.hub.ended().await;
        shared.webhooks.ended().await;
        let forced = shared.forced.load(Ordering::Relaxed) - forced_before;
        let drained = Drained { closed, forced, took: begun.elapsed() };
        tracing::info!(closed, forced, took = ?drained.took, "edge has drained");
        drained
    }
}

/// What an edge does beside serving its clients.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Its lease, and those of others.
    Membership,
    /// Counts.
    Occupancy,
    /// What edges leave behind.
    Edges,
    /// Orders to all edges.
    Orders,
}

impl Part {
    async fn run(self, shared: Arc<Shared>, stop: CancellationToken) {
        match self {
            Self::Membership => {
                // Members that are still here when the node ends are those of clients that are about to come back to
                // another one.
                shared.membership.run(stop, || shared.hub.has_members()).await;
            }
            Self::Occupancy => shared.occupancy.run(stop).await,
            Self::Edges => shared.hub.follow_edges(stop).await,
            Self::Orders => orders::obey(shared, stop).await,
        }
    }
}

/// Says that clients are welcome as soon as they are, and whenever the node is full that they are not. Never ends.
async fn welcome(shared: &Shared, check: &Check) {
    shared.revoked.ready().await;
    let mut full = shared.gate.full();
    loop {
        match *full.borrow_and_update() {
            Some(full) => check.set_not_ready(full.to_string()),
            None => check.set_ready(),
        }
        if full.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Looks whether the node is full, again and again.
async fn watch_capacity(shared: Arc<Shared>, stop: CancellationToken) {
    shared.gate.run(&shared.connections, stop).await;
}

/// Uses a new certificate once it is in the files.
async fn follow_certificate(shared: Arc<Shared>, stop: CancellationToken) {
    let (Some(tls), Some(certificate)) = (&shared.config.tls, &shared.certificate) else { return };
    tokio::select! {
        () = stop.cancelled() => {}
        never = certificate.follow(tls.reload_interval) => match never {},
    }
}

/// Looks at all connections' deadlines, again and again.
async fn sweep(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        shared.tails.sweep();
        // A node that drains ends all of them, in its own time.
        let Swept { bytes, rotated } = shared.connections.sweep(!shared.draining.is_cancelled()).await;
        shared.metrics.rotated.increment(rotated);
        // Exact up to 2^53.
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        shared.metrics.send_queue_bytes.set(bytes as f64);
    }
}

/// Has meters, connections and channels look at their apps again when those change.
async fn watch_apps(shared: Arc<Shared>, stop: CancellationToken) {
    let mut changed = shared.apps.changed();
    let mut metered = shared.apps.snapshot();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            result = changed.changed() => if result.is_err() { return },
        }
        let before = std::mem::replace(&mut metered, shared.apps.snapshot());
        let has_changed = |app: &&Arc<App>| before.get(&app.id).is_none_or(|before| !Arc::ptr_eq(before, app));
        metered.iter().filter(has_changed).for_each(|app| shared.meters.update(app));
        let apps = shared.connections.recheck(&shared.apps);
        if !apps.is_empty() {
            shared.hub.recheck(&apps);
            let watched = |app: &&AppId| shared.apps.get(app).is_some_and(|app| app.pusher.watchlist);
            apps.iter().filter(watched).for_each(|app| shared.users.count_all(app));
        }
    }
}
