//! The life of a process: sockets first, then the backbone, then the roles, then an orderly end.
//!
//! Owns the one runtime and every task in it. Knows in which order parts start and stop, and nothing of what they do.

mod app_metrics;
mod connect;
mod listeners;
mod monitor;
mod roles;
pub(crate) mod signals;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::Agent;
use backbone::audit::AuditLog;
use backbone::registry::{Apps, Registry};
use control::seed::{Seed, SeedError};
use metering::Meters;
use telemetry::admin::{self, Admin, AppsPage};
use telemetry::{Check, Exporter, LogFilter, Readiness};
use tokio_util::sync::CancellationToken;

use self::app_metrics::AppMetrics;
use self::listeners::{BindError, Listeners};
use self::signals::Signals;
use self::tasks::{Ended, Tasks};
use crate::config::{Role, Settings};

/// On top of what roles are given to drain. Each keeps to a bound of its own below this; it is for one that is stuck,
/// and ends the process within the 15 s that orchestrators are told to allow beyond grace and duration.
const LAST_REQUESTS: Duration = Duration::from_secs(9);

/// How long tasks without clients may take to end.
const BACKGROUND_DEADLINE: Duration = Duration::from_secs(5);

/// How long the runtime waits for blocking calls (file reads, name lookups) when everything else has ended.
const RUNTIME_DEADLINE: Duration = Duration::from_secs(1);

