//! The style that matters, held against the code: layers, one place for each dangerous thing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The ranks of `docs/ARCHITECTURE.md`. A module imports only lower ranks and its own folder.
const RANKS: &[(&str, u32)] = &[
    ("base", 0),
    ("stack", 1),
    ("coroutine", 2),
    ("netpoll", 3),
    ("sched", 4),
    ("blocking", 5),
    ("task", 5),
    ("time", 5),
    ("sync", 5),
    ("channel", 5),
    ("net", 6),
    ("fs", 6),
    ("signal", 6),
    ("io", 6),
    ("process", 6),
    ("observe", 7),
];

fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, into: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("a text");
                into.insert(path, text);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = BTreeMap::new();
    walk(&root, &mut all);
    all.into_iter().map(|(path, text)| (path.strip_prefix(&root).expect("below").to_owned(), text)).collect()
}

/// The code without comments.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The code without its unit tests, which may use all of the crate.
fn without_tests(code: &str) -> &str {
    let end = ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|mark| code.find(mark)).min();
    &code[..end.unwrap_or(code.len())]
}

fn rank(folder: &str) -> Option<u32> {
    RANKS.iter().find(|(name, _)| *name == folder).map(|(_, rank)| *rank)
}

#[test]
fn every_folder_has_a_rank() {
    for path in sources().keys() {
        let folder = path.components().next().expect("a part").as_os_str().to_str().expect("UTF-8");
        assert!(folder == "lib.rs" || rank(folder).is_some(), "{} has no rank", path.display());
    }
}

#[test]
fn modules_import_lower_ranks_only() {
    for (path, text) in sources() {
        let folder =
            path.components().next().expect("a part").as_os_str().to_str().expect("UTF-8").to_owned();
        let Some(own) = rank(&folder) else { continue };
        for part in without_tests(&code(&text)).split("crate::").skip(1) {
            let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // A macro of the crate's root, as other macros call it.
            if part[name.len()..].starts_with('!') {
                continue;
            }
            let Some(theirs) = rank(&name) else { panic!("{}: crate::{name} is no layer", path.display()) };
            assert!(
                theirs < own || name == folder,
                "{} (rank {own}) imports crate::{name} (rank {theirs})",
                path.display()
            );
        }
    }
}

fn only_in(needle: &str, allowed: &[&str]) {
    for (path, text) in sources() {
        if !allowed.iter().any(|allowed| path == Path::new(allowed)) {
            assert!(!code(&text).contains(needle), "{} has {needle:?}", path.display());
        }
    }
}

#[test]
fn one_file_names_corosensei() {
    only_in("corosensei", &["coroutine/switch.rs"]);
}

#[test]
fn only_the_waist_suspends() {
    only_in(".suspend(", &["coroutine/switch.rs", "coroutine/header.rs", "sched/wait.rs"]);
}

#[test]
fn one_thread_local() {
    // The others speak of it.
    only_in("thread_local!", &["base/local.rs", "sched/checks.rs", "sched/thread_bound.rs"]);
}

#[test]
fn every_file_is_reached_and_says_what_it_is() {
    let all = sources();
    for (path, text) in &all {
        assert!(text.starts_with("//!"), "{} does not say what it is", path.display());
        let name = path.file_stem().expect("a name").to_str().expect("UTF-8");
        if matches!(name, "lib" | "mod") {
            continue;
        }
        let parent = all.get(&path.with_file_name("mod.rs")).expect("a folder has its mod.rs");
        assert!(code(parent).contains(&format!("mod {name};")), "no mod reaches {}", path.display());
    }
}

/// Each file of tests but this one has its waits checked.
#[test]
fn tests_have_their_waits_checked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tidy.rs") {
            let text = fs::read_to_string(&path).expect("a text");
            assert!(
                text.contains("\nmod checked;\n"),
                "{}: add `mod checked;`, so that its waits are checked",
                path.display()
            );
        }
    }
}

#[test]
fn no_code_is_commented_out() {
    for (path, text) in sources() {
        for line in text.lines() {
            let Some(comment) = line.trim().strip_prefix("// ") else { continue };
            let code = comment.ends_with(';') && comment.contains(['=', '('])
                || comment.starts_with("let ")
                || comment.starts_with("if ") && comment.ends_with('{');
            assert!(!code, "{}: commented-out code: {line}", path.display());
        }
    }
}

#[test]
fn no_cfg_inside_a_function() {
    for (path, text) in sources() {
        for line in code(&text).lines() {
            let inside = line.starts_with("        ") && line.trim_start().starts_with("#[cfg(target");
            assert!(!inside, "{}: {line}", path.display());
        }
    }
}
