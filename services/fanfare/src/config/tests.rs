//! The table of keys and the layers, without the process's own environment.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backbone::sealing::ClusterKeys;

use super::docs::section;
use super::keys::{KEYS, SECTIONS};
use super::*;

const TOKEN: &str = "a-token-for-tests";
const CLUSTER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn sources(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    Sources {
        file: Some((PathBuf::from("fanfare.toml"), file.to_owned())),
        environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        flags: flags
            .iter()
            .map(|(path, value)| Flag {
                name: format!("--{path}"),
                path: (*path).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
    }
}

/// Settings from these sources, with a token and a cluster key so that they are complete.
fn settings(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, Mistakes> {
    let mut effective = Effective::new(&sources(file, environment, flags));
    effective.set_default("admin.token", TOKEN);
    effective.set_default("cluster.key", CLUSTER_KEY);
    effective.settings()
}

fn mistakes(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    settings(file, environment, flags).expect_err("mistakes").to_string()
}

/// Everything in settings that can differ, also what their debug form hides.
fn fingerprint(settings: &Settings) -> String {
    let nats = &settings.nats;
    let password = nats.password.as_ref().map(|password| password.expose());
    let token = settings.admin_token.as_ref().map(|token| token.expose());
    let keys: Vec<_> = settings.cluster_keys.iter().flat_map(|keys| keys.ids()).map(|id| id.to_string()).collect();
    let shown = format!("{settings:?} {:?} {:?} {keys:?}", settings.edge(), settings.control("id"));
    let agent = settings.agent(Arc::new(ClusterKeys::generate()));
    let shown = format!("{shown} {:?} {:?}", agent.name, agent.trust);
    let headers = settings.trace.headers.as_ref().map(|headers| headers.expose());
    format!("{shown} {headers:?} {token:?} {password:?} {:?} {:?} {:?}", nats.urls, nats.credentials_file, nats.tls)
}

#[test]
fn the_table_repeats_the_defaults_of_the_crates() {
    let mut settings = Settings::default();
    for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
        let before = fingerprint(&settings);
        key.apply(&mut settings, key.default).unwrap();
        assert_eq!(fingerprint(&settings), before, "the default of {}", key.path);
    }
    let token = control::AdminToken::new(TOKEN).unwrap();
    settings.admin_token = Some(token.clone());
    let expected = control::Config {
        id: "id".to_owned(),
        advertise: Some("127.0.0.1:6002".to_owned()),
        ..control::Config::new(token)
    };
    assert_eq!(format!("{:?}", settings.control("id")), format!("{expected:?}"));
    assert_eq!(format!("{:?}", settings.edge()), format!("{:?}", edge::Config::default()));
    assert_eq!(format!("{:?}", settings.worker), format!("{:?}", worker::Config::default()));
    assert_eq!(edge::TlsConfig::new("", "").reload_interval, settings.tls_reload_interval);
}

#[test]
fn every_key_does_something() {
    for key in KEYS {
        let mut settings = Settings::default();
        let before = fingerprint(&settings);
        key.apply(&mut settings, key.example).unwrap_or_else(|error| panic!("{}: {error}", key.path));
        assert_ne!(fingerprint(&settings), before, "{} = {}", key.path, key.example);
    }
}

#[test]
fn every_key_can_be_given_in_every_layer() {
    for key in KEYS {
        let origin = |sources: &Sources| {
            let effective = Effective::new(sources);
            let entry = effective.entry(key.path).unwrap();
            assert_eq!(entry.text, key.example, "{}", key.path);
            entry.origin.to_string()
        };
        let file = format!("{} = {:?}\n", key.path, key.example);
        assert_eq!(origin(&sources(&file, &[], &[])), "fanfare.toml:1");
        let variable = key.variable();
        assert_eq!(origin(&sources("", &[(&variable, key.example)], &[])), variable);
        if !key.is_secret() {
            assert_eq!(origin(&sources("", &[], &[(key.path, key.example)])), format!("--{}", key.path));
        }
    }
}

#[test]
fn paths_and_variables_are_unique_and_in_a_section() {
    let paths: Vec<_> = KEYS.iter().flat_map(|key| [Some(key.path.to_owned()), key.file_path()]).flatten().collect();
    let variables: BTreeSet<_> = paths.iter().map(|path| key::variable(path)).collect();
    assert_eq!(variables.len(), paths.len());
    for key in KEYS {
        assert!(SECTIONS.iter().any(|(prefix, _)| *prefix == section(key.path)), "{}", key.path);
        assert!(key.doc.ends_with('.'), "{}", key.path);
    }
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = "listen = '10.0.0.1:1'\n[log]\nfilter = 'warn'\n[backbone]\nshards = 8\n";
    let environment = [("FANFARE_LISTEN", "10.0.0.2:2"), ("FANFARE_LOG_FILTER", "debug")];
    let settings = settings(file, &environment, &[("listen", "10.0.0.3:3")]).unwrap();
    assert_eq!(settings.listen.to_string(), "10.0.0.3:3");
    assert_eq!(settings.log_filter, "debug");
    assert_eq!(settings.backbone.shards, 8);
    assert_eq!(settings.backbone.replicas, 3);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let file = "listen = 'here'\n[backbone]\nshads = 4\nreplicas = 9\n[log]\nformat = 1.5\n";
    let text = mistakes(file, &[("FANFARE_BACKBONE_SWEEP_INTERVAL", "30")], &[("role", "edge")]);
    for line in [
        "6 mistakes in the configuration:".to_owned(),
        "fanfare.toml:1: listen: \"here\" is not an IP address with a port, as in \"127.0.0.1:6001\"".to_owned(),
        "fanfare.toml:3: backbone.shads is no setting; did you mean backbone.shards?".to_owned(),
        "fanfare.toml:4: backbone.replicas: 9 is not between 1 and 5".to_owned(),
        "fanfare.toml:6: log.format: \"1.5\" is none of auto, human and json".to_owned(),
        "FANFARE_BACKBONE_SWEEP_INTERVAL: backbone.sweep_interval: \"30\" is not a duration".to_owned(),
        "--role: role is no setting; did you mean roles?".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\nin\n{text}");
    }
}

#[test]
fn a_key_in_the_wrong_table_is_recognised() {
    let text = mistakes("sweep_interval = '10s'\n", &[], &[]);
    assert!(text.contains("did you mean backbone.sweep_interval?"), "{text}");
    assert!(mistakes("zzzzzzzzzzzz = 1\n", &[], &[]).contains("`fanfare config docs` lists them all"));
}

#[test]
fn settings_that_exclude_each_other_are_told() {
    let text = mistakes("", &[], &[("roles", "edge")]);
    assert!(text.contains("without nats.urls the backbone is in this process's memory"), "{text}");
    let text = Effective::new(&sources("", &[], &[])).settings().unwrap_err().to_string();
    assert!(text.contains("the control role needs admin.token"), "{text}");
    let text = mistakes("tls.cert_file = 'a'\ncontrol.tls.key_file = 'b'\n", &[("FANFARE_ADMIN_TOKEN", "hush")], &[]);
    assert!(
        text.contains("FANFARE_ADMIN_TOKEN: admin.token: admin token must be 16 to") && !text.contains("hush"),
        "{text}"
    );
    let text = mistakes("tls.cert_file = 'a'\ncontrol.tls.key_file = 'b'\n", &[], &[]);
    assert!(text.contains("tls.cert_file and tls.key_file") && text.contains("control.tls.cert_file and"), "{text}");
    let text = mistakes("[control]\nclient_key_file = 'a'\n[control.tls]\nclient_ca_file = 'b'\n", &[], &[]);
    assert!(text.contains("control.client_cert_file and") && text.contains("client_ca_file needs"), "{text}");
    let text = mistakes("[control.tls]\ncert_file = 'a'\nkey_file = 'b'\n", &[], &[]);
    assert!(text.contains("control.tls needs control.ca_file"), "{text}");
    let text = mistakes("[backbone]\ndedupe_window = '10s'\n", &[], &[("nats.user", "me")]);
    assert!(text.contains("dedupe window must exceed") && text.contains("nats.user and nats.password"), "{text}");
}

#[test]
fn roles() {
    let all = settings("roles = ['worker', 'control', 'edge', 'edge']\n", &[], &[]).unwrap();
    assert_eq!(all.roles, [Role::Edge, Role::Control, Role::Worker]);
    let apart = settings("", &[("FANFARE_NATS_URLS", "nats://a:1")], &[("roles", "worker")]).unwrap();
    assert_eq!(apart.roles, [Role::Worker]);
    assert!(mistakes("", &[], &[("roles", "")]).contains("at least one role is needed"));
    let alone = settings("", &[("FANFARE_NATS_URLS", "nats://a:1, nats://b:2")], &[("roles", "edge")]).unwrap();
    assert_eq!(alone.nats.urls, ["nats://a:1", "nats://b:2"]);
}

#[test]
fn secrets_can_stand_in_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "a-token-from-a-file\n").unwrap();
    let path = path.to_str().unwrap();
    let token = |settings: Settings| settings.admin_token.map(|token| token.expose().to_owned());
    let from_file = settings("", &[("FANFARE_ADMIN_TOKEN_FILE", path)], &[]).unwrap();
    assert_eq!(token(from_file).as_deref(), Some("a-token-from-a-file"));
    let flag_wins =
        settings("", &[("FANFARE_ADMIN_TOKEN", "a-token-in-the-open")], &[("admin.token_file", path)]).unwrap();
    assert_eq!(token(flag_wins).as_deref(), Some("a-token-from-a-file"));
    let both = mistakes("", &[("FANFARE_ADMIN_TOKEN_FILE", path), ("FANFARE_ADMIN_TOKEN", "x")], &[]);
    assert!(both.contains("admin.token and admin.token_file exclude each other"), "{both}");
    let absent = mistakes("", &[("FANFARE_ADMIN_TOKEN_FILE", "/nowhere/at/all")], &[]);
    assert!(absent.contains("/nowhere/at/all: "), "{absent}");
}

