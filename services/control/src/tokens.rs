//! `AccessService`: tokens of those who administer the cluster.

use std::time::Duration;

use backbone::access::{Access, AccessError, AccessToken, NewToken, Role, Scope, TokenId};
use backbone::registry::Registry;
use channels::Secret;
use clock::unix_ms;
use proto::control as wire;
use tonic::{Request, Response, Status};

use crate::access::{Caller, Guarded, OfApp, Sight};
use crate::apps::{existing, once, page_size};
use crate::audit::{Intent, Recorder};
use crate::check;
use crate::mistakes::Mistakes;
use crate::status::{Refusal as _, invalid, within};

/// Answers calls about tokens.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: Guarded<Access>,
    pub(crate) registry: Guarded<Registry>,
    pub(crate) recorder: Recorder,
    pub(crate) patience: Duration,
}

fn show(token: &AccessToken) -> wire::Token {
    let overlap = token.previous_until_ms.filter(|until| *until > unix_ms());
    wire::Token {
        id: token.id.as_str().to_owned(),
        name: token.name.clone(),
        scope: Some(show_scope(&token.scope)),
        created_ms: token.created_ms,
        created_by: token.created_by.clone(),
        expires_ms: token.expires_ms.unwrap_or(0),
        overlap_until_ms: overlap.unwrap_or(0),
        revoked_ms: 0,
    }
}

fn show_scope(scope: &Scope) -> wire::Scope {
    let role = match scope.role {
        Role::Admin => wire::Role::Admin,
        Role::Reader => wire::Role::Reader,
    };
    let app_id = scope.app.as_ref().map(ToString::to_string).unwrap_or_default();
    wire::Scope { role: role.into(), app_id }
}

/// Who a token is for, in words.
fn scope_text(scope: &Scope) -> String {
    let role = match scope.role {
        Role::Admin => "admin",
        Role::Reader => "reader",
    };
    match &scope.app {
        Some(app) => format!("{role} of app {app}"),
        None => format!("{role} of the cluster"),
    }
}

/// What is wanted of a token.
struct Wanted {
    name: String,
    role: Role,
    lifetime: Option<Duration>,
}

fn read_create(name: &str, role: i32, lifetime_seconds: u64) -> Result<Wanted, Status> {
    let mut mistakes = Mistakes::default();
    let name = mistakes.keep("name", check::token_name(name));
    let lifetime = mistakes.keep("lifetime_seconds", check::lifetime(lifetime_seconds));
    let role = match wire::Role::try_from(role) {
        Ok(wire::Role::Admin) => Some(Role::Admin),
        Ok(wire::Role::Reader) => Some(Role::Reader),
        Ok(wire::Role::Unspecified) | Err(_) => {
            mistakes.add("scope.role", "must be ROLE_ADMIN or ROLE_READER");
            None
        }
    };
    let wanted = name.zip(role).zip(lifetime).map(|((name, role), lifetime)| Wanted { name, role, lifetime });
    mistakes.unless_any(wanted).map_err(invalid)
}

fn read_id(id: &str) -> Result<TokenId, Status> {
    TokenId::new(id).map_err(|error| invalid(vec![("id", error.to_string()).into()]))
}

/// Where a page of a list begins: behind a token, which may be gone.
type After = (u64, TokenId);

fn read_after(token: &str) -> Option<After> {
    let (created_ms, id) = token.split_once('.')?;
    Some((created_ms.parse().ok()?, TokenId::new(id).ok()?))
}

fn place(token: &AccessToken) -> (u64, &TokenId) {
    (token.created_ms, &token.id)
}

impl Tokens {
    /// The token, if the caller may change it.
    async fn changeable(&self, caller: &Caller, sight: &Sight, id: &TokenId) -> Result<AccessToken, Status> {
        let token = within(self.patience, self.access.open(sight).get(id)).await?;
        let token = token.ok_or_else(|| AccessError::NoSuchToken(id.clone()).status())?;
        match &token.scope.app {
            Some(app) => drop(caller.owns(app.clone())?),
            None => drop(caller.cluster()?),
        }
        Ok(token)
    }
}

/// A new token with its text: the one answer that has it.
fn created(token: &AccessToken, text: &Secret) -> wire::CreateTokenResponse {
    wire::CreateTokenResponse { token: Some(show(token)), text: text.expose().to_owned() }
}

fn intent(token: &AccessToken) -> Intent {
    Intent { app: token.scope.app.clone(), ..Intent::to(format!("token {} {}", token.id, token.name)) }
}

