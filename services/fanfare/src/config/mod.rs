//! Configuration: one table of keys, from which come the file's keys, environment variables, flags, `config check`,
//! `config show` and the reference page.
//!
//! Knows every setting by its text and hands each to the configuration of the crate that it belongs to; what a setting
//! does is that crate's business.

mod docs;
mod file;
mod key;
mod keys;
mod layers;
mod mistake;
mod settings;
mod show;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use docs::{metrics_page, settings_page};
pub(crate) use layers::{Effective, Flag, Sources};
pub(crate) use mistake::Mistakes;
pub(crate) use settings::{Role, Settings};
pub(crate) use show::show;
pub(crate) use value::{duration, show_duration};

/// The keys with a flag of their own: path and flag.
#[cfg(test)]
pub(crate) fn flags_of_keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    keys::KEYS.iter().filter_map(|key| Some((key.path, key.flag?)))
}
