//! The rules of the tree, checked against its sources: the ranks of the folders, one place for each dangerous
//! thing, and the language of `docs/GLOSSARY.md`.
//!
//! Nothing here parses Rust. A small lexer separates code, comments and string literals, and brackets are
//! matched; that is enough for each rule. The unit tests at the end show that each rule can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The ranks of `docs/ARCHITECTURE.md`. A module imports only lower ranks and its own folder.
const RANKS: &[(&str, u32)] = &[
    ("base", 0),
    ("stack", 1),
    ("storage", 1),
    ("coroutine", 2),
    ("netpoll", 3),
    ("ring", 3),
    ("sched", 4),
    ("descriptor", 5),
    ("select", 5),
    ("blocking", 5),
    ("inspect", 6),
    ("runtime", 7),
    ("task", 8),
    ("time", 8),
    ("sync", 8),
    ("channel", 8),
    ("net", 9),
    ("fs", 9),
    ("signal", 9),
    ("io", 9),
    ("process", 9),
    ("observe", 10),
    ("sim", 11),
];

/// Where a retired word must not be found.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    /// In code only: in prose it is an ordinary word, or the word for something else.
    Code,
    /// In code, comments, string literals and documents.
    Everywhere,
}
use Where::{Code, Everywhere};

/// Words that the project once used for things that have a name in the field. `docs/GLOSSARY.md` has the
/// words to use instead.
///
/// A word in lower case is found in any case. The humps of `CamelCase` and the parts of `snake_case` are
/// words, and a phrase may be broken over lines. A capitalized word is found as it stands.
const RETIRED: &[(&str, Where)] = &[
    // Names of things.
    ("bed", Everywhere),
    ("lie down", Everywhere),
    ("ward", Everywhere),
    ("bell", Everywhere),
    ("courtesy", Everywhere),
    ("patience", Everywhere),
    ("forbearance", Everywhere),
    ("glance", Everywhere),
    ("audience", Everywhere),
    ("give way", Everywhere),
    ("gives way", Everywhere),
    ("gave way", Everywhere),
    ("given way", Everywhere),
    ("giving way", Everywhere),
    ("parcel", Everywhere),
    ("depot", Everywhere),
    ("farewell", Everywhere),
    ("stack wish", Everywhere),
    ("tellings", Everywhere),
    ("linger doubt", Everywhere),
    ("look around", Everywhere),
    ("looks around", Everywhere),
    ("gets up", Everywhere),
    ("got up", Everywhere),
    ("lies down", Everywhere),
    ("lying down", Everywhere),
    ("on its way", Everywhere),
    ("on their way", Everywhere),
    ("urgent", Code),
    ("urgency", Code),
    ("movable", Code),
    ("arrivals", Code),
    ("disturb", Code),
    ("spend", Code),
    ("AWAY", Code),
    ("STAYED", Code),
    ("Core", Code),
    ("Note", Code),
    ("Own", Code),
    ("Place", Code),
    ("Machine", Code),
    ("Marks", Code),
    ("Farewell", Code),
    ("quietly", Code),
    ("Rest", Code),
    ("Spot", Code),
    ("Told", Code),
    // Turns of phrase that hide who acts.
    ("one who", Everywhere),
    ("one that comes", Everywhere),
    ("whoever", Everywhere),
    ("those who", Everywhere),
    ("those that", Everywhere),
    ("who comes", Everywhere),
    ("has come about", Everywhere),
    ("have come about", Everywhere),
    ("had come about", Everywhere),
    ("comes about", Everywhere),
    ("for want of", Everywhere),
    ("in vain", Everywhere),
    ("to be had", Everywhere),
    ("as of when", Everywhere),
    ("waits for itself", Everywhere),
];

/// Conditions that `cfg!` may test inside a function, each with the reason. Every other difference between
/// builds is a choice of module.
const CONDITIONS: &[&str] = &[
    // A setting of the profile, the same on all systems. It removes a branch of one line.
    "panic = \"abort\"",
    // Another one. It guards an assertion.
    "debug_assertions",
];

/// The longest line that holds a comment, in columns.
const COLUMNS: usize = 110;

// The sources.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The texts of all files with that ending below a folder of the repository, by their path from the root.
fn texts(folder: &str, ending: &str) -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, ending: &str, into: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    walk(&path, ending, into);
                }
            } else if path.extension().is_some_and(|found| found == ending) {
                let text = fs::read_to_string(&path).expect("UTF-8");
                into.insert(path.strip_prefix(root()).expect("below the root").to_owned(), text);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(&root().join(folder), ending, &mut all);
    all
}

/// The files of `src`, by their path from there.
fn sources() -> BTreeMap<PathBuf, String> {
    let all = texts("src", "rs").into_iter();
    all.map(|(path, text)| (path.strip_prefix("src").expect("below src").to_owned(), text)).collect()
}

/// All Rust files of the repository, by their path from the root.
fn rust_files() -> BTreeMap<PathBuf, String> {
    ["src", "tests", "examples", "benches", "crates"].iter().flat_map(|folder| texts(folder, "rs")).collect()
}

/// All documents.
fn all_documents() -> BTreeMap<PathBuf, String> {
    let mut all: BTreeMap<_, _> = ["src", "docs", "examples", "benches", "crates"]
        .iter()
        .flat_map(|folder| texts(folder, "md"))
        .collect();
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"] {
        if let Ok(text) = fs::read_to_string(root().join(name)) {
            all.insert(name.into(), text);
        }
    }
    all
}

/// The documents that are held to the language of the glossary.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut all = all_documents();
    // The first explains what its words replace; the other tells of the past.
    for name in ["docs/GLOSSARY.md", "CHANGELOG.md"] {
        all.remove(Path::new(name)).expect("a document");
    }
    all
}

