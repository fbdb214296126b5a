//! What is remembered of creates that callers may repeat.
//!
//! An entry in [`Bucket::Cluster`](crate::Bucket::Cluster) under a hash of caller, method and the caller's id. It holds
//! what is being made before it is made, and so decides it: of several at once that come with one id, all make the same.
//! When it is made, the entry says so; when it is refused, and nothing was made, the entry goes. What else happens, such as
//! the death of a process, leaves an entry that the next one goes on from.

use std::time::Duration;

use bytes::Bytes;
use channels::{AppId, Key, KeyName};
use prost::Message as _;
use proto::backbone::Remembered;
use ring::digest;

use super::stored::{self, Seal};
use super::{ATTEMPTS, MAX_STORED_BYTES, RegisteredApp, Registry, RegistryError, Unreadable, pause};
use crate::hex;
use crate::kv::{Entry, KvError};
use crate::sealing::{ClusterKeys, Context, OpenError};

/// The newest format of entries.
const VERSION: u32 = 1;

/// How long an answer is remembered.
pub(crate) const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The first part of the keys of entries.
pub(super) const KIND: &str = "once";

/// What requests are sealed as.
const REQUEST: &str = "request";

/// What texts of tokens are sealed as.
const TOKEN: &str = "token";

/// A create that its caller may repeat, and that happens once.
#[derive(Clone, Debug)]
pub struct Once {
    /// Of its entry.
    key: String,
    /// SHA-256 of the request.
    request: [u8; 32],
}

impl Once {
    /// What `caller` calls `id`, of all that it asks of `method`. The encoded `request` tells the same request from
    /// another one; only a hash of it is kept.
    pub fn new(caller: &str, method: &str, id: &str, request: &[u8]) -> Self {
        let mut name = digest::Context::new(&digest::SHA256);
        for part in [caller, method, id] {
            name.update(&part.len().to_be_bytes());
            name.update(part.as_bytes());
        }
        let request = digest::digest(&digest::SHA256, request);
        Self {
            key: format!("{KIND}.{}", hex::encode(name.finish().as_ref())),
            request: *request.as_ref().first_chunk().expect("a hash of 32 bytes"),
        }
    }

    fn context(&self) -> Context {
        Context::new(REQUEST, &[&self.key])
    }

    /// What the text of a token that it makes is sealed as.
    pub(crate) fn token_context(&self) -> Context {
        Context::new(TOKEN, &[&self.key])
    }

    /// The key of its entry.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The request's hash, sealed.
    pub(crate) fn seal(&self, keys: &ClusterKeys) -> Vec<u8> {
        keys.seal(&self.context(), &self.request)
    }

    /// Whether `sealed` is the hash of the same request.
    pub(crate) fn is_same(&self, keys: &ClusterKeys, sealed: &[u8]) -> Result<bool, OpenError> {
        Ok(keys.open(&self.context(), sealed)? == self.request)
    }
}

/// What is to be made.
#[derive(Debug)]
pub(super) enum Plan {
    App(Box<RegisteredApp>),
    Key(Box<Key>),
}

/// A plan that is written down.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    once: &'a Once,
    app: AppId,
    pub(super) plan: Plan,
    /// The app's revision with what was planned, if it is known to be made.
    pub(super) done: Option<u64>,
    /// Of the entry.
    revision: u64,
}

