//! A TCP proxy whose connections can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Forwards connections to one port, until told to cut them.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    is_cut: Arc<AtomicBool>,
    cuts: watch::Sender<u64>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// Forwards to `target` on loopback.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let is_cut = Arc::new(AtomicBool::new(false));
        let (cuts, cut) = watch::channel(0);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, target, Arc::clone(&is_cut), cut));
        Self { port, is_cut, cuts, _accepting: accepting }
    }

    /// The URL of the proxied NATS server.
    pub fn nats_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Resets every connection, and every new one, until [`Proxy::mend`].
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Forwards again.
    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, target: u16, is_cut: Arc<AtomicBool>, cut: watch::Receiver<u64>) {
    let mut connections = JoinSet::new();
    while let Ok((mut inbound, _)) = listener.accept().await {
        let mut cut = cut.clone();
        cut.mark_unchanged();
        if is_cut.load(Ordering::SeqCst) {
            continue;
        }
        connections.spawn(async move {
            let Ok(mut outbound) = TcpStream::connect(("127.0.0.1", target)).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut inbound, &mut outbound) => {}
                _ = cut.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
