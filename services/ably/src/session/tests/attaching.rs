//! Attaching and detaching.

use super::{Scene, check};
use crate::session::Settings;

const DEFAULT: &str = "presence,publish,subscribe,presence_subscribe,annotation_publish";

#[test]
fn the_hub_attaches() {
    check(&format!(
        r#"
        > {{"action":10,"channel":"room"}}
        attach room {DEFAULT}
        > {{"action":10,"channel":"room","channelSerial":"00000000000000e1-42"}}
        attach room {DEFAULT} after 42 again
        > {{"action":12,"channel":"room"}}
        detach room
        < {{"action":13,"channel":"room"}}
        > {{"action":12,"channel":"room"}}
        < {{"action":13,"channel":"room"}}
        > {{"action":10,"channel":"room","channelSerial":"foreign","flags":32}}
        attach room {DEFAULT} after nothing known resume
        > {{"action":10,"channel":"other","channelSerial":"","flags":32}}
        attach other {DEFAULT} resume
        > {{"action":10,"channel":"third","channelSerial":5}}
        attach third {DEFAULT} after nothing known
    "#
    ));
}

#[test]
fn modes_are_asked_for_by_flags_or_params() {
    check(
        r#"
        > {"action":10,"channel":"a","flags":393216}
        attach a publish,subscribe
        > {"action":10,"channel":"b","flags":393216,"params":{"modes":"presence,subscribe"}}
        attach b presence,subscribe modes=presence,subscribe
        > {"action":10,"channel":"c","params":{"modes":"subscribe,object_subscribe,annotation_subscribe"}}
        attach c subscribe modes=subscribe,object_subscribe,annotation_subscribe
        > {"action":10,"channel":"d","params":{"modes":"subscribe,fly"}}
        denied Attach(Invalid) d 40000
        < {"action":9,"channel":"d","error":40000}
        > {"action":10,"channel":"e","flags":16777216}
        denied Attach(Invalid) e 92000
        < {"action":9,"channel":"e","error":92000}
        > {"action":10,"channel":"f","flags":4194304}
        denied Attach(Invalid) f 93002
        < {"action":9,"channel":"f","error":93002}
    "#,
    );
}

#[test]
fn a_capability_shrinks_modes() {
    let scene = Scene::of("-", "a=subscribe b=publish c=presence,history d=history [meta]*=subscribe");
    scene.check(
        r#"
        > {"action":10,"channel":"a"}
        attach a subscribe,presence_subscribe
        > {"action":10,"channel":"b"}
        attach b publish,annotation_publish
        > {"action":10,"channel":"c"}
        attach c presence
        > {"action":10,"channel":"d"}
        attach d
        > {"action":10,"channel":"e"}
        denied Attach(Unauthorized) e 40160
        < {"action":9,"channel":"e","error":40160}
        > {"action":10,"channel":"[meta]connection.lifecycle"}
        attach [meta]connection.lifecycle subscribe,presence_subscribe
    "#,
    );
}

#[test]
fn names_have_qualifiers() {
    let mut scene = Scene::of("-", "room");
    scene.opening.echo = false;
    scene.check(
        r#"
        > {"action":10,"channel":"[?rewind=1&echo=true]room","params":{"unknown":"x"}}
        attach [?rewind=1&echo=true]room presence,publish,subscribe,presence_subscribe,annotation_publish rewind=1 echo=true
        > {"action":10,"channel":"room"}
        attach room presence,publish,subscribe,presence_subscribe,annotation_publish no-echo
        > {"action":10,"channel":"[filter=bmFtZSA9PSAneCc=]room"}
        attach [filter=bmFtZSA9PSAneCc=]room subscribe,presence_subscribe no-echo
        > {"action":10,"channel":"room","params":{"rewind":"x"}}
        detach room
        denied Attach(Invalid) room 40000
        < {"action":9,"channel":"room","error":40000}
    "#,
    );
}

#[test]
fn what_is_no_channel() {
    check(
        r##"
        > {"action":10,"channel":":hell"}
        denied Attach(Invalid) :hell 40010
        < {"action":9,"channel":":hell","error":40010}
        > {"action":10,"channel":"[invalid"}
        denied Attach(Invalid) [invalid 40010
        < {"action":9,"channel":"[invalid","error":40010}
        > {"action":10,"channel":"#server-to-user-1"}
        denied Attach(Invalid) #server-to-user-1 40010
        < {"action":9,"channel":"#server-to-user-1","error":40010}
        > {"action":12,"channel":"[invalid"}
        < {"action":13,"channel":"[invalid"}
    "##,
    );
    let nothing = "> {\"action\":10}\ndenied Attach(Invalid)  40010\n< {\"action\":9,\"channel\":\"\",\"error\":40010}";
    check(nothing);
    check(&nothing.replace(":10}", ":10,\"channel\":\"\"}"));
}

#[test]
fn as_many_channels_as_there_may_be() {
    let scene =
        Scene { settings: Settings { channels: 1, ..Settings::default() }, ..Scene::of("-", "a=publish b=publish") };
    scene.check(
        r#"
        > {"action":10,"channel":"a"}
        attach a publish,annotation_publish
        > {"action":10,"channel":"b"}
        denied Attach(OverLimit) b 90010
        < {"action":9,"channel":"b","error":90010}
        > {"action":10,"channel":"a"}
        attach a publish,annotation_publish again
        > {"action":12,"channel":"a"}
        detach a
        < {"action":13,"channel":"a"}
        > {"action":10,"channel":"b"}
        attach b publish,annotation_publish
    "#,
    );
}

/// What passes is told by DETACHED, upon which the SDK tries again.
#[test]
fn the_hub_refuses() {
    Scene::of("-", "a=publish b=publish").check(
        r#"
        > {"action":10,"channel":"a"}
        attach a publish,annotation_publish
        refuse a 50004
        detach a
        denied Attach(Failed) a 50004
        < {"action":13,"channel":"a","error":50004}
        > {"action":10,"channel":"a"}
        attach a publish,annotation_publish
        refuse a 40114
        detach a
        denied Attach(OverQuota) a 40114
        < {"action":9,"channel":"a","error":40114}
    "#,
    );
}

#[test]
fn a_client_asks_for_members() {
    Scene::of("-", "a=publish").check(
        r#"
        > {"action":16,"channel":"a"}
        > {"action":10,"channel":"a"}
        attach a publish,annotation_publish
        > {"action":16,"channel":"a","channelSerial":"x:y"}
        sync a
    "#,
    );
}
