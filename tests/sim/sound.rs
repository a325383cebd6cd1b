//! Programs without a bug: no schedule fails, and both runs of a seed have the same events. Each uses another
//! part of the public API.

use std::sync::Arc;
use std::time::Duration;
use sward::sim::{Check, Sim, Strategy};
use sward::sync::{Barrier, Condvar, LazyLock, Mutex, Notify, Once, OnceLock, RwLock, Semaphore, WaitGroup};
use sward::task::{CancelToken, JoinSet};
use sward::{channel, select, sleep, spawn, task, time};

/// Runs the program with each strategy.
fn sound(program: impl Fn(&Sim) + Sync) {
    for strategy in [Strategy::RandomWalk, Strategy::Pct { depth: 3 }] {
        let passed = Check::new().runs(60).strategy(strategy).run(&program);
        assert!(passed.schedules > 0);
    }
    let search = Check::new().runs(60).strategy(Strategy::Exhaustive { preemptions: 2 });
    assert!(search.run(&program).schedules > 0);
}

#[test]
fn locks() {
    sound(|_| {
        let (count, words) = (Arc::new(Mutex::new(0)), Arc::new(RwLock::new(Vec::new())));
        let adders: Vec<_> = (0..4)
            .map(|i| {
                let (count, words) = (Arc::clone(&count), Arc::clone(&words));
                spawn(move || {
                    *count.lock().unwrap() += 1;
                    if i % 2 == 0 {
                        words.write().unwrap().push(i);
                    } else {
                        assert!(words.read().unwrap().len() <= 2);
                    }
                })
            })
            .collect();
        adders.into_iter().for_each(|adder| adder.join().unwrap());
        assert_eq!(*count.lock().unwrap(), 4);
        assert_eq!(words.read().unwrap().len(), 2);
    });
}

#[test]
fn condition_variables_and_notifications() {
    sound(|_| {
        let (pair, notify) = (Arc::new((Mutex::new(false), Condvar::new())), Arc::new(Notify::new()));
        let waiter = {
            let (pair, notify) = (Arc::clone(&pair), Arc::clone(&notify));
            spawn(move || {
                let mut ready = pair.0.lock().unwrap();
                while !*ready {
                    ready = pair.1.wait(ready).unwrap();
                }
                drop(ready);
                notify.wait();
            })
        };
        *pair.0.lock().unwrap() = true;
        pair.1.notify_one();
        notify.notify_one();
        waiter.join().unwrap();
        let guard = pair.0.lock().unwrap();
        let (_guard, timeout) = pair.1.wait_timeout(guard, Duration::from_secs(9)).unwrap();
        assert!(timeout.timed_out());
    });
}

#[test]
fn semaphores_barriers_and_groups() {
    sound(|_| {
        let (permits, barrier) = (Arc::new(Semaphore::new(2)), Arc::new(Barrier::new(3)));
        let group = Arc::new(WaitGroup::new());
        group.add(3);
        for _ in 0..3 {
            let (permits, barrier, group) = (Arc::clone(&permits), Arc::clone(&barrier), Arc::clone(&group));
            spawn(move || {
                let permit = permits.acquire().unwrap();
                sleep(Duration::from_millis(3));
                drop(permit);
                barrier.wait();
                group.done();
            });
        }
        group.wait();
        assert_eq!(permits.available_permits(), 2);
    });
}

#[test]
fn one_time_initialisation() {
    sound(|_| {
        let once = Arc::new((Once::new(), OnceLock::new(), LazyLock::new(|| 3)));
        let all: Vec<_> = (0..3)
            .map(|i| {
                let once = Arc::clone(&once);
                spawn(move || {
                    once.0.call_once(|| sleep(Duration::from_millis(1)));
                    *once.1.get_or_init(|| i) + *once.2
                })
            })
            .collect();
        let values: Vec<i32> = all.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(values.iter().all(|value| *value == values[0]));
    });
}

#[test]
fn channels_and_select() {
    sound(|_| {
        let (sender, receiver) = channel::bounded(1);
        let (stop, stopped) = channel::bounded::<()>(0);
        let worker = spawn(move || {
            let mut sum = 0;
            loop {
                select! {
                    recv(receiver) -> message => if let Ok(value) = message { sum += value } else { return sum },
                    recv(stopped) -> _ => return sum,
                }
            }
        });
        (1..=4).for_each(|value| sender.send(value).unwrap());
        drop(sender);
        assert_eq!(worker.join().unwrap(), 10);
        assert!(stop.send(()).is_err());
        let (one, other) = channel::oneshot::channel();
        let answer = spawn(move || other.recv().unwrap());
        one.send(7).unwrap();
        assert_eq!(answer.join().unwrap(), 7);
    });
}

#[test]
fn rooms_that_many_watch() {
    sound(|_| {
        let (sender, mut receiver) = channel::watch::channel(0);
        let watcher = spawn(move || {
            while receiver.changed().is_ok() {}
            *receiver.get()
        });
        (1..4).for_each(|value| {
            sender.send(value);
        });
        drop(sender);
        assert_eq!(watcher.join().unwrap(), 3);
    });
}

