//! Waits for readiness, non-blocking mode, and errors that are pending at a socket.

use crate::common::{LONG, MOMENT, both, in_runtime, kind, listen, pair, reset_on_drop};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sward::net::{Shutdown, TcpStream};

#[test]
fn a_pending_error_is_taken_once() {
    both(|| {
        let (client, server) = pair();
        assert!(client.take_error().unwrap().is_none());
        reset_on_drop(&server);
        drop(server);
        let start = Instant::now();
        let error = loop {
            if let Some(error) = client.take_error().unwrap() {
                break error;
            }
            assert!(start.elapsed() < LONG, "no reset has come");
            sward::sleep(Duration::from_millis(1));
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(client.take_error().unwrap().is_none());
        let (listener, _) = listen();
        assert!(listener.take_error().unwrap().is_none());
    });
}

#[test]
fn non_blocking_calls_fail_instead_of_waiting() {
    both(|| {
        let (listener, address) = listen();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(kind(listener.accept()), ErrorKind::WouldBlock);
        let mut client = TcpStream::connect(address).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        assert_eq!(kind(client.read(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(kind(client.try_clone().unwrap().peek(&mut [0])), ErrorKind::WouldBlock);
        let block = vec![0; 1 << 20];
        while client.write(&block).is_ok() {}
        assert_eq!(kind(client.write(b"x")), ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
        server.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 1);
    });
}

/// A read stops short at urgent data, with more bytes behind it. A short read does not mean that all was read
/// then.
#[test]
fn out_of_band_data_does_not_hide_the_bytes_behind_it() {
    let (mut client, mut server) = pair();
    let report = in_runtime(|| {
        server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client.write_all(b"first").unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
        server.read_exact(&mut [0; 1]).unwrap();
        let parked = server.try_clone().unwrap();
        let reader = sward::spawn(move || (&parked).read(&mut [0; 8]));
        sward::sleep(MOMENT);
        client.write_all(b"x").unwrap();
        reader.join().unwrap().unwrap();
        client.write_all(b"ab").unwrap();
        // SAFETY: the buffer is one byte.
        assert_eq!(unsafe { libc::send(client.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) }, 1);
        client.write_all(b"de").unwrap();
        sward::sleep(MOMENT);
        let mut buffer = [0; 4];
        server.read_exact(&mut buffer).map(|()| buffer)
    });
    assert_eq!(&report.expect("all of it"), b"abde");
}

/// Sends until the buffers of the kernel are full.
pub(crate) fn fill(stream: &TcpStream) {
    stream.set_nonblocking(true).expect("set");
    while (&*stream).write(&[0; 1 << 16]).is_ok() {}
    assert_eq!(kind((&*stream).write(&[0])), ErrorKind::WouldBlock);
}

#[test]
fn waits_for_readiness_wait_in_nonblocking_mode_too() {
    both(|| {
        for nonblocking in [false, true] {
            let (client, server) = pair();
            client.set_nonblocking(nonblocking).expect("set");
            let sent = AtomicBool::new(false);
            thread::scope(|s| {
                s.spawn(|| {
                    thread::sleep(MOMENT);
                    sent.store(true, Ordering::Relaxed);
                    (&server).write_all(b"ab").expect("written");
                });
                client.readable().expect("readable");
                assert!(sent.load(Ordering::Relaxed), "nothing was there");
            });
            let mut byte = [0];
            for expected in *b"ab" {
                // The wait takes nothing, however often it is repeated.
                client.readable().expect("readable");
                client.readable().expect("readable");
                assert_eq!(((&client).read(&mut byte).expect("read"), byte), (1, [expected]));
            }
            drop(server);
            client.readable().expect("the end is readable");
            assert_eq!((&client).read(&mut byte).expect("read"), 0);
        }
    });
}

#[test]
fn a_full_stream_is_writable_once_the_peer_has_read() {
    both(|| {
        let (client, mut server) = pair();
        client.writable().expect("writable from the start");
        fill(&client);
        thread::scope(|s| {
            s.spawn(move || {
                thread::sleep(MOMENT);
                server.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
                while server.read(&mut [0; 1 << 16]).is_ok_and(|n| n > 0) {}
            });
            client.writable().expect("writable");
            assert!((&client).write(&[0]).is_ok());
            client.shutdown(Shutdown::Write).expect("shut down");
            client.writable().expect("an error does not block");
            assert_eq!(kind((&client).write(&[0])), ErrorKind::BrokenPipe);
        });
    });
}
