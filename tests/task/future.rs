//! `block_on`, and coroutines awaited by executors of all kinds.

use crate::common::{CountOnDrop, LONG, SHORT, both, two_workers, until};
use std::cell::Cell;
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use sward::task::{self, JoinError, JoinHandle};
use sward::time::timeout;
use sward::{block_on, sleep};

/// The simplest executor, which knows nothing of this crate: a thread that waits on a condition variable.
#[derive(Default)]
struct Signal {
    set: Mutex<bool>,
    changed: Condvar,
    count: AtomicUsize,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        *self.set.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

fn execute<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let signal = Arc::new(Signal::default());
    let waker = signal.clone().into();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut set = signal.set.lock().unwrap();
        while !*set {
            set = signal.changed.wait(set).unwrap();
        }
        *set = false;
    }
}

/// A future whose value another thread or coroutine supplies.
struct Gift<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Gift<T> {
    fn new() -> (Gift<T>, Gift<T>) {
        let shared = Arc::new(Mutex::new((None, None)));
        (Gift(shared.clone()), Gift(shared))
    }

    fn give(self, value: T) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = Some(value);
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Gift<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.lock().unwrap();
        match state.0.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// A future that is pending once, and wakes itself.
fn yield_once() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

fn poll_once<F: Future + Unpin>(future: &mut F, signal: &Arc<Signal>) -> Poll<F::Output> {
    let waker = signal.clone().into();
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

/// A coroutine, and the sender that lets it end.
fn held<T: Send + 'static>(value: T) -> (JoinHandle<T>, impl Fn()) {
    let go = Arc::new(AtomicBool::new(false));
    let theirs = go.clone();
    let handle = sward::spawn(move || {
        while !theirs.load(Ordering::Acquire) {
            task::park();
        }
        value
    });
    let task = handle.task();
    (handle, move || {
        go.store(true, Ordering::Release);
        task.unpark();
    })
}

#[test]
fn block_on_returns_what_the_future_does() {
    both(|| {
        let local = Rc::new(Cell::new(1));
        let borrowed = &local;
        let sum = block_on(async move {
            borrowed.set(borrowed.get() + ready(1).await);
            yield_once().await;
            borrowed.get()
        });
        assert_eq!(sum, 2);
    });
}

#[test]
fn block_on_is_woken_by_a_thread() {
    both(|| {
        for _ in 0..50 {
            let (theirs, mine) = Gift::new();
            let thread = std::thread::spawn(move || theirs.give(7));
            assert_eq!(block_on(mine), 7);
            thread.join().unwrap();
        }
    });
}

#[test]
fn block_on_is_woken_by_a_coroutine_and_nests() {
    both(|| {
        let (theirs, mine) = Gift::new();
        let giver = sward::spawn(move || {
            sleep(SHORT);
            theirs.give(1);
        });
        let nested = block_on(async { 1 + block_on(async { mine.await + block_on(ready(1)) }) });
        assert_eq!(nested, 3);
        giver.join().unwrap();
    });
}

/// Inside a future the functions of this crate park the coroutine, and others on the thread go on.
#[test]
fn a_blocking_call_in_a_future_parks() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let (tx, rx) = mpsc::channel();
        let waits = sward::spawn(move || {
            block_on(async {
                tx.send(task::current()).unwrap();
                task::park();
            })
        });
        let mut waiting = None;
        until(|| {
            waiting = rx.try_recv().ok();
            waiting.is_some()
        });
        waiting.expect("sent").unpark();
        waits.join().unwrap();
    });
}

/// A future that wakes itself all the time still lets the coroutine run that it waits for, with one worker.
#[test]
fn a_future_that_wakes_itself_lets_others_run() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let done = Arc::new(AtomicBool::new(false));
        let theirs = done.clone();
        drop(sward::spawn(move || theirs.store(true, Ordering::Release)));
        block_on(async {
            while !done.load(Ordering::Acquire) {
                yield_once().await;
            }
        });
    });
}

/// A wake before the wait, several wakes at once, and a wake after `block_on` has returned.
#[test]
fn wakes_at_odd_times() {
    both(|| {
        let kept: Mutex<Option<Waker>> = Mutex::new(None);
        let polls = Cell::new(0);
        block_on(poll_fn(|context| {
            polls.set(polls.get() + 1);
            for _ in 0..3 {
                context.waker().wake_by_ref();
                let other = context.waker().clone();
                other.wake();
            }
            *kept.lock().unwrap() = Some(context.waker().clone());
            if polls.get() < 10 { Poll::Pending } else { Poll::Ready(()) }
        }));
        assert_eq!(polls.get(), 10);
        let late = kept.into_inner().unwrap().expect("kept");
        late.wake_by_ref();
        std::thread::spawn(move || late.wake()).join().unwrap();
        assert_eq!(block_on(ready(1)), 1);
    });
}

