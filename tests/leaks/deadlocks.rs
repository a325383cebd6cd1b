//! Planted deadlocks, each of which the wait graph must show with its members, and waits that are none.

use crate::common::{child_command, eventually};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use sward::observe::{self, Deadlock};
use sward::runtime::{Builder, Runtime};
use sward::sync::{Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};
use sward::task::{self, JoinHandle};

/// A number in each name, since all tests share the process, whose deadlocks are found together.
fn unique() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Coroutines whose names have a common beginning, and a gate that they pass once all of them hold what they
/// are to hold.
#[derive(Clone)]
struct Group {
    prefix: String,
    inside: Arc<AtomicUsize>,
}

impl Group {
    fn new() -> Group {
        Group { prefix: format!("deadlock-{}-", unique()), inside: Arc::default() }
    }

    fn name(&self, number: usize) -> String {
        format!("{}{number}", self.prefix)
    }

    fn spawn<T: Send + 'static>(
        &self,
        number: usize,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        task::Builder::new().name(self.name(number)).spawn(f).expect("spawned")
    }

    /// Waits until that many have come here.
    fn gate(&self, members: usize) {
        self.inside.fetch_add(1, Ordering::Relaxed);
        while self.inside.load(Ordering::Relaxed) < members {
            sward::time::sleep(Duration::from_millis(1));
        }
    }

    /// What a member of a ring does: it locks the mutex with its number, and then the next one.
    fn member(&self, number: usize, mutexes: &Arc<Vec<Mutex<()>>>) -> impl FnOnce() + Send + 'static {
        let (group, mutexes) = (self.clone(), mutexes.clone());
        move || {
            let _own = mutexes[number].lock();
            group.gate(mutexes.len());
            let _next = mutexes[(number + 1) % mutexes.len()].lock();
        }
    }

    /// Spawns a ring of so many, and returns its mutexes.
    fn spawn_ring(&self, members: usize) -> Arc<Vec<Mutex<()>>> {
        let mutexes = mutexes(members);
        for number in 0..members {
            drop(self.spawn(number, self.member(number, &mutexes)));
        }
        mutexes
    }

    /// The deadlocks with members of this group.
    fn found(&self) -> Vec<Deadlock> {
        let mine = |deadlock: &Deadlock| {
            deadlock
                .members
                .iter()
                .any(|member| member.name.as_ref().is_some_and(|name| name.starts_with(&self.prefix)))
        };
        observe::deadlocks().into_iter().filter(mine).collect()
    }

    /// Checks that there comes to be one deadlock, of the members with these numbers.
    #[track_caller]
    fn expect(&self, numbers: impl IntoIterator<Item = usize>) -> Deadlock {
        let expected: BTreeSet<String> = numbers.into_iter().map(|number| self.name(number)).collect();
        eventually("a deadlock is found", || !self.found().is_empty());
        let mut found = self.found();
        assert_eq!(found.len(), 1, "{found:?}");
        let deadlock = found.pop().expect("one");
        let names: BTreeSet<String> =
            deadlock.members.iter().filter_map(|member| member.name.as_deref().map(str::to_owned)).collect();
        assert_eq!(names, expected, "{deadlock}");
        assert_eq!(deadlock.members.len(), expected.len(), "{deadlock}");
        for member in deadlock.members.iter().filter(|member| member.spawned_at.is_some()) {
            let text = deadlock.to_string();
            assert!(text.contains("deadlocks.rs:"), "{text}");
            assert!(text.contains(member.name.as_deref().unwrap_or_default()), "{text}");
        }
        deadlock
    }
}

fn mutexes(count: usize) -> Arc<Vec<Mutex<()>>> {
    Arc::new((0..count).map(|_| Mutex::new(())).collect())
}

fn runtime() -> Runtime {
    // The tests look for themselves. A report would fail them where reports abort.
    Builder::new().worker_threads(2).watch_deadlocks(false).build().expect("a runtime")
}

/// Two coroutines that wait for each other's mutex.
fn deadlock_of_two() {
    Group { prefix: "partner-".to_owned(), inside: Arc::default() }.spawn_ring(2);
}