// The lexer.

/// A Rust text in three layers. Each has the lines of the text, and a blank for each byte of the other
/// layers, so a position means the same in all of them.
struct Layers {
    code: String,
    comments: String,
    literals: String,
}

fn layers(text: &str) -> Layers {
    #[derive(Clone, Copy)]
    enum Layer {
        Code,
        Comment,
        Literal,
    }
    use Layer::{Code, Comment, Literal};

    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = Layers { code: String::new(), comments: String::new(), literals: String::new() };
    let mut put = |c: char, layer: Layer| {
        let push = |out: &mut String, mine: bool| match c {
            c if mine || c == '\n' => out.push(c),
            c => out.extend(std::iter::repeat_n(' ', c.len_utf8())),
        };
        push(&mut out.code, matches!(layer, Code));
        push(&mut out.comments, matches!(layer, Comment));
        push(&mut out.literals, matches!(layer, Literal));
    };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut i = 0;
    while i < chars.len() {
        let start = i;
        if at(i) == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
            chars[start..i].iter().for_each(|c| put(*c, Comment));
        } else if at(i) == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
            chars[start..i.min(chars.len())].iter().for_each(|c| put(*c, Comment));
        } else if is_word(at(i)) {
            // A word, which may be the prefix of a raw string.
            while is_word(at(i)) {
                i += 1;
            }
            let word: String = chars[start..i].iter().collect();
            word.chars().for_each(|c| put(c, Code));
            let hashes = (i..).take_while(|i| at(*i) == '#').count();
            if matches!(word.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"' {
                let end: Vec<char> = format!("\"{}", "#".repeat(hashes)).chars().collect();
                let open = i + hashes + 1;
                let close =
                    (open..chars.len()).find(|j| chars[*j..].starts_with(&end)).unwrap_or(chars.len());
                (i..open).for_each(|j| put(at(j), Code));
                (open..close).for_each(|j| put(at(j), Literal));
                i = (close + end.len()).min(chars.len());
                (close..i).for_each(|j| put(at(j), Code));
            }
        } else if at(i) == '"' {
            put('"', Code);
            i += 1;
            while i < chars.len() && at(i) != '"' {
                let len = if at(i) == '\\' { 2 } else { 1 };
                (i..(i + len).min(chars.len())).for_each(|j| put(at(j), Literal));
                i += len;
            }
            if i < chars.len() {
                put('"', Code);
            }
            i += 1;
        } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            let skip = if at(i + 1) == '\\' { 3 } else { 2 };
            let close = (i + skip..chars.len()).find(|j| at(*j) == '\'').unwrap_or(chars.len() - 1);
            put('\'', Code);
            (i + 1..close).for_each(|j| put(at(j), Literal));
            put('\'', Code);
            i = close + 1;
        } else {
            put(at(i), Code);
            i += 1;
        }
    }
    out
}

fn code(text: &str) -> String {
    layers(text).code
}

/// The places where the words stand in the code, with nothing but blanks between them and no part of a longer
/// word at either end.
fn find_word(code: &str, word: &str) -> Vec<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let found = code.match_indices(word).map(|(at, _)| at);
    found
        .filter(|at| !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
        .collect()
}

/// The end of the brackets that open at that place.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    code.len()
}

/// Where what is searched for begins, outside of brackets, which are skipped; the end of the surrounding
/// brackets if it is not found before.
fn outside_brackets(code: &str, from: usize, wanted: &[char]) -> usize {
    let mut at = from;
    while let Some(c) = code[at..].chars().next() {
        match c {
            c if wanted.contains(&c) => return at,
            '(' | '[' | '{' => at = closing(code, at),
            ')' | ']' | '}' => return at,
            c => at += c.len_utf8(),
        }
    }
    at
}

/// Each attribute with that start: where it begins, and its inside.
fn attributes<'c>(code: &'c str, start: &str) -> Vec<(Range<usize>, &'c str)> {
    let found = code.match_indices(start).map(|(at, _)| {
        let open = at + code[at..].find('[').expect("an attribute opens a bracket");
        let close = closing(code, open);
        (at..close, &code[open + 1..close - 1])
    });
    found.collect()
}

