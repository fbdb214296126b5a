//! `fanfare admin key …`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use proto::control as wire;
use proto::control::key_service_client::KeyServiceClient;

use super::client::Way;
use super::table::list as table;
use super::{Answer, Failure, app_text, arguments, moment, saved};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a key to an app and print its secret, this once
    Create {
        /// The app's id
        app: String,
        #[command(flatten)]
        key: NewKey,
        /// Where to write the secret, a new file that only its owner reads, instead of showing it
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
        /// A text of your own that makes it safe to run the same command again: within 24 hours it creates nothing anew
        #[arg(long, value_name = "TEXT")]
        idempotency_key: Option<String>,
    },
    /// List the keys of an app, revoked ones too, without their secrets
    List {
        /// The app's id
        app: String,
    },
    /// Give a key a new secret and print it, this once; the old one stays good for a while
    Rotate {
        /// The app's id
        app: String,
        /// The key's name
        name: String,
        /// How long the old secret stays good; 0s ends it at once, as for one that got known
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = crate::config::duration)]
        overlap: Duration,
        /// File with the new secret, at least 8 characters [default: a random secret]
        #[arg(long, value_name = "FILE")]
        key_secret_file: Option<PathBuf>,
        /// Where to write the secret, a new file that only its owner reads, instead of showing it
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// End a key for good; connections opened with it are closed
    Revoke {
        /// The app's id
        app: String,
        /// The key's name
        name: String,
    },
}

/// A key to be created.
#[derive(Args, Debug)]
pub(super) struct NewKey {
    /// The key's name, unique in the cluster [default: the app's id, a dot and random characters]
    #[arg(long, value_name = "NAME")]
    key_name: Option<String>,
    /// File with the key's secret, at least 8 characters [default: a random secret]
    #[arg(long, value_name = "FILE")]
    key_secret_file: Option<PathBuf>,
    /// What the key allows, as in {"chat:*": ["publish"]} [default: everything]
    #[arg(long, value_name = "JSON", value_parser = arguments::capability)]
    capability: Option<wire::Capability>,
    /// Tokens that the key signs (Ably) can be revoked before they expire; they live for an hour at most, then
    #[arg(long)]
    revocable_tokens: bool,
}

impl NewKey {
    pub(super) fn message(self) -> Result<wire::NewKey, Failure> {
        let secret = arguments::secret(self.key_secret_file.as_deref())?;
        let Self { key_name, capability, revocable_tokens, .. } = self;
        Ok(wire::NewKey { name: key_name.unwrap_or_default(), secret, capability, revocable_tokens })
    }
}

impl Command {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        match self {
            Self::Create { app: app_id, key, save, idempotency_key } => {
                saved::check(save.as_deref())?;
                let idempotency_key = idempotency_key.unwrap_or_default();
                let request = wire::CreateKeyRequest { app_id, key: Some(key.message()?), idempotency_key };
                let mut created = KeyServiceClient::new(way.open().await?).create_key(request).await?.into_inner();
                let place = saved::keep(save.as_deref(), &mut created.secret)?;
                Ok(Answer::new(&created, app_text::new_key(created.key.as_ref(), &created.secret, &place)))
            }
            Self::List { app: app_id } => {
                let mut client = KeyServiceClient::new(way.open().await?);
                let keys = client.list_keys(wire::ListKeysRequest { app_id }).await?.into_inner();
                Ok(Answer::new(&keys, list(&keys.keys)))
            }
            Self::Rotate { app: app_id, name, overlap, key_secret_file, save } => {
                saved::check(save.as_deref())?;
                let secret = arguments::secret(key_secret_file.as_deref())?;
                let request = wire::RotateKeyRequest { app_id, name, overlap_seconds: overlap.as_secs(), secret };
                let mut rotated = KeyServiceClient::new(way.open().await?).rotate_key(request).await?.into_inner();
                let place = saved::keep(save.as_deref(), &mut rotated.secret)?;
                let until = rotated.key.as_ref().map_or(0, |key| key.overlap_until_ms);
                let old = if until == 0 {
                    "not good any more".to_owned()
                } else {
                    format!("good until {}", moment::show(until))
                };
                let new = app_text::new_key(rotated.key.as_ref(), &rotated.secret, &place);
                Ok(Answer::new(&rotated, format!("{new}the old secret is {old}\n")))
            }
            Self::Revoke { app: app_id, name } => {
                let request = wire::RevokeKeyRequest { app_id, name };
                let revoked = KeyServiceClient::new(way.open().await?).revoke_key(request).await?.into_inner();
                let name = revoked.key.as_ref().map(|key| key.name.clone()).unwrap_or_default();
                Ok(Answer::new(&revoked, format!("revoked {name}\n")))
            }
        }
    }
}

fn list(keys: &[wire::Key]) -> String {
    let rows = keys.iter().map(|key| {
        let state = match (key.revoked_ms, key.overlap_until_ms) {
            (0, until) if until > clock::unix_ms() => format!("old secret good until {}", moment::show(until)),
            (0, _) => "active".to_owned(),
            (revoked, _) => format!("revoked {}", moment::show(revoked)),
        };
        [key.name.clone(), state, moment::show(key.created_ms), app_text::capability(key)]
    });
    table(["NAME", "STATE", "CREATED", "ALLOWS"], rows)
}
