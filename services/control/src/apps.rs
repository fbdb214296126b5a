//! `AppService`: apps.

use std::time::Duration;

use backbone::registry::{AppChange, RegisteredApp, Registry, RegistryError};
use channels::{App, AppId, Key, Limits, Namespaces, PusherSettings, Quota};
use proto::control as wire;
use tonic::{Request, Response, Status};

use crate::mistakes::Mistakes;
use crate::status::{Refusal as _, invalid, within};
use crate::wire::WantedKey;
use crate::{check, made_up, now_ms, wire as convert};

/// Items in a page when the caller does not say, and at most.
const PAGE_SIZE: u32 = 100;
const MAX_PAGE_SIZE: u32 = 1_000;

/// How often an id or name that we made up and that turns out to be taken is made up anew.
pub(crate) const MADE_UP_ATTEMPTS: u32 = 5;

/// Answers calls about apps.
#[derive(Clone, Debug)]
pub(crate) struct Apps {
    pub(crate) registry: Registry,
    pub(crate) patience: Duration,
}

/// A checked request for an app; what is `None` is to be made up.
struct WantedApp {
    id: Option<AppId>,
    name: Option<String>,
    key: WantedKey,
    /// What differs from a new app's defaults.
    settings: AppChange,
}

fn read_create(request: wire::CreateAppRequest) -> Result<WantedApp, Status> {
    let mut mistakes = Mistakes::default();
    let wire::CreateAppRequest { id, name, pusher, quota, namespaces, limits, key, webhooks } = request;
    let settings = AppChange {
        name: None,
        enabled: None,
        pusher: convert::read_pusher(pusher, &mut mistakes),
        quota: quota.map(|quota| convert::read_quota(quota, &mut mistakes)),
        limits: limits.map(|limits| convert::read_limits(limits, &mut mistakes)),
        namespaces: Some(convert::read_namespaces(namespaces, &mut mistakes)),
        webhooks: Some(convert::read_webhooks(webhooks, &mut mistakes)),
    };
    let wanted = WantedApp {
        id: if id.is_empty() { None } else { mistakes.keep("id", AppId::new(&id)) },
        name: if name.is_empty() { None } else { mistakes.keep("name", check::app_name(&name)) },
        key: convert::read_key(key, &mut mistakes),
        settings,
    };
    mistakes.unless_any(Some(wanted)).map_err(invalid)
}

impl WantedApp {
    /// The app, with what was left open made up.
    fn complete(&self, now_ms: u64) -> App {
        let id = self.id.clone().unwrap_or_else(made_up::app_id);
        let mut app = App {
            name: self.name.clone().unwrap_or_else(|| id.to_string()),
            enabled: true,
            keys: vec![self.key.complete(&id, now_ms)],
            pusher: PusherSettings::default(),
            limits: Limits::default(),
            quota: Quota::default(),
            namespaces: Namespaces::default(),
            webhooks: Vec::new(),
            id,
        };
        self.settings.apply(&mut app);
        app
    }

    async fn create(&self, registry: &Registry) -> Result<(RegisteredApp, Key), RegistryError> {
        let mut attempt = 1;
        loop {
            let now_ms = now_ms();
            let app = self.complete(now_ms);
            let key = app.keys[0].clone();
            match registry.create(app, now_ms).await {
                Ok(created) => return Ok((created, key)),
                Err(RegistryError::AppExists(_)) if self.id.is_none() && attempt < MADE_UP_ATTEMPTS => {}
                Err(RegistryError::KeyTaken { .. }) if self.key.name.is_none() && attempt < MADE_UP_ATTEMPTS => {}
                Err(refused) => return Err(refused),
            }
            attempt += 1;
        }
    }
}

impl WantedKey {
    /// The key for the app `id`, with what was left open made up.
    pub(crate) fn complete(&self, id: &AppId, now_ms: u64) -> Key {
        Key {
            name: self.name.clone().unwrap_or_else(|| made_up::key_name(id)),
            secret: self.secret.clone().unwrap_or_else(made_up::secret),
            previous: None,
            capability: self.capability.clone(),
            created_ms: now_ms,
        }
    }
}

