//! `fanfare dev`: settings that make one process useful at once, and the text that says how to use it.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use auth::Signer;
use channels::{App, Key};
use clock::unix_seconds;
use control::AdminToken;
use control::seed::Seed;

use crate::config::{Effective, Mistakes, Settings};
use crate::private_file;

/// The app that is there if no seed names others. Its secret is no secret, which is fine on loopback; elsewhere
/// [`demo_seed`] makes one up.
const DEMO_SECRET: &str = "app-secret";

/// What the pasted lines publish.
const DEMO_BODY: &str = r#"{"name":"greeting","channel":"hello","data":"{\"text\":\"hi\"}"}"#;

/// Sets what is different from `fanfare run`, unless somebody said otherwise.
pub(crate) fn set_defaults(effective: &mut Effective) {
    // Whoever presses Ctrl-C while developing does not want to wait for load balancers.
    effective.set_default("drain.grace", "0s");
    effective.set_default("drain.duration", "0s");
}

/// The file with the admin token that was made up because nobody gave one. One beside the data of a data directory stays
/// with it; one for a process in memory goes with the process.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    is_temporary: bool,
}

impl TokenFile {
    /// Writes a token that was made up, or reads the one that was made up for this data directory before.
    pub(crate) fn make(data_dir: Option<&Path>, token: AdminToken) -> Result<(Self, AdminToken), Mistakes> {
        let failed = |path: &Path, error: io::Error| {
            Mistakes::one(format!("cannot keep an admin token in {}: {error}", path.display()))
        };
        let Some(directory) = data_dir else {
            // Nobody can foresee the name, and so nobody can have made the file.
            let name = control::admin_token();
            let path = std::env::temp_dir().join(format!("fanfare-{:.8}.token", name.expose()));
            private_file::create(&path, token.expose()).map_err(|error| failed(&path, error))?;
            return Ok((Self { path, is_temporary: true }, token));
        };
        let path = directory.join("admin.token");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|e| failed(&path, e))?;
        match private_file::create(&path, token.expose()) {
            Ok(()) => Ok((Self { path, is_temporary: false }, token)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
                let token =
                    AdminToken::new(&text).map_err(|error| Mistakes::one(format!("{}: {error}", path.display())))?;
                Ok((Self { path, is_temporary: false }, token))
            }
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        if self.is_temporary {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Refuses settings that ask for more than one process. Before what else may be missing for that.
pub(crate) fn check(effective: &Effective) -> Result<(), Mistakes> {
    if effective.entry("nats.urls").is_some_and(|urls| !urls.text.is_empty()) {
        return Err(Mistakes::one("fanfare dev is one process by itself; with NATS, use fanfare run".to_owned()));
    }
    Ok(())
}

/// The text of the seed that is used if there is none.
pub(crate) fn demo_seed(settings: &Settings) -> String {
    let made_up = control::admin_token();
    let secret = if settings.listen.ip().is_loopback() { DEMO_SECRET } else { made_up.expose() };
    format!(
        "[[app]]\nid = \"1001\"\nname = \"demo\"\n[[app.key]]\nname = \"app-key\"\nsecret = \"{secret}\"\n\
         [app.pusher]\nclient_events = true\n"
    )
}

/// What to print when clients are welcome.
pub(crate) fn greeting(settings: &Settings, seed: Option<&Seed>) -> String {
    let (scheme, tls) = if settings.tls.cert_file.is_some() { ("https", true) } else { ("http", false) };
    let address = reachable(settings.listen);
    let kept = match &settings.data_dir {
        None => "everything in memory".to_owned(),
        Some(directory) => format!("messages in memory, what you create in {}", directory.display()),
    };
    let mut text = format!(
        "\nFanfare is up: every role in this process, {kept}.\n\n  \
         clients and publishers   {scheme}://{address}\n  \
         control plane (gRPC)     {}\n  \
         health and metrics       http://{}/readyz  /metrics\n",
        settings.control_listen, settings.admin_listen
    );
    if let Some(file) = &settings.made_up_token_file {
        line(&mut text, format_args!("  admin token              in {}", file.display()));
    }
    let app = seed.and_then(|seed| seed.apps().iter().find(|app| app.enabled && !app.keys.is_empty()));
    let Some((app, key)) = app.and_then(|app| Some((app, app.keys.first()?))) else {
        line(&mut text, format_args!("\nThe seed has no enabled app with a key; create one with fanfare admin.\n"));
        return text;
    };
    line(&mut text, format_args!("  app id                   {}", app.id));
    line(&mut text, format_args!("  key                      {}", key.name));
    line(&mut text, format_args!("  secret                   {}", key.secret.expose()));
    first_message(&mut text, scheme, tls, address, app, key);
    administer(&mut text, settings);
    line(&mut text, format_args!("Ctrl-C ends it, and what it holds in memory.\n"));
    text
}

/// How to use the control plane, for those who have no token of their own.
fn administer(text: &mut String, settings: &Settings) {
    let Some(file) = &settings.made_up_token_file else { return };
    let scheme = if settings.control.tls.cert_file.is_some() { "https" } else { "http" };
    let (program, file) = (word(&program()), word(&file.display().to_string()));
    let address = reachable(settings.control_listen);
    line(
        text,
        format_args!(
            "Administer:\n\n  {program} admin app list \\\n    --address {scheme}://{address} --token-file {file}\n"
        ),
    );
}

/// How this program was called.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "fanfare".to_owned())
}

/// An address that a client on this machine can use, for one that means all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn first_message(text: &mut String, scheme: &str, tls: bool, address: SocketAddr, app: &App, key: &Key) {
    let port = address.port();
    let host = match address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let path = format!("/apps/{}/events", app.id);
    let query = Signer::from(key).request("POST", &path, &[], DEMO_BODY.as_bytes(), unix_seconds());
    let url = word(&format!("{scheme}://{address}{path}?{query}"));
    let program = word(&program());
    let (id, name, secret) = (&app.id, word(key.name.as_str()), word(key.secret.expose()));
    let script_name = script_text(key.name.as_str());
    let options = format!(
        "{{ wsHost: \"{host}\", wsPort: {port}, wssPort: {port}, forceTLS: {tls}, enabledTransports: [\"ws\", \"wss\"], cluster: \"\" }}"
    );
    line(
        text,
        format_args!(
            "\nReceive, in an empty directory, with node:\n\n  \
             npm install pusher-js && node -e '\n    \
             const Pusher = require(\"pusher-js\");\n    \
             const pusher = new Pusher({script_name}, {options});\n    \
             pusher.subscribe(\"hello\").bind_global((event, data) => console.log(event, data));'\n\n\
             Publish (this signature is good for ten minutes):\n\n  \
             curl -H 'Content-Type: application/json' -d '{DEMO_BODY}' \\\n    \
             {url}\n\n\
             Publish at any time, signing anew:\n\n  \
             BODY='{DEMO_BODY}'\n  \
             curl -H 'Content-Type: application/json' -d \"$BODY\" \"$({program} token sign-request \\\n    \
             --url {scheme}://{address} --app {id} --key {name} --secret {secret} --body \"$BODY\")\"\n"
        ),
    );
}

/// `text` as one word of a shell: names and secrets of a seed may have any character.
fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
    if text.bytes().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// `text` as a string of JavaScript, between the single quotes of a shell.
fn script_text(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\'', r"\u0027")
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting_at(listen: &str) -> (String, Seed) {
        let settings = Settings { listen: listen.parse().unwrap(), ..Settings::default() };
        let seed = Seed::parse(&demo_seed(&settings)).unwrap();
        (greeting(&settings, Some(&seed)), seed)
    }

