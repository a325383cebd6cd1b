//! Does a little of everything for minutes, checks each result, and looks for drift: `cargo run --release
//! --example soak -- [--minutes N] [--seconds N]`.
//!
//! At each *rest* all loads stop between two steps. What the process has then does not depend on what it did
//! just before: so many descriptors, coroutines and threads, so much memory. Each rest is compared with the
//! ones at the beginning, when everything had been used once.
//!
//! A load that fails panics, which ends the process with its message.

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::channel;
use sward::net::{TcpListener, TcpStream};
use sward::process::{Command, Stdio};
use sward::runtime;
use sward::sync::{Condvar, Mutex, Notify, RwLock, Semaphore};
use sward::task::{self, JoinError};
use sward::time;

/// Coroutines for each kind of load.
const WIDTH: usize = 4;
/// How many rests there are, and how many of them at the beginning are what the others are compared with.
const RESTS: usize = 30;
const WARM: usize = 6;
/// How much more memory than at the beginning is no drift: caches that are filled late, and fragments.
const MEMORY: f64 = 1.10;
const MEMORY_BYTES: u64 = 8 << 20;
/// Only a hang reaches it.
const HANG: Duration = Duration::from_secs(120);

/// A source of numbers, one for each coroutine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_micros(self.below(bound * 1_000))
    }
}

/// Counts itself while it exists.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What all loads use.
struct World {
    server: SocketAddr,
    folder: std::path::PathBuf,
    /// What steps have made and not yet dropped.
    alive: Arc<AtomicUsize>,
    steps: [AtomicU64; LOADS.len()],
    stop: AtomicBool,
    /// Loads hold it for a step; a rest holds it alone.
    rest: RwLock<()>,
}

type Load = fn(&World, &mut Random);

const LOADS: [(&str, Load); 10] = [
    ("connections", connections),
    ("timers", timers),
    ("channels", channels),
    ("locks", locks),
    ("cancellation", cancellation),
    ("scopes", scopes),
    ("blocking", blocking),
    ("files", files),
    ("panics", panics),
    ("children", children),
];

fn main() {
    let mut arguments = common::Arguments::new("soak [--minutes N] [--seconds N]");
    let minutes = arguments.number("--minutes", 0);
    let seconds = arguments.number("--seconds", if minutes == 0 { 60 } else { 0 });
    arguments.end();
    // Panics are one of the loads. Any other one ends the process.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&PLANNED) {
            hook(info);
            exit(1);
        }
    }));
    let runtime =
        runtime::Builder::new().worker_threads(4).build().unwrap_or_else(|e| common::fail(&e.to_string()));
    let drifted = runtime.run(move || soak(Duration::from_secs(60 * minutes + seconds)));
    exit(i32::from(drifted));
}

fn soak(length: Duration) -> bool {
    let folder = std::env::temp_dir().join(format!("sward-soak-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let world = Arc::new(World {
        server: listener.local_addr().expect("it is bound"),
        folder: folder.clone(),
        alive: Arc::new(AtomicUsize::new(0)),
        steps: Default::default(),
        stop: AtomicBool::new(false),
        rest: RwLock::new(()),
    });
    let server = sward::spawn(move || serve(listener));
    let mut loads = Vec::new();
    for number in 0..LOADS.len() * WIDTH {
        let world = world.clone();
        loads.push(sward::spawn(move || {
            let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1));
            let kind = number % LOADS.len();
            while !world.stop.load(Ordering::Relaxed) {
                let _step = world.rest.read().expect("no step panics");
                LOADS[kind].1(&world, &mut random);
                world.steps[kind].fetch_add(1, Ordering::Relaxed);
            }
        }));
    }

    println!("  time  descriptors  coroutines  threads  resident KiB     steps");
    let mut found = Vec::new();
    let start = Instant::now();
    for rest in 1..=RESTS {
        let next = start + length.mul_f64(rest as f64 / RESTS as f64);
        time::sleep_until(next);
        let guard = world.rest.write().expect("no step panics");
        let now = settled(found.first().map_or(1 + loads.len() + 1, |first: &Figures| first.coroutines));
        assert_eq!(world.alive.load(Ordering::Relaxed), 0, "a step has left something behind");
        drop(guard);
        let steps: u64 = world.steps.iter().map(|steps| steps.load(Ordering::Relaxed)).sum();
        println!(
            "{:>5.0}s {:>12} {:>11} {:>8} {:>13} {:>9}",
            start.elapsed().as_secs_f64(),
            now.descriptors,
            now.coroutines,
            now.threads,
            now.resident >> 10,
            steps
        );
        found.push(now);
    }

    world.stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.join().expect("no load panics");
    }
    server.cancel();
    assert!(server.join().is_err_and(|e| e.is_cancelled()), "the server ends when it is cancelled");
    fs::remove_dir_all(folder).expect("the folder is there");
    for ((name, _), steps) in LOADS.iter().zip(&world.steps) {
        let steps = steps.load(Ordering::Relaxed);
        println!("{name}: {steps} steps");
        assert!(steps > 0, "{name} did nothing");
    }
    drifts(&found)
}