fn read_update(request: wire::UpdateAppRequest) -> Result<(AppId, Option<u64>, AppChange), Status> {
    let mut mistakes = Mistakes::default();
    let wire::UpdateAppRequest { id, revision, name, pusher, quota, limits, namespaces, webhooks } = request;
    let id = mistakes.keep("id", AppId::new(&id));
    let change = AppChange {
        name: name.and_then(|name| mistakes.keep("name", check::app_name(&name))),
        enabled: None,
        pusher: convert::read_pusher(pusher, &mut mistakes),
        quota: quota.map(|quota| convert::read_quota(quota, &mut mistakes)),
        limits: limits.map(|limits| convert::read_limits(limits, &mut mistakes)),
        namespaces: namespaces.map(|list| convert::read_namespaces(list.namespaces, &mut mistakes)),
        webhooks: webhooks.map(|list| convert::read_webhooks(list.webhooks, &mut mistakes)),
    };
    let revision = (revision != 0).then_some(revision);
    mistakes.unless_any(id.map(|id| (id, revision, change))).map_err(invalid)
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

/// How many a page is to hold at most.
pub(crate) fn page_size(wanted: u32, mistakes: &mut Mistakes) -> usize {
    let size = if wanted == 0 { PAGE_SIZE } else { wanted };
    if size > MAX_PAGE_SIZE {
        mistakes.add("page_size", format!("must be at most {MAX_PAGE_SIZE}"));
    }
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// The app id in the field `field`.
pub(crate) fn read_id(field: &str, id: &str) -> Result<AppId, Status> {
    let mut mistakes = Mistakes::default();
    let id = mistakes.keep(field, AppId::new(id));
    mistakes.unless_any(id).map_err(invalid)
}

impl Apps {
    async fn set_enabled(&self, id: &str, enabled: bool) -> Result<Response<wire::App>, Status> {
        let id = read_id("id", id)?;
        let change = AppChange { enabled: Some(enabled), ..AppChange::default() };
        let app = within(self.patience, self.registry.update(&id, None, &change)).await?;
        tracing::info!(app = %id, enabled, "app switched");
        Ok(Response::new(convert::app(&app)))
    }
}

#[tonic::async_trait]
impl wire::app_service_server::AppService for Apps {
    async fn create_app(
        &self,
        request: Request<wire::CreateAppRequest>,
    ) -> Result<Response<wire::CreateAppResponse>, Status> {
        let wanted = read_create(request.into_inner())?;
        let (app, key) = within(self.patience, wanted.create(&self.registry)).await?;
        tracing::info!(app = %app.app.id, key = %key.name, "app created");
        let secret = key.secret.expose().to_owned();
        let key = wire::CreateKeyResponse { key: Some(convert::key(&key)), secret };
        Ok(Response::new(wire::CreateAppResponse { app: Some(convert::app(&app)), key: Some(key) }))
    }

    async fn get_app(&self, request: Request<wire::GetAppRequest>) -> Result<Response<wire::App>, Status> {
        let id = read_id("id", &request.get_ref().id)?;
        match within(self.patience, self.registry.get(&id)).await? {
            Some(app) => Ok(Response::new(convert::app(&app))),
            None => Err(RegistryError::NoSuchApp(id).status()),
        }
    }

    async fn list_apps(
        &self,
        request: Request<wire::ListAppsRequest>,
    ) -> Result<Response<wire::ListAppsResponse>, Status> {
        let (after, size) = read_list(request.get_ref())?;
        let page = within(self.patience, self.registry.list(after.as_ref(), size)).await?;
        // One bad entry must not hide all others; asking for it by id tells what is wrong.
        for (app, error) in &page.unreadable {
            tracing::error!(%app, error = error as &dyn std::error::Error, "a stored app cannot be read or listed");
        }
        let apps = page.apps.iter().map(convert::app).collect();
        let next_page_token = page.next.map(|id| id.to_string()).unwrap_or_default();
        Ok(Response::new(wire::ListAppsResponse { apps, next_page_token }))
    }

    async fn update_app(&self, request: Request<wire::UpdateAppRequest>) -> Result<Response<wire::App>, Status> {
        let (id, revision, change) = read_update(request.into_inner())?;
        let app = within(self.patience, self.registry.update(&id, revision, &change)).await?;
        tracing::info!(app = %id, revision = app.revision, "app updated");
        Ok(Response::new(convert::app(&app)))
    }

    async fn disable_app(&self, request: Request<wire::DisableAppRequest>) -> Result<Response<wire::App>, Status> {
        self.set_enabled(&request.get_ref().id, false).await
    }

    async fn enable_app(&self, request: Request<wire::EnableAppRequest>) -> Result<Response<wire::App>, Status> {
        self.set_enabled(&request.get_ref().id, true).await
    }

    async fn delete_app(
        &self,
        request: Request<wire::DeleteAppRequest>,
    ) -> Result<Response<wire::DeleteAppResponse>, Status> {
        let id = read_id("id", &request.get_ref().id)?;
        within(self.patience, self.registry.delete(&id)).await?;
        tracing::info!(app = %id, "app deleted");
        Ok(Response::new(wire::DeleteAppResponse {}))
    }
}
