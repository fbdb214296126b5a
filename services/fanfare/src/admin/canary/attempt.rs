//! One attempt: publish, receive, compare.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::dial::{Http, Stages};
use super::expected::{Expected, MESSAGES, Taken};
use super::subscriber::{EVENT, Protocol, Subscriber};
use super::target::Target;
use super::trouble::Trouble;

/// A canary over one protocol, with the connection that it keeps.
pub(super) struct Canary {
    target: Arc<Target>,
    pub(super) protocol: Protocol,
    timeout: Duration,
    expected: Expected,
    subscriber: Option<Subscriber>,
    /// What went wrong between two attempts, for the next one to tell.
    noticed: Option<Trouble>,
}

/// How an attempt went.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) stages: Stages,
    pub(super) result: Result<(), Trouble>,
}

impl Canary {
    /// Of an attempt nothing may take longer than `timeout`, all together.
    pub(super) fn new(target: Arc<Target>, protocol: Protocol, timeout: Duration) -> Self {
        let expected = Expected::new(rand::random());
        Self { target, protocol, timeout, expected, subscriber: None, noticed: None }
    }

    /// Makes an attempt, and connects for it if there is no connection. After trouble there is none: the next attempt
    /// begins anew.
    pub(super) async fn attempt(&mut self) -> Attempt {
        let mut stages = Stages::default();
        let result = self.deliver(&mut stages).await;
        if result.is_err() {
            self.subscriber = None;
        }
        Attempt { stages, result }
    }

    /// Connects ahead of the next attempt.
    pub(super) async fn connect(&mut self) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.timeout;
        self.open(deadline, &mut Stages::default()).await
    }

    /// Serves the connection between attempts, until it ends. Without one there is nothing to serve.
    pub(super) async fn idle(&mut self) -> Option<Trouble> {
        let subscriber = self.subscriber.as_mut()?;
        loop {
            match subscriber.next(&self.target.channel).await {
                Ok(text) => {
                    if let Err(trouble) = self.expected.take(&text) {
                        self.noticed = Some(trouble);
                    }
                }
                Err(trouble) => {
                    self.subscriber = None;
                    return Some(trouble);
                }
            }
        }
    }

    async fn deliver(&mut self, stages: &mut Stages) -> Result<(), Trouble> {
        if let Some(trouble) = self.noticed.take() {
            return Err(trouble);
        }
        let deadline = Instant::now() + self.timeout;
        if self.subscriber.as_ref().is_none_or(Subscriber::is_old) {
            self.open(deadline, stages).await?;
        }
        let late = |what| Trouble::no_answer(what, self.timeout);
        // A new one for each attempt: on an old one a publish may fail and yet have happened.
        let mut unreported = Stages::default();
        let http = timeout_at(deadline, Http::open(&self.target, &mut unreported)).await;
        let mut http = http.map_err(|_| late("connection for publishing"))??;
        let texts = self.expected.begin();
        let mut sent: [Option<Instant>; MESSAGES] = [None; MESSAGES];
        let mut came = sent;
        let publishing = async {
            for (text, sent) in texts.iter().zip(&mut sent) {
                let since = *sent.insert(Instant::now());
                http.publish(EVENT, text).await?;
                stages.publish.push(since.elapsed());
            }
            Ok(())
        };
        let expected = &mut self.expected;
        let subscriber = self.subscriber.as_mut();
        let receiving = async {
            let Some(subscriber) = subscriber else { return Ok(()) };
            while !expected.is_complete() {
                let text = subscriber.next(&self.target.channel).await?;
                if let Taken::Mine(place) = expected.take(&text)? {
                    came[place] = Some(Instant::now());
                }
            }
            expected.verdict()
        };
        let both = timeout_at(deadline, async { tokio::try_join!(publishing, receiving) }).await;
        let pairs = sent.iter().zip(&came).filter_map(|(sent, came)| Some(came.as_ref()?.duration_since((*sent)?)));
        stages.deliver.extend(pairs);
        match both {
            Ok(result) => result.map(|((), ())| ()),
            Err(_) if stages.publish.len() < MESSAGES => Err(late("answer to a publish")),
            Err(_) => Err(self.expected.lost()),
        }
    }

    async fn open(&mut self, deadline: Instant, stages: &mut Stages) -> Result<(), Trouble> {
        // The old one goes first: it may be what takes the last place that a quota leaves.
        self.subscriber = None;
        let opening = timeout_at(deadline, Subscriber::open(&self.target, self.protocol, stages)).await;
        let late = |_| Trouble::no_answer("subscription", self.timeout);
        self.subscriber = Some(opening.map_err(late)??);
        Ok(())
    }
}
