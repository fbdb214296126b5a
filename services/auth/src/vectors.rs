//! Known signatures, worked out independently of this code. One table; the tests of this crate read it.

use channels::{App, AppId, Capability, Key, KeyName, Limits, Namespaces, PusherSettings, Quota, Secret};

use crate::request::string_to_sign;
use crate::{Query, SignedRequest, Signer, check_body, check_channel, check_request, check_user};

pub(crate) const KEY: &str = "9f2c4be1d07a4c3e8b51";
pub(crate) const SECRET: &str = "4b7e0c9a62d1f5833ae6";
pub(crate) const SOCKET_ID: &str = "418372.90513377";
pub(crate) const NOW: u64 = 1_730_000_000;

/// The app whose key signs the vectors.
pub(crate) fn app() -> App {
    App {
        id: AppId::new("3301").unwrap(),
        name: "vectors".to_owned(),
        enabled: true,
        keys: vec![Key {
            name: KeyName::new(KEY).unwrap(),
            secret: Secret::new(SECRET).unwrap(),
            previous: None,
            capability: Capability::all(),
            revocable_tokens: false,
            created_ms: 0,
        }],
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota: Quota::default(),
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    }
}

/// The signing side of [`app`].
pub(crate) fn signer() -> Signer {
    Signer::from(&app().keys[0])
}

