//! Who may have an Ably connection: a new one, or the one that its client had.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ably::meta::Event;
use ably::{Code, Connect, ErrorInfo, Format, Identity};
use channels::App;
use proto::control::TailKind;

use crate::authentication::{self, Authenticated};
use crate::connection::{NotPlaced, Visitor, place};
use crate::connections::Admission;
use crate::metrics::Refusal;
use crate::resume::{Claim, NotTaken};
use crate::server::Shared;
use crate::tail::Told;

/// How long a resume may take to be written down. Clients wait for 10 s.
const RESUME_PATIENCE: Duration = Duration::from_secs(8);

/// Everything a connection starts with.
pub(crate) struct Opening {
    pub(super) admission: Admission,
    pub(super) connect: Connect,
    pub(super) format: Format,
    /// The app as it was when it was looked at.
    pub(super) app: Arc<App>,
    pub(super) granted: ably::credentials::Granted,
    /// Who the client is on this connection.
    pub(super) identity: Identity,
    pub(super) claim: Claim,
    /// Whether it is the connection that its client had.
    pub(super) resumed: bool,
    /// Why it is not.
    pub(super) error: Option<ErrorInfo>,
    /// When the client began to connect.
    pub(super) begun: Instant,
    /// Where it comes from, as far as this node sees.
    pub(super) address: SocketAddr,
}

/// Takes a place for the connection that `connect` asks for, since `begun`. If there is none for it: what it is told.
pub(super) async fn admit(
    shared: &Shared,
    format: Format,
    connect: Result<Connect, ErrorInfo>,
    visitor: &Visitor,
    begun: Instant,
) -> Result<Opening, ErrorInfo> {
    let issuer = connect.as_ref().ok().map(|connect| connect.credentials.issuer());
    let opening = find(shared, format, connect, visitor, begun).await;
    opening.map_err(|(error, refusal)| {
        shared.metrics.refuse(refusal);
        if let Some(Ok(Some(app))) = issuer.map(|issuer| authentication::app_of(shared, &issuer)) {
            let told =
                Told { kind: TailKind::ConnectionRefused, code: error.code, reason: &error.message, ..Told::default() };
            shared.tails.tell(&app.id, told);
            shared.meta.tell(shared, &app, &Event::Error(&error, None, None));
        }
        error
    })
}

async fn find(
    shared: &Shared,
    format: Format,
    connect: Result<Connect, ErrorInfo>,
    visitor: &Visitor,
    begun: Instant,
) -> Result<Opening, (ErrorInfo, Refusal)> {
    let connect = connect.map_err(|error| (error, Refusal::BadRequest))?;
    let authenticated = authentication::authenticate(shared, &connect.credentials, clock::unix_ms());
    let Authenticated { app, granted } = authenticated.map_err(|error| {
        let refusal = refusal(&error);
        (error, refusal)
    })?;
    let identity = granted.identity.clone().connecting_as(connect.client_id.as_deref());
    let identity = identity.map_err(|error| (error, Refusal::Credentials))?;
    let admission = place(shared, &app, visitor).map_err(|not| (told(not), not.refusal()))?;
    let opening = |identity, claim, resumed, error| Opening {
        admission,
        connect: connect.clone(),
        format,
        app: Arc::clone(&app),
        granted,
        identity,
        claim,
        resumed,
        error,
        begun,
        address: visitor.address,
    };
    let resumes = &shared.resumes;
    let Some(text) = connect.resume.as_deref() else { return Ok(opening(identity, resumes.begin(), false, None)) };
    let unknown = || Some(Code::ConnectionKey.info());
    let Some(key) = resumes.read(&app.id, text) else {
        return Ok(opening(identity, resumes.begin(), false, unknown()));
    };
    let same = same_client(&key.identity, identity.clone()).map_err(|error| (error, Refusal::Credentials))?;
    match tokio::time::timeout(RESUME_PATIENCE, resumes.take_over(&key)).await {
        Ok(Ok(claim)) => Ok(opening(same, claim, true, None)),
        Ok(Err(NotTaken::Spent)) => Ok(opening(identity, resumes.begin(), false, unknown())),
        Ok(Err(NotTaken::Unavailable(error))) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a connection cannot be resumed for now");
            Err((Code::Unavailable.info(), Refusal::Unavailable))
        }
        Err(_) => Err((Code::Unavailable.info(), Refusal::Unavailable)),
    }
}

/// Who a client is that comes back: who it was. Whoever was nobody in particular may have become somebody.
fn same_client(before: &Identity, now: Identity) -> Result<Identity, ErrorInfo> {
    match before {
        Identity::Is(client) => now.connecting_as(Some(client.as_str())),
        Identity::Any | Identity::Anonymous => Ok(now),
    }
}

/// How bad credentials are counted.
fn refusal(error: &ErrorInfo) -> Refusal {
    if error.status >= 500 {
        Refusal::Unavailable
    } else if error.code == Code::AppDisabled.number() {
        Refusal::AppDisabled
    } else if error.code == Code::NotFound.number() {
        Refusal::UnknownApp
    } else {
        Refusal::Credentials
    }
}

/// What a client is told that gets no place.
fn told(not: NotPlaced) -> ErrorInfo {
    match not {
        NotPlaced::Draining => Code::GoElsewhere.info(),
        NotPlaced::Disabled => Code::AppDisabled.info(),
        NotPlaced::TlsOnly => Code::Forbidden.says("the app takes connections over TLS only"),
        NotPlaced::Origin => Code::Forbidden.says("the app takes no connections from pages of this origin"),
        NotPlaced::NodeFull => Code::GoElsewhere.says("the node has as many connections as it may have"),
        NotPlaced::Memory => Code::GoElsewhere.says("the node is short of memory"),
        // Its status is that of a passing trouble: after any other the client would give up.
        NotPlaced::Address => Code::Busy.says("too many connections from this address"),
        // Where other nodes have room, or this one soon will, the client is to try again.
        NotPlaced::OverQuota(over) if !over.shared => Code::GoElsewhere.says(over.to_string()),
        NotPlaced::OverQuota(over) => Code::ConnectionQuota.says(over.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use channels::ClientId;

    use super::*;

    #[test]
    fn who_comes_back_is_who_was_there() {
        let is = |id: &str| Identity::Is(ClientId::new(id).unwrap());
        let same = |before: Identity, now: Identity| same_client(&before, now).map_err(|error| error.code);
        assert_eq!(same(is("bob"), is("bob")), Ok(is("bob")));
        assert_eq!(same(is("bob"), Identity::Any), Ok(is("bob")));
        assert_eq!(same(is("bob"), is("eve")), Err(40102));
        assert_eq!(same(is("bob"), Identity::Anonymous), Err(40102));
        assert_eq!(same(Identity::Any, is("bob")), Ok(is("bob")));
        assert_eq!(same(Identity::Anonymous, Identity::Anonymous), Ok(Identity::Anonymous));
    }
}
