//! Each kind of wait is shown with the call, the coroutine's name, spawn site, parent, worker and age.

use crate::common::{LONG, MOMENT, in_runtime};
use crate::find::{coroutines_stay, named, start, until_parked, wait_of};
use std::io::Read;
use std::sync::Arc;
use sward::channel::{bounded, unbounded};
use sward::net::{TcpListener, TcpStream};
use sward::observe::{CoroutineState, Party, Subject, dump};
use sward::sync::{Barrier, Condvar, Mutex, Notify, RwLock, Semaphore, WaitGroup};
use sward::task;

#[test]
fn a_wait_has_call_name_site_parent_age_and_limit() {
    in_runtime(|| {
        let line = line!() + 1;
        let sleeper = start("facts: sleeper", || sward::sleep(LONG));
        let found = until_parked("facts: sleeper", "sleep");
        assert_eq!((found.spawned_at.file(), found.spawned_at.line()), (file!(), line));
        assert_eq!(found.state, CoroutineState::Parked);
        assert_eq!(found.parent, task::current().id());
        assert_eq!(found.id, sleeper.task().id().expect("a coroutine"));
        assert_eq!(found.complete, coroutines_stay());
        assert!(found.stack_size >= 64 << 10 && !found.cancelled);
        if coroutines_stay() {
            let left = wait_of(&found).ends_in.expect("it has a limit");
            assert!(left > LONG / 2 && left <= LONG, "{left:?}");
            assert!(found.stack.as_ref().is_some_and(|stack| !stack.frames.is_empty()), "{found:?}");
        }
        sward::sleep(3 * MOMENT);
        let later = until_parked("facts: sleeper", "sleep");
        assert!(wait_of(&later).lasts >= MOMENT && wait_of(&later).lasts < LONG, "{later:?}");
        sleeper.cancel();
    });
}

#[test]
fn each_primitive_has_its_call() {
    in_runtime(|| {
        let mutex = Arc::new(Mutex::new(()));
        let rwlock = Arc::new(RwLock::new(()));
        let semaphore = Arc::new(Semaphore::new(0));
        let notify = Arc::new(Notify::new());
        let condvar = Arc::new((Mutex::new(()), Condvar::new()));
        let barrier = Arc::new(Barrier::new(2));
        let group = Arc::new(WaitGroup::new());
        group.add(1);
        let (full, _receiver) = bounded(1);
        full.send(1).expect("there is room");
        let (_sender, empty) = unbounded::<u8>();
        let (reader, _writer) = sward::io::pipe().expect("a pipe");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        // Nobody accepts here, so nothing comes.
        let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = silent.local_addr().expect("bound");

        let _held = mutex.lock();
        let _write = rwlock.write();
        let mut started = Vec::new();
        let mut cases = Vec::new();
        let mut case = |call: &'static str, f: Box<dyn FnOnce() + Send>| {
            let name = format!("reasons: {call}");
            started.push(start(&name, f));
            cases.push((name, call));
        };
        let its = mutex.clone();
        case("Mutex::lock", Box::new(move || drop(its.lock())));
        let its = rwlock.clone();
        case("RwLock::read", Box::new(move || drop(its.read())));
        let its = rwlock.clone();
        case("RwLock::write", Box::new(move || drop(its.write())));
        let its = semaphore.clone();
        case("Semaphore::acquire", Box::new(move || drop(its.acquire())));
        let its = notify.clone();
        case("Notify::wait", Box::new(move || its.wait()));
        let its = condvar.clone();
        case("Condvar::wait", Box::new(move || drop(its.1.wait(its.0.lock().expect("no panic")))));
        let its = barrier.clone();
        case("Barrier::wait", Box::new(move || _ = its.wait()));
        case("send", Box::new(move || _ = full.send(2)));
        case("WaitGroup::wait", Box::new(move || group.wait()));
        case("recv", Box::new(move || _ = empty.recv()));
        case("task::park", Box::new(task::park));
        let mut its = reader;
        case("PipeReader::read", Box::new(move || drop(its.read(&mut [0]))));
        case("accept", Box::new(move || while listener.accept().is_ok() {}));
        let mut stream = TcpStream::connect(address).expect("connected");
        case("read", Box::new(move || drop(stream.read(&mut [0]))));
        case("sleep", Box::new(|| sward::sleep(LONG)));
        case("JoinHandle::join", {
            let other = start("reasons: joined", || sward::sleep(LONG));
            Box::new(move || drop(other.join()))
        });
        for (name, call) in &cases {
            let found = until_parked(name, call);
            assert_eq!(found.state, CoroutineState::Parked);
            assert_eq!(found.spawned_at.file(), file!());
        }
        if coroutines_stay() {
            let joins = until_parked("reasons: JoinHandle::join", "JoinHandle::join");
            let joined = until_parked("reasons: joined", "sleep");
            assert_eq!(wait_of(&joins).subject, Some(Subject::Coroutine(joined.id)));
            let me = Party::Coroutine(task::current().id().expect("a coroutine"));
            let locks = until_parked("reasons: Mutex::lock", "Mutex::lock");
            assert!(
                matches!(wait_of(&locks).subject, Some(Subject::Lock { holder: Some(holder), .. }) if holder == me),
                "{locks:?}"
            );
            let sends = until_parked("reasons: send", "send");
            let Some(Subject::Channel { len: 1, capacity: Some(1), senders: 1, .. }) =
                wait_of(&sends).subject
            else {
                panic!("a full channel: {sends:?}");
            };
            let read = until_parked("reasons: read", "read");
            let Some(Subject::Descriptor { local, peer, .. }) = wait_of(&read).subject else {
                panic!("a socket: {read:?}");
            };
            assert_eq!(peer, Some(address));
            assert!(local.is_some());
        }
        let text = dump().to_string();
        for (name, call) in &cases {
            assert!(
                text.contains(&format!("{name:?}")) && text.contains(&format!("parked in {call} for")),
                "{text}"
            );
        }
        for coroutine in started {
            coroutine.cancel();
        }
    });
}

#[test]
fn a_coroutine_that_yields_is_runnable_and_a_masked_wait_is_masked() {
    in_runtime(|| {
        let yields = start("states: yields", || {
            loop {
                sward::yield_now();
            }
        });
        let masked = start("states: masked", || task::mask(task::park));
        until_parked("states: masked", "task::park");
        masked.cancel();
        let found = until_parked("states: masked", "task::park");
        assert!(found.cancelled && wait_of(&found).masked, "{found:?}");
        let mut states = Vec::new();
        while !states.contains(&CoroutineState::Runnable) {
            let dump = dump();
            if let Some(found) = named(&dump, "states: yields") {
                states.push(found.state);
                assert_ne!(found.state, CoroutineState::Parked);
            }
            assert!(states.len() < 1000, "{states:?}");
        }
        yields.cancel();
        masked.task().unpark();
        drop(masked);
    });
}
