//! `fanfare`: one binary for every role.
//!
//! Owns the command line, the configuration and the life of the process; what a role does is its crate's business.

mod admin;
mod cli;
mod config;
mod config_command;
mod dev;
mod private_file;
mod process;
mod start;
mod token;

use std::error::Error;
use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Cli, Command};

/// musl's own gives all threads one lock, and takes more CPU and memory: `docs/performance.md` has the figures.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The version of this build.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, if whoever built it said so: a build from an archive does not know.
const COMMIT: Option<&str> = match option_env!("FANFARE_COMMIT") {
    Some(commit) if !commit.is_empty() => Some(commit),
    Some(_) | None => None,
};

/// What `--version` says.
static FACTS: LazyLock<String> =
    LazyLock::new(|| COMMIT.map_or_else(|| VERSION.to_owned(), |commit| format!("{VERSION} ({commit})")));

/// The command line or the configuration makes no sense. The same code that the parser of the command line uses.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Dev(settings) => start::dev(&settings),
        Command::Run(settings) => start::run(&settings),
        Command::Admin(command) => administer(command),
        Command::Config(command) => usage_code(config_command::run(&command)),
        Command::Token(command) => match token::run(&command) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(problem) => usage(&problem),
        },
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fanfare", &mut script);
            print(&String::from_utf8_lossy(&script));
            ExitCode::SUCCESS
        }
    }
}

/// One call to the control plane needs no more than this thread.
fn administer(command: admin::Command) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(admin::run(command)),
        Err(error) => {
            eprintln!("fanfare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage_code(result: Result<(), impl Display>) -> ExitCode {
    result.map_or_else(|problem| usage(&problem), |()| ExitCode::SUCCESS)
}

/// Tells what makes no sense.
fn usage(problem: &impl Display) -> ExitCode {
    eprintln!("fanfare: {problem}");
    ExitCode::from(EXIT_USAGE)
}

/// Unlike `print!`, this does not panic when the reader has left, as `| head` does.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

/// An error and what it comes from, on one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent errors repeat the text of what they wrap.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
