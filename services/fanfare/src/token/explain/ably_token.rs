//! Tokens, token requests and JWTs of the Ably protocol.

use ably::credentials::{
    Credentials, Jwt, MAX_REVOCABLE_TTL, MAX_TTL, Opaque, REQUEST_WINDOW, TokenRequest, parse_capability,
};
use ably::{Format, Identity};
use channels::Secret;

use super::{Explain, Report};
use crate::admin::moment;
use crate::token::Problem;

/// Whether it has the dots of a token, and no `:` as other signed texts have.
pub(super) fn looks_like_token(what: &str) -> bool {
    what.contains('.') && !what.contains(':') && !what.starts_with('{')
}

pub(super) fn explain_token(explain: &Explain, what: &str, now_ms: u64, report: &mut Report) -> Result<(), Problem> {
    match Credentials::from_token(what) {
        Ok(Credentials::Opaque(token)) => opaque(explain, &token, now_ms, report)?,
        Ok(Credentials::Jwt(token)) => jwt(explain, what, &token, now_ms, report)?,
        Ok(Credentials::Key(_)) => report.wrong("this is a key, not a token"),
        Err(error) => report.wrong(error),
    }
    Ok(())
}

fn opaque(explain: &Explain, token: &Opaque, now_ms: u64, report: &mut Report) -> Result<(), Problem> {
    let claims = token.claims();
    report.fact("token", "issued by this kind of server");
    report.fact("app", token.app());
    report.fact("key", &claims.key);
    allows(claims.client_id.as_deref(), claims.capability.as_deref(), report);
    lifetime(claims.issued_ms, token.expires_ms(), now_ms, report);
    signature(explain, |secret| token.is_signed_by(secret), report)
}

fn jwt(explain: &Explain, what: &str, token: &Jwt, now_ms: u64, report: &mut Report) -> Result<(), Problem> {
    let claims = token.claims();
    report.fact("token", "a JWT");
    report.fact("key", token.key());
    allows(claims.client_id.as_deref(), claims.capability.as_deref(), report);
    if let Some(name) = &claims.revocation_key {
        report.fact("revocable as", name);
    }
    lifetime(claims.issued.millis(), claims.expires.millis(), now_ms, report);
    let signed = what.rsplit_once('.').map_or("", |(signed, _)| signed);
    report.fact("covers", signed);
    signature(explain, |secret| token.is_signed_by(secret), report)
}

/// Whom it is for, and what it allows beside what its key does.
fn allows(client_id: Option<&str>, capability: Option<&str>, report: &mut Report) {
    match Identity::of_token(client_id) {
        Ok(Identity::Anonymous) => report.fact("client", "nobody: it may not name itself"),
        Ok(Identity::Any) => report.fact("client", "whoever it says it is"),
        Ok(Identity::Is(id)) => report.fact("client", id),
        Err(error) => report.wrong(error),
    }
    match capability.map(|text| (text, parse_capability(text))) {
        None => report.fact("capability", "that of the key"),
        Some((text, Ok(_))) => report.fact("capability", format_args!("{text}, as far as the key allows it")),
        Some((text, Err(error))) => {
            report.fact("capability", text);
            report.wrong(error);
        }
    }
}

fn lifetime(issued_ms: u64, expires_ms: u64, now_ms: u64, report: &mut Report) {
    report.fact("issued", moment::show(issued_ms));
    report.fact("expires", moment::show(expires_ms));
    // Times in milliseconds where seconds belong are some thousand years from now.
    if issued_ms > now_ms.saturating_mul(100) {
        report.wrong("iat and exp are in milliseconds: they have to be in seconds");
    } else if expires_ms <= now_ms {
        report.wrong("it has expired");
    } else if u128::from(expires_ms.saturating_sub(issued_ms)) > MAX_TTL.as_millis() {
        report.wrong("it lives for more than 24 h");
    } else if u128::from(expires_ms.saturating_sub(issued_ms)) > MAX_REVOCABLE_TTL.as_millis() {
        report.hint("it lives for more than 1 h: refused if the key's tokens can be revoked");
    }
}

fn signature(explain: &Explain, fits: impl Fn(&Secret) -> bool, report: &mut Report) -> Result<(), Problem> {
    let Some(text) = explain.secret.text()? else {
        report.fact("signature", "not checked: give the key's secret with --secret-file");
        return Ok(());
    };
    let secret = Secret::new(&text).ok_or(Problem::NoSecret)?;
    if fits(&secret) {
        report.fact("signature", "fits");
        return Ok(());
    }
    report.wrong("the signature does not fit");
    let by = |text: &str| Secret::new(text).is_some_and(|secret| fits(&secret));
    report.hint(if by(&format!("{text}\n")) || by(&format!("{text}\r\n")) {
        "it was signed with the secret and a line end: cut off what the file has behind it"
    } else if text.trim() != text && by(text.trim()) {
        "it was signed with the secret without the blanks around it that are in the file"
    } else {
        "the secret is another, such as that of another key, or one from before a rotation"
    });
    Ok(())
}

