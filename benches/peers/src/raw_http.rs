//! A single-threaded epoll loop that answers HTTP requests: the practical limit for one core.
//! `raw-http [PORT]`. It looks for the end of each head and for nothing else.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd};

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, World!\n";

fn control(epoll: i32, fd: i32) -> io::Result<()> {
    let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLRDHUP) as u32, u64: fd as u64 };
    // SAFETY: the event lives until the call ends.
    match unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Serves what has come in on one connection; false once it is to be closed.
fn serve(fd: i32, buffer: &mut [u8], output: &mut Vec<u8>) -> bool {
    // SAFETY: the buffer is ours until the call ends.
    let n = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if n <= 0 {
        return n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock;
    }
    output.clear();
    for _ in buffer[..n as usize].windows(4).filter(|window| window == b"\r\n\r\n") {
        output.extend_from_slice(RESPONSE);
    }
    // SAFETY: the output lives until the call ends.
    let sent = unsafe { libc::send(fd, output.as_ptr().cast(), output.len(), libc::MSG_NOSIGNAL) };
    sent == output.len() as isize
}

fn main() -> io::Result<()> {
    let port: u16 = std::env::args().nth(1).map_or(8081, |port| port.parse().expect("a port"));
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    println!("serves http://{}/", listener.local_addr()?);
    // SAFETY: the call takes no pointers.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    control(epoll, listener.as_raw_fd())?;
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
    let (mut buffer, mut output) = (vec![0; 4096], Vec::new());
    loop {
        // SAFETY: there is room for as many events as are asked for.
        let n = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), events.len() as i32, -1) };
        for event in &events[..n.max(0) as usize] {
            let fd = event.u64 as i32;
            if fd != listener.as_raw_fd() {
                if !serve(fd, &mut buffer, &mut output) {
                    // SAFETY: the connection is ours and is used no more.
                    unsafe { libc::close(fd) };
                }
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                control(epoll, stream.into_raw_fd())?;
            }
        }
    }
}