#[test]
fn a_panic_continues_in_the_caller() {
    both(|| {
        let caught = catch_unwind(|| block_on(async { resume_unwind(Box::new("mine")) }));
        let caught: Result<(), _> = caught;
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"mine"));
        assert_eq!(block_on(ready(1)), 1);
    });
}

#[test]
fn a_cancellation_drops_the_future() {
    two_workers().run(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let started = Arc::new(AtomicBool::new(false));
        let (counts, theirs) = (CountOnDrop(dropped.clone()), started.clone());
        let handle = sward::spawn(move || {
            block_on(async move {
                let _counts = counts;
                theirs.store(true, Ordering::Release);
                pending::<()>().await;
            })
        });
        until(|| started.load(Ordering::Acquire));
        handle.cancel();
        assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_time_limit_drops_the_future() {
    both(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let counts = CountOnDrop(dropped.clone());
        let ended = timeout(SHORT, || {
            block_on(async move {
                let _counts = counts;
                pending::<()>().await
            })
        });
        assert!(ended.is_err());
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_handle_is_awaited_by_any_executor() {
    let runtime = two_workers();
    for value in 0..200 {
        let at_once = runtime.spawn(move || value);
        assert_eq!(execute(at_once).unwrap(), value);
        let later = runtime.spawn(move || {
            sleep(Duration::from_micros(100));
            value
        });
        assert_eq!(execute(async { later.await.unwrap() + 1 }), value + 1);
    }
    both(|| {
        let (handle, release) = held("value");
        release();
        assert_eq!(block_on(handle).unwrap(), "value");
    });
}

#[test]
fn a_handle_reports_all_kinds_of_ends() {
    let runtime = two_workers();
    let panics = runtime.spawn(|| -> () { resume_unwind(Box::new("mine")) });
    match execute(panics) {
        Err(JoinError::Panicked(payload)) => assert_eq!(payload.downcast_ref::<&str>(), Some(&"mine")),
        other => panic!("{other:?}"),
    }
    let cancelled = runtime.spawn(|| sleep(LONG));
    cancelled.cancel();
    assert!(matches!(execute(cancelled), Err(JoinError::Cancelled)));
    let left = runtime.spawn(|| sleep(LONG));
    let shutdown = std::thread::spawn(move || drop(runtime));
    assert!(matches!(execute(left), Err(JoinError::ShutDown)));
    shutdown.join().unwrap();
}

#[test]
fn a_handle_that_has_ended_is_ready_at_once() {
    two_workers().run(|| {
        let mut handle = sward::spawn(|| 1);
        until(|| handle.is_finished());
        let signal = Arc::new(Signal::default());
        assert!(matches!(poll_once(&mut handle, &signal), Poll::Ready(Ok(1))));
        assert_eq!((signal.count.load(Ordering::SeqCst), Arc::strong_count(&signal)), (0, 1));
    });
}

#[test]
fn the_last_waker_is_woken_once() {
    both(|| {
        let (mut handle, release) = held(1);
        let bells: Vec<_> = (0..4).map(|_| Arc::new(Signal::default())).collect();
        for signal in &bells {
            for _ in 0..3 {
                assert!(poll_once(&mut handle, signal).is_pending());
            }
        }
        for signal in &bells[..3] {
            assert_eq!(Arc::strong_count(signal), 1, "replaced");
        }
        release();
        until(|| bells[3].count.load(Ordering::SeqCst) > 0);
        assert!(matches!(poll_once(&mut handle, &bells[0]), Poll::Ready(Ok(1))));
        drop(handle);
        let woken: Vec<_> = bells.iter().map(|signal| signal.count.load(Ordering::SeqCst)).collect();
        assert_eq!(woken, [0, 0, 0, 1]);
    });
}

#[test]
fn a_handle_that_was_polled_can_still_be_joined() {
    both(|| {
        let (mut handle, release) = held(3);
        let signal = Arc::new(Signal::default());
        assert!(poll_once(&mut handle, &signal).is_pending());
        release();
        assert_eq!(handle.join().unwrap(), 3);
        // The waker may not have been called yet.
        until(|| Arc::strong_count(&signal) == 1);
    });
}

#[test]
fn a_handle_yields_its_result_once() {
    both(|| {
        let mut handle = sward::spawn(|| 1);
        assert_eq!(block_on(&mut handle).unwrap(), 1);
        assert!(handle.is_finished());
        let message = |panic: Box<dyn std::any::Any + Send>| {
            panic.downcast_ref::<&str>().expect("a message").contains("has given its result")
        };
        let again = catch_unwind(AssertUnwindSafe(|| block_on(&mut handle).map(drop)));
        assert!(message(again.unwrap_err()));
        let joined = catch_unwind(AssertUnwindSafe(|| handle.join().map(drop)));
        assert!(message(joined.unwrap_err()));
    });
}

#[test]
fn a_dropped_handle_detaches_and_wakes_nobody() {
    both(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (mut handle, release) = held(CountOnDrop(dropped.clone()));
        let signal = Arc::new(Signal::default());
        assert!(poll_once(&mut handle, &signal).is_pending());
        assert_eq!(Arc::strong_count(&signal), 2);
        drop(handle);
        assert_eq!(Arc::strong_count(&signal), 1);
        release();
        until(|| dropped.load(Ordering::SeqCst) == 1);
        assert_eq!(signal.count.load(Ordering::SeqCst), 0);
    });
}

/// A kind of `select`: the first of several coroutines. The other handles are dropped.
#[test]
fn the_first_of_several() {
    both(|| {
        let (slow, quick) = (sward::spawn(|| sleep(LONG)), sward::spawn(|| 5));
        let cancel = slow.task();
        let mut slow = pin!(slow);
        let mut quick = pin!(quick);
        let first = block_on(poll_fn(|context| {
            assert!(slow.as_mut().poll(context).is_pending());
            quick.as_mut().poll(context)
        }));
        assert_eq!(first.unwrap(), 5);
        slow.cancel();
        assert!(matches!(block_on(slow), Err(JoinError::Cancelled)));
        assert!(cancel.id().is_some());
    });
}

/// The panic of a waker is contained, and other waiters still learn of the coroutine's end.
#[test]
fn a_waker_that_panics() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("woken"));
        }
    }
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let (mut handle, release) = held(1);
        let waker = Arc::new(Panics).into();
        assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
        release();
        assert_eq!(handle.join().unwrap(), 1);
        assert_eq!(sward::spawn(|| 2).join().unwrap(), 2);
    });
}

