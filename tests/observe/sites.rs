//! What the coroutines of each spawn site do and cost. Accounting is one switch for the whole process, so
//! each test runs in a process of its own.

use crate::common::{LONG, in_child, one_worker, with_workers};
use serde_json::Value;
use std::hint::black_box;
use std::panic::Location;
use std::time::{Duration, Instant};
use sward::observe::{Sites, SpawnSite, set_accounting, sites};
use sward::runtime::Builder;

/// How often a test that measures time is tried while others use the processors.
const TRIES: usize = 20;

#[track_caller]
fn here() -> u32 {
    Location::caller().line()
}

fn at(sites: &Sites, line: u32) -> &SpawnSite {
    let of_line =
        |site: &&SpawnSite| site.spawned_at.file().ends_with("sites.rs") && site.spawned_at.line() == line;
    sites.sites.iter().find(of_line).unwrap_or_else(|| panic!("no site in line {line}:\n{sites}"))
}

/// The figures once a coroutine of that line is parked.
fn once_parked(line: u32) -> Sites {
    loop {
        let now = sites();
        if now.sites.iter().any(|site| site.spawned_at.line() == line && site.parked > 0) {
            return now;
        }
        sward::yield_now();
    }
}

fn wait<'a>(site: &'a SpawnSite, call: &str) -> &'a sward::observe::SiteWait {
    site.waits.iter().find(|wait| wait.call == call).unwrap_or_else(|| panic!("no {call}: {site:?}"))
}

fn compute(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        black_box((0..1_000).sum::<u64>());
    }
}

#[test]
fn each_site_has_its_figures() {
    in_child(|| {
        let runtime = Builder::new().worker_threads(1).accounting(true).build().expect("a runtime");
        runtime.run(|| {
            let (sender, receiver) = sward::channel::bounded::<u32>(1);
            let line = here() + 1;
            let receives = sward::spawn(move || receiver.iter().sum::<u32>());
            let now = once_parked(line);
            sward::sleep(Duration::from_millis(20));
            let site = at(&now, line);
            assert!(now.accounting);
            assert_eq!((site.alive, site.parked, site.started, site.ended), (1, 1, 1, 0), "{now}");
            assert_eq!(wait(site, "recv").present, 1);
            let now = sites();
            let site = at(&now, line);
            assert!(wait(site, "recv").longest_present >= Duration::from_millis(10), "{now}");
            for n in 0..10 {
                sender.send(n).expect("it receives");
                sward::yield_now();
            }
            drop(sender);
            assert_eq!(receives.join().expect("no panic"), 45);
            let now = sites();
            let site = at(&now, line);
            assert_eq!((site.alive, site.ended), (0, 1), "{now}");
            let waits = wait(site, "recv");
            assert!(waits.ended >= 1 && waits.present == 0, "{now}");
            assert!(waits.time >= Duration::from_millis(15), "{now}");
            // Each turn but the first follows a wait or a yield, and is preceded by a delay.
            assert_eq!(site.run_delay.count(), site.turns, "{now}");

            let line = here() + 2;
            for _ in 0..3 {
                let computes = sward::spawn(|| {
                    compute(Duration::from_millis(5));
                    sward::yield_now();
                    sward::yield_now();
                });
                computes.join().expect("no panic");
            }
            let now = sites();
            let site = at(&now, line);
            assert_eq!((site.turns, site.started, site.ended), (9, 3, 3), "{now}");
            assert!(site.longest_turn >= Duration::from_millis(5), "{now}");
            assert!(site.processor_time > Duration::ZERO, "{now}");
        });
    });
}

