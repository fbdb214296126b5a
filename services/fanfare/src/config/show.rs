//! `fanfare config show`: the effective settings as a file that could be used again, secrets masked.

use std::fmt::Write as _;

use super::key::Set;
use super::layers::{Effective, Entry};

/// The settings, one dotted key a line; with `origin`, who said each.
pub(crate) fn show(effective: &Effective, origin: bool) -> String {
    let lines: Vec<_> = effective.entries.iter().map(line).collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).min(60);
    let mut text = String::new();
    for (line, entry) in lines.iter().zip(&effective.entries) {
        let written =
            if origin { writeln!(text, "{line:width$}  # {}", entry.origin) } else { writeln!(text, "{line}") };
        written.expect("a string takes everything");
    }
    text
}

fn line(entry: &Entry) -> String {
    let path = entry.key.path;
    if entry.in_file {
        return format!("{path}_file = {}", quoted(&entry.text));
    }
    if entry.text.is_empty() {
        return format!("# {path} is not set");
    }
    match entry.key.set {
        Set::Secret(_) => format!("# {path} is set, and not shown"),
        Set::Count(..) | Set::Switch(_) => format!("{path} = {}", entry.text),
        Set::List(_) => format!("{path} = {}", quoted(&mask_credentials(&entry.text))),
        Set::Address(_) | Set::Size(..) | Set::Duration(..) | Set::Path(_) | Set::Text(_) | Set::Parsed(..) => {
            format!("{path} = {}", quoted(&entry.text))
        }
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// URLs may carry a user and a password. Both are masked, also in what is no proper list of URLs: a password with a
/// comma in it, a URL without its scheme.
fn mask_credentials(text: &str) -> String {
    let mut items: Vec<_> = text.split(',').collect();
    // From the first item of a URL to the one with its '@', all is one.
    let mut masked = Vec::new();
    while !items.is_empty() {
        let starts = |item: &str| item.contains("://");
        let next = items.iter().skip(1).position(|item| starts(item)).map_or(items.len(), |index| index + 1);
        let url = items.drain(..next).collect::<Vec<_>>().join(",");
        masked.push(match url.rsplit_once('@') {
            Some((credentials, host)) => {
                let scheme = credentials.find("://").map_or("", |end| &credentials[..end + 3]);
                format!("{scheme}***@{host}")
            }
            None => url,
        });
    }
    masked.join(",")
}
