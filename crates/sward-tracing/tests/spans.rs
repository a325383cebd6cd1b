//! Each coroutine has its own current span.

mod common;

use common::{LANDED, Landing, program, runtimes, take_astray};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use sward_tracing::{PerCoroutine, in_coroutine_span, in_current_span, in_span, spawn};
use tracing::{Id, Span, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

static CLOSED: AtomicUsize = AtomicUsize::new(0);

/// Counts spans that have closed.
struct Closing;

impl<S: Subscriber> Layer<S> for Closing {
    fn on_close(&self, _: Id, _: Context<'_, S>) {
        CLOSED.fetch_add(1, Ordering::Relaxed);
    }
}

/// One test at a time: they share the subscriber.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let fmt = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    let subscriber = tracing_subscriber::registry().with(Landing).with(Closing).with(fmt);
    let _ = tracing::subscriber::set_global_default(PerCoroutine::new(subscriber));
    LANDED.lock().expect("no panic").clear();
    alone
}

fn landed() -> Vec<(u64, Vec<u64>)> {
    std::mem::take(&mut *LANDED.lock().expect("no panic"))
}

#[test]
fn each_event_lands_in_its_own_span() {
    let _alone = alone();
    for runtime in runtimes() {
        runtime.run(|| program(100, 20));
        let (astray, all) = take_astray();
        assert_eq!(all, 100 * 20 * 4);
        assert!(astray.is_empty(), "{} of {all}: {:?}", astray.len(), &astray[..astray.len().min(5)]);
    }
}

/// All spans close: nothing keeps a reference to one that was left.
#[test]
fn spans_close() {
    let _alone = alone();
    let before = CLOSED.load(Ordering::Relaxed);
    runtimes()[0].run(|| program(100, 20));
    assert_eq!(CLOSED.load(Ordering::Relaxed) - before, 100 * 20 * 2);
}

#[tracing::instrument]
fn instrumented(n: u64) {
    sward::sleep(std::time::Duration::from_millis(1));
    tracing::info!(n);
}

#[test]
fn a_coroutine_inherits_a_span_if_it_is_to() {
    let _alone = alone();
    for runtime in runtimes() {
        runtime.run(|| {
            let outer = tracing::info_span!("outer", n = 1_u64).entered();
            let plain = sward::spawn(|| {
                assert!(Span::current().is_none());
                tracing::info!(n = 10_u64);
            });
            let inherits = spawn(|| {
                sward::yield_now();
                tracing::info!(n = 11_u64);
            });
            let also = sward::spawn(in_current_span(|| instrumented(12)));
            let other = tracing::info_span!("other", n = 2_u64);
            let given = sward::spawn(in_span(other, || {
                sward::yield_now();
                tracing::info!(n = 13_u64);
            }));
            let own = sward::spawn(in_coroutine_span(|| {
                sward::yield_now();
                tracing::info!(n = 14_u64);
            }));
            for child in [plain, inherits, also, given, own] {
                child.join().expect("no panic");
            }
            assert_eq!(Span::current(), *outer);
        });
        let mut landed = landed();
        landed.sort();
        let want = [(10, vec![]), (11, vec![1]), (12, vec![1, 12]), (13, vec![1, 2]), (14, vec![1, 0])];
        assert_eq!(landed, want);
    }
}

/// A guard that is leaked, a span that is dropped elsewhere, one that is exited before its child.
#[test]
fn odd_orders() {
    let _alone = alone();
    for runtime in runtimes() {
        let before = CLOSED.load(Ordering::Relaxed);
        runtime.run(|| {
            let leaks = sward::spawn(|| {
                let span = tracing::info_span!("leaked", n = 3_u64);
                std::mem::forget(span.enter());
                drop(span);
                sward::yield_now();
                tracing::info!(n = 20_u64);
            });
            let beside = sward::spawn(|| {
                let outer = tracing::info_span!("outer", n = 4_u64).entered();
                let inner = tracing::info_span!("inner", n = 5_u64).entered();
                sward::yield_now();
                let outer = outer.exit();
                sward::spawn(move || drop(outer)).join().expect("no panic");
                tracing::info!(n = 21_u64);
                drop(inner);
                tracing::info!(n = 22_u64);
            });
            leaks.join().expect("no panic");
            beside.join().expect("no panic");
            tracing::info!(n = 23_u64);
        });
        drop(runtime);
        let mut landed = landed();
        landed.sort();
        assert_eq!(landed, [(20, vec![3]), (21, vec![4, 5]), (22, vec![]), (23, vec![])]);
        assert_eq!(CLOSED.load(Ordering::Relaxed) - before, 3);
    }
}

#[test]
fn plain_threads_are_as_before() {
    let _alone = alone();
    let threads: Vec<_> = (1..=4)
        .map(|n: u64| {
            std::thread::spawn(move || {
                tracing::info_span!("thread", n).in_scope(|| tracing::info!(n));
                tracing::info!(n = n + 2000);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(take_astray(), (vec![], 8));
}