pub(super) fn explain_request(explain: &Explain, what: &str, now_ms: u64, report: &mut Report) -> Result<(), Problem> {
    let request = match TokenRequest::parse(Format::Json, what.as_bytes()) {
        Ok(request) => request,
        Err(error) => {
            report.wrong(error);
            return Ok(());
        }
    };
    report.fact("token", "a request for one");
    report.fact("key", &request.key_name);
    allows(request.client_id.as_deref(), request.capability.as_deref(), report);
    let ttl_ms = request.ttl.map(u128::from);
    if ttl_ms.is_some_and(|ttl_ms| ttl_ms > MAX_TTL.as_millis()) {
        report.wrong("its ttl is more than 24 h; it is in milliseconds");
    } else if ttl_ms.is_some_and(|ttl_ms| ttl_ms > MAX_REVOCABLE_TTL.as_millis()) {
        report.hint("its ttl is more than 1 h: refused if the key's tokens can be revoked");
    }
    report.fact("signed at", moment::show(request.timestamp));
    if u128::from(now_ms.abs_diff(request.timestamp)) > REQUEST_WINDOW.as_millis() {
        report.wrong("its timestamp, in milliseconds, has to be within 15 minutes of now");
    }
    if request.nonce.as_deref().unwrap_or_default().chars().count() < 16 && request.is_signed() {
        report.wrong("its nonce has less than 16 characters");
    }
    report.fact("covers", request.text().escape_debug());
    let Some(mac) = request.mac.clone() else {
        report.hint("it has no mac: it has to be sent with the key itself, by basic authentication");
        return Ok(());
    };
    signature(explain, |secret| request.mac_of(secret) == mac, report)?;
    let Some(secret) = explain.secret.text()?.and_then(|text| Secret::new(&text)) else { return Ok(()) };
    if request.mac_of(&secret) != mac {
        let mistake = others(&request).into_iter().find(|(other, _)| other.mac_of(&secret) == mac);
        report.hint(
            mistake.map_or("or what was signed differs in some character from the above", |(_, mistake)| mistake),
        );
    }
    Ok(())
}

/// What may have been signed by mistake, each with how that is mended.
fn others(request: &TokenRequest) -> Vec<(TokenRequest, &'static str)> {
    let without = |change: fn(&mut TokenRequest)| {
        let mut other = request.clone();
        change(&mut other);
        other
    };
    let mut others = vec![
        (without(|other| other.ttl = None), "it was signed without the ttl: sign what is sent"),
        (without(|other| other.ttl = Some(3_600_000)), "it was signed with the default ttl: sign what is sent"),
        (without(|other| other.capability = None), "it was signed without the capability: sign what is sent"),
        (without(|other| other.client_id = None), "it was signed without the clientId: sign what is sent"),
        (without(|other| other.nonce = None), "it was signed without the nonce: sign what is sent"),
        (without(|other| other.timestamp /= 1000), "it was signed with the timestamp in seconds"),
    ];
    let canonical = request.capability.as_deref().and_then(|text| parse_capability(text).ok());
    if let Some(capability) = canonical {
        let text = ably::credentials::capability_text(&capability);
        let other = TokenRequest { capability: Some(text), ..request.clone() };
        others.push((other, "another text of the capability was signed than is sent: send the text that was signed"));
    }
    others
}

#[cfg(test)]
mod tests {
    use ably::credentials::{JwtClaims, Seconds, TokenClaims};
    use channels::{AppId, KeyName};

    use super::*;
    use crate::token::Secrets;

    const NOW: u64 = 1_795_356_307;

    fn secret() -> Secret {
        Secret::new("app-secret").unwrap()
    }

    fn explained(what: &str) -> (String, bool) {
        let secret = Secrets { secret: Some("app-secret".to_owned()), secret_file: None };
        Explain { what: what.to_owned(), secret, window: 600, ..Explain::default() }.text(NOW).unwrap()
    }

    #[track_caller]
    fn finds(what: &str, words: &str) {
        let (text, is_good) = explained(what);
        assert!(!is_good && text.contains(words), "{words:?} in\n{text}");
    }

