//! Presence.

use super::Scene;

fn check(client: &str, script: &str) {
    let attach = "> {\"action\":10,\"channel\":\"room\",\"flags\":65536}\nattach room presence\n";
    Scene::of(client, "room other=subscribe").check(&format!("{attach}{script}"));
}

/// Spec appendix A.
#[test]
fn a_member_comes_and_goes() {
    check(
        "bob",
        r#"
        > {"action":14,"channel":"room","msgSerial":0,"presence":[{"action":2,"data":"hi"}]}
        presence 0 room Enter:bob:hi:c0nnA:0:0
        told 0
        < {"action":1,"msgSerial":0,"count":1}
        > {"action":14,"channel":"room","msgSerial":1,"presence":[{"action":4,"data":{"a":1},"clientId":"bob"},{"action":3}]}
        presence 1 room Update:bob:{"a":1}:c0nnA:1:0 Leave:bob::c0nnA:1:1
        told 1 91003
        < {"action":2,"msgSerial":1,"count":1,"error":91003}
        > {"action":14,"channel":"room","msgSerial":2,"presence":[]}
        < {"action":1,"msgSerial":2,"count":1}
    "#,
    );
}

#[test]
fn presence_and_publishes_are_answered_in_one_order() {
    check(
        "*",
        r#"
        > {"action":14,"channel":"room","msgSerial":0,"presence":[{"action":2,"clientId":"a"}]}
        presence 0 room Enter:a::c0nnA:0:0
        > {"action":15,"channel":"[?rewind=1]room","msgSerial":1,"messages":[{}]}
        publish 1 room c0nnA:1 ::none:
        stored 1 4
        told 0
        < {"action":1,"msgSerial":0,"count":1}
        < {"action":1,"msgSerial":1,"count":1,"res":[{"serials":["00000000000000e1-00000000000004:000"]}]}
    "#,
    );
}

/// A re-entry after a resume brings the id that it was said by. Ids of others are not believed.
#[test]
fn ids_are_ones_own() {
    check(
        "bob",
        r#"
        > {"action":14,"channel":"room","msgSerial":5,"presence":[{"action":2,"id":"c0nnA:0:0"},{"action":2,"id":"other:0:0"},{"action":2,"id":"c0nnAx"},{"action":2,"id":3}]}
        presence 5 room Enter:bob::c0nnA:0:0 Enter:bob::c0nnA:5:1 Enter:bob::c0nnA:5:2 Enter:bob::c0nnA:5:3
    "#,
    );
}

#[test]
fn who_may_be_present() {
    check(
        "-",
        r#"
        > {"action":14,"channel":"room","msgSerial":0,"presence":[{"action":2}]}
        denied Presence(Invalid) room 91000
        < {"action":2,"msgSerial":0,"count":1,"error":91000}
        > {"action":14,"channel":"room","msgSerial":1,"presence":[{"action":2,"clientId":"bob"}]}
        denied Presence(Unauthorized) room 40012
        < {"action":2,"msgSerial":1,"count":1,"error":40012}
    "#,
    );
    check(
        "*",
        r#"
        > {"action":14,"channel":"room","msgSerial":0,"presence":[{"action":2}]}
        denied Presence(Invalid) room 91000
        < {"action":2,"msgSerial":0,"count":1,"error":91000}
        > {"action":14,"channel":"room","msgSerial":1,"presence":[{"action":2,"clientId":"*"}]}
        denied Presence(Unauthorized) room 40012
        < {"action":2,"msgSerial":1,"count":1,"error":40012}
        > {"action":14,"channel":"other","msgSerial":2,"presence":[{"action":2,"clientId":"a"}]}
        denied Presence(Unauthorized) other 40160
        < {"action":2,"msgSerial":2,"count":1,"error":40160}
        > {"action":14,"channel":"[?a=b]room","msgSerial":3,"presence":[{"action":2,"clientId":"a"}]}
        denied Presence(Invalid) [?a=b]room 91001
        < {"action":2,"msgSerial":3,"count":1,"error":91001}
        > {"action":10,"channel":"room","flags":262144}
        attach room subscribe again
        > {"action":14,"channel":"room","msgSerial":4,"presence":[{"action":2,"clientId":"a"}]}
        denied Presence(Unauthorized) room 40165
        < {"action":2,"msgSerial":4,"count":1,"error":40165}
    "#,
    );
}

#[test]
fn what_is_no_presence() {
    check(
        "bob",
        r#"
        > {"action":14,"channel":"room","msgSerial":0,"presence":[{"action":1}]}
        denied Presence(Invalid) room 40000
        < {"action":2,"msgSerial":0,"count":1,"error":40000}
        > {"action":14,"channel":"room","msgSerial":1,"presence":[{"action":2,"data":true}]}
        denied Presence(Invalid) room 40013
        < {"action":2,"msgSerial":1,"count":1,"error":40013}
        > {"action":14,"channel":"room","msgSerial":2,"presence":[{"action":2,"connectionId":"x"}]}
        denied Presence(Invalid) room 40006
        < {"action":2,"msgSerial":2,"count":1,"error":40006}
        > {"action":14,"channel":"room","msgSerial":3,"presence":[{"action":2,"extras":1}]}
        denied Presence(Invalid) room 40032
        < {"action":2,"msgSerial":3,"count":1,"error":40032}
    "#,
    );
    let mut scene = Scene::of("bob", "*");
    scene.app.limits.message_bytes = 4;
    scene.check(
        r#"
        > {"action":10,"channel":"room","flags":65536}
        attach room presence
        > {"action":14,"channel":"room","msgSerial":0,"presence":[{"action":2,"data":"xy"}]}
        denied Presence(TooLarge) room 40009
        < {"action":2,"msgSerial":0,"count":1,"error":40009}
    "#,
    );
}
