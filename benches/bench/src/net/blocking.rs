//! The server of the peers whose code blocks: a coroutine or thread for each connection.

use super::{BURNERS, DEADLINE, HOG, ROOM, SLICE, Service, WORK};
use super::{announce, answer, burn, group_of_this_thread};
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
                        burn(SLICE);
                        P::yield_now();
                    }
                });
            }
        }
        for _ in 0..service.hogs() {
            P::spawn(|| {
                loop {
                    P::sleep(HOG.1);
                    burn(HOG.0);
                }
            });
        }
        loop {
            let stream = P::accept(&listener)?;
            // A reset by the client is an end like any other.
            P::spawn(move || drop(handle::<P>(service, stream)));
        }
    })
}

fn handle<P: Net>(service: Service, mut stream: P::Stream) -> io::Result<()> {
    if service == Service::Deadline {
        P::set_read_timeout(&stream, DEADLINE)?;
    }
    let (mut buffer, mut output) = ([0; ROOM], Vec::new());
    let mut grouped = false;
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
            Service::Skewed => {
                burn(WORK);
                output.clear();
                output.extend_from_slice(input);
                if !std::mem::replace(&mut grouped, true) {
                    output.push(group_of_this_thread());
                }
                stream.write_all(&output)?;
            }
            _ => stream.write_all(input)?,
        }
        if service == Service::Once {
            return Ok(());
        }
    }
}
