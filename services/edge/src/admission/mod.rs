//! Who gets in: what a socket has to pass before work is done for it, and before its TLS handshake.
//!
//! What is over soon is waited for: sockets that come faster than [`Config::accept_rate`], or while
//! [`Config::max_handshakes`] others are still to send their first request, are left in the listener's backlog. The kernel
//! holds them there for nothing; when it is full, clients knock again by themselves after a second, three, seven. So a
//! storm is drawn out rather than turned away, and nobody has to be told anything, which over TLS could not be done.
//! While sockets wait for handshakes, a handshake may take half of [`Config::handshake_timeout`] and no longer, lest a few
//! thousand silent sockets keep everybody out. Not less: a node that is slow because of a storm must not end what it has
//! nearly done.
//!
//! What is not over soon is refused: a node without room or memory, an address that has enough. In plain text the socket
//! gets an answer that is made without looking at its request ([`refusal`]); over TLS it is closed. Who got through and
//! then finds no place for a connection is told by its protocol (`connection::place`).
//!
//! Here is also who a client is: the PROXY header, and whom of those who say that they speak for others is believed. Of
//! apps, keys and quotas nothing is known here; a socket that is open is never looked at again.

mod addresses;
mod capacity;
mod forwarded;
mod memory;
mod networks;
mod pace;
mod proxy;
mod refusal;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use hyper::HeaderMap;
use parking_lot::Mutex;
use telemetry::{Gauge, metrics as catalogue};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::addresses::Addresses;
use self::memory::Ceiling;
use self::pace::Pace;
use crate::config::Config;
use crate::metrics::Refusal;
pub(crate) use addresses::Guest;
pub(crate) use capacity::Full;
pub use memory::MemoryLimit;
pub use networks::Networks;
pub(crate) use proxy::NoHeader;
pub use proxy::ProxyProtocol;
pub(crate) use refusal::turn_away;

/// Sockets beyond the connections, at least: for requests, and for refusals on their way out.
const SPARE_SOCKETS: usize = 64;

/// Refused sockets that are told so at one time; more are closed without a word.
const REFUSALS: usize = 256;

/// Decides who gets in.
#[derive(Debug)]
pub(crate) struct Gate {
    config: Config,
    pace: Mutex<Pace>,
    handshakes: Arc<Semaphore>,
    /// Whether sockets wait for a handshake to be over.
    crowded: watch::Sender<bool>,
    sockets: Arc<Semaphore>,
    addresses: Option<Arc<Addresses>>,
    ceiling: Option<Ceiling>,
    memory_used: Gauge,
    full: watch::Sender<Option<Full>>,
    refusals: Arc<Semaphore>,
}

/// Why the listener left sockets in its backlog for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// They come faster than they may.
    Rate,
    /// As many handshakes are under way as may be.
    Handshakes,
}

/// Why a socket that was accepted does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// The node has as many sockets as it may have.
    Full,
    /// It uses as much memory as it may.
    Memory,
    /// Its address has enough, or came too often.
    Address,
}

impl TurnedAway {
    /// How it is counted.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Full => Refusal::ConnectionLimit,
            Self::Memory => Refusal::Memory,
            Self::Address => Refusal::Address,
        }
    }
}

/// Leave to accept one socket.
#[derive(Debug)]
pub(crate) struct Turn {
    handshake: OwnedSemaphorePermit,
    /// Why it had to be waited for.
    pub(crate) held: Option<Held>,
}

/// What a socket that got in holds until its end.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Given back with the first request.
    pub(crate) handshake: OwnedSemaphorePermit,
    /// Its place among the node's sockets.
    pub(crate) place: OwnedSemaphorePermit,
    /// Its place among those of its address, if these are counted and the address is known.
    pub(crate) guest: Option<Guest>,
}

/// Where a client is, as far as whoever is believed says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Its address, or that of the nearest proxy that says nothing.
    pub(crate) address: SocketAddr,
    /// Its address is to be counted for each connection, since the socket is another's.
    pub(crate) counts: bool,
}

