//! The table of `docs/ECOSYSTEM.md` agrees with `rows/` and with `Cargo.lock`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The columns of the table.
const HEAD: [&str; 7] = ["crate", "version", "route", "a wait", "glue", "beware", "test"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// The table's rows, by the name of the test.
fn table() -> BTreeMap<String, Vec<String>> {
    let text = read(&root().join("docs/ECOSYSTEM.md"));
    let rows = text.lines().skip_while(|line| cells(line) != HEAD).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| {
        let row: Vec<_> = cells(line).into_iter().map(str::to_owned).collect();
        assert_eq!(row.len(), HEAD.len(), "{line}");
        (row[6].trim_matches('`').to_owned(), row)
    });
    let (count, table) = (rows.clone().count(), rows.collect::<BTreeMap<_, _>>());
    assert!(count > 0, "docs/ECOSYSTEM.md has no table with the columns {HEAD:?}");
    assert_eq!(table.len(), count, "two rows name the same test");
    table
}

/// The text of all tests.
fn tests() -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = ["parked", "rows"].into_iter().flat_map(|folder| fs::read_dir(tests.join(folder)).unwrap());
    files.map(|entry| read(&entry.unwrap().path())).collect()
}

#[test]
fn each_row_is_a_test_and_each_test_is_a_row() {
    let tests = tests();
    let names = tests.split("#[test]\n").skip(1).filter_map(|text| {
        let name = text.trim_start().strip_prefix("fn ")?;
        Some(name.split_once('(')?.0.to_owned())
    });
    let names: BTreeSet<_> = names.collect();
    assert_eq!(names, table().into_keys().collect::<BTreeSet<_>>());
}

#[test]
fn versions_are_those_of_the_lock_file() {
    let lock = read(&root().join("Cargo.lock"));
    let packages: BTreeSet<_> = lock.split("[[package]]\n").skip(1).collect();
    let field = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.unwrap_or_default().trim_end_matches('"').to_owned()
    };
    for (test, row) in table() {
        let (name, version) = (row[0].split_whitespace().next().unwrap().trim_matches(','), &row[1]);
        let known: Vec<_> =
            packages.iter().filter(|p| field(p, "name") == name).map(|p| field(p, "version")).collect();
        let agrees = |known: &String| known == version || known.starts_with(&format!("{version}."));
        assert!(
            known.iter().any(agrees),
            "{test}: {name} is {version} in the table, {known:?} in Cargo.lock"
        );
    }
}

#[test]
fn lines_of_glue_are_counted() {
    let mut counts: BTreeMap<String, usize> = table().into_keys().map(|test| (test, 0)).collect();
    let tests = tests();
    for part in tests.split("// Glue: ").skip(1) {
        let (name, rest) = part.split_once('\n').unwrap();
        let (glue, _) = rest.split_once("// End.").expect("the end of the glue");
        let count = counts.get_mut(name).unwrap_or_else(|| panic!("no row has the test {name}"));
        *count += glue.lines().filter(|line| !line.trim().is_empty()).count();
    }
    for (test, row) in table() {
        assert_eq!(row[4], counts[&test].to_string(), "lines of glue of {test}");
    }
}
