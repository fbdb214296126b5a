//! Credentials as a whole: what one presents, and what it gets.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use channels::{Limits, Namespaces, PreviousSecret, PusherSettings, Quota, Secret};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::query::Query;
use crate::wire::Format;

const NOW: u64 = 1_700_000_001_000;
const HOUR: u64 = 3_600_000;

fn key(name: &str, secret: &str, capability: &str) -> Key {
    Key {
        name: KeyName::new(name).unwrap(),
        secret: Secret::new(secret).unwrap(),
        previous: None,
        capability: parse_capability(capability).unwrap(),
        revocable_tokens: false,
        created_ms: 0,
    }
}

fn app_with(id: &str, keys: Vec<Key>) -> App {
    App {
        id: AppId::new(id).unwrap(),
        name: String::new(),
        enabled: true,
        keys,
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota: Quota::default(),
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    }
}

/// The app and key of the reference's vectors 2 and 3, and a key that may do less and whose tokens can be revoked.
fn app() -> App {
    let mut narrow = key("narrow", "narrow-secret", r#"{"chat:*":["subscribe","publish"]}"#);
    narrow.revocable_tokens = true;
    app_with("appOne", vec![key("appOne.key-2", "VGhpc0lzQW5BYmx5U2VjcmV0", r#"{"*":["*"]}"#), narrow])
}

fn found(authorization: Option<&str>, query: &str) -> Result<Credentials, u32> {
    let query = Query::parse(query).unwrap();
    Credentials::find(authorization, &query).map_err(|error| error.code)
}

fn verified(credentials: &Credentials, app: &App, now_ms: u64) -> Result<Granted, (u32, u16)> {
    credentials.verify(Some(app), now_ms).map_err(|error| (error.code, error.status))
}

fn token_granted(app: &App, token: &str, now_ms: u64) -> Result<Granted, (u32, u16)> {
    let credentials = Credentials::from_token(token).map_err(|error| (error.code, error.status))?;
    verified(&credentials, app, now_ms)
}

fn request(fields: Value) -> Result<TokenRequest, u32> {
    TokenRequest::parse(Format::Json, fields.to_string().as_bytes()).map_err(|error| error.code)
}

fn basic(app: &App, key: usize) -> Granted {
    let key = &app.keys[key];
    let text = format!("{}:{}", key.name, key.secret.expose());
    Credentials::from_key(&text).unwrap().verify(Some(app), NOW).unwrap()
}

/// The token for a request that the key `index` of `app` brings itself.
fn issued(app: &App, index: usize, mut fields: Value) -> Result<TokenDetails, u32> {
    let name = app.keys[index].name.as_str();
    fields["keyName"] = name.into();
    fields["timestamp"] = NOW.into();
    let request = request(fields)?;
    let acceptable = request.accept(name, Some(app), Some(&basic(app, index)), NOW).map_err(|error| error.code)?;
    Ok(acceptable.issue(NOW, 7))
}

#[test]
fn a_key_in_the_header_or_the_query() {
    let app = app();
    let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let good = header("appOne.key-2:VGhpc0lzQW5BYmx5U2VjcmV0");
    for (authorization, query) in [
        (Some(good.as_str()), ""),
        (Some(good.as_str()), "key=appOne.key-2:wrong"),
        (None, "key=appOne.key-2:VGhpc0lzQW5BYmx5U2VjcmV0"),
        (None, "v=6&key=appOne.key-2%3AVGhpc0lzQW5BYmx5U2VjcmV0"),
    ] {
        let credentials = found(authorization, query).unwrap();
        assert_eq!(credentials.issuer(), Issuer::Key(KeyName::new("appOne.key-2").unwrap()));
        let granted = verified(&credentials, &app, NOW).unwrap();
        assert_eq!((granted.identity, granted.token, granted.capability), (Identity::Any, None, Capability::all()));
    }
    for (authorization, query, code) in [
        (None, "", 40101),
        (None, "key=nonsense", 40005),
        (None, "key=:secret", 40005),
        (None, "key=name:", 40005),
        (Some("Basic !"), "", 40005),
        (Some("Basic"), "", 40005),
        (Some("Digest abc"), "", 40005),
        (Some("Bearer nonsense"), "", 40143),
        (None, "access_token=", 40143),
    ] {
        assert_eq!(found(authorization, query).map(|_| ()), Err(code), "{authorization:?} {query}");
    }
    let wrong = found(None, "key=appOne.key-2:wrong").unwrap();
    assert_eq!(verified(&wrong, &app, NOW), Err((40101, 401)));
    assert_eq!(wrong.verify(None, NOW).map_err(|error| error.code), Err(40101));
    let unknown = found(None, "key=appOne.key-3:VGhpc0lzQW5BYmx5U2VjcmV0").unwrap();
    assert_eq!(verified(&unknown, &app, NOW), Err((40101, 401)));
}

/// Reference §2.3: what is signed, and its mac.
#[test]
fn token_request_vectors() {
    for (secret, fields, text, mac) in [
        (
            "s3cr3t-key-value-0001",
            json!({
                "keyName": "xVLyHw.mDYnFA", "ttl": 3_600_000, "capability": r#"{"*":["*"]}"#,
                "timestamp": 1_700_000_000_000_u64, "nonce": "0123456789abcdef",
            }),
            "xVLyHw.mDYnFA\n3600000\n{\"*\":[\"*\"]}\n\n1700000000000\n0123456789abcdef\n",
            "a0GeyJWtO+fm1aMqS8dZIHROMbNWqqcqk1Us/783lXQ=",
        ),
        (
            "VGhpc0lzQW5BYmx5U2VjcmV0",
            json!({
                "keyName": "appOne.key-2", "ttl": 1_800_000,
                "capability": r#"{"chat:*":["presence","publish","subscribe"],"news":["history","subscribe"]}"#,
                "clientId": "bob", "timestamp": 1_700_000_123_456_u64, "nonce": "a1b2c3d4e5f60718",
            }),
            "appOne.key-2\n1800000\n{\"chat:*\":[\"presence\",\"publish\",\"subscribe\"],\"news\":[\"history\",\"subscribe\"]}\nbob\n1700000123456\na1b2c3d4e5f60718\n",
            "ZLbUqDW+E7SNM0k2BJf3rU7tTbuQWp0rcr3em0abXFU=",
        ),
        (
            "VGhpc0lzQW5BYmx5U2VjcmV0",
            json!({
                "keyName": "appOne.key-2", "clientId": "Jürgen ☃",
                "timestamp": 1_700_000_999_999_u64, "nonce": "ffffffffffffffff",
            }),
            "appOne.key-2\n\n\nJürgen ☃\n1700000999999\nffffffffffffffff\n",
            "Gnygr/Py5tymAMv4U2SasnR0+7RSpaYON0iZdHuESHQ=",
        ),
    ] {
        let request = request(fields.clone()).unwrap();
        assert_eq!(request.text(), text);
        let secret_text = secret;
        let secret = Secret::new(secret).unwrap();
        assert_eq!(request.mac_of(&secret), mac);
        let now_ms = request.timestamp + 1000;
        let name = request.key_name.clone();
        let app = app_with("any", vec![key(&name, secret_text, r#"{"*":["*"]}"#)]);
        let mut signed = fields;
        signed["mac"] = mac.into();
        for format in Format::ALL {
            let body = crate::wire::to_vec(format, &signed);
            let request = TokenRequest::parse(format, &body).unwrap();
            let acceptable = request.accept(&name, Some(&app), None, now_ms).unwrap();
            assert_eq!(acceptable.nonce, Some(format!("{}:{}", request.timestamp, signed["nonce"].as_str().unwrap())));
            let details = acceptable.issue(now_ms, 1);
            let granted = token_granted(&app, &details.token, now_ms).unwrap();
            assert_eq!(granted.identity.shown(), request.client_id.as_deref());
        }
    }
}

#[test]
fn token_requests_that_are_refused() {
    let app = app();
    let secret = &app.keys[0].secret;
    let good = || {
        json!({
            "keyName": "appOne.key-2", "ttl": 1000, "capability": r#"{"a":["publish"]}"#, "clientId": "bob",
            "timestamp": NOW, "nonce": "0123456789abcdef",
        })
    };
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut fields = good();
        change(&mut fields);
        let request = request(fields)?.signed(secret);
        request.accept("appOne.key-2", Some(&app), None, NOW).map(|_| ()).map_err(|error| error.code)
    };
    let with = |name: &str, value: Value| refused(&|fields: &mut Value| fields[name] = value.clone());
    assert_eq!(refused(&|_| {}), Ok(()));
    for (name, value, expected) in [
        ("keyName", json!("narrow"), Err(40101)),
        ("keyName", json!(null), Err(40101)),
        ("ttl", json!(1), Ok(())),
        ("ttl", json!(24 * HOUR), Ok(())),
        ("ttl", json!(24 * HOUR + 1), Err(40003)),
        ("ttl", json!(-1), Err(40003)),
        ("ttl", json!(1.5), Err(40003)),
        ("ttl", json!("notanumber"), Err(40003)),
        ("capability", json!("nonsense"), Err(40000)),
        ("capability", json!({"a": ["publish"]}), Err(40000)),
        ("capability", json!("{}"), Err(40160)),
        ("clientId", json!(""), Err(40012)),
        ("clientId", json!("*"), Ok(())),
        ("timestamp", json!(NOW - 900_000), Ok(())),
        ("timestamp", json!(NOW - 900_001), Err(40104)),
        ("timestamp", json!(NOW + 900_001), Err(40104)),
        ("timestamp", json!(null), Err(40003)),
        ("timestamp", json!(NOW.to_string()), Ok(())),
        ("nonce", json!("0123456789abcde"), Err(40003)),
        ("nonce", json!(null), Err(40003)),
    ] {
        assert_eq!(with(name, value.clone()), expected, "{name} {value}");
    }
    // The mac covers each field.
    for (name, value) in [
        ("ttl", json!(1001)),
        ("capability", json!(r#"{"a":["*"]}"#)),
        ("clientId", json!("eve")),
        ("timestamp", json!(NOW + 1)),
        ("nonce", json!("0123456789abcdeg")),
    ] {
        let mut request = request(good()).unwrap().signed(secret);
        let mac = request.mac.take();
        let mut fields = serde_json::to_value(&request).unwrap();
        fields[name] = value;
        fields["mac"] = mac.into();
        let tampered = self::request(fields).unwrap();
        let accepted = tampered.accept("appOne.key-2", Some(&app), None, NOW);
        assert_eq!(accepted.map(|_| ()).map_err(|error| error.code), Err(40101), "{name}");
    }
    let signed = request(good()).unwrap().signed(secret);
    assert_eq!(signed.accept("appOne.key-2", None, None, NOW).map(|_| ()).map_err(|error| error.code), Err(40101));
    for body in ["", "[]", "null", "7", "{"] {
        assert_eq!(
            TokenRequest::parse(Format::Json, body.as_bytes()).map_err(|error| error.code),
            Err(40001),
            "{body}"
        );
    }
}

#[test]
fn an_unsigned_request_takes_the_key_itself() {
    let app = app();
    let fields = json!({"keyName": "narrow", "timestamp": NOW});
    let request = request(fields).unwrap();
    let accept = |caller: Option<&Granted>| {
        let accepted = request.accept("narrow", Some(&app), caller, NOW);
        accepted.map(|acceptable| acceptable.nonce).map_err(|error| error.code)
    };
    assert_eq!(accept(Some(&basic(&app, 1))), Ok(None));
    assert_eq!(accept(None), Err(40101));
    assert_eq!(accept(Some(&basic(&app, 0))), Err(40101));
    let token = issued(&app, 1, json!({})).unwrap().token;
    let by_token = token_granted(&app, &token, NOW).unwrap();
    assert_eq!(accept(Some(&by_token)), Err(40162));
}

#[test]
fn a_token_says_what_was_asked_for() {
    let app = app();
    let details = issued(&app, 0, json!({"clientId": "bob"})).unwrap();
    assert!(details.token.starts_with("appOne."));
    assert_eq!((details.issued, details.expires), (NOW, NOW + HOUR));
    assert_eq!(serde_json::to_value(&details).unwrap()["capability"], r#"{"*":["*"]}"#);
    let granted = token_granted(&app, &details.token, NOW).unwrap();
    assert_eq!(granted.capability, Capability::all());
    assert_eq!(granted.identity, Identity::of_token(Some("bob")).unwrap());
    assert_eq!(granted.expires_ms(), Some(NOW + HOUR));
    assert_eq!(token_granted(&app, &details.token, NOW + HOUR - 1).map(|_| ()), Ok(()));
    assert_eq!(token_granted(&app, &details.token, NOW + HOUR), Err((40142, 401)));
    assert_ne!(details.token, {
        let request = request(json!({"keyName": "appOne.key-2", "timestamp": NOW, "clientId": "bob"})).unwrap();
        request.accept("appOne.key-2", Some(&app), Some(&basic(&app, 0)), NOW).unwrap().issue(NOW, 8).token
    });

    let wanted = r#"{"*":["history","subscribe"],"chat:1":["publish"],"other":["publish"]}"#;
    let details = issued(&app, 1, json!({"capability": wanted, "ttl": 60_000})).unwrap();
    assert_eq!(details.capability, r#"{"chat:*":["subscribe"],"chat:1":["publish"]}"#);
    assert_eq!(details.client_id, None);
    let granted = token_granted(&app, &details.token, NOW).unwrap();
    assert_eq!(capability_text(&granted.capability), details.capability);
    assert!(granted.token.unwrap().revocable);
    assert_eq!(issued(&app, 1, json!({"ttl": HOUR + 1})), Err(40003), "revocable ones live for an hour");
    assert_eq!(issued(&app, 1, json!({"capability": r#"{"news":["*"]}"#})), Err(40160));
}

#[test]
fn a_token_is_small() {
    let app = app();
    let wanted = r#"{"*":["history"],"chat:*":["presence","publish","subscribe"],"news:sports:*":["subscribe"]}"#;
    let token = issued(&app, 0, json!({"clientId": "2f1c9a4e-8f0b-4c1c-9d53-0f5a1f1a2b3c", "capability": wanted}))
        .unwrap()
        .token;
    assert!(token.len() <= 343, "{}", token.len());
}

#[test]
fn tokens_follow_their_key() {
    let mut app = app();
    let token = issued(&app, 1, json!({})).unwrap().token;
    app.keys[1].capability = parse_capability(r#"{"chat:*":["subscribe"]}"#).unwrap();
    assert_eq!(token_granted(&app, &token, NOW).unwrap().capability, app.keys[1].capability);
    // Rotated: signed with the secret before, good until that ends.
    let before = app.keys[1].secret.clone();
    app.keys[1].secret = Secret::new("the new secret").unwrap();
    assert_eq!(token_granted(&app, &token, NOW), Err((40145, 401)));
    app.keys[1].previous = Some(PreviousSecret { secret: before, until_ms: NOW + 10 });
    assert!(token_granted(&app, &token, NOW + 9).is_ok());
    assert_eq!(token_granted(&app, &token, NOW + 10), Err((40145, 401)));
    let new = issued(&app, 1, json!({})).unwrap().token;
    assert!(token_granted(&app, &new, NOW + 10).is_ok(), "signed with the new one");
    app.enabled = false;
    assert_eq!(token_granted(&app, &new, NOW), Err((40120, 401)));
    app.keys.remove(1);
    assert_eq!(token_granted(&app, &new, NOW), Err((40143, 401)), "its key was revoked");
    let stranger = Credentials::from_token(&new).unwrap();
    assert_eq!(stranger.verify(None, NOW).map_err(|error| error.code), Err(40143));
}

/// Reference §2.4.
const JWT: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiIsImtpZCI6ImFwcE9uZS5rZXktMiJ9.eyJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMzYwMCwieC1hYmx5LWNhcGFiaWxpdHkiOiJ7XCJjaGF0OipcIjpbXCJzdWJzY3JpYmVcIl19IiwieC1hYmx5LWNsaWVudElkIjoiYm9iIn0.icMXtt7K4BBQLu_aVbHrRd_XaH8fw8YKoDNsFDMRf8E";

fn claims() -> JwtClaims {
    JwtClaims {
        issued: Seconds::Whole(1_700_000_000),
        expires: Seconds::Whole(1_700_003_600),
        capability: Some(r#"{"chat:*":["subscribe"]}"#.to_owned()),
        client_id: Some("bob".to_owned()),
        revocation_key: None,
    }
}

fn sign_text(header: &Value, claims: &Value, secret: &Secret) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(hmac(secret.expose().as_bytes(), &[text.as_bytes()])))
}

#[test]
fn a_jwt_is_used_as_it_is() {
    let app = app();
    assert_eq!(claims().sign(&app.keys[0].name, &app.keys[0].secret), JWT);
    for (authorization, query) in [
        (None, format!("access_token={JWT}")),
        (None, format!("accessToken={JWT}")),
        (Some(format!("Bearer {JWT}")), String::new()),
        (Some(format!("bearer {}", STANDARD.encode(JWT))), String::new()),
    ] {
        let credentials = found(authorization.as_deref(), &query).unwrap();
        assert_eq!(credentials.issuer(), Issuer::Key(app.keys[0].name.clone()));
        let granted = verified(&credentials, &app, NOW).unwrap();
        assert_eq!(capability_text(&granted.capability), r#"{"chat:*":["subscribe"]}"#);
        assert_eq!(granted.identity.shown(), Some("bob"));
        let facts = granted.token.unwrap();
        assert_eq!((facts.issued_ms, facts.expires_ms), (1_700_000_000_000, 1_700_003_600_000));
    }
    assert_eq!(token_granted(&app, JWT, 1_700_003_600_000), Err((40142, 401)));
    let unknown = Credentials::from_token(JWT).unwrap();
    assert_eq!(unknown.verify(None, NOW).map_err(|error| (error.code, error.status)), Err((40400, 404)));
}

#[test]
fn jwts_that_are_refused() {
    let app = app();
    let secret = &app.keys[0].secret;
    let header = json!({"typ": "JWT", "alg": "HS256", "kid": "appOne.key-2"});
    let claims = json!({"iat": 1_700_000_000, "exp": 1_700_003_600});
    let granted = |header: &Value, claims: &Value| {
        let token = sign_text(header, claims, secret);
        token_granted(&app, &token, NOW).map(|_| ()).map_err(|(code, _)| code)
    };
    assert_eq!(granted(&header, &claims), Ok(()));
    for (name, value, expected) in [
        ("alg", json!("none"), 40144),
        ("alg", json!("RS256"), 40144),
        ("alg", json!("hs256"), 40144),
        ("alg", json!(null), 40144),
        ("kid", json!("appOne.other"), 40400),
        ("kid", json!("a key"), 40400),
        ("kid", json!(null), 40144),
        ("crit", json!(["b64"]), 40144),
    ] {
        let mut changed = header.clone();
        changed[name] = value.clone();
        assert_eq!(granted(&changed, &claims), Err(expected), "{name} {value}");
    }
    for (name, value, expected) in [
        ("iat", json!(null), Err(40144)),
        ("exp", json!("soon"), Err(40144)),
        ("exp", json!(-5), Err(40142)),
        ("exp", json!(1_700_003_600.5), Ok(())),
        ("exp", json!(1_700_000_001), Err(40142)),
        ("exp", json!(1_700_086_400), Ok(())),
        ("exp", json!(1_700_086_401), Err(40003)),
        ("exp", json!(1e300), Err(40003)),
        ("iat", json!(1_800_000_000), Ok(())),
        ("x-ably-capability", json!("nonsense"), Err(40000)),
        ("x-ably-capability", json!({"a": ["*"]}), Err(40144)),
        ("x-ably-capability", json!(r#"{"[meta]*":["*"]}"#), Err(40160)),
        ("x-ably-clientId", json!(""), Err(40012)),
        ("x-ably-clientId", json!(7), Err(40144)),
        ("ably.limits.publish.perAttachment.maxRate", json!(1), Ok(())),
    ] {
        let mut changed = claims.clone();
        changed[name] = value.clone();
        assert_eq!(granted(&header, &changed), expected, "{name} {value}");
    }
    let narrow = json!({"alg": "HS256", "kid": "narrow"});
    let token = sign_text(&narrow, &json!({"iat": 1_700_000_000, "exp": 1_700_003_601}), &app.keys[1].secret);
    assert_eq!(token_granted(&app, &token, NOW).map(|_| ()), Err((40003, 400)), "revocable ones live for an hour");
    let by_another = sign_text(&narrow, &claims, secret);
    assert_eq!(token_granted(&app, &by_another, NOW).map(|_| ()), Err((40144, 401)));
    for text in [&JWT[..JWT.len() - 1], &format!("{JWT}A"), "eyJ9.e30.AA", "e30.e30.AA"] {
        let refused = token_granted(&app, text, NOW).map(|_| ());
        assert!(matches!(refused, Err((40143 | 40144, 401))), "{text} {refused:?}");
    }
}

#[test]
fn a_jwt_may_wrap_another_token() {
    let app = app();
    let strange = Secret::new("known to the app's server alone").unwrap();
    let inner = issued(&app, 0, json!({"clientId": "bob"})).unwrap();
    let exp = NOW / 1000 + 60;
    for token in [inner.token.as_str(), JWT] {
        for (header, claims) in [
            (json!({"alg": "HS256", "x-ably-token": token}), json!({"exp": exp})),
            (json!({"alg": "RS512"}), json!({"exp": exp, "x-ably-token": token})),
        ] {
            let wrapped = sign_text(&header, &claims, &strange);
            let granted = token_granted(&app, &wrapped, NOW).unwrap();
            assert_eq!((granted.identity.shown(), granted.expires_ms()), (Some("bob"), Some(exp * 1000)));
            assert_eq!(token_granted(&app, &wrapped, exp * 1000), Err((40142, 401)));
            let twice = sign_text(&json!({"x-ably-token": wrapped}), &json!({}), &strange);
            assert!(token_granted(&app, &twice, NOW).is_err());
        }
        let longer = sign_text(&json!({"x-ably-token": token}), &json!({"exp": exp + HOUR}), &strange);
        assert_eq!(token_granted(&app, &longer, NOW), Err((40144, 401)));
        let encrypted = format!("{}.k.i.v.t", URL_SAFE_NO_PAD.encode(json!({"x-ably-token": token}).to_string()));
        assert_eq!(token_granted(&app, &encrypted, NOW).unwrap().identity.shown(), Some("bob"));
    }
    for inner in [json!("nonsense"), json!("appOne.key-2:VGhpc0lzQW5BYmx5U2VjcmV0"), json!(7)] {
        let wrapped = sign_text(&json!({"x-ably-token": inner}), &json!({"exp": exp}), &strange);
        assert!(token_granted(&app, &wrapped, NOW).is_err());
    }
}

#[test]
fn what_a_token_can_be_revoked_by() {
    let mut app = app();
    let capability = Some(r#"{"chat:1":["subscribe"],"chat:2":["*"],"news":["*"]}"#.to_owned());
    let claims = JwtClaims { revocation_key: Some("group".to_owned()), capability, ..claims() };
    let token = claims.sign(&app.keys[1].name, &app.keys[1].secret);
    let texts = |granted: &Granted| granted.targets().iter().map(Target::to_string).collect::<Vec<_>>();
    let granted = token_granted(&app, &token, NOW).unwrap();
    let expected = ["clientId:bob", "revocationKey:group", "channel:chat:1", "channel:chat:2"];
    assert_eq!(texts(&granted), expected, "what its key does not permit, it has not");
    for (text, target) in expected.into_iter().zip(granted.targets()) {
        assert_eq!(text.parse(), Ok(target));
    }
    let anybody = issued(&app, 1, json!({"clientId": "*"})).unwrap().token;
    assert_eq!(texts(&token_granted(&app, &anybody, NOW).unwrap()), ["clientId:*", "channel:chat:*"]);
    assert_eq!(basic(&app, 1).targets(), [], "a key is not revoked so");
    app.keys[1].revocable_tokens = false;
    assert_eq!(token_granted(&app, &token, NOW).unwrap().targets(), []);
    for text in ["", "clientId", "clientId:", "user:bob", "ClientId:bob"] {
        assert_eq!(text.parse::<Target>(), Err(InvalidTarget), "{text}");
    }
}

#[test]
fn what_is_permitted() {
    let granted = basic(&app(), 1);
    let code = |result: Result<(), ErrorInfo>| result.map_err(|error| (error.code, error.status));
    assert_eq!(code(granted.permit("chat:1", channels::Operation::Publish)), Ok(()));
    assert_eq!(code(granted.permit("news", channels::Operation::Publish)), Err((40160, 401)));
    assert_eq!(code(granted.permit_app_wide(channels::Operation::Stats)), Err((40160, 401)));
}

proptest! {
    #[test]
    fn any_changed_character_of_a_token_is_refused(at in 0_usize..1000, new in "[A-Za-z0-9_.-]") {
        let app = app();
        let details = issued(&app, 1, json!({"clientId": "bob"})).unwrap();
        for token in [details.token.as_str(), JWT] {
            let at = at % token.len();
            let tampered = format!("{}{}{}", &token[..at], new, &token[at + 1..]);
            // The last character of base64 may have bits that stand for nothing.
            prop_assume!(tampered != token && at + 1 < token.len());
            prop_assert!(token_granted(&app, &tampered, NOW).is_err());
        }
    }

    #[test]
    fn any_credentials_are_answered(
        header in proptest::option::of("(Basic|Bearer|bearer|) ?[A-Za-z0-9+/=.:-]{0,40}|\\PC{0,20}"),
        query in "((key|access_token|accessToken)=[A-Za-z0-9.%:_-]{0,40}&?){0,2}",
    ) {
        let query = Query::parse(&query);
        prop_assume!(query.is_ok());
        if let Ok(credentials) = Credentials::find(header.as_deref(), &query.unwrap()) {
            prop_assert!(credentials.verify(Some(&app()), NOW).is_err());
        }
    }

    #[test]
    fn any_contents_are_answered(contents in proptest::collection::vec(any::<u8>(), 0..80), format: bool) {
        let token = format!("appOne.{}", URL_SAFE_NO_PAD.encode(&contents));
        prop_assert!(token_granted(&app(), &token, NOW).is_err());
        let jwt = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode("{\"alg\":\"HS256\",\"kid\":\"narrow\"}"), URL_SAFE_NO_PAD.encode(&contents));
        prop_assert!(token_granted(&app(), &jwt, NOW).is_err());
        let format = if format { Format::Json } else { Format::MsgPack };
        prop_assert!(TokenRequest::parse(format, &contents).is_err());
    }

    #[test]
    fn tokens_round_trip(
        client in proptest::option::of("\\PC{1,20}"), ttl in 1_u64..24 * HOUR,
        wanted in proptest::option::of(Just(r#"{"a:*":["publish"]}"#)),
    ) {
        let app = app();
        let details = issued(&app, 0, json!({"clientId": client, "ttl": ttl, "capability": wanted})).unwrap();
        let granted = token_granted(&app, &details.token, NOW).unwrap();
        prop_assert_eq!(granted.identity.shown(), client.as_deref());
        prop_assert_eq!(granted.expires_ms(), Some(NOW + ttl));
        prop_assert_eq!(capability_text(&granted.capability), details.capability);
    }
}
