//! Asking the streams what they hold.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::jetstream::stream::Info;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::sleep;
use tracing::debug;

use super::subject::Store;
use super::{JetStream, Shared, kv, queue};
use crate::survey::{Holdings, StreamTier};

/// Streams asked at the same time.
const AT_ONCE: usize = 4;

/// How long all of them have to answer. Streams without a leader take two seconds each to say nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the streams of a cluster said last.
#[derive(Debug)]
pub struct Survey {
    jetstream: JetStream,
    account: Option<Holdings>,
    /// By name; `None` for one that has not answered yet. `None` at all before their names are known.
    streams: Option<BTreeMap<String, Option<Holdings>>>,
}

impl JetStream {
    pub(crate) fn survey(&self) -> Survey {
        Survey { jetstream: self.clone(), account: None, streams: None }
    }
}

impl Survey {
    pub(crate) async fn look(&mut self) {
        let shared = &*self.jetstream.shared;
        match shared.context.query_account().await {
            Ok(account) => {
                self.account = Some(Holdings {
                    bytes: account.storage,
                    limit_bytes: account.limits.max_storage.and_then(|limit| u64::try_from(limit).ok()),
                    messages: None,
                    consumers: account.consumers as u64,
                });
            }
            Err(error) => debug!(%error, "the account does not say what it stores"),
        }
        // Which there are: asking for those that are not would count as errors of the server.
        let names: Vec<String> = match shared.context.stream_names().try_collect().await {
            Ok(names) => names,
            Err(error) => {
                debug!(%error, "there is no list of streams");
                return;
            }
        };
        let ours: Vec<String> = names.into_iter().filter(|name| shared.tier_of(name).is_some()).collect();
        let look = |name: &String| {
            let name = name.clone();
            async move {
                match shared.context.get_stream(&name).await {
                    Ok(stream) => Some((name, holdings(stream.cached_info()))),
                    Err(error) => {
                        debug!(stream = name, %error, "a stream does not say what it holds");
                        None
                    }
                }
            }
        };
        let said = stream::iter(&ours).map(look).buffer_unordered(AT_ONCE).take_until(sleep(PATIENCE));
        let mut said: HashMap<String, Holdings> = said.filter_map(std::future::ready).collect().await;
        let before = self.streams.take().unwrap_or_default();
        let known = ours.into_iter().map(|name| {
            let holdings = said.remove(&name).or_else(|| before.get(&name).copied().flatten());
            (name, holdings)
        });
        self.streams = Some(known.collect());
    }

    pub(crate) fn of(&self, tier: StreamTier) -> Option<Holdings> {
        if tier == StreamTier::Account {
            return self.account;
        }
        let shared = &*self.jetstream.shared;
        let mut streams = self.streams.as_ref()?.iter().filter(|(name, _)| shared.tier_of(name) == Some(tier));
        let nothing = Holdings { bytes: 0, limit_bytes: None, messages: Some(0), consumers: 0 };
        let Some((_, first)) = streams.next() else { return Some(nothing) };
        streams.try_fold((*first)?, |sum, (_, next)| Some(sum.and((*next)?)))
    }
}

impl Shared {
    /// What the stream `name` is for; `None` if it is not ours.
    pub(super) fn tier_of(&self, name: &str) -> Option<StreamTier> {
        if let Some(stream) = self.streams.by_name(name) {
            return Some(match stream.store {
                Store::Recoverable => StreamTier::Recoverable,
                Store::Persistent => StreamTier::Persistent,
            });
        }
        if name == queue::STREAM {
            return Some(StreamTier::Webhooks);
        }
        self.buckets.iter().any(|(bucket, _)| kv::is_stream_of(name, *bucket)).then_some(StreamTier::Buckets)
    }
}

fn holdings(info: &Info) -> Holdings {
    Holdings {
        bytes: info.state.bytes,
        // The server says -1 for none.
        limit_bytes: u64::try_from(info.config.max_bytes).ok().filter(|limit| *limit > 0),
        messages: Some(info.state.messages),
        consumers: info.state.consumer_count as u64,
    }
}
