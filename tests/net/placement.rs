//! Sockets and the scheduler: where connections run, busy workers, runtimes that end.

use crate::common::{SetOnDrop, in_runtime, listen, pair, without_spare_workers};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use sward::net::TcpStream;

#[test]
fn a_stream_outlives_its_runtime() {
    let (mut client, mut server) = in_runtime(|| {
        let (mut client, server) = pair();
        let mut theirs = server.try_clone().unwrap();
        let reader = sward::spawn(move || theirs.read_exact(&mut [0]).unwrap());
        sward::sleep(Duration::from_millis(5));
        client.write_all(b"a").unwrap();
        reader.join().unwrap();
        (client, server)
    });
    client.write_all(b"b").unwrap();
    server.read_exact(&mut [0]).unwrap();
    in_runtime(move || {
        let reader = sward::spawn(move || server.read_exact(&mut [0]).unwrap());
        sward::sleep(Duration::from_millis(5));
        client.write_all(b"c").unwrap();
        reader.join().unwrap();
    });
}

/// How many coroutines live on each worker, after so many connections of one accept loop.
fn spread(connections: usize) -> Vec<usize> {
    without_spare_workers(2).run(|| {
        let (listener, address) = listen();
        let server = sward::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                sward::spawn(move || while stream.read(&mut [0]).is_ok_and(|n| n == 1) {});
            }
        });
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                let mut client = TcpStream::connect(address).unwrap();
                client.write_all(b"x").unwrap();
                client
            })
            .collect();
        let live = || -> Vec<usize> {
            sward::runtime::metrics().unwrap().workers.iter().map(|worker| worker.live).collect()
        };
        while live().iter().sum::<usize>() < connections + 2 {
            sward::sleep(Duration::from_millis(1));
        }
        let live = live();
        drop(clients);
        server.cancel();
        live
    })
}

#[test]
fn connections_of_one_accept_loop_spread_over_the_workers() {
    const CONNECTIONS: usize = 1_000;
    let even = |live: &usize| live.abs_diff(CONNECTIONS / 2) <= CONNECTIONS * 15 / 200;
    let mut tries = Vec::new();
    // While the system does not run the thread of one worker, the other one gets its share. So one of several
    // tries counts.
    while tries.len() < 10 {
        let live = spread(CONNECTIONS);
        if live.iter().all(even) {
            return;
        }
        tries.push(live);
    }
    panic!("the connections live as {tries:?}");
}

#[test]
fn busy_workers_do_not_hide_events() {
    // SAFETY: nothing in this test holds anything of a thread's over a wait.
    let builder = unsafe { sward::runtime::Builder::new().worker_threads(2).migrate_started() };
    let runtime = builder.build().unwrap();
    runtime.run(|| {
        let (mut client, mut server) = pair();
        let reader = sward::spawn(move || server.read_exact(&mut [0]).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let stops_burners = SetOnDrop(stop.clone());
        let sleeper = sward::spawn(|| sward::sleep(Duration::from_millis(30)));
        sward::sleep(Duration::from_millis(10));
        let burners: Vec<_> = (0..2)
            .map(|_| {
                let stop = stop.clone();
                sward::spawn(move || while !stop.load(Ordering::Relaxed) {})
            })
            .collect();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            client.write_all(b"x").unwrap();
            client
        });
        sleeper.join().unwrap();
        reader.join().unwrap();
        assert!(burners.iter().all(|burner| !burner.is_finished()));
        drop(stops_burners);
        drop(writer.join().unwrap());
    });
    assert!(runtime.metrics().workers.iter().any(|worker| worker.helped > 0));
}

#[test]
fn an_always_ready_socket_does_not_starve_others() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
    runtime.run(|| {
        let (client, server) = pair();
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = stop.clone();
        let feeder = std::thread::spawn(move || {
            let block = vec![1; 1 << 16];
            while !theirs.load(Ordering::Relaxed) && (&client).write(&block).is_ok() {}
        });
        let reader = sward::spawn(move || while (&server).read(&mut [0]).is_ok_and(|n| n > 0) {});
        sward::sleep(Duration::from_millis(20));
        assert_eq!(sward::spawn(|| 1).join().unwrap(), 1);
        stop.store(true, Ordering::Relaxed);
        while !feeder.is_finished() {
            sward::sleep(Duration::from_millis(1));
        }
        reader.cancel();
    });
}