/// The program reports a deadlock by itself, once, and goes on.
#[test]
fn a_deadlock_is_reported_once() {
    let Some(mut child) = child_command(|| {
        let runtime = Builder::new().worker_threads(2).watch_deadlocks(true).build().expect("a runtime");
        runtime.run(|| {
            deadlock_of_two();
            eventually("it is reported", || sward::runtime::metrics().expect("inside").deadlocks == 1);
            // Other waits begin, so the watch looks again, and finds it again.
            for _ in 0..100 {
                sward::spawn(|| sward::time::sleep(Duration::from_millis(10))).join().expect("no panic");
            }
        });
        assert_eq!(runtime.metrics().deadlocks, 1);
    }) else {
        return;
    };
    let output = child.env("SWARD_DEADLOCKS", "1").output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("sward: deadlock: 2 wait, each for the next one").count(), 1, "{said}");
    for member in ["\"partner-0\" (spawned at tests/leaks/deadlocks.rs:", "\"partner-1\" (spawned at"] {
        assert!(said.contains(member), "{said}");
    }
    assert!(said.contains("waits in Mutex::lock for lock 0x"), "{said}");
}

#[test]
fn a_program_that_wants_no_watch_has_none() {
    let Some(mut child) = child_command(|| {
        let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
        runtime.run(|| {
            deadlock_of_two();
            eventually("there is a deadlock", || observe::deadlocks().len() == 1);
            sward::time::sleep(Duration::from_millis(700));
        });
        assert_eq!(runtime.metrics().deadlocks, 0);
    }) else {
        return;
    };
    let output = child.env("SWARD_DEADLOCKS", "0").output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("deadlock:"), "{said}");
}

fn ring_of_mutexes(members: usize) {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| _ = group.spawn_ring(members));
    group.expect(0..members);
}

#[test]
fn two_mutexes() {
    ring_of_mutexes(2);
}

#[test]
fn three_mutexes() {
    ring_of_mutexes(3);
}

#[test]
fn fifty_mutexes() {
    ring_of_mutexes(50);
}

#[test]
fn a_mutex_that_is_locked_twice() {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        drop(group.spawn(0, || {
            let mutex = Mutex::new(());
            let _first = mutex.lock();
            let _second = mutex.lock();
        }));
    });
    group.expect([0]);
}

#[test]
fn a_member_that_joins_one_which_wants_its_lock() {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        let mutex = Arc::new(Mutex::new(()));
        let inner = group.clone();
        drop(group.spawn(0, move || {
            let _guard = mutex.lock();
            let wanted = mutex.clone();
            let _ = inner.spawn(1, move || drop(wanted.lock())).join();
        }));
    });
    group.expect([0, 1]);
}

#[test]
fn two_that_join_each_other() {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        let pass = || sward::channel::bounded::<JoinHandle<()>>(1);
        let ((to_first, first), (to_second, second)) = (pass(), pass());
        let one = group.spawn(0, move || drop(first.recv().expect("sent").join()));
        let other = group.spawn(1, move || drop(second.recv().expect("sent").join()));
        to_first.send(other).expect("taken");
        to_second.send(one).expect("taken");
    });
    group.expect([0, 1]);
}

#[test]
fn one_that_joins_itself() {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        let (sender, receiver) = sward::channel::bounded::<JoinHandle<()>>(1);
        let own = group.spawn(0, move || drop(receiver.recv().expect("sent").join()));
        sender.send(own).expect("taken");
    });
    group.expect([0]);
}

#[test]
fn a_scope_whose_coroutine_wants_the_lock_around_it() {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        let inner = group.clone();
        drop(group.spawn(0, move || {
            let mutex = Mutex::new(());
            let _guard = mutex.lock();
            sward::scope(|scope| {
                let wants = || drop(mutex.lock());
                task::Builder::new().name(inner.name(1)).spawn_scoped(scope, wants).expect("spawned");
            });
        }));
    });
    group.expect([0, 1]);
}

