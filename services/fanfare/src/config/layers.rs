//! Who wins: flags over environment over file over defaults. One place for all keys.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::file;
use super::key::{Key, variable};
use super::keys::KEYS;
use super::mistake::{Mistake, Mistakes};
use super::settings::Settings;

/// Environment variables of ours that are no settings.
const OTHER_VARIABLES: [&str; 5] =
    ["FANFARE_CONFIG", "FANFARE_CONTROL_ADDRESS", "FANFARE_KEY_SECRET", "FANFARE_BLESS", "FANFARE_BIN"];

/// What is in front of every variable of ours.
const VARIABLE_PREFIX: &str = "FANFARE_";

/// Everything that can say something about settings. Tests fill it without touching the process.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The file's name and content.
    pub(crate) file: Option<(PathBuf, String)>,
    /// The environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Paths with values, from the command line, and how each was written there.
    pub(crate) flags: Vec<Flag>,
}

/// A setting from the command line.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    /// The flag, as in `--listen`.
    pub(crate) name: String,
    /// The key's path.
    pub(crate) path: String,
    /// The value.
    pub(crate) value: String,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A key with the value that won.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: &'static Key,
    /// Its text; for a secret from a file, the file's name.
    pub(crate) text: String,
    /// Whether `text` names a file that holds the value.
    pub(crate) in_file: bool,
    /// Who said so.
    pub(crate) origin: Origin,
}

/// The outcome of all layers.
#[derive(Debug)]
pub(crate) struct Effective {
    /// One for each key, in the order of the table.
    pub(crate) entries: Vec<Entry>,
    /// What was said and not understood.
    mistakes: Vec<Mistake>,
    /// Environment variables that look like ours and are not.
    pub(crate) stray_variables: Vec<String>,
}

/// A value somewhere in the sources.
struct Said {
    path: String,
    value: Result<String, String>,
    origin: Origin,
}

impl Effective {
    /// Lays the sources over each other.
    pub(crate) fn new(sources: &Sources) -> Self {
        let default =
            |key: &'static Key| Entry { key, text: key.default.to_owned(), in_file: false, origin: Origin::Default };
        let mut effective =
            Self { entries: KEYS.iter().map(default).collect(), mistakes: Vec::new(), stray_variables: Vec::new() };
        if let Some((path, text)) = &sources.file {
            effective.file(path, text);
        }
        effective.environment(&sources.environment);
        effective.layer(sources.flags.iter().map(|flag| Said {
            path: flag.path.clone(),
            value: Ok(flag.value.clone()),
            origin: Origin::Flag(flag.name.clone()),
        }));
        effective
    }

    fn file(&mut self, path: &Path, text: &str) {
        let (lines, mistakes) = file::read(text);
        let origin = |line| Origin::File { path: path.to_owned(), line };
        self.mistakes.extend(mistakes.into_iter().map(|(line, text)| Mistake::new(origin(line), text)));
        self.layer(lines.into_iter().map(|line| Said {
            path: line.path,
            value: line.value,
            origin: origin(line.number),
        }));
    }

