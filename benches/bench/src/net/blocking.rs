//! The server of the peers whose code blocks: a coroutine or thread for each connection.

use super::{BURNERS, DEADLINE, HOG, ROOM, SLICE, Service, WORK, announce, answer, burn};
use crate::peers::Net;
use std::io::{self, Read, Write};
use std::sync::OnceLock;
use std::thread::ThreadId;

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
        if service == Service::Hog {
            P::spawn(|| {
                loop {
                    burn(HOG.0);
                    P::sleep(HOG.1);
                }
            });
        }
        for number in 0u64.. {
            let stream = P::accept(&listener)?;
            // A reset by the client is an end like any other.
            P::spawn(move || drop(handle::<P>(service, stream, number)));
        }
        Ok(())
    })
}

/// Whether a connection of the service `Uneven` is busy: the connections of one worker are, or half of all.
fn is_busy<P: Net>(number: u64) -> bool {
    static BUSY: OnceLock<ThreadId> = OnceLock::new();
    let this = std::thread::current().id();
    if P::PINNED { *BUSY.get_or_init(|| this) == this } else { number.is_multiple_of(2) }
}

fn handle<P: Net>(service: Service, mut stream: P::Stream, number: u64) -> io::Result<()> {
    let once = service == Service::Once || service == Service::Uneven && !is_busy::<P>(number);
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
            _ => {
                if service == Service::Uneven {
                    burn(WORK);
                }
                stream.write_all(input)?;
            }
        }
        if once {
            return Ok(());
        }
    }
}
