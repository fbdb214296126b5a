//! The edge as a whole: what its parts share, the accept loop, and the way out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backbone::registry::Apps;
use backbone::revocations::Revoked;
use backbone::sealing::ClusterKeys;
use backbone::{Backbone, Publish, PublishError, Published};
use channels::{App, AppId, ChannelName};
use metering::{AppMeter, Meters};
use proto::control::TailKind;
use pusher::Settings;
use telemetry::{Check, Readiness};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection;
use crate::connection::xhr::Sessions;
use crate::connections::Connections;
use crate::http;
use crate::hub::{Hub, Parts};
use crate::membership::Membership;
use crate::meta::{self, Meta};
use crate::metrics::{Metrics, Refusal};
use crate::news;
use crate::occupancy::{Changes, Occupancy};
use crate::orders;
use crate::resume::Resumes;
use crate::revocations;
use crate::stream::Stream;
use crate::tail::{Tails, Told};
use crate::tls::{Tls, TlsError};
use crate::users::Users;
use crate::webhooks::Webhooks;

/// How often deadlines are looked at. They are tens of seconds away, so a second more does not matter.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after the operating system refused us a socket: no descriptors, no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Sockets beyond the connections, at least: for requests, and for refusals on their way out.
const SPARE_SOCKETS: usize = 64;

/// How long sockets are not accepted at the start while it is not known which tokens are revoked.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// How long the last requests may take at the very end. With the grace, the duration and the time for closing it stays
/// within the 15 s that orchestrators are told to allow beyond the two; a publish that waits through a leader election
/// may be cut off by it, which its publisher sees as an unknown outcome.
const LAST_REQUESTS: Duration = Duration::from_secs(8);

/// What every part of an edge shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) backbone: Backbone,
    pub(crate) apps: Apps,
    pub(crate) meters: Arc<Meters>,
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
    tls: Option<Tls>,
    /// Owns the tasks of all sockets.
    pub(crate) tasks: TaskTracker,
    /// The edge is on its way out: nobody new, no keep-alive.
    pub(crate) draining: CancellationToken,
    /// The end: requests that are still there are dropped.
    pub(crate) kill: CancellationToken,
    /// Connections that did not part within the close timeout.
    pub(crate) forced: AtomicUsize,
}