    /// An empty variable counts as absent, as deployment tools leave them behind.
    fn environment(&mut self, variables: &[(OsString, OsString)]) {
        let mut said = Vec::new();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else { continue };
            if value.is_empty() || OTHER_VARIABLES.contains(&name) {
                continue;
            }
            let Some(path) = paths().find(|path| variable(path) == name) else {
                self.stray_variables.push(name.to_owned());
                continue;
            };
            let value = value.to_str().map(str::to_owned).ok_or_else(|| "is not UTF-8".to_owned());
            said.push(Said { path, value, origin: Origin::Environment(name.to_owned()) });
        }
        self.layer(said.into_iter());
    }

    /// One layer over what is there. Inside a layer nothing may be said twice.
    fn layer(&mut self, said: impl Iterator<Item = Said>) {
        let mut set_here = Vec::new();
        for Said { path, value, origin } in said {
            let Some((index, in_file)) = find(&path) else {
                self.mistakes.push(Mistake::new(origin, unknown_key(&path)));
                continue;
            };
            let key = self.entries[index].key;
            if let (Origin::Flag(_), Some(file_path), false) = (&origin, key.file_path(), in_file) {
                let text = format!(
                    "{} is a secret, and everybody on this machine can read command lines: put it into {} or into a \
                     file that {file_path} names",
                    key.path,
                    key.variable()
                );
                self.mistakes.push(Mistake::new(origin, text));
                continue;
            }
            if set_here.contains(&index) {
                let text = match key.file_path() {
                    Some(file_path) => format!("{} and {file_path} exclude each other", key.path),
                    None => format!("{path} is set twice"),
                };
                self.mistakes.push(Mistake::new(origin, text));
                continue;
            }
            set_here.push(index);
            match value {
                Ok(text) => self.entries[index] = Entry { key, text, in_file, origin },
                Err(problem) => self.mistakes.push(Mistake::new(origin, format!("{path} {problem}"))),
            }
        }
    }

    /// The settings, or everything that is wrong.
    pub(crate) fn settings(&self) -> Result<Settings, Mistakes> {
        let mut settings = Settings::default();
        let mut mistakes = self.mistakes.clone();
        for entry in &self.entries {
            if let Err(text) = entry.apply(&mut settings) {
                mistakes.push(Mistake::new(entry.origin.clone(), format!("{}: {text}", entry.key.path)));
            }
        }
        // Settings that could not all be read do not say much about each other.
        if mistakes.is_empty() {
            mistakes.extend(settings.problems().into_iter().map(Mistake::general));
        }
        Mistakes::check(mistakes)?;
        Ok(settings)
    }

    /// For those who want no environment variable that looks like a setting and is none.
    pub(crate) fn refuse_stray_variables(&self) -> Result<(), Mistakes> {
        let mistake = |name: &String| Mistake::new(Origin::Environment(name.clone()), "is no setting".to_owned());
        Mistakes::check(self.stray_variables.iter().map(mistake).collect())
    }

    /// The value of a key may still be decided by `fanfare dev`: sets it if nobody else did.
    pub(crate) fn set_default(&mut self, path: &str, text: &str) {
        let entry = self.entries.iter_mut().find(|entry| entry.key.path == path);
        if let Some(entry) = entry.filter(|entry| entry.origin == Origin::Default) {
            text.clone_into(&mut entry.text);
        }
    }

    /// The entry of a key.
    pub(crate) fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.path == path)
    }
}

impl Entry {
    fn apply(&self, settings: &mut Settings) -> Result<(), String> {
        if !self.in_file {
            return self.key.apply(settings, &self.text);
        }
        let text = std::fs::read_to_string(&self.text).map_err(|error| format!("{}: {error}", self.text))?;
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return Err(format!("{} is empty", self.text));
        }
        self.key.apply(settings, secret)
    }
}

/// Every path that may be written, those of secrets in files included.
fn paths() -> impl Iterator<Item = String> {
    KEYS.iter().flat_map(|key| [Some(key.path.to_owned()), key.file_path()]).flatten()
}

/// The key that a path belongs to, and whether it names a file with the value.
fn find(path: &str) -> Option<(usize, bool)> {
    let index = |path: &str| KEYS.iter().position(|key| key.path == path);
    if let Some(index) = index(path) {
        return Some((index, false));
    }
    let index = index(path.strip_suffix("_file")?)?;
    KEYS[index].is_secret().then_some((index, true))
}

fn unknown_key(path: &str) -> String {
    let distance = |known: &String| strsim::damerau_levenshtein(known, path);
    let closest = paths().min_by_key(distance).filter(|known| distance(known) <= 3.max(path.len() / 3));
    // A key in the wrong table has the right last part.
    let last = |path: &str| path.rsplit('.').next().map(str::to_owned);
    let moved = paths().find(|known| last(known) == last(path));
    match closest.or(moved) {
        Some(known) => format!("{path} is no setting; did you mean {known}?"),
        None => format!("{path} is no setting; `fanfare config docs` lists them all"),
    }
}
