//! Explaining: what a signature is over, whether it fits, and what was signed instead.

mod ably_token;
mod request;
mod subscription;

use std::fmt::Write as _;
use std::path::PathBuf;

use auth::Signer;
use channels::{KeyName, Secret};
use clap::Args;

use super::{Problem, Secrets};

/// What to explain, and what is known of it.
#[derive(Args, Debug, Default)]
pub(crate) struct Explain {
    /// KEY:SIGNATURE, what an auth endpoint answered ({"auth": …}), the URL of a signed request, or a token, token request
    /// ({"keyName": …}) or JWT of the Ably protocol
    #[arg(value_name = "AUTH|URL|TOKEN")]
    what: String,
    #[command(flatten)]
    secret: Secrets,
    /// Socket id of the connection, as the client was told it
    #[arg(long, value_name = "ID")]
    socket_id: Option<String>,
    /// The channel that the client subscribes to
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// The channel data that the client sends, character by character [default: that of the endpoint's answer]
    #[arg(long, value_name = "JSON")]
    channel_data: Option<String>,
    /// The user data that the client signs in with, character by character [default: that of the endpoint's answer]
    #[arg(long, value_name = "JSON")]
    user_data: Option<String>,
    /// Method of the request [default: POST with a body, else GET]
    #[arg(long)]
    method: Option<String>,
    /// Body of the request, exactly as it is sent
    #[arg(long)]
    body: Option<String>,
    /// File with the body of the request
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    body_file: Option<PathBuf>,
    /// How far the time of a request may be off: the app's auth_timestamp_window_seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    window: u64,
}

/// An explanation as it grows.
#[derive(Debug, Default)]
struct Report {
    text: String,
    is_bad: bool,
}

impl Report {
    fn fact(&mut self, name: &str, value: impl std::fmt::Display) {
        writeln!(self.text, "{name:<12} {value}").expect("a string takes everything");
    }

    /// Something for which it would be refused.
    fn wrong(&mut self, what: impl std::fmt::Display) {
        self.is_bad = true;
        self.fact("WRONG", what);
    }

    fn hint(&mut self, what: impl std::fmt::Display) {
        self.fact("hint", what);
    }
}

impl Explain {
    /// The explanation, and whether all of it is good.
    pub(super) fn text(&self, now_seconds: u64) -> Result<(String, bool), Problem> {
        let mut report = Report::default();
        let what = self.what.trim();
        if what.contains("auth_signature=") || what.contains("auth_key=") || what.contains("://") {
            request::explain(self, what, now_seconds, &mut report)?;
        } else if what.contains("\"keyName\"") {
            ably_token::explain_request(self, what, now_seconds * 1000, &mut report)?;
        } else if ably_token::looks_like_token(what) {
            ably_token::explain_token(self, what, now_seconds * 1000, &mut report)?;
        } else {
            subscription::explain(self, what, &mut report)?;
        }
        Ok((report.text, !report.is_bad))
    }

    /// Signs as `key`; `None` without a secret, of which the reader is told.
    fn signer(&self, key: &str, report: &mut Report) -> Result<Option<Signer>, Problem> {
        let Some(secret) = self.secret.text()? else {
            report.fact("signature", "not checked: give the key's secret with --secret-file");
            return Ok(None);
        };
        let secret = Secret::new(&secret).ok_or(Problem::NoSecret)?;
        match KeyName::new(key) {
            Ok(name) => Ok(Some(Signer::new(name, secret))),
            Err(error) => {
                report.wrong(format!("{key:?} is no key: {error}"));
                Ok(None)
            }
        }
    }

