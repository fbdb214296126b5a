//! What a row of the table of keys says, and how it turns a text into a setting.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use channels::Secret;

use super::settings::Settings;
use super::value;

/// One setting as operators know it.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its place in the file, dotted: `edge.max_connections` is `max_connections` in the table `[edge]`.
    pub(crate) path: &'static str,
    /// What it does and why one would change it.
    pub(crate) doc: &'static str,
    /// The value if nobody sets it, as text; empty for "not set".
    pub(crate) default: &'static str,
    /// A value that differs from the default, for the documentation and for the test that the key does something.
    pub(crate) example: &'static str,
    /// The main settings have a flag of their own, here without the dashes.
    pub(crate) flag: Option<&'static str>,
    /// How it is read and where it goes.
    pub(crate) set: Set,
}

/// How a text is read, and the function that puts the value into the settings.
#[derive(Debug)]
pub(crate) enum Set {
    /// An IP address with a port.
    Address(fn(&mut Settings, SocketAddr)),
    /// A whole number.
    Count(RangeInclusive<u32>, fn(&mut Settings, u32)),
    /// A number of bytes with a unit.
    Size(RangeInclusive<usize>, fn(&mut Settings, usize)),
    /// A time with a unit.
    Duration(RangeInclusive<Duration>, fn(&mut Settings, Duration)),
    /// True or false.
    Switch(fn(&mut Settings, bool)),
    /// A file.
    Path(fn(&mut Settings, Option<PathBuf>)),
    /// Any text.
    Text(fn(&mut Settings, Option<String>)),
    /// A text that must never be shown. Comes with a second key, `…_file`, that names a file with the text.
    Secret(fn(&mut Settings, Option<Secret>) -> Result<(), String>),
    /// Items between commas, or an array in the file.
    List(fn(&mut Settings, Vec<String>) -> Result<(), String>),
    /// A text with rules of its own, described in words.
    Parsed(&'static str, fn(&mut Settings, &str) -> Result<(), String>),
}

impl Key {
    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        variable(self.path)
    }

    /// The key that names a file with the value, if this one is a secret.
    pub(crate) fn file_path(&self) -> Option<String> {
        self.is_secret().then(|| format!("{}_file", self.path))
    }

    /// Whether its value must never be shown.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.set, Set::Secret(_))
    }

    /// What a value looks like, in words.
    pub(crate) fn shape(&self) -> String {
        match &self.set {
            Set::Address(_) => "address".to_owned(),
            Set::Count(range, _) => format!("number, {}", bounds(range, &u32::MAX, u32::to_string)),
            Set::Size(range, _) => {
                format!("size, {}", bounds(range, &usize::MAX, |size| value::show_size(*size as u64)))
            }
            Set::Duration(range, _) => {
                format!("duration, {}", bounds(range, &Duration::MAX, |d| value::show_duration(*d)))
            }
            Set::Switch(_) => "`true` or `false`".to_owned(),
            Set::Path(_) => "file".to_owned(),
            Set::Text(_) => "text".to_owned(),
            Set::Secret(_) => "secret".to_owned(),
            Set::List(_) => "list".to_owned(),
            Set::Parsed(shape, _) => (*shape).to_owned(),
        }
    }

    /// Reads `text` into `settings`, or says what is wrong with it.
    pub(crate) fn apply(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        let given = (!text.is_empty()).then_some(text);
        match &self.set {
            Set::Address(set) => set(settings, value::address(text)?),
            Set::Count(range, set) => {
                let count = u32::try_from(value::count(text)?).map_err(|_| format!("{text} is too large"))?;
                set(settings, within(range, count, u32::to_string)?);
            }
            Set::Size(range, set) => {
                let size = usize::try_from(value::size(text)?).map_err(|_| format!("{text} is too large"))?;
                set(settings, within(range, size, |size| value::show_size(*size as u64))?);
            }
            Set::Duration(range, set) => {
                set(settings, within(range, value::duration(text)?, |duration| value::show_duration(*duration))?);
            }
            Set::Switch(set) => set(settings, value::switch(text)?),
            Set::Path(set) => set(settings, given.map(PathBuf::from)),
            Set::Text(set) => set(settings, given.map(str::to_owned)),
            Set::Secret(set) => set(settings, Secret::new(text))?,
            Set::List(set) => set(settings, value::list(text))?,
            Set::Parsed(_, set) => set(settings, text)?,
        }
        Ok(())
    }
}

/// The environment variable of a path.
pub(crate) fn variable(path: &str) -> String {
    format!("FANFARE_{}", path.replace('.', "_").to_ascii_uppercase())
}

fn within<T: PartialOrd + Copy>(range: &RangeInclusive<T>, value: T, show: impl Fn(&T) -> String) -> Result<T, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("{} is not between {} and {}", show(&value), show(range.start()), show(range.end())))
}

fn bounds<T: PartialEq>(range: &RangeInclusive<T>, unlimited: &T, show: impl Fn(&T) -> String) -> impl Display {
    if range.end() == unlimited {
        return format!("at least {}", show(range.start()));
    }
    format!("{} to {}", show(range.start()), show(range.end()))
}
