//! Field masks: which settings of an app an update changes, and to what.

use backbone::registry::{AppChange, PusherChange, RegisteredApp, Registry, RegistryError};
use channels::{App, AppId, PusherSettings};
use proto::control as wire;
use tonic::Status;

use crate::mistakes::Mistakes;
use crate::{check, wire as convert};

/// How often a change is made anew because the app changed in between. Each time somebody else was done.
const ATTEMPTS: u32 = 32;

/// A field that a mask may name.
struct Path {
    name: &'static str,
    /// Whether a request without a mask means it.
    given: fn(&wire::App) -> bool,
    /// Puts it as it is in the second into the first.
    copy: fn(&mut wire::App, &wire::App),
}

macro_rules! whole {
    ($field:ident, $given:expr) => {
        Path { name: stringify!($field), given: $given, copy: |to, from| to.$field.clone_from(&from.$field) }
    };
}

macro_rules! part {
    ($section:ident.$field:ident) => {
        Path {
            name: concat!(stringify!($section), ".", stringify!($field)),
            given: |app| app.$section.as_ref().is_some_and(|section| section.$field.is_some()),
            copy: |to, from| {
                let value = from.$section.as_ref().and_then(|section| section.$field.clone());
                to.$section.get_or_insert_default().$field = value;
            },
        }
    };
}

/// Without a mask a section means those of its parts that are there.
const BY_PART: fn(&wire::App) -> bool = |_| false;

static PATHS: [Path; 36] = [
    whole!(name, |app| !app.name.is_empty()),
    whole!(pusher, BY_PART),
    part!(pusher.client_events),
    part!(pusher.user_authentication),
    part!(pusher.subscription_count),
    part!(pusher.watchlist),
    part!(pusher.authorized_connections_ms),
    part!(pusher.positions),
    part!(pusher.tls_only),
    part!(pusher.allowed_origins),
    whole!(quota, BY_PART),
    part!(quota.connections),
    part!(quota.channels),
    part!(quota.messages_in_per_second),
    part!(quota.messages_out_per_second),
    part!(quota.history_bytes),
    part!(quota.presence_members),
    part!(quota.webhooks_per_second),
    whole!(limits, BY_PART),
    part!(limits.channel_name_chars),
    part!(limits.event_name_chars),
    part!(limits.event_data_bytes),
    part!(limits.message_bytes),
    part!(limits.channels_per_publish),
    part!(limits.events_per_batch),
    part!(limits.client_events_per_second),
    part!(limits.channels_per_connection),
    part!(limits.presence_members),
    part!(limits.presence_user_id_chars),
    part!(limits.presence_user_info_bytes),
    part!(limits.user_id_chars),
    part!(limits.watchlist_users),
    part!(limits.cache_ttl_seconds),
    part!(limits.auth_timestamp_window_seconds),
    whole!(namespaces, |app| !app.namespaces.is_empty()),
    whole!(webhooks, |app| !app.webhooks.is_empty()),
];

/// New settings for some fields of an app.
pub(crate) struct Update {
    paths: Vec<&'static Path>,
    given: wire::App,
}

impl Update {
    /// What `mask` names of `given`; without a mask, what is there.
    pub(crate) fn new(given: wire::App, mask: &[String], mistakes: &mut Mistakes) -> Self {
        let find = |(index, name): (usize, &String)| {
            let path = PATHS.iter().find(|path| path.name == name);
            if path.is_none() {
                mistakes.add(format!("update_mask.paths[{index}]"), format!("{name:?} is no setting of an app"));
            }
            path
        };
        let paths = match mask {
            [] => PATHS.iter().filter(|path| (path.given)(&given)).collect(),
            mask => mask.iter().enumerate().filter_map(find).collect(),
        };
        Self { paths, given }
    }

    /// Whether it changes something in this section.
    pub(crate) fn touches(&self, section: &str) -> bool {
        self.paths.iter().any(|path| path.name.split('.').next() == Some(section))
    }

    /// What is changed, field by field, without secrets: values of headers are left out.
    pub(crate) fn changes(&self) -> impl Iterator<Item = String> + use<'_> {
        let mut shown = wire::App::default();
        for path in &self.paths {
            (path.copy)(&mut shown, &self.given);
        }
        for value in shown.webhooks.iter_mut().flat_map(|webhook| webhook.headers.values_mut()) {
            value.clear();
        }
        let shown: serde_json::Value = serde_json::from_str(&proto::json::to_string(&shown)).unwrap_or_default();
        self.paths.iter().map(move |path| {
            let value = path.name.split('.').try_fold(&shown, |value, part| value.get(part));
            match value {
                None | Some(serde_json::Value::Null) => format!("{}: default", path.name),
                Some(value) => format!("{}: {value}", path.name),
            }
        })
    }

    /// The change that makes `app` as it is wanted.
    pub(crate) fn change(&self, app: &App, mistakes: &mut Mistakes) -> AppChange {
        let mut wanted = convert::settings(app);
        for path in &self.paths {
            (path.copy)(&mut wanted, &self.given);
        }
        AppChange {
            name: self.touches("name").then(|| mistakes.keep("name", check::app_name(&wanted.name))).flatten(),
            enabled: None,
            pusher: match self.touches("pusher") {
                true => all(convert::read_pusher(wanted.pusher.unwrap_or_default(), mistakes)),
                false => PusherChange::default(),
            },
            quota: self.touches("quota").then(|| convert::read_quota(&wanted.quota.unwrap_or_default(), mistakes)),
            limits: self.touches("limits").then(|| convert::read_limits(&wanted.limits.unwrap_or_default(), mistakes)),
            namespaces: self.touches("namespaces").then(|| convert::read_namespaces(wanted.namespaces, mistakes)),
            webhooks: self
                .touches("webhooks")
                .then(|| convert::read_webhooks(wanted.webhooks, &app.webhooks, mistakes)),
        }
    }
}

/// A change of every switch.
fn all(pusher: PusherSettings) -> PusherChange {
    PusherChange {
        client_events: Some(pusher.client_events),
        user_authentication: Some(pusher.user_authentication),
        subscription_count: Some(pusher.subscription_count),
        watchlist: Some(pusher.watchlist),
        authorized_connections: Some(pusher.authorized_connections),
        positions: Some(pusher.positions),
        tls_only: Some(pusher.tls_only),
        allowed_origins: Some(pusher.allowed_origins),
    }
}

/// Why an edit failed.
pub(crate) enum EditError {
    /// What was wanted was refused.
    Refused(Status),
    /// The registry refused or failed.
    Registry(RegistryError),
}

/// Makes the change that `change` finds fit for the app as it is; with a `revision`, only if that is its current one.
pub(crate) async fn edit(
    registry: &Registry,
    id: &AppId,
    revision: Option<u64>,
    change: impl Fn(&App) -> Result<AppChange, Status> + Send + Sync,
) -> Result<RegisteredApp, EditError> {
    for _ in 0..ATTEMPTS {
        let current = registry.get(id).await.map_err(EditError::Registry)?;
        let current = current.ok_or_else(|| EditError::Registry(RegistryError::NoSuchApp(id.clone())))?;
        let change = change(&current.app).map_err(EditError::Refused)?;
        match registry.update(id, Some(revision.unwrap_or(current.revision)), &change).await {
            Err(RegistryError::Stale { .. }) if revision.is_none() => {}
            result => return result.map_err(EditError::Registry),
        }
    }
    Err(EditError::Registry(RegistryError::Contended(id.clone())))
}