/// The code with blanks for its unit tests, which may use all of the crate.
fn without_tests(code: &str) -> String {
    let mut kept = code.to_owned();
    for (range, inside) in attributes(code, "#[cfg(") {
        let of_tests = find_word(inside, "test").iter().any(|at| !inside[..*at].ends_with("not("));
        if !of_tests {
            continue;
        }
        // Other attributes of the same item.
        let mut item = range.end;
        while code[item..].trim_start().starts_with('#') {
            item = closing(code, item + code[item..].find('[').expect("an attribute"));
        }
        let head = code[item..].trim_start();
        let head = match head.strip_prefix("pub(") {
            Some(restricted) => restricted.split_once(')').map_or("", |(_, head)| head),
            None => head,
        };
        let head = head.split(['{', ';', '(', ',']).next().unwrap_or("");
        let is_item = ["fn", "impl", "mod", "use", "struct", "enum", "trait", "const", "static", "type"]
            .iter()
            .any(|word| !find_word(head, word).is_empty());
        let end = match outside_brackets(code, item, if is_item { &[';', '{'] } else { &[',', ';'] }) {
            open if code[open..].starts_with('{') => closing(code, open),
            end => end,
        };
        let blank: String = code[range.start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        // Of ASCII once the literals are gone, so the lengths are the same.
        kept.replace_range(range.start..end, &blank);
    }
    kept
}

/// The bodies of all functions.
fn bodies(code: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for at in find_word(code, "fn") {
        // The type of a function has no name.
        if !code[at + 2..].trim_start().starts_with(|c: char| c.is_alphabetic() || "_$".contains(c)) {
            continue;
        }
        let open = outside_brackets(code, at, &['{', ';']);
        if code[open..].starts_with('{') {
            found.push(open..closing(code, open));
        }
    }
    found
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

// Who imports whom.

/// A path that a file names, with the name under which the file knows its end.
struct Import {
    path: Vec<String>,
    name: String,
    /// It is handed on: `pub use`, `pub(crate) use`.
    public: bool,
    /// Where it stands.
    at: usize,
}

/// Splits at the commas that stand outside of braces.
fn branches(tree: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&tree[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&tree[start..]);
    found
}

fn grow(tree: &str, stem: &[String], public: bool, at: usize, into: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let mut stem = stem.to_vec();
        stem.extend(
            tree[..open].split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()),
        );
        for branch in branches(&tree[open + 1..tree.rfind('}').expect("a closing brace")]) {
            if !branch.trim().is_empty() {
                grow(branch, &stem, public, at, into);
            }
        }
        return;
    }
    let (path, alias) =
        tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut full = stem.to_vec();
    full.extend(path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()));
    if full.len() > 1 && full.last().is_some_and(|last| last == "self") {
        full.pop();
    }
    let name = alias.map(str::to_owned).or_else(|| full.last().cloned()).unwrap_or_default();
    into.push(Import { path: full, name, public, at });
}

/// The imports of a file, and the rest of its code.
fn imports(code: &str) -> (Vec<Import>, String) {
    let (mut found, mut rest) = (Vec::new(), code.to_owned());
    for at in find_word(code, "use") {
        // The captures of `impl Trait + use<'a>`.
        if code[at + 3..].trim_start().starts_with('<') {
            continue;
        }
        let end = outside_brackets(code, at, &[';']);
        let before = code[..at].trim_end();
        let public = before.ends_with("pub") || before.ends_with(')') && before.contains("pub(");
        grow(&code[at + 3..end], &[], public, at, &mut found);
        rest.replace_range(at..end, &" ".repeat(end - at));
    }
    (found, rest)
}

/// The paths that code names in place, as `super::other::call()` does.
fn inline_paths(code: &str) -> Vec<Import> {
    let mut found = Vec::new();
    for start in ["super", "crate", "self"] {
        for at in find_word(code, start) {
            if code[..at].trim_end().ends_with("::") {
                continue;
            }
            let (mut path, mut rest) = (vec![start.to_owned()], &code[at + start.len()..]);
            while let Some(next) = rest.strip_prefix("::") {
                let len = next.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(next.len());
                if len == 0 {
                    break;
                }
                path.push(next[..len].to_owned());
                rest = &next[len..];
            }
            if path.len() > 1 {
                found.push(Import { name: String::new(), path, public: false, at });
            }
        }
    }
    found
}

/// The modules that stand in braces.
fn inline_modules(code: &str) -> Vec<Range<usize>> {
    let found = find_word(code, "mod").into_iter().filter_map(|at| {
        let open = outside_brackets(code, at, &['{', ';']);
        code[open..].starts_with('{').then(|| open..closing(code, open))
    });
    found.collect()
}

/// The module of a file: `sched/wait.rs` and `sched/mod.rs` are `[sched, wait]` and `[sched]`.
fn module(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_str().expect("UTF-8").to_owned()).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

struct File {
    path: PathBuf,
    code: String,
    imports: Vec<Import>,
    /// What it names in place.
    inline: Vec<Import>,
    /// Its modules in braces.
    modules: Vec<Range<usize>>,
}

struct Graph {
    files: BTreeMap<Vec<String>, File>,
}

impl Graph {
    fn new(sources: &BTreeMap<PathBuf, String>) -> Graph {
        let files = sources.iter().map(|(path, text)| {
            let all = without_tests(&code(text));
            let (imports, rest) = imports(&all);
            let (inline, modules) = (inline_paths(&rest), inline_modules(&rest));
            (module(path), File { path: path.clone(), code: rest, imports, inline, modules })
        });
        Graph { files: files.collect() }
    }

    /// The path from the root of the crate, for one that module names; none if it leads to another crate.
    fn absolute(&self, module: &[String], import: &Import) -> Option<Vec<String>> {
        let file = &self.files[module];
        let mut depth = file.modules.iter().filter(|range| range.contains(&import.at)).count();
        let mut base = module.to_vec();
        let mut path = import.path.as_slice();
        match path.first()?.as_str() {
            "crate" => return Some(path[1..].to_vec()),
            "self" => path = &path[1..],
            "super" => {
                while path.first().is_some_and(|part| part == "super") {
                    path = &path[1..];
                    match depth {
                        0 => _ = base.pop()?,
                        _ => depth -= 1,
                    }
                }
            }
            first => {
                base.push(first.to_owned());
                if !self.files.contains_key(&base) {
                    return None;
                }
                path = &path[1..];
            }
        }
        base.extend_from_slice(path);
        Some(base)
    }

    /// The module in whose file that path is defined. What a module only hands on is looked for where it
    /// comes from.
    fn definition(&self, path: &[String], hops: usize) -> Vec<String> {
        let len = (0..=path.len()).rev().find(|len| self.files.contains_key(&path[..*len])).unwrap_or(0);
        let (module, rest) = path.split_at(len);
        let Some(first) = rest.first() else { return module.to_vec() };
        let Some(file) = self.files.get(module) else { return module.to_vec() };
        let origin = file.imports.iter().find(|import| import.name == *first);
        match origin.and_then(|import| self.absolute(module, import)) {
            Some(mut origin) if hops > 0 => {
                origin.extend_from_slice(&rest[1..]);
                self.definition(&origin, hops - 1)
            }
            _ => module.to_vec(),
        }
    }

