//! Channels and select: what crossbeam-channel's suite and Go's `chan_test.go` cover, in coroutines, on plain
//! threads, and between the two.

mod checked;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sward::channel::{
    self, Receiver, RecvError, RecvTimeoutError, Select, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, after, bounded, never, tick, unbounded,
};
use sward::runtime::{Builder, Runtime};
use sward::task::JoinError;

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(600);

fn runtime(workers: usize) -> Runtime {
    Builder::new().worker_threads(workers).build().expect("a runtime")
}

fn in_coroutine<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    runtime(2).run(f)
}

/// In a coroutine, and on a plain thread.
fn both(f: impl Fn() + Send + Sync) {
    f();
    in_coroutine(&f);
}

/// Runs the closure on a thread of its own, and panics rather than hang.
fn soon<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = std::sync::mpsc::channel();
    thread::spawn(move || done.send(f()));
    ended.recv_timeout(Duration::from_secs(20)).expect("it hangs, or has panicked")
}

fn capacities() -> Vec<(Sender<usize>, Receiver<usize>)> {
    vec![bounded(0), bounded(1), bounded(7), unbounded()]
}

fn assert_auto<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe + Unpin>() {}

#[test]
fn ends_may_go_anywhere() {
    assert_auto::<Sender<std::cell::Cell<u8>>>();
    assert_auto::<Receiver<std::cell::Cell<u8>>>();
    assert_auto::<channel::oneshot::Sender<std::cell::Cell<u8>>>();
    assert_auto::<channel::oneshot::Receiver<std::cell::Cell<u8>>>();
}

