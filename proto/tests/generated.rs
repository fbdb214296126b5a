//! The committed generated code is what the `.proto` files say.

use std::path::Path;
use std::{env, fs};

use prost_types::FileDescriptorSet;

const FILES: [&str; 3] = ["fanfare.backbone.v1.rs", "fanfare.control.v1.rs", "control.descriptors.bin"];

fn compile(file: &str) -> FileDescriptorSet {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    protox::compile([root.join(file)], [root]).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn generate(out: &Path) {
    tonic_prost_build::configure()
        .out_dir(out)
        .bytes(".fanfare.backbone.v1")
        .build_client(false)
        .build_server(false)
        .compile_fds(compile("backbone.proto"))
        .unwrap();
    tonic_prost_build::configure()
        .out_dir(out)
        .file_descriptor_set_path(out.join("control.descriptors.bin"))
        .compile_fds(compile("control.proto"))
        .unwrap();
    let descriptors = prost::Message::encode_to_vec(&compile("control.proto"));
    fs::write(out.join("control.descriptors.bin"), descriptors).unwrap();
}

#[test]
fn committed_code_is_current() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    let bless = env::var_os("FANFARE_BLESS").is_some();
    for file in FILES {
        let new = fs::read(fresh.path().join(file)).unwrap();
        if bless {
            fs::write(committed.join(file), &new).unwrap();
        }
        let old = fs::read(committed.join(file)).unwrap_or_default();
        assert!(old == new, "{file} differs from its .proto; run FANFARE_BLESS=1 cargo test -p proto");
    }
}