/// What the process has at a rest.
struct Figures {
    descriptors: usize,
    coroutines: usize,
    threads: usize,
    resident: u64,
}

/// The figures, once no more coroutines are left than there should be.
fn settled(coroutines: usize) -> Figures {
    let start = Instant::now();
    loop {
        let now = figures();
        // Steps join what they spawn; only a server's coroutine may still be at its end.
        if now.coroutines <= coroutines {
            return now;
        }
        if start.elapsed() > HANG {
            eprintln!("{:#}", sward::observe::dump());
            panic!("{} coroutines at rest, and not {coroutines}", now.coroutines);
        }
        time::sleep(Duration::from_millis(5));
    }
}

fn figures() -> Figures {
    let metrics = runtime::metrics().expect("in a coroutine");
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of the kernel's");
        line.split_whitespace().next().expect("a number").parse().expect("a number")
    };
    Figures {
        descriptors: fs::read_dir("/proc/self/fd").expect("Linux").count(),
        coroutines: metrics.workers.iter().map(|worker| worker.live + worker.queued + worker.assigned).sum(),
        threads: field("Threads:") as usize,
        resident: field("VmRSS:") << 10,
    }
}

/// Compares the rests with the ones at the beginning.
fn drifts(found: &[Figures]) -> bool {
    let (warm, later) = found.split_at(WARM);
    let most = |rests: &[Figures], of: fn(&Figures) -> u64| rests.iter().map(of).max().expect("some rests");
    // At the end nothing may be more than it ever was at the beginning.
    let last = &later[later.len() - WARM..];
    let mut drifted = false;
    let mut compare = |what: &str, of: fn(&Figures) -> u64, room: u64| {
        let (before, after) = (most(warm, of), most(last, of));
        let more = after > before + room;
        println!(
            "{what}: {before} at the beginning, {after} at the end{}",
            if more { ": DRIFT" } else { "" }
        );
        drifted |= more;
    };
    compare("descriptors", |rest| rest.descriptors as u64, 0);
    compare("coroutines", |rest| rest.coroutines as u64, 0);
    // The pool for blocking calls starts a thread when all are in use, and ends idle ones.
    compare("threads", |rest| rest.threads as u64, WIDTH as u64);
    let room = MEMORY_BYTES + (most(warm, |rest| rest.resident) as f64 * (MEMORY - 1.0)) as u64;
    compare("resident bytes", |rest| rest.resident, room);
    drifted
}

/// Echoes what each client sends.
fn serve(listener: TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        sward::spawn(move || {
            let mut buffer = [0; 4096];
            // A client may reset the connection.
            while let Ok(1..) = stream.read(&mut buffer).and_then(|read| {
                stream.write_all(&buffer[..read])?;
                Ok(read)
            }) {}
        });
    }
}

fn connections(world: &World, random: &mut Random) {
    let mut stream = TcpStream::connect(world.server).expect("the server listens");
    for _ in 0..=random.below(4) {
        let sent: Vec<u8> = (0..1 + random.below(3_000)).map(|_| random.next() as u8).collect();
        let mut back = vec![0; sent.len()];
        stream.write_all(&sent).expect("the server reads");
        stream.read_exact(&mut back).expect("the server answers");
        assert!(sent == back, "the echo is not what was sent");
    }
    match random.below(3) {
        // Reset, with an answer that nobody reads.
        0 => {
            stream.set_linger(Some(Duration::ZERO)).expect("a socket");
            stream.write_all(b"unread").expect("the server reads");
        }
        1 => {
            stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket");
            let timed_out = stream.read(&mut [0]).expect_err("the server is silent").kind();
            assert!(matches!(timed_out, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{timed_out}");
        }
        _ => {}
    }
}

fn timers(_: &World, random: &mut Random) {
    let (time, start) = (random.millis(10), Instant::now());
    time::sleep(time);
    assert!(start.elapsed() >= time, "a sleep was too short");
    let mut interval = time::interval(Duration::from_millis(1));
    let first = interval.tick();
    for tick in 1..=3 {
        assert!(interval.tick() >= first + Duration::from_millis(tick), "a tick came early");
    }
    let ended = time::timeout(random.millis(5), || time::sleep(HANG));
    assert!(ended.is_err(), "a limit did not end a sleep");
    assert_eq!(time::timeout(HANG, || 7), Ok(7));
}

fn channels(world: &World, random: &mut Random) {
    let count = 100 + random.below(200);
    let (sender, receiver) = channel::bounded(random.below(4) as usize);
    let (ends, ended) = channel::oneshot::channel();
    let alive = world.alive.clone();
    let producer = sward::spawn(move || {
        for n in 0..count {
            sender.send((n, Counted::new(&alive))).expect("the receiver waits");
        }
        ends.send(count).expect("the receiver waits");
    });
    let (mut sum, mut got, mut end) = (0, 0, None);
    let after = channel::after(HANG);
    while end.is_none() || got < count {
        if end.is_some() {
            let (n, _) = receiver.recv().expect("a message is left");
            (sum, got) = (sum + n, got + 1);
            continue;
        }
        sward::select! {
            recv(receiver) -> message => match message {
                Ok((n, _)) => (sum, got) = (sum + n, got + 1),
                Err(_) => end = Some(ended.recv().expect("sent before the end")),
            },
            recv(after) -> _ => panic!("no message for {HANG:?}"),
        }
    }
    assert_eq!((sum, end), (count * (count - 1) / 2, Some(count)), "messages were lost");
    producer.join().expect("no panic");
}

fn locks(_: &World, random: &mut Random) {
    let (mutex, lock, permits) = (Mutex::new(0), RwLock::new(0), Semaphore::new(2));
    let (changed, notify) = (Condvar::new(), Notify::new());
    let turns = 1 + random.below(20);
    sward::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..turns {
                    *lock.write().expect("no panic") += 1;
                    let _permit = permits.acquire().expect("it is never closed");
                    task::yield_now();
                    *mutex.lock().expect("no panic") += *lock.read().expect("no panic") / i64::MAX + 1;
                    changed.notify_all();
                }
            });
        }
        scope.spawn(|| {
            let all = mutex.lock().expect("no panic");
            let all = changed.wait_while(all, |all| *all < 4 * turns as i64).expect("no panic");
            assert_eq!(*all, 4 * turns as i64, "an update was lost");
            notify.notify_one();
        });
        notify.wait();
    });
    assert_eq!(lock.into_inner().expect("no panic"), 4 * turns as i64, "an update was lost");
}

