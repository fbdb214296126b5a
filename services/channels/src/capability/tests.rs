//! Capabilities as a whole.

use proptest::prelude::*;

use super::*;

type Resources<'a> = &'a [(&'a str, &'a [&'a str])];

fn capability(resources: Resources<'_>) -> Result<Capability, InvalidCapability> {
    Capability::new(resources.iter().map(|(resource, words)| ((*resource).to_owned(), words.iter())))
}

#[test]
fn permits_the_union_of_matching_resources() {
    let both = capability(&[("*", &["subscribe"]), ("chat:*", &["publish"])]).unwrap();
    assert!(both.permits("news", Operation::Subscribe));
    assert!(!both.permits("news", Operation::Publish));
    assert!(both.permits("chat:1", Operation::Publish));
    assert!(both.permits_any("news") && !both.permits_any("[meta]log"));
    assert!(Capability::all().permits("x", Operation::Stats));
}

#[test]
fn what_is_about_the_app_takes_all_channels() {
    for (resource, words, expected) in [
        ("*", &["stats"], true),
        ("[*]*", &["*"], true),
        ("*", &["subscribe"], false),
        ("a:*", &["*"], false),
        ("[meta]*", &["*"], false),
    ] as [(&str, &[&str], bool); 5]
    {
        let capability = capability(&[(resource, words)]).unwrap();
        assert_eq!(capability.permits_app_wide(Operation::Stats), expected, "{resource}");
    }
}

#[test]
fn refuses_malformed() {
    use InvalidCapability::*;
    assert_eq!(capability(&[("a", &[])]), Err(NoOperations("a".to_owned())));
    assert_eq!(capability(&[("a", &["*", "publish"])]), Err(MixedWildcard("a".to_owned())));
    assert_eq!(capability(&[("a", &["fly"])]), Err(UnknownOperation("fly".to_owned())));
    assert_eq!(capability(&[("", &["*"])]), Err(EmptyResource));
}

#[test]
fn resources_and_words_are_sorted() {
    let capability = capability(&[("b", &["subscribe", "publish"]), ("a", &["*"])]).unwrap();
    let shown: Vec<_> = capability.iter().collect();
    assert_eq!(shown, [("a", vec!["*"]), ("b", vec!["publish", "subscribe"])]);
    assert!(capability.names("a") && !capability.names("c"));
}

/// Ably's surface (`ably.md` §2.5): a key's capability, what is requested of it, and what is granted.
#[test]
fn documented_intersections() {
    let two: Resources<'_> = &[("channel2", &["publish", "subscribe"])];
    let granted: Resources<'_> = &[("channel2", &["subscribe"])];
    let six: Resources<'_> = &[("channel6", &["publish", "subscribe"])];
    let one_subscribed: Resources<'_> = &[("cansubscribe:*", &["subscribe"])];
    for (key, requested, expected) in [
        (two, &[("channel2", &["presence", "subscribe"] as &[&str])] as Resources<'_>, granted),
        (two, &[("channel2", &["presence", "subscribe"]), ("channelx", &["presence", "subscribe"])], granted),
        (two, &[("channel2", &["*"])], two),
        (&[("channel6", &["*"])], six, six),
        (&[("*", &["subscribe"])], one_subscribed, one_subscribed),
        (&[("canpublish:*", &["publish"])], &[("canpublish:test", &["subscribe"])], &[]),
        // Requested more broadly than the key allows: its own resources instead.
        (&[("foo:*", &["subscribe"])], &[("*", &["*"])], &[("foo:*", &["subscribe"])]),
        (
            &[("*", &["subscribe"]), ("foo:*", &["publish"])],
            &[("*", &["*"])],
            &[("*", &["subscribe"]), ("foo:*", &["publish"])],
        ),
        // Several of the key's resources cover it.
        (&[("*", &["subscribe"]), ("a:*", &["publish"])], &[("a:b", &["*"])], &[("a:b", &["publish", "subscribe"])]),
        (&[("*", &["*"])], &[("[meta]*", &["*"])], &[]),
        (&[("[*]*", &["*"])], &[("[meta]*", &["*"])], &[("[meta]*", &["*"])]),
        (&[("a:*:c", &["*"])], &[("*:b:c", &["*"])], &[]),
    ] {
        let (key, requested) = (capability(key).unwrap(), capability(requested).unwrap());
        assert_eq!(key.intersection(&requested), capability(expected).unwrap(), "{key:?} → {requested:?}");
    }
}

fn resources() -> impl Strategy<Value = String> {
    prop_oneof!["[ab*](:[ab*]){0,2}", "\\[meta\\][a*]", "\\[\\*\\]\\*", "[ab](:[ab]){0,2}"]
}

fn capabilities() -> impl Strategy<Value = Capability> {
    let words = prop_oneof![
        1 => Just(vec!["*"]),
        4 => proptest::sample::subsequence(vec!["history", "presence", "publish", "subscribe"], 1..4),
    ];
    proptest::collection::vec((resources(), words), 0..4).prop_map(|entries| Capability::new(entries).unwrap())
}

proptest! {
    #[test]
    fn an_intersection_permits_what_both_do_and_no_more(
        held in capabilities(), requested in capabilities(), channel in "(\\[meta\\])?[ab](:[ab]){0,2}",
    ) {
        let both = held.intersection(&requested);
        let exact = requested.iter().all(|(resource, _)| !resource.contains('*'));
        for operation in Operation::all() {
            let by_each = held.permits(&channel, operation) && requested.permits(&channel, operation);
            prop_assert!(by_each || !both.permits(&channel, operation));
            prop_assert!(!exact || by_each == both.permits(&channel, operation), "nothing is lost on what has a name");
        }
    }

    #[test]
    fn an_intersection_stays_what_it_is(
        held in capabilities(), requested in capabilities(), channel in "(\\[meta\\])?[ab](:[ab]){0,2}",
    ) {
        let both = held.intersection(&requested);
        prop_assert_eq!(held.intersection(&both), both);
        let same = held.intersection(&held);
        for operation in Operation::all() {
            prop_assert_eq!(same.permits(&channel, operation), held.permits(&channel, operation));
        }
    }
}
