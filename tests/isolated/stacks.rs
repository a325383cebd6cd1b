//! The memory of stacks.

use crate::common::{child, is_child, text, this_test};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const UNSUPPORTED: &str = "this kernel has no MADV_GUARD_INSTALL";

/// Guards split no mapping, so 20,000 stacks take few mappings.
#[test]
fn stacks_share_mappings() {
    if is_child() {
        let runtime = match sward::runtime::Builder::new().build() {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return println!("{error}"),
            runtime => runtime.expect("a runtime"),
        };
        runtime.run(|| {
            static STARTED: AtomicUsize = AtomicUsize::new(0);
            let one = || {
                STARTED.fetch_add(1, Ordering::Relaxed);
                sward::task::park();
            };
            let handles: Vec<_> = (0..20_000).map(|_| sward::spawn(one)).collect();
            while STARTED.load(Ordering::Relaxed) < 20_000 && !handles.iter().any(|h| h.is_finished()) {
                sward::sleep(Duration::from_millis(1));
            }
            let mappings = std::fs::read_to_string("/proc/self/maps").expect("Linux").lines().count();
            for handle in handles {
                handle.task().unpark();
                handle.join().expect("no panic");
            }
            // A mobile home has a thread, with a stack, its guard, and a few more.
            let homes = sward::runtime::metrics().expect("inside").homes.map_or(0, |homes| homes.made);
            assert!(mappings < 200 + 6 * homes, "{mappings} mappings and {homes} homes");
        });
        return;
    }
    let output = child(this_test!(), &[("SWARD_STACK_GUARD", "madvise")]);
    assert!(output.status.success(), "{}", text(&output));
    if text(&output).contains(UNSUPPORTED) {
        println!("skipped: {UNSUPPORTED}");
    }
}

/// With the forced fallback, stacks run out early. The joiner learns which limit it was, the others go on,
/// and released stacks are used again.
#[test]
fn stacks_that_run_out_are_errors() {
    if is_child() {
        sward::run(|| {
            let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("Linux");
            let count = limit.trim().parse::<usize>().expect("a number") / 4 + 100;
            let handles: Vec<_> = (0..count).map(|_| sward::spawn(sward::task::park)).collect();
            while !handles.iter().any(|handle| handle.is_finished()) {
                sward::sleep(Duration::from_millis(1));
            }
            sward::sleep(Duration::from_millis(20));
            for handle in &handles {
                handle.task().unpark();
            }
            let errors: Vec<_> = handles.into_iter().filter_map(|handle| handle.join().err()).collect();
            println!("{} errors, such as: {}", errors.len(), errors[0]);
            assert_eq!(sward::spawn(|| 7).join().expect("a stack again"), 7);
        });
        return;
    }
    let output = child(this_test!(), &[("SWARD_STACK_GUARD", "mprotect")]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("vm.max_map_count"), "{}", text(&output));
}

/// The page tables of stacks take a tenth of the memory of a parked coroutine. They are freed after the
/// coroutines have ended.
#[test]
fn a_past_burst_leaves_few_page_tables() {
    const BURST: usize = 60_000;
    let test = this_test!();
    if !is_child() {
        let output = child(test, &[("SWARD_STACK_GUARD", "madvise")]);
        if text(&output).contains(UNSUPPORTED) {
            println!("skipped: {UNSUPPORTED}");
            return;
        }
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let tables = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmPTE:")).expect("Linux says");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    };
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    runtime.run(|| {
        // Coroutines that stay, spread over the burst.
        let (started, mut burst, mut stay) = (Arc::new(AtomicUsize::new(0)), Vec::new(), Vec::new());
        for n in 0..BURST {
            let started = Arc::clone(&started);
            let handle = sward::spawn(move || {
                started.fetch_add(1, Ordering::SeqCst);
                sward::task::park();
            });
            (if n % 1_000 == 0 { &mut stay } else { &mut burst }).push(handle);
        }
        while started.load(Ordering::SeqCst) < BURST {
            sward::sleep(Duration::from_millis(1));
        }
        let most = tables();
        assert!(most > BURST * 500, "{most} bytes: stacks are smaller than this test thinks");
        let end = |handles: Vec<sward::task::JoinHandle<()>>| {
            handles.iter().for_each(|handle| handle.task().unpark());
            handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
        };
        end(burst);
        // 4,000 free stacks of half a KiB, and a chunk of 64 for each of the 60 live ones and for the caches
        // of the workers.
        let left = tables();
        assert!(left < 11 << 20, "{left} bytes of {most} are left");
        end(stay);
        // The emptied stacks have guards again and can be used.
        for _ in 0..2 {
            end((0..BURST / 4).map(|_| sward::spawn(sward::task::park)).collect());
        }
        let left = tables();
        assert!(left < 8 << 20, "{left} bytes of {most} are left");
    });
}
