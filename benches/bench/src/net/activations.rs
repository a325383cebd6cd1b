//! The server of the peer `sward-serve`: a connection has a coroutine only while a message is answered.

use super::{DEADLINE, HOG, ROOM, Service, WORK, announce, answer, burn, group_of_this_thread};
use crate::peers::ANY;
use std::io::{self, Read, Write};
use sward::net::{Conn, Next, ServeOptions, TcpSocket, serve as serve_connections};
use sward::runtime::{Builder, Homes};

/// The connections that wait to be accepted at most.
const BACKLOG: u32 = 4096;

pub fn serve(service: Service, workers: usize) -> io::Result<()> {
    if service == Service::Burn {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "sward-serve has no such service"));
    }
    let runtime = Builder::new().worker_threads(workers).homes(Homes::Off).build()?;
    runtime.run(move || {
        let socket = TcpSocket::new_v4()?;
        // Connections inherit it.
        socket.set_nodelay(true)?;
        socket.bind(ANY.parse().expect("an address"))?;
        let listener = socket.listen(BACKLOG)?;
        announce(listener.local_addr()?.port());
        for _ in 0..service.hogs() {
            sward::spawn(|| {
                loop {
                    sward::sleep(HOG.1);
                    burn(HOG.0);
                }
            });
        }
        let options = match service {
            Service::Deadline => ServeOptions::new().idle_limit(DEADLINE),
            _ => ServeOptions::new(),
        };
        serve_connections(listener, options, move |connection: &mut Conn<State>| handle(service, connection))
    })
}

/// What a connection keeps.
#[derive(Default)]
struct State {
    grouped: bool,
}

fn handle(service: Service, connection: &mut Conn<State>) -> io::Result<Next> {
    let mut buffer = [0; ROOM];
    let count = connection.read(&mut buffer)?;
    let input = &buffer[..count];
    match service {
        Service::Http => {
            let mut output = Vec::new();
            answer(input, &mut output);
            connection.write_all(&output)?;
        }
        Service::Skewed if count > 0 => {
            burn(WORK);
            let mut output = input.to_vec();
            if !std::mem::replace(&mut connection.state().grouped, true) {
                output.push(group_of_this_thread());
            }
            connection.write_all(&output)?;
        }
        _ => connection.write_all(input)?,
    }
    Ok(if service == Service::Once { Next::Close } else { Next::Idle })
}
