//! Auth strings of clients: subscriptions and sign-ins.

use serde_json::Value;

use super::{Explain, Report};
use crate::token::Problem;

/// What the names of channels that need an auth string begin with.
const GUARDED: [&str; 2] = ["private-", "presence-"];
const PRESENCE: &str = "presence-";

pub(super) fn explain(explain: &Explain, what: &str, report: &mut Report) -> Result<(), Problem> {
    let answer = if what.starts_with('{') {
        let answer: Value =
            serde_json::from_str(what).map_err(|error| Problem::Form(format!("that is no JSON: {error}")))?;
        Some(answer)
    } else {
        None
    };
    let part = |name: &str| answer.as_ref().and_then(|answer| answer[name].as_str().map(str::to_owned));
    let auth = if answer.is_some() { part("auth").unwrap_or_default() } else { what.to_owned() };
    let channel_data = explain.channel_data.clone().or_else(|| part("channel_data"));
    let user_data = explain.user_data.clone().or_else(|| part("user_data"));
    if let Some(Value::Object(_)) = answer.as_ref().map(|answer| &answer["channel_data"]) {
        report.wrong("channel_data is an object: it has to be a string of JSON, the one that was signed");
    }
    let Some((key, signature)) = auth.split_once(':') else {
        report.wrong("that is no auth string: it has the form KEY:SIGNATURE");
        return Ok(());
    };
    report.fact("key", key);
    let signer = explain.signer(key, report)?;
    let Some(socket_id) = &explain.socket_id else {
        report.hint("give --socket-id, and --channel or --user-data, to see what it covers");
        return Ok(());
    };
    if !is_socket_id(socket_id) {
        report.wrong(format!("{socket_id:?} is no socket id, as in 1234.5678: two numbers with a dot"));
    }
    report.fact("socket", socket_id);
    let Some((text, others)) = covered(explain, socket_id, channel_data.as_deref(), user_data.as_deref(), report)
    else {
        report.hint("give --channel or --user-data to see what it covers");
        return Ok(());
    };
    report.fact("covers", &text);
    match signer {
        Some(signer) => explain.check(&signer, signature, &text, &others, report),
        None => Ok(()),
    }
}

/// What has to be signed, and what may have been signed by mistake, each with how that is mended.
fn covered(
    explain: &Explain,
    socket_id: &str,
    channel_data: Option<&str>,
    user_data: Option<&str>,
    report: &mut Report,
) -> Option<(String, Vec<(String, String)>)> {
    let mut others = Vec::new();
    let mut or = |text: String, mistake: &str| others.push((text, mistake.to_owned()));
    let Some(channel) = &explain.channel else {
        let data = user_data?;
        report.fact("for", "a sign-in");
        or(format!("{socket_id}:{data}"), "it was signed without ::user:: between socket and data");
        or(
            format!("{socket_id}:user:{data}"),
            "it was signed with single colons around user; there are two on each side",
        );
        for other in respaced(data) {
            or(format!("{socket_id}::user::{other}"), OTHER_BLANKS);
        }
        return Some((format!("{socket_id}::user::{data}"), others));
    };
    report.fact("for", format_args!("channel {channel}"));
    if !GUARDED.iter().any(|prefix| channel.starts_with(prefix)) {
        report.wrong("a channel that begins with neither private- nor presence- needs no auth");
    }
    if channel_data.is_none() && channel.starts_with(PRESENCE) {
        report.hint("a presence channel needs channel_data, except for users who have signed in");
    }
    let Some(data) = channel_data else {
        or(format!("{channel}:{socket_id}"), WRONG_ORDER);
        return Some((format!("{socket_id}:{channel}"), others));
    };
    or(format!("{socket_id}:{channel}"), "it was signed without the channel data: append a colon and the data");
    or(format!("{channel}:{socket_id}:{data}"), WRONG_ORDER);
    or(format!("{socket_id}::user::{data}"), "it was signed as a sign-in, not as a subscription");
    for other in respaced(data) {
        or(format!("{socket_id}:{channel}:{other}"), OTHER_BLANKS);
    }
    Some((format!("{socket_id}:{channel}:{data}"), others))
}

const WRONG_ORDER: &str = "channel and socket id were signed in the wrong order: the socket id comes first";
const OTHER_BLANKS: &str = "the JSON was signed with other blanks or another order than it is sent with: make the text once, \
                            sign it, and send that text";

/// The same JSON as others write it.
fn respaced(data: &str) -> Vec<String> {
    let Ok(value) = serde_json::from_str::<Value>(data) else { return Vec::new() };
    let compact = value.to_string();
    // As Python writes it by default. Rough, for texts with these characters inside are rare here.
    let spaced = compact.replace("\":", "\": ").replace(",\"", ", \"");
    vec![compact, spaced]
}

fn is_socket_id(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(first, second)| digits(first) && digits(second))
}
