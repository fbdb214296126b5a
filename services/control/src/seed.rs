//! The seed file: apps that are created where they are absent.
//!
//! Owns the file's format and its application. What exists is never changed by it: the file says what a cluster begins
//! with, not what it must look like, so an operator's later changes (a revoked key, a new quota) survive a restart.
//! Deliberately knows nothing of where the file lies.

mod apply;
mod duration;
mod fields;
mod parse;
mod settings;
mod webhook;

use channels::App;

pub use apply::{Applied, NameTaken, SeedError};
pub use duration::{InvalidDuration, duration, short_duration};

use crate::Mistake;

/// A seed file that was read without a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// In the file's order. Their keys' times are 0 until they are applied.
    apps: Vec<App>,
}

/// Everything wrong with a seed file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct SeedMistakes(pub Vec<Mistake>);

fn lines(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    lines.join("\n")
}

impl Seed {
    /// Reads the text of a seed file. Mistakes name their app, key, field and line, and never show a secret.
    pub fn parse(text: &str) -> Result<Self, SeedMistakes> {
        parse::parse(text).map(|apps| Self { apps }).map_err(SeedMistakes)
    }

    /// The apps, for those who want to print what was seeded.
    pub fn apps(&self) -> &[App] {
        &self.apps
    }
}
