//! A plain HTTP/1.1 client.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Plane, TOKEN};

/// Calls with one token.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    address: SocketAddr,
    token: Option<String>,
}

/// What came back, all of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// An answer that is still coming.
#[derive(Debug)]
pub(crate) struct Coming {
    pub(crate) answer: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

impl Http {
    pub(crate) fn admin(plane: &Plane) -> Self {
        Self::with(plane, TOKEN)
    }

    pub(crate) fn with(plane: &Plane, token: &str) -> Self {
        Self { address: plane.address, token: Some(token.to_owned()) }
    }

    pub(crate) fn nobody(plane: &Plane) -> Self {
        Self { address: plane.address, token: None }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    /// A call with these headers and this body beside the token.
    pub(crate) async fn raw(&self, verb: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut coming = self.begin(verb, path, headers, body).await;
        let body = coming.answer.body_mut().collect().await.unwrap().to_bytes();
        Answer {
            status: coming.answer.status().as_u16(),
            headers: coming.answer.headers().clone(),
            body: serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}")),
        }
    }

    pub(crate) async fn call(&self, verb: &str, path: &str, body: Option<Value>) -> Answer {
        match body {
            Some(body) => self.raw(verb, path, &[("content-type", "application/json")], &body.to_string()).await,
            None => self.raw(verb, path, &[], "").await,
        }
    }

    /// The body of an answer that must be good.
    pub(crate) async fn good(&self, verb: &str, path: &str, body: Option<Value>) -> Value {
        let answer = self.call(verb, path, body).await;
        assert_eq!(answer.status, 200, "{verb} {path}: {answer:?}");
        answer.body
    }

    pub(crate) async fn begin(&self, verb: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Coming {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = AbortOnDropHandle::new(tokio::spawn(async move { connection.await.unwrap_or_default() }));
        let mut request = Request::builder().method(verb).uri(path).header("host", "control");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        Coming { answer: sender.send_request(request).await.unwrap(), _connection: connection }
    }
}

impl Answer {
    /// Status and reason of a refusal.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        let error = &self.body["error"];
        assert_eq!(error["code"], self.status, "{self:?}");
        let info = &error["details"][0];
        assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo", "{self:?}");
        assert_eq!(info["domain"], "fanfare");
        (self.status, info["reason"].as_str().unwrap())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Coming {
    /// What comes next, as it was sent.
    pub(crate) async fn piece(&mut self) -> Option<String> {
        let frame = testkit::within("the next piece of a stream", self.answer.body_mut().frame()).await?;
        Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    }
}
