//! Quotas of the app, which the edge counts.

use super::*;

#[test]
fn a_subscription_is_taken_back_and_may_be_tried_again() {
    Scene::default().check(
        r#"
        > {"event":"pusher:subscribe","data":{"channel":"a"}}
        subscribe a {"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}"}
        over-quota a
        < {"event":"pusher:subscription_error","channel":"a","data":{"type":"LimitReached","error":"quota channels exceeded, retry in 10 s","status":4004}}
        > {"event":"pusher:unsubscribe","data":{"channel":"a"}}
        over-quota a
        > {"event":"pusher:subscribe","data":{"channel":"a"}}
        subscribe a {"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}"}
        "#,
    );
}

#[test]
fn a_client_event_is_refused_with_a_code_that_clients_know() {
    Scene::default().check(
        r#"
        event-over-quota
        < {"event":"pusher:error","data":{"code":4301,"message":"quota channels exceeded, retry in 10 s"}}
        "#,
    );
}
