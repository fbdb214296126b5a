//! Where web pages that connect may come from.

/// Longest pattern in bytes.
const MAX_BYTES: usize = 256;

/// A pattern for origins: `https://app.example.com`, `app.example.com` for any scheme and port, or `*.example.com` for
/// every subdomain, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginPattern(String);

/// A text that is not an [`OriginPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an allowed origin is a host, or a scheme and a host, as in https://app.example.com or *.example.com")]
pub struct InvalidOriginPattern;

impl OriginPattern {
    /// Checks `pattern`; case does not matter.
    pub fn new(pattern: &str) -> Result<Self, InvalidOriginPattern> {
        let pattern = pattern.to_ascii_lowercase();
        let host = pattern.split_once("://").map_or(pattern.as_str(), |(_, host)| host);
        let host = host.strip_prefix("*.").unwrap_or(host);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
        let sound = !host.is_empty() && host.bytes().all(allowed) && pattern.len() <= MAX_BYTES;
        // Browsers leave out the port that the scheme implies.
        let implied = [("https://", ":443"), ("http://", ":80")];
        let implied = implied.iter().find(|(scheme, port)| pattern.starts_with(scheme) && pattern.ends_with(port));
        let pattern = implied.and_then(|(_, port)| pattern.strip_suffix(port)).unwrap_or(&pattern).to_owned();
        if sound { Ok(Self(pattern)) } else { Err(InvalidOriginPattern) }
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches the value of an `Origin` header.
    pub fn matches(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        let Some((scheme, host)) = origin.split_once("://") else { return false };
        let (wanted_scheme, wanted) = match self.0.split_once("://") {
            Some((scheme, host)) => (Some(scheme), host),
            None => (None, self.0.as_str()),
        };
        // A port that the pattern does not name may be any, unless it names the scheme.
        let port = host.rfind(':').filter(|at| !host[*at..].contains(']'));
        let bare = port.filter(|_| wanted_scheme.is_none()).map_or(host, |at| &host[..at]);
        wanted_scheme.is_none_or(|wanted| wanted == scheme) && (is_host(wanted, host) || is_host(wanted, bare))
    }
}

fn is_host(wanted: &str, host: &str) -> bool {
    match wanted.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
        None => wanted == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, origin, matches) in [
            ("https://app.example.com", "https://app.example.com", true),
            ("https://app.example.com", "http://app.example.com", false),
            ("https://app.example.com", "https://app.example.com:8443", false),
            ("https://app.example.com:8443", "https://app.example.com:8443", true),
            ("https://app.example.com:443", "https://app.example.com", true),
            ("App.Example.com", "https://app.example.COM:8443", true),
            ("app.example.com", "https://app.example.com.evil.org", false),
            ("*.example.com", "https://a.b.example.com", true),
            ("*.example.com", "https://example.com", false),
            ("*.example.com", "https://badexample.com", false),
            ("localhost:3000", "http://localhost:3000", true),
            ("localhost:3000", "http://localhost:3001", false),
            ("localhost", "http://localhost:3001", true),
            ("[::1]", "http://[::1]:3000", true),
            ("example.com", "null", false),
        ] {
            assert_eq!(OriginPattern::new(pattern).unwrap().matches(origin), matches, "{pattern} {origin}");
        }
    }

    #[test]
    fn no_patterns() {
        for pattern in ["", "*", "https://", "*.", "a b", "https://a/b", "a*b"] {
            assert_eq!(OriginPattern::new(pattern), Err(InvalidOriginPattern), "{pattern}");
        }
    }
}
