//! A request's headers, in which form it is to be answered, and the answer.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::encode::error_body;
use crate::query::Query;
use crate::version::Version;
use crate::wire::{Format, to_vec};
use crate::{Code, ErrorInfo};

/// What browsers are told, so that pages of any origin may use the API.
pub mod cors {
    /// `Access-Control-Allow-Origin`.
    pub const ORIGIN: &str = "*";
    /// `Access-Control-Allow-Methods`.
    pub const METHODS: &str = "GET, POST, PUT, PATCH, DELETE, OPTIONS";
    /// `Access-Control-Allow-Headers`.
    pub const HEADERS: &str = "Authorization, Content-Type, Accept, X-Ably-Version, X-Ably-Lib, X-Ably-ClientId, \
         X-Ably-DeviceToken, Ably-Agent, X-Ably-Name, X-Ably-MessageId, X-Ably-Encoding, X-Ably-ConnectionKey, \
         Last-Event-ID, Cache-Control, Request-Id";
    /// `Access-Control-Expose-Headers`.
    pub const EXPOSED: &str = "Link, X-Ably-ErrorCode, X-Ably-ErrorMessage";
    /// `Access-Control-Max-Age`, in seconds: a day, which is more than browsers keep to.
    pub const MAX_AGE: &str = "86400";
}

/// The headers of a request that say something here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is its header's name")]
pub struct Headers<'a> {
    pub authorization: Option<&'a str>,
    pub accept: Option<&'a str>,
    pub content_type: Option<&'a str>,
    pub x_ably_version: Option<&'a str>,
    pub x_ably_client_id: Option<&'a str>,
    pub x_ably_name: Option<&'a str>,
    pub x_ably_message_id: Option<&'a str>,
    pub x_ably_encoding: Option<&'a str>,
    pub x_ably_connection_key: Option<&'a str>,
}