#[test]
fn a_bounded_channel_has_its_room() {
    both(|| {
        let (s, r) = bounded(2);
        assert_eq!((s.len(), s.capacity(), s.is_empty(), s.is_full()), (0, Some(2), true, false));
        s.send(1).unwrap();
        assert_eq!(s.try_send(2), Ok(()));
        assert_eq!((r.len(), r.capacity(), r.is_empty(), r.is_full()), (2, Some(2), false, true));
        assert_eq!(s.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!(s.send_timeout(3, MS), Err(SendTimeoutError::Timeout(3)));
        assert_eq!(s.send_deadline(3, Instant::now()), Err(SendTimeoutError::Timeout(3)));
        assert_eq!(r.try_iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(r.recv_timeout(MS), Err(RecvTimeoutError::Timeout));
        assert_eq!(r.recv_deadline(Instant::now()), Err(RecvTimeoutError::Timeout));
    });
}

#[test]
fn an_unbounded_channel_has_no_limit() {
    both(|| {
        let (s, r) = unbounded();
        assert_eq!((s.capacity(), s.is_full()), (None, false));
        for i in 0..10_000 {
            s.try_send(i).unwrap();
        }
        assert_eq!(s.len(), 10_000);
        drop(s);
        assert!(r.iter().eq(0..10_000));
    });
}

#[test]
fn without_room_a_send_meets_its_receive() {
    both(|| {
        let (s, r) = bounded(0);
        assert_eq!((s.capacity(), s.is_full(), s.is_empty()), (Some(0), true, true));
        assert_eq!(s.try_send(1), Err(TrySendError::Full(1)));
        assert_eq!(s.send_timeout(1, MS), Err(SendTimeoutError::Timeout(1)));
        let sender = sward::spawn(move || s.send(2));
        assert_eq!(r.recv(), Ok(2));
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(r.recv(), Err(RecvError));
    });
}

#[test]
fn receivers_get_what_was_sent_before_the_end() {
    both(|| {
        for (s, r) in capacities() {
            let other = s.clone();
            let sent = sward::spawn(move || (0..5).for_each(|i| other.send(i).unwrap()));
            drop(s);
            assert!(r.iter().eq(0..5));
            sent.join().unwrap();
            assert_eq!(r.recv(), Err(RecvError));
            assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
            assert_eq!(r.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        }
    });
}

#[test]
fn senders_learn_that_the_receivers_are_gone() {
    both(|| {
        for (s, r) in capacities() {
            drop(r.clone());
            assert!(!s.is_closed());
            drop(r);
            assert!(s.is_closed());
            assert_eq!(s.send(1), Err(SendError(1)));
            assert_eq!(s.try_send(1), Err(TrySendError::Disconnected(1)));
            assert_eq!(s.send_timeout(1, LONG), Err(SendTimeoutError::Disconnected(1)));
        }
    });
}

#[test]
fn the_end_wakes_those_who_wait() {
    both(|| {
        let (s, r) = bounded::<u8>(0);
        let waiting = sward::spawn(move || r.recv());
        sward::sleep(MS);
        drop(s);
        assert_eq!(waiting.join().unwrap(), Err(RecvError));

        let (s, r) = bounded(1);
        s.send(1).unwrap();
        let waiting = sward::spawn(move || s.send(2));
        sward::sleep(MS);
        drop(r);
        assert_eq!(waiting.join().unwrap(), Err(SendError(2)));
    });
}

#[test]
fn order_is_kept() {
    both(|| {
        for (s, r) in capacities() {
            let sender = sward::spawn(move || (0..1_000).for_each(|i| s.send(i).unwrap()));
            assert!(r.into_iter().eq(0..1_000));
            sender.join().unwrap();
        }
    });
}

#[test]
fn each_message_goes_to_one_receiver() {
    const EACH: usize = 2_000;
    for (s, r) in capacities() {
        let total = in_coroutine(|| {
            // Half of either side on plain threads.
            let seen = Arc::new(AtomicUsize::new(0));
            let receive = |r: Receiver<usize>, seen: Arc<AtomicUsize>| {
                move || {
                    for i in r {
                        seen.fetch_add(i, Ordering::Relaxed);
                    }
                }
            };
            let send = |s: Sender<usize>| move || (1..=EACH).for_each(|i| s.send(i).unwrap());
            let receivers: Vec<_> = (0..3).map(|_| sward::spawn(receive(r.clone(), seen.clone()))).collect();
            let threads: Vec<_> = (0..2)
                .flat_map(|_| {
                    [thread::spawn(send(s.clone())), thread::spawn(receive(r.clone(), seen.clone()))]
                })
                .collect();
            let senders: Vec<_> = (0..3).map(|_| sward::spawn(send(s.clone()))).collect();
            drop((s, r));
            senders.into_iter().for_each(|c| c.join().unwrap());
            receivers.into_iter().for_each(|c| c.join().unwrap());
            threads.into_iter().for_each(|t| t.join().unwrap());
            seen.load(Ordering::Relaxed)
        });
        assert_eq!(total, 5 * EACH * (EACH + 1) / 2);
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Counted {
        alive.fetch_add(1, Ordering::Relaxed);
        Counted(alive.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn what_is_left_is_dropped_once() {
    both(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let (s, r) = unbounded();
        for _ in 0..10 {
            s.send(Counted::new(&alive)).unwrap();
        }
        drop(r.recv().unwrap());
        assert_eq!(alive.load(Ordering::Relaxed), 9);
        drop(r);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "dropped with the last receiver");
        drop(s.send(Counted::new(&alive)));
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_destructor_of_a_message_may_use_the_channel() {
    struct Sends(Option<Sender<Sends>>);
    impl Drop for Sends {
        fn drop(&mut self) {
            if let Some(s) = self.0.take() {
                assert!(s.send(Sends(None)).is_err());
            }
        }
    }
    both(|| {
        let (s, r) = unbounded();
        s.send(Sends(Some(s.clone()))).unwrap();
        drop(r);
    });
}

#[test]
fn same_channel_tells_channels_apart() {
    let ((s1, r1), (s2, r2)) = (bounded::<u8>(1), bounded::<u8>(1));
    assert!(s1.same_channel(&s1.clone()) && !s1.same_channel(&s2));
    assert!(r1.same_channel(&r1.clone()) && !r1.same_channel(&r2));
    assert!(never::<u8>().same_channel(&never()));
    let timer = after(LONG);
    assert!(timer.same_channel(&timer.clone()) && !timer.same_channel(&after(LONG)));
}

#[test]
fn time_sends() {
    both(|| {
        let start = Instant::now();
        let once = after(2 * MS);
        assert_eq!(once.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(once.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        assert!(once.recv().unwrap() >= start + 2 * MS);
        assert!(start.elapsed() >= 2 * MS);
        assert_eq!(once.recv_timeout(2 * MS), Err(RecvTimeoutError::Timeout));
        let ticks = tick(MS);
        let times: Vec<_> = ticks.iter().take(3).collect();
        assert!(times.windows(2).all(|pair| pair[1] >= pair[0] + MS));
        assert_eq!(never::<u8>().recv_timeout(MS), Err(RecvTimeoutError::Timeout));
    });
}

#[test]
fn one_of_two_who_wait_gets_the_one_message_of_after() {
    in_coroutine(|| {
        let once = after(2 * MS);
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let once = once.clone();
                sward::spawn(move || once.recv_timeout(50 * MS).is_ok())
            })
            .collect();
        let got: Vec<_> = waiting.into_iter().map(|w| w.join().unwrap()).collect();
        assert_eq!(got.iter().filter(|&&got| got).count(), 1);
    });
}

#[test]
fn a_cancelled_send_leaves_its_message_out() {
    in_coroutine(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let (s, r) = bounded(0);
        let message = Counted::new(&alive);
        let other = s.clone();
        let sender = sward::spawn(move || drop(other.send(message)));
        sward::sleep(MS);
        sender.cancel();
        assert!(matches!(sender.join(), Err(JoinError::Cancelled)));
        assert_eq!(alive.load(Ordering::Relaxed), 0);
        assert_eq!(r.try_recv().map(|_| ()), Err(TryRecvError::Empty));
        // The channel goes on.
        let again = sward::spawn(move || r.recv().is_ok());
        assert!(s.send(Counted::new(&alive)).is_ok());
        assert!(again.join().unwrap());
    });
}

#[test]
fn a_cancelled_receive_takes_nothing() {
    in_coroutine(|| {
        let (s, r) = bounded(0);
        let other = r.clone();
        let receiver = sward::spawn(move || other.recv());
        sward::sleep(MS);
        receiver.cancel();
        assert!(matches!(receiver.join(), Err(JoinError::Cancelled)));
        assert_eq!(s.try_send(1), Err(TrySendError::Full(1)));
        let again = sward::spawn(move || r.recv());
        s.send(2).unwrap();
        assert_eq!(again.join().unwrap(), Ok(2));
    });
}

/// Messages, senders and receivers that are cancelled at random: every message that a send has reported is
/// received, and no other.
#[test]
fn nothing_is_lost_or_made_up_under_random_cancellation() {
    for capacity in [0, 1, 16] {
        in_coroutine(move || {
            let (s, r) = bounded::<usize>(capacity);
            let sent = Arc::new(AtomicUsize::new(0));
            let got = Arc::new(AtomicUsize::new(0));
            let receive = || {
                let (r, got) = (r.clone(), got.clone());
                move || {
                    while let Ok(i) = r.recv() {
                        got.fetch_add(i, Ordering::Relaxed);
                    }
                }
            };
            let mut receivers: Vec<_> = (0..8).map(|_| sward::spawn(receive())).collect();
            let mut senders = Vec::new();
            for round in 0..400 {
                let (s, sent) = (s.clone(), sent.clone());
                senders.push(sward::spawn(move || {
                    for i in 1..=10 {
                        let value = round * 10 + i;
                        s.send(value).unwrap();
                        sent.fetch_add(value, Ordering::Relaxed);
                    }
                }));
                if round % 3 == 0 {
                    let victim = senders.swap_remove(round % senders.len());
                    victim.cancel();
                    let _ = victim.join();
                }
                if round % 5 == 0 {
                    receivers.push(sward::spawn(receive()));
                    let victim = receivers.swap_remove(round % receivers.len());
                    victim.cancel();
                    let _ = victim.join();
                }
                if round % 7 == 0 {
                    sward::yield_now();
                }
            }
            for sender in senders {
                let _ = sender.join();
            }
            drop(s);
            for receiver in receivers {
                let _ = receiver.join();
            }
            // A send that was carried out but whose coroutine was cancelled at its next wait has been
            // counted, since nothing parks in between.
            assert_eq!(got.load(Ordering::Relaxed), sent.load(Ordering::Relaxed));
        });
    }
}

#[test]
fn select_takes_what_is_ready() {
    both(|| {
        let (s1, r1) = unbounded::<u8>();
        let (s2, r2) = unbounded::<&str>();
        s2.send("two").unwrap();
        let got = sward::select! {
            recv(r1) -> _ => unreachable!(),
            recv(r2) -> message => message.unwrap(),
        };
        assert_eq!(got, "two");
        s1.send(1).unwrap();
        sward::select! {
            recv(r1) -> message => { assert_eq!(message, Ok(1)) }
            recv(r2) -> _ => unreachable!()
        }
        drop(s1);
        sward::select! {
            recv(r1) -> message => assert_eq!(message, Err(RecvError)),
            recv(r2) -> _ => unreachable!(),
        }
    });
}

#[test]
fn select_has_defaults() {
    both(|| {
        let (s, r) = bounded::<u8>(1);
        let ready = |r: &Receiver<u8>| {
            sward::select! {
                recv(r) -> _ => true,
                default => false,
            }
        };
        assert!(!ready(&r));
        s.send(1).unwrap();
        assert!(ready(&r));
        let start = Instant::now();
        sward::select! {
            recv(r) -> _ => unreachable!(),
            default(3 * MS) => assert!(start.elapsed() >= 3 * MS),
        }
    });
}

#[test]
fn select_sends() {
    both(|| {
        let (s1, r1) = bounded(1);
        let (s2, r2) = bounded(1);
        s1.send(0).unwrap();
        sward::select! {
            send(s1, 1) -> _ => unreachable!(),
            send(s2, 2) -> sent => sent.unwrap(),
        }
        assert_eq!((r1.try_recv(), r2.try_recv()), (Ok(0), Ok(2)));
        drop(r2);
        s1.send(0).unwrap();
        sward::select! {
            send(s1, 1) -> _ => unreachable!(),
            send(s2, 2) -> sent => assert_eq!(sent, Err(SendError(2))),
        }
    });
}

#[test]
fn a_message_that_is_not_sent_stays_in_its_variable() {
    both(|| {
        let (s, r) = bounded(1);
        let mut next = Some(String::from("first"));
        sward::select! {
            send_from(s, next) -> sent => sent.unwrap(),
        }
        assert_eq!(next, None);
        // Without a message the arm is off.
        sward::select! {
            send_from(s, next) -> _ => unreachable!(),
            default => assert_eq!(next, None),
        }
        next = Some(String::from("second"));
        sward::select! {
            send_from(s, next) -> _ => unreachable!(),
            recv(after(MS)) -> _ => {}
        }
        assert_eq!(next.as_deref(), Some("second"));
        assert_eq!(r.recv().unwrap(), "first");
    });
}

#[test]
fn select_waits() {
    both(|| {
        let (s1, r1) = bounded::<u8>(0);
        let (s2, r2) = bounded::<u8>(0);
        let sender = sward::spawn(move || {
            sward::sleep(2 * MS);
            s2.send(2).unwrap();
        });
        sward::select! {
            recv(r1) -> _ => unreachable!(),
            recv(r2) -> message => assert_eq!(message, Ok(2)),
        }
        sender.join().unwrap();
        let receiver = sward::spawn(move || r1.recv());
        let mut rest = Some(1);
        sward::select! {
            send_from(s1, rest) -> sent => sent.unwrap(),
            recv(r2) -> end => assert_eq!(end, Err(RecvError)),
        }
        if let Some(rest) = rest {
            s1.send(rest).unwrap();
        }
        assert_eq!(receiver.join().unwrap(), Ok(1));
    });
}

#[test]
fn select_waits_for_the_end_of_a_coroutine() {
    both(|| {
        let (_s, r) = bounded::<u8>(0);
        let child = sward::spawn(|| {
            sward::sleep(MS);
            "done"
        });
        sward::select! {
            recv(r) -> _ => unreachable!(),
            join(child) -> result => assert_eq!(result.unwrap(), "done"),
        }
    });
}

#[test]
fn select_waits_for_a_cancellation() {
    both(|| {
        let token = sward::task::CancelToken::new();
        let (_s, r) = bounded::<u8>(0);
        let cancelled = || {
            sward::select! {
                recv(r) -> _ => unreachable!(),
                cancelled(token) => true,
                default(MS) => false,
            }
        };
        assert!(!cancelled());
        let later = token.clone();
        let child = sward::spawn(move || {
            sward::sleep(MS);
            later.cancel();
        });
        sward::select! {
            recv(r) -> _ => unreachable!(),
            cancelled(token) => {}
        }
        child.join().unwrap();
        assert!(cancelled());
        // As one of a number that is known at run time.
        let (mut arm, mut other) = (token.arm(), r.arm());
        let mut select = Select::new();
        select.recv(&mut other);
        let number = select.event(&mut arm);
        assert_eq!(select.wait(), number);
    });
}

#[test]
fn select_is_an_expression_in_its_function() {
    fn first(r: &Receiver<u8>) -> Result<u8, RecvError> {
        loop {
            sward::select! {
                recv(r) -> message => {
                    let message = message?;
                    if message > 2 {
                        break Ok(message);
                    }
                    continue;
                }
            }
        }
    }
    let (s, r) = unbounded();
    (0..5).for_each(|i| s.send(i).unwrap());
    assert_eq!(first(&r), Ok(3));
    r.recv().unwrap();
    drop(s);
    assert_eq!(first(&r), Err(RecvError));
}

#[test]
fn select_is_fair() {
    const TURNS: usize = 10_000;
    both(|| {
        let (s1, r1) = unbounded();
        let (s2, r2) = unbounded();
        for _ in 0..TURNS {
            s1.send(()).unwrap();
            s2.send(()).unwrap();
        }
        let mut hits = [0; 2];
        for _ in 0..TURNS {
            sward::select! {
                recv(r1) -> _ => hits[0] += 1,
                recv(r2) -> _ => hits[1] += 1,
            }
        }
        assert!(hits.iter().all(|&n| n > TURNS / 4), "{hits:?}");
    });
}

/// A message moves from one arm's channel to the other's: it is sent there first, then taken away here, so at
/// every moment one of the arms can be carried out.
#[test]
fn default_is_not_taken_while_a_message_moves_from_arm_to_arm() {
    const ROUNDS: usize = 30_000;
    fn until(reached: impl Fn() -> bool) {
        for turn in 0.. {
            if reached() {
                return;
            }
            if turn % 64 == 63 {
                thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
    fn defaults(pick: impl Fn(&Receiver<u8>, &Receiver<u8>, usize) -> bool) -> usize {
        let ends = [unbounded(), unbounded()];
        let [(s1, r1), (s2, r2)] = &ends;
        let (started, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    let (from, to) = if round % 2 == 0 { (r1, s2) } else { (r2, s1) };
                    until(|| started.load(Ordering::Acquire) == round);
                    (0..round % 100).for_each(|_| std::hint::spin_loop());
                    to.send(0).unwrap();
                    _ = from.try_recv();
                    ended.store(round, Ordering::Release);
                }
            });
            let mut missed = 0;
            for round in 1..=ROUNDS {
                let from = if round % 2 == 0 { s1 } else { s2 };
                from.send(0).unwrap();
                started.store(round, Ordering::Release);
                missed += usize::from(!pick(r1, r2, round));
                until(|| ended.load(Ordering::Acquire) == round);
                r1.try_iter().chain(r2.try_iter()).for_each(drop);
            }
            missed
        })
    }
    // Between the two: the longer a select looks, the more can move meanwhile.
    let (_keep, idle) = bounded::<u8>(0);
    let by_default = |a: &Receiver<u8>, b: &Receiver<u8>, _| {
        sward::select! {
            recv(a) -> _ => true,
            recv(idle) -> _ => true,
            recv(idle) -> _ => true,
            recv(idle) -> _ => true,
            recv(b) -> _ => true,
            default => false,
        }
    };
    let by_timeout = |a: &Receiver<u8>, b: &Receiver<u8>, round: usize| {
        sward::select! {
            recv(a) -> _ => true,
            recv(idle) -> _ => true,
            recv(idle) -> _ => true,
            recv(idle) -> _ => true,
            recv(b) -> _ => true,
            default(Duration::from_nanos(round as u64 % 3)) => false,
        }
    };
    let by_poll = |a: &Receiver<u8>, b: &Receiver<u8>, _| {
        let mut arms = [a, &idle, &idle, &idle, b].map(Receiver::arm);
        let mut select = Select::new();
        arms.iter_mut().for_each(|arm| _ = select.recv(arm));
        select.poll().is_some()
    };
    assert_eq!([defaults(by_default), defaults(by_timeout), defaults(by_poll)], [0; 3]);
}

/// Two arms that can always be carried out have the same share, wherever the arms stand that cannot.
#[test]
fn every_ready_arm_has_the_same_share() {
    const TURNS: usize = 20_000;
    let share = || {
        let (s1, r1) = unbounded();
        let (s2, r2) = unbounded();
        (0..TURNS).for_each(|_| s1.send(()).and(s2.send(())).unwrap());
        let off = never::<()>();
        let (_keep, idle) = unbounded::<()>();
        let mut hits = [0; 2];
        for _ in 0..TURNS {
            sward::select! {
                recv(off) -> _ => unreachable!(),
                recv(idle) -> _ => unreachable!(),
                recv(off) -> _ => unreachable!(),
                recv(r1) -> _ => hits[0] += 1,
                recv(r2) -> _ => hits[1] += 1,
            }
        }
        hits
    };
    // A fair coin shows fewer than 9,000 heads of 20,000 once in 10^45 times.
    let fair = |hits: [usize; 2]| assert!(hits.iter().all(|&n| n > TURNS * 9 / 20), "{hits:?}");
    both(|| fair(share()));
}

/// What crossbeam-channel's `select!` accepts: temporaries that live as long as the whole, commas at the end.
#[test]
fn select_accepts_what_crossbeam_accepts() {
    both(|| {
        let (s, r) = bounded::<u8>(1);
        let (none, some): (Option<&Receiver<u8>>, _) = (None, Some(&r));
        s.send(1).unwrap();
        let got = sward::select! {
            recv(none.unwrap_or(&never()),) -> _ => unreachable!(),
            recv(some.unwrap_or(&never())) -> message => message,
        };
        assert_eq!(got, Ok(1));
        let shared = std::sync::Mutex::new((s.clone(), r.clone()));
        sward::select! {
            send(shared.lock().unwrap().0, 2,) -> sent => { sent.unwrap() },
            default(MS,) => unreachable!(),
        }
        sward::select! {
            recv(shared.lock().unwrap().1) -> message => assert_eq!(message, Ok(2)),
            default() => unreachable!(),
        }
        // The receiver is free again in the body, unless a destructor holds it.
        let mut receiver = r.clone();
        sward::select! {
            recv(receiver) -> _ => unreachable!(),
            default => { receiver = never(); }
        }
        assert!(receiver.same_channel(&never()));
        let mut next = Some(3);
        sward::select! { send_from(s, next,) -> sent => sent.unwrap(), }
        assert_eq!(next, None);
        let token = sward::task::CancelToken::new();
        token.cancel();
        sward::select! { cancelled(token,) => {}, }
        let child = sward::spawn(|| 4);
        assert_eq!(sward::select! { join(child,) -> four => four.unwrap(), }, 4);
    });
}

#[test]
fn select_has_room_for_many_arms() {
    let (s, r) = unbounded();
    s.send(()).unwrap();
    let off = never::<()>();
    let chosen = sward::select! {
        recv(off) => 0, recv(off) => 1, recv(off) => 2, recv(off) => 3, recv(off) => 4, recv(off) => 5,
        recv(off) => 6, recv(off) => 7, recv(off) => 8, recv(off) => 9, recv(off) => 10, recv(off) => 11,
        recv(off) => 12, recv(off) => 13, recv(off) => 14, recv(off) => 15, recv(off) => 16, recv(off) => 17,
        recv(off) => 18, recv(off) => 19, recv(off) => 20, recv(off) => 21, recv(off) => 22, recv(off) => 23,
        recv(off) => 24, recv(off) => 25, recv(off) => 26, recv(off) => 27, recv(off) => 28, recv(off) => 29,
        recv(off) => 30, recv(r) => 31,
    };
    assert_eq!(chosen, 31);
}

#[test]
fn a_biased_select_prefers_the_first() {
    both(|| {
        let (s1, r1) = unbounded();
        let (s2, r2) = unbounded();
        for i in 0..100 {
            s1.send(i).unwrap();
            s2.send(i).unwrap();
        }
        for i in 0..200 {
            let (from, message) = sward::select_biased! {
                recv(r1) -> message => (0, message),
                recv(r2) -> message => (1, message),
                default => unreachable!(),
            };
            assert_eq!((from, message), (i / 100, Ok(i % 100)));
        }
        for _ in 0..100 {
            s1.send(0).unwrap();
            s2.send(0).unwrap();
            let (mut one, mut two) = (r1.arm(), r2.arm());
            let mut select = Select::new_biased();
            select.recv(&mut two);
            select.recv(&mut one);
            assert_eq!(select.ready(), 0);
            assert_eq!(select.wait(), 0);
            r1.recv().unwrap();
        }
    });
}

/// A message is made when it can be sent, and at most once.
#[test]
fn a_message_is_made_when_it_can_be_sent() {
    both(|| {
        for capacity in [0, 1] {
            let (s, r) = bounded(capacity);
            let (_keep, idle) = unbounded::<u8>();
            let made = AtomicUsize::new(0);
            let make = || made.fetch_add(1, Ordering::Relaxed);
            (0..capacity).for_each(|_| s.send(99).unwrap());
            sward::select! {
                send_with(s, make) -> _ => unreachable!(),
                recv(idle) -> _ => unreachable!(),
                default(MS) => {}
            }
            sward::select! {
                send_with(s, make) -> _ => unreachable!(),
                recv(idle) -> _ => unreachable!(),
                default => {}
            }
            assert_eq!(made.load(Ordering::Relaxed), 0);
            (0..capacity).for_each(|_| _ = r.recv().unwrap());
            let receiver = {
                let r = r.clone();
                sward::spawn(move || (r.recv(), r.recv()))
            };
            for _ in 0..2 {
                sward::select! {
                    send_with(s, make) -> sent => sent.unwrap(),
                    recv(idle) -> _ => unreachable!(),
                }
            }
            assert_eq!(receiver.join().unwrap(), (Ok(0), Ok(1)));
            assert_eq!(made.load(Ordering::Relaxed), 2);
            drop(r);
            sward::select! { send_with(s, make) -> sent => assert_eq!(sent, Err(SendError(2))) }
        }
    });
}

/// Senders that make their messages meet receivers of every kind: each message arrives once.
#[test]
fn messages_that_are_made_late_arrive_once() {
    const EACH: usize = 500;
    for capacity in [0, 1, 3] {
        in_coroutine(|| {
            let (s, r) = bounded::<usize>(capacity);
            let (s2, r2) = bounded::<usize>(capacity);
            let made = Arc::new(AtomicUsize::new(0));
            let senders: Vec<_> = (0..4)
                .map(|_| {
                    let (s, s2, made) = (s.clone(), s2.clone(), made.clone());
                    sward::spawn(move || {
                        let mut sent = 0;
                        while sent < EACH {
                            let make = || made.fetch_add(1, Ordering::Relaxed);
                            let (mut one, mut two) = (s.arm_with(make), s2.arm_with(make));
                            let mut select = Select::new();
                            select.send_with(&mut one);
                            select.send_with(&mut two);
                            let (chosen, other) = if select.wait() == 0 { (one, two) } else { (two, one) };
                            chosen.finish().unwrap();
                            sent += 1;
                            if let Some(kept) = other.into_message() {
                                s.send(kept).unwrap();
                                sent += 1;
                            }
                        }
                    })
                })
                .collect();
            let receivers: Vec<_> = (0..4)
                .map(|kind| {
                    let (r, r2) = (r.clone(), r2.clone());
                    sward::spawn(move || {
                        let mut seen = Vec::new();
                        let (mut open, off) = ([true; 2], never());
                        while open != [false; 2] {
                            let (a, b) = (if open[0] { &r } else { &off }, if open[1] { &r2 } else { &off });
                            let (from, message) = if kind < 2 {
                                sward::select! {
                                    recv(a) -> message => (0, message),
                                    recv(b) -> message => (1, message),
                                }
                            } else {
                                let mut arms = [a.arm(), b.arm()];
                                let mut select = Select::new();
                                arms.iter_mut().for_each(|arm| _ = select.recv(arm));
                                let from = select.ready();
                                match [a, b][from].try_recv() {
                                    Err(TryRecvError::Empty) if kind == 2 => continue,
                                    // Two selects that only wait for readiness do not meet.
                                    Err(TryRecvError::Empty) => match [a, b][from].recv_timeout(MS) {
                                        Err(RecvTimeoutError::Timeout) => continue,
                                        other => (from, other.map_err(|_| RecvError)),
                                    },
                                    other => (from, other.map_err(|_| RecvError)),
                                }
                            };
                            match message {
                                Ok(message) => seen.push(message),
                                Err(RecvError) => open[from] = false,
                            }
                        }
                        seen
                    })
                })
                .collect();
            drop((s, s2));
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            let mut seen: Vec<_> = receivers.into_iter().flat_map(|r| r.join().unwrap()).collect();
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..made.load(Ordering::Relaxed)), "{seen:?}");
        });
    }
}

#[test]
fn readiness_is_waited_for_without_taking_anything() {
    both(|| {
        let (s, r) = bounded::<u8>(1);
        let (idle, _keep) = bounded::<u8>(0);
        let (mut a, mut b, mut c) = (r.arm(), s.arm(7), idle.arm(8));
        let mut select = Select::new();
        let (recv, send) = (select.recv(&mut a), select.send(&mut b));
        let never = select.send(&mut c);
        assert_eq!((recv, send, never), (0, 1, 2));
        assert_eq!(select.ready(), send);
        assert!(s.is_empty());
        s.send(1).unwrap();
        assert_eq!(select.try_ready(), Ok(recv));
        assert_eq!(r.try_recv(), Ok(1));
        select.remove(send);
        assert_eq!(select.try_ready().unwrap_err().to_string(), "all operations in select would block");
        assert_eq!(select.ready_timeout(MS).unwrap_err().to_string(), "timed out waiting on select");
        assert!(select.ready_deadline(Instant::now() + MS).is_err());
        // A message, then the end, wake a coroutine that waits for readiness.
        let later = {
            let s = s.clone();
            sward::spawn(move || {
                sward::sleep(2 * MS);
                s.send(2).unwrap();
            })
        };
        assert_eq!(select.ready(), recv);
        assert_eq!(r.try_recv(), Ok(2));
        later.join().unwrap();
        let after = after(MS);
        let mut arm = after.arm();
        let number = select.recv(&mut arm);
        assert_eq!((number, select.ready(), select.ready_timeout(LONG)), (3, 3, Ok(3)));
        after.recv().unwrap();
    });
}

/// Two that only wait for readiness do not meet, and do not take each other for a partner.
#[test]
fn two_who_look_are_not_ready_for_each_other() {
    in_coroutine(|| {
        let (s, r) = bounded::<u8>(0);
        let looks = {
            let s = s.clone();
            sward::spawn(move || {
                let mut arm = s.arm(1);
                let mut select = Select::new();
                select.send(&mut arm);
                select.ready()
            })
        };
        while !looks.is_finished() {
            let mut arm = r.arm();
            let mut select = Select::new();
            select.recv(&mut arm);
            assert!(select.ready_timeout(MS).is_err());
            let mut other = r.arm();
            let mut select = Select::new();
            select.recv(&mut other);
            // This receiver waits, which makes the send of `looks` ready.
            assert_eq!(select.wait_timeout(5 * MS), None);
        }
        assert_eq!(looks.join().unwrap(), 0);
    });
}

#[test]
#[should_panic(expected = "no arm of the number 1")]
fn an_arm_is_removed_once() {
    let (_s, r) = unbounded::<u8>();
    let (mut one, mut two) = (r.arm(), r.arm());
    let mut select = Select::new();
    select.recv(&mut one);
    select.recv(&mut two);
    select.remove(1);
    select.remove(1);
}

#[test]
fn one_channel_may_be_in_several_arms() {
    both(|| {
        let (s, r) = bounded(0);
        // A select does not meet itself.
        sward::select! {
            recv(r) -> _ => unreachable!(),
            send(s, 1) -> _ => unreachable!(),
            default(2 * MS) => {}
        }
        let sender = {
            let s = s.clone();
            sward::spawn(move || s.send(1).unwrap())
        };
        let got = sward::select! {
            recv(r) -> message => message,
            recv(r) -> message => message,
        };
        assert_eq!(got, Ok(1));
        sender.join().unwrap();
    });
}

#[test]
fn a_select_of_many_is_made_at_run_time() {
    both(|| {
        for count in [1, 8, 9, 40] {
            let channels: Vec<_> = (0..count).map(|_| bounded(1)).collect();
            let mut arms: Vec<_> = channels.iter().map(|(_, r)| r.arm()).collect();
            let mut select = Select::new();
            for (number, arm) in arms.iter_mut().enumerate() {
                assert_eq!(select.recv(arm), number);
            }
            assert_eq!(select.poll(), None);
            channels[count / 2].0.send(count).unwrap();
            let mut select = Select::new();
            for arm in &mut arms {
                select.recv(arm);
            }
            let chosen = select.wait();
            assert_eq!(chosen, count / 2);
            assert_eq!(arms.swap_remove(chosen).finish(), Ok(count));
        }
        let mut select = Select::new();
        let (s, _r) = bounded(0);
        let mut arm = s.arm("kept");
        select.send(&mut arm);
        assert_eq!(select.wait_timeout(MS), None);
        assert_eq!(arm.into_message(), Some("kept"));
        assert_eq!(Select::new().wait_timeout(MS), None);
    });
}

#[test]
fn a_cancelled_select_carries_nothing_out() {
    in_coroutine(|| {
        let (s1, r1) = bounded::<u8>(0);
        let (s2, r2) = bounded::<u8>(0);
        let select = {
            let (r1, s2) = (r1.clone(), s2.clone());
            sward::spawn(move || {
                sward::select! {
                    recv(r1) -> _ => {}
                    send(s2, 1) -> _ => {}
                }
            })
        };
        sward::sleep(MS);
        select.cancel();
        assert!(matches!(select.join(), Err(JoinError::Cancelled)));
        assert_eq!(s1.try_send(1), Err(TrySendError::Full(1)));
        assert_eq!(r2.try_recv(), Err(TryRecvError::Empty));
    });
}

/// Selects on both sides of the same channels, in opposite order, with sends and receives mixed: each
/// message arrives once.
#[test]
fn selects_meet_selects() {
    const EACH: usize = 2_000;
    for workers in [1, 2, 4] {
        for capacity in [0, 1] {
            runtime(workers).run(|| {
                let (s1, r1) = bounded::<usize>(capacity);
                let (s2, r2) = bounded::<usize>(capacity);
                let senders: Vec<_> = (0..4)
                    .map(|number| {
                        let (s1, s2) = (s1.clone(), s2.clone());
                        sward::spawn(move || {
                            for i in 0..EACH {
                                let mut next = Some(number * EACH + i);
                                if i % 2 == 0 {
                                    sward::select! {
                                        send_from(s1, next) -> sent => sent.unwrap(),
                                        send(s2, number * EACH + i) -> sent => sent.unwrap(),
                                    }
                                } else {
                                    sward::select! {
                                        send_from(s2, next) -> sent => sent.unwrap(),
                                        send(s1, number * EACH + i) -> sent => sent.unwrap(),
                                    }
                                }
                            }
                        })
                    })
                    .collect();
                let receivers: Vec<_> = (0..4)
                    .map(|number| {
                        let (r1, r2) = (r1.clone(), r2.clone());
                        sward::spawn(move || {
                            let mut seen = Vec::new();
                            let (mut open1, mut open2) = (true, true);
                            while open1 || open2 {
                                let off = never();
                                let (a, b) = if number % 2 == 0 { (&r1, &r2) } else { (&r2, &r1) };
                                let (open_a, open_b) = if number % 2 == 0 {
                                    (&mut open1, &mut open2)
                                } else {
                                    (&mut open2, &mut open1)
                                };
                                sward::select! {
                                    recv(if *open_a { a } else { &off }) -> message => match message {
                                        Ok(i) => seen.push(i),
                                        Err(RecvError) => *open_a = false,
                                    },
                                    recv(if *open_b { b } else { &off }) -> message => match message {
                                        Ok(i) => seen.push(i),
                                        Err(RecvError) => *open_b = false,
                                    },
                                }
                            }
                            seen
                        })
                    })
                    .collect();
                drop((s1, s2));
                senders.into_iter().for_each(|s| s.join().unwrap());
                let seen: Vec<_> = receivers.into_iter().flat_map(|r| r.join().unwrap()).collect();
                assert_eq!(seen.len(), 4 * EACH);
                assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), 4 * EACH);
            });
        }
    }
}

/// Go's `TestSelectStress` in spirit: four channels of different room, senders and receivers that select
/// until each has had its share.
#[test]
fn select_stress() {
    const SHARE: usize = 1_000;
    in_coroutine(|| {
        let channels: Vec<_> = [0, 0, 2, 3].into_iter().map(bounded::<usize>).collect();
        let single = |c: usize| {
            let (s, r) = channels[c].clone();
            [
                sward::spawn(move || (0..SHARE).for_each(|i| s.send(i).unwrap())),
                sward::spawn(move || (0..SHARE).for_each(|_| _ = r.recv().unwrap())),
            ]
        };
        let mut all: Vec<_> = (0..4).flat_map(single).collect();
        let ends = channels.clone();
        all.push(sward::spawn(move || {
            let mut left = [SHARE; 4];
            while left.iter().any(|&n| n > 0) {
                let next: [Option<usize>; 4] = std::array::from_fn(|c| (left[c] > 0).then_some(left[c]));
                let mut arms: Vec<_> = (0..4).map(|c| ends[c].0.arm_of(next[c])).collect();
                let mut select = Select::new();
                arms.iter_mut().for_each(|arm| _ = select.send(arm));
                let chosen = select.wait();
                arms.swap_remove(chosen).finish().unwrap();
                left[chosen] -= 1;
            }
        }));
        let ends = channels.clone();
        all.push(sward::spawn(move || {
            let mut left = [SHARE; 4];
            let off = never();
            while left.iter().any(|&n| n > 0) {
                let of = |c: usize| if left[c] > 0 { &ends[c].1 } else { &off };
                let chosen = sward::select! {
                    recv(of(0)) -> m => { m.unwrap(); 0 }
                    recv(of(1)) -> m => { m.unwrap(); 1 }
                    recv(of(2)) -> m => { m.unwrap(); 2 }
                    recv(of(3)) -> m => { m.unwrap(); 3 }
                };
                left[chosen] -= 1;
            }
        }));
        all.into_iter().for_each(|c| c.join().unwrap());
        assert!(channels.iter().all(|(s, _)| s.is_empty()));
    });
}

/// The prime sieve of Go's tour: a chain of coroutines.
#[test]
fn sieve() {
    in_coroutine(|| {
        let (s, mut from) = bounded(0);
        sward::spawn(move || {
            for i in 2.. {
                if s.send(i).is_err() {
                    break;
                }
            }
        });
        let mut primes = Vec::new();
        for _ in 0..50 {
            let prime: u32 = from.recv().unwrap();
            primes.push(prime);
            let (s, next) = bounded(0);
            let before = std::mem::replace(&mut from, next);
            sward::spawn(move || {
                for i in before.iter().filter(|i| i % prime != 0) {
                    if s.send(i).is_err() {
                        break;
                    }
                }
            });
        }
        assert_eq!(primes.last(), Some(&229));
    });
}

#[test]
fn oneshot_has_one_message() {
    use channel::oneshot;
    both(|| {
        let (s, r) = oneshot::channel();
        assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
        assert!(!s.is_closed());
        let sender = sward::spawn(move || s.send(1));
        assert_eq!(r.recv(), Ok(1));
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(r.recv(), Err(RecvError));
        let (s, r) = oneshot::channel::<u8>();
        drop(s);
        assert_eq!(r.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        let (s, r) = oneshot::channel();
        drop(r);
        assert!(s.is_closed());
        assert_eq!(s.send(2), Err(2));
        let (s, r) = oneshot::channel();
        s.send(3).unwrap();
        sward::select! {
            recv(r) -> message => assert_eq!(message, Ok(3)),
        }
    });
}

#[test]
fn watch_shows_the_latest() {
    use channel::watch;
    both(|| {
        let (s, mut r) = watch::channel(0);
        assert!(!r.has_changed());
        assert_eq!(r.changed_timeout(MS), Err(RecvTimeoutError::Timeout));
        assert_eq!(*s.send(1), 0);
        s.send_modify(|n| n + 1);
        assert!(r.has_changed());
        assert_eq!(*r.get(), 2);
        r.changed().unwrap();
        assert!(!r.has_changed());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let mut r = r.clone();
                sward::spawn(move || {
                    r.changed().unwrap();
                    *r.get()
                })
            })
            .collect();
        sward::sleep(MS);
        s.send(7);
        waiting.into_iter().for_each(|w| assert_eq!(w.join().unwrap(), 7));
        assert_eq!(*r.get_and_update(), 7);
        let waiting = sward::spawn(move || r.changed());
        sward::sleep(MS);
        assert_eq!(s.receiver_count(), 1);
        drop(s);
        assert_eq!(waiting.join().unwrap(), Err(RecvError));
    });
}

#[test]
fn modifications_of_a_watched_value_are_not_lost() {
    use channel::watch;
    in_coroutine(|| {
        let (s, r) = watch::channel(0);
        let adders: Vec<_> = (0..4)
            .map(|_| {
                let s = s.clone();
                sward::spawn(move || (0..500).for_each(|_| s.send_modify(|n| n + 1)))
            })
            .collect();
        adders.into_iter().for_each(|a| a.join().unwrap());
        assert_eq!(*r.get(), 2_000);
    });
}

#[test]
fn broadcast_reaches_everyone() {
    use channel::broadcast::{self, RecvError};
    both(|| {
        let (s, mut r1) = broadcast::channel(2);
        let mut r2 = s.subscribe();
        assert_eq!(s.receiver_count(), 2);
        assert_eq!(r1.try_recv(), Err(RecvError::Empty));
        assert_eq!(r1.recv_timeout(MS), Err(RecvError::Empty));
        for i in 0..5 {
            assert_eq!(s.send(i).unwrap(), 2);
            assert_eq!(r1.recv(), Ok(i));
        }
        assert_eq!(r2.len(), 5);
        assert_eq!(r2.recv(), Err(RecvError::Lagged(3)));
        assert_eq!((r2.recv(), r2.recv()), (Ok(3), Ok(4)));
        let mut r3 = r2.clone();
        let waiting = sward::spawn(move || (r3.recv(), r3.recv()));
        sward::sleep(MS);
        s.send(9).unwrap();
        drop(s);
        assert_eq!(waiting.join().unwrap(), (Ok(9), Err(RecvError::Closed)));
        assert_eq!((r2.recv(), r2.recv()), (Ok(9), Err(RecvError::Closed)));
        let (s, r) = broadcast::channel(1);
        drop(r);
        assert_eq!(s.send(1), Err(SendError(1)));
    });
}

/// What `send_modify` has made in vain is dropped where its destructor may use the channel, or wait.
#[test]
fn a_value_of_a_watch_may_use_it_in_its_destructor() {
    use channel::watch;
    struct Looks(Option<Arc<watch::Sender<Looks>>>);
    impl Drop for Looks {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                sward::sleep(MS);
                let _ = sender.get();
            }
        }
    }
    let modify = || {
        let (sender, _receiver) = watch::channel(Looks(None));
        let sender = Arc::new(sender);
        let mut first = true;
        sender.send_modify(|_| {
            let overtaken = std::mem::take(&mut first);
            if overtaken {
                sender.send(Looks(None));
            }
            Looks(overtaken.then(|| Arc::clone(&sender)))
        });
        assert!(!first);
    };
    soon(move || both(modify));
}

