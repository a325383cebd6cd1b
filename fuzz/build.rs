//! Makes a module of the example whose parser is fuzzed: without the documentation of its file, which only the
//! head of a file can have.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=../examples/redis.rs");
    let text = fs::read_to_string("../examples/redis.rs").expect("the example");
    let lines = text.lines().filter(|line| !line.starts_with("//!") && *line != "mod common;");
    let module = lines.fold(String::new(), |module, line| module + line + "\n");
    let folder = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("redis.rs"), module).expect("cargo's folder");
}
