//! In front of all services: finds out who calls, and whether they may call that at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use backbone::access::{AccessTokens, Role, Scope};
use backbone::sealing::ClusterKeys;
use clock::unix_ms;
use futures_util::future::BoxFuture;
use tonic::body::Body;
use tonic::codegen::http::{Extensions, HeaderMap, Request, Response, header};
use tonic::transport::server::TlsConnectInfo;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::rules::{self, Level};
use super::{Caller, Grant, certificate};
use crate::AdminToken;
use crate::status::{explained, refusal, unavailable};

/// Paths of our own API begin so.
const OURS: &str = "/fanfare.control.v1.";

/// The way in which nodes' tokens begin, whatever the key.
const NODE_TOKEN: &str = "node_";

/// Every way in.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    /// The token that a new cluster is set up with.
    pub(crate) bootstrap: Option<AdminToken>,
    /// Those that were made since.
    pub(crate) tokens: AccessTokens,
    /// What nodes' tokens are made of.
    pub(crate) keys: Arc<ClusterKeys>,
}

/// Puts the checks in front of a service.
#[derive(Clone, Debug)]
pub(crate) struct AccessLayer {
    doors: Arc<Doors>,
    /// How long a request may take to arrive and be answered.
    patience: Duration,
}

impl AccessLayer {
    pub(crate) fn new(doors: Doors, patience: Duration) -> Self {
        Self { doors: Arc::new(doors), patience }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Checked<S>;

    fn layer(&self, inner: S) -> Checked<S> {
        Checked { inner, doors: Arc::clone(&self.doors), patience: self.patience }
    }
}

/// A service that only those who may call it are let to.
#[derive(Clone, Debug)]
pub(crate) struct Checked<S> {
    inner: S,
    doors: Arc<Doors>,
    patience: Duration,
}

impl<S, B> Service<Request<B>> for Checked<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = peer(request.extensions());
        let path = request.uri().path();
        match self.doors.admit(path, request.headers(), request.extensions(), &peer) {
            Ok(Admitted { caller, is_long }) => {
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                let answer = self.inner.call(request);
                let patience = self.patience;
                Box::pin(async move {
                    if is_long {
                        return answer.await.map(explained);
                    }
                    match tokio::time::timeout(patience, answer).await {
                        Ok(answer) => answer.map(explained),
                        Err(_) => {
                            let late = "the request did not arrive, or was not answered, in time";
                            Ok(refusal(Code::DeadlineExceeded, "TOO_SLOW", late).into_http())
                        }
                    }
                })
            }
            Err(status) => {
                tracing::info!(reason = status.message(), path, peer, "control call refused");
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

/// Who was let in.
struct Admitted {
    /// Nobody in particular where everybody is let in.
    caller: Option<Caller>,
    /// Whether a request is not over before much has been sent.
    is_long: bool,
}

impl Doors {
    fn admit(&self, path: &str, headers: &HeaderMap, connection: &Extensions, peer: &str) -> Result<Admitted, Status> {
        let rule = rules::of(path);
        if rule.is_some_and(|rule| rule.level == Level::Open) {
            return Ok(Admitted { caller: None, is_long: false });
        }
        let (grant, actor) = match headers.get(header::AUTHORIZATION) {
            Some(header) => self.bearer(header.as_bytes())?,
            None => bearer_of_certificate(connection)?,
        };
        // Told only to those who were let in.
        let rule = rule.ok_or_else(|| refusal(Code::Unimplemented, "NO_SUCH_METHOD", format!("there is no {path}")))?;
        let method = path.strip_prefix(OURS).unwrap_or(path).replace('/', ".");
        let caller = Caller { actor: actor.into(), grant, method: method.into(), peer: peer.into() };
        match rule.refuses(&caller) {
            Some(why) => Err(caller.denied(why)),
            None => Ok(Admitted { caller: Some(caller), is_long: rule.is_long() }),
        }
    }

    /// What the bearer of the token in an `authorization` header may, and who that is.
    fn bearer(&self, header: &[u8]) -> Result<(Grant, String), Status> {
        let wrong = || refusal(Code::Unauthenticated, "WRONG_TOKEN", "wrong admin token");
        let token = bearer_token(header).and_then(|token| std::str::from_utf8(token).ok()).ok_or_else(wrong)?;
        if self.bootstrap.as_ref().is_some_and(|bootstrap| bootstrap.is(token)) {
            let everything = Scope { role: Role::Admin, app: None };
            return Ok((Grant::Scope(everything), "bootstrap".to_owned()));
        }
        if token.starts_with(NODE_TOKEN) {
            let is_node = self.keys.is_node_token(token);
            return if is_node { Ok((Grant::Node, "node".to_owned())) } else { Err(wrong()) };
        }
        match self.tokens.verify(token, unix_ms()) {
            Some(identity) => Ok((Grant::Scope(identity.scope), format!("token:{} {}", identity.id, identity.name))),
            None if self.tokens.is_ready() => Err(wrong()),
            None => Err(unavailable("this replica has not read the tokens yet")),
        }
    }
}

/// The same for who shows a client certificate.
fn bearer_of_certificate(connection: &Extensions) -> Result<(Grant, String), Status> {
    let certificates = connection.get::<TlsConnectInfo<SocketAddr>>().and_then(TlsConnectInfo::peer_certs);
    let Some(certificate) = certificates.as_ref().and_then(|chain| chain.first()) else {
        return Err(refusal(Code::Unauthenticated, "NO_TOKEN", "no admin token given, and no client certificate"));
    };
    let read = certificate::read(certificate);
    let (grant, name) = read.map_err(|why| refusal(Code::Unauthenticated, "WRONG_CERTIFICATE", why))?;
    Ok((grant, format!("certificate:{name}")))
}

/// Where the connection comes from.
fn peer(connection: &Extensions) -> String {
    let tls = connection.get::<TlsConnectInfo<SocketAddr>>().map(TlsConnectInfo::get_ref);
    tls.or_else(|| connection.get::<SocketAddr>()).map(ToString::to_string).unwrap_or_default()
}

/// The second word of `Bearer TOKEN`.
fn bearer_token(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(header.iter().position(|b| *b == b' ')?)?;
    scheme.eq_ignore_ascii_case(b"bearer").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use backbone::Backbone;

    const TOKEN: &str = "0123456789abcdef";

    fn doors(bootstrap: Option<&str>) -> Doors {
        let backbone = Backbone::memory(&backbone::Config::default());
        Doors {
            bootstrap: bootstrap.map(|token| AdminToken::new(token).unwrap()),
            tokens: AccessTokens::watch(backbone.access()),
            keys: Arc::new(ClusterKeys::generate()),
        }
    }

    fn admits(doors: &Doors, header: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.extend(header.map(|header| (header::AUTHORIZATION, header.parse().unwrap())));
        let path = "/fanfare.control.v1.AppService/GetApp";
        doors.admit(path, &headers, &Extensions::new(), "").is_ok()
    }

    #[test]
    fn only_the_token_lets_in() {
        let with = doors(Some(TOKEN));
        assert!(admits(&with, Some("Bearer 0123456789abcdef")));
        assert!(admits(&with, Some("bearer  0123456789abcdef")));
        let node = format!("Bearer {}", with.keys.node_token());
        for wrong in [
            None,
            Some(""),
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer 0123456789abcdeg"),
            Some("Bearer 0123456789abcde"),
            Some("Bearer 0123456789abcdef0"),
            Some("Basic 0123456789abcdef"),
            Some("0123456789abcdef"),
            Some("Bearer 0123456789abcdef 0123456789abcdef"),
            Some("Bearer fat_000000000000_0123456789"),
            Some("Bearer node_0123456789"),
            Some(node.as_str()),
        ] {
            assert!(!admits(&with, wrong), "{wrong:?}");
        }
        assert!(!admits(&doors(None), Some("Bearer 0123456789abcdef")), "without a bootstrap token none is right");
        assert!(!admits(&doors(None), Some("Bearer ")));
    }

    #[test]
    fn methods_without_a_rule_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap());
        let code = |path: &str, headers: &HeaderMap| {
            doors(Some(TOKEN)).admit(path, headers, &Extensions::new(), "").map(|_| ()).map_err(|status| status.code())
        };
        for path in ["/fanfare.control.v1.AppService/Other", "/", "", "/fanfare.control.v1.AppService/GetApp/"] {
            assert_eq!(code(path, &headers), Err(Code::Unimplemented), "{path}");
            assert_eq!(code(path, &HeaderMap::new()), Err(Code::Unauthenticated), "{path}");
        }
        assert_eq!(code("/grpc.health.v1.Health/Check", &HeaderMap::new()), Ok(()));
        assert_eq!(code("/fanfare.control.v1.LinkService/Attach", &headers), Err(Code::PermissionDenied));
    }
}
