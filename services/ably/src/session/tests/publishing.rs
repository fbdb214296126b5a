//! Publishes and their answers.

use super::{Scene, check};
use crate::session::Settings;

/// Spec appendix A.
#[test]
fn a_publish_is_acknowledged_with_its_serials() {
    Scene::of("bob", "*").check(
        r#"
        > {"action":15,"channel":"room","msgSerial":1,"messages":[{"name":"a","data":"1"},{"name":"b","data":"{\"x\":1}","encoding":"json"}]}
        publish 1 room c0nnA:1 a:1::bob b:{"x":1}:json:bob
        stored 1 42
        < {"action":1,"msgSerial":1,"count":1,"res":[{"serials":["00000000000000e1-00000000000042:000","00000000000000e1-00000000000042:001"]}]}
    "#,
    );
}

#[test]
fn answers_wait_for_their_turn() {
    check(
        r#"
        > {"action":15,"channel":"a","msgSerial":0,"messages":[{"data":"1"}]}
        publish 0 a c0nnA:0 :1::
        > {"action":15,"channel":"b","msgSerial":1,"messages":[{"data":"2"}]}
        publish 1 b c0nnA:1 :2::
        > {"action":15,"channel":":b","msgSerial":2,"messages":[{"data":"3"}]}
        denied Publish(Invalid) :b 40010
        > {"action":15,"channel":"c","msgSerial":3,"messages":[{"data":"4"}]}
        publish 3 c c0nnA:3 :4::
        stored 3 7
        stored 1 6
        stored 0 5
        < {"action":1,"msgSerial":0,"count":2,"res":[{"serials":["00000000000000e1-00000000000005:000"]},{"serials":["00000000000000e1-00000000000006:000"]}]}
        < {"action":2,"msgSerial":2,"count":1,"error":40010}
        < {"action":1,"msgSerial":3,"count":1,"res":[{"serials":["00000000000000e1-00000000000007:000"]}]}
        stored 0 9
    "#,
    );
}

#[test]
fn what_was_not_done_is_said() {
    check(
        r#"
        > {"action":15,"channel":"a","msgSerial":0,"messages":[{"data":"1"}]}
        publish 0 a c0nnA:0 :1::
        failed 0 50003
        < {"action":2,"msgSerial":0,"count":1,"error":50003}
        > {"action":15,"channel":"a","msgSerial":1,"messages":[{"data":"1","extras":{"ephemeral":true}}]}
        publish 1 a c0nnA:1 :1:: ephemeral
        passed 1
        < {"action":1,"msgSerial":1,"count":1,"res":[{"serials":["01700000000000-c0nnA:1:000"]}]}
    "#,
    );
}

/// After a resume the first serial is any. What comes twice on one transport has its answer already.
#[test]
fn serials_begin_anywhere_and_do_not_repeat() {
    check(
        r#"
        > {"action":15,"channel":"a","msgSerial":7,"messages":[{"data":"1"}]}
        publish 7 a c0nnA:7 :1::
        > {"action":15,"channel":"a","msgSerial":7,"messages":[{"data":"1"}]}
        > {"action":15,"channel":"a","messages":[{"data":"2"}]}
        publish 8 a c0nnA:8 :2::
        > {"action":15,"channel":"a","msgSerial":9.0,"messages":[]}
        stored 7 1
        < {"action":1,"msgSerial":7,"count":1,"res":[{"serials":["00000000000000e1-00000000000001:000"]}]}
        stored 8 2
        < {"action":1,"msgSerial":8,"count":1,"res":[{"serials":["00000000000000e1-00000000000002:000"]}]}
        < {"action":1,"msgSerial":9,"count":1}
    "#,
    );
}

/// The key of a client's own id cannot be taken for a resend of another connection.
#[test]
fn own_ids() {
    check(
        r#"
        > {"action":15,"channel":"a","msgSerial":0,"messages":[{"id":"victim:5:0","data":"1"}]}
        publish 0 a =victim:5 :1::
        > {"action":15,"channel":"a","msgSerial":1,"messages":[{"id":"b:0"},{"id":"c:1"}]}
        denied Publish(Invalid) a 40031
    "#,
    );
}

