//! `fanfare admin`: the control plane's client for people and scripts.
//!
//! Owns the commands, the way to the server, what is printed and the exit codes. Deliberately knows none of the rules
//! for apps, keys and webhooks: the server checks, so that a newer one may allow more.
//!
//! The admin token comes from a file or the environment, never from the command line, which every user of the machine
//! can read in the process list and which shells write to their history. The same goes for secrets of keys. What the
//! server shows once, a secret or a token, can go into a file that only its owner reads, instead of the terminal.

mod app;
mod app_text;
mod arguments;
mod audit;
mod canary;
mod channel;
mod client;
mod cluster;
mod connection;
#[cfg(test)]
mod docs;
mod doctor;
mod exit;
mod health;
mod key;
pub(crate) mod moment;
mod namespace;
mod node;
mod output;
mod pages;
mod registry;
mod saved;
mod table;
mod tail;
#[cfg(test)]
mod tests;
mod token;
mod usage;
mod webhook;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::client::{Server, Way};
use self::exit::Failure;
use self::output::{Answer, Format, Output};

/// A command to the control plane, and the way to it.
#[derive(Args, Debug)]
#[command(after_help = exit::help())]
pub(crate) struct Command {
    #[command(flatten)]
    server: Server,
    /// How to print the answer
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(subcommand)]
    action: Action,
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
    /// Rules for channels of an app by the beginnings of their names
    #[command(subcommand)]
    Namespace(namespace::Command),
    /// Webhooks of an app, and what they could not be told
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// What an app has used, and what it is using
    #[command(subcommand)]
    Usage(usage::Command),
    /// Connections of an app's clients
    #[command(subcommand)]
    Connection(connection::Command),
    /// Channels of an app, and their history
    #[command(subcommand)]
    Channel(channel::Command),
    /// Watch what happens to an app's clients: connects, subscribes, publishes, refusals with their reasons, drops
    Tail(tail::Tail),
    /// Tokens of those who administer the cluster
    #[command(subcommand)]
    Token(token::Command),
    /// Show who changed what, newest first
    Audit(audit::Audit),
    /// Processes of the cluster
    #[command(subcommand)]
    Node(node::Command),
    /// Show what the control plane knows of the cluster
    Cluster,
    /// Check the cluster, and explain what is wrong
    Doctor(doctor::Doctor),
    /// Ask whether the control plane serves, without a token; for probes of containers
    Health(health::Health),
    /// Publish and receive through the public address, as customers do, and say how long each stage took
    Canary(canary::Arguments),
    /// Write everything that the registry holds into a file
    Backup(registry::Backup),
    /// Put a backup into a registry
    Restore(registry::Restore),
    /// Seal every secret with the first cluster key, so that an older one can be taken out of service
    Reseal,
}

/// Runs the command and prints its answer to standard output, or why there is none to standard error.
pub(crate) async fn run(command: Command) -> ExitCode {
    // Empty counts as absent, as in the configuration.
    let environment_token = std::env::var(client::TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
    match execute(command, environment_token, &mut std::io::stdout()).await {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("fanfare: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Prints the answer to `writer`, and tells whether it is that something is wrong. `environment_token` is what
/// [`client::TOKEN_VARIABLE`] holds.
///
/// Commands find out everything that can be wrong with them before they open a connection.
async fn execute(
    command: Command,
    environment_token: Option<String>,
    writer: &mut (dyn Write + Send),
) -> Result<bool, Failure> {
    let Command { server, output, action } = command;
    let mut output = Output::new(output, writer);
    let way = || Way::new(&server, environment_token);
    let answer = match action {
        Action::App(command) => command.run(&way()?).await?,
        Action::Key(command) => command.run(&way()?).await?,
        Action::Namespace(command) => command.run(&way()?).await?,
        Action::Webhook(command) => command.run(&way()?).await?,
        Action::Usage(command) => command.run(&way()?, &mut output).await?,
        Action::Connection(command) => command.run(&way()?).await?,
        Action::Channel(command) => command.run(&way()?).await?,
        Action::Tail(command) => command.run(&way()?, &mut output).await?,
        Action::Token(command) => command.run(&way()?).await?,
        Action::Audit(command) => command.run(&way()?).await?,
        Action::Node(command) => command.run(&way()?).await?,
        Action::Cluster => cluster::run(&way()?).await?,
        Action::Doctor(command) => command.run(&way()?).await?,
        Action::Health(command) => command.run(&way()?).await?,
        // Its way leads elsewhere.
        Action::Canary(command) => command.run(&server, &mut output).await?,
        Action::Backup(command) => command.run(&way()?, &mut output).await?,
        Action::Restore(command) => command.run(&way()?).await?,
        Action::Reseal => registry::reseal(&way()?).await?,
    };
    output.answer(&answer);
    Ok(answer.has_failed)
}
