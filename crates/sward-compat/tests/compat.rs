//! The adapters, against tokio and futures themselves.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::net::{TcpListener, TcpStream, UnixStream};
use sward_compat::{Blocking, Polled};

const BYTES: usize = 2 << 20;

fn data() -> Vec<u8> {
    (0..BYTES).map(|i| (i * 13 % 251) as u8).collect()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// One task writes and reads at once, more than all buffers hold.
#[test]
fn tokio_traits_transfer_in_both_directions() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    sward::run(|| {
        let (client, server) = pair();
        let echo = sward::spawn(move || {
            let (mut reads, mut writes) = (server.try_clone().unwrap(), server);
            io::copy(&mut reads, &mut writes).unwrap();
            writes.shutdown(sward::net::Shutdown::Write).unwrap();
        });
        let (mut reader, mut writer) = tokio::io::split(Polled::new(client).unwrap());
        let (sent, mut received) = (data(), Vec::new());
        let writes = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let reads = reader.read_to_end(&mut received);
        let (_, read) = sward::block_on(async { tokio::join!(writes, reads) });
        assert_eq!(read.unwrap(), BYTES);
        assert!(received == sent, "other bytes");
        echo.join().unwrap();
    });
}

#[test]
fn futures_traits_transfer() {
    use futures_util::io::{AsyncReadExt, AsyncWriteExt};
    sward::run(|| {
        let (client, server) = UnixStream::pair().unwrap();
        let writes = sward::spawn(move || {
            let mut stream = Polled::new(server).unwrap();
            sward::block_on(async {
                stream.write_all(&data()).await.unwrap();
                stream.close().await.unwrap();
            });
        });
        let (mut stream, mut received) = (Polled::new(client).unwrap(), Vec::new());
        sward::block_on(stream.read_to_end(&mut received)).unwrap();
        assert!(received == data(), "other bytes");
        writes.join().unwrap();
        // In blocking mode again, it parks.
        let mut stream = stream.into_inner().unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    });
}

/// The stream of one runtime is polled by a task of tokio.
#[test]
fn a_stream_is_polled_on_tokio() {
    use tokio::io::AsyncReadExt;
    sward::run(|| {
        let (client, mut server) = pair();
        let stream = Polled::new(client).unwrap();
        let reads = sward_compat::handle().spawn(async move {
            let (mut stream, mut text) = (stream, String::new());
            stream.read_to_string(&mut text).await.unwrap();
            text
        });
        for part in ["from ", "a ", "coroutine"] {
            server.write_all(part.as_bytes()).unwrap();
            sward::sleep(Duration::from_millis(5));
        }
        drop(server);
        assert_eq!(sward::block_on(reads).unwrap(), "from a coroutine");
    });
}

/// A socket of tokio's, as a blocking stream.
#[test]
fn async_streams_block() {
    sward::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let echo = sward::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = [0; 5];
            stream.read_exact(&mut text).unwrap();
            stream.write_all(&text).unwrap();
        });
        let stream = sward_compat::block_on(tokio::net::TcpStream::connect(address)).unwrap();
        let (mut stream, mut text) = (Blocking::tokio(stream), String::new());
        stream.write_all(b"hello").unwrap();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        echo.join().unwrap();
    });
}

/// Many coroutines of two workers use tokio's timers at once, and none keeps its worker.
#[test]
fn tokio_timers_park() {
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().unwrap();
    let ends = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let all: Vec<_> = (0..100)
        .map(|_| {
            let ends = ends.clone();
            runtime.spawn(move || {
                for _ in 0..20 {
                    sward_compat::block_on(async { tokio::time::sleep(Duration::from_millis(60)).await });
                }
                ends.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    all.into_iter().for_each(|one| one.join().unwrap());
    assert_eq!(ends.load(Ordering::Relaxed), 100);
    // One after the other they would take 120 s.
    assert!(start.elapsed() < Duration::from_secs(100), "they have waited for each other");
}

/// Why `block_on` enters the context for each poll: a guard that is held over a wait is also its siblings'.
#[test]
fn a_guard_over_a_wait_breaks() {
    let runtime =
        sward::runtime::Builder::new().worker_threads(1).homes(sward::runtime::Homes::Off).build().unwrap();
    let handle = sward_compat::handle();
    let held: Vec<_> = [10, 30]
        .into_iter()
        .map(|millis| {
            runtime.spawn(move || {
                let _guard = handle.enter();
                sward::sleep(Duration::from_millis(millis));
            })
        })
        .collect();
    let broken = held.into_iter().map(|one| one.join()).filter(Result::is_err).count();
    assert!(broken > 0, "tokio has noticed nothing");
}

/// A future that is cancelled in the midst of a wait is dropped in tokio's context.
#[test]
fn a_cancelled_future_is_dropped_in_the_context() {
    struct Asks(Arc<AtomicUsize>);
    impl Drop for Asks {
        fn drop(&mut self) {
            if tokio::runtime::Handle::try_current().is_ok() {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    sward::run(|| {
        let found = Arc::new(AtomicUsize::new(0));
        let asks = Asks(found.clone());
        let (starts, started) = sward::channel::bounded(1);
        let waits = sward::spawn(move || {
            sward_compat::block_on(async move {
                let _asks = asks;
                starts.send(()).unwrap();
                tokio::time::sleep(Duration::from_secs(3600)).await;
            });
        });
        // A coroutine that is cancelled before its start does not run.
        started.recv().unwrap();
        sward::sleep(Duration::from_millis(10));
        waits.cancel();
        assert!(matches!(waits.join(), Err(sward::task::JoinError::Cancelled)));
        assert_eq!(found.load(Ordering::Relaxed), 1);
        assert!(tokio::runtime::Handle::try_current().is_err(), "the context was left behind");
        // tokio still works.
        sward_compat::block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    });
}

#[test]
fn sleeps_end_and_can_be_dropped() {
    sward::run(|| {
        let start = Instant::now();
        let short = sward_compat::sleep(Duration::from_millis(5));
        drop(sward_compat::sleep(Duration::from_secs(3600)));
        sward::block_on(short);
        sward::block_on(sward_compat::sleep_until(start));
        assert!(start.elapsed() >= Duration::from_millis(5));
        sward::observe::assert_no_leaks();
    });
}