#[test]
fn secrets_are_refused_on_the_command_line() {
    for key in KEYS.iter().filter(|key| key.is_secret()) {
        let told = mistakes("", &[], &[(key.path, "hush-hush-hush-hush")]);
        let sentence = format!("{} is a secret, and everybody on this machine can read command lines", key.path);
        assert!(told.contains(&sentence) && told.contains(&key.variable()) && !told.contains("hush"), "{told}");
    }
}

#[test]
fn a_process_of_a_cluster_needs_a_key_and_an_address() {
    let nats = [("FANFARE_NATS_URLS", "nats://a:1"), ("FANFARE_ADMIN_TOKEN", TOKEN)];
    let flags = [("control.listen", "0.0.0.0:6002"), ("data_dir", "/var/lib/fanfare")];
    let told = Effective::new(&sources("", &nats, &flags)).settings().unwrap_err().to_string();
    for sentence in [
        "nats.urls needs cluster.key or cluster.key_file",
        "control.advertise must say under which one",
        "data_dir and nats.urls exclude each other",
    ] {
        assert!(told.contains(sentence), "{sentence} in {told}");
    }
    let fine = settings("", &nats, &[("control.listen", "0.0.0.0:6002"), ("control.advertise", "a.example:6002")]);
    assert_eq!(fine.unwrap().cluster_keys.unwrap().ids().count(), 1);
    let two = format!("{CLUSTER_KEY}\n{}", CLUSTER_KEY.replace('0', "1"));
    assert_eq!(settings("", &[("FANFARE_CLUSTER_KEY", &two)], &[]).unwrap().cluster_keys.unwrap().ids().count(), 2);
    let told = mistakes("", &[("FANFARE_CLUSTER_KEY", "hush")], &[]);
    assert!(told.contains("cluster key 1 is not 64 hexadecimal digits") && !told.contains("hush"), "{told}");
    for address in ["here", "here:", ":1", "here:0", "here:70000"] {
        assert!(mistakes("", &[], &[("control.advertise", address)]).contains("is no host with a port"), "{address}");
    }
}

