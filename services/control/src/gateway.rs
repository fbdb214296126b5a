//! The API as HTTP and JSON, on the listener of the gRPC API.
//!
//! Owns the way from an HTTP request to the gRPC call that its path is annotated with, and from the answer back. There
//! is no code for any method: routes, messages and the OpenAPI document come from the descriptors of `control.proto`.
//! Deliberately knows nothing of callers and what they may: each call goes through the same checks, in the same process,
//! as one that came as gRPC, with the caller's `authorization` header and what is known of the connection. A request's
//! fields are not looked at before those checks have let it in.
//!
//! What is not `application/grpc` is for the gateway. Why it is our own is in `docs/decisions/0008-http-gateway.md`.

mod answer;
mod binding;
mod codec;
mod openapi;
mod routes;

use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use proto::json::prost_reflect::DynamicMessage;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::StdError;
use tonic::codegen::http::request::Parts;
use tonic::codegen::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use self::answer::Form;
use self::codec::Dynamic;
use self::routes::{Found, NoRoute, Route, Routes};
use crate::status::{invalid, refusal};

/// Where the OpenAPI document is. Open to everybody: it is in the public repository, too.
const DOCUMENT_PATH: &str = "/v1/openapi.json";

static ROUTES: LazyLock<Routes> = LazyLock::new(|| Routes::new(proto::json::descriptors()));
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi::document(&ROUTES).into());

/// Puts the gateway in front of the checks and the services behind them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatewayLayer {
    /// Largest body of a request, in bytes.
    pub(crate) max_body_bytes: usize,
    /// How long a stream may say nothing.
    pub(crate) beat: Duration,
}

impl<S> Layer<S> for GatewayLayer {
    type Service = Gateway<S>;

    fn layer(&self, inner: S) -> Gateway<S> {
        Gateway { inner, settings: *self }
    }
}

/// A service that takes gRPC as it is, and everything else as JSON.
#[derive(Clone, Debug)]
pub(crate) struct Gateway<S> {
    inner: S,
    settings: GatewayLayer,
}

impl<S> Service<Request<Body>> for Gateway<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<StdError> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if is_grpc(request.headers()) {
            return self.inner.call(request).boxed();
        }
        let (inner, settings) = (self.inner.clone(), self.settings);
        async move {
            let (head, body) = request.into_parts();
            Ok(settings.answer(inner, head, body).await)
        }
        .boxed()
    }
}

impl GatewayLayer {
    async fn answer<S>(self, inner: S, head: Parts, body: Body) -> Response<Body>
    where
        S: GrpcService<Body, ResponseBody = Body> + Send,
        S::Future: Send,
    {
        let path = head.uri.path();
        if path == DOCUMENT_PATH {
            return match head.method {
                Method::GET => answer::document(StatusCode::OK, DOCUMENT.clone()),
                _ => wrong_verb(&[Method::GET]),
            };
        }
        let found = match ROUTES.find(&head.method, path) {
            Ok(found) => found,
            Err(NoRoute::Verb(verbs)) => return wrong_verb(&verbs),
            Err(NoRoute::Path) => {
                return answer::refusal(&refusal(Code::NotFound, "NO_SUCH_PATH", format!("there is no {path}")));
            }
        };
        if found.route.verb != Method::GET && is_cross_site(&head.headers) {
            let why = "no other site's pages may change anything";
            return answer::refusal(&refusal(Code::PermissionDenied, "CROSS_SITE", why));
        }
        if !is_json(&head.headers) {
            let status = refusal(Code::InvalidArgument, "CONTENT_TYPE", "a body has to be application/json");
            return answer::refusal_as(StatusCode::UNSUPPORTED_MEDIA_TYPE, &status);
        }
        let route = found.route;
        let form = Form::wanted(&head.headers);
        match self.call(inner, found, head, body).await {
            Ok(mut answers) if !route.method.is_server_streaming() => match only(&mut answers).await {
                Ok(message) => answer::one(&message),
                Err(status) => answer::refusal(&status),
            },
            Ok(answers) => answer::many(answers, form, self.beat),
            Err(Refused { code: Some(code), status }) => answer::refusal_as(code, &status),
            Err(Refused { code: None, status }) => answer::refusal(&status),
        }
    }

