//! What is wrong with a configuration: all of it at once.

use std::fmt;

use super::layers::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Who said it; `None` if it is between several settings.
    origin: Option<Origin>,
    /// What is wrong and what would be right.
    text: String,
}

impl Mistake {
    /// At one place.
    pub(crate) fn new(origin: Origin, text: String) -> Self {
        Self { origin: Some(origin), text }
    }

    /// At no place in particular.
    pub(crate) fn general(text: String) -> Self {
        Self { origin: None, text }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Everything that is wrong; at least one thing.
#[derive(Debug)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// An error if there are any.
    pub(crate) fn check(mistakes: Vec<Mistake>) -> Result<(), Self> {
        if mistakes.is_empty() { Ok(()) } else { Err(Self(mistakes)) }
    }

    /// These, of which there is at least one.
    pub(crate) fn of(texts: impl Iterator<Item = String>) -> Self {
        Self(texts.map(Mistake::general).collect())
    }

    /// A single one.
    pub(crate) fn one(text: String) -> Self {
        Self(vec![Mistake::general(text)])
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} mistake{} in the configuration:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}
