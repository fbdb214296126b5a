//! The names in a capability: which channels one stands for, and which of two stands for more.

/// What channels of the two special kinds begin with. Only a resource that begins likewise, or [`EVERYTHING`], reaches
/// them.
const KINDS: [&str; 2] = ["[meta]", "[queue]"];

/// The resource that stands for all channels, special ones too.
pub(super) const EVERYTHING: &str = "[*]*";

/// The resource that stands for all ordinary channels.
pub(super) const ORDINARY: &str = "*";

/// Whether `pattern` stands for everything that `resource`, a channel's name or another pattern, stands for.
///
/// Both are compared by `:`-separated segments. A `*` segment in the middle stands for exactly one, a final one for one
/// or more; a `*` glued to other characters is that character.
///
/// One function serves names and patterns, since a `*` that a name holds is matched by nothing that would not match the
/// same segment of a pattern, too.
pub(super) fn covers(pattern: &str, resource: &str) -> bool {
    if pattern == EVERYTHING {
        return true;
    }
    let (pattern_kind, pattern) = split(pattern);
    let (kind, resource) = split(resource);
    resource_is_bounded(kind, resource) && kind == pattern_kind && covers_segments(pattern, resource)
}

/// [`EVERYTHING`] is of no kind, and only itself reaches so far.
fn resource_is_bounded(kind: &str, resource: &str) -> bool {
    !(kind.is_empty() && resource == EVERYTHING)
}

/// The kind that a name begins with, and the rest of it.
fn split(name: &str) -> (&str, &str) {
    let kind = KINDS.into_iter().find(|kind| name.starts_with(kind)).unwrap_or_default();
    name.split_at(kind.len())
}

fn covers_segments(pattern: &str, resource: &str) -> bool {
    let mut resource = resource.split(':');
    let mut pattern = pattern.split(':').peekable();
    while let Some(expected) = pattern.next() {
        let Some(segment) = resource.next() else { return false };
        if expected == "*" {
            if pattern.peek().is_none() {
                return true;
            }
        } else if expected != segment {
            return false;
        }
    }
    resource.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn channels() {
        for (pattern, channel, expected) in [
            ("*", "anything:at:all", true),
            ("foo:*", "foo:a", true),
            ("foo:*", "foo:a:b", true),
            ("foo:*", "foo", false),
            ("foo:*:baz", "foo:bar:baz", true),
            ("foo:*:baz", "foo:bar:qux:baz", false),
            ("foo:*:baz", "foo:bar", false),
            ("foo*", "foobar", false),
            ("foo*", "foo*", true),
            ("foo", "foo", true),
            ("foo", "foo:bar", false),
            ("*", "[meta]log", false),
            ("*", "[queue]jobs", false),
            ("*:push", "[meta]log:push", false),
            ("[meta]*", "[meta]log:push", true),
            ("[meta]*", "[queue]jobs", false),
            ("[meta]*", "log", false),
            ("[meta]log", "[meta]log", true),
            ("[meta]stats:*", "[meta]stats:minute", true),
            ("[queue]*", "[queue]jobs", true),
            ("[*]*", "[queue]jobs", true),
            ("[*]*", "[meta]log", true),
            ("[*]*", "a:b", true),
            ("*", "[*]*", false),
        ] {
            assert_eq!(covers(pattern, channel), expected, "{pattern} on {channel}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, narrower, expected) in [
            ("*", "foo:*", true),
            ("foo:*", "*", false),
            ("foo:*", "foo:*:baz", true),
            ("foo:*", "foo:*", true),
            ("foo:*:baz", "foo:*", false),
            ("foo:*:*", "foo:*", false),
            ("*:*", "*", false),
            ("*:*", "foo:*", true),
            ("foo:*:baz", "*:bar:baz", false),
            ("*", "[meta]*", false),
            ("[*]*", "*", true),
            ("[*]*", "[meta]*", true),
            ("[*]*", "[*]*", true),
        ] {
            assert_eq!(covers(pattern, narrower), expected, "{pattern} over {narrower}");
        }
    }

    fn names() -> impl Strategy<Value = String> {
        (
            prop_oneof![5 => Just(""), 1 => Just("[meta]"), 1 => Just("[queue]"), 1 => Just("[*]")],
            "[ab*]{0,2}(:[ab*]{0,1}){0,3}",
        )
            .prop_map(|(kind, rest)| format!("{kind}{rest}"))
    }

    proptest! {
        #[test]
        fn what_covers_more_reaches_further(broad in names(), narrow in names(), name in names()) {
            prop_assert!(covers(&broad, &broad));
            if covers(&broad, &narrow) && covers(&narrow, &name) {
                prop_assert!(covers(&broad, &name));
            }
            if covers(&broad, &narrow) && covers(&narrow, &broad) {
                prop_assert_eq!(broad, narrow);
            }
        }
    }
}
