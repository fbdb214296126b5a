//! What a client asks for when it opens a WebSocket (spec §3.1).

use crate::credentials::Credentials;
use crate::query::Query;
use crate::wire::Format;
use crate::{Code, ErrorInfo, Version};

/// A checked request for a connection. What else is in the query is passed over.
#[derive(Clone, Debug)]
pub struct Connect {
    /// What the client presents of itself.
    pub credentials: Credentials,
    /// Who it says it is.
    pub client_id: Option<String>,
    /// Whether it wants heartbeats as frames; otherwise it sees WebSocket pings.
    pub heartbeats: bool,
    /// Whether it wants its own messages back.
    pub echo: bool,
    /// The key of the connection that it wants to go on with. Of `resume` and `recover`, which differ for clients only, the
    /// former counts.
    pub resume: Option<String>,
}

impl Connect {
    /// Reads the query, and the `Authorization` header if there is one. The format is there in any case, since a refusal is
    /// told in it.
    pub fn parse(query: &str, authorization: Option<&str>) -> (Format, Result<Self, ErrorInfo>) {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(error) => return (Format::default(), Err(error)),
        };
        match query.get("format").map(|word| Format::from_query(word).ok_or(word)) {
            None => (Format::default(), Self::read(&query, authorization)),
            Some(Ok(format)) => (format, Self::read(&query, authorization)),
            Some(Err(word)) => {
                (Format::default(), Err(Code::BadRequest.says(format!("format {word:?} is neither json nor msgpack"))))
            }
        }
    }

    fn read(query: &Query<'_>, authorization: Option<&str>) -> Result<Self, ErrorInfo> {
        // Nothing that a connection is told depends on it.
        query.get("v").map(Version::parse).transpose()?;
        let some = |name: &str| query.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
        Ok(Self {
            credentials: Credentials::find(authorization, query)?,
            client_id: some("clientId"),
            heartbeats: query.get("heartbeats") == Some("true"),
            echo: query.get("echo") != Some("false"),
            resume: some("resume").or_else(|| some("recover")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Connect, u32> {
        Connect::parse(query, None).1.map_err(|error| error.code)
    }

    #[test]
    fn what_sdks_send() {
        let (format, connect) = Connect::parse(
            "key=app.k:secret&format=msgpack&heartbeats=true&echo=false&clientId=J%C3%BCrgen&v=6&resume=c0nnA%21k1&agent=x&stream=1",
            None,
        );
        let connect = connect.unwrap();
        assert_eq!(format, Format::MsgPack);
        assert!(connect.heartbeats && !connect.echo && connect.credentials.is_basic());
        assert_eq!(connect.client_id.as_deref(), Some("Jürgen"));
        assert_eq!(connect.resume.as_deref(), Some("c0nnA!k1"));
        let plain = read("key=app.k:secret").unwrap();
        assert!(!plain.heartbeats && plain.echo && plain.resume.is_none() && plain.client_id.is_none());
        assert_eq!(read("key=app.k:secret&recover=a!b").unwrap().resume.as_deref(), Some("a!b"));
        assert_eq!(
            Connect::parse("v=2", Some("Basic YXBwLms6c2VjcmV0")).1.map(|connect| connect.credentials.is_basic()),
            Ok(true)
        );
    }

    #[test]
    fn any_version_but_garbage() {
        for version in ["1.0", "1.2", "2", "6", "17"] {
            assert!(read(&format!("key=app.k:secret&v={version}")).is_ok(), "{version}");
        }
        for version in ["", "abc", "1;2", "123456789"] {
            assert_eq!(read(&format!("key=app.k:secret&v={version}")).map(drop), Err(40017), "{version}");
        }
    }

    #[test]
    fn a_refusal_has_a_format() {
        let (format, refused) = Connect::parse("format=msgpack", None);
        assert_eq!((format, refused.map(drop).map_err(|error| error.code)), (Format::MsgPack, Err(40101)));
        let (format, refused) = Connect::parse("format=xml&key=app.k:secret", None);
        assert_eq!((format, refused.map(drop).map_err(|error| error.code)), (Format::Json, Err(40000)));
    }
}
