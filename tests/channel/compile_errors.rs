//! What the compiler says to a wrong use: the messages name the right one.

use crate::common::temporary_path;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What the compiler says to that body of a function.
fn messages(library: &PathBuf, body: &str) -> String {
    let folder = library.parent().expect("a folder");
    let mut dependencies = std::ffi::OsString::from("dependency=");
    dependencies.push(folder);
    let mut external = std::ffi::OsString::from("sward=");
    external.push(library);
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    // Not /dev/null: rustc renames a file to that name, and as root it would replace the device.
    let output = temporary_path();
    rustc.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "-o"]).arg(&output);
    rustc.arg("-L").arg(dependencies).arg("--extern").arg(external).arg("-");
    rustc.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = rustc.spawn().expect("a compiler");
    let source = format!("pub fn f() {{ {body} }}");
    child.stdin.take().expect("piped").write_all(source.as_bytes()).expect("it reads");
    let said = child.wait_with_output().expect("it ends").stderr;
    let _ = std::fs::remove_file(output);
    String::from_utf8_lossy(&said).into_owned()
}

/// The crate as this test is linked with it, or as a build with the same compiler made it; `None` if there is
/// none that a program without further flags can use.
fn library() -> Option<&'static PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let test = std::env::current_exe().expect("a path");
        let entries = std::fs::read_dir(test.parent()?).ok()?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let of_the_crate = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("libsward-") && name.ends_with(".rlib")
        };
        let mut libraries: Vec<_> = paths.filter(of_the_crate).collect();
        libraries.sort_by_key(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok());
        libraries.into_iter().rev().find(|path| messages(path, "sward::task::checkpoint()").is_empty())
    });
    if found.is_none() {
        println!("skipped: there is no library that a program without further flags can use");
    }
    found.as_ref()
}

#[test]
fn a_wrong_arm_of_select_shows_the_right_form() {
    let Some(library) = library() else { return };
    let cases = [
        ("recv(r, 1) -> _ => {}", "`recv(receiver) -> message => body`"),
        ("send(s) -> _ => {}", "`send(sender, message) -> outcome => body`"),
        ("join() -> _ => {}", "`join(handle) -> result => body`"),
        ("changed(a, b) => {}", "`changed(watcher) -> result => body`"),
        ("cancelled(a, b) => {}", "`cancelled(token) => body`"),
        ("receive(r) -> _ => {}", "`recv(receiver) -> message => body`, `send(sender, message)"),
        ("= r.recv() => {}", "`default(duration) => body`"),
        ("", "`recv(receiver) -> message => body`"),
    ];
    for (arm, form) in cases {
        let text = messages(library, &format!("sward::select! {{ {arm} }}"));
        assert!(text.contains("error: select!: ") && text.contains(form), "{arm}: {text}");
        let message = text.lines().find(|line| line.starts_with("error")).expect("a message");
        assert_eq!(message.matches("select!: ").count(), 1, "it does not repeat itself: {text}");
        let errors = text.lines().filter(|line| line.starts_with("error")).count();
        assert_eq!(errors, 2, "one message, and the sum: {text}");
    }
}

#[test]
fn a_guard_that_is_sent_says_that_it_stays() {
    let Some(library) = library() else { return };
    for lock in ["Mutex::new(1)", "RwLock::new(1)"] {
        let take = if lock.starts_with('M') { "lock" } else { "write" };
        let body = format!(
            "let lock: &'static _ = Box::leak(Box::new(sward::sync::{lock})); \
             let guard = lock.{take}().unwrap(); sward::spawn(move || drop(guard));"
        );
        let text = messages(library, &body);
        assert!(text.contains("E0277") && text.contains("GuardsStayInTheirCoroutine"), "{text}");
    }
}