impl Shared {
    /// Whether clients come over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
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
    Tls(#[from] TlsError),
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
        let tls = config.tls.clone().map(Tls::load).transpose()?;
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
            connections: Arc::new(Connections::new(config.max_connections)),
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
            tls,
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            kill: CancellationToken::new(),
            forced: AtomicUsize::new(0),
        };
        let check = readiness.check("edge");
        Ok(Self { shared: Arc::new(shared), news, told, readiness, check, stop })
    }

    /// What the control plane may ask of it.
    pub fn host(&self) -> Arc<dyn agent::Host> {
        Arc::clone(&self.shared) as Arc<dyn agent::Host>
    }

    /// Serves `listener` until `shutdown`, then drains and returns: for `drain_grace` new requests are still answered
    /// and new connections sent elsewhere, then connections are closed evenly over `drain_duration`. The listener closes
    /// with the end of the grace, or of the last session of the HTTP fallback.
    ///
    /// Dropping the future instead stops accepting, and the edge's own tasks, at once and without a word to clients.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Drained {
        let Self { shared, news, told, readiness, check, stop } = self;
        let accepting = CancellationToken::new();
        let _at_any_end = (stop.clone().drop_guard(), shared.kill.clone().drop_guard(), accepting.clone().drop_guard());
        let own = TaskTracker::new();
        own.spawn(sweep(Arc::clone(&shared), stop.clone()));
        own.spawn(watch_apps(Arc::clone(&shared), stop.clone()));
        own.spawn(news::tell(Arc::clone(&shared), news, stop.clone()));
        own.spawn(meta::run(Arc::clone(&shared), told, stop.clone()));
        own.spawn(shared.revoked.run(stop.clone()));
        own.spawn(revocations::follow(Arc::clone(&shared), stop.clone()));
        for part in [Part::Membership, Part::Occupancy, Part::Edges, Part::Orders] {
            own.spawn(part.run(Arc::clone(&shared), stop.clone()));
        }
        if shared.tls.is_some() {
            let reloading = Arc::clone(&shared);
            let stop = stop.clone();
            own.spawn(async move {
                if let Some(tls) = &reloading.tls {
                    tls.reload(stop).await;
                }
            });
        }
        let address = listener.local_addr().ok();
        tracing::info!(address = ?address, tls = shared.tls.is_some(), "edge is listening");
        let sockets = shared.config.max_connections + shared.config.max_connections / 16 + SPARE_SOCKETS;
        let sockets = Arc::new(Semaphore::new(sockets.min(Semaphore::MAX_PERMITS)));
        // Who comes in the first moments waits in the backlog rather than be told that nobody knows yet what is revoked.
        tokio::time::timeout(FIRST_LOOK, shared.revoked.ready()).await.ok();
        let acceptor = tokio::spawn(accept(Arc::clone(&shared), listener, sockets, accepting.clone()));
        // Until then tokens are refused for the moment; nobody is to be sent here for that.
        tokio::select! {
            () = shared.revoked.ready() => check.set_ready(),
            () = shutdown.cancelled() => {}
        }
        shutdown.cancelled().await;

        let begun = Instant::now();
        readiness.drain();
        check.set_not_ready("draining");
        shared.draining.cancel();
        tracing::info!(connections = shared.connections.len(), "edge is draining");
        tokio::time::sleep(shared.config.drain_grace).await;
        let forced_before = shared.forced.load(Ordering::Relaxed);
        let listening = async {
            // They need new sockets to their end. If there are none, the listener closes now.
            shared.sessions.ended().await;
            accepting.cancel();
            if let Err(error) = acceptor.await {
                tracing::error!(error = &error as &dyn std::error::Error, "the accept loop ended badly");
            }
        };
        let (closed, ()) = tokio::join!(shared.connections.drain(shared.config.drain_duration), listening);
        shared.tasks.close();
        // Connections part within the close timeout; requests get what a publish may take.
        if tokio::time::timeout(shared.config.close_timeout + LAST_REQUESTS, shared.tasks.wait()).await.is_err() {
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

/// Accepts sockets until `stop`.
async fn accept(shared: Arc<Shared>, listener: TcpListener, sockets: Arc<Semaphore>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, address)) => match Arc::clone(&sockets).try_acquire_owned() {
                Ok(place) => {
                    shared.tasks.spawn(serve(Arc::clone(&shared), socket, address, place));
                }
                // Before any work is done for it: dropping the socket is all that a full node can afford.
                Err(_) => shared.metrics.refuse(Refusal::ConnectionLimit),
            },
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a socket could not be accepted");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

/// Serves a socket until its end.
async fn serve(shared: Arc<Shared>, tcp: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
    let socket = http::Socket::new(Instant::now(), address, permit);
    // Boxed: a WebSocket's task must not carry the size of what came before.
    Box::pin(greet(&shared, tcp, address, &socket)).await;
    if let Some(upgrade) = socket.upgrade() {
        upgrade.serve(&shared).await;
    }
}

/// TLS, if there is any, then HTTP.
async fn greet(shared: &Arc<Shared>, tcp: TcpStream, address: SocketAddr, socket: &http::Socket) {
    // Messages are small and wait for nobody. If it fails the socket is dead, which is found out soon.
    tcp.set_nodelay(true).ok();
    let stream = match &shared.tls {
        None => Stream::Plain(Arc::new(tcp)),
        Some(tls) => {
            let handshake = tokio::time::timeout(shared.config.handshake_timeout, tls.acceptor().accept(tcp));
            let handshake = tokio::select! {
                handshake = handshake => handshake,
                () = shared.kill.cancelled() => return,
            };
            match handshake {
                Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                Ok(Err(error)) => {
                    tracing::debug!(%address, error = &error as &dyn std::error::Error, "TLS handshake failed");
                    return shared.metrics.refuse(Refusal::Tls);
                }
                Err(_) => return shared.metrics.refuse(Refusal::HandshakeTimeout),
            }
        }
    };
    http::serve(Arc::clone(shared), stream, socket.clone()).await;
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
        let bytes = shared.connections.sweep().await;
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
