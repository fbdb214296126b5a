//! What the server shows once: on the terminal, or in a file that only its owner reads.

use std::path::Path;

use super::Failure;
use crate::private_file;

/// With a file, moves the secret into it and answers where it is; without one, leaves it to be shown, and answers "".
pub(super) fn keep(file: Option<&Path>, secret: &mut String) -> Result<String, Failure> {
    let Some(file) = file else { return Ok(String::new()) };
    let place = file.display().to_string();
    match private_file::create(file, secret) {
        Ok(()) => {
            secret.clear();
            Ok(place)
        }
        // It is shown by nobody else, so that it would be lost here.
        Err(error) => Err(Failure::Usage(format!("cannot write {place} ({error}); the secret is {secret}"))),
    }
}

/// Finds out early whether a file cannot be the place.
pub(super) fn check(file: Option<&Path>) -> Result<(), Failure> {
    match file {
        Some(file) if file.exists() => {
            Err(Failure::Usage(format!("{} exists, and is not overwritten", file.display())))
        }
        Some(file) if file.parent().is_some_and(|parent| parent != Path::new("") && !parent.is_dir()) => {
            Err(Failure::Usage(format!("{} is in no directory", file.display())))
        }
        Some(_) | None => Ok(()),
    }
}
