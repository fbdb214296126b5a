//! What a command prints, and in which form.

use std::io::Write;

use clap::ValueEnum;
use prost::{Message, Name};
use proto::json::Json;
use proto::json::prost_reflect::DynamicMessage;
use serde::Serialize;

/// Ways to print an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// The answer's message, its fields named as in control.proto
    Json,
    /// The same as YAML
    Yaml,
}

/// What a command has to say.
#[derive(Debug)]
pub(super) struct Answer {
    said: Said,
    /// For people.
    text: String,
    /// Whether the command did its work and found something wrong.
    pub(super) has_failed: bool,
}

#[derive(Debug)]
enum Said {
    /// A message of the server.
    Message(DynamicMessage),
    /// Something of our own.
    Report(serde_json::Value),
    /// It is printed already.
    Nothing,
}

impl Answer {
    pub(super) fn new<M: Message + Name>(message: &M, text: impl Into<String>) -> Self {
        Self { said: Said::Message(proto::json::dynamic(message)), text: text.into(), has_failed: false }
    }

    /// One field of a message, in an object of its own.
    pub(super) fn part<M: Message + Name>(message: &M, field: &'static str, text: String) -> Self {
        let whole = serde_json::to_value(Json(&proto::json::dynamic(message)));
        let part = whole.expect("a message is always JSON")[field].take();
        Self::report(serde_json::json!({ field: part }), text, false)
    }

    /// An answer that is no message of the API.
    pub(super) fn report(report: serde_json::Value, text: String, has_failed: bool) -> Self {
        Self { said: Said::Report(report), text, has_failed }
    }

    /// Nothing more to say.
    pub(super) fn printed() -> Self {
        Self { said: Said::Nothing, text: String::new(), has_failed: false }
    }
}

/// Where answers go.
pub(super) struct Output<'w> {
    format: Format,
    writer: &'w mut dyn Write,
}

/// The reader has left, as `| head` does.
#[derive(Debug)]
pub(super) struct ReaderGone;

impl<'w> Output<'w> {
    pub(super) fn new(format: Format, writer: &'w mut dyn Write) -> Self {
        Self { format, writer }
    }

    /// Prints an answer, which is all that there is to say.
    pub(super) fn answer(&mut self, answer: &Answer) {
        let text = match (&answer.said, self.format) {
            (Said::Nothing, _) => return,
            (_, Format::Table) => answer.text.clone(),
            (Said::Message(message), Format::Json) => pretty(&Json(message)),
            (Said::Report(report), Format::Json) => pretty(report),
            (Said::Message(message), Format::Yaml) => yaml(&Json(message)),
            (Said::Report(report), Format::Yaml) => yaml(report),
        };
        // Whoever left has seen enough.
        self.write(&text).ok();
    }

    /// Prints the line above a stream for people.
    pub(super) fn head(&mut self, line: &str) -> Result<(), ReaderGone> {
        match self.format {
            Format::Table => self.write(line),
            Format::Json | Format::Yaml => Ok(()),
        }
    }

    /// Prints one item of a stream: a line of text, an object on a line, or a YAML document.
    pub(super) fn item<M: Message + Name>(
        &mut self,
        message: &M,
        line: impl FnOnce() -> String,
    ) -> Result<(), ReaderGone> {
        let text = match self.format {
            Format::Table => line(),
            Format::Json => proto::json::to_string(message) + "\n",
            Format::Yaml => format!("---\n{}", yaml(&Json(&proto::json::dynamic(message)))),
        };
        self.write(&text)
    }

    /// Prints bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), ReaderGone> {
        self.writer.write_all(bytes).and_then(|()| self.writer.flush()).map_err(|_| ReaderGone)
    }

    fn write(&mut self, text: &str) -> Result<(), ReaderGone> {
        self.bytes(text.as_bytes())
    }
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("strings and numbers are always JSON") + "\n"
}

fn yaml(value: &impl Serialize) -> String {
    serde_saphyr::to_string(value).expect("what JSON can say YAML can say")
}
