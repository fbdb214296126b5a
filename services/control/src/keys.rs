//! `KeyService`: the keys of an app.

use std::time::Duration;

use backbone::registry::{Registry, RegistryError};
use channels::{AppId, Key, KeyName};
use proto::control as wire;
use tonic::{Request, Response, Status};

use crate::apps::MADE_UP_ATTEMPTS;
use crate::mistakes::Mistakes;
use crate::status::{Refusal as _, invalid, within};
use crate::wire::WantedKey;
use crate::{now_ms, wire as convert};

/// Answers calls about keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) registry: Registry,
    pub(crate) patience: Duration,
}

impl Keys {
    async fn create(&self, app: &AppId, wanted: &WantedKey) -> Result<Key, RegistryError> {
        let mut attempt = 1;
        loop {
            let key = wanted.complete(app, now_ms());
            match self.registry.add_key(app, key.clone()).await {
                Ok(_) => return Ok(key),
                Err(RegistryError::KeyTaken { .. }) if wanted.name.is_none() && attempt < MADE_UP_ATTEMPTS => {}
                Err(refused) => return Err(refused),
            }
            attempt += 1;
        }
    }
}

#[tonic::async_trait]
impl wire::key_service_server::KeyService for Keys {
    async fn create_key(
        &self,
        request: Request<wire::CreateKeyRequest>,
    ) -> Result<Response<wire::CreateKeyResponse>, Status> {
        let wire::CreateKeyRequest { app_id, key } = request.into_inner();
        let mut mistakes = Mistakes::default();
        let app = mistakes.keep("app_id", AppId::new(&app_id));
        let wanted = convert::read_key(key, &mut mistakes);
        let app = mistakes.unless_any(app).map_err(invalid)?;
        let key = within(self.patience, self.create(&app, &wanted)).await?;
        tracing::info!(%app, key = %key.name, "key created");
        let secret = key.secret.expose().to_owned();
        Ok(Response::new(wire::CreateKeyResponse { key: Some(convert::key(&key)), secret }))
    }

    async fn revoke_key(
        &self,
        request: Request<wire::RevokeKeyRequest>,
    ) -> Result<Response<wire::RevokeKeyResponse>, Status> {
        let wire::RevokeKeyRequest { app_id, name } = request.into_inner();
        let mut mistakes = Mistakes::default();
        let app = mistakes.keep("app_id", AppId::new(&app_id));
        let name = mistakes.keep("name", KeyName::new(&name));
        let (app, name) = mistakes.unless_any(app.zip(name)).map_err(invalid)?;
        let registered = within(self.patience, self.registry.revoke_key(&app, &name, now_ms())).await?;
        tracing::info!(%app, key = %name, "key revoked");
        match convert::key_of(&registered, &name) {
            Some(key) => Ok(Response::new(wire::RevokeKeyResponse { key: Some(key) })),
            None => Err(RegistryError::NoSuchKey { app, name }.status()),
        }
    }
}
