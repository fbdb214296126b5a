//! `fanfare admin backup`, `restore` and `reseal`.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::stream;
use proto::control as wire;
use proto::control::registry_service_client::RegistryServiceClient;
use serde_json::json;
use tonic::Request;

use super::client::Way;
use super::output::ReaderGone;
use super::table::bytes;
use super::{Answer, Failure, Output, saved};
use crate::private_file;

/// Bytes of a backup in one message.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where to put a backup.
#[derive(Args, Debug)]
#[command(after_help = "Secrets in a backup are sealed with the cluster key: keep that, too, and elsewhere.")]
pub(super) struct Backup {
    /// A new file, or "-" for standard output
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// With usage, the audit log and dead letters, too
    #[arg(long)]
    everything: bool,
}

/// Which backup to restore.
#[derive(Args, Debug)]
#[command(after_help = "\
The server needs the cluster key that the backup was made under. All or, if it breaks off, a part: it can be done again.")]
pub(super) struct Restore {
    /// The file
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Replace what is in a registry that is not empty
    #[arg(long)]
    overwrite: bool,
}

impl Backup {
    pub(super) async fn run(self, way: &Way, output: &mut Output<'_>) -> Result<Answer, Failure> {
        let request = wire::BackupRequest { everything: self.everything };
        if self.file == Path::new("-") {
            let mut chunks = RegistryServiceClient::new(way.open_for_long().await?).backup(request).await?.into_inner();
            while let Some(chunk) = chunks.message().await? {
                if let Err(ReaderGone) = output.bytes(&chunk.data) {
                    return Err(Failure::Usage("standard output was closed: the backup is not whole".to_owned()));
                }
            }
            return Ok(Answer::printed());
        }
        saved::check(Some(&self.file))?;
        let failed = |error: io::Error| Failure::Usage(format!("cannot write {}: {error}", self.file.display()));
        let mut chunks = RegistryServiceClient::new(way.open_for_long().await?).backup(request).await?.into_inner();
        // Under another name until it is whole, so that nobody takes a part for a backup.
        let mut part = self.file.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file = private_file::open(&part).map_err(failed)?;
        let mut size = 0;
        while let Some(chunk) = chunks.message().await? {
            file.write_all(&chunk.data).map_err(failed)?;
            size += chunk.data.len() as u64;
        }
        file.sync_all().and_then(|()| fs::rename(&part, &self.file)).map_err(failed)?;
        let path = self.file.display().to_string();
        let text = format!("{} written to {path}\n", bytes(size));
        Ok(Answer::report(json!({ "file": path, "bytes": size }), text, false))
    }
}

impl Restore {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        let Self { file: path, overwrite } = self;
        let failed = |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
        let mut file = File::open(&path).map_err(failed)?;
        let first = chunk(&mut file).map_err(failed)?;
        if first.is_empty() {
            return Err(Failure::Usage(format!("{} is empty", path.display())));
        }
        let first = wire::RestoreChunk { overwrite, data: first };
        // Read as it is sent. A file that cannot be read any more ends the call, and then its error is the reason.
        let (told, mut error) = tokio::sync::oneshot::channel();
        let rest = stream::unfold((file, Some(told)), |(mut file, mut told)| async move {
            match chunk(&mut file) {
                Ok(data) if data.is_empty() => None,
                Ok(data) => Some((wire::RestoreChunk { overwrite: false, data }, (file, told))),
                Err(error) => {
                    if let Some(told) = told.take() {
                        told.send(error).ok();
                    }
                    // Without an end the server cannot take what it has for the whole.
                    std::future::pending().await
                }
            }
        });
        let mut client = RegistryServiceClient::new(way.open_for_long().await?);
        let chunks = futures_util::StreamExt::chain(stream::iter([first]), rest);
        let restored = tokio::select! {
            restored = client.restore(Request::new(chunks)) => restored?.into_inner(),
            Ok(error) = &mut error => return Err(failed(error)),
        };
        let text = format!(
            "restored {} entries, among them {} apps and {} tokens\n",
            restored.entries, restored.apps, restored.tokens
        );
        Ok(Answer::new(&restored, text))
    }
}

/// The next piece of a file; empty at its end.
fn chunk(file: &mut File) -> io::Result<Vec<u8>> {
    let mut data = Vec::with_capacity(CHUNK_BYTES);
    file.take(CHUNK_BYTES as u64).read_to_end(&mut data)?;
    Ok(data)
}

pub(super) async fn reseal(way: &Way) -> Result<Answer, Failure> {
    let mut client = RegistryServiceClient::new(way.open_for_long().await?);
    let answer = client.reseal(wire::ResealRequest {}).await?.into_inner();
    let text = format!("sealed anew: {}; sealed with the first key already: {}\n", answer.resealed, answer.current);
    Ok(Answer::new(&answer, text))
}