/// Why a process did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The operating system refused a runtime or signal handlers.
    #[error("the operating system refused to start")]
    System(#[from] std::io::Error),
    /// Logging did not start.
    #[error(transparent)]
    Logging(#[from] telemetry::StartLoggingError),
    /// Metrics did not start.
    #[error(transparent)]
    Metrics(#[from] telemetry::InstallError),
    /// Traces cannot be sent as the settings say.
    #[error(transparent)]
    Traces(#[from] telemetry::trace::StartError),
    /// A socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Backbone and settings do not fit.
    #[error("the backbone refuses these settings: {0}")]
    Backbone(String),
    /// The cluster key of the data directory cannot be read or made.
    #[error("cannot use the cluster key in {}", file.display())]
    ClusterKeyFile {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is something else in its file.
    #[error("the cluster key in {} is none", file.display())]
    ClusterKey {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: backbone::sealing::InvalidClusterKeys,
    },
    /// The control plane cannot be put together.
    #[error("the control plane cannot start")]
    Control(#[source] Box<control::StartError>),
    /// A control plane without a way in.
    #[error(
        "nobody could use the control plane: there are no tokens, so it needs admin.token or admin.token_file to make the \
         first one with, or control.tls.client_ca_file"
    )]
    NoToken,
    /// The worker cannot be put together.
    #[error("the worker cannot start")]
    Worker(#[from] worker::StartError),
    /// The edge cannot be put together.
    #[error("the edge cannot start")]
    Edge(#[from] edge::EdgeError),
    /// The seed does not fit what is there.
    #[error("the seed cannot be applied")]
    Seed(#[from] SeedError),
    /// A part that should run until it is told to stop has ended.
    #[error("{0} ended by itself")]
    PartEnded(&'static str),
}

/// What a process is to do, all of it read and checked.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Its settings.
    pub(crate) settings: Settings,
    /// Apps to create.
    pub(crate) seed: Option<Seed>,
    /// What to print on standard output as soon as clients are welcome.
    pub(crate) greeting: Option<Greeting>,
    /// Environment variables that were probably meant as settings.
    pub(crate) stray_variables: Vec<String>,
}

impl From<control::StartError> for RunError {
    fn from(error: control::StartError) -> Self {
        Self::Control(Box::new(error))
    }
}

/// Makes the text to print from the settings, with the addresses that were really bound, and the seed.
pub(crate) type Greeting = fn(&Settings, Option<&Seed>) -> String;

/// Runs until told to stop. Logs, metrics and signal handlers are the process's own, so this runs once.
pub(crate) fn run(plan: Plan) -> Result<ExitCode, RunError> {
    let log_filter = telemetry::start_logging(plan.settings.log_format, &plan.settings.log_filter)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("fanfare").build()?;
    let result = runtime.block_on(Process::life(plan, log_filter));
    runtime.shutdown_timeout(RUNTIME_DEADLINE);
    result
}

struct Process {
    settings: Settings,
    /// If they are wanted.
    app_metrics: Option<AppMetrics>,
    readiness: Readiness,
    signals: Signals,
    /// Cancelled when the control plane orders this node to drain.
    drain: CancellationToken,
    /// Tasks that serve clients; they get time to drain.
    roles: Tasks,
    /// Tasks that the roles need until they have ended.
    background: Tasks,
}

impl Process {
    async fn life(plan: Plan, log_filter: LogFilter) -> Result<ExitCode, RunError> {
        let Plan { settings, seed, greeting, stray_variables } = plan;
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(version, roles = ?settings.roles, "starting");
        for name in stray_variables {
            tracing::warn!(name, "environment variable is no setting");
        }
        let exporter = Exporter::install(version)?;
        let traces = settings.trace().map(|config| telemetry::trace::start(&config)).transpose()?;
        let signals = Signals::listen()?;
        let (listeners, settings) = Listeners::bind(settings)?;
        let readiness = Readiness::new();
        let mut process = Self {
            app_metrics: (settings.metrics_apps > 0).then(|| AppMetrics::new(settings.metrics_apps)),
            settings,
            readiness,
            signals,
            drain: CancellationToken::new(),
            roles: Tasks::default(),
            background: Tasks::default(),
        };
        if let Some(traces) = traces {
            process.background.spawn("the export of traces", |stop| traces.run(stop.cancelled_owned()));
        }
        // Before anybody can ask: without any check the answer would be yes.
        let check = process.readiness.check("backbone");
        let apps = process.app_metrics.clone().map(|metrics| AppsPage::new(move || metrics.render()));
        let (readiness, commit) = (process.readiness.clone(), crate::COMMIT);
        let admin = Admin { exporter, readiness, log_filter, apps, version, commit };
        process.background.spawn("the watch over the runtime", |stop| telemetry::watch_runtime(stop.cancelled_owned()));
        process.background.spawn("the admin listener", |stop| async move {
            admin::serve(listeners.admin, admin, stop.cancelled_owned()).await;
        });
        let started = process.start(check, listeners.edge, listeners.control, seed, greeting).await;
        match started {
            Ok(Some(())) => process.until_stopped().await,
            // Told to stop before there was anything to drain.
            Ok(None) => {
                process.background.stop(BACKGROUND_DEADLINE).await;
                tracing::info!("stopped before it was started");
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                process.background.stop(BACKGROUND_DEADLINE).await;
                Err(error)
            }
        }
    }

    /// From the backbone to the roles. `None` if a signal came first.
    async fn start(
        &mut self,
        check: Check,
        edge: Option<tokio::net::TcpListener>,
        control: Option<tokio::net::TcpListener>,
        seed: Option<Seed>,
        greeting: Option<Greeting>,
    ) -> Result<Option<()>, RunError> {
        let backbone = tokio::select! {
            backbone = connect::connect(&self.settings, &check) => backbone?,
            () = self.signals.stop() => return Ok(None),
        };
        let keys = connect::cluster_keys(&self.settings)?;
        let registry = Registry::new(&backbone, Arc::clone(&keys));
        if let Some(seed) = &seed {
            let log = AuditLog::new(&backbone, self.settings.control.audit_retention);
            let applied = tokio::select! {
                applied = connect::seed(seed, &registry, &log, &check) => applied?,
                () = self.signals.stop() => return Ok(None),
            };
            tracing::info!(apps = applied.apps, keys = applied.keys, "seed applied; what was there is left as it is");
        }
        let apps = Apps::watch(registry);
        self.background.spawn("the watch over apps", |stop| apps.run(stop));
        let meters = Arc::new(Meters::new(Instant::now()));
        if let Some(metrics) = self.app_metrics.clone() {
            let (meters, apps) = (Arc::clone(&meters), apps.clone());
            self.background.spawn("the metrics by app", |stop| metrics.run(meters, apps, stop));
        }
        let edge = match edge {
            Some(listener) => Some((roles::edge(self, &backbone, &apps, &meters, &keys)?, listener)),
            None => None,
        };
        let host = edge.as_ref().map(|(edge, _)| edge.host());
        let agent = Agent::new(self.settings.agent(Arc::clone(&keys)), backbone.clone(), Arc::clone(&meters), host);
        self.drain = agent.drain_ordered();
        if let Some(listener) = control {
            roles::control(self, listener, agent.node_id(), &backbone, keys, &apps).await?;
        }
        // It counts and reports until the roles have ended.
        self.background.spawn("the agent", |stop| async move { agent.run(stop).await });
        if self.settings.runs(Role::Worker) {
            roles::worker(self, &backbone, &apps, meters)?;
        }
        if let Some((edge, listener)) = edge {
            self.roles.spawn("the edge", |stop| async move {
                edge.serve(listener, stop).await;
            });
        }
        // It says that the backbone is ready, so it comes when all roles have checks of their own.
        let monitored = apps.clone();
        self.background.spawn("the monitor", |stop| monitor::run(backbone, monitored, check, stop));
        if let Some(greeting) = greeting {
            apps.ready().await;
            crate::print(&greeting(&self.settings, seed.as_ref()));
        }
        Ok(Some(()))
    }

    /// Waits for a signal, or for a part that ends by itself; then ends everything in order.
    async fn until_stopped(mut self) -> Result<ExitCode, RunError> {
        let ended = tokio::select! {
            () = self.signals.stop() => None,
            () = self.drain.cancelled() => {
                tracing::info!("ordered to drain by the control plane");
                None
            }
            name = self.roles.first_end() => Some(name),
            name = self.background.first_end() => Some(name),
        };
        if let Some(part) = ended {
            tracing::error!(part, "a part ended by itself, and the process with it");
        }
        self.readiness.drain();
        let patience = self.settings.edge.drain_grace + self.settings.edge.drain_duration;
        let deadline = patience + self.settings.edge.close_timeout + LAST_REQUESTS;
        tracing::info!(?patience, "draining; SIGINT stops at once");
        let begun = Instant::now();
        let outcome = tokio::select! {
            outcome = self.roles.stop(deadline) => Some(outcome),
            () = self.signals.hurry() => None,
        };
        let took = begun.elapsed();
        let drained = match outcome {
            Some(Ended::InTime) => {
                tracing::info!(?took, "drained");
                true
            }
            Some(Ended::Cut(tasks)) => {
                tracing::warn!(?took, ?tasks, "not drained in time; what was left is cut");
                false
            }
            None => {
                tracing::warn!(?took, "told to hurry: stopping at once");
                self.roles.abort().await;
                false
            }
        };
        self.background.stop(BACKGROUND_DEADLINE).await;
        match ended {
            Some(name) => Err(RunError::PartEnded(name)),
            None if drained => Ok(ExitCode::SUCCESS),
            None => Ok(ExitCode::FAILURE),
        }
    }
}