/// Two selects that would each send or receive on one rendezvous channel: one receives what the other sends.
#[test]
fn selects_on_both_sides_of_a_channel_meet() {
    let meet = |workers| {
        runtime(workers).run(|| {
            for _ in 0..100 {
                let (tx, rx) = bounded(0);
                let both_sides = |i: u32| {
                    let (tx, rx) = (tx.clone(), rx.clone());
                    sward::spawn(move || {
                        sward::select! {
                            recv(rx) -> message => Some(message.unwrap()),
                            send(tx, i) -> sent => { sent.unwrap(); None }
                        }
                    })
                };
                let selects = [both_sides(0), both_sides(1)];
                let [first, second] = selects.map(|select| select.join().unwrap());
                assert!(matches!((first, second), (Some(1), None) | (None, Some(0))), "{first:?} {second:?}");
            }
        });
    };
    soon(move || meet(1));
    soon(move || meet(2));
}

/// A select whose own arms are the two sides of a channel does not meet itself: it waits, and what ends waits
/// ends it.
#[test]
fn a_select_does_not_meet_itself() {
    fn both_sides() {
        let (tx, rx) = bounded(0);
        sward::select! {
            recv(rx) -> _ => {},
            send(tx, 1) -> _ => {},
        }
    }
    soon(|| both(|| assert!(sward::time::timeout(5 * MS, both_sides).is_err())));
    soon(|| {
        in_coroutine(|| {
            let select = sward::spawn(both_sides);
            sward::sleep(5 * MS);
            select.cancel();
            assert!(matches!(select.join(), Err(JoinError::Cancelled)));
        });
    });
}

