//! Connections to NATS, and what they say of themselves.

use std::path::Path;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::{Config, NatsConfig, StartError};

/// How long one connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a silent connection is probed; two missed probes end it. The library's default of a minute would leave an
/// edge deaf for two after a cut that sends no reset.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Longest pause between reconnection attempts.
const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(2);

/// Counts the times a connection came up. A change after the first is a reconnect: what was published in between was
/// missed.
pub(super) type Ups = watch::Receiver<u64>;

/// Connects under `name`; `buffer` is the capacity of each subscription in messages.
pub(super) async fn connect(
    config: &Config,
    nats: &NatsConfig,
    name: &'static str,
    buffer: usize,
) -> Result<(Client, Ups), StartError> {
    let (ups_sender, ups) = watch::channel(0);
    let mut options = options(nats)?
        .subscription_capacity(buffer)
        .name(format!("fanfare-{name}"))
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(reconnect_pause)
        .event_callback(move |event| {
            report(name, &event);
            if matches!(event, Event::Connected) {
                ups_sender.send_modify(|ups| *ups += 1);
            }
            std::future::ready(())
        });
    if config.ignore_discovered_servers {
        options = options.ignore_discovered_servers();
    }
    let client =
        options.connect(addresses(&nats.urls)?).await.map_err(|error| StartError::Unreachable(error.to_string()))?;
    Ok((client, ups))
}

/// The URLs as addresses. One that is none will not become one, so it is not worth another try.
fn addresses(urls: &[String]) -> Result<Vec<ServerAddr>, StartError> {
    // The URL itself is not repeated: it may hold a password.
    let address = |(place, url): (usize, &String)| {
        url.parse().map_err(|error| StartError::Refused(format!("NATS URL number {} is no URL: {error}", place + 1)))
    };
    urls.iter().enumerate().map(address).collect()
}

/// Files are looked at here because the library reads them at each attempt and does not name them.
fn readable<'a>(what: &str, file: &'a Path) -> Result<&'a Path, StartError> {
    std::fs::read(file)
        .map(|_| file)
        .map_err(|error| StartError::Refused(format!("cannot read {what} {}: {error}", file.display())))
}

fn options(nats: &NatsConfig) -> Result<ConnectOptions, StartError> {
    let mut options = ConnectOptions::new().require_tls(nats.tls.required);
    if let Some(file) = &nats.credentials_file {
        // Read here rather than by the library, whose error does not name the file.
        let credentials = std::fs::read_to_string(file).map_err(|error| {
            StartError::Refused(format!("cannot read NATS credentials {}: {error}", file.display()))
        })?;
        options = options
            .credentials(&credentials)
            .map_err(|error| StartError::Refused(format!("bad NATS credentials {}: {error}", file.display())))?;
    } else if let (Some(user), Some(password)) = (&nats.user, &nats.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(file) = &nats.tls.ca_file {
        options = options.add_root_certificates(readable("NATS authorities", file)?.to_owned());
    }
    if let (Some(cert), Some(key)) = (&nats.tls.cert_file, &nats.tls.key_file) {
        options = options.add_client_certificate(
            readable("NATS client certificate", cert)?.to_owned(),
            readable("NATS client key", key)?.to_owned(),
        );
    }
    Ok(options)
}

/// Quick at first, since another server of the cluster usually answers at once; jittered, since every edge of a dead
/// server comes at the same time.
fn reconnect_pause(attempts: usize) -> Duration {
    let exponent = u32::try_from(attempts.min(8)).unwrap_or(8);
    let pause = Duration::from_millis(10).saturating_mul(2_u32.pow(exponent)).min(MAX_RECONNECT_PAUSE);
    pause.mul_f64(rand::random_range(0.5..1.0))
}

fn report(connection: &'static str, event: &Event) {
    match event {
        Event::Connected => info!(connection, "connected to NATS"),
        Event::Disconnected => warn!(connection, "disconnected from NATS"),
        // Repaired by the gap check; drops are counted there, since these events are themselves dropped.
        Event::SlowConsumer(subscription) => info!(connection, subscription, "a subscription fell behind"),
        Event::LameDuckMode => info!(connection, "the NATS server is about to leave"),
        Event::Draining | Event::Closed => info!(connection, "NATS connection closed"),
        Event::ServerError(error) => warn!(connection, %error, "NATS server error"),
        Event::ClientError(error) => warn!(connection, %error, "NATS client error"),
    }
}