impl<'a> Headers<'a> {
    /// Takes them from wherever they are, by their names in lower case.
    pub fn read(get: impl Fn(&'static str) -> Option<&'a str>) -> Self {
        Self {
            authorization: get("authorization"),
            accept: get("accept"),
            content_type: get("content-type"),
            x_ably_version: get("x-ably-version"),
            x_ably_client_id: get("x-ably-clientid"),
            x_ably_name: get("x-ably-name"),
            x_ably_message_id: get("x-ably-messageid"),
            x_ably_encoding: get("x-ably-encoding"),
            x_ably_connection_key: get("x-ably-connectionkey"),
        }
    }

    /// Who the request says it is from: for [`crate::Identity::connecting_as`]. In base64, since names are Unicode and
    /// headers are not (40004).
    pub fn client_id(&self) -> Result<Option<String>, ErrorInfo> {
        let decode = |text: &str| {
            let bytes = STANDARD.decode(text.trim()).ok()?;
            String::from_utf8(bytes).ok()
        };
        let invalid = || Code::BadHeader.says("X-Ably-ClientId must be base64 of UTF-8");
        self.x_ably_client_id.map(|text| decode(text).ok_or_else(invalid)).transpose()
    }

    /// The media type of the body, in lower case and without parameters; empty if it is not said.
    pub(super) fn media_type(&self) -> String {
        let whole = self.content_type.unwrap_or_default();
        whole.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// In which form a request wants its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// The format of the answer. With an envelope it is JSON.
    pub format: Format,
    /// What the client speaks.
    pub version: Version,
    /// Whether status and headers go into the body, for clients that see nothing else.
    pub envelope: bool,
}

/// An answer, but for what concerns all of them (CORS, length).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The `Content-Type`, to the letter: SDKs compare it so.
    pub content_type: &'static str,
    /// Further headers; those of one name go on lines of their own.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Exchange {
    /// Reads `Accept`, `format`, `envelope` and the version. With the refusal comes the form to tell it in.
    pub fn read(query: &Query<'_>, headers: &Headers<'_>) -> Result<Self, (Self, ErrorInfo)> {
        let envelope = query.get("envelope") == Some("json");
        let accepted = if envelope { Some(Format::Json) } else { headers.accept.and_then(accepted) };
        let format = accepted.or_else(|| query.get("format").and_then(Format::from_query)).unwrap_or_default();
        let plain = Self { format, version: Version::LATEST, envelope };
        let version = headers.x_ably_version.or_else(|| query.get("v")).map(Version::parse).transpose();
        match version {
            Ok(version) => Ok(Self { version: version.unwrap_or_default(), ..plain }),
            Err(error) => Err((plain, error)),
        }
    }

    /// Answers with `value`.
    pub fn answer(&self, status: u16, value: &(impl Serialize + ?Sized)) -> Answer {
        self.with_body(status, self.body(value))
    }

    /// `value` in this exchange's format.
    pub(super) fn body(&self, value: &(impl Serialize + ?Sized)) -> Bytes {
        to_vec(self.format, value).into()
    }

    /// Answers with a body in this exchange's format.
    pub fn with_body(&self, status: u16, body: Bytes) -> Answer {
        self.finish(status, Vec::new(), body)
    }

    /// Answers with a page: a bare list, and links to other pages.
    pub fn page(&self, body: Bytes, links: Vec<String>) -> Answer {
        self.finish(200, links.into_iter().map(|link| ("link", link)).collect(), body)
    }

    /// Tells an error: its status, the same in headers and body.
    pub fn error(&self, error: &ErrorInfo) -> Answer {
        self.error_with(error, error_body(self.format, error))
    }

    /// Tells an error with a body that says more than that.
    pub(super) fn error_with(&self, error: &ErrorInfo, body: Bytes) -> Answer {
        let headers =
            vec![("x-ably-errorcode", error.code.to_string()), ("x-ably-errormessage", header_text(&error.message))];
        self.finish(error.status, headers, body)
    }

    fn finish(&self, status: u16, headers: Vec<(&'static str, String)>, body: Bytes) -> Answer {
        let content_type = self.format.content_type();
        if !self.envelope {
            return Answer { status, content_type, headers, body };
        }
        let enveloped = enveloped(status, content_type, headers, &body);
        Answer { status: 200, content_type, headers: Vec::new(), body: enveloped.into() }
    }
}

/// The first of the two formats that an `Accept` header names.
fn accepted(header: &str) -> Option<Format> {
    header.split(',').find_map(|entry| {
        let media_type = entry.split(';').next().unwrap_or_default().trim();
        Format::ALL.into_iter().find(|format| media_type.eq_ignore_ascii_case(format.content_type()))
    })
}

/// What a header can hold of a text.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' }).collect()
}

/// `{statusCode, response, headers}`, of which `response` is the JSON that was the body.
fn enveloped(status: u16, content_type: &str, headers: Vec<(&'static str, String)>, body: &[u8]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope<'a> {
        status_code: u16,
        response: Option<&'a RawValue>,
        headers: BTreeMap<&'static str, String>,
    }
    let mut all = BTreeMap::from([("content-type", content_type.to_owned())]);
    for (name, value) in headers {
        all.entry(name).and_modify(|values| *values = format!("{values}, {value}")).or_insert(value);
    }
    let response = serde_json::from_slice(body).ok();
    to_vec(Format::Json, &Envelope { status_code: status, response, headers: all })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(query: &str, headers: &Headers<'_>) -> Result<Exchange, (Exchange, u32)> {
        Exchange::read(&Query::parse(query).unwrap(), headers).map_err(|(exchange, error)| (exchange, error.code))
    }

    #[test]
    fn the_format_is_negotiated() {
        for (accept, query, expected) in [
            (None, "", Format::Json),
            (None, "format=msgpack", Format::MsgPack),
            (None, "format=html", Format::Json),
            (Some("application/json"), "format=msgpack", Format::Json),
            (Some("application/x-msgpack"), "format=json", Format::MsgPack),
            (Some("Application/X-MsgPack; q=0.9, application/json"), "", Format::MsgPack),
            (Some("text/html, application/json"), "", Format::Json),
            (Some("*/*"), "format=msgpack", Format::MsgPack),
            (Some("application/x-msgpack"), "envelope=json", Format::Json),
        ] {
            let headers = Headers { accept, ..Headers::default() };
            assert_eq!(read(query, &headers).unwrap().format, expected, "{accept:?} {query}");
        }
    }

    #[test]
    fn the_version_is_in_a_header_or_the_query() {
        let version = |x_ably_version, query| {
            let headers = Headers { x_ably_version, ..Headers::default() };
            read(query, &headers).map(|exchange| exchange.version).map_err(|(_, code)| code)
        };
        assert_eq!(version(None, ""), Ok(Version::LATEST));
        assert_eq!(version(None, "v=1.2"), Version::parse("1").map_err(|error| error.code));
        assert_eq!(version(Some("2"), "v=nonsense"), Version::parse("2").map_err(|error| error.code));
        assert_eq!(version(Some("nonsense"), ""), Err(40017));
        let (plain, _) = read("v=x&format=msgpack", &Headers::default()).unwrap_err();
        assert_eq!(plain.format, Format::MsgPack, "the refusal is told in the client's format");
    }

    #[test]
    fn errors_agree_with_themselves() {
        for format in Format::ALL {
            let exchange = Exchange { format, ..Exchange::default() };
            let answer = exchange.error(&Code::Capability.says("no ☃\n"));
            assert_eq!((answer.status, answer.content_type), (401, format.content_type()));
            let headers = [("x-ably-errorcode", "40160".to_owned()), ("x-ably-errormessage", "no ??".to_owned())];
            assert_eq!(answer.headers, headers);
            let body: Value = crate::wire::from_slice(format, &answer.body).unwrap();
            let error = json!({
                "code": 40160, "statusCode": 401, "message": "no ☃\n", "href": "https://help.ably.io/error/40160",
            });
            assert_eq!(body, json!({ "error": error }));
        }
    }

    #[test]
    fn an_envelope_holds_the_whole_answer() {
        let exchange = read("envelope=json", &Headers::default()).unwrap();
        let body = |answer: Answer| {
            assert_eq!((answer.status, answer.content_type, answer.headers), (200, "application/json", Vec::new()));
            serde_json::from_slice::<Value>(&answer.body).unwrap()
        };
        let links = vec!["<./a?b>; rel=\"first\"".to_owned(), "<./a?c>; rel=\"next\"".to_owned()];
        let page = body(exchange.page(Bytes::from_static(b"[1,2]"), links));
        let headers =
            json!({"content-type": "application/json", "link": "<./a?b>; rel=\"first\", <./a?c>; rel=\"next\""});
        assert_eq!(page, json!({"statusCode": 200, "response": [1, 2], "headers": headers}));
        let error = body(exchange.error(&Code::NotFound.info()));
        assert_eq!((&error["statusCode"], &error["response"]["error"]["code"]), (&json!(404), &json!(40400)));
        assert_eq!(error["headers"]["x-ably-errorcode"], json!("40400"));
    }

    #[test]
    fn the_client_id_is_in_base64() {
        let id =
            |text| Headers { x_ably_client_id: text, ..Headers::default() }.client_id().map_err(|error| error.code);
        assert_eq!(id(None), Ok(None));
        assert_eq!(id(Some("SsO8cmdlbg==")), Ok(Some("Jürgen".to_owned())));
        assert_eq!(id(Some("Jürgen")), Err(40004));
        assert_eq!(id(Some("/w==")), Err(40004));
    }

    #[test]
    fn headers_are_taken_by_name() {
        let headers =
            Headers::read(|name| if name == "content-type" { Some("Application/JSON; charset=utf-8") } else { None });
        assert_eq!(headers.media_type(), "application/json");
        assert_eq!(Headers::read(Some).x_ably_connection_key, Some("x-ably-connectionkey"));
    }
}