/// A time limit or a cancellation that unwinds out of a select leaves what was not sent where it was.
#[test]
fn a_select_that_unwinds_puts_the_message_back() {
    both(|| {
        let (tx, _rx) = bounded::<String>(0);
        let mut slot = Some(String::from("kept"));
        let ended = sward::time::timeout(2 * MS, || {
            sward::select! {
                send_from(tx, slot) -> _ => {}
                recv(if slot.is_some() { never::<u8>() } else { after_now() }) -> _ => {}
            }
        });
        assert!(ended.is_err());
        assert_eq!(slot.as_deref(), Some("kept"));
    });
    fn after_now() -> Receiver<u8> {
        unbounded().1
    }
}

/// What a handle comes from is evaluated once, and that handle is the one that is joined.
#[test]
fn a_handle_to_join_may_be_any_expression() {
    both(|| {
        let mut handles = vec![sward::spawn(|| "first"), sward::spawn(|| "second")];
        let joined = sward::select! { join(handles.pop().unwrap()) -> result => result.unwrap() };
        assert_eq!((joined, handles.len()), ("second", 1));
        let variable = handles.pop().unwrap();
        sward::select! {
            join(sward::spawn(sward::task::park)) -> _ => unreachable!(),
            join(variable) -> result => assert_eq!(result.unwrap(), "first"),
        }
        // One in a variable is there still if another arm was chosen.
        let (tx, rx) = bounded(1);
        tx.send(()).unwrap();
        let waits = sward::spawn(sward::task::park);
        sward::select! {
            join(waits) => unreachable!(),
            recv(rx) => assert!(waits.cancel()),
        }
    });
}

