//! `fanfare dev` and `fanfare run`: from the command line to a running process.

use std::process::ExitCode;

use control::seed::Seed;

use crate::cli;
use crate::config::{Effective, Mistakes, Settings};
use crate::dev::TokenFile;
use crate::process::{self, Plan};
use crate::{dev, usage, with_causes};

/// Everything in one process, for trying things out.
pub(crate) fn dev(arguments: &cli::Settings) -> ExitCode {
    match dev_plan(arguments) {
        // The token's file is there as long as the process.
        Ok((plan, _token_file)) => finish(Ok(plan)),
        Err(mistakes) => finish(Err(mistakes)),
    }
}

/// What the settings say.
pub(crate) fn run(arguments: &cli::Settings) -> ExitCode {
    finish(run_plan(arguments))
}

fn dev_plan(arguments: &cli::Settings) -> Result<(Plan, Option<TokenFile>), Mistakes> {
    let mut effective = arguments.effective()?;
    dev::check(&effective)?;
    dev::set_defaults(&mut effective);
    let made_up = control::admin_token();
    effective.set_default("admin.token", made_up.expose());
    let mut settings = effective.settings()?;
    let seed = match read_seed(&settings)? {
        Some(seed) => seed,
        None => parse_seed("the demo app", &dev::demo_seed(&settings))?,
    };
    // Last, so that a mistake leaves no file behind.
    let mut token_file = None;
    if settings.admin_token.as_ref().is_some_and(|token| token.expose() == made_up.expose()) {
        let (file, token) = TokenFile::make(settings.data_dir.as_deref(), made_up)?;
        settings.admin_token = Some(token);
        settings.made_up_token_file = Some(file.path().to_owned());
        token_file = Some(file);
    }
    Ok((plan(&effective, settings, Some(seed), Some(dev::greeting)), token_file))
}

fn run_plan(arguments: &cli::Settings) -> Result<Plan, Mistakes> {
    let effective = arguments.effective()?;
    let settings = effective.settings()?;
    let seed = read_seed(&settings)?;
    Ok(plan(&effective, settings, seed, None))
}

fn plan(effective: &Effective, settings: Settings, seed: Option<Seed>, greeting: Option<process::Greeting>) -> Plan {
    Plan { settings, seed, greeting, stray_variables: effective.stray_variables.clone() }
}

/// The seed that the settings name. Read before anything starts: a bad file is a usage error like a bad setting.
pub(crate) fn read_seed(settings: &Settings) -> Result<Option<Seed>, Mistakes> {
    let Some(path) = &settings.seed else { return Ok(None) };
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Mistakes::one(format!("seed {place}: {error}")))?;
    parse_seed(&place, &text).map(Some)
}

fn parse_seed(place: &str, text: &str) -> Result<Seed, Mistakes> {
    let mistakes = |mistakes: control::seed::SeedMistakes| {
        Mistakes::of(mistakes.0.iter().map(|mistake| format!("{place}: {mistake}")))
    };
    Seed::parse(text).map_err(mistakes)
}

fn finish(plan: Result<Plan, Mistakes>) -> ExitCode {
    let plan = match plan {
        Ok(plan) => plan,
        Err(mistakes) => return usage(&mistakes),
    };
    process::run(plan).unwrap_or_else(|error| {
        eprintln!("fanfare: {}", with_causes(&error));
        ExitCode::FAILURE
    })
}