#[test]
fn two_writers() {
    let (runtime, group) = (runtime(), Group::new());
    let locks = Arc::new([RwLock::new(()), RwLock::new(())]);
    runtime.run(|| {
        for number in 0..2 {
            let (inner, locks) = (group.clone(), locks.clone());
            drop(group.spawn(number, move || {
                let _own = locks[number].write();
                inner.gate(2);
                let _other = locks[1 - number].write();
            }));
        }
    });
    group.expect(0..2);
}

#[test]
fn two_writers_that_want_to_read() {
    let (runtime, group) = (runtime(), Group::new());
    let locks = Arc::new([RwLock::new(()), RwLock::new(())]);
    runtime.run(|| {
        for number in 0..2 {
            let (inner, locks) = (group.clone(), locks.clone());
            drop(group.spawn(number, move || {
                let _own = locks[number].write();
                inner.gate(2);
                let _other = locks[1 - number].read();
            }));
        }
    });
    group.expect(0..2);
}

#[test]
fn a_writer_that_reads() {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        drop(group.spawn(0, || {
            let lock = RwLock::new(());
            let _write = lock.write();
            let _read = lock.read();
        }));
    });
    group.expect([0]);
}

#[test]
fn a_mutex_and_a_writer() {
    let (runtime, group) = (runtime(), Group::new());
    let locks = Arc::new((Mutex::new(()), RwLock::new(())));
    runtime.run(|| {
        let (inner, both) = (group.clone(), locks.clone());
        drop(group.spawn(0, move || {
            let _own = both.0.lock();
            inner.gate(2);
            let _other = both.1.write();
        }));
        let (inner, both) = (group.clone(), locks.clone());
        drop(group.spawn(1, move || {
            let _own = both.1.write();
            inner.gate(2);
            let _other = both.0.lock();
        }));
    });
    group.expect(0..2);
}

#[test]
fn a_once_whose_closure_waits_for_one_that_waits_for_the_once() {
    static ONCE: Once = Once::new();
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        let mutex = Arc::new(Mutex::new(()));
        let (inner, wanted) = (group.clone(), mutex.clone());
        drop(group.spawn(0, move || {
            ONCE.call_once(|| {
                inner.gate(2);
                drop(wanted.lock());
            });
        }));
        let inner = group.clone();
        drop(group.spawn(1, move || {
            let _guard = mutex.lock();
            inner.gate(2);
            ONCE.call_once(|| unreachable!("the other one runs it"));
        }));
    });
    group.expect(0..2);
}

#[test]
fn a_once_lock_likewise() {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        let both = Arc::new((OnceLock::<()>::new(), Mutex::new(())));
        let (inner, first) = (group.clone(), both.clone());
        drop(group.spawn(0, move || {
            first.0.get_or_init(|| {
                inner.gate(2);
                drop(first.1.lock());
            });
        }));
        let inner = group.clone();
        drop(group.spawn(1, move || {
            let _guard = both.1.lock();
            inner.gate(2);
            both.0.get_or_init(|| unreachable!("the other one runs it"));
        }));
    });
    group.expect(0..2);
}

#[test]
fn a_lazy_value_that_joins_one_which_uses_it() {
    static GROUP: std::sync::OnceLock<Group> = std::sync::OnceLock::new();
    static LAZY: LazyLock<()> = LazyLock::new(|| {
        let group = GROUP.get().expect("set below");
        let uses = group.spawn(1, || *LAZY);
        let _ = uses.join();
    });
    let runtime = runtime();
    let group = GROUP.get_or_init(Group::new);
    runtime.run(|| drop(group.spawn(0, || *LAZY)));
    group.expect(0..2);
}

#[test]
fn a_condition_variable_whose_mutex_is_held_by_one_that_joins() {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        let both = Arc::new((Mutex::new(false), Condvar::new()));
        let waiter = {
            let both = both.clone();
            group.spawn(0, move || {
                let guard = both.0.lock().expect("no panic");
                drop(both.1.wait_while(guard, |done| !*done));
            })
        };
        drop(group.spawn(1, move || {
            // The waiter waits by then, or finds the value.
            sward::time::sleep(Duration::from_millis(20));
            let mut done = both.0.lock().expect("no panic");
            *done = true;
            both.1.notify_all();
            let _ = waiter.join();
        }));
    });
    group.expect(0..2);
}

