//! What is done to all apps now and then: forgetting what has expired, sealing anew, bringing an older form up to date.
//!
//! None of it changes what an app is, so any number of processes may do it at once, beside all other writers.

use std::collections::BTreeMap;

use channels::AppId;
use prost::Message as _;
use proto::backbone::Remembered;

use super::stored::{Kept, kept};
use super::{ATTEMPTS, FORGOTTEN_AFTER_MS, RegisteredApp, Registry, RegistryError, Unreadable, app_of, once, pause};
use crate::sealing::{ClusterKeyId, sealed_by};

/// What was sealed anew.
#[derive(Debug, Default)]
pub struct Resealed {
    /// Apps.
    pub apps: usize,
    /// What was remembered of creates.
    pub remembered: usize,
    /// Apps that this process cannot read, and why; they were left as they are.
    pub unreadable: Vec<(AppId, Unreadable)>,
}

/// With which cluster keys things are sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealReport {
    /// How many entries need each key. An entry may need several.
    pub entries: BTreeMap<ClusterKeyId, usize>,
    /// Apps whose secrets are not sealed.
    pub plain: usize,
    /// Entries of which it cannot be told.
    pub unreadable: usize,
}

impl Registry {
    /// Forgets the secrets that were replaced and have expired at `now_ms`, milliseconds since the Unix epoch; how many
    /// apps had some. Nothing depends on it: an expired secret signs nothing.
    pub async fn sweep_expired(&self, now_ms: u64) -> Result<usize, RegistryError> {
        let has_expired =
            |kept: &Kept| kept.expires_ms.is_some_and(|until_ms| until_ms.saturating_add(FORGOTTEN_AFTER_MS) < now_ms);
        let mut swept = 0;
        for id in self.apps_that(has_expired).await?.0 {
            let forget = |app: &mut RegisteredApp| {
                app.forget_expired(now_ms);
                Ok(())
            };
            match self.modify(&id, None, forget).await {
                Ok(_) => swept += 1,
                Err(RegistryError::NoSuchApp(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(swept)
    }

    /// Seals with the first cluster key whatever is sealed with another one, or not at all. When it has succeeded, with
    /// nothing unreadable, and every process has the first key as its first, the other keys are needed no more.
    pub async fn reseal(&self) -> Result<Resealed, RegistryError> {
        let first = self.keys.ids().next();
        let to_be_sealed = |kept: &Kept| kept.plain || kept.sealed_by.iter().any(|id| Some(*id) != first);
        let mut resealed = self.rewrite_those(to_be_sealed).await?;
        for entry in self.cluster.list(once::KIND).await?.entries {
            resealed.remembered += usize::from(self.reseal_remembered(&entry).await?);
        }
        Ok(resealed)
    }

    /// Counts what is sealed with which cluster key.
    pub async fn seal_report(&self) -> Result<SealReport, RegistryError> {
        let mut report = SealReport::default();
        for entry in self.apps.entries().await? {
            if app_of(&entry.key).is_none() {
                continue;
            }
            match kept(&entry.value) {
                Ok(kept) => {
                    report.plain += usize::from(kept.plain);
                    report.count(kept.sealed_by);
                }
                Err(_) => report.unreadable += 1,
            }
        }
        for entry in self.cluster.list(once::KIND).await?.entries {
            let request = Remembered::decode(entry.value).map(|remembered| remembered.sealed_request);
            match request.map(|request| sealed_by(&request)) {
                Ok(Ok(id)) => report.count([id]),
                Ok(Err(_)) | Err(_) => report.unreadable += 1,
            }
        }
        Ok(report)
    }

    /// Writes all apps that are of an older form in the present one; how many, and which cannot be read.
    pub(crate) async fn modernise(&self) -> Result<Resealed, RegistryError> {
        self.rewrite_those(|kept| kept.plain).await
    }

    async fn rewrite_those(&self, wanted: impl Fn(&Kept) -> bool) -> Result<Resealed, RegistryError> {
        let (ids, unreadable) = self.apps_that(wanted).await?;
        let mut rewritten = Resealed { unreadable, ..Resealed::default() };
        for id in ids {
            match self.rewrite(&id).await {
                Ok(()) => rewritten.apps += 1,
                Err(RegistryError::NoSuchApp(_)) => {}
                Err(RegistryError::Unreadable { app, source }) => rewritten.unreadable.push((app, source)),
                Err(error) => return Err(error),
            }
        }
        Ok(rewritten)
    }

    /// Writes an app as it is.
    async fn rewrite(&self, id: &AppId) -> Result<(), RegistryError> {
        for attempt in 1..=ATTEMPTS {
            if self.replace(self.existing(id).await?).await?.is_some() {
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(RegistryError::Contended(id.clone()))
    }

    /// The apps whose secrets are kept as `wanted`, and those of which it cannot be told.
    async fn apps_that(
        &self,
        wanted: impl Fn(&Kept) -> bool,
    ) -> Result<(Vec<AppId>, Vec<(AppId, Unreadable)>), RegistryError> {
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        for entry in self.apps.entries().await? {
            let Some(id) = app_of(&entry.key) else { continue };
            match kept(&entry.value) {
                Ok(kept) if wanted(&kept) => found.push(id),
                Ok(_) => {}
                Err(error) => unreadable.push((id, error)),
            }
        }
        Ok((found, unreadable))
    }
}

impl SealReport {
    fn count(&mut self, ids: impl IntoIterator<Item = ClusterKeyId>) {
        for id in ids {
            *self.entries.entry(id).or_default() += 1;
        }
    }
}