    /// Tells whether `signature` is the secret's over `text`, and if not, what else was signed: one of `others`, each with
    /// what was done wrong then.
    fn check(
        &self,
        signer: &Signer,
        signature: &str,
        text: &str,
        others: &[(String, String)],
        report: &mut Report,
    ) -> Result<(), Problem> {
        if signer.sign(text) == signature {
            report.fact("signature", "fits");
            return Ok(());
        }
        report.wrong("the signature does not fit");
        let lower = signature.to_ascii_lowercase();
        if signer.sign(text) == lower {
            report.hint("it is in upper case: write the hexadecimal digits in lower case");
        } else if let Some((_, mistake)) = others.iter().find(|(other, _)| signer.sign(other) == lower) {
            report.hint(mistake);
        } else if let Some(mistake) = self.other_secret(signer, &lower, text)? {
            report.hint(mistake);
        } else if signature.len() != 64 || !signature.bytes().all(|b| b.is_ascii_hexdigit()) {
            report.hint("a signature is 64 hexadecimal digits, an HMAC-SHA256; this is something else");
        } else {
            report.hint("the secret is another, or what was signed differs in some character from the above");
        }
        Ok(())
    }

    /// Whether a secret that looks like this one has signed.
    fn other_secret(&self, signer: &Signer, signature: &str, text: &str) -> Result<Option<&'static str>, Problem> {
        let Some(secret) = self.secret.text()? else { return Ok(None) };
        let Ok(name) = KeyName::new("any") else { return Ok(None) };
        let of = |secret: &str| Secret::new(secret).map(|secret| Signer::new(name.clone(), secret).sign(text));
        let fits = |secret: &str| of(secret).is_some_and(|made| made == signature);
        let key = signer.name().as_str().to_owned();
        Ok(if fits(&format!("{secret}\n")) || fits(&format!("{secret}\r\n")) {
            Some("it was signed with the secret and a line end: cut off what the file has behind it")
        } else if secret.trim() != secret && fits(secret.trim()) {
            Some("it was signed with the secret without the blanks around it that are in the file")
        } else if fits(&key) {
            Some("it was signed with the key's name in place of its secret")
        } else {
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "app-key";
    const SECRET: &str = "app-secret";
    const NOW: u64 = 1_795_356_307;

    fn signer() -> Signer {
        Signer::new(KeyName::new(KEY).unwrap(), Secret::new(SECRET).unwrap())
    }

    fn explained(explain: Explain) -> (String, bool) {
        let secret = Secrets { secret: Some(SECRET.to_owned()), secret_file: None };
        Explain { secret, window: 600, ..explain }.text(NOW).unwrap()
    }

    fn subscription(auth: &str) -> Explain {
        Explain {
            what: auth.to_owned(),
            socket_id: Some("1.2".to_owned()),
            channel: Some("presence-a".to_owned()),
            channel_data: Some(r#"{"user_id": "7"}"#.to_owned()),
            ..Explain::default()
        }
    }

    #[track_caller]
    fn finds(explain: Explain, words: &str) {
        let (text, is_good) = explained(explain);
        assert!(!is_good && text.contains(words), "{words:?} in\n{text}");
    }

    #[test]
    fn a_good_subscription_is_good() {
        let data = r#"{"user_id": "7"}"#;
        let auth = signer().channel("1.2", "presence-a", Some(data));
        let (text, is_good) = explained(subscription(&auth));
        assert!(is_good && text.contains("fits") && text.contains("1.2:presence-a:{\"user_id\": \"7\"}"), "{text}");
        let answer = serde_json::json!({ "auth": auth, "channel_data": data }).to_string();
        let (text, is_good) = explained(Explain { channel_data: None, ..subscription(&answer) });
        assert!(is_good && text.contains("fits"), "{text}");
        let user = signer().user("1.2", r#"{"id":"7"}"#);
        let sign_in = Explain {
            what: user,
            socket_id: Some("1.2".to_owned()),
            user_data: Some(r#"{"id":"7"}"#.to_owned()),
            ..Explain::default()
        };
        assert!(explained(sign_in).1);
    }

    #[test]
    fn common_mistakes_with_subscriptions_are_named() {
        let signer = signer();
        let auth = |text: &str| format!("{KEY}:{}", signer.sign(text));
        finds(subscription(&auth("1.2:presence-a")), "without the channel data");
        finds(subscription(&auth(r#"1.2:presence-a:{"user_id":"7"}"#)), "other blanks");
        finds(subscription(&auth(r#"1.2::user::{"user_id": "7"}"#)), "as a sign-in");
        finds(subscription(&auth(r#"presence-a:1.2:{"user_id": "7"}"#)), "in the wrong order");
        let good = auth(r#"1.2:presence-a:{"user_id": "7"}"#);
        finds(subscription(&good.to_ascii_uppercase().replace("APP-KEY", KEY)), "in lower case");
        let other = Signer::new(KeyName::new(KEY).unwrap(), Secret::new("app-secret\n").unwrap());
        let text = r#"1.2:presence-a:{"user_id": "7"}"#;
        finds(subscription(&format!("{KEY}:{}", other.sign(text))), "a line end");
        let other = Signer::new(KeyName::new(KEY).unwrap(), Secret::new(KEY).unwrap());
        finds(subscription(&format!("{KEY}:{}", other.sign(text))), "the key's name in place");
        finds(subscription(&auth("1.3:presence-a")), "differs in some character");
        finds(subscription("app-key:short"), "64 hexadecimal digits");
        finds(subscription("no colon"), "KEY:SIGNATURE");
        finds(Explain { socket_id: Some("12".to_owned()), ..subscription(&good) }, "is no socket id");
        let wild = Explain { channel: Some("public".to_owned()), ..subscription(&good) };
        finds(wild, "needs no auth");
        let private = Explain { channel: Some("private-a".to_owned()), channel_data: None, ..subscription(&good) };
        finds(private, "the signature does not fit");
    }

    #[test]
    fn without_a_secret_it_still_says_what_is_covered() {
        let explain = Explain { window: 600, ..subscription("app-key:00") };
        let (text, _) = explain.text(NOW).unwrap();
        assert!(text.contains("not checked") && text.contains("app-key") && text.contains("1.2:presence-a:"), "{text}");
    }

    fn request(query: &str, body: &str) -> Explain {
        Explain {
            what: format!("http://127.0.0.1:6001/apps/1001/events?{query}"),
            body: (!body.is_empty()).then(|| body.to_owned()),
            ..Explain::default()
        }
    }

    #[test]
    fn a_good_request_is_good() {
        let query = signer().request("POST", "/apps/1001/events", &[], b"{}", NOW - 60);
        let (text, is_good) = explained(request(&query, "{}"));
        assert!(is_good && text.contains("fits") && text.contains("1m0s ago, good for another 9m0s"), "{text}");
        let query = signer().request("GET", "/apps/1001/channels", &[("info", "user_count")], b"", NOW);
        let what = format!("/proxy/apps/1001/channels?{query}");
        let (text, is_good) = explained(Explain { what, ..Explain::default() });
        assert!(is_good && text.contains("GET\\n/apps/1001/channels\\nauth_key=app-key"), "{text}");
    }

    #[test]
    fn common_mistakes_with_requests_are_named() {
        let signer = signer();
        let sign = |method: &str, path: &str, now| signer.request(method, path, &[], b"{}", now);
        let good = sign("POST", "/apps/1001/events", NOW);
        finds(request(&good, "{} "), "is not the MD5 of this body");
        finds(request(&good, "{}\n"), "without the line end");
        finds(request(&sign("GET", "/apps/1001/events", NOW), "{}"), "signed for the method GET");
        finds(request(&sign("POST", "/events", NOW), "{}"), "the path /events");
        finds(request(&sign("POST", "/apps/1001/events", NOW - 601), "{}"), "10m1s ago");
        finds(request(&sign("POST", "/apps/1001/events", NOW * 1_000), "{}"), "in milliseconds");
        finds(request(&good.replace("auth_version=1.0", "auth_version=2"), "{}"), "auth_version");
        finds(request(&good.replace("auth_timestamp", "time"), "{}"), "auth_timestamp is missing");
        finds(request("auth_key=app-key&auth_signature=00&a=%26", ""), "encoded '&'");
        let unsorted = format!("auth_timestamp={NOW}&auth_key={KEY}&auth_version=1.0");
        let signature = signer.sign(&format!("GET\n/apps/1001/events\n{unsorted}"));
        finds(request(&format!("{unsorted}&auth_signature={signature}"), ""), "in the order of the URL");
        finds(Explain { what: "http://a/b?auth_key=k".to_owned(), ..Explain::default() }, "below /apps/");
    }
}
