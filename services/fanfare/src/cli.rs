//! The command line: commands and flags, and how flags become settings.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Effective, Flag, Mistakes, Sources};
use crate::{admin, token};

/// The variable that names the configuration file.
const FILE_VARIABLE: &str = "FANFARE_CONFIG";

/// A self-hosted realtime server that speaks the protocols of Pusher Channels and Ably.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version = crate::FACTS.as_str(), arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What `fanfare` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process, in memory, with a demo app, and print how to try it
    Dev(Settings),
    /// Run one or more roles of a cluster, or everything in one process
    Run(Settings),
    /// Administer apps, keys and the cluster, through the control plane
    Admin(admin::Command),
    /// Look into the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Sign and explain what applications sign, offline
    #[command(subcommand)]
    Token(token::Command),
    /// Print a script that makes a shell complete what is typed
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Ways to look into the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// List every mistake, those of the seed file too, without touching the network; exit code 2 if there is one
    Check {
        /// Also refuse environment variables that start with FANFARE_ and are no settings
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Print the settings that would be used, in the form of the file, without secrets
    Show {
        /// Also say where each comes from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Print a new cluster key, made of random bits, for cluster.key_file
    NewKey,
    /// Print the reference of all settings, as Markdown
    Docs,
    /// Print the catalogue of all metrics, as Markdown
    Metrics,
}

/// The flags that carry settings.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// Configuration file (TOML) [env: FANFARE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to run: edge, control or worker; repeatable, all if absent
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// Where clients and publishers come in [default: 127.0.0.1:6001]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the control plane serves gRPC [default: 127.0.0.1:6002]
    #[arg(long, value_name = "ADDRESS")]
    control_listen: Option<String>,
    /// Where health and metrics are served [default: 127.0.0.1:6003]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// NATS servers, as in nats://a:4222,nats://b:4222; without them the backbone is in memory
    #[arg(long, value_name = "URLS")]
    nats: Option<String>,
    /// Where to keep what users create, without NATS; not given: in memory
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Apps to create where they are absent (TOML)
    #[arg(long, value_name = "FILE")]
    seed: Option<String>,
    /// Any setting by its key, but no secret; repeatable; `fanfare config docs` lists them
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// Reads the file, and lays file, environment and flags over the defaults.
    pub(crate) fn effective(&self) -> Result<Effective, Mistakes> {
        let from_environment = std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let file = match self.config.clone().or(from_environment) {
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Some((path, text)),
                Err(error) => return Err(Mistakes::one(format!("{}: {error}", path.display()))),
            },
            None => None,
        };
        let sources = Sources { file, environment: std::env::vars_os().collect(), flags: self.flags()? };
        Ok(Effective::new(&sources))
    }

    fn flags(&self) -> Result<Vec<Flag>, Mistakes> {
        let roles = (!self.role.is_empty()).then(|| self.role.join(","));
        let named = [
            ("--role", "roles", &roles),
            ("--listen", "listen", &self.listen),
            ("--control-listen", "control.listen", &self.control_listen),
            ("--admin-listen", "admin.listen", &self.admin_listen),
            ("--nats", "nats.urls", &self.nats),
            ("--data-dir", "data_dir", &self.data_dir),
            ("--seed", "seed", &self.seed),
        ];
        let mut flags = Vec::new();
        for (name, path, value) in named {
            if let Some(value) = value {
                flags.push(Flag { name: name.to_owned(), path: path.to_owned(), value: value.clone() });
            }
        }
        for pair in &self.set {
            let Some((path, value)) = pair.split_once('=') else {
                return Err(Mistakes::one(format!("--set {pair}: write KEY=VALUE, as in --set drain.grace=5s")));
            };
            flags.push(Flag { name: "--set".to_owned(), path: path.trim().to_owned(), value: value.to_owned() });
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::config::flags_of_keys;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The table of keys says which flags there are; this file declares them.
    #[test]
    fn flags_are_those_of_the_table() {
        let settings = Settings {
            config: None,
            role: vec!["edge".to_owned()],
            listen: Some(String::new()),
            control_listen: Some(String::new()),
            admin_listen: Some(String::new()),
            nats: Some(String::new()),
            data_dir: Some(String::new()),
            seed: Some(String::new()),
            set: Vec::new(),
        };
        let mut declared: Vec<_> = settings.flags().unwrap().into_iter().map(|flag| (flag.path, flag.name)).collect();
        let mut expected: Vec<_> = flags_of_keys().map(|(path, flag)| (path.to_owned(), format!("--{flag}"))).collect();
        declared.sort();
        expected.sort();
        assert_eq!(declared, expected);
    }

    #[test]
    fn the_parser_takes_the_documented_lines() {
        for line in [
            "fanfare dev",
            "fanfare dev --listen 127.0.0.1:7001 --seed apps.toml",
            "fanfare run --config f.toml --role edge --role control --nats nats://a:4222,nats://b:4222",
            "fanfare config check --strict --set drain.grace=5s",
            "fanfare config show --origin",
            "fanfare config docs",
            "fanfare admin app list --output json",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in ["fanfare fly", "fanfare run --rolle edge", "fanfare config"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
