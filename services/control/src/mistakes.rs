//! Everything wrong with an input, told at once.

use std::fmt;

/// Something wrong in one place of an input. Never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, in the words of the input: a field of a request, an app and key of a seed file.
    pub place: String,
    /// What is wrong, as the rest of a sentence that begins with the place.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl From<(&str, String)> for Mistake {
    fn from((place, problem): (&str, String)) -> Self {
        Self { place: place.to_owned(), problem }
    }
}

/// Mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(crate) fn add(&mut self, place: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Mistake { place: place.into(), problem: problem.into() });
    }

    /// The value, or `None` and one mistake more.
    pub(crate) fn keep<T, E: fmt::Display>(&mut self, place: impl Into<String>, result: Result<T, E>) -> Option<T> {
        result.map_err(|problem| self.add(place, problem.to_string())).ok()
    }

    /// `value`, if there was no mistake. `None` for a value that could not be made, which always leaves one.
    pub(crate) fn unless_any<T>(self, value: Option<T>) -> Result<T, Vec<Mistake>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            Some(_) | None => Err(self.0),
        }
    }
}
