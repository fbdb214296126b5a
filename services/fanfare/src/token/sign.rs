//! `fanfare token`: what an application's server signs, signed offline, for trying things out.

use std::time::{SystemTime, UNIX_EPOCH};

use auth::Signer;
use channels::{AppId, KeyName, Secret};
use clap::{Args, Subcommand};

/// What can be signed.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the URL of a signed HTTP request; it is accepted for ten minutes
    SignRequest(SignRequest),
}

/// A request to sign.
#[derive(Args, Debug)]
pub(crate) struct SignRequest {
    /// Where the server is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:6001")]
    url: String,
    /// App id
    #[arg(long)]
    app: String,
    /// Key name
    #[arg(long)]
    key: String,
    /// Secret of the key
    #[arg(long, env = "FANFARE_KEY_SECRET", hide_env_values = true)]
    secret: String,
    /// HTTP method
    #[arg(long, default_value = "POST")]
    method: String,
    /// Path below the app, as in /events
    #[arg(long, default_value = "/events")]
    path: String,
    /// Query parameter to sign, as in filter_by_prefix=presence-; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    query: Vec<String>,
    /// The body, exactly as it will be sent
    #[arg(long, default_value = "")]
    body: String,
}

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error(transparent)]
    App(#[from] channels::InvalidAppId),
    #[error(transparent)]
    Key(#[from] channels::InvalidKeyName),
    #[error("the secret is empty")]
    EmptySecret,
    #[error("{0:?} is no query parameter: write NAME=VALUE")]
    Parameter(String),
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> Result<(), SignError> {
    match command {
        Command::SignRequest(request) => crate::print(&format!("{}\n", request.sign(now_seconds())?)),
    }
    Ok(())
}

impl SignRequest {
    /// The URL, signed at `now_seconds`.
    pub(crate) fn sign(&self, now_seconds: u64) -> Result<String, SignError> {
        let app = AppId::new(&self.app)?;
        let secret = Secret::new(&self.secret).ok_or(SignError::EmptySecret)?;
        let signer = Signer::new(KeyName::new(&self.key)?, secret);
        let parameter = |pair: &String| match pair.split_once('=') {
            Some((name, value)) => Ok((name.to_ascii_lowercase(), value.to_owned())),
            None => Err(SignError::Parameter(pair.clone())),
        };
        let parameters = self.query.iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let path = format!("/apps/{app}/{}", self.path.trim_start_matches('/'));
        let query = signer.request(&self.method, &path, &parameters, self.body.as_bytes(), now_seconds);
        Ok(format!("{}{path}?{query}", self.url.trim_end_matches('/')))
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str, body: &str, query: &[&str]) -> SignRequest {
        SignRequest {
            url: "http://127.0.0.1:6001/".to_owned(),
            app: "3301".to_owned(),
            key: "9f2c4be1d07a4c3e8b51".to_owned(),
            secret: "secret".to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.iter().map(|pair| (*pair).to_owned()).collect(),
            body: body.to_owned(),
        }
    }

    #[test]
    fn the_url_carries_what_the_server_checks() {
        let url = request("POST", "events", "{}", &[]).sign(1_730_000_000).unwrap();
        assert!(url.starts_with("http://127.0.0.1:6001/apps/3301/events?auth_key=9f2c4be1d07a4c3e8b51&"), "{url}");
        for part in [
            "auth_timestamp=1730000000",
            "auth_version=1.0",
            "body_md5=99914b932bd37a50b983c5e7c90ae93b",
            "auth_signature=",
        ] {
            assert!(url.contains(part), "{part} in {url}");
        }
        let url = request("GET", "/channels", "", &["info=user_count"]).sign(1).unwrap();
        assert!(url.contains("/apps/3301/channels?") && url.contains("&info=user_count") && !url.contains("body_md5"));
    }

    #[test]
    fn bad_arguments_are_told() {
        assert!(request("GET", "/channels", "", &["info"]).sign(1).is_err());
        let bad_app = SignRequest { app: "a/b".to_owned(), ..request("GET", "/", "", &[]) };
        assert!(bad_app.sign(1).is_err());
    }
}