    /// The modules of the same folder that a module imports from.
    fn edges(&self, module: &[String]) -> BTreeSet<Vec<String>> {
        let file = &self.files[module];
        // What it hands on and does not use itself is no import of its own.
        let used = file.imports.iter().filter(|import| {
            !import.public || !find_word(&file.code, &import.name).is_empty() || import.name.is_empty()
        });
        let targets = used
            .chain(&file.inline)
            .filter_map(|import| self.absolute(module, import))
            .map(|path| self.definition(&path, 16))
            .filter(|target| target.first() == module.first() && target.as_slice() != module);
        targets.collect()
    }

    /// The files that import one another in a cycle, cycle by cycle.
    fn cycles(&self) -> Vec<Vec<PathBuf>> {
        let edges: BTreeMap<_, _> = self.files.keys().map(|module| (module, self.edges(module))).collect();
        let reach = |start: &Vec<String>| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start.clone()]);
            while let Some(module) = open.pop() {
                open.extend(edges[&module].iter().filter(|next| seen.insert((*next).clone())).cloned());
            }
            seen
        };
        let reached: BTreeMap<_, _> = edges.keys().map(|module| (*module, reach(module))).collect();
        let mut found = BTreeSet::new();
        for (module, reach) in &reached {
            if reach.contains(*module) {
                let both = reach.iter().filter(|other| reached[*other].contains(*module));
                found.insert(both.map(|module| self.files[module].path.clone()).collect::<Vec<_>>());
            }
        }
        found.into_iter().collect()
    }
}

/// No file breaks the rule.
fn assert_none(offenders: &BTreeMap<PathBuf, Vec<String>>) {
    let report = |(path, found): (&PathBuf, &Vec<String>)| {
        format!("\n{}:\n    {}", path.display(), found.join("\n    "))
    };
    assert!(offenders.is_empty(), "{}", offenders.iter().map(report).collect::<String>());
}

// The rules.

/// The folder of `src` in which a file is.
fn folder(path: &Path) -> &str {
    path.iter().next().expect("a part").to_str().expect("UTF-8")
}

fn rank(folder: &str) -> Option<u32> {
    RANKS.iter().find(|(name, _)| *name == folder).map(|(_, rank)| *rank)
}

#[test]
fn every_folder_has_a_rank() {
    for path in sources().keys() {
        let folder = folder(path);
        assert!(folder == "lib.rs" || rank(folder).is_some(), "{} has no rank", path.display());
    }
}