/// What `select!` expands to means the same whatever the caller calls by the names that it uses.
#[test]
fn select_may_be_used_among_other_names() {
    #[derive(Debug, PartialEq)]
    enum Mine<T> {
        Some(T),
        None,
    }
    use Mine::{None, Some};
    #[allow(unused_macros)]
    macro_rules! unreachable {
        ($($tokens:tt)*) => {
            compile_error!("the caller's own")
        };
    }
    macro_rules! concat {
        () => {};
    }
    #[allow(non_camel_case_types, dead_code)]
    struct Option;
    concat!();
    both(|| {
        let (tx, rx) = bounded(1);
        let mut next = std::option::Option::Some(1);
        let child = sward::spawn(|| Some(2));
        let joined = sward::select! { join(child) -> result => result.unwrap() };
        assert_eq!(joined, Some(2));
        sward::select! { send_from(tx, next) -> sent => sent.unwrap() }
        assert!(next.is_none());
        sward::select! { send(tx, 3) => panic!("there is no room"), default => {} }
        let received = sward::select! { recv(rx) -> message => Some(message.unwrap()), default(MS) => None };
        assert_eq!(received, Some(1));
    });
}

/// A receive that was carried out keeps its message; a send that was is not carried out again.
#[test]
fn an_arm_is_used_once() {
    struct Looks(Option<Sender<Looks>>);
    impl Drop for Looks {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                let _ = sender.len();
            }
        }
    }
    fn wait<T>(arm: &mut channel::RecvArm<'_, T>) {
        let mut select = Select::new();
        select.recv(arm);
        select.wait();
    }
    let receive = || {
        let (tx, rx) = unbounded();
        tx.send(Looks(Some(tx.clone()))).unwrap();
        let mut arm = rx.arm();
        wait(&mut arm);
        let later = sward::spawn(move || {
            sward::sleep(MS);
            tx.send(Looks(None)).unwrap();
        });
        wait(&mut arm);
        assert!(arm.finish().unwrap().0.is_some());
        later.join().unwrap();
        assert!(rx.recv().unwrap().0.is_none());
    };
    soon(move || both(receive));
    let send = || {
        let (tx, rx) = bounded(2);
        let mut arm = tx.arm(1);
        for again in [false, true] {
            let mut select = Select::new();
            select.send(&mut arm);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| select.wait()));
            assert_eq!(outcome.is_err(), again);
        }
        assert_eq!((rx.recv(), rx.len()), (Ok(1), 0));
    };
    soon(move || both(send));
}
