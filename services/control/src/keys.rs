//! `KeyService`: the keys of an app.

use std::time::Duration;

use backbone::registry::{AddedKey, Once, RegisteredApp, Registry, RegistryError};
use channels::{Key, KeyName};
use clock::unix_ms;
use proto::control as wire;
use tonic::{Code, Request, Response, Status};

use crate::access::{Caller, Guarded, OfApp};
use crate::apps::{MADE_UP_ATTEMPTS, existing, once};
use crate::audit::{Intent, Recorder};
use crate::mistakes::Mistakes;
use crate::status::{KEY_NAME_TAKEN, Refusal as _, invalid, is_because, refusal, within};
use crate::{check, made_up, wire as convert};

/// Answers calls about keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) registry: Guarded<Registry>,
    pub(crate) recorder: Recorder,
    pub(crate) patience: Duration,
}

impl Keys {
    /// Creates one key as it is; a made-up name may turn out to be taken.
    async fn create(
        &self,
        caller: &Caller,
        app: &OfApp,
        key: Key,
        once: Option<&Once>,
    ) -> Result<wire::CreateKeyResponse, Status> {
        let intent =
            Intent::of(app, format!("key {}", key.name)).with(format!("capability: {}", convert::allows_text(&key)));
        let registry = self.registry.open(app);
        let create = async {
            match once {
                Some(once) => registry.add_key_once(app, key, once).await,
                None => {
                    let revision = registry.add_key(app, key.clone()).await?.revision;
                    Ok(AddedKey { key, revision })
                }
            }
        };
        let work = async {
            let AddedKey { key, revision } =
                within(self.patience, Box::pin(create)).await.map_err(|status| hide_owner(caller, status))?;
            Ok((convert::created_key(&key), revision))
        };
        self.recorder.record(caller, intent, work).await
    }
}

/// One app's admin is not told which other app has a name.
fn hide_owner(caller: &Caller, status: Status) -> Status {
    if caller.only().is_some() && is_because(&status, KEY_NAME_TAKEN) {
        return refusal(Code::AlreadyExists, KEY_NAME_TAKEN, "the key name is taken");
    }
    status
}

/// The key's name in the field `name`.
fn read_name(name: &str) -> Result<KeyName, Status> {
    KeyName::new(name).map_err(|error| invalid(vec![("name", error.to_string()).into()]))
}

/// The key called `name` of an app that is known to have it.
fn shown(app: &RegisteredApp, name: &KeyName) -> Result<wire::Key, Status> {
    let missing = || RegistryError::NoSuchKey { app: app.app.id.clone(), name: name.clone() }.status();
    convert::key_of(app, name).ok_or_else(missing)
}

#[tonic::async_trait]
impl wire::key_service_server::KeyService for Keys {
    async fn create_key(
        &self,
        request: Request<wire::CreateKeyRequest>,
    ) -> Result<Response<wire::CreateKeyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let app = caller.app("app_id", &request.app_id)?;
        let once = once(&caller, &request.idempotency_key, &request)?;
        let mut mistakes = Mistakes::default();
        let wanted = convert::read_key(request.key, &mut mistakes);
        let wanted = mistakes.unless_any(Some(wanted)).map_err(invalid)?;
        if let Some(once) = &once
            && let Some(AddedKey { key, .. }) = within(self.patience, self.registry.open(&app).key_made(once)).await?
        {
            return Ok(Response::new(convert::created_key(&key)));
        }
        let mut attempt = 1;
        loop {
            match self.create(&caller, &app, wanted.complete(&app, unix_ms()), once.as_ref()).await {
                Err(status) if attempt < MADE_UP_ATTEMPTS && wanted.may_be_made_up_anew(&status) => attempt += 1,
                result => return result.map(Response::new),
            }
        }
    }

    async fn list_keys(
        &self,
        request: Request<wire::ListKeysRequest>,
    ) -> Result<Response<wire::ListKeysResponse>, Status> {
        let id = Caller::of(&request)?.app("app_id", &request.get_ref().app_id)?;
        let app = existing(&self.registry, &id, self.patience).await?;
        Ok(Response::new(wire::ListKeysResponse { keys: convert::app(&app).keys }))
    }

    async fn rotate_key(
        &self,
        request: Request<wire::RotateKeyRequest>,
    ) -> Result<Response<wire::RotateKeyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::RotateKeyRequest { app_id, name, overlap_seconds, secret } = request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        let mut mistakes = Mistakes::default();
        let name = mistakes.keep("name", KeyName::new(&name));
        let overlap = mistakes.keep("overlap_seconds", check::overlap(overlap_seconds));
        let secret = match secret.as_str() {
            "" => Some(made_up::secret()),
            secret => mistakes.keep("secret", check::secret(secret)),
        };
        let wanted = name.zip(overlap).zip(secret).map(|((name, overlap), secret)| (name, overlap, secret));
        let (name, overlap, secret) = mistakes.unless_any(wanted).map_err(invalid)?;
        let intent = Intent::of(&app, format!("key {name}")).with(format!("overlap_seconds: {}", overlap.as_secs()));
        let work = async {
            let rotate = self.registry.open(&app).rotate_key(&app, &name, secret.clone(), overlap, unix_ms());
            let registered = within(self.patience, rotate).await?;
            let (key, secret) = (shown(&registered, &name)?, secret.expose().to_owned());
            Ok((wire::RotateKeyResponse { key: Some(key), secret }, registered.revision))
        };
        self.recorder.record(&caller, intent, work).await.map(Response::new)
    }

    async fn revoke_key(
        &self,
        request: Request<wire::RevokeKeyRequest>,
    ) -> Result<Response<wire::RevokeKeyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::RevokeKeyRequest { app_id, name } = request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        let name = read_name(&name)?;
        let work = async {
            let revoke = self.registry.open(&app).revoke_key(&app, &name, unix_ms());
            let registered = within(self.patience, revoke).await?;
            Ok((wire::RevokeKeyResponse { key: Some(shown(&registered, &name)?) }, registered.revision))
        };
        self.recorder.record(&caller, Intent::of(&app, format!("key {name}")), work).await.map(Response::new)
    }
}