#[test]
fn a_plain_thread_and_a_coroutine() {
    let (runtime, group) = (runtime(), Group::new());
    let mutexes = mutexes(2);
    runtime.run(|| drop(group.spawn(0, group.member(0, &mutexes))));
    let thread = thread::Builder::new().name(group.name(1)).spawn(group.member(1, &mutexes));
    group.expect(0..2);
    // The end of the runtime cancels the coroutine, which unlocks its mutex.
    drop(runtime);
    thread.expect("a thread").join().expect("no panic");
}

#[test]
fn a_thread_that_joins_a_coroutine_which_wants_its_lock() {
    let (runtime, group) = (runtime(), Group::new());
    let mutex = Arc::new(Mutex::new(()));
    let (wanted, spawned) = (mutex.clone(), std::sync::mpsc::channel());
    let inner = group.clone();
    let thread = thread::Builder::new().name(group.name(1)).spawn(move || {
        let _guard = mutex.lock();
        let handle: JoinHandle<()> = spawned.1.recv().expect("sent");
        inner.gate(1);
        assert!(handle.join().is_err(), "the end of the runtime cancels it");
    });
    // The thread has the lock by then, or comes to wait for it, and there is no deadlock.
    thread::sleep(Duration::from_millis(20));
    spawned.0.send(runtime.run(|| group.spawn(0, move || drop(wanted.lock())))).expect("received");
    group.expect(0..2);
    drop(runtime);
    thread.expect("a thread").join().expect("no panic");
}

#[test]
fn coroutines_of_two_runtimes() {
    let (runtimes, group, mutexes) = ([runtime(), runtime()], Group::new(), mutexes(2));
    for (number, runtime) in runtimes.iter().enumerate() {
        runtime.run(|| drop(group.spawn(number, group.member(number, &mutexes))));
    }
    group.expect(0..2);
}

#[test]
fn waiters_behind_a_deadlock_are_counted() {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        let mutexes = group.spawn_ring(2);
        eventually("the deadlock is found", || group.found().len() == 1);
        for number in 2..7 {
            let mutexes = mutexes.clone();
            drop(group.spawn(number, move || drop(mutexes[0].lock())));
        }
    });
    eventually("five wait behind it", || {
        group.found().first().is_some_and(|found| found.waiting_behind == 5)
    });
    group.expect(0..2);
}

#[test]
fn isolated_coroutines() {
    let (runtime, group, mutexes) = (runtime(), Group::new(), mutexes(2));
    runtime.run(|| {
        for number in 0..2 {
            let builder = task::Builder::new().name(group.name(number)).isolated(true);
            drop(builder.spawn(group.member(number, &mutexes)).expect("spawned"));
        }
    });
    group.expect(0..2);
}

/// Two that wait for each other are no deadlock while one of the waits has a time limit.
#[test]
fn waits_that_end_are_no_deadlock() {
    let (runtime, group) = (runtime(), Group::new());
    runtime.run(|| {
        let mutexes = Arc::new([Mutex::new(()), Mutex::new(())]);
        let members: Vec<_> = (0..2)
            .map(|number| {
                let (inner, mutexes) = (group.clone(), mutexes.clone());
                group.spawn(number, move || {
                    let own = mutexes[number].lock();
                    inner.gate(2);
                    let limited = || drop(mutexes[1 - number].lock());
                    let limit = Duration::from_millis(if number == 0 { 300 } else { 10_000 });
                    assert_eq!(sward::time::timeout(limit, limited).is_err(), number == 0);
                    drop(own);
                })
            })
            .collect();
        while !members.iter().all(JoinHandle::is_finished) {
            assert!(group.found().is_empty());
            sward::time::sleep(Duration::from_millis(20));
        }
        members.into_iter().for_each(|member| member.join().expect("no panic"));
    });
}
