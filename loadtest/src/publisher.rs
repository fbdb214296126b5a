//! One publisher: signed requests on a keep-alive connection, each sent when it is due.
//!
//! A request that is due is sent even if earlier ones have no answer yet (HTTP pipelining), so that a slow server does
//! not slow the load down, and order stays defined. All latencies count from the moment a message was **due**.

use std::collections::BTreeSet;
use std::io::{BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use auth::Signer;
use channels::AppId;

use crate::connection::PATIENCE;
use crate::http::{Broken, Exchange};
use crate::latency::Latencies;
use crate::message;
use crate::schedule::Schedule;

/// What the publisher of a run does.
#[derive(Debug)]
pub(crate) struct Publishing<'a> {
    /// To which server.
    pub(crate) address: SocketAddr,
    /// To which app.
    pub(crate) app: &'a AppId,
    /// As whom.
    pub(crate) signer: Signer,
    /// To which channel.
    pub(crate) channel: &'a str,
    /// Bytes of data.
    pub(crate) payload: usize,
    /// When.
    pub(crate) schedule: Schedule,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Published {
    /// From due to sent: by how much the generator itself was late.
    pub(crate) lateness: Latencies,
    /// From due to acknowledged.
    pub(crate) acknowledged: Latencies,
    /// Numbers of the messages that the server did not accept.
    pub(crate) refused: BTreeSet<u64>,
    /// The first such answer.
    pub(crate) refusal: Option<String>,
    /// When the last answer came.
    pub(crate) last: Instant,
}

impl Publishing<'_> {
    /// Sends all messages, and returns when all are answered.
    pub(crate) fn run(&self) -> Result<Published, Broken> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        thread::scope(|scope| {
            let answers = scope.spawn(|| self.read_answers(&stream));
            let sent = self.send(&stream);
            if sent.is_err() {
                // Ends the wait for answers, which is all that matters now; it may be closed already.
                stream.shutdown(Shutdown::Both).ok();
            }
            let published = answers.join().expect("the reader does not panic")?;
            Ok(Published { lateness: sent?, ..published })
        })
    }

    fn send(&self, mut stream: &TcpStream) -> Result<Latencies, Broken> {
        let mut lateness = Latencies::new();
        let path = format!("/apps/{}/events", self.app);
        for number in 0..self.schedule.total() {
            let body = message::publish(self.channel, number, self.payload);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let query = self.signer.request("POST", &path, &[], &body, now);
            let length = body.len();
            let address = self.address;
            let head = format!(
                "POST {path}?{query} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n"
            );
            let request = [head.into_bytes(), body].concat();
            let due = self.schedule.due(number);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            lateness.record(due.elapsed());
            stream.write_all(&request)?;
        }
        Ok(lateness)
    }

    fn read_answers(&self, stream: &TcpStream) -> Result<Published, Broken> {
        let mut from = BufReader::new(stream);
        let mut published = Published {
            lateness: Latencies::new(),
            acknowledged: Latencies::new(),
            refused: BTreeSet::new(),
            refusal: None,
            last: self.schedule.due(0),
        };
        for number in 0..self.schedule.total() {
            let answer = Exchange::read(&mut from)?;
            published.last = Instant::now();
            if answer.status() == Some(200) {
                published.acknowledged.record(published.last.saturating_duration_since(self.schedule.due(number)));
            } else {
                let text = || format!("{} {}", answer.first_line, String::from_utf8_lossy(&answer.body));
                published.refusal.get_or_insert_with(text);
                published.refused.insert(number);
            }
        }
        Ok(published)
    }
}
