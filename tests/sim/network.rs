//! Sockets of a simulation: the code is that of any program, the network is in memory.

use std::io::{Read, Write};
use sward::net::{Shutdown, TcpListener, TcpStream};
use sward::sim::Check;

fn echo(listener: TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.expect("accepted");
        sward::spawn(move || {
            let mut buf = [0; 100];
            loop {
                match stream.read(&mut buf) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => stream.write_all(&buf[..count]).expect("written"),
                }
            }
        });
    }
}

#[test]
fn a_server_and_its_clients_talk_over_loopback() {
    let passed = Check::new().runs(20).run(|_| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let closes = listener.try_clone().expect("cloned");
        let server = sward::spawn(move || echo(listener));
        sward::scope(|scope| {
            for client in 0..3u8 {
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(address).expect("connected");
                    let sent = vec![client; 3000];
                    stream.write_all(&sent).expect("written");
                    stream.shutdown(Shutdown::Write).expect("shut");
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).expect("read");
                    assert_eq!(got, sent);
                });
            }
        });
        closes.close().expect("closed");
        server.join().expect("no panic");
    });
    assert_eq!(passed.schedules, 20);
}
