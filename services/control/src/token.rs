//! The admin token, and the check of it on every call.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Shortest and longest token, in characters. 16 random hexadecimal digits are 64 bits, the least that cannot be
/// guessed over a network.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=512;

/// What lets a caller administer the cluster. Its debug form never shows it, and it has no display form.
#[derive(Clone)]
pub struct AdminToken(Arc<str>);

/// A text that is not an [`AdminToken`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("admin token must be {} to {} printable ASCII characters without spaces", LENGTH.start(), LENGTH.end())]
pub struct InvalidAdminToken;

impl AdminToken {
    /// Checks `token`, which travels in a header. White space around it, such as a file's last newline, is not part of
    /// it.
    pub fn new(token: &str) -> Result<Self, InvalidAdminToken> {
        let token = token.trim();
        if !LENGTH.contains(&token.len()) || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidAdminToken);
        }
        Ok(Self(token.into()))
    }

    /// The token itself, for sending it, or for showing it to the one who starts a development server.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let header = metadata.get("authorization").ok_or_else(|| Status::unauthenticated("no admin token given"))?;
        let (scheme, given) = split_scheme(header.as_encoded_bytes());
        // Compares in constant time for tokens of one length; the length is no secret.
        let right = scheme.eq_ignore_ascii_case(b"bearer") && bool::from(given.ct_eq(self.0.as_bytes()));
        if right { Ok(()) } else { Err(Status::unauthenticated("wrong admin token")) }
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// The two words of `Bearer TOKEN`.
fn split_scheme(header: &[u8]) -> (&[u8], &[u8]) {
    match header.iter().position(|b| *b == b' ') {
        Some(space) => (&header[..space], header[space..].trim_ascii()),
        None => (header, &[]),
    }
}

/// Refuses calls that do not carry the token.
#[derive(Clone, Debug)]
pub(crate) struct RequireToken(pub(crate) AdminToken);

impl Interceptor for RequireToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match self.0.check(request.metadata()) {
            Ok(()) => Ok(request),
            Err(status) => {
                tracing::info!(reason = status.message(), "control call refused");
                Err(status)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn check(header: Option<&str>) -> bool {
        let mut metadata = MetadataMap::new();
        if let Some(header) = header {
            metadata.insert("authorization", header.parse().unwrap());
        }
        AdminToken::new(TOKEN).unwrap().check(&metadata).is_ok()
    }

    #[test]
    fn only_the_token_lets_in() {
        assert!(check(Some("Bearer 0123456789abcdef")));
        assert!(check(Some("bearer  0123456789abcdef")));
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
        ] {
            assert!(!check(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn tokens_that_cannot_be_guessed_or_sent_are_refused() {
        assert_eq!(AdminToken::new(" 0123456789abcdef\n").unwrap().expose(), TOKEN);
        for bad in ["", "short", "0123456789 abcdef", "0123456789abcdéf", &"x".repeat(513)] {
            assert!(AdminToken::new(bad).is_err(), "{bad}");
        }
        assert!(!format!("{:?}", AdminToken::new(TOKEN).unwrap()).contains("0123"));
    }
}
