//! Tokens: their expiry, their renewal, and what becomes of attachments.

use super::Scene;
use crate::session::Validity;
use crate::session::tests::WALL_MS;

fn with_token(seconds: u64) -> Scene {
    let mut scene = Scene::of("bob", "a=publish,subscribe b=subscribe");
    let expires_ms = WALL_MS + seconds * 1000;
    scene.opening.authority.token = Some(Validity { issued_ms: WALL_MS, expires_ms });
    scene.opening.heartbeats = true;
    scene.settings.max_idle_interval = std::time::Duration::ZERO;
    scene.settings.activity_timeout = std::time::Duration::from_secs(100_000);
    scene
}

#[test]
fn a_token_expires() {
    with_token(5).check("wait 4.9\nwait 0.2\n< {\"action\":6,\"error\":40142}\nclose Kept");
}

/// Suites connect with short tokens and look for the expiry.
#[test]
fn only_a_long_token_is_asked_to_be_renewed() {
    with_token(59).check("wait 58\nwait 2\n< {\"action\":6,\"error\":40142}\nclose Kept");
    with_token(60)
        .check("wait 29\nwait 1\n< {\"action\":17}\nwait 29\nwait 1\n< {\"action\":6,\"error\":40142}\nclose Kept");
}

/// Spec appendix A: in-band renewal that loses a channel; others lose or gain modes silently.
#[test]
fn a_new_token_changes_what_it_may() {
    with_token(60).check(
        r#"
        > {"action":10,"channel":"a"}
        attach a publish,subscribe,presence_subscribe,annotation_publish
        > {"action":10,"channel":"b"}
        attach b subscribe,presence_subscribe
        > {"action":17,"auth":{"accessToken":"tok"}}
        verify tok
        accept c0nnA!k2 bob a=subscribe
        < {"action":4,"connectionId":"c0nnA","connectionKey":"c0nnA!k2","connectionDetails":{"clientId":"bob","connectionKey":"c0nnA!k2"}}
        modes a subscribe,presence_subscribe
        detach b
        denied Attach(Unauthorized) b 40160
        < {"action":9,"channel":"b","error":40160}
        > {"action":15,"channel":"a","msgSerial":0,"messages":[{}]}
        denied Publish(Unauthorized) a 40160
        < {"action":2,"msgSerial":0,"count":1,"error":40160}
        > {"action":17,"auth":{"accessToken":"tok2"}}
        verify tok2
        accept c0nnA!k3 * a=publish,presence
        < {"action":4,"connectionId":"c0nnA","connectionKey":"c0nnA!k3","connectionDetails":{"clientId":"bob","connectionKey":"c0nnA!k3"}}
        modes a presence,publish,annotation_publish
        > {"action":15,"channel":"a","msgSerial":1,"messages":[{}]}
        publish 1 a c0nnA:1 ::none:bob
        wait 1000
    "#,
    );
}

#[test]
fn a_bad_token_ends_the_connection() {
    let auth = "> {\"action\":17,\"auth\":{\"accessToken\":\"tok\"}}\nverify tok\n";
    with_token(60).check(&format!("{auth}reject 40144\n< {{\"action\":9,\"error\":40144}}\nclose Closed"));
    for who in ["eve", "-"] {
        let script = format!("{auth}accept c0nnA!k2 {who} *\n< {{\"action\":9,\"error\":40102}}\nclose Closed");
        with_token(60).check(&script);
    }
    with_token(60).check("> {\"action\":17}\n< {\"action\":9,\"error\":40145}\nclose Closed");
}

#[test]
fn an_anonymous_connection_may_become_somebody() {
    Scene::of("-", "a").check(
        r#"
        > {"action":17,"auth":{"accessToken":"tok"}}
        verify tok
        accept c0nnA!k2 bob a
        < {"action":4,"connectionId":"c0nnA","connectionKey":"c0nnA!k2","connectionDetails":{"clientId":"bob","connectionKey":"c0nnA!k2"}}
        > {"action":15,"channel":"a","msgSerial":0,"messages":[{}]}
        publish 0 a c0nnA:0 ::none:bob
    "#,
    );
}

#[test]
fn a_keys_capability_changes() {
    Scene::of("*", "a=publish b=publish").check(
        r#"
        > {"action":10,"channel":"a"}
        attach a publish,annotation_publish
        permit a=publish
        permit a=subscribe
        modes a subscribe,presence_subscribe
        permit b=publish
        detach a
        denied Attach(Unauthorized) a 40160
        < {"action":9,"channel":"a","error":40160}
        hint
        < {"action":17}
    "#,
    );
}
