//! `fanfare admin key …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use proto::control as wire;
use proto::control::key_service_client::KeyServiceClient;

use super::client::Connection;
use super::{Answer, Failure, arguments};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a key to an app and print its secret, this once
    Create {
        /// The app's id
        app: String,
        #[command(flatten)]
        key: NewKey,
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
}

/// A request of the key service.
pub(super) enum Request {
    Create(wire::CreateKeyRequest),
    Revoke(wire::RevokeKeyRequest),
}

impl NewKey {
    pub(super) fn message(self) -> Result<wire::NewKey, Failure> {
        let secret = arguments::secret(self.key_secret_file.as_deref())?;
        Ok(wire::NewKey { name: self.key_name.unwrap_or_default(), secret, capability: self.capability })
    }
}

impl Command {
    pub(super) fn request(self) -> Result<Request, Failure> {
        match self {
            Self::Create { app: app_id, key } => {
                Ok(Request::Create(wire::CreateKeyRequest { app_id, key: Some(key.message()?) }))
            }
            Self::Revoke { app: app_id, name } => Ok(Request::Revoke(wire::RevokeKeyRequest { app_id, name })),
        }
    }
}

pub(super) async fn send(request: Request, connection: Connection) -> Result<Answer, Failure> {
    let mut client = KeyServiceClient::new(connection);
    match request {
        Request::Create(request) => Ok(Answer::KeyCreated(client.create_key(request).await?.into_inner())),
        Request::Revoke(request) => {
            Ok(Answer::KeyRevoked(client.revoke_key(request).await?.into_inner().key.unwrap_or_default()))
        }
    }
}
