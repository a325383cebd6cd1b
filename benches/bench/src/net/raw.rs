//! A single-threaded epoll loop: the practical limit for one core.

use super::{ROOM, Service, announce, answer};
use crate::sys::Epoll;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

pub fn serve(service: Service) -> io::Result<()> {
    let listener = TcpListener::bind(crate::peers::ANY)?;
    listener.set_nonblocking(true)?;
    announce(listener.local_addr()?.port());
    let mut epoll = Epoll::new()?;
    let door = listener.as_raw_fd() as usize;
    epoll.add(&listener, door)?;
    // Indexed by descriptor.
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let (mut buffer, mut output) = ([0; ROOM], Vec::new());
    loop {
        let mut knocked = false;
        for number in epoll.wait(None) {
            if number == door {
                knocked = true;
            } else if let Some(stream) = &mut connections[number]
                && !handle(service, stream, &mut buffer, &mut output)
            {
                connections[number] = None;
            }
        }
        while knocked && let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let number = stream.as_raw_fd() as usize;
            epoll.add(&stream, number)?;
            if connections.len() <= number {
                connections.resize_with(number + 1, || None);
            }
            connections[number] = Some(stream);
        }
    }
}

/// Serves the input of one connection. Returns false if it is to close. Answers are small enough to fit into
/// the socket's buffer.
fn handle(service: Service, stream: &mut TcpStream, buffer: &mut [u8], output: &mut Vec<u8>) -> bool {
    let input = match stream.read(buffer) {
        Ok(0) => return false,
        Ok(n) => &buffer[..n],
        Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
    };
    let sent = if service == Service::Http {
        answer(input, output);
        stream.write_all(output)
    } else {
        stream.write_all(input)
    };
    sent.is_ok() && service != Service::Once
}
