//! Signing for clients of the Ably protocol: what an app's server would hand to them.

use std::time::Duration;

use ably::credentials::{JwtClaims, Seconds, TokenClaims, TokenRequest, capability_text, parse_capability};
use channels::{AppId, KeyName};
use clap::Args;

use super::{Problem, Secrets};

/// What a token is for.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Key name
    #[arg(long)]
    key: String,
    #[command(flatten)]
    secret: Secrets,
    /// Whom it is for; * for whoever its holder says [default: nobody]
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// What it allows, as in {"chat:*": ["subscribe"]}; never more than the key [default: what the key allows]
    #[arg(long, value_name = "JSON")]
    capability: Option<String>,
    /// How long it lives, at most 24h, or 1h if the key's tokens can be revoked
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = crate::config::duration)]
    ttl: Duration,
}

impl Wanted {
    fn key(&self) -> Result<KeyName, Problem> {
        Ok(KeyName::new(&self.key)?)
    }

    /// As libraries write it: without blanks, and sorted.
    fn capability(&self) -> Result<Option<String>, Problem> {
        let canonical = |text: &String| parse_capability(text).map(|capability| capability_text(&capability));
        Ok(self.capability.as_ref().map(canonical).transpose()?)
    }

    fn ttl_ms(&self) -> u64 {
        clock::millis(self.ttl)
    }
}

/// A JWT to sign.
#[derive(Args, Debug, Default)]
pub(crate) struct SignJwt {
    #[command(flatten)]
    wanted: Wanted,
    /// Under which name it can be revoked together with others
    #[arg(long, value_name = "NAME")]
    revocation_key: Option<String>,
}

impl SignJwt {
    pub(super) fn sign(&self, now_seconds: u64) -> Result<String, Problem> {
        let claims = JwtClaims {
            issued: Seconds::Whole(now_seconds),
            expires: Seconds::Whole(now_seconds.saturating_add(self.wanted.ttl.as_secs())),
            capability: self.wanted.capability()?,
            client_id: self.wanted.client_id.clone(),
            revocation_key: self.revocation_key.clone(),
        };
        Ok(claims.sign(&self.wanted.key()?, &self.wanted.secret.required()?))
    }
}

/// A token request to sign.
#[derive(Args, Debug, Default)]
pub(crate) struct SignTokenRequest {
    #[command(flatten)]
    wanted: Wanted,
}

impl SignTokenRequest {
    pub(super) fn sign(&self, now_ms: u64, nonce: u64) -> Result<String, Problem> {
        let wanted = &self.wanted;
        let request = TokenRequest {
            key_name: wanted.key()?.to_string(),
            ttl: Some(wanted.ttl_ms()),
            capability: wanted.capability()?,
            client_id: wanted.client_id.clone(),
            timestamp: now_ms,
            nonce: Some(format!("{nonce:016x}")),
            mac: None,
        };
        let signed = request.signed(&wanted.secret.required()?);
        serde_json::to_string(&signed).map_err(|error| Problem::Form(error.to_string()))
    }
}

/// A token to sign.
#[derive(Args, Debug, Default)]
pub(crate) struct SignToken {
    #[command(flatten)]
    wanted: Wanted,
    /// App id [default: what the key's name has in front of its first dot]
    #[arg(long)]
    app: Option<String>,
}

impl SignToken {
    pub(super) fn sign(&self, now_ms: u64, salt: u32) -> Result<String, Problem> {
        let wanted = &self.wanted;
        let app = self.app.as_deref().or_else(|| wanted.key.split_once('.').map(|(app, _)| app));
        let app =
            app.ok_or_else(|| Problem::Form("the key's name does not say of which app it is: give --app".to_owned()))?;
        let claims = TokenClaims {
            salt,
            issued_ms: now_ms,
            ttl_ms: wanted.ttl_ms(),
            key: wanted.key()?,
            client_id: wanted.client_id.clone(),
            capability: wanted.capability()?,
        };
        Ok(claims.sign(&AppId::new(app)?, &wanted.secret.required()?))
    }
}

#[cfg(test)]
mod tests {
    use ably::credentials::Credentials;

    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            key: "appOne.key-2".to_owned(),
            secret: Secrets { secret: Some("VGhpc0lzQW5BYmx5U2VjcmV0".to_owned()), secret_file: None },
            client_id: Some("bob".to_owned()),
            capability: Some(r#"{ "chat:*": ["subscribe"] }"#.to_owned()),
            ttl: Duration::from_secs(3600),
        }
    }

    /// The reference's own vectors.
    #[test]
    fn what_an_apps_server_would_sign() {
        let jwt = SignJwt { wanted: wanted(), revocation_key: None }.sign(1_700_000_000).unwrap();
        assert!(jwt.ends_with(".icMXtt7K4BBQLu_aVbHrRd_XaH8fw8YKoDNsFDMRf8E"), "{jwt}");
        let wanted = Wanted {
            ttl: Duration::from_secs(1800),
            capability: Some(
                r#"{"news":["subscribe","history"],"chat:*":["presence","publish","subscribe"]}"#.to_owned(),
            ),
            ..wanted()
        };
        let request = SignTokenRequest { wanted }.sign(1_700_000_123_456, 0xa1b2_c3d4_e5f6_0718).unwrap();
        let request: serde_json::Value = serde_json::from_str(&request).unwrap();
        assert_eq!(request["mac"], "ZLbUqDW+E7SNM0k2BJf3rU7tTbuQWp0rcr3em0abXFU=");
    }

    #[test]
    fn a_token_is_of_the_keys_app() {
        let token = SignToken { wanted: wanted(), app: None }.sign(5, 6).unwrap();
        let Credentials::Opaque(token) = Credentials::from_token(&token).unwrap() else { panic!("{token}") };
        assert_eq!((token.app().as_str(), token.expires_ms()), ("appOne", 3_600_005));
        let other = Wanted { key: "plain".to_owned(), ..wanted() };
        assert!(SignToken { wanted: other.clone(), app: None }.sign(5, 6).is_err());
        assert!(SignToken { wanted: other, app: Some("1001".to_owned()) }.sign(5, 6).unwrap().starts_with("1001."));
    }

    #[test]
    fn bad_arguments_are_told() {
        let bad = Wanted { capability: Some("{\"a\":[\"fly\"]}".to_owned()), ..wanted() };
        assert!(SignJwt { wanted: bad, revocation_key: None }.sign(1).is_err());
        let bad = Wanted { key: "a:b".to_owned(), ..wanted() };
        assert!(SignTokenRequest { wanted: bad }.sign(1, 1).is_err());
    }
}
