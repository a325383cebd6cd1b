//! The server of the peers whose code blocks: a coroutine or thread for each connection.

use super::{BURNERS, DEADLINE, ROOM, Service, announce, answer, burn};
use crate::peers::Net;
use std::io::{self, Read, Write};

pub fn serve<P: Net>(service: Service, workers: usize) -> io::Result<()> {
    P::run(workers, move || {
        let (listener, address) = P::bind()?;
        announce(address.port());
        if service == Service::Burn {
            for _ in 0..BURNERS {
                P::spawn(|| {
                    loop {
                        burn();
                        P::yield_now();
                    }
                });
            }
        }
        loop {
            let stream = P::accept(&listener)?;
            // A client that resets its connection has ended it, no more.
            P::spawn(move || drop(handle::<P>(service, stream)));
        }
    })
}

fn handle<P: Net>(service: Service, mut stream: P::Stream) -> io::Result<()> {
    if service == Service::Deadline {
        P::set_read_timeout(&stream, DEADLINE)?;
    }
    let (mut buffer, mut output) = ([0; ROOM], Vec::new());
    loop {
        let input = match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => &buffer[..n],
        };
        match service {
            Service::Http => {
                answer(input, &mut output);
                stream.write_all(&output)?;
            }
            _ => stream.write_all(input)?,
        }
        if service == Service::Once {
            return Ok(());
        }
    }
}
