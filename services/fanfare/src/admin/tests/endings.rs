//! What goes wrong, and how scripts are told.

use tokio::net::{TcpListener, TcpSocket};

use super::{Plane, TOKEN, fails, parse, run_at};

#[tokio::test]
async fn exit_codes_tell_who_is_to_act() {
    let plane = Plane::start().await;
    fails(plane.run(&["app", "get", "1"]).await, 4, "there is no app 1");
    fails(plane.run(&["app", "create", "--id=a.b"]).await, 1, "id: app id must be");
    fails(run_at(&plane.address, &["app", "list"], Some("0123456789abcdeX")).await, 5, "");
    fails(run_at(&plane.address, &["app", "list"], None).await, 2, "set FANFARE_ADMIN_TOKEN or give --token-file");
    fails(run_at(&plane.address, &["app", "list"], Some("short")).await, 2, "FANFARE_ADMIN_TOKEN: admin token must");
    fails(plane.run(&["app", "list", "--token-file=/does/not/exist"]).await, 2, "cannot read the token file");
    fails(plane.run(&["key", "create", "1", "--key-secret-file=/does/not/exist"]).await, 2, "secret file");
    fails(plane.run(&["app", "list", "--ca-file=/does/not/exist"]).await, 2, "are for https");
    fails(plane.run(&["app", "update", "1"]).await, 2, "nothing to change");
    fails(plane.run(&["namespace", "set", "1", "a", "--retention=1h"]).await, 2, "is for --tier persistent");
    fails(plane.run(&["restore", "--file=/does/not/exist"]).await, 2, "cannot read /does/not/exist");
    fails(plane.run(&["backup", "--file=/does/not/exist"]).await, 2, "is in no directory");
    fails(plane.run(&["node", "drain", "0123456789abcdef"]).await, 4, "");
    for (address, words) in [
        ("https://127.0.0.1:1", "needs --ca-file"),
        ("ftp://127.0.0.1:1", "must begin with http://"),
        ("127.0.0.1:6002", "must begin with http://"),
        ("not a url", "is no URL"),
    ] {
        fails(run_at(address, &["app", "list"], Some(TOKEN)).await, 2, words);
    }
    // Bound and not listening: refuses connections, and nobody else gets the port.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody_at = nobody.local_addr().unwrap();
    fails(run_at(&format!("http://{nobody_at}"), &["app", "list"], Some(TOKEN)).await, 3, "cannot reach");
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = async {
        loop {
            drop(listener.accept().await);
        }
    };
    let result = tokio::select! {
        result = run_at(&address, &["app", "list"], Some(TOKEN)) => result,
        () = server => unreachable!(),
    };
    fails(result, 3, "");
}

#[tokio::test]
async fn the_token_file_wins() {
    let plane = Plane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let words = ["app", "list", "--token-file", file.to_str().unwrap()];
    run_at(&plane.address, &words, Some("0123456789abcdeX")).await.unwrap();
}

#[test]
fn nonsense_is_refused_by_the_parser() {
    for words in [
        &["app"][..],
        &["app", "get"],
        &["app", "create", "--limit=colour=3"],
        &["app", "create", "--limit=event_data_bytes"],
        &["app", "create", "--limit=event_data_bytes=x"],
        &["app", "create", "--namespace=tick-"],
        &["app", "create", "--namespace=tick-=eternal"],
        &["app", "create", "--namespace=tick-=persistent:soon"],
        &["app", "create", "--connections=many"],
        &["app", "create", "--capability=all"],
        &["app", "create", r#"--capability={"*": "*"}"#],
        &["app", "update", "1", "--revision=0"],
        &["app", "update", "1", "--no-namespaces", "--namespace=a=ephemeral"],
        &["app", "update", "1", "--default-limits", "--limit=events_per_batch=1"],
        &["app", "list", "--token=secret"],
        &["app", "list", "--output=xml"],
        &["app", "quota", "1", "colour=3"],
        &["app", "quota", "1", "connections"],
        &["app", "quota", "1", "connections=many"],
        &["key", "rotate", "1", "k", "--overlap=soon"],
        &["namespace", "set", "1", "a", "--tier=eternal"],
        &["usage", "show", "1", "--start=yesterday"],
        &["usage", "show", "1", "--interval=week"],
        &["tail"],
        &["token", "create", "--name=x"],
        &["token", "create", "--name=x", "--role=king"],
        &["doctor", "--cert-file=x"],
        &["key", "revoke", "1"],
        &["app", "create", "--watchlist=maybe"],
        &["app", "create", "--authorized-connections=30"],
        &["app", "create", "--authorized-connections=0s"],
        &["app", "create", "--webhook=https://example.com/"],
        &["app", "create", "--webhook={}"],
        &["app", "create", r#"--webhook={"url": "http://a/", "event": "cache_miss"}"#],
        &["app", "create", "--webhook=@/does/not/exist"],
        &["app", "update", "1", "--no-webhooks", r#"--webhook={"url": "http://a/"}"#],
        &["webhook", "replay", "1"],
        &["webhook", "delete", "1", "--all", "an-id"],
        &["webhook", "dead-letters"],
    ] {
        assert_eq!(parse(words).map(|_| ()).unwrap_err().exit_code(), 2, "{words:?}");
    }
}

#[tokio::test]
async fn what_is_given_twice_is_refused() {
    let plane = Plane::start().await;
    let limits = ["app", "create", "--limit=events_per_batch=1", "--limit=events_per_batch=2"];
    fails(plane.run(&limits).await, 2, "the limit events_per_batch is given twice");
    let quotas = ["app", "create", "--connections=1", "--quota=connections=2"];
    fails(plane.run(&quotas).await, 2, "the quota connections is given twice");
}
