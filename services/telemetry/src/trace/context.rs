//! Which trace a span belongs to, and how others are told: the header `traceparent` of W3C Trace Context, level 1.

use std::fmt;

/// A span that others can hang theirs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) is_sampled: bool,
}

impl Context {
    /// Reads a `traceparent`. `None` if it is none: whoever gets such a one begins a trace of its own (§4.3).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(5, '-');
        let mut hex = |digits| parts.next().filter(|part| part.len() == digits && part.bytes().all(is_lower_hex));
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        // Version 0 has four parts, later ones may have more behind these.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn what_is_read_is_written() {
        for flags in ["00", "01"] {
            let text = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
            assert_eq!(Context::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn later_versions_and_flags_are_read_as_far_as_they_are_known() {
        let context = Context::parse(&format!("cc-{TRACE}-00f067aa0ba902b7-03-what-the-future-brings")).unwrap();
        assert_eq!(context.to_string(), format!("00-{TRACE}-00f067aa0ba902b7-01"));
    }

    #[test]
    fn anything_else_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            "",
            "00",
            &format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            &format!("00-{TRACE}-00f067aa0ba902b7"),
            &format!("00-{TRACE}-00f067aa0ba902b7-01-x"),
            &format!("00-{TRACE}-0000000000000000-01"),
            &format!("00-{zeros}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            &format!("00-{TRACE}-+0f067aa0ba902b7-01"),
            &format!("00-{TRACE}-é0f067aa0ba902b-01"),
        ] {
            assert_eq!(Context::parse(text), None, "{text}");
        }
    }
}
