//! Two versions of the crate in one program.

use std::fs;
use std::process::Command;

/// Cargo refuses a program with two versions, and names both.
#[test]
fn a_program_has_one_version() {
    let folder = std::env::temp_dir().join(format!("sward-versions-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    // The key as the manifest has it; the rest does not matter, and cargo need not look for dependencies.
    let manifest =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).expect("it is there");
    let key = manifest.lines().find(|line| line.starts_with("links")).expect("a `links` key");
    for version in ["0.1.0", "0.2.0"] {
        let package = "[package]\nname = \"sward\"\nedition = \"2024\"\nbuild = \"build.rs\"";
        write(&format!("{version}/Cargo.toml"), &format!("{package}\nversion = \"{version}\"\n{key}\n"));
        write(&format!("{version}/build.rs"), "fn main() {}");
        write(&format!("{version}/src/lib.rs"), "");
    }
    let program = |dependencies: &str| {
        let package = "[workspace]\nexclude = [\"0.1.0\", \"0.2.0\"]\n[package]\nname = \"program\"\nversion = \"0.1.0\"\n[dependencies]";
        write("Cargo.toml", &format!("{package}\n{dependencies}\n"));
        write("src/main.rs", "fn main() {}");
        let mut cargo = Command::new(env!("CARGO"));
        let output =
            cargo.args(["generate-lockfile", "--offline"]).current_dir(&folder).output().expect("cargo");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let new = "new = { package = \"sward\", path = \"0.2.0\" }";
    let (accepted, text) = program(new);
    assert!(accepted, "{text}");
    let (accepted, text) = program(&format!("{new}\nold = {{ package = \"sward\", path = \"0.1.0\" }}"));
    fs::remove_dir_all(&folder).expect("removed");
    assert!(!accepted && text.contains("links") && text.contains("sward"), "{text}");
    assert!(text.contains("0.1.0") && text.contains("0.2.0"), "{text}");
}
