//! `AppService`: apps.

use std::time::Duration;

use backbone::access::Access;
use backbone::registry::{AppChange, Once, RegisteredApp, Registry, RegistryError};
use channels::{App, AppId, Key, Limits, Namespaces, PusherSettings, Quota, Webhook};
use clock::unix_ms;
use prost::{Message, Name};
use proto::control as wire;
use tonic::{Request, Response, Status};

use crate::access::{Caller, Guarded, OfApp, OfCluster};
use crate::audit::{Intent, Recorder};
use crate::mistakes::Mistakes;
use crate::status::{APP_EXISTS, KEY_NAME_TAKEN, Refusal as _, invalid, is_because, within};
use crate::update::{Update, edit};
use crate::wire::WantedKey;
use crate::{check, made_up, wire as convert};

/// Items in a page when the caller does not say, and at most.
const PAGE_SIZE: u32 = 100;
const MAX_PAGE_SIZE: u32 = 1_000;

/// How often an id or name that we made up and that turns out to be taken is made up anew.
pub(crate) const MADE_UP_ATTEMPTS: u32 = 5;

/// Answers calls about apps.
#[derive(Clone, Debug)]
pub(crate) struct Apps {
    pub(crate) registry: Guarded<Registry>,
    pub(crate) access: Guarded<Access>,
    pub(crate) recorder: Recorder,
    pub(crate) patience: Duration,
}

/// A checked request for an app; what is `None` is to be made up.
struct WantedApp {
    id: Option<AppId>,
    name: Option<String>,
    key: WantedKey,
    pusher: PusherSettings,
    quota: Quota,
    limits: Limits,
    namespaces: Namespaces,
    webhooks: Vec<Webhook>,
}

fn read_create(request: wire::CreateAppRequest) -> Result<WantedApp, Status> {
    let mut mistakes = Mistakes::default();
    let wire::CreateAppRequest { id, name, pusher, quota, namespaces, limits, key, webhooks, idempotency_key: _ } =
        request;
    let wanted = WantedApp {
        id: if id.is_empty() { None } else { mistakes.keep("id", AppId::new(&id)) },
        name: if name.is_empty() { None } else { mistakes.keep("name", check::app_name(&name)) },
        key: convert::read_key(key, &mut mistakes),
        pusher: convert::read_pusher(pusher.unwrap_or_default(), &mut mistakes),
        quota: convert::read_quota(&quota.unwrap_or_default(), &mut mistakes),
        limits: convert::read_limits(&limits.unwrap_or_default(), &mut mistakes),
        namespaces: convert::read_namespaces(namespaces, &mut mistakes),
        webhooks: convert::read_webhooks(webhooks, &[], &mut mistakes),
    };
    mistakes.unless_any(Some(wanted)).map_err(invalid)
}

impl WantedApp {
    /// The app, with what was left open made up.
    fn complete(&self, now_ms: u64) -> App {
        let id = self.id.clone().unwrap_or_else(made_up::app_id);
        App {
            name: self.name.clone().unwrap_or_else(|| id.to_string()),
            enabled: true,
            keys: vec![self.key.complete(&id, now_ms)],
            pusher: self.pusher.clone(),
            limits: self.limits.clone(),
            quota: self.quota.clone(),
            namespaces: self.namespaces.clone(),
            webhooks: self.webhooks.clone(),
            id,
        }
    }

    /// Whether what was refused is taken and was made up, so that it can be made up anew.
    fn may_be_made_up_anew(&self, status: &Status) -> bool {
        (self.id.is_none() && is_because(status, APP_EXISTS)) || self.key.may_be_made_up_anew(status)
    }
}

impl WantedKey {
    /// Whether what was refused is a name that is taken and was made up.
    pub(crate) fn may_be_made_up_anew(&self, status: &Status) -> bool {
        self.name.is_none() && is_because(status, KEY_NAME_TAKEN)
    }

    /// The key for the app `id`, with what was left open made up.
    pub(crate) fn complete(&self, id: &AppId, now_ms: u64) -> Key {
        Key {
            name: self.name.clone().unwrap_or_else(|| made_up::key_name(id)),
            secret: self.secret.clone().unwrap_or_else(made_up::secret),
            previous: None,
            capability: self.capability.clone(),
            revocable_tokens: self.revocable_tokens,
            created_ms: now_ms,
        }
    }
}