    #[track_caller]
    fn is_good(what: &str, words: &[&str]) {
        let (text, is_good) = explained(what);
        assert!(is_good && words.iter().all(|word| text.contains(word)), "{words:?} in\n{text}");
    }

    fn claims() -> JwtClaims {
        JwtClaims {
            issued: Seconds::Whole(NOW - 60),
            expires: Seconds::Whole(NOW + 60),
            capability: Some(r#"{"chat:*":["subscribe"]}"#.to_owned()),
            client_id: Some("bob".to_owned()),
            revocation_key: None,
        }
    }

    fn jwt(claims: &JwtClaims) -> String {
        claims.sign(&KeyName::new("app.key").unwrap(), &secret())
    }

    #[test]
    fn jwts() {
        is_good(&jwt(&claims()), &["a JWT", "app.key", "bob", "chat:*", "fits"]);
        finds(&jwt(&JwtClaims { expires: Seconds::Whole(NOW), ..claims() }), "has expired");
        finds(&jwt(&JwtClaims { expires: Seconds::Whole(NOW + 90_000), ..claims() }), "more than 24 h");
        let millis = JwtClaims { issued: Seconds::Whole(NOW * 1000), expires: Seconds::Whole(NOW * 1001), ..claims() };
        finds(&jwt(&millis), "in milliseconds");
        finds(&jwt(&JwtClaims { capability: Some("{\"a\":[\"fly\"]}".to_owned()), ..claims() }), "unknown operation");
        let name = KeyName::new("app.key").unwrap();
        finds(&claims().sign(&name, &Secret::new("app-secret\n").unwrap()), "a line end");
        finds(&claims().sign(&name, &Secret::new("other").unwrap()), "the secret is another");
        finds("eyJhbGciOiJub25lIn0.e30.", "must be HS256");
    }

    #[test]
    fn tokens() {
        let claims = TokenClaims {
            salt: 1,
            issued_ms: NOW * 1000,
            ttl_ms: 7_200_000,
            key: KeyName::new("app.key").unwrap(),
            client_id: Some("*".to_owned()),
            capability: None,
        };
        let token = claims.sign(&AppId::new("app").unwrap(), &secret());
        is_good(&token, &["app.key", "whoever", "that of the key", "fits", "more than 1 h"]);
        let expired = TokenClaims { issued_ms: 1, ..claims.clone() };
        finds(&expired.sign(&AppId::new("app").unwrap(), &secret()), "has expired");
        finds(&claims.sign(&AppId::new("app").unwrap(), &Secret::new("x").unwrap()), "does not fit");
        finds("app.AAAA", "invalid token");
    }

    fn request() -> TokenRequest {
        TokenRequest {
            key_name: "app.key".to_owned(),
            ttl: Some(1_800_000),
            capability: Some(r#"{"b":["publish"],"a":["publish"]}"#.to_owned()),
            client_id: Some("bob".to_owned()),
            timestamp: NOW * 1000,
            nonce: Some("0123456789abcdef".to_owned()),
            mac: None,
        }
    }

    fn json(request: &TokenRequest) -> String {
        serde_json::to_string(request).unwrap()
    }

    #[test]
    fn token_requests() {
        is_good(&json(&request().signed(&secret())), &["app.key\\n1800000\\n", "bob", "fits"]);
        is_good(&json(&request()), &["basic authentication"]);
        let signed_as = |change: fn(&mut TokenRequest)| {
            let mut signed = request();
            change(&mut signed);
            let mac = signed.mac_of(&secret());
            json(&TokenRequest { mac: Some(mac), ..request() })
        };
        finds(&signed_as(|other| other.ttl = None), "without the ttl");
        finds(&signed_as(|other| other.capability = None), "without the capability");
        finds(&signed_as(|other| other.timestamp = NOW), "timestamp in seconds");
        let canonical =
            |other: &mut TokenRequest| other.capability = Some(r#"{"a":["publish"],"b":["publish"]}"#.to_owned());
        finds(&signed_as(canonical), "another text of the capability");
        finds(&signed_as(|other| other.nonce = Some("x".to_owned())), "differs in some character");
        finds(&json(&TokenRequest { timestamp: NOW, ..request() }.signed(&secret())), "within 15 minutes");
        finds(&json(&TokenRequest { nonce: None, ..request() }.signed(&secret())), "less than 16");
        finds(&json(&TokenRequest { ttl: Some(86_400_001), ..request() }.signed(&secret())), "more than 24 h");
        finds(r#"{"keyName":7}"#, "must be a text");
    }
}