fn cancellation(world: &World, random: &mut Random) {
    let (sender, receiver) = channel::bounded::<u8>(1);
    let (mutex, never) = (Arc::new(Mutex::new(())), Arc::new(Notify::new()));
    let held = mutex.lock().expect("no panic");
    let mut waits: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(move || assert!(receiver.recv().is_err(), "nothing was sent")),
        Box::new({
            let mutex = mutex.clone();
            move || drop(mutex.lock())
        }),
        Box::new({
            let never = never.clone();
            move || never.wait()
        }),
        Box::new(|| time::sleep(HANG)),
        Box::new(task::park),
        Box::new(|| {
            sward::scope(|scope| {
                scope.spawn(task::park);
            });
        }),
    ];
    let wait = waits.swap_remove(random.below(waits.len() as u64) as usize);
    drop(waits);
    let counted = Counted::new(&world.alive);
    let waiter = sward::spawn(move || {
        let _counted = counted;
        wait();
    });
    if random.below(2) == 0 {
        time::sleep(random.millis(2));
    }
    waiter.cancel();
    let ended = waiter.join();
    assert!(matches!(ended, Err(JoinError::Cancelled)), "a wait went on after its cancellation: {ended:?}");
    drop((held, sender));
}

fn scopes(_: &World, random: &mut Random) {
    let numbers: Vec<u64> = (0..64).map(|_| random.below(1_000)).collect();
    let sum = AtomicU64::new(0);
    sward::scope(|scope| {
        for part in numbers.chunks(8) {
            scope.spawn(|| {
                task::yield_now();
                sum.fetch_add(part.iter().sum::<u64>(), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(sum.into_inner(), numbers.iter().sum::<u64>(), "a coroutine of the scope did not run");
    let failing = random.below(4);
    let failed = sward::try_scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || {
                if n == failing {
                    return Err(n);
                }
                task::park();
                Ok(())
            });
        }
        Ok(())
    });
    assert_eq!(failed, Err(failing));
}

fn blocking(_: &World, random: &mut Random) {
    let (n, time) = (random.below(1_000), random.millis(2));
    let result = sward::blocking(move || {
        std::thread::sleep(time);
        n * 2
    });
    assert_eq!(result.expect("the pool has threads"), n * 2);
}

fn files(world: &World, random: &mut Random) {
    let path = world.folder.join(format!("{:016x}", random.next()));
    let content: Vec<u8> = (0..random.below(20_000)).map(|_| random.next() as u8).collect();
    sward::fs::write(&path, &content).expect("room on the disk");
    assert!(sward::fs::read(&path).expect("it was written") == content, "a file is not what was written");
    sward::fs::remove_file(&path).expect("it was written");
    // A step that takes long, so that others have their share of the pool.
    time::sleep(random.millis(2));
}

const PLANNED: &str = "planned";

fn panics(world: &World, random: &mut Random) {
    let (alive, deep) = (world.alive.clone(), random.below(20));
    fn down(levels: u64, alive: &Arc<AtomicUsize>) {
        let _counted = Counted::new(alive);
        if levels == 0 {
            task::yield_now();
            std::panic::panic_any(PLANNED);
        }
        down(levels - 1, alive);
    }
    let ended = sward::spawn(move || down(deep, &alive)).join();
    assert!(ended.is_err_and(|e| e.is_panic()), "a panic was lost");
    time::sleep(random.millis(2));
}

fn children(_: &World, random: &mut Random) {
    let text = format!("{}", random.next());
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| common::fail(&format!("cat does not start: {e}")));
    if random.below(8) == 0 {
        child.kill().expect("it is alive");
        assert!(!child.wait().expect("it ends").success());
        return;
    }
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stdout == text.as_bytes(), "a child did something else");
    time::sleep(random.millis(100));
}
