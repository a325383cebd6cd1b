//! Names and addresses.

use crate::common::{both, in_runtime, kind, listen};
use std::io::ErrorKind;
use sward::net::{TcpStream, ToSocketAddrs};

#[test]
fn names_and_literals_resolve() {
    both(|| {
        let (_listener, address) = listen();
        let port = address.port();
        for name in [format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
            TcpStream::connect(&name).expect("connected");
            TcpStream::connect(name.as_str()).expect("connected");
        }
        TcpStream::connect(("localhost", port)).expect("connected");
        TcpStream::connect(("localhost".to_string(), port)).expect("connected");
        let v6 = ("::1", 80).to_socket_addrs().expect("a literal").next();
        assert_eq!(v6, Some("[::1]:80".parse().unwrap()));
        for bad in ["localhost", "localhost:seventy", ""] {
            assert_eq!(kind(bad.to_socket_addrs().map(drop)), ErrorKind::InvalidInput, "{bad:?}");
        }
    });
}

#[test]
fn many_names_resolve_at_once() {
    in_runtime(|| {
        let all: Vec<_> = (0..300)
            .map(|i| sward::spawn(move || ("localhost", i).to_socket_addrs().map(Iterator::count)))
            .collect();
        for one in all {
            assert!(one.join().unwrap().expect("resolved") > 0);
        }
    });
}
