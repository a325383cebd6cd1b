//! Environment variables.

use crate::common::{child, is_child, text, this_test};

#[test]
fn nonsense_in_the_environment_is_named() {
    if is_child() {
        let error = sward::runtime::Builder::new().build().expect_err("nonsense");
        println!("error: {error}");
        return;
    }
    let size = "want bytes, or a number with K, M or G, up to 1G";
    for (name, value, want) in [
        ("SWARD_WORKERS", "0", "want a number from 1 to 1024"),
        ("SWARD_WORKERS", "abc", "want a number from 1 to 1024"),
        ("SWARD_STACK_SIZE", "0", size),
        ("SWARD_STACK_SIZE", "8G", size),
        ("SWARD_STACK_SIZE", "much", size),
        ("SWARD_STACK_GUARD", "hope", "want \"madvise\" or \"mprotect\""),
    ] {
        let output = child(this_test!(), &[(name, value)]);
        assert!(output.status.success());
        let said = text(&output);
        assert!(said.contains(&format!("environment variable {name}=")) && said.contains(value), "{said}");
        assert!(said.contains(want), "{said}");
    }
}

#[test]
fn the_environment_sets_defaults() {
    if is_child() {
        sward::run(|| assert_eq!(sward::runtime::metrics().expect("inside").workers.len(), 3));
        return;
    }
    let output = child(this_test!(), &[("SWARD_WORKERS", "3"), ("SWARD_STACK_SIZE", "64K")]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    if is_child() {
        let runtime = sward::runtime::Builder::new().build().expect("the defaults");
        assert!(!runtime.metrics().workers.is_empty());
        return;
    }
    let empty = [("SWARD_WORKERS", ""), ("SWARD_STACK_SIZE", ""), ("SWARD_STACK_GUARD", "")];
    let output = child(this_test!(), &empty);
    assert!(output.status.success(), "{}", text(&output));
}