fn read_list(request: &wire::ListAppsRequest) -> Result<(Option<AppId>, usize), Status> {
    let mut mistakes = Mistakes::default();
    let size = page_size(request.page_size, &mut mistakes);
    let after = match request.page_token.as_str() {
        "" => None,
        token => mistakes.keep("page_token", AppId::new(token).map_err(|_| "is not from an earlier answer")),
    };
    mistakes.unless_any(Some((after, size))).map_err(invalid)
}

/// The app, which must be there: a mistyped one would otherwise look like one that has nothing.
pub(crate) async fn existing(
    registry: &Guarded<Registry>,
    app: &OfApp,
    patience: Duration,
) -> Result<RegisteredApp, Status> {
    let found = within(patience, registry.open(app).get(app)).await?;
    found.ok_or_else(|| RegistryError::NoSuchApp(app.id()).status())
}

/// How many a page is to hold at most.
pub(crate) fn page_size(wanted: u32, mistakes: &mut Mistakes) -> usize {
    let size = if wanted == 0 { PAGE_SIZE } else { wanted };
    if size > MAX_PAGE_SIZE {
        mistakes.add("page_size", format!("must be at most {MAX_PAGE_SIZE}"));
    }
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// The revision that a request says it was made from.
pub(crate) fn read_revision(revision: u64) -> Option<u64> {
    (revision != 0).then_some(revision)
}

impl Apps {
    async fn set_enabled<T>(
        &self,
        request: &Request<T>,
        id: &str,
        enabled: bool,
    ) -> Result<Response<wire::App>, Status> {
        let caller = Caller::of(request)?;
        let id = caller.app("id", id)?;
        let change = AppChange { enabled: Some(enabled), ..AppChange::default() };
        let registry = self.registry.open(&id);
        let intent = Intent::of(&id, format!("app {id}")).with(format!("enabled: {enabled}"));
        let work = async {
            let app = within(self.patience, registry.update(&id, None, &change)).await?;
            Ok((convert::app(&app), app.revision))
        };
        self.recorder.record(&caller, intent, work).await.map(Response::new)
    }

    /// Creates one app as it is; made-up parts may turn out to be taken.
    async fn create(
        &self,
        caller: &Caller,
        of: OfCluster,
        app: App,
        once: Option<&Once>,
    ) -> Result<wire::CreateAppResponse, Status> {
        let shown = convert::settings(&app);
        let key = app.keys[0].clone();
        let intent = Intent::of(&app.id, format!("app {}", app.id))
            .with_all(Update::new(shown, &[], &mut Mistakes::default()).changes())
            .with(format!("key {}: {}", key.name, convert::allows_text(&key)));
        let registry = self.registry.open(&of);
        let create = async {
            match once {
                Some(once) => registry.create_once(app, key.created_ms, once).await,
                None => registry.create(app, key.created_ms).await,
            }
        };
        let work = async {
            let app = within(self.patience, Box::pin(create)).await?;
            Ok((created(&app), app.revision))
        };
        self.recorder.record(caller, intent, work).await
    }
}

/// The answer to a create: the app, and its one key with the secret.
fn created(app: &RegisteredApp) -> wire::CreateAppResponse {
    let key = app.app.keys.first().map(convert::created_key);
    wire::CreateAppResponse { app: Some(convert::app(app)), key }
}

/// What tells a create with an idempotency key from others.
pub(crate) fn once<M: Message + Name>(caller: &Caller, key: &str, request: &M) -> Result<Option<Once>, Status> {
    if key.is_empty() {
        return Ok(None);
    }
    check::idempotency_key(key).map_err(|problem| invalid(vec![("idempotency_key", problem).into()]))?;
    // As JSON, since that form of a message is always the same; the other one has maps in any order.
    let request = proto::json::to_string(request);
    Ok(Some(Once::new(caller.actor(), caller.method(), key, request.as_bytes())))
}

#[tonic::async_trait]
impl wire::app_service_server::AppService for Apps {
    async fn create_app(
        &self,
        request: Request<wire::CreateAppRequest>,
    ) -> Result<Response<wire::CreateAppResponse>, Status> {
        let caller = Caller::of(&request)?;
        let of = caller.cluster()?;
        let request = request.into_inner();
        let once = once(&caller, &request.idempotency_key, &request)?;
        let wanted = read_create(request)?;
        if let Some(once) = &once
            && let Some(app) = within(self.patience, self.registry.open(&of).app_made(once)).await?
        {
            return Ok(Response::new(created(&app)));
        }
        let mut attempt = 1;
        loop {
            match self.create(&caller, of, wanted.complete(unix_ms()), once.as_ref()).await {
                Err(status) if attempt < MADE_UP_ATTEMPTS && wanted.may_be_made_up_anew(&status) => attempt += 1,
                result => return result.map(Response::new),
            }
        }
    }

    async fn get_app(&self, request: Request<wire::GetAppRequest>) -> Result<Response<wire::App>, Status> {
        let id = Caller::of(&request)?.app("id", &request.get_ref().id)?;
        let app = existing(&self.registry, &id, self.patience).await?;
        Ok(Response::new(convert::app(&app)))
    }

    async fn list_apps(
        &self,
        request: Request<wire::ListAppsRequest>,
    ) -> Result<Response<wire::ListAppsResponse>, Status> {
        let sight = Caller::of(&request)?.sight()?;
        let (after, size) = read_list(request.get_ref())?;
        let registry = self.registry.open(&sight);
        if let Some(only) = sight.only() {
            let app = if after.is_none() { within(self.patience, registry.get(only)).await? } else { None };
            let apps = app.iter().map(convert::app).collect();
            return Ok(Response::new(wire::ListAppsResponse { apps, next_page_token: String::new() }));
        }
        let page = within(self.patience, registry.list(after.as_ref(), size)).await?;
        // One bad entry must not hide all others; asking for it by id tells what is wrong.
        for (app, error) in &page.unreadable {
            tracing::error!(%app, error = error as &dyn std::error::Error, "a stored app cannot be read or listed");
        }
        let apps = page.apps.iter().map(convert::app).collect();
        let next_page_token = page.next.map(|id| id.to_string()).unwrap_or_default();
        Ok(Response::new(wire::ListAppsResponse { apps, next_page_token }))
    }

    async fn update_app(&self, request: Request<wire::UpdateAppRequest>) -> Result<Response<wire::App>, Status> {
        let caller = Caller::of(&request)?;
        let wire::UpdateAppRequest { app, update_mask, revision } = request.into_inner();
        let app = app.unwrap_or_default();
        let id = caller.app("app.id", &app.id)?;
        let mut mistakes = Mistakes::default();
        let update = Update::new(app, &update_mask.unwrap_or_default().paths, &mut mistakes);
        let update = mistakes.unless_any(Some(update)).map_err(invalid)?;
        if update.touches("quota") || update.touches("limits") {
            caller.cluster()?;
        }
        let change = |app: &App| {
            let mut mistakes = Mistakes::default();
            let change = update.change(app, &mut mistakes);
            mistakes.unless_any(Some(change)).map_err(invalid)
        };
        let intent = Intent::of(&id, format!("app {id}")).with_all(update.changes());
        let work = async {
            let edit = edit(self.registry.open(&id), &id, read_revision(revision), change);
            let app = within(self.patience, edit).await?;
            Ok((convert::app(&app), app.revision))
        };
        self.recorder.record(&caller, intent, work).await.map(Response::new)
    }

    async fn disable_app(&self, request: Request<wire::DisableAppRequest>) -> Result<Response<wire::App>, Status> {
        self.set_enabled(&request, &request.get_ref().id, false).await
    }

    async fn enable_app(&self, request: Request<wire::EnableAppRequest>) -> Result<Response<wire::App>, Status> {
        self.set_enabled(&request, &request.get_ref().id, true).await
    }

    async fn delete_app(
        &self,
        request: Request<wire::DeleteAppRequest>,
    ) -> Result<Response<wire::DeleteAppResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = caller.app("id", &request.get_ref().id)?;
        let work = async {
            within(self.patience, self.registry.open(&id).delete(&id)).await?;
            // Last, so that a call that breaks off can be made again: tokens of an app that is gone are of no use, but
            // another one of its id is not theirs.
            within(self.patience, self.access.open(&id).revoke_of_app(&id)).await?;
            Ok((wire::DeleteAppResponse {}, 0))
        };
        self.recorder.record(&caller, Intent::of(&id, format!("app {id}")), work).await.map(Response::new)
    }
}
