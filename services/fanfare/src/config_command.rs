//! `fanfare config`: checks, shows and documents settings, and starts nothing.

use backbone::sealing::ClusterKeys;

use crate::cli::ConfigCommand;
use crate::config::{Mistakes, metrics_page, settings_page, show};
use crate::print;
use crate::start::read_seed;

/// Runs the command.
pub(crate) fn run(command: &ConfigCommand) -> Result<(), Mistakes> {
    match command {
        ConfigCommand::Check { strict, settings } => {
            let effective = settings.effective()?;
            let settings = effective.settings()?;
            read_seed(&settings)?;
            if *strict {
                effective.refuse_stray_variables()?;
            }
            let roles = settings.roles.len();
            print(&format!("no mistakes; would run {roles} role{}\n", if roles == 1 { "" } else { "s" }));
        }
        ConfigCommand::Show { origin, settings } => {
            let effective = settings.effective()?;
            print(&show(&effective, *origin));
            // Shown first: seeing where a bad value comes from is the point of the command.
            effective.settings()?;
        }
        ConfigCommand::NewKey => print(&format!("{}\n", ClusterKeys::generate_text())),
        ConfigCommand::Docs => print(&settings_page()),
        ConfigCommand::Metrics => print(&metrics_page()),
    }
    Ok(())
}