#[test]
fn stray_variables_are_told_apart() {
    let environment = [("FANFARE_PORT_6001_TCP", "tcp://10.0.0.1"), ("FANFARE_CONFIG", "x"), ("FANFARE_LISTEN", "")];
    let effective = Effective::new(&sources("", &environment, &[]));
    assert_eq!(effective.stray_variables, ["FANFARE_PORT_6001_TCP"]);
    assert_eq!(effective.entry("listen").unwrap().origin.to_string(), "default");
}

#[test]
fn show_can_be_used_as_a_file_and_hides_secrets() {
    let flags = [("nats.urls", "nats://me:hush-2@a:1,nats://b:2"), ("backbone.shards", "4")];
    let environment = [
        ("FANFARE_ADMIN_TOKEN", "hush-1-hush-1-hush-1"),
        ("FANFARE_CLUSTER_KEY", "hush-4"),
        ("FANFARE_NATS_USER", "me"),
        ("FANFARE_NATS_PASSWORD", "hush-3"),
    ];
    let mut sources = sources("", &environment, &flags);
    let text = show(&Effective::new(&sources), true);
    assert!(!text.contains("hush"), "{text}");
    assert!(text.contains("nats.urls = \"nats://***@a:1,nats://b:2\""), "{text}");
    assert!(text.contains("# FANFARE_NATS_USER") && text.contains("# --backbone.shards") && text.contains("# default"));
    sources.file = Some((PathBuf::from("shown.toml"), text));
    (sources.environment, sources.flags) = Default::default();
    let mut again = Effective::new(&sources);
    again.set_default("admin.token", TOKEN);
    again.set_default("nats.password", TOKEN);
    again.set_default("cluster.key", CLUSTER_KEY);
    assert_eq!(again.settings().unwrap().backbone.shards, 4);
}