#[tonic::async_trait]
impl wire::access_service_server::AccessService for Tokens {
    async fn create_token(
        &self,
        request: Request<wire::CreateTokenRequest>,
    ) -> Result<Response<wire::CreateTokenResponse>, Status> {
        let caller = Caller::of(&request)?;
        let sight = caller.sight()?;
        let request = request.into_inner();
        let once = once(&caller, &request.idempotency_key, &request)?;
        let wire::CreateTokenRequest { name, scope, lifetime_seconds, .. } = request;
        let wire::Scope { role, app_id } = scope.unwrap_or_default();
        let app = if app_id.is_empty() {
            caller.cluster()?;
            None
        } else {
            Some(caller.app("scope.app_id", &app_id)?)
        };
        let Wanted { name, role, lifetime } = read_create(&name, role, lifetime_seconds)?;
        if let Some(id) = &app {
            // Else it would be for whoever gets this id one day.
            existing(&self.registry, id, self.patience).await?;
        }
        let (access, registry) = (self.access.open(&sight), self.registry.open(&sight));
        if let Some(once) = &once
            && let Some((token, text)) = within(self.patience, access.made(once, registry)).await?
        {
            return Ok(Response::new(created(&token, &text)));
        }
        let now_ms = unix_ms();
        let new = NewToken {
            name,
            scope: Scope { role, app: app.as_ref().map(OfApp::id) },
            created_by: caller.actor().to_owned(),
            expires_ms: lifetime.map(|lifetime| now_ms.saturating_add(lifetime.as_secs().saturating_mul(1_000))),
        };
        let target = format!("token {}", new.name);
        let lifetime = lifetime.map_or("for ever".to_owned(), |lifetime| format!("{} seconds", lifetime.as_secs()));
        let intent = Intent { app: new.scope.app.clone(), ..Intent::to(target) }
            .with(format!("scope: {}", scope_text(&new.scope)))
            .with(format!("lifetime: {lifetime}"));
        let create = async {
            match &once {
                Some(once) => access.create_once(new, now_ms, once, registry).await,
                None => access.create(new, now_ms).await,
            }
        };
        let work = async {
            let (token, text) = within(self.patience, Box::pin(create)).await?;
            Ok((created(&token, &text), 0))
        };
        self.recorder.record(&caller, intent, work).await.map(Response::new)
    }

    async fn list_tokens(
        &self,
        request: Request<wire::ListTokensRequest>,
    ) -> Result<Response<wire::ListTokensResponse>, Status> {
        let sight = Caller::of(&request)?.sight()?;
        let mut mistakes = Mistakes::default();
        let size = page_size(request.get_ref().page_size, &mut mistakes);
        let after = match request.get_ref().page_token.as_str() {
            "" => None,
            token => mistakes.keep("page_token", read_after(token).ok_or("is not from an earlier answer")),
        };
        let (after, size) = mistakes.unless_any(Some((after, size))).map_err(invalid)?;
        let tokens = within(self.patience, self.access.open(&sight).list()).await?;
        let mut rest = tokens
            .iter()
            .filter(|token| sight.only().is_none() || token.scope.app.as_ref() == sight.only())
            .filter(|token| after.as_ref().is_none_or(|(created_ms, id)| place(token) > (*created_ms, id)))
            .peekable();
        let page: Vec<_> = rest.by_ref().take(size).collect();
        let more = rest.peek().and(page.last());
        let next_page_token = more.map(|last| format!("{}.{}", last.created_ms, last.id)).unwrap_or_default();
        Ok(Response::new(wire::ListTokensResponse { tokens: page.into_iter().map(show).collect(), next_page_token }))
    }

    async fn rotate_token(
        &self,
        request: Request<wire::RotateTokenRequest>,
    ) -> Result<Response<wire::RotateTokenResponse>, Status> {
        let caller = Caller::of(&request)?;
        let sight = caller.sight()?;
        let wire::RotateTokenRequest { id, overlap_seconds } = request.into_inner();
        let mut mistakes = Mistakes::default();
        let id = mistakes.keep("id", TokenId::new(&id));
        let overlap = mistakes.keep("overlap_seconds", check::overlap(overlap_seconds));
        let (id, overlap) = mistakes.unless_any(id.zip(overlap)).map_err(invalid)?;
        let token = self.changeable(&caller, &sight, &id).await?;
        let work = async {
            let rotate = self.access.open(&sight).rotate(&id, overlap, unix_ms());
            let (token, text) = within(self.patience, rotate).await?;
            let answer = wire::RotateTokenResponse { token: Some(show(&token)), text: text.expose().to_owned() };
            Ok((answer, 0))
        };
        let intent = intent(&token).with(format!("overlap_seconds: {overlap_seconds}"));
        self.recorder.record(&caller, intent, work).await.map(Response::new)
    }

    async fn revoke_token(
        &self,
        request: Request<wire::RevokeTokenRequest>,
    ) -> Result<Response<wire::RevokeTokenResponse>, Status> {
        let caller = Caller::of(&request)?;
        let sight = caller.sight()?;
        let id = read_id(&request.get_ref().id)?;
        let token = self.changeable(&caller, &sight, &id).await?;
        let work = async {
            match self.access.open(&sight).revoke(&id).await {
                // Somebody else was as fast.
                Ok(()) | Err(AccessError::NoSuchToken(_)) => {}
                Err(error) => return Err(error.status()),
            }
            let token = wire::Token { revoked_ms: unix_ms(), ..show(&token) };
            Ok((wire::RevokeTokenResponse { token: Some(token) }, 0))
        };
        self.recorder.record(&caller, intent(&token), work).await.map(Response::new)
    }
}
