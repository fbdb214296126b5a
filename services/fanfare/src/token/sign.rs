//! Signing: what an application's server would answer or send.

use auth::Signer;
use channels::AppId;
use clap::Args;
use serde_json::json;

use super::{Problem, Secrets};

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
    #[command(flatten)]
    secret: Secrets,
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

/// A subscription or sign-in to sign.
#[derive(Args, Debug)]
pub(crate) struct SignAuth {
    /// Key name
    #[arg(long)]
    key: String,
    #[command(flatten)]
    secret: Secrets,
    /// Socket id of the client's connection, as in 1234.5678
    #[arg(long, value_name = "ID")]
    socket_id: String,
    /// The channel to subscribe to
    #[arg(long, value_name = "NAME", required_unless_present = "user_data", conflicts_with = "user_data")]
    channel: Option<String>,
    /// Who subscribes to a presence channel, as JSON: {"user_id": "7", "user_info": {}}
    #[arg(long, value_name = "JSON", requires = "channel")]
    channel_data: Option<String>,
    /// Who signs in, as JSON: {"id": "7"}
    #[arg(long, value_name = "JSON")]
    user_data: Option<String>,
}

impl SignAuth {
    /// What an application's auth endpoint would answer.
    pub(super) fn sign(&self) -> Result<String, Problem> {
        let signer = self.secret.signer(&self.key)?;
        let answer = match (&self.channel, &self.channel_data, &self.user_data) {
            (Some(channel), None, _) => json!({ "auth": signer.channel(&self.socket_id, channel, None) }),
            (Some(channel), Some(data), _) => {
                json!({ "auth": signer.channel(&self.socket_id, channel, Some(data)), "channel_data": data })
            }
            (None, _, user_data) => {
                let data = user_data.as_deref().unwrap_or_default();
                json!({ "auth": signer.user(&self.socket_id, data), "user_data": data })
            }
        };
        Ok(answer.to_string())
    }
}

impl SignRequest {
    /// The URL, signed at `now_seconds`.
    pub(super) fn sign(&self, now_seconds: u64) -> Result<String, Problem> {
        let app = AppId::new(&self.app)?;
        let signer: Signer = self.secret.signer(&self.key)?;
        let parameter = |pair: &String| match pair.split_once('=') {
            Some((name, value)) => Ok((name.to_ascii_lowercase(), value.to_owned())),
            None => Err(Problem::Parameter(pair.clone())),
        };
        let parameters = self.query.iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let path = format!("/apps/{app}/{}", self.path.trim_start_matches('/'));
        let query = signer.request(&self.method, &path, &parameters, self.body.as_bytes(), now_seconds);
        Ok(format!("{}{path}?{query}", self.url.trim_end_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str, body: &str, query: &[&str]) -> SignRequest {
        SignRequest {
            url: "http://127.0.0.1:6001/".to_owned(),
            app: "3301".to_owned(),
            key: "9f2c4be1d07a4c3e8b51".to_owned(),
            secret: Secrets { secret: Some("secret".to_owned()), secret_file: None },
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

    #[test]
    fn auth_is_what_an_endpoint_answers() {
        let auth = |channel: Option<&str>, channel_data: Option<&str>, user_data: Option<&str>| {
            let sign = SignAuth {
                key: "278d425bdf160c739803".to_owned(),
                secret: Secrets { secret: Some("7ad3773142a6692b25b8".to_owned()), secret_file: None },
                socket_id: "1234.1234".to_owned(),
                channel: channel.map(str::to_owned),
                channel_data: channel_data.map(str::to_owned),
                user_data: user_data.map(str::to_owned),
            };
            serde_json::from_str::<serde_json::Value>(&sign.sign().unwrap()).unwrap()
        };
        // From the protocol's own documentation.
        assert_eq!(
            auth(Some("private-foobar"), None, None)["auth"],
            "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
        let data = r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#;
        let presence = auth(Some("presence-foobar"), Some(data), None);
        assert_eq!(
            (presence["auth"].as_str().unwrap(), presence["channel_data"].as_str().unwrap()),
            ("278d425bdf160c739803:31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80", data)
        );
        let user = auth(None, None, Some(r#"{"id":"12345"}"#));
        assert_eq!(
            user["auth"],
            "278d425bdf160c739803:4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"
        );
    }
}
