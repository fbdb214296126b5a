//! `fanfare token`: what an application's server signs, signed and explained offline.
//!
//! Owns the commands and the looking for mistakes. What is signed, and how it is checked, is the `auth` crate's business,
//! so that this says what the server would say.

mod ably_sign;
mod explain;
mod sign;

use std::path::PathBuf;

use auth::Signer;
use channels::{KeyName, Secret};
use clap::{Args, Subcommand};
use clock::unix_seconds;

use self::ably_sign::{SignJwt, SignToken, SignTokenRequest};
use self::explain::Explain;
use self::sign::{SignAuth, SignRequest};

/// What can be done offline.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the URL of a signed HTTP request; it is accepted for ten minutes
    SignRequest(SignRequest),
    /// Print what an auth endpoint answers to a client that wants to subscribe or sign in
    SignAuth(SignAuth),
    /// Print a JWT for a client of the Ably protocol, as an app's server would make it
    SignJwt(SignJwt),
    /// Print a token request for a client of the Ably protocol, as an app's server would answer it; it can be used once, for
    /// fifteen minutes
    SignTokenRequest(SignTokenRequest),
    /// Print an Ably token, as this server answers it to a token request
    SignToken(SignToken),
    /// Say what an auth string, an auth endpoint's answer, a signed URL, or a token, token request or JWT of the Ably protocol
    /// covers, whether its signature fits, and if not, what was signed instead; exit code 1 if it would be refused
    Explain(Explain),
}

/// The secret of a key.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// Secret of the key; others on this machine can read the command line, so only for trying things out
    #[arg(long, env = "FANFARE_KEY_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// File with the secret of the key; wins over the variable
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    App(#[from] channels::InvalidAppId),
    #[error(transparent)]
    Key(#[from] channels::InvalidKeyName),
    #[error("there is no secret: give --secret-file or set FANFARE_KEY_SECRET")]
    NoSecret,
    #[error("cannot read {}: {source}", file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("{0:?} is no query parameter: write NAME=VALUE")]
    Parameter(String),
    #[error("{0}")]
    Form(String),
    #[error(transparent)]
    Ably(#[from] ably::ErrorInfo),
}

impl Secrets {
    /// The text, without the line's end that editors add; `None` if there is none.
    fn text(&self) -> Result<Option<String>, Problem> {
        match (&self.secret_file, &self.secret) {
            (Some(file), _) => match std::fs::read_to_string(file) {
                Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
                Err(source) => Err(Problem::File { file: file.clone(), source }),
            },
            (None, secret) => Ok(secret.clone()),
        }
    }

    /// The secret that has to be there.
    fn required(&self) -> Result<Secret, Problem> {
        self.text()?.and_then(|text| Secret::new(&text)).ok_or(Problem::NoSecret)
    }

    /// Signs as the key `name`.
    fn signer(&self, name: &str) -> Result<Signer, Problem> {
        let secret = self.required()?;
        Ok(Signer::new(KeyName::new(name)?, secret))
    }
}

/// Runs the command; answers whether what was explained is good.
pub(crate) fn run(command: &Command) -> Result<bool, Problem> {
    let (text, is_good) = match command {
        Command::SignRequest(request) => (request.sign(unix_seconds())? + "\n", true),
        Command::SignAuth(auth) => (auth.sign()? + "\n", true),
        Command::SignJwt(jwt) => (jwt.sign(unix_seconds())? + "\n", true),
        Command::SignTokenRequest(request) => (request.sign(unix_seconds() * 1000, rand::random())? + "\n", true),
        Command::SignToken(token) => (token.sign(unix_seconds() * 1000, rand::random())? + "\n", true),
        Command::Explain(explain) => explain.text(unix_seconds())?,
    };
    crate::print(&text);
    Ok(is_good)
}
