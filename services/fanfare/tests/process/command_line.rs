//! Commands that end by themselves.

use crate::server::{command, finished, run};

#[test]
fn every_mistake_is_told_with_a_usage_code() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fanfare.toml");
    std::fs::write(&file, "listen = 'nowhere'\n[edge]\nmax_conections = 5\n").unwrap();
    let file = file.to_str().unwrap();
    for arguments in [vec!["config", "check", "--config", file], vec!["run", "--config", file]] {
        let (code, out, error) = run(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
        assert!(error.contains("2 mistakes in the configuration:"), "{error}");
        assert!(error.contains("fanfare.toml:1: listen: \"nowhere\" is not an IP address"), "{error}");
        assert!(
            error.contains("fanfare.toml:3: edge.max_conections is no setting; did you mean edge.max_connections?")
        );
    }
}

#[test]
fn refusals_name_what_is_missing() {
    for (arguments, sentence) in [
        (vec!["run"], "the control role needs admin.token"),
        (vec!["run", "--role", "waiter"], "there are edge, control and worker"),
        (vec!["run", "--role", "edge"], "without nats.urls the backbone is in this process's memory"),
        (vec!["dev", "--nats", "nats://127.0.0.1:4222"], "fanfare dev is one process by itself"),
        (vec!["run", "--config", "/nowhere/at/all"], "/nowhere/at/all: "),
        (vec!["dev", "--seed", "/nowhere/at/all"], "seed /nowhere/at/all: "),
        (vec!["run", "--set", "listen"], "write KEY=VALUE"),
        (
            vec!["run", "--set", "admin.token=hush-hush-hush-hush"],
            "admin.token is a secret, and everybody on this machine",
        ),
        (vec!["run", "--nats", "nats://127.0.0.1:4222"], "needs cluster.key or cluster.key_file"),
        (
            vec!["run", "--nats", "nats://127.0.0.1:4222", "--data-dir", "x"],
            "data_dir and nats.urls exclude each other",
        ),
    ] {
        let (code, _, error) = run(&arguments);
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(sentence), "{arguments:?}: {error}");
    }
}

#[test]
fn a_bad_seed_is_told_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("apps.toml");
    std::fs::write(&file, "[[app]]\nid = \"not an id\"\nname = \"x\"\n").unwrap();
    for arguments in [&["dev"][..], &["config", "check"]] {
        let mut command = command(&[arguments, &["--seed", file.to_str().unwrap()]].concat());
        let (code, out, error) = finished(command.env("FANFARE_ADMIN_TOKEN", "hush-hush-hush-hush").output().unwrap());
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(error.contains("apps.toml: "), "{error}");
    }
}

#[test]
fn check_and_show_agree_with_the_environment() {
    let output = command(&["config", "show", "--origin"])
        .env("FANFARE_ADMIN_TOKEN", "hush-hush-hush-hush")
        .env("FANFARE_LISTEN", "127.0.0.1:7001")
        .output()
        .unwrap();
    let (code, out, _) = finished(output);
    assert_eq!(code, 0);
    assert!(out.contains("listen = \"127.0.0.1:7001\"") && out.contains("# FANFARE_LISTEN"), "{out}");
    assert!(!out.contains("hush"), "{out}");
    let stray = |arguments: &[&str]| {
        let mut command = command(arguments);
        finished(command.env("FANFARE_ADMIN_TOKEN", "hush-hush-hush-hush").env("FANFARE_LISTN", "x").output().unwrap())
    };
    assert_eq!(stray(&["config", "check"]).0, 0);
    let (code, _, error) = stray(&["config", "check", "--strict"]);
    assert_eq!(code, 2);
    assert!(error.contains("FANFARE_LISTN: is no setting"), "{error}");
}

#[test]
fn a_request_can_be_signed_offline() {
    let line = ["token", "sign-request", "--app", "1001", "--key", "app-key", "--secret", "s", "--body", "{}"];
    let (code, out, error) = run(&line);
    assert_eq!(code, 0, "{error}");
    assert!(out.starts_with("http://127.0.0.1:6001/apps/1001/events?auth_key=app-key&"), "{out}");
}

#[test]
fn a_new_cluster_key_is_one() {
    let (code, out, _) = run(&["config", "new-key"]);
    assert_eq!((code, out.trim().len()), (0, 64));
    assert_ne!(run(&["config", "new-key"]).1, out);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cluster.key");
    std::fs::write(&file, out).unwrap();
    let mut check = command(&["config", "check", "--nats", "nats://127.0.0.1:4222"]);
    check.env("FANFARE_CLUSTER_KEY_FILE", &file);
    let (code, out, error) = finished(check.output().unwrap());
    assert_eq!((code, out.as_str()), (0, "no mistakes; would run 3 roles\n"), "{error}");
}

#[test]
fn shells_are_taught_to_complete() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, error) = run(&["completion", shell]);
        assert_eq!(code, 0, "{error}");
        assert!(out.contains("dead-letters") && out.contains("token-file"), "{shell}");
    }
}

#[test]
fn the_version_is_told() {
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out.trim()), (0, concat!("fanfare ", env!("CARGO_PKG_VERSION"))));
}