#[test]
fn who_may_publish() {
    Scene::of("bob", "open=publish read=subscribe [meta]*").check(
        r#"
        > {"action":15,"channel":"read","msgSerial":0,"messages":[{}]}
        denied Publish(Unauthorized) read 40160
        < {"action":2,"msgSerial":0,"count":1,"error":40160}
        > {"action":15,"channel":"open","msgSerial":1,"messages":[{"clientId":"eve"}]}
        denied Publish(Unauthorized) open 40012
        < {"action":2,"msgSerial":1,"count":1,"error":40012}
        > {"action":10,"channel":"open","flags":262144}
        attach open
        > {"action":15,"channel":"open","msgSerial":2,"messages":[{}]}
        denied Publish(Unauthorized) open 40165
        < {"action":2,"msgSerial":2,"count":1,"error":40165}
        > {"action":15,"channel":"[?rewind=1]open","msgSerial":3,"messages":[{"connectionId":"c0nnA"}]}
        publish 3 open c0nnA:3 ::none:bob
        > {"action":15,"channel":"[filter=bmFtZSA9PSAneCc=]open","msgSerial":4,"messages":[{}]}
        denied Publish(Invalid) [filter=bmFtZSA9PSAneCc=]open 40010
        > {"action":15,"channel":"[meta]connection.lifecycle","msgSerial":5,"messages":[{}]}
        denied Publish(Invalid) [meta]connection.lifecycle 40010
        passed 3
        < {"action":1,"msgSerial":3,"count":1,"res":[{"serials":["01700000000000-c0nnA:3:000"]}]}
        < {"action":2,"msgSerial":4,"count":2,"error":40010}
        > {"action":15,"channel":"[?a=b]open","msgSerial":6,"messages":[{"connectionId":"other"}]}
        denied Publish(Invalid) [?a=b]open 40006
        < {"action":2,"msgSerial":6,"count":1,"error":40006}
        > {"action":15,"channel":"[?a=b]open","msgSerial":7,"messages":[{"connectionKey":"c0nnA!k1"}]}
        denied Publish(Invalid) [?a=b]open 40006
        < {"action":2,"msgSerial":7,"count":1,"error":40006}
    "#,
    );
}

#[test]
fn what_there_is_not() {
    check(
        r#"
        > {"action":15,"channel":"a","msgSerial":0,"messages":[{"action":1,"serial":"s","data":"x"}]}
        denied Publish(Invalid) a 93002
        < {"action":2,"msgSerial":0,"count":1,"error":93002}
        > {"action":21,"channel":"a","msgSerial":1,"annotations":[{}]}
        denied Publish(Invalid) a 93002
        < {"action":2,"msgSerial":1,"count":1,"error":93002}
        > {"action":19,"channel":"a","msgSerial":2,"state":[{}]}
        denied Publish(Invalid) a 92000
        < {"action":2,"msgSerial":2,"count":1,"error":92000}
        > {"action":15,"channel":"a","msgSerial":3,"params":{"_forceNack":"true"},"messages":[{"data":"x"}]}
        denied Publish(Invalid) a 40099
        < {"action":2,"msgSerial":3,"count":1,"error":40099}
        > {"action":15,"channel":"a","msgSerial":4,"messages":[{"data":"x"},{"data":1}]}
        denied Publish(Invalid) a 40013
        < {"action":2,"msgSerial":4,"count":1,"error":40013}
    "#,
    );
}

#[test]
fn a_publish_has_a_size() {
    let mut scene = Scene::default();
    scene.app.limits.message_bytes = 4;
    scene.check(
        r#"
        > {"action":15,"channel":"a","msgSerial":0,"messages":[{"name":"ab","data":"cd"}]}
        publish 0 a c0nnA:0 ab:cd::
        > {"action":15,"channel":"a","msgSerial":1,"messages":[{"name":"ab","data":"cde"}]}
        denied Publish(TooLarge) a 40009
    "#,
    );
}

/// One over the rate is refused by itself; the next second there is room again.
#[test]
fn a_connection_has_a_rate() {
    let settings = Settings { inbound_per_second: 2, inbound_burst: 2, ..Settings::default() };
    let scene = Scene { settings, ..Scene::default() };
    scene.check(
        r#"
        > {"action":15,"channel":"a","msgSerial":0,"messages":[]}
        < {"action":1,"msgSerial":0,"count":1}
        > {"action":15,"channel":"a","msgSerial":1,"messages":[]}
        < {"action":1,"msgSerial":1,"count":1}
        > {"action":15,"channel":"a","msgSerial":2,"messages":[]}
        denied Publish(OverLimit) a 42911
        < {"action":2,"msgSerial":2,"count":1,"error":42911}
        wait 0.5
        > {"action":15,"channel":"a","msgSerial":3,"messages":[]}
        < {"action":1,"msgSerial":3,"count":1}
        > {"action":14,"channel":"a","msgSerial":4,"presence":[]}
        denied Presence(OverLimit) a 42911
        < {"action":2,"msgSerial":4,"count":1,"error":42911}
    "#,
    );
}

#[test]
fn a_flood_ends_the_connection() {
    let settings = Settings { inbound_per_second: 1, inbound_burst: 1, ..Settings::default() };
    let beat = "> {\"action\":0}\n< {\"action\":0}\n".repeat(10);
    let script = format!("{beat}> {{\"action\":0}}\n< {{\"action\":9,\"error\":42920}}\nclose Closed");
    Scene { settings, ..Scene::default() }.check(&script);
}

/// Who goes on sending although nothing is answered is refused, and then ended: what is remembered has a bound.
#[test]
fn frames_without_an_answer_are_bounded() {
    let settings = Settings { in_flight: 1, ..Settings::default() };
    Scene { settings, ..Scene::default() }.check(
        r#"
        > {"action":15,"channel":"a","msgSerial":0,"messages":[{}]}
        publish 0 a c0nnA:0 ::none:
        > {"action":15,"channel":"a","msgSerial":1,"messages":[{}]}
        denied Publish(Failed) a 50005
        > {"action":15,"channel":"a","msgSerial":2,"messages":[{}]}
        < {"action":9,"error":42920}
        close Closed
    "#,
    );
}