impl Gate {
    /// One for a node with this configuration. To be made when the metrics recorder is there.
    pub(crate) fn new(config: &Config) -> Self {
        let sockets = config.max_connections + config.max_connections / 16 + SPARE_SOCKETS;
        let memory_used = catalogue::MEMORY_USED_BYTES.handle();
        memory_used.set(telemetry::ABSENT);
        let semaphore = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            pace: Mutex::new(Pace::new(config.accept_rate, config.accept_burst, Instant::now())),
            handshakes: semaphore(config.max_handshakes),
            crowded: watch::Sender::new(false),
            sockets: semaphore(sockets),
            addresses: Addresses::new(config.address_connections, config.address_rate).map(Arc::new),
            ceiling: Ceiling::find(config.memory_limit),
            memory_used,
            full: watch::Sender::new(None),
            refusals: semaphore(REFUSALS),
            config: config.clone(),
        }
    }

    /// Waits until another socket may be accepted.
    pub(crate) async fn turn(&self) -> Turn {
        let mut held = None;
        let wait = self.pace.lock().wait(Instant::now());
        if !wait.is_zero() {
            held = Some(Held::Rate);
            tokio::time::sleep(wait).await;
        }
        let handshake = match Arc::clone(&self.handshakes).try_acquire_owned() {
            Ok(handshake) => handshake,
            Err(_) => {
                held = Some(Held::Handshakes);
                self.crowded.send_replace(true);
                let handshake = Arc::clone(&self.handshakes).acquire_owned().await;
                self.crowded.send_replace(false);
                handshake.expect("the semaphore is never closed")
            }
        };
        Turn { handshake, held }
    }

    /// Lets in the socket of `peer` that was accepted in this `turn`.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn enter(&self, turn: Turn, peer: IpAddr) -> Result<Entry, TurnedAway> {
        let now = Instant::now();
        self.pace.lock().take(now);
        if self.is_short_of_memory() {
            return Err(TurnedAway::Memory);
        }
        let place = Arc::clone(&self.sockets).try_acquire_owned().map_err(|_| TurnedAway::Full)?;
        // With a PROXY header to come, it is not known yet whose it is.
        let guest = match self.config.proxy_protocol {
            ProxyProtocol::Off => self.guest(peer)?,
            ProxyProtocol::Required => None,
        };
        Ok(Entry { handshake: turn.handshake, place, guest })
    }

    /// A place among those of `address`, if its places are counted.
    ///
    /// # Errors
    /// It has as many as it may have, or came too often.
    pub(crate) fn guest(&self, address: IpAddr) -> Result<Option<Guest>, TurnedAway> {
        let Some(addresses) = &self.addresses else { return Ok(None) };
        if self.config.trusted_proxies.contain(address) {
            return Ok(None);
        }
        Addresses::enter(addresses, address, Instant::now()).map(Some).ok_or(TurnedAway::Address)
    }

    /// Reads the PROXY header of `socket`, which is that of `peer`, if it has to have one. Gives whom it is from.
    ///
    /// # Errors
    /// There is none, or not one that is believed.
    pub(crate) async fn client_of(&self, socket: &TcpStream, peer: SocketAddr) -> Result<SocketAddr, NoHeader> {
        match self.config.proxy_protocol {
            ProxyProtocol::Off => Ok(peer),
            ProxyProtocol::Required => {
                let trusted = &self.config.trusted_proxies;
                if !trusted.is_empty() && !trusted.contain(peer.ip()) {
                    return Err(NoHeader::Untrusted);
                }
                Ok(proxy::read(socket).await?.unwrap_or(peer))
            }
        }
    }

    /// Where the client of a request is that came with `headers` over a socket from `address`.
    pub(crate) fn origin(&self, address: SocketAddr, headers: &HeaderMap) -> Origin {
        let trusted = &self.config.trusted_proxies;
        if trusted.is_empty() || !trusted.contain(address.ip()) {
            return Origin { address, counts: false };
        }
        Origin { address: forwarded::client(trusted, address, headers), counts: self.addresses.is_some() }
    }

    /// Resolves when a handshake that began when its socket was `accepted` has taken too long.
    pub(crate) async fn too_late(&self, accepted: Instant) -> Refusal {
        let patience = self.config.handshake_timeout;
        let crowded = async {
            tokio::time::sleep_until((accepted + patience / 2).into()).await;
            let mut crowded = self.crowded.subscribe();
            if crowded.wait_for(|crowded| *crowded).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until((accepted + patience).into()) => {
                Refusal::HandshakeTimeout
            }
            () = crowded => Refusal::Handshakes,
        }
    }

    /// A place among those refused that are told so.
    pub(crate) fn refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refusals).try_acquire_owned().ok()
    }

    /// Memory beyond which nobody new gets in, in bytes.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        self.ceiling.as_ref().map(Ceiling::limit)
    }

    /// Whether that much is in use.
    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.ceiling.is_some() && matches!(*self.full.borrow(), Some(Full::Memory { .. }))
    }

    /// What the node is full of, now and whenever that changes.
    pub(crate) fn full(&self) -> watch::Receiver<Option<Full>> {
        self.full.subscribe()
    }
}
