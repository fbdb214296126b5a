//! The API as a whole, without a server around it.

use std::time::Duration;

use auth::{Query, Signer};
use channels::{App, ChannelName, ClientId};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::fixtures;

const NOW: u64 = 1_730_000_000;

/// What a server does with a request, but for doing it: status and body.
fn serve(app: &App, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, String) {
    match answer(app, method, path, query, body) {
        Ok(body) => (200, body),
        Err(error) => (error.status(), error.body()),
    }
}

fn answer(app: &App, method: &str, path: &str, query: &str, body: &[u8]) -> Result<String, ApiError> {
    let route = route(method, path)?;
    if route.app.is_some_and(|id| id != app.id) {
        return Err(ApiError::UnknownApp);
    }
    let signed = authenticate(app, method, path, Query::parse(query)?, NOW)?;
    signed.check_body(body)?;
    let counts = |_: &ChannelName| Counts { subscriptions: 3, users: 2 };
    let known = ChannelName::new("presence-\"a").unwrap();
    let cached = Cached { data: body.to_vec().into(), ttl: Duration::from_secs(60) };
    Ok(match route.action {
        Action::Events => event_answer(&parse_event(body, &signed)?, counts),
        Action::BatchEvents => batch_answer(&parse_batch(body, &signed)?, counts),
        Action::ChannelEvent { channel } => {
            parse_channel_event(&channel, body, &signed).map(|_| EMPTY_ANSWER.to_owned())?
        }
        Action::Channels => {
            ChannelsQuery::parse(&signed.query)?.answer(signed.key, [(&known, counts(&known))].into_iter())
        }
        Action::Channel { channel } => ChannelQuery::parse(&channel, &signed)?.answer(counts(&known), Some(&cached)),
        Action::Users { channel } => users_answer([&ClientId::new(parse_users(&channel, &signed)?.as_str()).unwrap()]),
        Action::Terminate { user } => parse_terminate(&user, &signed).map(|_| EMPTY_ANSWER.to_owned())?,
        Action::History { channel } => {
            let query = EventsQuery::parse(&channel, &signed)?;
            let head = "00000000000000ff-1".parse().unwrap();
            query.answer(&Page { records: &[], complete: true, more: false, head }).body
        }
    })
}

/// Spec §12, vectors 8 to 13, served.
#[test]
fn the_documented_requests() {
    let app = fixtures::app();
    let event = r#"{"name":"price","channels":["ticker.acme"],"data":"{\"p\":101.5}"}"#;
    let batch = r#"{"batch":[{"name":"a","channel":"c1","data":"1"},{"name":"b","channel":"presence-c2","data":"2","info":"user_count"}]}"#;
    for (method, path, parameters, body, signature, expected) in [
        (
            "POST",
            "/apps/3301/events",
            "body_md5=cf72afd4599c247fb4fb2b7bd8b4eee2",
            event,
            "e7e1da0d40124de9a59395ae25dc9e4e807a0ad1f6d12851536077bc731f0a1e",
            "{}",
        ),
        (
            "POST",
            "/apps/3301/batch_events",
            "body_md5=7fb321f44172f1df42bcad820829635b",
            batch,
            "5f84d59fb5eb9bba3a824362156d0ee6475b5c29d9e58b2669872cba37de9930",
            r#"{"batch":[{},{"user_count":2}]}"#,
        ),
        (
            "GET",
            "/apps/3301/channels",
            "filter_by_prefix=presence-&info=user_count",
            "",
            "f21d9931f627a0eba1ad279fb864374c20ffd5076ef0b7e2fbb5af61a27df9c7",
            r#"{"channels":{"presence-\"a":{"user_count":2}}}"#,
        ),
        (
            "GET",
            "/apps/3301/channels/ticker.acme",
            "info=subscription_count%2Ccache",
            "",
            "e969e2eb7625e19357f14162b194d4b7aace801582f9ac6933c8b3c70d597618",
            r#"{"occupied":true,"subscription_count":3}"#,
        ),
        (
            "GET",
            "/apps/3301/channels/presence-c2/users",
            "body_md5=d41d8cd98f00b204e9800998ecf8427e",
            "",
            "444f1bc91255ad1ff260cf1161248e17fdf14b446936e3fcf079afe2ca2b60a6",
            r#"{"users":[{"id":"presence-c2"}]}"#,
        ),
        (
            "POST",
            "/apps/3301/users/u-42/terminate_connections",
            "body_md5=99914b932bd37a50b983c5e7c90ae93b",
            "{}",
            "d52b54852c05c39d02513d2cde64e57f8ab096f086c4583512b431583556a991",
            "{}",
        ),
    ] {
        let key = fixtures::KEY;
        let query =
            format!("auth_key={key}&auth_timestamp={NOW}&auth_version=1.0&{parameters}&auth_signature={signature}");
        assert_eq!(serve(&app, method, path, &query, body.as_bytes()), (200, expected.to_owned()), "{method} {path}");
    }
}

/// Mostly paths that lead somewhere.
fn paths() -> impl Strategy<Value = String> {
    const NAME: &str = "(presence-a|cache-a|%23server-to-user-u|a%20b|[a%2f+.;]{1,6})";
    let below_channel = format!("channels/{NAME}(/(users|events|stats))?");
    let user = format!("users/{NAME}/terminate_connections");
    let read = format!("/apps/3301/(channels|{below_channel})");
    let terminate = format!("(/apps/3301)?/{user}");
    prop_oneof![
        3 => "/apps/3301/(batch_)?events",
        6 => proptest::string::string_regex(&read).unwrap(),
        1 => proptest::string::string_regex(&terminate).unwrap(),
        1 => "(/([a-z]{0,6}|apps|3301)){0,4}",
        1 => "\\PC{0,30}",
    ]
}

proptest! {
    #[test]
    fn any_request_is_answered_with_json(
        method in prop_oneof![9 => "GET|POST", 1 => "PUT|[a-z]{0,3}"],
        path in paths(),
        parameters in proptest::collection::vec(("info|filter_by_prefix|after|limit|name|socket_id|[a-z\\[\\]]{0,3}", "user_count|cache|presence-|1\\.2|00000000000000ff-1\\.2|[^&\r\n]{0,6}"), 0..4),
        body in prop_oneof![
            2 => Just(String::new()),
            1 => "\\PC{0,20}",
            3 => r#"\{"name":"e","channels?":\[?"[a-z#-]{0,6}"\]?,"data":("x"|1|\{\})(,"info":"(user_count|cache)")?\}"#,
            3 => r#"\{"batch":\[(\{"name":"a","channel":"c","data":"1"\},?){0,2}\]\}"#,
        ],
        tampering in proptest::option::weighted(0.1, "[&=%\\[\\]a-z]{1,4}"),
    ) {
        let app = fixtures::app();
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut query = Signer::from(&app.keys[0]).request(&method, &path, &parameters, body.as_bytes(), NOW);
        query.extend(tampering);
        let (status, answer) = serve(&app, &method, &path, &query, body.as_bytes());
        let json: Value = serde_json::from_str(&answer).unwrap();
        prop_assert!(json.is_object());
        prop_assert_eq!(json.get("error").is_some_and(Value::is_string), status != 200);
        prop_assert!(matches!(status, 200 | 400 | 401 | 404 | 405 | 413), "{}", status);
    }
}
