//! The checks, by crate.

use crate::at_once;
use crate::coroutines::{builder, coroutines, homes_move};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

pub(crate) fn checks() -> Vec<(&'static str, fn())> {
    tracing::subscriber::set_global_default(tracing_subscriber::registry()).expect("the first one");
    let mut checks: Vec<(&'static str, fn())> = vec![
        ("rand", rand_over_waits),
        ("rand-many", rand_many),
        ("tracing", spans_over_waits),
        ("tracing-between", spans_between_waits),
        ("tracing-many", spans_many),
        ("tokio-enter", tokio_over_waits),
        ("tokio-enter-between", tokio_between_waits),
        ("tokio-block-on", tokio_block_on),
        ("tokio-many", tokio_many),
        ("crossbeam-epoch", pins_over_waits),
        ("crossbeam-epoch-many", pins_many),
        ("crossbeam-channel", channels),
        ("crossbeam-channel-many", channels_many),
        ("rayon", rayon_calls),
        ("rayon-many", rayon_many),
    ];
    checks.extend(openssl_checks::ALL);
    checks
}

// rand keeps its generator in an `Rc` of the thread.

fn rand_over_waits() {
    use rand::Rng;
    coroutines(50).run(|this| {
        let mut random = rand::rng();
        let mut sum = 0_u64;
        for _ in 0..100 {
            sum = sum.wrapping_add(random.next_u64());
            this.pause();
        }
        std::hint::black_box(sum);
    });
}

fn rand_many() {
    use rand::Rng;
    at_once(|_| {
        let mut random = rand::rng();
        std::hint::black_box(random.next_u64());
        random
    });
}

// tracing's registry keeps a stack of spans for each thread, and has room for a few thousand threads.

fn spans_over_waits() {
    use tracing::{Span, info_span};
    coroutines(50).isolated().run(|this| {
        let outer = info_span!("outer", number = this.number);
        let entered = outer.enter();
        for _ in 0..20 {
            this.pause();
            assert_eq!(Span::current().id(), outer.id());
            let inner = info_span!("inner");
            let inner_entered = inner.enter();
            this.pause();
            assert_eq!(Span::current().id(), inner.id());
            drop(inner_entered);
        }
        drop(entered);
        assert!(Span::current().is_none());
    });
}

fn spans_between_waits() {
    use tracing::{Span, info_span};
    coroutines(100).run(|this| {
        let span = info_span!("span", number = this.number);
        for _ in 0..20 {
            assert!(Span::current().is_none());
            span.in_scope(|| assert_eq!(Span::current().id(), span.id()));
            this.pause();
        }
    });
}

/// Each has its span entered while all wait. The guards are dropped in any order. The registry bears that,
/// but then searches the thread's whole stack of spans: too slow with 50,000 of them in one thread.
fn spans_many() {
    let runtime = builder().build().expect("a runtime");
    let enter = homes_move(&runtime).is_ok();
    drop(runtime);
    at_once(move |number| {
        let span = tracing::info_span!("span", number);
        span.in_scope(|| assert_eq!(tracing::Span::current().id(), span.id()));
        if enter { Ok(span.entered()) } else { Err(span) }
    });
}

// tokio keeps its context in the thread.

static TOKIO: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

fn tokio_over_waits() {
    use tokio::runtime::Handle;
    coroutines(50).isolated().run(|this| {
        assert!(Handle::try_current().is_err());
        let guard = TOKIO.enter();
        this.pauses(7);
        let five = Handle::current().spawn(async { 5 });
        this.pauses(3);
        drop(guard);
        assert!(Handle::try_current().is_err());
        assert_eq!(this.retry(|| five.is_finished().then_some(5)), 5);
    });
}

fn tokio_between_waits() {
    use tokio::runtime::Handle;
    coroutines(100).run(|this| {
        for _ in 0..10 {
            assert!(Handle::try_current().is_err());
            let guard = TOKIO.enter();
            let five = Handle::current().spawn(async { 5 });
            drop(guard);
            this.pause();
            drop(five);
        }
    });
}

/// It blocks the thread, and wakes it.
fn tokio_block_on() {
    coroutines(20).run(|this| {
        this.pause();
        let seven = TOKIO.block_on(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            7
        });
        assert_eq!(seven, 7);
        this.pause();
    });
}

fn tokio_many() {
    use tokio::runtime::Handle;
    at_once(|number| {
        assert!(Handle::try_current().is_err());
        let guard = TOKIO.enter();
        let task = Handle::current().spawn(async move { number });
        drop(guard);
        task
    });
}

// crossbeam-epoch registers each thread, and counts its pins.

fn pin_and_replace(number: usize) -> crossbeam_epoch::Guard {
    use crossbeam_epoch::{Atomic, Owned, pin};
    use std::sync::atomic::Ordering::{AcqRel, Acquire};
    let value = Atomic::new(number);
    let guard = pin();
    let first = value.load(Acquire, &guard);
    let old = value.swap(Owned::new(number + 1), AcqRel, &guard);
    assert_eq!(old, first);
    // SAFETY: nothing else knows either value. The first is destroyed after the pin at the earliest.
    unsafe {
        guard.defer_destroy(old);
        assert_eq!(*first.deref(), number);
        drop(value.into_owned());
    }
    guard
}

