//! The token that a new cluster is set up with.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

/// Shortest and longest token, in characters. 16 random hexadecimal digits are 64 bits, the least that cannot be
/// guessed over a network.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=512;

/// What lets a caller administer the cluster before there are other tokens. Its debug form never shows it, and it has no display form.
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

    /// Whether `given` is this token. Takes the same time for every wrong one of its length, which is no secret.
    pub(crate) fn is(&self, given: &str) -> bool {
        given.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn tokens_that_cannot_be_guessed_or_sent_are_refused() {
        assert_eq!(AdminToken::new(" 0123456789abcdef\n").unwrap().expose(), TOKEN);
        for bad in ["", "short", "0123456789 abcdef", "0123456789abcdéf", &"x".repeat(513)] {
            assert!(AdminToken::new(bad).is_err(), "{bad}");
        }
        assert!(!format!("{:?}", AdminToken::new(TOKEN).unwrap()).contains("0123"));
    }
}