impl Registry {
    /// Writes the plan down, unless there is one already: then that is it.
    pub(super) async fn begin_once<'a>(
        &self,
        once: &'a Once,
        app: &AppId,
        plan: Plan,
    ) -> Result<Begun<'a>, RegistryError> {
        let mut begun = Begun { once, app: app.clone(), plan, done: None, revision: 0 };
        let value = self.remembered(&begun);
        if value.len() > MAX_STORED_BYTES {
            return Err(RegistryError::TooLarge(app.clone()));
        }
        for attempt in 1..=ATTEMPTS {
            match self.cluster.create_expiring(&once.key, value.clone(), REMEMBERED_FOR).await {
                Ok(revision) => {
                    begun.revision = revision;
                    return Ok(begun);
                }
                Err(KvError::Exists) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(entry) = self.cluster.get(&once.key).await? {
                return self.recall(once, &entry).map_err(|error| match error {
                    Recall::Reused => RegistryError::IdempotencyReused,
                    Recall::Unreadable(source) => RegistryError::Unreadable { app: app.clone(), source },
                });
            }
            pause(attempt).await;
        }
        Err(RegistryError::Contended(app.clone()))
    }

    /// What an earlier call with the same `once` has made, and the app's revision with it, if it is known to be made.
    pub(super) async fn made(&self, once: &Once) -> Result<Option<(Plan, u64)>, RegistryError> {
        let Some(entry) = self.cluster.get(&once.key).await? else { return Ok(None) };
        match self.recall(once, &entry) {
            Ok(Begun { plan, done, .. }) => Ok(done.map(|revision| (plan, revision))),
            Err(Recall::Reused) => Err(RegistryError::IdempotencyReused),
            // Whoever goes on is told what is wrong with it.
            Err(Recall::Unreadable(_)) => Ok(None),
        }
    }

    /// Writes down what came of the plan, and gives it back.
    pub(super) async fn end_once(
        &self,
        begun: &Begun<'_>,
        outcome: Result<u64, RegistryError>,
    ) -> Result<u64, RegistryError> {
        let key = &begun.once.key;
        let noted = match &outcome {
            Ok(revision) => {
                let plan = Remembered { revision: *revision, ..self.plan(begun) };
                let value = plan.encode_to_vec().into();
                self.cluster.update_expiring(key, value, begun.revision, REMEMBERED_FOR).await
            }
            Err(refused) if refused.changed_nothing() => self.cluster.remove(key, Some(begun.revision)).await,
            // It may have been made: whoever asks again goes on from here.
            Err(_) => Ok(begun.revision),
        };
        match noted {
            // On conflict another one has made it, or given up, and noted that.
            Ok(_) | Err(KvError::Conflict) => {}
            // The next one finds it made.
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "cannot note what came of a create")
            }
        }
        outcome
    }

    fn remembered(&self, begun: &Begun<'_>) -> Bytes {
        self.plan(begun).encode_to_vec().into()
    }

    fn plan(&self, begun: &Begun<'_>) -> Remembered {
        let (app, key) = match &begun.plan {
            Plan::App(app) => (Some(stored::form(app, &self.keys)), None),
            Plan::Key(key) => (None, Some(stored::key(key, &Seal::new(&self.keys, &begun.app)))),
        };
        Remembered {
            version: VERSION,
            sealed_request: self.keys.seal(&begun.once.context(), &begun.once.request).into(),
            app_id: begun.app.to_string(),
            app,
            key,
            revision: begun.done.unwrap_or(0),
            sealed_token: Bytes::new(),
        }
    }

    fn recall<'a>(&self, once: &'a Once, entry: &Entry) -> Result<Begun<'a>, Recall> {
        let Remembered { version, sealed_request, app_id, app, key, revision, sealed_token: _ } =
            Remembered::decode(entry.value.clone()).map_err(Unreadable::from)?;
        if version != VERSION {
            return Err(Unreadable::Format(version).into());
        }
        let request = self.keys.open(&once.context(), &sealed_request).map_err(Unreadable::Request)?;
        if request != once.request {
            return Err(Recall::Reused);
        }
        let id = AppId::new(&app_id).map_err(Unreadable::from)?;
        let plan = match (app, key) {
            (Some(app), None) => Plan::App(Box::new(stored::read(&id, app, 0, &self.keys)?)),
            (None, Some(key)) => {
                let name = KeyName::new(&key.name).map_err(Unreadable::from)?;
                Plan::Key(Box::new(stored::read_key(name, key, &Seal::new(&self.keys, &id))?))
            }
            (Some(_), Some(_)) | (None, None) => return Err(Recall::Reused),
        };
        Ok(Begun { once, app: id, plan, done: (revision > 0).then_some(revision), revision: entry.revision })
    }

    /// The same entry, sealed by the first key; `None` if it cannot be opened.
    fn resealed(&self, once: &Once, entry: &Entry) -> Option<Bytes> {
        let remembered = Remembered::decode(entry.value.clone()).ok()?;
        if remembered.sealed_token.is_empty() {
            return self.recall(once, entry).ok().map(|begun| self.remembered(&begun));
        }
        let context = once.token_context();
        let token = self.keys.open(&context, &remembered.sealed_token).ok()?;
        let (sealed_request, sealed_token) = (once.seal(&self.keys).into(), self.keys.seal(&context, &token).into());
        Some(Remembered { sealed_request, sealed_token, ..remembered }.encode_to_vec().into())
    }

    /// Seals an entry anew, if it is not sealed by the first key; tells whether it was.
    pub(super) async fn reseal_remembered(&self, entry: &Entry) -> Result<bool, RegistryError> {
        let Ok(Remembered { version, sealed_request, .. }) = Remembered::decode(entry.value.clone()) else {
            return Ok(false);
        };
        if version != VERSION || !self.keys.needs_reseal(&sealed_request) {
            return Ok(false);
        }
        let context = Context::new(REQUEST, &[&entry.key]);
        let Ok(request) = self.keys.open(&context, &sealed_request) else { return Ok(false) };
        let Ok(request) = request.try_into() else { return Ok(false) };
        let once = Once { key: entry.key.clone(), request };
        let Some(value) = self.resealed(&once, entry) else { return Ok(false) };
        match self.cluster.update_expiring(&entry.key, value, entry.revision, REMEMBERED_FOR).await {
            // On conflict somebody has written it who seals with the first key.
            Ok(_) | Err(KvError::Conflict) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Why an entry is of no use.
enum Recall {
    Reused,
    Unreadable(Unreadable),
}

impl From<Unreadable> for Recall {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

impl RegistryError {
    /// Whether what was asked for is certain not to have happened.
    fn changed_nothing(&self) -> bool {
        match self {
            Self::AppExists(_)
            | Self::NoSuchApp(_)
            | Self::NoSuchKey { .. }
            | Self::KeyTaken { .. }
            | Self::IdempotencyReused
            | Self::Stale { .. }
            | Self::Contended(_)
            | Self::TooLarge(_)
            | Self::Unreadable { .. } => true,
            Self::Backbone(_) => false,
        }
    }
}