fn pins_over_waits() {
    coroutines(100).run(|this| {
        for _ in 0..10 {
            let outer = pin_and_replace(this.number);
            this.pauses(2);
            let inner = pin_and_replace(this.number);
            this.pause();
            drop(outer);
            this.pause();
            drop(inner);
            crossbeam_epoch::pin().flush();
        }
    });
}

fn pins_many() {
    at_once(pin_and_replace);
    at_once(|number| drop(pin_and_replace(number)));
}

// crossbeam-channel keeps a context for blocking calls in the thread.

/// What blocks without a limit has a plain thread as its partner: both coroutines of a rendezvous may be in
/// one home.
fn channels() {
    use crossbeam_channel::{bounded, select};
    let (to_thread, from_coroutines) = bounded::<usize>(0);
    let (to_coroutines, from_thread) = bounded::<usize>(0);
    let receives = thread::spawn(move || from_coroutines.iter().count());
    let sends = thread::spawn(move || (0..).take_while(|i| to_coroutines.send(*i).is_ok()).count());
    let (buffer, buffered) = bounded::<usize>(2);
    let runs = coroutines(40).run(move |this| {
        const SOON: Duration = Duration::from_micros(100);
        for i in 0..20 {
            to_thread.send(i).expect("the thread receives");
            from_thread.recv().expect("the thread sends");
            if this.number % 2 == 0 {
                this.retry(|| {
                    select! {
                        send(buffer, i) -> sent => sent.ok(),
                        default(SOON) => None,
                    }
                });
            } else {
                assert!(this.retry(|| buffered.recv_timeout(SOON).ok()) < 20);
            }
            this.pause();
        }
    });
    assert_eq!(receives.join().expect("no panic"), 20 * runs);
    assert_eq!(sends.join().expect("no panic"), 20 * runs);
}

fn channels_many() {
    at_once(|number| {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        assert!(receiver.recv_timeout(Duration::from_nanos(1)).is_err());
        sender.send(number).expect("open");
        assert_eq!(receiver.recv(), Ok(number));
        (sender, receiver)
    });
}

// rayon blocks a thread that is none of its own in a latch of the thread.

fn rayon_sum(from: usize) -> usize {
    let (left, right) = rayon::join(|| from + 1, || from + 2);
    left + right
}

fn rayon_calls() {
    use rayon::iter::{IntoParallelIterator, ParallelIterator};
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
    coroutines(50).run(move |this| {
        for _ in 0..10 {
            assert_eq!(rayon_sum(this.number), 2 * this.number + 3);
            this.pause();
            assert_eq!(pool.install(|| rayon_sum(1)), 5);
            this.pause();
            assert_eq!((0..1_000_usize).into_par_iter().sum::<usize>(), 499_500);
            assert!(rayon::current_thread_index().is_none());
            this.pause();
        }
    });
}

fn rayon_many() {
    at_once(|number| assert_eq!(rayon_sum(number), 2 * number + 3));
}

/// OpenSSL keeps its queue of errors and its random generators in the thread.
#[cfg(feature = "openssl")]
mod openssl_checks {
    use super::{at_once, coroutines};
    use openssl::error::ErrorStack;
    use openssl::rand::rand_bytes;

    pub(super) const ALL: [(&str, fn()); 3] =
        [("openssl", errors_over_waits), ("openssl-between", errors_between_waits), ("openssl-many", many)];

    fn fail() -> ErrorStack {
        openssl::x509::X509::from_pem(b"no certificate").expect_err("an error")
    }

    fn errors_over_waits() {
        coroutines(50).isolated().run(|this| {
            assert!(ErrorStack::get().errors().is_empty());
            for _ in 0..5 {
                let errors = fail();
                errors.put();
                this.pauses(3);
                let got = ErrorStack::get();
                let codes = |stack: &ErrorStack| stack.errors().iter().map(|e| e.code()).collect::<Vec<_>>();
                assert!(!got.errors().is_empty() && codes(&got) == codes(&errors));
                assert!(ErrorStack::get().errors().is_empty());
                rand_bytes(&mut [0; 16]).expect("random");
                this.pause();
            }
        });
    }

    fn errors_between_waits() {
        coroutines(100).run(|this| {
            for _ in 0..5 {
                assert!(ErrorStack::get().errors().is_empty());
                assert!(!fail().errors().is_empty());
                assert!(ErrorStack::get().errors().is_empty());
                this.pause();
            }
        });
    }

    fn many() {
        at_once(|_| {
            let mut bytes = [0; 16];
            rand_bytes(&mut bytes).expect("random");
            assert!(!fail().errors().is_empty() && bytes != [0; 16]);
            bytes
        });
    }
}

#[cfg(not(feature = "openssl"))]
mod openssl_checks {
    pub(super) const ALL: [(&str, fn()); 1] = [("openssl", skip)];

    fn skip() {
        println!("skipped: openssl: built without the feature");
    }
}
