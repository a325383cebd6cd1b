//! `pipeline`.

use crate::common::Folder;
use crate::programs::example_path;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[test]
fn pipeline_counts_words() {
    let Some(path) = example_path("pipeline") else { return };
    let folder = Folder::new();
    // Words that span the borders between chunks of the text.
    let (mut files, mut cat, mut dog) = (Vec::new(), 0, 0);
    for n in 0..10 {
        let repeat = 10_000 + n;
        files.push(folder.file(&format!("{n}"), &"The cat, the CAT; ünd dog-\n".repeat(repeat)));
        cat += 2 * repeat;
        dog += repeat;
    }
    files.push(folder.file("empty", ""));
    files.push(folder.file("long", &"cat".repeat(10_000)));
    for options in [&[][..], &["--readers", "1", "--counters", "1"], &["--readers", "9", "--counters", "8"]] {
        let output = Command::new(&path).args(&files).args(options).output().expect("the example starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<_> = said.lines().map(str::trim).collect();
        assert_eq!(lines[..2], [format!("{cat} cat"), format!("{cat} the")]);
        assert_eq!(lines[2..4], [format!("{dog} dog"), format!("{dog} ünd")]);
        assert_eq!(
            lines.last(),
            Some(&format!("{} words, 5 different ones", 2 * cat + 2 * dog + 1).as_str())
        );
    }
}

#[test]
fn pipeline_reports_files_that_it_cannot_read() {
    let Some(path) = example_path("pipeline") else { return };
    let folder = Folder::new();
    let good = folder.file("good", "one two two");
    let missing = folder.at("missing");
    let output = Command::new(path).arg(&missing).arg(good).output().expect("the example starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("{}: No such file", missing.display())), "{said}");
    assert!(said.contains("incomplete: 1 files could not be read"), "{said}");
    let counted = String::from_utf8_lossy(&output.stdout);
    assert!(counted.contains("2 two") && counted.contains("3 words"), "{counted}");
}

#[test]
fn pipeline_ends_on_ctrl_c() {
    let Some(path) = example_path("pipeline") else { return };
    let mut child = Command::new(path)
        .args(["/dev/zero", "/dev/zero", "--counters", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut said = BufReader::new(child.stderr.take().expect("it was piped"));
    // The runtime may report, before or after, that counting keeps a worker for long.
    let mut line = String::new();
    while line != "still counting\n" {
        line.clear();
        assert!(said.read_line(&mut line).expect("a line") > 0, "it has ended by itself");
    }
    crate::programs::interrupt(&child);
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("text");
    assert_eq!(rest.lines().last(), Some("incomplete: interrupted"));
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("0 words, 0 different ones"));
}
