//! `fanfare admin`: the control plane's client for people and scripts.
//!
//! Owns the commands, the way to the server, what is printed and the exit codes. Deliberately knows none of the rules
//! for apps, keys and webhooks: the server checks, so that a newer one may allow more.
//!
//! The admin token comes from a file or the environment, never from the command line, which every user of the machine
//! can read in the process list and which shells write to their history. The same goes for secrets of keys.
//!
//! Exit codes: 0 done, 1 refused by the server, 2 the command makes no sense, 3 the server, or the registry behind it,
//! could not be reached (a change may or may not have happened).

mod app;
mod arguments;
mod client;
mod json;
mod key;
mod table;
#[cfg(test)]
mod tests;
mod webhook;

use std::error::Error as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use proto::control as wire;
use tonic::{Code, Status};

use crate::with_causes;

/// The variable that holds the admin token.
const TOKEN_VARIABLE: &str = "FANFARE_ADMIN_TOKEN";

/// A command to the control plane, and the way to it.
#[derive(Args, Debug)]
#[command(after_help = "\
The admin token is read from --token-file or the variable FANFARE_ADMIN_TOKEN; the command line is not a place for \
secrets.

Exit codes: 0 done; 1 refused by the server; 2 the command makes no sense; 3 the server could not be reached.")]
pub(crate) struct Command {
    #[command(flatten)]
    server: Server,
    /// How to print the answer
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(subcommand)]
    action: Action,
}

/// Where the control plane is and how to be let in.
#[derive(Args, Debug)]
struct Server {
    /// The control plane's URL, http or https
    #[arg(
        long,
        global = true,
        env = "FANFARE_CONTROL_ADDRESS",
        default_value = "http://127.0.0.1:6002",
        value_name = "URL"
    )]
    address: String,
    /// File with the admin token; wins over FANFARE_ADMIN_TOKEN
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the certificates to trust, for https
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Ways to print an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// The answer's message, its fields named as in control.proto
    Json,
}

/// What can be administered.
#[derive(Debug, Subcommand)]
enum Action {
    /// Apps: the tenants of the cluster
    #[command(subcommand)]
    App(app::Command),
    /// Keys of an app
    #[command(subcommand)]
    Key(key::Command),
    /// Webhooks of an app, and what they could not be told
    #[command(subcommand)]
    Webhook(webhook::Command),
}

/// What the server answered, to be printed.
#[derive(Debug)]
enum Answer {
    Created(wire::CreateAppResponse),
    App(wire::App),
    Apps(Vec<wire::App>),
    Deleted,
    KeyCreated(wire::CreateKeyResponse),
    KeyRevoked(wire::Key),
    Webhooks(Vec<wire::Webhook>),
    DeadLetters(Vec<wire::DeadLetter>),
    Replayed(wire::ReplayDeadLettersResponse),
    Forgotten(wire::DeleteDeadLettersResponse),
}

/// Why a command failed; one variant per exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The command makes no sense, or needs a file that cannot be read.
    #[error("{0}")]
    Usage(String),
    /// The server said no.
    #[error("{}", .0.message())]
    Refused(Status),
    /// There was no answer from the server, or it had none from its registry.
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let cause = status.source().map(|cause| format!(": {}", with_causes(cause))).unwrap_or_default();
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                Self::Unreachable(format!("{}{cause}", status.message()))
            }
            // A connection that broke, or a server that speaks something else.
            Code::Unknown | Code::Internal => Self::Unreachable(format!("no answer: {}{cause}", status.message())),
            _ => Self::Refused(status),
        }
    }
}

/// Runs the command and prints its answer to standard output, or why there is none to standard error.
pub(crate) async fn run(command: Command) -> ExitCode {
    // Empty counts as absent, as in the configuration.
    let environment_token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
    match execute(command, environment_token).await {
        Ok(text) => {
            crate::print(&text);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("fanfare: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The answer as it is to be printed. `environment_token` is what [`TOKEN_VARIABLE`] holds.
async fn execute(command: Command, environment_token: Option<String>) -> Result<String, Failure> {
    let Command { server, output, action } = command;
    // Everything that can be wrong with the command is found before a connection is opened.
    let token = client::token(&server, environment_token)?;
    let endpoint = client::endpoint(&server)?;
    let answer = match action {
        Action::App(command) => {
            let request = command.request()?;
            app::send(request, client::connect(&server, endpoint, token).await?).await?
        }
        Action::Key(command) => {
            let request = command.request()?;
            key::send(request, client::connect(&server, endpoint, token).await?).await?
        }
        Action::Webhook(command) => webhook::send(command, client::connect(&server, endpoint, token).await?).await?,
    };
    match output {
        Format::Table => Ok(table::text(&answer)),
        Format::Json => Ok(json::text(&answer)),
    }
}
