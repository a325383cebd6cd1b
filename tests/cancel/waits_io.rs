//! Waits for sockets and for the pool, each ended in both ways.

use crate::common::{eventually, fill_queue, in_child, listen, pair};
use crate::ended::{GUARD, LIMIT, ended, guarded, join, spawn_waiting};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use sward::net::TcpStream;
use sward::task;
use sward::time::timeout;

#[test]
fn a_read() {
    guarded(|| {
        let (mut client, server) = pair();
        let server = Arc::new(server);
        let theirs = server.clone();
        ended(
            move || (&*theirs).read(&mut [0; 8]),
            || {
                client.write_all(b"abc").unwrap();
                let mut buffer = [0; 3];
                (&*server).read_exact(&mut buffer).unwrap();
                assert_eq!(&buffer, b"abc");
            },
        );
    });
}

#[test]
fn a_write() {
    guarded(|| {
        let (client, mut server) = pair();
        client.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut sent = 0;
        while let Ok(count) = (&client).write(&[7; 1 << 16]) {
            sent += count;
        }
        client.set_write_timeout(None).unwrap();
        let client = Arc::new(client);
        let theirs = client.clone();
        ended(move || (&*theirs).write(&[8]), || ());
        // The bytes from before are there, and no others.
        let mut all = vec![0; sent];
        server.read_exact(&mut all).unwrap();
        assert!(all.iter().all(|byte| *byte == 7));
        (&*client).write_all(b"9").unwrap();
        server.read_exact(&mut all[..1]).unwrap();
        assert_eq!(all[0], b'9', "a write that was ended has written after all");
    });
}

#[test]
fn an_accept() {
    guarded(|| {
        let listener = Arc::new(listen().0);
        let theirs = listener.clone();
        let address = listener.local_addr().unwrap();
        ended(
            move || theirs.accept(),
            || {
                let client = TcpStream::connect(address).unwrap();
                let (_, peer) = listener.accept().unwrap();
                assert_eq!(peer, client.local_addr().unwrap());
            },
        );
    });
}

#[test]
fn a_connect() {
    guarded(|| {
        let listener = listen().0;
        let address = listener.local_addr().unwrap();
        let queued = fill_queue(&listener);
        let before = descriptors();
        // Other tests have such sockets for a while.
        let is_closed = || eventually("its socket is closed", || descriptors() <= before);
        ended(move || TcpStream::connect(address), is_closed);
        for _ in &queued {
            listener.accept().unwrap();
        }
        // Abandoned connections may still be in the queue.
        TcpStream::connect_timeout(&address, GUARD).unwrap();
    });
}

/// The number of sockets that are not connected and do not listen.
fn descriptors() -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc/self/fd").expect("Linux") {
        let Ok(number) = entry.expect("an entry").file_name().to_str().unwrap_or("").parse::<i32>() else {
            continue;
        };
        let mut state = [0u8; 1];
        let mut len = 1 as libc::socklen_t;
        // The first byte of `tcp_info` is the state of the connection. SAFETY: there is room for the one byte
        // that is asked for.
        let asked = unsafe {
            libc::getsockopt(
                number,
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                state.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        const SYN_SENT: u8 = 2;
        count += usize::from(asked == 0 && state[0] == SYN_SENT);
    }
    count
}

/// In a process of its own, since the pool and its limit belong to the process.
#[test]
fn a_call_on_the_pool() {
    in_child(|| {
        sward::runtime::set_max_blocking_threads(1).unwrap();
        guarded(|| {
            let folder = std::env::temp_dir().join(format!("sward-matrix-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let file = folder.join("file");
            std::fs::write(&file, "text").unwrap();

            // A call in the queue.
            let (tell, told) = std::sync::mpsc::channel::<()>();
            let holds = spawn_waiting(move || sward::blocking(move || told.recv().unwrap()).unwrap());
            while sward::runtime::metrics().unwrap().blocking_queued > 0 {
                sward::yield_now();
            }
            let queued = || sward::runtime::metrics().unwrap().blocking_queued;
            let ran = Arc::new(AtomicBool::new(false));
            let theirs = ran.clone();
            ended(
                move || sward::blocking(|| theirs.store(true, Ordering::SeqCst)).unwrap(),
                || assert_eq!(queued(), 0),
            );
            let path = file.clone();
            ended(move || sward::fs::remove_file(&path).unwrap(), || assert_eq!(queued(), 0));
            tell.send(()).unwrap();
            join(holds).unwrap();
            assert_eq!(sward::fs::read_to_string(&file).unwrap(), "text");
            assert!(!ran.load(Ordering::SeqCst));

            // A call under way: the end waits for it, and meets the coroutine at its next wait.
            let returned = Arc::new(AtomicBool::new(false));
            let called_within = |limit: Option<Duration>| {
                let (tell, told) = std::sync::mpsc::channel::<()>();
                let theirs = returned.clone();
                let calls = spawn_waiting(move || {
                    let call = move || {
                        sward::blocking(move || told.recv().unwrap()).unwrap();
                        theirs.store(true, Ordering::SeqCst);
                        task::park();
                    };
                    match limit {
                        Some(limit) => _ = timeout(limit, call).unwrap_err(),
                        None => call(),
                    }
                });
                while queued() > 0 {
                    sward::yield_now();
                }
                if limit.is_none() {
                    calls.cancel();
                }
                sward::sleep(2 * limit.unwrap_or(LIMIT));
                (calls, tell)
            };
            for limited in [false, true] {
                returned.store(false, Ordering::SeqCst);
                let mut limit = LIMIT;
                let (calls, tell) = loop {
                    let (calls, tell) = called_within(limited.then_some(limit));
                    if !calls.is_finished() {
                        break (calls, tell);
                    }
                    // A thread of the pool may not have started it within the limit. Then the call was
                    // withdrawn.
                    limit *= 4;
                    assert!(limited && limit < GUARD, "a call under way was abandoned");
                };
                tell.send(()).unwrap();
                let outcome = join(calls);
                assert_eq!(outcome.is_ok(), limited);
                assert!(returned.load(Ordering::SeqCst));
            }
            assert_eq!(sward::blocking(|| 5).unwrap(), 5);
            std::fs::remove_dir_all(&folder).unwrap();
        });
    });
}
