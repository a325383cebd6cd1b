//! The server of the peer `sward-serve`: a connection has a coroutine only while a message is answered.

use super::{DEADLINE, ROOM, Service, WORK, announce, answer, burn, group_of_this_thread};
use std::io::{self, Read, Write};
use sward::net::{Conn, Next, ServeOptions, TcpListener, serve as serve_connections};
use sward::runtime::{Builder, Homes};

pub fn serve(service: Service, workers: usize) -> io::Result<()> {
    if !matches!(service, Service::Echo | Service::Once | Service::Deadline | Service::Skewed | Service::Http)
    {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "sward-serve has no such service"));
    }
    let runtime = Builder::new().worker_threads(workers).homes(Homes::Off).build()?;
    runtime.run(move || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        announce(listener.local_addr()?.port());
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
