//! Server-sent events.

use super::Word;

/// Where a stream of `channels` is; `resume` is the id of the last event.
pub(super) fn path<'a>(
    key: &str,
    secret: &str,
    channels: impl Iterator<Item = &'a str>,
    resume: Option<&str>,
) -> String {
    let names: Vec<_> = channels.collect();
    let last = resume.map(|id| format!("&lastEvent={id}")).unwrap_or_default();
    format!("/sse?v=1.2&modes=subscribe,presence_subscribe&key={key}:{secret}&channels={}{last}", names.join(","))
}

/// What an event says that is not about messages: the first one holds where the stream begins.
pub(super) fn word(event: &[u8]) -> Word {
    match event {
        b":keepalive" => Word::Aside,
        _ if event.starts_with(b"retry: ") => {
            let text = String::from_utf8_lossy(event);
            let position = text.lines().find_map(|line| line.strip_prefix("id: ")).map(str::to_owned);
            Word::Confirmed { channel: None, resumed: true, position }
        }
        _ => Word::Foreign,
    }
}
