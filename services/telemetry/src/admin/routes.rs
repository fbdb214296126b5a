//! From an admin request to its answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::Admin;

/// Longest body of a request: a log filter is a line.
const MAX_BODY_BYTES: usize = 4 * 1024;

/// How long a body may take to arrive: until then it takes up one of few connections.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// The version of the text format that the exposition follows.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn answer<B>(admin: &Admin, request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    let put = request.method() == Method::PUT;
    match request.uri().path() {
        "/livez" if get => response(StatusCode::OK, TEXT, "alive\n"),
        "/readyz" if get => {
            let report = admin.readiness.report();
            let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            response(status, TEXT, report.to_string())
        }
        "/metrics" if get => response(StatusCode::OK, EXPOSITION, admin.exporter.render()),
        "/metrics/apps" if get => match &admin.apps {
            Some(apps) => response(StatusCode::OK, EXPOSITION, apps.render()),
            None => response(
                StatusCode::NOT_FOUND,
                TEXT,
                "metrics by app are off; the setting metrics.apps says for how many apps there are some\n",
            ),
        },
        "/version" if get => response(StatusCode::OK, JSON, version(admin)),
        "/log-level" if get => response(StatusCode::OK, TEXT, format!("{}\n", admin.log_filter.get())),
        "/log-level" if put => set_log_level(admin, request.into_body()).await,
        "/log-level" => not_allowed("GET, HEAD, PUT"),
        "/livez" | "/readyz" | "/metrics" | "/metrics/apps" | "/version" => not_allowed("GET, HEAD"),
        _ => response(
            StatusCode::NOT_FOUND,
            TEXT,
            "not found; there are /livez, /readyz, /metrics, /metrics/apps, /version and /log-level\n",
        ),
    }
}

async fn set_log_level<B>(admin: &Admin, body: B) -> Response<Full<Bytes>>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Ok(body) = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await else {
        return response(StatusCode::REQUEST_TIMEOUT, TEXT, "the body did not arrive in time\n");
    };
    let Ok(body) = body else {
        return response(StatusCode::PAYLOAD_TOO_LARGE, TEXT, "the body must be a log filter of at most 4 KiB\n");
    };
    let body = body.to_bytes();
    let Ok(filter) = std::str::from_utf8(&body).map(str::trim) else {
        return response(StatusCode::BAD_REQUEST, TEXT, "the body must be UTF-8\n");
    };
    if filter.is_empty() {
        return response(StatusCode::BAD_REQUEST, TEXT, "the body must be a log filter, as in info,edge=debug\n");
    }
    match admin.log_filter.set(filter) {
        Ok(()) => {
            tracing::info!(filter, "log filter changed");
            response(StatusCode::OK, TEXT, format!("{filter}\n"))
        }
        Err(error) => response(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n")),
    }
}

/// None of these values needs escaping.
fn version(admin: &Admin) -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let commit = admin.commit.map(|commit| format!("\"commit\":\"{commit}\",")).unwrap_or_default();
    format!("{{\"version\":\"{}\",{commit}\"os\":\"{os}\",\"arch\":\"{arch}\"}}\n", admin.version)
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("use {allowed}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
