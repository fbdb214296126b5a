//! Ably's REST on real sockets, in both formats.

mod forms;
mod history;
mod presence;
mod publish;
mod stats;
mod tokens;

use ably::{Format, wire};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    /// In lower case.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, of several lines the first.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.head.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body in the format that the answer says it has.
    pub(super) fn value(&self) -> Value {
        let format = match self.header("content-type") {
            Some("application/json") => Format::Json,
            Some("application/x-msgpack") => Format::MsgPack,
            other => panic!("content type {other:?} of {}: {:?}", self.status, String::from_utf8_lossy(&self.body)),
        };
        wire::from_slice(format, &self.body).unwrap()
    }

    /// Status and code of an error, which header and body agree on.
    pub(super) fn refused(&self) -> (u16, u64) {
        let error = &self.value()["error"];
        let code = error["code"].as_u64().unwrap_or_else(|| panic!("no error but {} {}", self.status, self.value()));
        assert_eq!(error["statusCode"], self.status);
        assert_eq!(self.header("x-ably-errorcode"), Some(code.to_string().as_str()));
        assert!(self.header("x-ably-errormessage").is_some());
        (self.status, code)
    }

    /// The target of the link with this relation, below `path`.
    fn link(&self, path: &str, relation: &str) -> Option<String> {
        let link = self.headers("link").find(|link| link.ends_with(&format!("; rel=\"{relation}\"")))?;
        let (target, _) = link.strip_prefix("<./").unwrap().split_once('>').unwrap();
        let (segment, query) = target.split_once('?').unwrap();
        assert!(path.ends_with(&format!("/{segment}")), "{link}");
        Some(format!("{path}?{query}"))
    }
}

/// The header of a client with the key.
pub(super) fn basic() -> String {
    basic_of("app-key:app-secret")
}

fn basic_of(key: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(key))
}

pub(super) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {}\r\n", STANDARD.encode(token))
}

impl Node {
    /// A request on a socket of its own.
    pub(super) fn exchange(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        let mut stream = self.tcp();
        stream.write_all(head.as_bytes()).unwrap();
        // An answer may come before a large body was taken.
        stream.write_all(body).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        // Values keep their case.
        let head = head.lines().map(|line| match line.split_once(':') {
            Some((name, value)) => format!("{}:{value}\n", name.to_ascii_lowercase()),
            None => format!("{line}\n"),
        });
        Answer { status, head: head.collect(), body: answer[end + 4..].to_vec() }
    }

    /// With the key.
    pub(super) fn ably_get(&self, target: &str) -> Answer {
        self.exchange("GET", target, &basic(), &[])
    }

    /// With the key, in JSON.
    pub(super) fn ably_post(&self, target: &str, body: &Value) -> Answer {
        let headers = format!("{}Content-Type: application/json\r\n", basic());
        self.exchange("POST", target, &headers, body.to_string().as_bytes())
    }

    /// Publishes on `channel`, and gives the answer's body.
    pub(super) fn ably_publish(&self, channel: &str, body: &Value) -> Value {
        let answer = self.ably_post(&format!("/channels/{channel}/messages"), body);
        assert_eq!(answer.status, 201, "{}", answer.value());
        answer.value()
    }

    /// The names of all messages, over all pages.
    fn all_pages(&self, path: &str, query: &str, mut between: impl FnMut()) -> Vec<Value> {
        let mut target = format!("{path}?{query}");
        let mut items = Vec::new();
        loop {
            let answer = self.ably_get(&target);
            assert_eq!(answer.status, 200, "{}", answer.value());
            items.extend(answer.value().as_array().unwrap().iter().cloned());
            match answer.link(path, "next") {
                Some(next) => target = next,
                None => return items,
            }
            between();
        }
    }
}

/// One field of each item.
fn each(items: &[Value], field: &str) -> Vec<String> {
    items.iter().map(|item| item[field].as_str().unwrap_or_default().to_owned()).collect()
}
