//! `docs/admin.md`: every command of `fanfare admin`, from the parser of the command line.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, CommandFactory as _};

use super::exit::EXIT_CODES;

const HEAD: &str = "\
# fanfare admin

<!-- Generated from the command line's own help. A test compares; FANFARE_BLESS=1 writes it anew. -->

Everything that the control plane can do, from a terminal. `fanfare admin COMMAND --help` says the same as this page, and
`fanfare completion bash|zsh|fish` prints what a shell needs to complete it.

Tables are for people and may change; `--output json` and `--output yaml` print the message that the server answered, with
the field names of `control.proto`, and do not. What goes on until it is interrupted prints an object a line, or a YAML
document each.

Keep secrets off the command line, which every user of the machine can read. The admin token comes from `--token-file` or
the variable `FANFARE_ADMIN_TOKEN`, a key's own secret from a file, and what the server shows once goes into a file with
`--save`.
";

fn write(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes everything");
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
    for (code, meaning) in EXIT_CODES {
        write(&mut page, format_args!("| {code} | {meaning} |\n"));
    }
    let mut cli = crate::cli::Cli::command();
    cli.build();
    let admin = cli.find_subcommand("admin").expect("there is fanfare admin");
    page.push_str("\n## Options of every command\n\n| option | what it does |\n| --- | --- |\n");
    admin.get_arguments().filter(|arg| arg.is_global_set()).for_each(|arg| argument(&mut page, arg));
    for group in admin.get_subcommands().filter(|command| command.get_name() != "help") {
        write(&mut page, format_args!("\n## {}\n\n{}.\n", group.get_name(), about(group)));
        if group.has_subcommands() {
            for command in group.get_subcommands().filter(|command| command.get_name() != "help") {
                write(
                    &mut page,
                    format_args!("\n### {} {}\n\n{}.\n", group.get_name(), command.get_name(), about(command)),
                );
                usage(&mut page, command);
            }
        } else {
            usage(&mut page, group);
        }
    }
    page
}

fn about(command: &clap::Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn usage(page: &mut String, command: &clap::Command) {
    let line = command.clone().render_usage().to_string();
    write(page, format_args!("\n```text\n{}\n```\n", line.trim_start_matches("Usage: ")));
    let own: Vec<_> = command.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help").collect();
    if !own.is_empty() {
        page.push_str("\n| argument | what it does |\n| --- | --- |\n");
        own.into_iter().for_each(|arg| argument(page, arg));
    }
    if let Some(more) = command.get_after_help() {
        write(page, format_args!("\n{more}\n"));
    }
}

fn argument(page: &mut String, arg: &Arg) {
    let name = arg.to_string().replace('|', "\\|");
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    let values: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let is_switch = values == ["true", "false"];
    if !values.is_empty() && !is_switch {
        write(
            &mut help,
            format_args!(": {}", values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")),
        );
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if !defaults.is_empty() && !arg.is_hide_default_value_set() && !is_switch {
        write(&mut help, format_args!("; default `{}`", defaults.join(",")));
    }
    if let Some(variable) = arg.get_env() {
        write(&mut help, format_args!("; or the variable `{}`", variable.to_string_lossy()));
    }
    write(page, format_args!("| `{name}` | {help} |\n"));
}

#[test]
fn the_reference_pages_of_admin_are_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/admin.md");
    let page = page();
    if std::env::var_os("FANFARE_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "{} is not what the code says: run with FANFARE_BLESS=1", path.display());
}