#[test]
fn scopes_sets_and_cancellation() {
    sound(|sim| {
        let mut values = [1, 2, 3];
        sward::scope(|s| {
            for value in &mut values {
                s.spawn(move || {
                    sleep(Duration::from_millis(1));
                    *value *= 2;
                });
            }
        });
        assert_eq!(values, [2, 4, 6]);
        let mut set = JoinSet::new();
        (0..3).for_each(|i| {
            set.spawn(move || i);
        });
        let mut sum = 0;
        while let Some(value) = set.join_next() {
            sum += value.unwrap();
        }
        assert_eq!(sum, 3);
        let parked = spawn(task::park);
        parked.cancel();
        assert!(parked.join().unwrap_err().is_cancelled());
        let token = CancelToken::new();
        let waits = {
            let token = token.clone();
            spawn(move || token.wait())
        };
        token.cancel();
        waits.join().unwrap();
        let before = sim.now();
        assert!(time::timeout(Duration::from_secs(60), task::park).is_err());
        assert!(sim.now() - before >= Duration::from_secs(60));
    });
}

#[test]
fn calls_that_block() {
    sound(|_| {
        let value = Arc::new(Mutex::new(0));
        let calls: Vec<_> = (0..3)
            .map(|i| {
                let value = Arc::clone(&value);
                spawn(move || sward::blocking(|| *value.lock().unwrap() += i).unwrap())
            })
            .collect();
        calls.into_iter().for_each(|call| call.join().unwrap());
        assert_eq!(*value.lock().unwrap(), 3);
    });
}

#[test]
fn broadcasts_rendezvous_and_clocks_as_channels() {
    sound(|_| {
        let (sender, receiver) = channel::broadcast::channel(4);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let mut receiver = receiver.clone();
                spawn(move || receiver.recv().unwrap() + receiver.recv().unwrap())
            })
            .collect();
        drop(receiver);
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 3));
        let (sender, receiver) = channel::bounded(0);
        let meets = spawn(move || sender.send_timeout(5, Duration::from_secs(1)));
        assert_eq!(receiver.recv(), Ok(5));
        meets.join().unwrap().unwrap();
        let tick = channel::tick(Duration::from_secs(10));
        let first = tick.recv().unwrap();
        assert!(tick.recv().unwrap() - first >= Duration::from_secs(9));
        select! {
            recv(receiver) -> gone => assert!(gone.is_err()),
            recv(channel::after(Duration::from_secs(1))) -> _ => unreachable!("the sender has gone"),
        }
        let never = channel::never::<()>();
        select! {
            recv(never) -> _ => unreachable!(),
            default(Duration::from_secs(5)) => {}
        }
    });
}

#[test]
fn intervals_deadlines_and_limits() {
    sound(|sim| {
        let before = sim.now();
        let mut interval = time::interval(Duration::from_secs(60));
        (0..3).for_each(|_| {
            interval.tick();
        });
        assert!(sim.now() - before >= Duration::from_secs(120));
        let late = time::timeout(Duration::from_secs(1), || {
            task::mask(|| sleep(Duration::from_secs(3)));
            task::park();
        });
        assert!(late.is_err());
        let fails = sward::try_scope(|s| {
            s.spawn(|| Err::<(), _>("an error"));
            s.spawn(|| {
                task::park();
                Ok(())
            });
            Ok::<_, &str>(())
        });
        assert!(fails.is_err());
        let token = CancelToken::new();
        let cancels = token.clone();
        let canceller = spawn(move || {
            sleep(Duration::from_secs(1));
            cancels.cancel();
        });
        assert!(token.run(task::park).is_err());
        canceller.join().unwrap();
    });
}

sward::task_local! {
    static NAME: std::cell::Cell<u32> = std::cell::Cell::new(0);
}

#[test]
fn locals_and_tokens_of_parked_coroutines() {
    sound(|_| {
        let parked = spawn(|| {
            NAME.set(7);
            task::park();
            NAME.get()
        });
        parked.task().unpark();
        assert_eq!(parked.join().unwrap(), 7);
    });
}

#[test]
fn futures() {
    sound(|_| {
        let before = sward::task::block_on(async {
            time::sleep_async(Duration::from_secs(2)).await;
            5
        });
        assert_eq!(before, 5);
    });
}

/// Ten thousand seeds, of which each is run twice with the same events. CI machines run fewer in debug
/// builds.
#[test]
fn many_seeds_agree() {
    let runs = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
    let passed = Check::new().runs(runs).run(|sim| {
        let (sender, receiver) = channel::unbounded();
        let permits = Arc::new(Semaphore::new(1));
        for i in 0..3 {
            let (sender, permits, wait) = (sender.clone(), Arc::clone(&permits), sim.random() % 50);
            spawn(move || {
                sleep(Duration::from_micros(wait));
                let _permit = permits.acquire().unwrap();
                sender.send(i).unwrap();
            });
        }
        drop(sender);
        assert_eq!(receiver.iter().sum::<i32>(), 3);
    });
    println!("{passed:?}");
}