    #[test]
    fn the_greeting_has_what_a_first_message_needs() {
        let (text, _) = greeting_at("127.0.0.1:6001");
        for part in ["http://127.0.0.1:6001", "1001", "app-key", "app-secret", "auth_signature=", "wsPort: 6001"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_server_that_others_reach_has_a_secret_of_its_own() {
        let (text, seed) = greeting_at("0.0.0.0:6001");
        let secret = seed.apps()[0].keys[0].secret.expose().to_owned();
        assert_ne!(secret, DEMO_SECRET);
        assert!(text.contains("http://127.0.0.1:6001/apps/") && text.contains(&secret), "{text}");
    }

    #[test]
    fn what_is_pasted_is_quoted() {
        let seed = "[[app]]\nid = 7\n[[app.key]]\nname = \"it's\"\nsecret = \"it's $HOME\"\n";
        let settings = Settings { listen: "[::1]:6001".parse().unwrap(), ..Settings::default() };
        let text = greeting(&settings, Some(&Seed::parse(seed).unwrap()));
        for part in [
            r#"new Pusher("it\u0027s", { wsHost: "[::1]", wsPort: 6001"#,
            r"--key 'it'\''s' --secret 'it'\''s $HOME' --body",
            "'http://[::1]:6001/apps/7/events?",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_seed_without_a_usable_app_is_no_crash() {
        let seed = Seed::parse("[[app]]\nid = \"7\"\nname = \"off\"\nenabled = false\n").unwrap();
        let settings = Settings::default();
        assert!(greeting(&settings, Some(&seed)).contains("no enabled app"));
    }

    #[test]
    fn a_made_up_token_is_never_printed() {
        let (file, token) = TokenFile::make(None, control::admin_token()).unwrap();
        let settings = Settings {
            admin_token: Some(token.clone()),
            made_up_token_file: Some(file.path().to_owned()),
            ..Settings::default()
        };
        let text = greeting(&settings, Some(&Seed::parse(&demo_seed(&settings)).unwrap()));
        let path = file.path().display().to_string();
        assert!(
            text.contains(&format!("admin app list \\\n    --address http://127.0.0.1:6002 --token-file {path}\n"))
        );
        assert!(!text.contains(token.expose()));
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), token.expose());
        drop(file);
        assert!(!Path::new(&path).exists(), "goes with the process");
    }

    #[test]
    fn a_data_directory_keeps_its_token() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let (file, first) = TokenFile::make(Some(&data), control::admin_token()).unwrap();
        let path = file.path().to_owned();
        drop(file);
        let (_file, second) = TokenFile::make(Some(&data), control::admin_token()).unwrap();
        assert_eq!(first.expose(), second.expose());
        std::fs::write(&path, "short").unwrap();
        assert!(
            TokenFile::make(Some(&data), control::admin_token()).unwrap_err().to_string().contains("admin token must")
        );
    }

    #[test]
    fn defaults_give_way_to_what_is_said() {
        let mut effective = Effective::new(&crate::config::Sources::default());
        set_defaults(&mut effective);
        effective.set_default("admin.token", control::admin_token().expose());
        check(&effective).unwrap();
        assert!(effective.settings().unwrap().edge.drain_grace.is_zero());
    }
}
