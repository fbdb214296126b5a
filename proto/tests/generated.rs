//! The committed generated code is what the `.proto` files say.

use std::path::Path;
use std::{env, fs};

use protox::Compiler;

const FILES: [&str; 3] = ["fanfare.backbone.v1.rs", "fanfare.control.v1.rs", "control.descriptors.bin"];

fn compile(file: &str) -> Compiler {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = Compiler::new([root]).unwrap();
    compiler.include_source_info(true).include_imports(true);
    if let Err(error) = compiler.open_file(root.join(file)) {
        panic!("{file}: {error}");
    }
    compiler
}

fn generate(out: &Path) {
    tonic_prost_build::configure()
        .out_dir(out)
        .bytes(".fanfare.backbone.v1")
        .build_client(false)
        .build_server(false)
        .compile_fds(compile("backbone.proto").file_descriptor_set())
        .unwrap();
    let control = compile("control.proto");
    // Every message knows its name, by which its JSON form finds its descriptor.
    let mut names = tonic_prost_build::Config::new();
    names.enable_type_names();
    tonic_prost_build::configure().out_dir(out).compile_fds_with_config(control.file_descriptor_set(), names).unwrap();
    // Encoded by the compiler itself, which keeps the HTTP annotations; prost's own types would drop them.
    fs::write(out.join("control.descriptors.bin"), control.encode_file_descriptor_set()).unwrap();
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
