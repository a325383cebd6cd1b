//! Many coroutines wait for one thing. The cost of one message, datagram or connection must not depend on
//! their number. For sward and Go; the other peers lack a part of it.

use super::{Meter, Outcome, Size, forever};
use std::net::{Ipv4Addr, TcpStream, UdpSocket as StdUdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use sward::channel::{Receiver, bounded};
use sward::net::{TcpListener, UdpSocket};
use sward::task::CancelToken;

/// The time between two checks whether all wait.
const POLL: Duration = Duration::from_millis(1);
/// How long the last coroutines get to reach their wait.
const SETTLE: Duration = Duration::from_millis(50);

/// Starts the coroutines. When it returns all have begun, and most likely wait.
fn crowd(size: Size, wait: impl Fn(u64) + Copy + Send + 'static) -> Vec<sward::task::JoinHandle<()>> {
    let begun = forever(AtomicU64::new(0));
    let wait = move |i| {
        begun.fetch_add(1, Ordering::Relaxed);
        wait(i);
    };
    let handles = (0..size.tasks).map(|i| sward::spawn(move || wait(i))).collect();
    while begun.load(Ordering::Relaxed) < size.tasks {
        sward::sleep(POLL);
    }
    sward::sleep(SETTLE);
    handles
}

/// Each coroutine selects over its own channel and a token that all share; messages go to each in turn.
pub fn token(size: Size) -> Outcome {
    let token = forever(CancelToken::new());
    let received = forever(AtomicU64::new(0));
    let (senders, receivers): (Vec<_>, Vec<Receiver<u64>>) = (0..size.tasks).map(|_| bounded(1)).unzip();
    let receivers = forever(receivers);
    let handles = crowd(size, move |i| {
        let own = &receivers[i as usize];
        loop {
            sward::select! {
                recv(own) -> _ => received.fetch_add(1, Ordering::Relaxed),
                cancelled(token) => return,
            };
        }
    });
    let meter = Meter::start();
    for n in 0..size.ops {
        senders[(n % size.tasks) as usize].send(n).expect("it receives");
        if n % 64 == 63 {
            sward::yield_now();
        }
    }
    while received.load(Ordering::Relaxed) < size.ops {
        sward::yield_now();
    }
    let outcome = meter.stop(size.ops);
    token.cancel();
    handles.into_iter().for_each(|handle| handle.join().expect("it ends well"));
    outcome
}

/// A UDP socket with many receivers: each datagram is sent when the one before has been received.
pub fn datagrams(size: Size) -> Outcome {
    let socket = forever(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound"));
    let (tell, told) = bounded(1);
    let tell = forever(tell);
    let handles = crowd(size, move |_| {
        while socket.recv(&mut [0; 8]).is_ok() {
            tell.send(()).expect("it is awaited");
        }
    });
    let sender = StdUdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let address = socket.local_addr().expect("an address");
    let meter = Meter::start();
    for _ in 0..size.ops {
        sender.send_to(b"x", address).expect("sent");
        told.recv().expect("received");
    }
    let outcome = meter.stop(size.ops);
    socket.close().expect("closed");
    handles.into_iter().for_each(|handle| handle.join().expect("it ends well"));
    outcome
}

/// A listener with many acceptors: each connection is made when the one before has been accepted.
pub fn accepts(size: Size) -> Outcome {
    let listener = forever(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound"));
    let (tell, told) = bounded(1);
    let tell = forever(tell);
    let handles = crowd(size, move |_| {
        while let Ok(connection) = listener.accept() {
            tell.send(connection).expect("it is awaited");
        }
    });
    let address = listener.local_addr().expect("an address");
    let meter = Meter::start();
    for _ in 0..size.ops {
        let client = TcpStream::connect(address).expect("connected");
        // The client closes first, so that the listener's port collects no connections in TIME_WAIT.
        drop(client);
        drop(told.recv().expect("accepted"));
    }
    let outcome = meter.stop(size.ops);
    listener.close().expect("closed");
    handles.into_iter().for_each(|handle| handle.join().expect("it ends well"));
    outcome
}
