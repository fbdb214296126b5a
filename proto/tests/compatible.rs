//! The `.proto` files against those of every release: what was said then is still understood.
//!
//! `formats/{release}.{file}.bin` is a release's encoded `FileDescriptorSet`. Nothing may go, or become something else,
//! without its number and name being reserved. `FANFARE_BLESS=1 cargo test -p proto` writes those of this version once the
//! changelog has it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use protox::Compiler;

const FILES: [&str; 2] = ["backbone", "control"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn kept(release: &str, file: &str) -> PathBuf {
    root().join(format!("tests/formats/{release}.{file}.bin"))
}

fn compiled(dir: &Path, file: &str) -> FileDescriptorSet {
    let mut compiler = Compiler::new([dir]).unwrap();
    if let Err(error) = compiler.include_imports(false).open_file(dir.join(format!("{file}.proto"))) {
        panic!("{file}: {error}");
    }
    compiler.file_descriptor_set()
}

/// The releases in the changelog, newest first.
fn releases() -> Vec<String> {
    let changelog = fs::read_to_string(root().join("../CHANGELOG.md")).unwrap();
    let release = |line: &str| Some(line.strip_prefix("## ")?.split_whitespace().next()?.to_owned());
    changelog.lines().filter_map(release).filter(|name| name.starts_with(|c: char| c.is_ascii_digit())).collect()
}

#[test]
fn what_every_release_says_is_understood() {
    let this = env!("CARGO_PKG_VERSION");
    let releases = releases();
    assert!(releases.iter().any(|release| release == "0.1.0"), "the changelog can be read: {releases:?}");
    for file in FILES {
        let new = compiled(root(), file);
        for release in &releases {
            let path = kept(release, file);
            if env::var_os("FANFARE_BLESS").is_some() && release == this && !path.exists() {
                fs::write(&path, prost::Message::encode_to_vec(&new)).unwrap();
            }
            let bytes = fs::read(&path).unwrap_or_else(|error| {
                panic!("{}: {error}; a release keeps its own: FANFARE_BLESS=1 cargo test -p proto", path.display())
            });
            let old: FileDescriptorSet = prost::Message::decode(bytes.as_slice()).unwrap();
            let broken = broken(&old, &new);
            assert!(broken.is_empty(), "{file}.proto against {release}:\n{}", broken.join("\n"));
        }
    }
}

/// What `new` no longer understands of what is said by `old`.
fn broken(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let (old, new) = (All::of(old), All::of(new));
    let mut broken = Vec::new();
    for (name, message) in &old.messages {
        match new.messages.get(name) {
            Some(now) => broken.extend(message_broken(name, message, now)),
            None => broken.push(format!("message {name} is gone")),
        }
    }
    for (name, values) in &old.enums {
        match new.enums.get(name) {
            Some(now) => broken.extend(enum_broken(name, values, now)),
            None => broken.push(format!("enum {name} is gone")),
        }
    }
    for (name, method) in &old.methods {
        match new.methods.get(name) {
            Some(now) if now == method => {}
            Some(now) => broken.push(format!("method {name} was {method} and is {now}")),
            None => broken.push(format!("method {name} is gone")),
        }
    }
    broken
}

fn message_broken(name: &str, old: &DescriptorProto, new: &DescriptorProto) -> Vec<String> {
    // A number's meaning: what is on the wire, and the name by which it goes in JSON.
    let meaning = |message: &DescriptorProto, field: &FieldDescriptorProto| {
        let oneof = field.oneof_index.filter(|_| !field.proto3_optional());
        let oneof = oneof.map(|index| message.oneof_decl[usize::try_from(index).unwrap()].name().to_owned());
        let FieldDescriptorProto { name, label, r#type, type_name, proto3_optional, .. } = field.clone();
        (name, label, r#type, type_name, proto3_optional.unwrap_or(false), oneof)
    };
    let mut broken = Vec::new();
    for field in &old.field {
        let number = field.number();
        let reserved = new.reserved_range.iter().any(|range| (range.start()..range.end()).contains(&number))
            && new.reserved_name.iter().any(|name| name == field.name());
        match new.field.iter().find(|now| now.number() == number) {
            Some(now) if meaning(new, now) == meaning(old, field) => {}
            Some(now) => broken.push(format!(
                "field {number} of {name} was {:?} and is {:?}",
                meaning(old, field),
                meaning(new, now)
            )),
            None if reserved => {}
            None => broken.push(format!("field {number} of {name}, {}, is gone and not reserved", field.name())),
        }
    }
    broken
}

fn enum_broken(name: &str, old: &EnumDescriptorProto, new: &EnumDescriptorProto) -> Vec<String> {
    let mut broken = Vec::new();
    for value in &old.value {
        let number = value.number();
        let reserved = new.reserved_range.iter().any(|range| (range.start()..=range.end()).contains(&number))
            && new.reserved_name.iter().any(|name| name == value.name());
        match new.value.iter().find(|now| now.number() == number) {
            Some(now) if now.name() == value.name() => {}
            Some(now) => broken.push(format!("{number} of {name} was {} and is {}", value.name(), now.name())),
            None if reserved => {}
            None => broken.push(format!("{number} of {name}, {}, is gone and not reserved", value.name())),
        }
    }
    broken
}

/// Everything in a set of files, by its full name.
#[derive(Default)]
struct All {
    messages: BTreeMap<String, DescriptorProto>,
    enums: BTreeMap<String, EnumDescriptorProto>,
    /// What each takes and gives.
    methods: BTreeMap<String, String>,
}

impl All {
    fn of(files: &FileDescriptorSet) -> Self {
        let mut all = Self::default();
        for file in &files.file {
            let package = file.package();
            all.add(package, &file.message_type, &file.enum_type);
            for service in &file.service {
                for method in &service.method {
                    let stream = |is_stream| if is_stream { "stream " } else { "" };
                    let said = format!(
                        "({}{}) returns ({}{})",
                        stream(method.client_streaming()),
                        method.input_type(),
                        stream(method.server_streaming()),
                        method.output_type()
                    );
                    all.methods.insert(format!("{package}.{}/{}", service.name(), method.name()), said);
                }
            }
        }
        all
    }

    fn add(&mut self, within: &str, messages: &[DescriptorProto], enums: &[EnumDescriptorProto]) {
        for message in messages {
            let name = format!("{within}.{}", message.name());
            self.add(&name, &message.nested_type, &message.enum_type);
            self.messages.insert(name, message.clone());
        }
        for each in enums {
            self.enums.insert(format!("{within}.{}", each.name()), each.clone());
        }
    }
}

const OLD: &str = "
    syntax = \"proto3\"; package x;
    service S { rpc Get(M) returns (M); }
    enum E { E_UNSPECIFIED = 0; E_ONE = 1; }
    message M { uint32 version = 1; string a = 2; E e = 3; oneof o { string b = 4; string c = 5; } }
";

#[test]
fn what_breaks_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let compile = |source: &str| {
        fs::write(dir.path().join("x.proto"), source).unwrap();
        compiled(dir.path(), "x")
    };
    let old = compile(OLD);
    let broken_by = |from: &str, to: &str| {
        assert!(OLD.contains(from), "{from}");
        broken(&old, &compile(&OLD.replace(from, to)))
    };
    for (from, to, says) in [
        ("string a = 2;", "", "field 2 of x.M, a, is gone and not reserved"),
        ("string a = 2;", "string a = 6;", "field 2 of x.M, a, is gone and not reserved"),
        ("string a = 2;", "reserved 2;", "field 2 of x.M, a, is gone and not reserved"),
        ("string a = 2;", "string z = 2;", "field 2 of x.M was"),
        ("string a = 2;", "bytes a = 2;", "field 2 of x.M was"),
        ("string a = 2;", "repeated string a = 2;", "field 2 of x.M was"),
        ("string a = 2;", "optional string a = 2;", "field 2 of x.M was"),
        ("oneof o { string b = 4; string c = 5; }", "string b = 4; string c = 5;", "field 4 of x.M was"),
        ("E_ONE = 1;", "E_TWO = 1;", "1 of x.E was E_ONE and is E_TWO"),
        ("E_ONE = 1;", "E_TWO = 2;", "1 of x.E, E_ONE, is gone"),
        ("rpc Get(M) returns (M);", "", "method x.S/Get is gone"),
        ("rpc Get(M) returns (M);", "rpc Get(M) returns (stream M);", "method x.S/Get was"),
    ] {
        let broken = broken_by(from, to);
        assert!(broken.iter().any(|line| line.starts_with(says)), "{to}: {broken:?}");
    }
    for (from, to) in [
        ("string a = 2;", "reserved 2; reserved \"a\";"),
        ("string a = 2;", "string a = 2; string z = 9;"),
        ("E_ONE = 1;", "reserved 1; reserved \"E_ONE\";"),
        ("E_ONE = 1;", "E_ONE = 1; E_TWO = 2;"),
        ("rpc Get(M) returns (M);", "rpc Get(M) returns (M); rpc Put(M) returns (M);"),
    ] {
        assert_eq!(broken_by(from, to), [""; 0], "{to}");
    }
}
