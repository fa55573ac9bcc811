//! Generates Rust from every `.proto` below `proto/`, in pure Rust: no `protoc` is needed.
//!
//! A message with a field marked `debug_redact` gets no derived `Debug`: it has none, or the one
//! that `src/proto.rs` writes by hand to hide the field.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::Compiler;
use protox::prost_reflect::{MessageDescriptor, Value};

const ROOT: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    println!("cargo::rerun-if-changed=build.rs");
    let mut files = Vec::new();
    find_protos(Path::new(ROOT), &mut files)?;
    files.sort();

    let mut compiler = Compiler::new([ROOT])?;
    compiler.include_imports(true).open_files(&files)?;

    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    // For reflection and tests: without comments, which are most of its size.
    compiler.include_source_info(false);
    fs::write(out_dir.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    // For generated code: with comments, which become its documentation.
    compiler.include_source_info(true);
    let secret: Vec<String> = compiler
        .descriptor_pool()
        .all_messages()
        .filter(holds_secret)
        .map(|message| format!(".{}", message.full_name()))
        .collect();
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .btree_map(".") // one order, so one encoding
        .skip_debug(secret)
        .extern_path(".google.rpc", "::tonic_types")
        .boxed(".keyledger.v1.StreamEventsResponse.answer.event") // heartbeats are far smaller
        .boxed(".keyledger.v1.PepperDependent.dependent.key") // neither is small
        .boxed(".keyledger.v1.PepperDependent.dependent.caller")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Collects every `.proto` file below `dir`.
fn find_protos(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a field of `message` is marked `debug_redact`.
fn holds_secret(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| {
        let options = field.options();
        let marked = options.get_field_by_name("debug_redact");
        marked.is_some_and(|value| *value == Value::Bool(true))
    })
}
