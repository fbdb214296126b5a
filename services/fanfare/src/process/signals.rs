//! SIGTERM and SIGINT.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a process to stop. One that is received while nobody waits is kept.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the order to stop.
    pub(crate) async fn stop(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "told to stop");
    }

    /// Waits for the order not to wait any longer, once stopping has begun: Ctrl-C, again or for the first time. A
    /// repeated SIGTERM is no such order, since orchestrators repeat it by themselves, as after a hook that has begun
    /// the drain; theirs for "at once" is SIGKILL.
    pub(super) async fn hurry(&mut self) {
        self.interrupt.recv().await;
    }
}