/// Processor time is what the thread has used: without the time in which it was blocked, or has waited for a
/// processor.
#[test]
fn a_turn_that_is_blocked_uses_no_processor_time() {
    in_child(|| {
        // A report of a stall would use the thread's processor time for the stack.
        let builder = Builder::new().worker_threads(1).accounting(true).stall_threshold(LONG);
        let runtime = builder.build().expect("a runtime");
        runtime.run(|| {
            let line = here() + 1;
            let blocks = sward::spawn(|| std::thread::sleep(Duration::from_millis(100)));
            blocks.join().expect("no panic");
            let now = sites();
            let site = at(&now, line);
            assert!(site.longest_turn >= Duration::from_millis(100), "{now}");
            assert!(site.processor_time < Duration::from_millis(20), "{now}");
        });
    });
}

/// What the process has used by its own account.
fn used_by_process() -> Duration {
    // SAFETY: zeros are valid, and the variable lives until the call ends.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1_000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// Turns of a few microseconds and of a few milliseconds, beside other processes.
#[test]
fn sums_agree_with_what_the_process_has_used() {
    in_child(|| {
        let runtime = Builder::new().worker_threads(2).accounting(true).build().expect("a runtime");
        let mut seen = Vec::new();
        for _ in 0..TRIES {
            let sum = |sites: &Sites| {
                let in_turns = sites.sites.iter().map(|site| site.processor_time).sum::<Duration>();
                in_turns + sites.outside_of_turns + sites.netpoller
            };
            let (before, process) = (runtime.run(sites), used_by_process());
            runtime.run(|| {
                sward::scope(|s| {
                    for turn in [3, 30, 300, 3_000] {
                        for _ in 0..4 {
                            s.spawn(move || {
                                let began = Instant::now();
                                while began.elapsed() < Duration::from_millis(300) {
                                    compute(Duration::from_micros(turn));
                                    sward::yield_now();
                                }
                            });
                        }
                    }
                });
            });
            let process = used_by_process() - process;
            let after = runtime.run(sites);
            let used = sum(&after) - sum(&before);
            let ratio = used.as_secs_f64() / process.as_secs_f64();
            println!("accounts {used:?}, process {process:?}, ratio {ratio:.4}");
            if (0.98..=1.02).contains(&ratio) {
                return;
            }
            seen.push(ratio);
        }
        panic!("the sums are off: {seen:?}");
    });
}

#[test]
fn without_accounting_the_present_is_known() {
    in_child(|| {
        one_worker().run(|| {
            let line = here() + 1;
            let sleeper = sward::spawn(|| sward::sleep(Duration::from_secs(60)));
            let now = once_parked(line);
            let site = at(&now, line);
            assert!(!now.accounting && now.accounted.is_zero(), "{now}");
            assert_eq!((site.alive, site.parked, wait(site, "sleep").present), (1, 1, 1), "{now}");
            assert_eq!((site.turns, site.run_delay.count()), (0, 0), "{now}");
            sleeper.cancel();
        });
    });
}

/// A coroutine was woken or had its turns while accounting was off: its delays are not guessed.
#[test]
fn switching_off_and_on_makes_up_no_delays() {
    in_child(|| {
        one_worker().run(|| {
            let line = here() + 1;
            let yields = sward::spawn(|| {
                for n in 0..400 {
                    if n == 100 {
                        assert!(!set_accounting(true));
                    } else if n == 200 {
                        assert!(set_accounting(false));
                        sward::sleep(Duration::from_secs(3));
                    } else if n == 300 {
                        assert!(!set_accounting(true));
                    }
                    sward::yield_now();
                }
            });
            yields.join().expect("no panic");
            let now = sites();
            let site = at(&now, line);
            assert!((100..=202).contains(&site.turns), "{now}");
            assert!(site.run_delay.quantile(1.0) < Some(Duration::from_millis(2_500)), "{now}");
            assert!(site.waits.is_empty(), "{now}");
            assert!(now.accounting);
        });
    });
}

#[inline(never)]
fn use_stack(bytes: usize) -> u8 {
    let mut page = [0_u8; 4096];
    black_box(&mut page);
    if bytes > page.len() { black_box(use_stack(bytes - page.len())) } else { page[0] }
}

/// A stack that is used again has pages of the last coroutine. These do not count.
#[cfg(target_os = "linux")]
#[test]
fn stacks_are_measured() {
    in_child(|| {
        let runtime = Builder::new().worker_threads(1).accounting(true).build().expect("a runtime");
        runtime.run(|| {
            let line = here() + 2;
            for _ in 0..3 {
                sward::spawn(|| use_stack(100 << 10)).join().expect("no panic");
                sward::spawn(|| use_stack(8 << 10)).join().expect("no panic");
            }
            let now = sites();
            let deep = at(&now, line).stack;
            assert_eq!((deep.measured, deep.suggested), (3, Some(256 << 10)), "{now}");
            assert!((100 << 10..160 << 10).contains(&deep.deepest), "{now}");
            assert!(deep.suspended < deep.deepest, "{now}");
            let flat = at(&now, line + 1).stack;
            assert!((8 << 10..64 << 10).contains(&flat.deepest), "{now}");

            let line = here() + 1;
            let lives = sward::spawn(|| {
                use_stack(100 << 10);
                sward::task::park();
            });
            let now = once_parked(line);
            let stack = at(&now, line).stack;
            assert_eq!((stack.measured, stack.suggested), (1, Some(256 << 10)), "{now}");
            lives.cancel();
        });
    });
}

#[test]
fn the_json_is_what_the_documentation_says() {
    in_child(|| {
        let runtime = Builder::new().worker_threads(1).accounting(true).build().expect("a runtime");
        let now = runtime.run(|| {
            sward::spawn(|| sward::sleep(Duration::from_millis(1))).join().expect("no panic");
            sites()
        });
        let json: Value = serde_json::from_str(&now.to_json()).expect("JSON");
        assert_eq!((&json["version"], &json["accounting"]), (&1.into(), &true.into()));
        assert_eq!(json["process"], std::process::id());
        assert!(json["accounted_ms"].is_number() && json["outside_of_turns_ms"].is_number());
        assert!(json["netpoller_ms"].is_number());
        let all = json["sites"].as_array().expect("a list");
        assert_eq!(all.len(), now.sites.len());
        let site = all.iter().find(|site| site["ended"] == 1).expect("the sleeper");
        for key in ["alive", "parked", "runnable", "started", "turns", "processor_time_ms", "longest_turn_ms"]
        {
            assert!(site[key].is_number(), "{key}");
        }
        assert!(site["spawned_at"]["line"].is_number() && site["spawned_at"]["file"].is_string());
        let wait = &site["waits"][0];
        assert_eq!(
            (&wait["call"], &wait["ended"], &wait["present"]),
            (&"sleep".into(), &1.into(), &0.into())
        );
        assert!(wait["time_ms"].is_number() && wait["longest_present_ms"].is_number());
        let classes = site["run_delay"]["classes"].as_array().expect("a list");
        let counted: u64 = classes.iter().map(|class| class["count"].as_u64().expect("a number")).sum();
        assert_eq!(site["run_delay"]["count"], counted);
        assert!(classes.iter().all(|class| class["below_ns"].is_u64()));
        assert!(site["stack"]["size"].is_number() && site["stack"]["suspended"].is_number());
    });
}

/// Coroutines start, wait, move between workers and end, while a thread switches and reads.
#[test]
fn switching_and_reading_at_any_time_is_harmless() {
    in_child(|| {
        let runtime = with_workers(2);
        let end = Instant::now() + Duration::from_secs(1);
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut on = false;
                while Instant::now() < end {
                    on = !on;
                    set_accounting(on);
                    let _ = sites().to_string();
                }
            });
            runtime.run(|| {
                while Instant::now() < end {
                    let all: Vec<_> = (0..100)
                        .map(|n| {
                            sward::spawn(move || {
                                sward::yield_now();
                                if n % 10 == 0 {
                                    sward::sleep(Duration::from_micros(100));
                                }
                            })
                        })
                        .collect();
                    for one in all {
                        one.join().expect("no panic");
                    }
                }
            });
        });
    });
}