enum Signed {
    /// Channel, and channel data if any.
    Channel(&'static str, Option<&'static str>),
    /// User data.
    User(&'static str),
}

#[rustfmt::skip]
const AUTH: [(&str, Signed, &str); 7] = [
    ("1 private", Signed::Channel("private-orders.17", None),
        "d2fb79ec8e038d0089aa070426f5967dcf7132416e95e83ddf66d76980adff06"),
    ("2 presence, UTF-8", Signed::Channel("presence-room_7", Some(r#"{"user_id":"u-42","user_info":{"name":"Zoë 🚀","role":"editor"}}"#)),
        "2bf8be71ba7b240e4e1a9d2b373b0a7edefef753dc1378d05704914b2fca4cd8"),
    ("3 presence, numeric id", Signed::Channel("presence-room_7", Some(r#"{"user_id":10}"#)),
        "1a423c839117971426e925c5cc746429bfeb0c253fb5a3c38d3bbee9445c0d10"),
    ("4 sign-in", Signed::User(r#"{"id":"u-42","user_info":{"name":"Ann"},"watchlist":["u-7","u-9"]}"#),
        "357d087459366106c17a5ec56e431e4a4811047cd4e7c8d172e96dd86e992919"),
    ("5 encrypted", Signed::Channel("private-encrypted-vault", None),
        "bc915f44dc582525cf046c016d09284176a2c89a827a7b999f7bb77e422718bf"),
    ("6 presence, signed in", Signed::Channel("presence-room_7", None),
        "115ac8605ba87be5a19507fe42b080beae215117a08b2140ec16cce53c0b0371"),
    ("7 private cache", Signed::Channel("private-cache-rates", None),
        "464b2c655bef36ff16540c86fe641df8ed8a3d0a4207011b62f139bfae6377af"),
];

#[test]
fn auth_vectors() {
    let (app, signer) = (app(), signer());
    for (name, signed, hex) in AUTH {
        let auth = format!("{KEY}:{hex}");
        let (made, checked) = match signed {
            Signed::Channel(channel, data) => (
                signer.channel(SOCKET_ID, channel, data),
                check_channel(&app, &auth, SOCKET_ID, channel, data, NOW * 1000),
            ),
            Signed::User(data) => (signer.user(SOCKET_ID, data), check_user(&app, &auth, SOCKET_ID, data, NOW * 1000)),
        };
        assert_eq!(made, auth, "{name}");
        assert_eq!(checked.unwrap().name.as_str(), KEY, "{name}");
    }
}

pub(crate) struct Request {
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// Behind `auth_version=1.0`, as on the wire.
    pub(crate) query: &'static str,
    pub(crate) body: &'static str,
    pub(crate) signature: &'static str,
}

impl Request {
    /// The query string as on the wire, signature included.
    pub(crate) fn wire_query(&self) -> String {
        format!("auth_key={KEY}&auth_timestamp={NOW}&auth_version=1.0&{}&auth_signature={}", self.query, self.signature)
    }
}

#[rustfmt::skip]
pub(crate) const REQUESTS: [Request; 6] = [
    Request { name: "8 events", method: "POST", path: "/apps/3301/events",
        query: "body_md5=cf72afd4599c247fb4fb2b7bd8b4eee2",
        body: r#"{"name":"price","channels":["ticker.acme"],"data":"{\"p\":101.5}"}"#,
        signature: "e7e1da0d40124de9a59395ae25dc9e4e807a0ad1f6d12851536077bc731f0a1e" },
    Request { name: "9 batch", method: "POST", path: "/apps/3301/batch_events",
        query: "body_md5=7fb321f44172f1df42bcad820829635b",
        body: r#"{"batch":[{"name":"a","channel":"c1","data":"1"},{"name":"b","channel":"presence-c2","data":"2","info":"user_count"}]}"#,
        signature: "5f84d59fb5eb9bba3a824362156d0ee6475b5c29d9e58b2669872cba37de9930" },
    Request { name: "10 channels", method: "GET", path: "/apps/3301/channels",
        query: "filter_by_prefix=presence-&info=user_count", body: "",
        signature: "f21d9931f627a0eba1ad279fb864374c20ffd5076ef0b7e2fbb5af61a27df9c7" },
    Request { name: "11 channel", method: "GET", path: "/apps/3301/channels/ticker.acme",
        query: "info=subscription_count%2Ccache", body: "",
        signature: "e969e2eb7625e19357f14162b194d4b7aace801582f9ac6933c8b3c70d597618" },
    Request { name: "12 users, as python", method: "GET", path: "/apps/3301/channels/presence-c2/users",
        query: "body_md5=d41d8cd98f00b204e9800998ecf8427e", body: "",
        signature: "444f1bc91255ad1ff260cf1161248e17fdf14b446936e3fcf079afe2ca2b60a6" },
    Request { name: "13 terminate", method: "POST", path: "/apps/3301/users/u-42/terminate_connections",
        query: "body_md5=99914b932bd37a50b983c5e7c90ae93b", body: "{}",
        signature: "d52b54852c05c39d02513d2cde64e57f8ab096f086c4583512b431583556a991" },
];

#[test]
fn request_vectors() {
    let app = app();
    for vector in REQUESTS {
        let wire = vector.wire_query();
        let query = Query::parse(&wire).unwrap();
        let request = SignedRequest { method: vector.method, path: vector.path, query: &query };
        assert_eq!(check_request(&app, &request, NOW).map(|key| key.name.as_str()), Ok(KEY), "{}", vector.name);
        assert_eq!(check_body(&query, vector.body.as_bytes()), Ok(()), "{}", vector.name);
    }
}

#[test]
fn request_vectors_from_the_signer() {
    for vector in REQUESTS.iter().filter(|vector| !vector.name.ends_with("python")) {
        let query = Query::parse(vector.query).unwrap();
        let parameters: Vec<_> = query.iter().filter(|(name, _)| *name != "body_md5").collect();
        let signed = signer().request(vector.method, vector.path, &parameters, vector.body.as_bytes(), NOW);
        assert!(signed.ends_with(&format!("&auth_signature={}", vector.signature)), "{}: {signed}", vector.name);
    }
}

#[test]
fn string_to_sign_of_vector_10() {
    let wire = REQUESTS[2].wire_query();
    let query = Query::parse(&wire).unwrap();
    let expected = "GET\n/apps/3301/channels\nauth_key=9f2c4be1d07a4c3e8b51&auth_timestamp=1730000000\
                    &auth_version=1.0&filter_by_prefix=presence-&info=user_count";
    assert_eq!(string_to_sign("get", "/apps/3301/channels", query.iter()), expected);
}

#[test]
fn vector_14_webhook() {
    let body = br#"{"time_ms":1730000000123,"events":[{"name":"channel_occupied","channel":"ticker.acme"}]}"#;
    assert_eq!(signer().webhook(body), "6de88692e9a96424dd9193ea04d0f89134184c82e86df5c5a2be6131a5fec734");
}
