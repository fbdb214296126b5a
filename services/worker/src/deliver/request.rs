//! One request to a receiver.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use auth::Signer;
use bytes::Bytes;
use channels::{Key, Webhook};
use clock::unix_ms;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::rt::Executor;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connect::{ConnectError, Connector};

/// How long an unused connection is kept: a little less than the shortest habit among receivers (5 s, node), so that
/// requests do not run into connections that are just being closed.
const IDLE: Duration = Duration::from_secs(4);

/// How much of an answer is read, and for how long, so that its connection can be used again. Nobody looks at it.
const MAX_ANSWER_BYTES: usize = 64 << 10;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a request was of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// An answer other than 2xx.
    #[error("answered {0}{explained}", explained = explained(*.0))]
    Status(StatusCode),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Webhooks may not go there.
    #[error("{0}")]
    Forbidden(String),
    /// No connection.
    #[error("{0}")]
    Connect(String),
    /// The connection broke, or what came was no HTTP.
    #[error("no answer: {0}")]
    Broken(String),
    /// Nothing to sign with.
    #[error("the app has no active key to sign with")]
    NoKey,
    /// The webhook's settings make no request.
    #[error("cannot be asked: {0}")]
    Unsendable(#[from] hyper::http::Error),
}

fn explained(status: StatusCode) -> &'static str {
    if status.is_redirection() { "; redirects are not followed" } else { "" }
}

impl RequestError {
    /// Whether trying again is of no use.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Forbidden(_) | Self::Unsendable(_) => true,
            Self::Connect(_) | Self::Status(_) | Self::TimedOut(_) | Self::Broken(_) | Self::NoKey => false,
        }
    }
}

/// Runs the connections of one webhook, and ends them with it.
#[derive(Clone, Debug, Default)]
struct Connections(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Connections {
    fn execute(&self, connection: F) {
        let mut set = self.0.lock();
        while set.try_join_next().is_some() {}
        set.spawn(connection);
    }
}

/// Sends the requests of one webhook.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
}

impl Sender {
    pub(super) fn new(connector: Connector, timeout: Duration) -> Self {
        let client = Client::builder(Connections::default())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            // As the protocol writes them: PHP code reads them case-sensitively.
            .http1_title_case_headers(true)
            .build(connector);
        Self { client, timeout }
    }

    /// Posts `body` and waits for the answer.
    pub(super) async fn post(&self, webhook: &Webhook, key: Option<&Key>, body: Bytes) -> Result<(), RequestError> {
        let request = request(webhook, key.ok_or(RequestError::NoKey)?, body)?;
        let answered = timeout(self.timeout, self.client.request(request)).await;
        let response = answered.map_err(|_| RequestError::TimedOut(self.timeout))?.map_err(broken)?;
        let status = response.status();
        read(response).await;
        if status.is_success() { Ok(()) } else { Err(RequestError::Status(status)) }
    }
}

fn request(webhook: &Webhook, key: &Key, body: Bytes) -> Result<Request<Full<Bytes>>, RequestError> {
    let uri: Uri = webhook.url.parse().map_err(hyper::http::Error::from)?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(CONTENT_TYPE, "application/json")
        .header("x-pusher-key", key.name.as_str())
        .header("x-pusher-signature", Signer::for_receivers(key, unix_ms()).webhook(&body))
        .body(Full::new(body))?;
    for (name, value) in &webhook.headers {
        let name = HeaderName::try_from(name).map_err(hyper::http::Error::from)?;
        let value = HeaderValue::try_from(value).map_err(hyper::http::Error::from)?;
        request.headers_mut().append(name, value);
    }
    Ok(request)
}

/// Reads what there is of an answer. Its end, or that it has none, changes nothing.
async fn read(response: Response<hyper::body::Incoming>) {
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
    if let Ok(Err(error)) = timeout(ANSWER_TIMEOUT, body).await {
        tracing::trace!(error, "the rest of an answer was not read");
    }
}

/// The client wraps what the connector says.
fn broken(error: hyper_util::client::legacy::Error) -> RequestError {
    let mut next: Option<&(dyn Error + 'static)> = Some(&error);
    let mut innermost = String::new();
    while let Some(cause) = next {
        match cause.downcast_ref::<ConnectError>() {
            Some(refused @ (ConnectError::Forbidden { .. } | ConnectError::NoHost)) => {
                return RequestError::Forbidden(refused.to_string());
            }
            Some(failed @ (ConnectError::Resolve { .. } | ConnectError::Connect { .. } | ConnectError::Tls { .. })) => {
                return RequestError::Connect(failed.to_string());
            }
            None => innermost = cause.to_string(),
        }
        next = cause.source();
    }
    RequestError::Broken(innermost)
}
