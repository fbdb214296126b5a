//! Signed HTTP requests.

use std::time::Duration;

use auth::{Query, body_md5, signed_path, string_to_sign};

use super::{Explain, Report};
use crate::token::Problem;

/// Times above this are milliseconds, of the year 2001 and later, or seconds of the year 33658.
const MILLISECONDS: u64 = 1_000_000_000_000;

/// What the API has.
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

pub(super) fn explain(explain: &Explain, what: &str, now_seconds: u64, report: &mut Report) -> Result<(), Problem> {
    let (target, query_text) = what.split_once('?').unwrap_or((what, ""));
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => target,
    };
    let query_text = query_text.split('#').next().unwrap_or_default();
    let query = match Query::parse(query_text) {
        Ok(query) => query,
        Err(error) => {
            report.wrong(error);
            return Ok(());
        }
    };
    let body = match (&explain.body, &explain.body_file) {
        (Some(body), _) => Some(body.clone().into_bytes()),
        (None, Some(file)) => Some(std::fs::read(file).map_err(|source| Problem::File { file: file.clone(), source })?),
        (None, None) => None,
    };
    let has_body = body.is_some() || query.get("body_md5").is_some();
    let method = explain.method.clone().unwrap_or_else(|| if has_body { "POST" } else { "GET" }.to_owned());
    let Some(signed) = signed_path(path) else {
        report.wrong(format!("the path {path} is not below /apps/"));
        return Ok(());
    };
    report.fact("request", format_args!("{} {signed}", method.to_ascii_uppercase()));
    for name in ["auth_key", "auth_timestamp", "auth_version", "auth_signature"] {
        if query.get(name).is_none() {
            report.wrong(format!("the query parameter {name} is missing"));
        }
    }
    let key = query.get("auth_key").unwrap_or_default();
    report.fact("key", key);
    if let Some(version) = query.get("auth_version").filter(|version| *version != "1.0") {
        report.wrong(format!("auth_version is {version}: it has to be 1.0"));
    }
    if let Some(time) = query.get("auth_timestamp") {
        timestamp(time, now_seconds, explain.window, report);
    }
    body_digest(&query, body.as_deref(), report);
    let text = string_to_sign(&method, signed, query.iter());
    report.fact("covers", text.escape_debug());
    let (Some(signature), Some(signer)) = (query.get("auth_signature"), explain.signer(key, report)?) else {
        return Ok(());
    };
    let others = others(&method, path, signed, &query, query_text);
    explain.check(&signer, signature, &text, &others, report)
}

fn timestamp(text: &str, now_seconds: u64, window: u64, report: &mut Report) {
    let Ok(given) = text.parse::<u64>() else {
        report.wrong(format!("auth_timestamp is {text:?}: it has to be whole seconds since 1970"));
        return;
    };
    if given >= MILLISECONDS {
        report.wrong("auth_timestamp is in milliseconds: it has to be in seconds");
        return;
    }
    let apart = now_seconds.abs_diff(given);
    let when = if given > now_seconds { "from now" } else { "ago" };
    let shown = |seconds: u64| crate::config::show_duration(Duration::from_secs(seconds));
    let shown =
        |seconds: u64| if seconds < 60 { shown(seconds) } else { format!("{}m{}s", seconds / 60, seconds % 60) };
    if apart > window {
        report.wrong(format!(
            "it was signed for {} {when}, and is good for {} around that: sign anew, or set the clock",
            shown(apart),
            shown(window)
        ));
    } else {
        let left = (given + window).saturating_sub(now_seconds);
        report.fact("time", format_args!("{} {when}, good for another {}", shown(apart), shown(left)));
    }
}

fn body_digest(query: &Query<'_>, body: Option<&[u8]>, report: &mut Report) {
    match (query.get("body_md5"), body) {
        (None, Some(body)) if !body.is_empty() => report.wrong("body_md5 is missing: a request with a body needs it"),
        (Some(_), None) => report.fact("body", "not compared: give it with --body or --body-file"),
        (Some(given), Some(body)) if given != body_md5(body) => {
            report.wrong("body_md5 is not the MD5 of this body");
            let cut = body.strip_suffix(b"\n").map(|cut| cut.strip_suffix(b"\r").unwrap_or(cut));
            if cut.is_some_and(|cut| body_md5(cut) == given) {
                report.hint("it is that of the body without the line end: sign what is sent");
            } else if body_md5(&[body, b"\n"].concat()) == given {
                report.hint("it is that of the body with a line end behind it: sign what is sent");
            } else {
                report.hint("sign the bytes that are sent: JSON that is made twice may differ in blanks and order");
            }
        }
        (Some(_), Some(_)) => report.fact("body", "has the MD5 that is signed"),
        (None, _) => {}
    }
}

/// What may have been signed by mistake, each with how that is mended.
fn others(method: &str, path: &str, signed: &str, query: &Query<'_>, query_text: &str) -> Vec<(String, String)> {
    let mut others = Vec::new();
    let mut or = |text: String, mistake: String| others.push((text, mistake));
    for other in METHODS.iter().filter(|other| !other.eq_ignore_ascii_case(method)) {
        or(string_to_sign(other, signed, query.iter()), format!("it was signed for the method {other}"));
    }
    // As libraries do that take the path below the app, or with what a proxy puts in front.
    let below_app = signed.strip_prefix("/apps/").and_then(|rest| rest.find('/').map(|start| &rest[start..]));
    for other in [Some(path), below_app].into_iter().flatten().filter(|other| *other != signed) {
        or(
            string_to_sign(method, other, query.iter()),
            format!("it was signed for the path {other}: it has to be the one from /apps/ on"),
        );
    }
    let method = method.to_ascii_uppercase();
    let raw: Vec<_> = query_text.split('&').filter(|pair| !pair.starts_with("auth_signature=")).collect();
    or(
        format!("{method}\n{signed}\n{}", raw.join("&")),
        "parameters were signed in the order of the URL, or encoded as there: sort them by name, and sign decoded values"
            .to_owned(),
    );
    or(format!("{method}\n{signed}"), "it was signed without the parameters: append them, sorted by name".to_owned());
    or(
        string_to_sign(&method, signed, query.iter().filter(|(name, _)| *name != "body_md5")),
        "it was signed without body_md5: that is a parameter like any other".to_owned(),
    );
    others
}