#[test]
fn modules_import_lower_ranks_only() {
    for (path, text) in sources() {
        let folder = folder(&path);
        let Some(own) = rank(folder) else { continue };
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

#[test]
fn no_import_cycle_inside_a_folder() {
    let mut offenders = BTreeMap::new();
    for cycle in Graph::new(&sources()).cycles() {
        for path in &cycle {
            let others = cycle.iter().filter(|other| *other != path);
            let others: Vec<_> = others.map(|other| other.display().to_string()).collect();
            offenders
                .insert(Path::new("src").join(path), vec![format!("a cycle with {}", others.join(", "))]);
        }
    }
    assert_none(&offenders);
}

#[test]
fn no_path_climbs_two_floors() {
    let mut offenders = BTreeMap::new();
    for (path, text) in rust_files() {
        let code: String = code(&text).split_whitespace().collect();
        if code.contains("super::super") {
            offenders.insert(path, vec!["super::super: name the path from the crate".to_owned()]);
        }
    }
    assert_none(&offenders);
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

/// So a test can have the start of each of the crate's threads fail.
#[test]
fn one_file_starts_threads() {
    const ALLOWED: [&str; 2] = ["base/new_thread.rs", "sim/runner.rs"];
    for (path, text) in sources() {
        let is_test = path.components().any(|part| part.as_os_str() == "tests");
        if !is_test && !ALLOWED.iter().any(|allowed| path == Path::new(allowed)) {
            let starts = without_tests(&code(&text)).contains("thread::Builder::new");
            assert!(!starts, "{} starts a thread: use base::new_thread", path.display());
        }
    }
}

/// So each one is behind an accessor that is never inlined.
#[test]
fn thread_locals_are_declared_by_the_macro() {
    only_in("thread_local!", &["base/local.rs"]);
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

/// Each test program but this one checks its waits. A program is a file of `tests`, or the `main.rs` of a
/// folder there; each other file is a module of one of these.
/// The private modules that the head of a folder declares and does not name in a comment.
fn unnamed_modules(text: &str) -> Vec<String> {
    let Layers { code, comments, .. } = layers(text);
    let declared = code.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let unnamed = declared.filter(|name| *name != "tests" && !comments.contains(&format!("`{name}`")));
    unnamed.map(str::to_owned).collect()
}

/// A newcomer reads a folder from the list of its files.
#[test]
fn the_head_of_a_folder_names_its_files() {
    let mut offenders = BTreeMap::new();
    for (path, text) in sources() {
        if path.components().count() == 2 && path.ends_with("mod.rs") {
            let unnamed = unnamed_modules(&text);
            if !unnamed.is_empty() {
                offenders.insert(path, unnamed);
            }
        }
    }
    assert_none(&offenders);
}

#[test]
fn tests_have_their_waits_checked() {
    let all = texts("tests", "rs");
    for (path, text) in &all {
        let depth = path.iter().count();
        if (depth == 2 || depth == 3 && path.ends_with("main.rs")) && !path.ends_with("tidy.rs") {
            assert!(
                text.contains("\nmod checked;\n"),
                "{}: add `mod checked;`, so that its waits are checked",
                path.display()
            );
        }
        if depth == 3 && !path.ends_with("main.rs") && !path.ends_with("mod.rs") {
            let parent = ["main.rs", "mod.rs"].iter().find_map(|name| all.get(&path.with_file_name(name)));
            let name = path.file_stem().expect("a name").to_str().expect("UTF-8");
            let reached = parent.is_some_and(|text| code(text).contains(&format!("mod {name};")));
            assert!(reached, "no mod reaches {}", path.display());
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

/// The `cfg` attributes and macros inside functions, by line; but for unit tests and `CONDITIONS`.
fn cfgs_inside_functions(text: &str) -> Vec<(usize, String)> {
    let Layers { code, literals, .. } = layers(text);
    let kept = without_tests(&code);
    let mut found = BTreeSet::new();
    for body in bodies(&kept) {
        for start in ["#[cfg", "#![cfg", "cfg!", "cfg_select!"] {
            for (at, _) in kept[body.clone()].match_indices(start) {
                let at = body.start + at;
                let open = at + kept[at..].find(['(', '{']).expect("a condition");
                let both = kept[open + 1..closing(&kept, open) - 1].chars();
                let literals = literals[open + 1..].chars();
                let condition: String =
                    both.zip(literals).map(|(c, l)| if l == ' ' { c } else { l }).collect();
                let allowed = start == "cfg!" && CONDITIONS.contains(&condition.as_str());
                if !allowed {
                    found.insert((line_of(&kept, at), format!("{start} {condition}")));
                }
            }
        }
    }
    found.into_iter().collect()
}

#[test]
fn no_cfg_inside_a_function() {
    for (path, text) in sources() {
        let found = cfgs_inside_functions(&text);
        assert!(found.is_empty(), "{}: {found:?}: choose a module instead", path.display());
    }
}

/// What differs between targets stands in a folder `sys/` of its layer. Elsewhere only a public function may
/// name a target, one that std has on some systems only; and the refusal to compile for a target.
fn targets_outside_of_sys(text: &str) -> Vec<usize> {
    const NAMES: &[&str] = &[
        "target_os",
        "target_vendor",
        "target_arch",
        "target_env",
        "target_family",
        "target_pointer_width",
        "unix",
        "sward_backend",
        "sward_ppoll",
        "sward_sanitizer",
        "sward_storage",
        "sward_thread_clock",
        "sward_libkqueue",
        "sward_valgrind",
    ];
    let kept = without_tests(&code(text));
    let mut found = Vec::new();
    for (range, inside) in attributes(&kept, "#[cfg(") {
        let mut item = range.end;
        while kept[item..].trim_start().starts_with('#') {
            item = closing(&kept, item + kept[item..].find('[').expect("an attribute"));
        }
        let item = kept[item..].trim_start();
        let allowed =
            ["pub fn ", "pub unsafe fn ", "compile_error!"].iter().any(|start| item.starts_with(start));
        if !allowed && NAMES.iter().any(|name| !find_word(inside, name).is_empty()) {
            found.push(line_of(&kept, range.start));
        }
    }
    found
}

#[test]
fn targets_differ_in_sys_folders_only() {
    for (path, text) in sources() {
        if path.iter().any(|part| part == "sys") {
            continue;
        }
        let found = targets_outside_of_sys(&text);
        assert!(found.is_empty(), "{}: lines {found:?} name a target: use a folder sys/", path.display());
    }
}

/// The lines with a comment that are too long. Tables and addresses cannot be broken.
fn long_comments(text: &str) -> Vec<usize> {
    let comments = layers(text).comments;
    let lines = comments.lines().zip(text.lines()).enumerate();
    let long = lines.filter(|(_, (comment, line))| {
        let said = comment.trim().trim_start_matches(['/', '!']).trim_start();
        let unbreakable = said.starts_with('|') || said.contains("://");
        !comment.trim().is_empty() && line.chars().count() > COLUMNS && !unbreakable
    });
    long.map(|(number, _)| number + 1).collect()
}

#[test]
fn comments_fit_their_columns() {
    let mut offenders = BTreeMap::new();
    for (path, text) in rust_files() {
        let long = long_comments(&text);
        if !long.is_empty() {
            let lines = long.iter().map(|line| format!("line {line} has more than {COLUMNS} columns"));
            offenders.insert(path, lines.collect());
        }
    }
    assert_none(&offenders);
}

/// A word of a text.
struct Word {
    text: String,
    /// The same in lower case.
    lower: String,
    line: usize,
    /// Only blanks separate it from the one before.
    glued: bool,
}

fn words(text: &str) -> Vec<Word> {
    let (mut found, mut line, mut glued) = (Vec::new(), 1, false);
    let mut word = String::new();
    let mut last = ' ';
    for c in text.chars().chain(['\n']) {
        let hump = c.is_uppercase() && last.is_lowercase();
        if (!c.is_alphanumeric() || hump) && !word.is_empty() {
            let text = std::mem::take(&mut word);
            found.push(Word { lower: text.to_lowercase(), text, line, glued });
            glued = true;
        }
        if c.is_alphanumeric() {
            word.push(c);
        } else if c == '\n' {
            line += 1;
        } else if !" _/!`".contains(c) {
            glued = false;
        }
        last = c;
    }
    found
}

/// The retired words in a text of that kind, by line.
fn retired_in(text: &str, kind: Where) -> Vec<(usize, &'static str)> {
    /// The phrases by their first words in lower case, each with its words.
    type Phrases = BTreeMap<String, Vec<(&'static str, Where, Vec<&'static str>)>>;
    static PHRASES: LazyLock<Phrases> = LazyLock::new(|| {
        let mut all = Phrases::new();
        for (phrase, place) in RETIRED {
            let parts: Vec<&str> = phrase.split(' ').collect();
            all.entry(parts[0].to_lowercase()).or_default().push((phrase, *place, parts));
        }
        all
    });
    let words = words(text);
    let mut found = Vec::new();
    for (at, first) in words.iter().enumerate() {
        for (phrase, place, parts) in PHRASES.get(&first.lower).into_iter().flatten() {
            let Some(window) = words.get(at..at + parts.len()) else { continue };
            let exact = phrase.starts_with(char::is_uppercase);
            let mut pairs = window.iter().zip(parts);
            let same = pairs.all(|(word, part)| if exact { word.text == *part } else { word.lower == *part });
            let glued = window[1..].iter().all(|word| word.glued);
            if same && glued && (*place == Everywhere || kind == Code) {
                found.push((first.line, *phrase));
            }
        }
    }
    found
}

fn retired_in_rust(text: &str) -> Vec<(usize, &'static str)> {
    let Layers { code, comments, literals } = layers(text);
    let mut found = retired_in(&code, Code);
    found.extend(retired_in(&comments, Everywhere));
    found.extend(retired_in(&literals, Everywhere));
    found.sort();
    found
}

#[test]
fn retired_words_stay_retired() {
    let mut offenders = BTreeMap::new();
    let of_rust = rust_files().into_iter().map(|(path, text)| (path, retired_in_rust(&text)));
    let of_documents = documents().into_iter().map(|(path, text)| (path, retired_in(&text, Everywhere)));
    for (path, found) in of_rust.chain(of_documents) {
        // It lists them.
        if !found.is_empty() && path != Path::new("tests/tidy.rs") {
            let lines = found.iter().map(|(line, word)| format!("line {line}: \"{word}\""));
            offenders.insert(path, lines.collect());
        }
    }
    assert_none(&offenders);
}

/// The name under which a heading is linked to, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The lines of a document that are not in a block of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!in_code && !fence).then_some((number + 1, line))
    })
}

fn headings(text: &str) -> BTreeSet<String> {
    let levels = prose(text).filter(|(_, line)| line.starts_with('#'));
    levels.map(|(_, line)| anchor(line.trim_start_matches('#'))).collect()
}

/// The links of a document to other files of the repository, and to headings of its own, by line.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let near = targets.map(|(target, _)| target).filter(|target| !target.contains(':'));
        found.extend(near.map(|target| (number, target)));
    }
    found
}

#[test]
fn links_of_documents_lead_somewhere() {
    let all = all_documents();
    let mut offenders = BTreeMap::new();
    for (path, text) in &all {
        let broken = links(text).into_iter().filter(|(_, target)| {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let folder = path.parent().expect("a file is in a folder");
            let file = root().join(if file.is_empty() { path.clone() } else { folder.join(file) });
            let is_document = file.extension().is_some_and(|ending| ending == "md");
            let exists = file.exists();
            let has = || headings(&fs::read_to_string(&file).expect("UTF-8")).contains(heading);
            !exists || is_document && !heading.is_empty() && !has()
        });
        let lines: Vec<_> = broken.map(|(line, target)| format!("line {line}: {target}")).collect();
        if !lines.is_empty() {
            offenders.insert(path.clone(), lines);
        }
    }
    assert_none(&offenders);
}

/// How many cells a row of a table has. A bar between backticks, or behind a backslash, separates none.
fn cells(row: &str) -> usize {
    let outside_of_code = row.split('`').step_by(2).collect::<String>();
    outside_of_code.replace("\\|", "").matches('|').count() - 1
}

/// The lines of rows that have more or fewer cells than the heads of their tables.
fn uneven_rows(text: &str) -> Vec<String> {
    let (mut head, mut uneven) = (None, Vec::new());
    for (number, line) in prose(text) {
        if !line.starts_with('|') {
            head = None;
            continue;
        }
        let (cells, head) = (cells(line), *head.get_or_insert(cells(line)));
        if cells != head {
            uneven.push(format!("line {number}: {cells} cells below {head}"));
        }
    }
    uneven
}

#[test]
fn rows_have_the_cells_of_their_heads() {
    let all = all_documents();
    let mut offenders: BTreeMap<_, _> =
        all.iter().map(|(path, text)| (path.clone(), uneven_rows(text))).collect();
    offenders.retain(|_, lines| !lines.is_empty());
    assert_none(&offenders);
}

/// What is wrong with the index of a glossary, or with its terms: tables whose first column has them.
fn faults_of_index(text: &str) -> Vec<String> {
    let (mut section, mut terms, mut faults) = (String::new(), BTreeMap::new(), Vec::new());
    for (_, line) in prose(text) {
        if let Some(heading) = line.strip_prefix("## ") {
            section = anchor(heading);
        }
        let Some((cell, _)) = line.strip_prefix("| ").and_then(|row| row.split_once(" |")) else { continue };
        // The name in the code stands in brackets behind the term.
        let cell = cell.split(" (`").next().expect("a first part");
        for term in cell.split(", ").filter(|term| *term != "term") {
            if terms.insert(term.to_owned(), section.clone()).is_some() {
                faults.push(format!("\"{term}\" is there twice"));
            }
        }
    }
    let index = text.split_once("\nIndex: ").map_or("", |(_, rest)| rest);
    let index = index.split_once("\n\n").map_or("", |(index, _)| index);
    let entries = index.split('[').skip(1).filter_map(|entry| entry.split_once("](#"));
    let entries = entries.map(|(term, rest)| (term, rest.split(')').next().expect("a first part")));
    let mut last = String::new();
    for (term, heading) in entries {
        match terms.remove(term) {
            None => faults.push(format!("\"{term}\" is in the index twice, or only there")),
            Some(section) if section != heading => faults.push(format!("\"{term}\" is in #{section}")),
            Some(_) => {}
        }
        let key = term.replace('`', "").to_lowercase();
        if key < last {
            faults.push(format!("\"{term}\" stands behind \"{last}\""));
        }
        last = key;
    }
    faults.extend(terms.keys().map(|term| format!("\"{term}\" is not in the index")));
    faults
}

#[test]
fn the_index_of_the_glossary_is_complete() {
    let path = PathBuf::from("docs/GLOSSARY.md");
    let faults = faults_of_index(&fs::read_to_string(root().join(&path)).expect("the glossary"));
    let offenders = if faults.is_empty() { BTreeMap::new() } else { BTreeMap::from([(path, faults)]) };
    assert_none(&offenders);
}

/// The rules on small inputs: what each finds, and what it leaves alone.
mod rules {
    use super::*;

    #[test]
    fn the_lexer_separates_code_comments_and_literals() {
        let text = r###"a("x//y\"", 'b', '\'', r#"raw " // "#); // said /* too
b /* one /* two */ still */ c<'life>() "\\" d r"e" // end"###;
        let found = layers(text);
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&found.code), r###"a(" ", ' ', ' ', r#" "#); b c<'life>() " " d r" ""###);
        assert_eq!(squeeze(&found.comments), "// said /* too /* one /* two */ still */ // end");
        assert_eq!(squeeze(&found.literals), r#"x//y\" b \' raw " // \\ e"#);
        for layer in [&found.code, &found.comments, &found.literals] {
            let lengths = |text: &str| text.lines().map(str::len).collect::<Vec<_>>();
            assert_eq!(lengths(layer), lengths(text));
        }
    }

    #[test]
    fn unit_tests_are_left_out_and_nothing_else() {
        let code = "#[cfg(test)]\n#[allow(dead_code)]\npub(crate) fn a(b: B) -> C<D, E> { f }\n\
                    #[cfg(all(test, loom))] use x::{y, z};\n#[cfg(not(test))] fn kept() {}\n\
                    struct S { #[cfg(test)] field: T, kept_too: T }\n#[cfg(test)]\nmod tests { mod g {} }\n\
                    fn last() {}";
        let kept = without_tests(code);
        for name in ["kept", "kept_too", "last"] {
            assert!(!find_word(&kept, name).is_empty(), "{name} is gone: {kept}");
        }
        for name in ["a", "f", "x", "y", "field", "tests", "g"] {
            assert!(find_word(&kept, name).is_empty(), "{name} is there: {kept}");
        }
        assert_eq!(kept.len(), code.len());
    }

    fn cycles(files: &[(&str, &str)]) -> Vec<String> {
        let sources = files.iter().map(|(path, text)| (path.into(), text.to_string())).collect();
        let found = Graph::new(&sources).cycles().into_iter();
        found
            .map(|cycle| cycle.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn an_import_cycle_is_found() {
        let both = cycles(&[
            ("x/mod.rs", "mod a; mod b;"),
            ("x/a.rs", "use super::b::B;"),
            ("x/b.rs", "use crate::{y, x::{a::A, c as d}};"),
        ]);
        assert_eq!(both, ["x/a.rs x/b.rs"]);
        let in_place = cycles(&[
            ("x/mod.rs", "mod a; mod b; mod c;"),
            ("x/a.rs", "fn f() { super::b::g() }"),
            ("x/b.rs", "use super::c; fn g() { c::h() }"),
            ("x/c.rs", "fn h() { crate::x::a::f() }"),
        ]);
        assert_eq!(in_place, ["x/a.rs x/b.rs x/c.rs"]);
    }

    #[test]
    fn an_import_cycle_is_found_through_what_a_module_hands_on() {
        let files = [
            ("x/mod.rs", "mod a; pub use a::A; mod b; pub(crate) use self::b::{B as C};"),
            ("x/a.rs", "use super::C;"),
            ("x/b.rs", "use crate::x::A;"),
        ];
        assert_eq!(cycles(&files), ["x/a.rs x/b.rs"]);
        // What the module defines itself is in its own file.
        let parent = [("x/mod.rs", "mod a; use a::A; struct P(A);"), ("x/a.rs", "use super::P;")];
        assert_eq!(cycles(&parent), ["x/mod.rs x/a.rs"]);
    }

    #[test]
    fn what_is_no_import_cycle_is_not_found() {
        let none = cycles(&[
            ("lib.rs", "mod x; mod y; pub use x::A;"),
            ("x/mod.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
            ("x/a.rs", "struct A;"),
            ("x/b.rs", "use super::A; // use super::b\nmod inner { use super::super::A; use super::B; }"),
            ("x/c.rs", "use super::a; #[cfg(test)] mod tests { use super::*; use crate::x::d::D; }"),
            ("x/d.rs", "use super::c::C; use crate::y::E;"),
            ("y/mod.rs", "use crate::x::d::D; struct E;"),
        ]);
        assert!(none.is_empty(), "{none:?}");
    }

    #[test]
    fn a_cfg_inside_a_function_is_found() {
        let lines = |text| cfgs_inside_functions(text).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
        assert_eq!(lines("fn f() {\n    #[cfg(debug_assertions)]\n    g();\n}"), [2]);
        assert_eq!(lines("impl A {\n fn f<T>(t: [u8; 3]) -> T {\n h(|| if cfg!(unix) { 1 }) } }"), [3]);
        assert_eq!(lines("fn f() {\n #![cfg_attr(unix, allow(x))]\n}"), [2]);
        assert_eq!(lines("fn f() { if cfg!(panic = \"unwind\") {} }"), [1]);
        assert!(lines("fn f() { if cfg!(panic = \"abort\") {} }").is_empty());
        let outside = "#[cfg(unix)] fn f(g: fn(u8)) {}
            const A: bool = cfg!(loom);
            struct S { #[cfg(unix)] a: A }
            trait T { fn f(); #[cfg(unix)] fn g(); }
            fn h() { // #[cfg(unix)]
                \"cfg!(unix)\"; }
            #[cfg(test)] mod tests { fn f() { #[cfg(unix)] g(); } }";
        assert!(lines(outside).is_empty(), "{:?}", lines(outside));
    }

    #[test]
    fn a_target_outside_of_sys_is_found() {
        assert_eq!(targets_outside_of_sys("fn a() {}\n#[cfg(target_os = \"linux\")]\nmod linux;"), [2]);
        assert_eq!(targets_outside_of_sys("#[cfg(not(sward_ppoll))] use a::b;"), [1]);
        assert_eq!(targets_outside_of_sys("#[cfg(unix)]\npub(crate) fn f() {}"), [1]);
        let allowed = "#[cfg(target_os = \"linux\")] #[inline] pub fn f() {}
            #[cfg(loom)] mod m; #[cfg_attr(target_vendor = \"apple\", allow(dead_code))] fn g() {}
            #[cfg(all(test, unix))] mod tests { #[cfg(unix)] fn h() {} }";
        assert!(targets_outside_of_sys(allowed).is_empty());
    }

    #[test]
    fn a_long_comment_is_found() {
        let words = "word ".repeat(COLUMNS / 5 - 1);
        let full = format!("// {:x<1$}", words, COLUMNS - 3);
        assert!(long_comments(&format!("{full}\n/// {words}\n")).is_empty());
        assert_eq!(long_comments(&format!("fn f() {{}}\n{full}x\n")), [2]);
        assert_eq!(long_comments(&format!("    let x = 1; // {words}\n")), [1]);
        // Code, tables and addresses are no comments that can be broken.
        assert!(long_comments(&format!("const A: &str = \"{words} {words}\";")).is_empty());
        assert!(
            long_comments(&format!("/// | {words} | {words} |\n// https://a.b/{words}{words}")).is_empty()
        );
    }

    #[test]
    fn a_retired_word_is_found() {
        let found = |text| retired_in_rust(text).into_iter().map(|(_, word)| word).collect::<Vec<_>>();
        assert_eq!(found("struct SleepBed; fn lie_down() {}"), ["bed", "lie down"]);
        assert_eq!(found("const PATIENCE: u32 = 1; let is_urgent = Rest;"), ["Rest", "patience", "urgent"]);
        assert_eq!(found("fn what_has_come_about_already() {}"), ["has come about"]);
        assert_eq!(found("/// Whoever waits, and one\n/// who does not."), ["one who", "whoever"]);
        assert_eq!(found("panic!(\"in vain\")"), ["in vain"]);
        assert_eq!(retired_in_rust("a\nb\nlet bell = 1;"), [(3, "bell")]);
        // Ordinary words of prose, parts of other words, and words in two sentences.
        assert!(
            found("// The rest of urgent data: note its own place. Rest! Not this one. Who knows?")
                .is_empty()
        );
        assert!(found("fn forward(embed: Corner) {}").is_empty());
    }

    #[test]
    fn modules_are_named_in_comments() {
        let text = "//! [`a`], `b`.\nmod a;\nmod b;\nmod c;\npub mod d;\n#[cfg(test)]\nmod e {}\n// `f`\n";
        assert_eq!(unnamed_modules(text), ["c"]);
    }

    #[test]
    fn rows_are_as_wide_as_their_heads() {
        let even = "| a | b |\n|---|---|\n| `x|y` | `z` \\| z |\n\n| one |\n```\n| x | y | z |\n```\n";
        assert_eq!(uneven_rows(even), [""; 0]);
        let uneven = "| a | b |\n|---|---|\n| c |\n| d | e | f |\n";
        assert_eq!(uneven_rows(uneven), ["line 3: 1 cells below 2", "line 4: 3 cells below 2"]);
    }

    #[test]
    fn links_are_found_outside_of_code_only() {
        let text = "# The `one` & only!\n[a](b.md#c), [d](#e) and [f](https://g.h)\n```\n[i](j)\n```\n";
        assert_eq!(links(text), [(2, "b.md#c"), (2, "#e")]);
        assert_eq!(headings(text), BTreeSet::from(["the-one--only".to_owned()]));
    }

    #[test]
    fn an_index_is_held_against_the_tables() {
        let index = "\nIndex: [a](#one) \u{b7} [`b`](#one) \u{b7}\n[c](#two)\n\n";
        let tables = "## One\n| term | what |\n|---|---|\n| a, `b` | x |\n## Two\n| c (`C`) | x |\n";
        assert_eq!(faults_of_index(&format!("{index}{tables}")), Vec::<String>::new());
        for (from, to, faults) in [
            ("[c](#two)", "", 1),
            ("[c](#two)", "[c](#one)", 1),
            ("[c](#two)", "[c](#two) [d](#two)", 1),
            ("[a](#one) \u{b7} [`b`](#one)", "[`b`](#one) \u{b7} [a](#one)", 1),
            ("| c (`C`)", "| a", 3),
        ] {
            let changed = format!("{index}{tables}").replace(from, to);
            assert_eq!(faults_of_index(&changed).len(), faults, "{changed}");
        }
    }
}