#[test]
fn show_hides_credentials_also_in_what_is_no_url() {
    for (urls, shown) in [
        ("nats://a:1,tls://b:2", "nats://a:1,tls://b:2"),
        ("me:hush@a:1", "***@a:1"),
        ("nats://me:hu,sh@a:1,nats://hush@b:2", "nats://***@a:1,nats://***@b:2"),
    ] {
        let text = show(&Effective::new(&sources("", &[], &[("nats.urls", urls)])), false);
        assert!(text.contains(&format!("nats.urls = \"{shown}\"\n")), "{text}");
    }
}

#[test]
fn what_is_out_of_range_or_empty_is_refused() {
    for (path, value, sentence) in [
        ("edge.max_connections", "4294967296", "4294967296 is too large"),
        ("edge.max_connections", "0", "0 is not between 1 and 4294967295"),
        ("log.filter", " ", "is empty"),
        ("worker.webhook_give_up", "6m", "6m is not between 1s and 5m"),
        ("worker.webhook_allow", "10.0.0.0/8,office", "\"office\": an address range is"),
    ] {
        let told = mistakes("", &[], &[(path, value)]);
        assert!(told.contains(&format!("{path}: {sentence}")), "{told}");
    }
}

#[test]
fn the_reference_pages_are_current() {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (path, page) in [("docs/configuration.md", settings_page()), ("docs/metrics.md", metrics_page())] {
        let path = repository.join(path);
        if std::env::var_os("FANFARE_BLESS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == page, "{} is not what the code says: run with FANFARE_BLESS=1", path.display());
    }
}

#[test]
fn a_duration_of_the_file_reaches_its_crate() {
    let settings = settings("[backbone]\nsweep_interval = '45s'\n", &[], &[]).unwrap();
    assert_eq!(settings.backbone.sweep_interval, Duration::from_secs(45));
}
