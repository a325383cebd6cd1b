//! What a round trip costs: with sward's sockets, with std's sockets in `park_blocking`, and with std's
//! sockets on threads.
//!
//! `cargo run --release -p sward-interpose --example round_trip [connections] [round trips of each]`
//!
//! Each connection has a client and an echo server, both of the same kind, in this process. The three kinds
//! run in turn, several times. A line is one kind: the processor time of the process for each round trip, the
//! median and the range of its runs, and the ratio to the first kind.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const RUNS: usize = 7;
const MESSAGE: [u8; 64] = [7; 64];

fn echo(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buf = [0; 1024];
    loop {
        match stream.read(&mut buf)? {
            0 => return Ok(()),
            got => stream.write_all(&buf[..got])?,
        }
    }
}

fn ask(mut stream: impl Read + Write, times: usize) -> io::Result<()> {
    let mut answer = [0; MESSAGE.len()];
    for _ in 0..times {
        stream.write_all(&MESSAGE)?;
        stream.read_exact(&mut answer)?;
    }
    Ok(())
}

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

fn native(pairs: Vec<(TcpStream, TcpStream)>, times: usize) {
    sward::run(|| {
        sward::scope(|s| {
            for (client, server) in pairs {
                s.spawn(move || echo(sward::net::TcpStream::from(server)));
                s.spawn(move || ask(sward::net::TcpStream::from(client), times).expect("a round trip"));
            }
        });
    });
}

fn interposed(pairs: Vec<(TcpStream, TcpStream)>, times: usize) {
    sward::run(|| {
        sward::scope(|s| {
            for (client, server) in pairs {
                // SAFETY: std's sockets keep nothing in the thread, and there are no locks.
                s.spawn(move || unsafe { sward_interpose::park_blocking(|| echo(server)) });
                // SAFETY: as above.
                s.spawn(move || unsafe {
                    sward_interpose::park_blocking(|| ask(client, times)).expect("a round trip");
                });
            }
        });
    });
}

fn threads(pairs: Vec<(TcpStream, TcpStream)>, times: usize) {
    std::thread::scope(|s| {
        for (client, server) in pairs {
            s.spawn(move || echo(server));
            s.spawn(move || ask(client, times).expect("a round trip"));
        }
    });
}

/// The processor time of the process so far.
fn used() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let connections = arguments.next().unwrap_or(64);
    let times = arguments.next().unwrap_or(500);
    type Kind = fn(Vec<(TcpStream, TcpStream)>, usize);
    let kinds: [(&str, Kind); 3] =
        [("sward's sockets", native), ("park_blocking", interposed), ("threads", threads)];
    let mut samples = [const { Vec::new() }; 3];
    for run in 0..=RUNS {
        for ((_, kind), samples) in kinds.iter().zip(&mut samples) {
            let pairs = (0..connections).map(|_| pair()).collect::<io::Result<_>>()?;
            let before = used();
            kind(pairs, times);
            let took = (used() - before).as_secs_f64() * 1e6 / (connections * times) as f64;
            // The first run warms up.
            if run > 0 {
                samples.push(took);
            }
        }
    }
    samples.iter_mut().for_each(|samples| samples.sort_by(f64::total_cmp));
    let base = samples[0][RUNS / 2];
    for ((name, _), samples) in kinds.iter().zip(&samples) {
        let (least, median, most) = (samples[0], samples[RUNS / 2], samples[RUNS - 1]);
        println!("{name:16} {median:6.1} us ({least:.1} to {most:.1}), {:.2}", median / base);
    }
    Ok(())
}
