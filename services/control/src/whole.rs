//! `RegistryService`: the registry as a whole.

use std::time::Duration;

use backbone::Backbone;
use backbone::backup::{Backup, BackupError, InvalidBackup, Part, RestoreError, RestoreOptions};
use backbone::registry::Registry;
use backbone::usage::Kept;
use clock::unix_ms;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use proto::control as wire;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::access::{Caller, Guarded};
use crate::audit::{Intent, Recorder};
use crate::status::{Refusal, refusal, within};

/// Bytes in a piece of a backup, well below what a gRPC message may have.
const CHUNK_BYTES: usize = 64 * 1024;

/// Largest backup that is taken in. Twenty thousand apps are a tenth of it.
const MAX_BACKUP_BYTES: usize = 512 * 1024 * 1024;

/// How long something may take that touches every app.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Answers calls about the whole registry.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) backbone: Guarded<Backbone>,
    pub(crate) registry: Guarded<Registry>,
    pub(crate) recorder: Recorder,
    pub(crate) audit_retention: Duration,
    pub(crate) usage_kept: Kept,
}

impl Refusal for BackupError {
    fn status(self) -> Status {
        match self {
            Self::Schema(error) => error.status(),
            Self::Backbone(error) => error.status(),
        }
    }
}

impl Refusal for InvalidBackup {
    fn status(self) -> Status {
        refusal(Code::InvalidArgument, "INVALID_BACKUP", self.to_string())
    }
}

impl Refusal for RestoreError {
    fn status(self) -> Status {
        let message = self.to_string();
        match self {
            Self::MissingKeys(_) => refusal(Code::FailedPrecondition, "MISSING_CLUSTER_KEYS", message),
            Self::NewerSchema(_) => refusal(Code::FailedPrecondition, "NEWER_SCHEMA", message),
            Self::NotEmpty { .. } => refusal(Code::FailedPrecondition, "NOT_EMPTY", message),
            Self::Unreadable { .. } | Self::Entry(_) => refusal(Code::InvalidArgument, "INVALID_BACKUP", message),
            Self::Schema(error) => error.status(),
            Self::Backbone(error) => error.status(),
        }
    }
}

/// The file in pieces.
fn chunks(backup: &Backup) -> Vec<wire::BackupChunk> {
    let mut chunks = Vec::new();
    let mut data = Vec::new();
    for line in backup.lines() {
        data.extend_from_slice(line.as_bytes());
        while data.len() >= CHUNK_BYTES {
            let rest = data.split_off(CHUNK_BYTES);
            chunks.push(wire::BackupChunk { data: std::mem::replace(&mut data, rest) });
        }
    }
    chunks.push(wire::BackupChunk { data });
    chunks
}

/// The whole file, and whether it may replace what is there.
async fn receive(mut chunks: Streaming<wire::RestoreChunk>) -> Result<(Vec<u8>, bool), Status> {
    let (mut file, mut overwrite, mut is_first) = (Vec::new(), false, true);
    while let Some(chunk) = chunks.message().await? {
        overwrite |= is_first && chunk.overwrite;
        is_first = false;
        if file.len() + chunk.data.len() > MAX_BACKUP_BYTES {
            let message = format!("a backup must not be larger than {MAX_BACKUP_BYTES} bytes");
            return Err(refusal(Code::ResourceExhausted, "BACKUP_TOO_LARGE", message));
        }
        file.extend_from_slice(&chunk.data);
    }
    Ok((file, overwrite))
}

#[tonic::async_trait]
impl wire::registry_service_server::RegistryService for Whole {
    type BackupStream = BoxStream<'static, Result<wire::BackupChunk, Status>>;

    async fn backup(&self, request: Request<wire::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let caller = Caller::of(&request)?;
        let of = caller.cluster()?;
        let everything = request.get_ref().everything;
        let optional: &[Part] = if everything { &Part::OPTIONAL } else { &[] };
        // It changes nothing, but whoever has it has a copy of everything.
        let intent = Intent::to("registry").with(format!("everything: {everything}"));
        let work = async {
            let take = Backup::take(self.backbone.open(&of), self.registry.open(&of), optional, unix_ms());
            let backup = within(PATIENCE, Box::pin(take)).await?;
            for what in backup.left_out() {
                tracing::error!(what, "this cannot be read and is not in the backup");
            }
            Ok((chunks(&backup), 0))
        };
        let chunks = self.recorder.record(&caller, intent, work).await?;
        Ok(Response::new(stream::iter(chunks.into_iter().map(Ok)).boxed()))
    }

    async fn restore(
        &self,
        request: Request<Streaming<wire::RestoreChunk>>,
    ) -> Result<Response<wire::RestoreResponse>, Status> {
        let caller = Caller::of(&request)?;
        let of = caller.cluster()?;
        let (file, overwrite) = receive(request.into_inner()).await?;
        let backup = Backup::read(&file).map_err(Refusal::status)?;
        drop(file);
        let options = RestoreOptions { overwrite, audit_kept_for: self.audit_retention, usage_kept: self.usage_kept };
        let intent = Intent::to("registry")
            .with(format!("overwrite: {overwrite}"))
            .with(format!("taken_ms: {}", backup.created_ms()));
        let work = async {
            let restore = backup.restore(self.backbone.open(&of), self.registry.open(&of), &options, unix_ms());
            let restored = within(PATIENCE, Box::pin(restore)).await?;
            let written = |part| restored.written.get(&part).map_or(0, |count| *count as u64);
            let answer = wire::RestoreResponse {
                apps: written(Part::Apps),
                tokens: written(Part::Access),
                entries: restored.written.values().map(|count| *count as u64).sum(),
            };
            Ok((answer, 0))
        };
        self.recorder.record(&caller, intent, work).await.map(Response::new)
    }

    async fn reseal(&self, request: Request<wire::ResealRequest>) -> Result<Response<wire::ResealResponse>, Status> {
        let caller = Caller::of(&request)?;
        let of = caller.cluster()?;
        let work = async {
            let registry = self.registry.open(&of);
            let reseal = async {
                let resealed = registry.reseal().await?;
                Ok::<_, backbone::registry::RegistryError>((resealed, registry.seal_report().await?))
            };
            let (resealed, report) = within(PATIENCE, Box::pin(reseal)).await?;
            for (app, error) in &resealed.unreadable {
                tracing::error!(%app, error = error as &dyn std::error::Error, "this app cannot be sealed anew");
            }
            let resealed = (resealed.apps + resealed.remembered) as u64;
            let sealed: usize = report.entries.values().sum();
            Ok((wire::ResealResponse { resealed, current: (sealed as u64).saturating_sub(resealed) }, 0))
        };
        self.recorder.record(&caller, Intent::to("registry"), work).await.map(Response::new)
    }
}