/// A waker may use the runtime, since the worker itself runs it.
#[test]
fn a_waker_that_spawns() {
    struct Spawns(Mutex<Option<JoinHandle<u32>>>);
    impl Wake for Spawns {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() = Some(sward::spawn(|| 9));
        }
    }
    two_workers().run(|| {
        let (mut handle, release) = held(());
        let spawns = Arc::new(Spawns(Mutex::new(None)));
        let waker = spawns.clone().into();
        assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
        release();
        let mut spawned = None;
        until(|| {
            spawned = spawns.0.lock().unwrap().take();
            spawned.is_some()
        });
        assert_eq!(spawned.expect("spawned").join().unwrap(), 9);
    });
}

/// A worker that has slept calls the waker of a timer, which waits for a coroutine that only another worker
/// can run now. All workers sleep until then.
#[test]
fn a_waker_that_waits_for_what_it_has_spawned() {
    struct Joins(Mutex<mpsc::Sender<u32>>);
    impl Wake for Joins {
        fn wake(self: Arc<Self>) {
            let joined = sward::spawn(|| 9).join().expect("no panic");
            self.0.lock().expect("no panic").send(joined).expect("the test waits");
        }
    }
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    for _ in 0..10 {
        let (sends, receives) = mpsc::channel();
        let waker = Arc::new(Joins(Mutex::new(sends))).into();
        let mut sleep = Box::pin(sward::time::sleep_async(SHORT));
        let pends = runtime.run(|| sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        // On a slow machine the time may have passed before the poll.
        if pends {
            assert_eq!(receives.recv_timeout(LONG).expect("it is run"), 9);
        }
    }
}

/// An executor in the coroutines of one runtime awaits coroutines of another one, in both directions.
#[test]
fn runtimes_await_each_other() {
    let (one, other) = (two_workers(), two_workers());
    let sum = one.run(|| {
        let theirs = other.spawn(|| {
            let inner = sward::spawn(|| {
                sleep(Duration::from_micros(100));
                20
            });
            block_on(inner).unwrap() + 1
        });
        block_on(async { theirs.await.unwrap() + sward::spawn(|| 1).await.unwrap() })
    });
    assert_eq!(sum, 22);
}

/// Polls, drops, joins and ends race on threads. Each result and each waker is dropped once.
#[test]
fn polls_drops_and_ends_race() {
    let runtime = two_workers();
    let (made, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    std::thread::scope(|s| {
        for thread in 0..3usize {
            let (runtime, made, dropped) = (&runtime, &made, &dropped);
            s.spawn(move || {
                let bells = [Arc::new(Signal::default()), Arc::new(Signal::default())];
                for i in 0..4_000usize {
                    let way = i.wrapping_mul(2_654_435_761).wrapping_add(thread);
                    made.fetch_add(1, Ordering::SeqCst);
                    let counts = CountOnDrop(dropped.clone());
                    let mut handle = runtime.spawn(move || {
                        match way % 4 {
                            0 => {}
                            1 => sward::yield_now(),
                            2 => task::park_timeout(Duration::from_micros(20)),
                            _ => (0..way % 300).for_each(|_| std::hint::spin_loop()),
                        }
                        counts
                    });
                    let mut result = None;
                    for turn in 0..way % 5 {
                        match poll_once(&mut handle, &bells[turn % 2]) {
                            Poll::Pending => (0..way % 200).for_each(|_| std::hint::spin_loop()),
                            Poll::Ready(output) => {
                                result = Some(output);
                                break;
                            }
                        }
                    }
                    match (result, way % 7) {
                        (Some(output), _) => drop(output.map(drop)),
                        (None, 0 | 1) => drop(handle),
                        (None, 2 | 3) => drop(handle.join().unwrap()),
                        (None, 4) => {
                            handle.cancel();
                            drop(handle);
                        }
                        (None, _) => drop(execute(handle).unwrap()),
                    }
                }
                for signal in bells {
                    // A coroutine that is just ending may still hold the waker for a moment.
                    while Arc::strong_count(&signal) > 1 {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    drop(runtime);
    assert_eq!(made.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst));
}

/// Many `block_on`s at once, woken by threads and by each other. Some are cancelled.
#[test]
fn block_on_under_stress() {
    let runtime = two_workers();
    let (tx, rx) = mpsc::channel::<Gift<usize>>();
    let giver = std::thread::spawn(move || {
        for (i, gift) in rx.into_iter().enumerate() {
            if i % 3 == 0 {
                std::thread::yield_now();
            }
            gift.give(i);
        }
    });
    let ended = runtime.run(|| {
        let handles: Vec<_> = (0..64)
            .map(|i| {
                let tx = tx.clone();
                sward::spawn(move || {
                    for round in 0..100 {
                        let (theirs, mine) = Gift::new();
                        tx.send(theirs).unwrap();
                        if (i + round) % 4 == 0 {
                            // Dropped early, while the other side has its waker.
                            let _ = timeout(Duration::from_micros(20), || block_on(mine));
                        } else {
                            let inner = sward::spawn(sward::yield_now);
                            block_on(async {
                                mine.await;
                                inner.await.unwrap();
                            });
                        }
                    }
                })
            })
            .collect();
        for handle in handles.iter().step_by(8) {
            handle.cancel();
        }
        handles.into_iter().map(JoinHandle::join).collect::<Vec<_>>()
    });
    for (i, end) in ended.into_iter().enumerate() {
        assert!(matches!(end, Ok(())) || i % 8 == 0 && matches!(end, Err(JoinError::Cancelled)));
    }
    drop(tx);
    giver.join().unwrap();
}

#[test]
fn auto_traits_are_as_promised() {
    fn send_sync_unpin<T: Send + Sync + Unpin>() {}
    send_sync_unpin::<JoinHandle<Vec<u8>>>();
    send_sync_unpin::<JoinHandle<Cell<u8>>>();
}

/// A time limit, and a cancellation, end a future that always wakes itself.
#[test]
fn a_future_that_always_wakes_itself_can_be_ended() {
    fn busy() {
        block_on(poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::Pending
        }))
    }
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        both(|| assert!(timeout(SHORT, busy).is_err()));
        two_workers().run(|| {
            let coroutine = sward::spawn(busy);
            sleep(SHORT);
            coroutine.cancel();
            assert!(matches!(coroutine.join(), Err(JoinError::Cancelled)));
        });
        done.send(()).expect("the test listens");
    });
    ended.recv_timeout(Duration::from_secs(120)).expect("it hangs, or has panicked");
}
