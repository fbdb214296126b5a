//! Filters of derived channels: a JMESPath expression that says of each message whether a subscriber gets it.
//!
//! The language is the library's; this module bounds what a subscriber may make the server do. Every node that it lets
//! through costs time at most linear in the message's metadata (sorting: a little more) and makes nothing that is
//! larger, and there are at most [`MOST_NODES`] of them.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use channels::{Message, Record};
use jmespath::ast::Ast;
use jmespath::{Context, DEFAULT_RUNTIME, Rcvar, ToJmespath as _, Variable};
use serde::Serialize;
use serde_json::Value;

/// Longest expression in bytes.
pub const LONGEST_EXPRESSION: usize = 1024;
/// Most nodes of an expression's tree.
pub const MOST_NODES: usize = 128;
/// Deepest nesting: parser and evaluator recurse.
const DEEPEST: usize = 32;

/// Functions that make nothing larger than what they are given: not `to_string`, whose escapes have escapes in turn.
const FUNCTIONS: [&str; 18] = [
    "abs",
    "avg",
    "ceil",
    "contains",
    "ends_with",
    "floor",
    "keys",
    "length",
    "max",
    "min",
    "not_null",
    "reverse",
    "sort",
    "starts_with",
    "sum",
    "to_number",
    "type",
    "values",
];

/// A checked expression.
#[derive(Clone)]
pub struct Filter {
    text: String,
    ast: Ast,
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// Not base64 of UTF-8.
    #[error("a filter is base64 of text")]
    Base64,
    /// Longer than [`LONGEST_EXPRESSION`].
    #[error("a filter has at most {LONGEST_EXPRESSION} bytes")]
    TooLong,
    /// Too many nodes, or nested too deeply.
    #[error("the filter is too complex")]
    TooComplex,
    /// Not JMESPath.
    #[error("the filter is no JMESPath expression: {0}")]
    Syntax(String),
    /// JMESPath of which we do not know what it costs.
    #[error("filters may not use {0}")]
    NotOffered(String),
}

/// What an expression sees of a message. Made once for all filters of a channel.
#[derive(Clone, Debug)]
pub struct Subject(Rcvar);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<&'a str>,
    timestamp: u64,
    #[serde(skip_serializing_if = "Value::is_null")]
    headers: Value,
    #[serde(rename = "ref", skip_serializing_if = "Value::is_null")]
    reference: Value,
}

impl Subject {
    /// The metadata of `message`, one of `record`'s.
    pub fn of(record: &Record, message: &Message) -> Self {
        let mut extras: Value = serde_json::from_slice(&message.extras).unwrap_or_default();
        let mut taken = |key| extras.get_mut(key).map_or(Value::Null, Value::take);
        let fields = Fields {
            name: message.name.as_deref(),
            client_id: message.client.as_ref().or(record.client.as_ref()).map(|client| client.as_str()),
            connection_id: record.connection.as_ref().map(|connection| connection.as_str()),
            timestamp: record.timestamp_ms,
            headers: taken("headers"),
            reference: taken("ref"),
        };
        // Strings, whole numbers and what JSON was parsed to: nothing that could not be a variable.
        Self(fields.to_jmespath().unwrap_or_else(|_| Rcvar::new(Variable::Null)))
    }
}

impl Filter {
    /// Reads the base64, of either alphabet and with or without padding, that stands in a channel's name.
    pub fn from_base64(text: &str) -> Result<Self, InvalidFilter> {
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        let bytes = GeneralPurpose::new(alphabet, config).decode(text).map_err(|_| InvalidFilter::Base64)?;
        Self::new(&String::from_utf8(bytes).map_err(|_| InvalidFilter::Base64)?)
    }

    /// Checks `expression`.
    pub fn new(expression: &str) -> Result<Self, InvalidFilter> {
        if expression.len() > LONGEST_EXPRESSION {
            return Err(InvalidFilter::TooLong);
        }
        // What makes the parser recurse. Counted wherever it stands, so that no second lexer is needed.
        if expression.bytes().filter(|byte| b"([{!&?.|".contains(byte)).count() > MOST_NODES {
            return Err(InvalidFilter::TooComplex);
        }
        let ast = jmespath::parse(expression).map_err(|error| InvalidFilter::Syntax(error.to_string()))?;
        check(&ast, &mut 0, 0)?;
        Ok(Self { text: expression.to_owned(), ast })
    }

    /// Whether a subscriber gets the message.
    pub fn matches(&self, subject: &Subject) -> bool {
        let mut context = Context::new(&self.text, &DEFAULT_RUNTIME);
        is_true(&self.ast, subject, &mut context)
    }
}

/// Whether `node` is true of the message. A part that cannot be evaluated, say a function of something else than it is made
/// for, is not; JMESPath would give up the whole, and with it what stands on the other side of an `||`.
fn is_true(node: &Ast, subject: &Subject, context: &mut Context<'_>) -> bool {
    match node {
        Ast::And { lhs, rhs, .. } => is_true(lhs, subject, context) && is_true(rhs, subject, context),
        Ast::Or { lhs, rhs, .. } => is_true(lhs, subject, context) || is_true(rhs, subject, context),
        Ast::Not { node, .. } => !is_true(node, subject, context),
        part => jmespath::interpret(&subject.0, part, context).is_ok_and(|result| result.is_truthy()),
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.text)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Filter {}

/// Refuses what is not offered, and counts the rest.
fn check(node: &Ast, nodes: &mut usize, depth: usize) -> Result<(), InvalidFilter> {
    *nodes += 1;
    if *nodes > MOST_NODES || depth > DEEPEST {
        return Err(InvalidFilter::TooComplex);
    }
    let not_offered = |what: &str| Err(InvalidFilter::NotOffered(what.to_owned()));
    let mut below = |children: &[&Ast]| children.iter().try_for_each(|child| check(child, nodes, depth + 1));
    match node {
        Ast::Identity { .. } | Ast::Field { .. } | Ast::Index { .. } | Ast::Literal { .. } => Ok(()),
        Ast::Not { node, .. } => below(&[node]),
        Ast::Comparison { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => below(&[lhs, rhs]),
        Ast::Function { name, args, .. } if FUNCTIONS.contains(&name.as_str()) => {
            below(&args.iter().collect::<Vec<_>>())
        }
        Ast::Function { name, .. } => not_offered(&format!("the function {name}")),
        // `[@, @]` makes a value twice as large as the one it is made of, and so does `[*].keys({…})`: a few in a row,
        // and an expression of a line keeps the server busy for hours.
        Ast::MultiList { .. } | Ast::MultiHash { .. } => not_offered("lists and objects of expressions"),
        Ast::Projection { .. } | Ast::ObjectValues { .. } | Ast::Flatten { .. } | Ast::Condition { .. } => {
            not_offered("projections")
        }
        Ast::Expref { .. } => not_offered("references to expressions"),
        Ast::Slice { .. } => not_offered("slices"),
    }
}

#[cfg(test)]
mod tests;
