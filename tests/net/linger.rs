//! Sockets that linger.

use crate::common::LONG;
use std::io::{Read, Write};
use std::time::Instant;
use sward::net::TcpStream;

/// How the sockets of a server are set to linger.
#[derive(Clone, Copy, Debug)]
enum Lingers {
    Inherited,
    BySetsockopt,
    Adopted,
}

/// A connection of a server that lingers, with more bytes in its buffer than the client takes before it
/// reads.
fn lingering(how: Lingers) -> (std::net::TcpStream, TcpStream, usize) {
    let on = libc::linger { l_onoff: 1, l_linger: LONG.as_secs() as libc::c_int };
    let socket = sward::net::TcpSocket::new_v4().unwrap();
    if let Lingers::Inherited = how {
        socket.set_linger(Some(LONG)).unwrap();
    }
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    match how {
        Lingers::Inherited => {}
        Lingers::BySetsockopt => crate::common::set_option(&server, libc::SOL_SOCKET, libc::SO_LINGER, on),
        Lingers::Adopted => {
            let std = server.into_std().unwrap();
            crate::common::set_option(&std, libc::SOL_SOCKET, libc::SO_LINGER, on);
            server = TcpStream::from(std);
        }
    }
    server.set_nonblocking(true).unwrap();
    let (mut sent, piece) = (0, [7; 1 << 16]);
    while let Ok(count) = server.write(&piece) {
        sent += count;
    }
    (client, server, sent)
}

/// The close of the socket waits for a client that does not read. The client reads only once the worker has
/// gone on.
#[test]
fn dropping_a_socket_that_lingers_does_not_block_its_worker() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
    for how in [Lingers::Inherited, Lingers::BySetsockopt, Lingers::Adopted] {
        let start = Instant::now();
        let (client, sent) = runtime.run(move || {
            let (client, server, sent) = lingering(how);
            drop(server);
            (client, sent)
        });
        assert!(start.elapsed() < LONG, "{how:?}: the drop waited");
        let mut all = Vec::new();
        (&client).read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), sent, "{how:?}");
    }
}

/// However many sockets linger, threads of the pool are left for files and names.
#[test]
fn lingering_sockets_do_not_use_up_the_pool() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().unwrap();
    let start = Instant::now();
    runtime.run(|| {
        let clients: Vec<_> = (0..100)
            .map(|_| {
                let (client, server, sent) = lingering(Lingers::Inherited);
                drop(server);
                (client, sent)
            })
            .collect();
        sward::fs::metadata("Cargo.toml").unwrap();
        assert!(start.elapsed() < LONG, "the drops waited");
        // There was no thread left to linger for the last ones, and all their bytes arrive nevertheless.
        let (mut client, sent) = clients.into_iter().next_back().unwrap();
        let mut all = Vec::new();
        sward::blocking(|| client.read_to_end(&mut all)).unwrap().unwrap();
        assert_eq!(all.len(), sent);
    });
}