    /// Makes the call that a request stands for. The request is read when the service asks for its message, which is
    /// after the checks.
    async fn call<S>(self, inner: S, found: Found<'static>, head: Parts, body: Body) -> Result<Answers, Refused>
    where
        S: GrpcService<Body, ResponseBody = Body> + Send,
        S::Future: Send,
    {
        let Route { method, path, .. } = found.route;
        let Parts { uri, headers, extensions, .. } = head;
        let mut handed_on = HeaderMap::new();
        handed_on.extend(headers.get(header::AUTHORIZATION).map(|value| (header::AUTHORIZATION, value.clone())));
        let (refuse, refused) = oneshot::channel();
        let asked = stream::once(async move {
            let read = self.read(&found, uri.query().unwrap_or_default(), body).await;
            // Whoever waits for it is there until the call has ended.
            read.map_err(|why| refuse.send(why).ok()).ok()
        });
        let asked = asked.filter_map(std::future::ready);
        let request = tonic::Request::from_parts(MetadataMap::from_headers(handed_on), extensions, asked);
        let mut services = Grpc::new(inner).max_decoding_message_size(usize::MAX);
        let ready = services.ready().await.map_err(|error| Status::from_error(error.into()));
        let called = match ready {
            Ok(()) => services.streaming(request, path.clone(), Dynamic(method.output())).await,
            Err(status) => Err(status),
        };
        let mut refused = refused;
        match (refused.try_recv(), called) {
            (Ok(why), _) => Err(why),
            (Err(_), Ok(answers)) => Ok(answers.into_inner()),
            (Err(_), Err(status)) => Err(status.into()),
        }
    }

    /// The message that a request means.
    async fn read(self, found: &Found<'_>, query: &str, body: Body) -> Result<DynamicMessage, Refused> {
        let body = match Limited::new(body, self.max_body_bytes).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let why = format!("the body is longer than {} bytes", self.max_body_bytes);
                let status = refusal(Code::OutOfRange, "BODY_TOO_LARGE", why);
                return Err(Refused { code: Some(StatusCode::PAYLOAD_TOO_LARGE), status });
            }
            Err(error) => {
                return Err(
                    refusal(Code::InvalidArgument, "BODY_BROKEN", format!("the body broke off: {error}")).into()
                );
            }
        };
        binding::message(found, query, &body).map_err(|mistake| invalid(vec![mistake]).into())
    }
}

type Answers = tonic::Streaming<DynamicMessage>;

/// Why there is no answer.
#[derive(Debug)]
struct Refused {
    /// Where it is not the one that belongs to the status.
    code: Option<StatusCode>,
    status: Status,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self { code: None, status }
    }
}

/// The one answer of a call that has one.
async fn only(answers: &mut Answers) -> Result<DynamicMessage, Status> {
    let message = answers.message().await?;
    // How the call ended stands behind its message.
    answers.message().await?;
    message.ok_or_else(|| refusal(Code::Internal, "NO_ANSWER", "the call ended without an answer"))
}

fn wrong_verb(verbs: &[Method]) -> Response<Body> {
    let allowed = verbs.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let status = refusal(Code::Unimplemented, "NO_SUCH_VERB", format!("only {allowed} can be done here"));
    let mut answer = answer::refusal_as(StatusCode::METHOD_NOT_ALLOWED, &status);
    answer.headers_mut().extend(HeaderValue::try_from(allowed).map(|allowed| (header::ALLOW, allowed)));
    answer
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether a body, if there is one, is said to be JSON. Without a length there may be one.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let is_empty = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
        && !headers.contains_key(header::TRANSFER_ENCODING);
    kind.map_or(is_empty, |kind| kind.eq_ignore_ascii_case("application/json"))
}

/// Whether a page of another site makes this request. Browsers show client certificates by themselves, so a page could
/// do harm without ever seeing an answer. They say where a page is from in `Sec-Fetch-Site`; old ones in `Origin` alone.
fn is_cross_site(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-site") {
        Some(site) => site != "same-origin" && site != "none",
        None => headers.contains_key(header::ORIGIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        HeaderMap::from_iter(pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())))
    }

    #[test]
    fn bodies_are_json() {
        assert!(is_json(&headers(&[])));
        assert!(is_json(&headers(&[("content-length", "0")])));
        assert!(is_json(&headers(&[("content-type", "application/json"), ("content-length", "2")])));
        assert!(is_json(&headers(&[("content-type", "Application/JSON; charset=utf-8")])));
        assert!(!is_json(&headers(&[("content-length", "2")])));
        assert!(!is_json(&headers(&[("transfer-encoding", "chunked")])));
        assert!(!is_json(&headers(&[("content-type", "application/x-www-form-urlencoded")])));
        assert!(!is_json(&headers(&[("content-type", "text/plain"), ("content-length", "0")])));
    }

    #[test]
    fn pages_of_other_sites_are_known() {
        assert!(!is_cross_site(&headers(&[])));
        assert!(!is_cross_site(&headers(&[("sec-fetch-site", "none")])));
        assert!(!is_cross_site(&headers(&[("sec-fetch-site", "same-origin"), ("origin", "https://a.example")])));
        assert!(is_cross_site(&headers(&[("sec-fetch-site", "same-site")])));
        assert!(is_cross_site(&headers(&[("sec-fetch-site", "cross-site")])));
        assert!(is_cross_site(&headers(&[("origin", "null")])));
    }
}
