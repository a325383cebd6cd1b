//! Pipes, the standard streams and copying: what std's and tokio's own tests cover, and what is particular to
//! parking. The standard streams are those of children, which run a test of this file again.

mod checked;
mod common;

use common::{MOMENT, both, in_runtime, kind};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use sward::io::{
    CopyBidirectional, CopyIdle, PipeReader, PipeWriter, Pollable, copy, copy_bidirectional, pipe,
};
use sward::net::{Shutdown, TcpListener, TcpStream, UnixStream};
use sward::task::JoinError;
use sward::time::timeout;

fn is_nonblocking(fd: &impl AsRawFd) -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i % 251) as u8).collect()
}

mod pipes {
    use super::*;

    #[test]
    fn ends_are_what_std_s_are() {
        fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
        check::<PipeReader>();
        check::<PipeWriter>();
    }

    #[test]
    fn a_reader_waits_for_a_writer() {
        both(|| {
            let (mut reader, mut writer) = pipe().unwrap();
            let parked = sward::spawn(move || io::read_to_string(&mut reader));
            sward::sleep(MOMENT);
            writer.write_all(b"hello").unwrap();
            assert_eq!(writer.write_vectored(&[IoSlice::new(b", "), IoSlice::new(b"world")]).unwrap(), 7);
            writer.flush().unwrap();
            drop(writer);
            assert_eq!(parked.join().unwrap().unwrap(), "hello, world");
        });
    }

    #[test]
    fn a_writer_waits_for_a_reader() {
        both(|| {
            const TOTAL: usize = 1 << 20;
            let (reader, mut writer) = pipe().unwrap();
            let parked = sward::spawn(move || writer.write_all(&pattern(TOTAL)));
            sward::sleep(MOMENT);
            let mut all = Vec::new();
            (&reader).read_to_end(&mut all).unwrap();
            assert!(all == pattern(TOTAL));
            parked.join().unwrap().unwrap();
            let (mut first, mut second) = ([0; 1], [0; 2]);
            let bufs = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            assert_eq!((&reader).read_vectored(bufs).unwrap(), 0);
        });
    }

    #[test]
    fn plain_threads_block() {
        let (mut reader, writer) = pipe().unwrap();
        let thread = thread::spawn(move || io::read_to_string(&mut reader));
        thread::sleep(MOMENT);
        in_runtime(move || (&writer).write_all(b"from a coroutine")).unwrap();
        assert_eq!(thread.join().unwrap().unwrap(), "from a coroutine");
    }

    #[test]
    fn a_lost_reader_is_an_error() {
        both(|| {
            let (reader, writer) = pipe().unwrap();
            let parked = sward::spawn(move || {
                loop {
                    if let Err(error) = (&writer).write(&[0; 1 << 16]) {
                        break error.kind();
                    }
                }
            });
            sward::sleep(MOMENT);
            drop(reader);
            assert_eq!(parked.join().unwrap(), ErrorKind::BrokenPipe);
        });
    }

    #[test]
    fn the_end_comes_when_all_clones_are_gone() {
        both(|| {
            let (reader, writer) = pipe().unwrap();
            let (other, mut clone) = (reader.try_clone().unwrap(), writer.try_clone().unwrap());
            drop(writer);
            clone.write_all(b"ab").unwrap();
            let mut byte = [0];
            (&reader).read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"a");
            (&other).read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"b");
            let parked = sward::spawn(move || (&other).read(&mut [0]));
            sward::sleep(MOMENT);
            drop(clone);
            assert_eq!(parked.join().unwrap().unwrap(), 0);
        });
    }

    #[test]
    fn a_wait_ends_by_cancelling_and_by_a_limit_and_loses_nothing() {
        in_runtime(|| {
            let (reader, mut writer) = pipe().unwrap();
            let reader = Arc::new(reader);
            let reading = reader.clone();
            let parked = sward::spawn(move || (&*reading).read(&mut [0; 8]));
            sward::sleep(MOMENT);
            parked.cancel();
            assert!(matches!(parked.join(), Err(JoinError::Cancelled)));
            assert!(timeout(MOMENT, || (&*reader).read(&mut [0; 8])).is_err());
            writer.write_all(b"kept").unwrap();
            let mut buf = [0; 4];
            (&*reader).read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"kept");
            assert!(timeout(MOMENT, || while writer.write(&[0; 1 << 16]).is_ok() {}).is_err());
        });
        let (mut reader, _writer) = pipe().unwrap();
        assert!(timeout(MOMENT, || reader.read(&mut [0; 8])).is_err());
    }

    #[test]
    fn ends_come_from_std_and_go_there() {
        both(|| {
            let (reader, writer) = io::pipe().unwrap();
            let (mut reader, mut writer) = (PipeReader::from(reader), PipeWriter::from(writer));
            writer.write_all(b"one").unwrap();
            let mut buf = [0; 3];
            reader.read_exact(&mut buf).unwrap();
            assert!(is_nonblocking(&reader) && is_nonblocking(&writer));

            let mut writer: io::PipeWriter = writer.into_std().unwrap();
            let mut reader = io::PipeReader::try_from(reader).unwrap();
            assert!(!is_nonblocking(&reader) && !is_nonblocking(&writer));
            writer.write_all(b"two").unwrap();
            reader.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"two");

            let (reader, writer) = (OwnedFd::from(reader), writer.into_raw_fd());
            // SAFETY: the descriptor was just given up by its owner.
            let (mut reader, mut writer) =
                (PipeReader::from(reader), unsafe { PipeWriter::from_raw_fd(writer) });
            writer.write_all(b"end").unwrap();
            reader.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"end");
            assert_eq!(reader.as_fd().as_raw_fd(), reader.as_raw_fd());
        });
    }

    /// A clone that goes elsewhere does not take the descriptor along.
    #[test]
    fn a_clone_goes_as_a_duplicate() {
        both(|| {
            let (mut reader, writer) = pipe().unwrap();
            let duplicate = OwnedFd::from(writer.try_clone().unwrap());
            assert_ne!(duplicate.as_raw_fd(), writer.as_raw_fd());
            drop(writer);
            File::from(duplicate).write_all(b"x").unwrap();
            assert_eq!(io::read_to_string(&mut reader).unwrap(), "x");
        });
    }

    /// What goes to a child is blocking, whatever was done with it before.
    #[test]
    fn a_child_writes_to_an_end() {
        both(|| {
            let (mut reader, mut writer) = pipe().unwrap();
            writer.write_all(b"before ").unwrap();
            let mut child = Command::new("sh")
                .args(["-c", "head -c 300000 /dev/zero; echo after >&2"])
                .stderr(writer.try_clone().unwrap())
                .stdout(writer)
                .spawn()
                .unwrap();
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            assert!(sward::blocking(|| child.wait()).unwrap().unwrap().success());
            assert!(all.starts_with(b"before ") && all.ends_with(b"after\n"));
            assert_eq!(all.len(), 7 + 300_000 + 6);
        });
    }

    #[test]
    fn no_bytes_take_no_time() {
        both(|| {
            let (mut reader, mut writer) = pipe().unwrap();
            assert_eq!(writer.write(&[]).unwrap(), 0);
            writer.write_all(b"x").unwrap();
            assert_eq!(reader.read(&mut []).unwrap(), 0);
        });
    }
}

mod copies {
    use super::*;

    /// Reads that give what they are told to.
    struct Script(Vec<Result<Vec<u8>, ErrorKind>>);

    impl Read for Script {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let bytes = self.0.remove(0)?;
            buf[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }

    #[test]
    fn a_copy_goes_to_the_end_and_over_interruptions() {
        both(|| {
            let all = pattern(3 << 20);
            let mut to = Vec::new();
            assert_eq!(copy(&mut &all[..], &mut to).unwrap(), 3 << 20);
            assert!(to == all);
            assert_eq!(copy(&mut io::empty(), &mut to).unwrap(), 0);

            let script = |last| Script(vec![Ok(vec![1, 2]), Err(ErrorKind::Interrupted), Ok(vec![3]), last]);
            let mut to = Vec::new();
            assert_eq!(copy(&mut script(Ok(vec![4])), &mut to).unwrap(), 4);
            assert_eq!(to, [1, 2, 3, 4]);
            assert_eq!(kind(copy(&mut script(Err(ErrorKind::InvalidData)), &mut to)), ErrorKind::InvalidData);
            let mut small = [0; 2];
            assert_eq!(kind(copy(&mut script(Ok(vec![])), &mut &mut small[..])), ErrorKind::WriteZero);
            // What has no size of its own.
            let (from, to): (&mut dyn Read, &mut dyn Write) = (&mut &b"dyn"[..], &mut Vec::new());
            assert_eq!(copy(from, to).unwrap(), 3);
        });
    }

    #[test]
    fn a_copy_from_pipe_to_pipe_parks() {
        both(|| {
            let (mut from, mut first) = pipe().unwrap();
            let (mut last, mut to) = pipe().unwrap();
            let copying = sward::spawn(move || copy(&mut from, &mut to));
            let writing = sward::spawn(move || first.write_all(&pattern(1 << 20)));
            let mut all = Vec::new();
            last.read_to_end(&mut all).unwrap();
            assert!(all == pattern(1 << 20));
            writing.join().unwrap().unwrap();
            assert_eq!(copying.join().unwrap().unwrap(), 1 << 20);
        });
    }

    fn tcp() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    type Proxy = sward::task::JoinHandle<io::Result<(u64, u64)>>;

    /// A client, a server, and what goes between them.
    fn proxied() -> (TcpStream, UnixStream, Proxy) {
        let ((client, a), (b, server)) = (tcp(), UnixStream::pair().unwrap());
        (client, server, sward::spawn(move || copy_bidirectional(&a, &b)))
    }

    #[test]
    fn both_directions_end_by_themselves() {
        both(|| {
            for client_first in [true, false] {
                let (mut client, mut server, proxy) = proxied();
                let end = |client: &mut TcpStream, server: &mut UnixStream| {
                    client.write_all(b"question").unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    assert_eq!(io::read_to_string(server).unwrap(), "question");
                };
                if client_first {
                    end(&mut client, &mut server);
                }
                // The other direction goes on.
                for _ in 0..3 {
                    server.write_all(b"part ").unwrap();
                    client.read_exact(&mut [0; 5]).unwrap();
                }
                server.shutdown(Shutdown::Write).unwrap();
                assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
                if !client_first {
                    end(&mut client, &mut server);
                }
                assert_eq!(proxy.join().unwrap().unwrap(), (8, 15));
            }
        });
    }

    #[test]
    fn much_goes_both_ways_at_once() {
        both(|| {
            const TOTAL: usize = 4 << 20;
            let (client, server, proxy) = proxied();
            sward::scope(|s| {
                s.spawn(|| {
                    (&client).write_all(&pattern(TOTAL)).unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                });
                s.spawn(|| {
                    (&server).write_all(&pattern(TOTAL)).unwrap();
                    server.shutdown(Shutdown::Write).unwrap();
                });
                for side in [&client as &dyn ReadShared, &server] {
                    s.spawn(move || {
                        let mut all = Vec::new();
                        side.read_all(&mut all);
                        assert!(all == pattern(TOTAL));
                    });
                }
            });
            assert_eq!(proxy.join().unwrap().unwrap(), (TOTAL as u64, TOTAL as u64));
        });
    }

    /// Reading through a shared reference, whatever it is to.
    trait ReadShared: Sync {
        fn read_all(&self, to: &mut Vec<u8>);
    }

    impl ReadShared for TcpStream {
        fn read_all(&self, to: &mut Vec<u8>) {
            let mut this = self;
            this.read_to_end(to).unwrap();
        }
    }

    impl ReadShared for UnixStream {
        fn read_all(&self, to: &mut Vec<u8>) {
            let mut this = self;
            this.read_to_end(to).unwrap();
        }
    }

    /// The other direction, which nobody ends, ends as well.
    #[test]
    fn a_reset_ends_both() {
        both(|| {
            let (client, _server, proxy) = proxied();
            sward::sleep(MOMENT);
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            let size = size_of::<libc::linger>() as libc::socklen_t;
            // SAFETY: the value is `size` bytes and lives until the call ends.
            let set = unsafe {
                let value = (&raw const linger).cast();
                libc::setsockopt(client.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size)
            };
            assert_eq!(set, 0);
            drop(client);
            assert_eq!(kind(proxy.join().unwrap()), ErrorKind::ConnectionReset);
        });
    }

    #[test]
    fn a_limit_and_a_cancel_end_both() {
        let test = || {
            let ((_client, a), (b, _server)) = (tcp(), tcp());
            assert!(timeout(MOMENT, || copy_bidirectional(&a, &b)).is_err());
            // They are as they were.
            let proxy = sward::spawn(move || copy_bidirectional(&a, &b));
            sward::sleep(MOMENT);
            assert!(!proxy.is_finished());
            proxy.cancel();
            assert!(matches!(proxy.join(), Err(JoinError::Cancelled)));
        };
        both(test);
    }

    /// Both directions are silent: the one that has been used, and the one that has not.
    #[test]
    fn an_idle_limit_ends_both() {
        both(|| {
            for half_closed in [false, true] {
                let ((mut client, a), (b, mut server)) = (tcp(), UnixStream::pair().unwrap());
                let settings = CopyBidirectional::new().idle_timeout(MOMENT);
                let proxy = sward::spawn(move || (settings.copy(&a, &b), a, b));
                client.write_all(b"question").unwrap();
                server.read_exact(&mut [0; 8]).unwrap();
                if half_closed {
                    client.shutdown(Shutdown::Write).unwrap();
                }
                let (copied, a, _b) = proxy.join().unwrap();
                let error = copied.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                let idle: &CopyIdle = error.get_ref().unwrap().downcast_ref().unwrap();
                assert_eq!((idle.a_to_b, idle.b_to_a), (8, 0));
                // The streams are open.
                (&a).write_all(b"bye").unwrap();
                client.read_exact(&mut [0; 3]).unwrap();
            }
        });
    }

    /// One direction is silent for longer than the limit, and the other is not: as in a download.
    #[test]
    fn an_idle_limit_is_one_for_both_directions() {
        const LIMIT: Duration = Duration::from_secs(2);
        sward::run(|| {
            let ((mut client, a), (b, mut server)) = (tcp(), tcp());
            let settings = CopyBidirectional::new().idle_timeout(LIMIT);
            let proxy = sward::spawn(move || settings.copy(&a, &b));
            let begun = Instant::now();
            let mut count = 0;
            while begun.elapsed() < 2 * LIMIT {
                server.write_all(b"x").unwrap();
                client.read_exact(&mut [0]).unwrap();
                count += 1;
                sward::sleep(LIMIT / 40);
            }
            drop((client, server));
            assert_eq!(proxy.join().unwrap().unwrap(), (0, count));
        });
    }

    /// An end, an error, a limit and a cancel are as without an idle limit, and need not wait for it.
    #[test]
    fn an_idle_limit_holds_nothing_up() {
        let settings = CopyBidirectional::new().idle_timeout(Duration::from_secs(3600)).buffer_size(3);
        both(|| {
            let start = |a: TcpStream, b: UnixStream| {
                let settings = settings.clone();
                sward::spawn(move || settings.copy(&a, &b))
            };
            let ((mut client, a), (b, mut server)) = (tcp(), UnixStream::pair().unwrap());
            let proxy = start(a, b);
            client.write_all(b"question").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(io::read_to_string(&mut server).unwrap(), "question");
            server.write_all(b"answer").unwrap();
            drop(server);
            assert_eq!(io::read_to_string(&mut client).unwrap(), "answer");
            assert_eq!(proxy.join().unwrap().unwrap(), (8, 6));

            let ((client, a), (b, _server)) = (tcp(), UnixStream::pair().unwrap());
            let proxy = start(a, b);
            client.set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            assert_eq!(kind(proxy.join().unwrap()), ErrorKind::ConnectionReset);

            let ((_client, a), (b, _server)) = (tcp(), UnixStream::pair().unwrap());
            assert!(timeout(MOMENT, || settings.copy(&a, &b)).is_err());
            let proxy = start(a, b);
            sward::sleep(MOMENT);
            assert!(!proxy.is_finished());
            proxy.cancel();
            assert!(matches!(proxy.join(), Err(JoinError::Cancelled)));
        });
    }

    #[test]
    fn what_is_no_socket_says_so() {
        both(|| {
            let (client, a) = tcp();
            drop(client);
            let (_reader, writer) = io::pipe().unwrap();
            struct End(Pollable<io::PipeWriter>);
            impl AsFd for End {
                fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                    self.0.as_fd()
                }
            }
            impl Read for &End {
                fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                    Ok(0)
                }
            }
            impl Write for &End {
                fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                    (&self.0).write(buf)
                }
                fn flush(&mut self) -> io::Result<()> {
                    Ok(())
                }
            }
            let end = End(Pollable::new(writer).unwrap());
            let error = copy_bidirectional(&a, &end).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
        });
    }
}

mod streams {
    use super::*;
    use std::process::Child;

    const ROLE: &str = "SWARD_TEST_ROLE";

    fn role() -> Option<String> {
        std::env::var(ROLE).ok()
    }

    /// This file's test of that name, in that role.
    fn command(role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["streams::a_child", "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
        command
    }

    /// One worker, which must not block.
    fn on_one_worker<T: Send>(f: impl FnOnce() -> T + Send) -> T {
        sward::runtime::Builder::new().worker_threads(1).build().unwrap().run(f)
    }

    /// What the children do. In the parent it is nothing.
    #[test]
    fn a_child() {
        match role().as_deref() {
            Some("shout") => on_one_worker(shout),
            Some("much") => on_one_worker(much),
            Some("patience") => on_one_worker(patience),
            Some("exit") => on_one_worker(|| {
                write!(sward::io::stdout(), "no end of line").unwrap();
                std::process::exit(0);
            }),
            Some("return") => on_one_worker(|| write!(sward::io::stdout(), "no end of line").unwrap()),
            Some("closed") => on_one_worker(closed),
            Some(role) => panic!("no such role: {role}"),
            None => {}
        }
    }

    /// Shouts lines back. Says first that it can do something else while it waits for one.
    fn shout() {
        let shouting = sward::spawn(|| {
            let mut last = String::new();
            for line in sward::io::stdin().lines() {
                last = line.unwrap().to_uppercase();
                writeln!(sward::io::stdout(), "{last}").unwrap();
            }
            writeln!(sward::io::stdout(), "ended after {last}").unwrap();
        });
        sward::sleep(MOMENT);
        let shared = is_nonblocking(&sward::io::stdin()) || is_nonblocking(&sward::io::stdout());
        writeln!(sward::io::stderr(), "free, nonblocking: {shared}").unwrap();
        shouting.join().unwrap();
    }

    /// Writes more than anybody takes at once.
    fn much() {
        let writing = sward::spawn(|| {
            let mut out = sward::io::stdout().lock();
            for _ in 0..1 << 14 {
                out.write_all(&[b'x'; 63]).unwrap();
                out.write_all(b"\n").unwrap();
            }
        });
        sward::sleep(MOMENT);
        writeln!(sward::io::stderr(), "free").unwrap();
        writing.join().unwrap();
    }

    /// Gives up twice, and loses nothing by that.
    fn patience() {
        let mut line = String::new();
        assert!(timeout(MOMENT, || sward::io::stdin().read_line(&mut line)).is_err());
        let parked = sward::spawn(|| sward::io::stdin().read_line(&mut String::new()));
        sward::sleep(MOMENT);
        // The lock parks, too.
        assert!(timeout(MOMENT, || drop(sward::io::stdin().lock())).is_err());
        parked.cancel();
        assert!(matches!(parked.join(), Err(JoinError::Cancelled)));
        writeln!(sward::io::stderr(), "gave up").unwrap();
        sward::io::stdin().read_line(&mut line).unwrap();
        let mut rest = String::new();
        sward::io::stdin().read_to_string(&mut rest).unwrap();
        assert_eq!((line.as_str(), rest.as_str()), ("first\n", "second\nthird"));
    }

    fn closed() {
        // SAFETY: nobody in this process uses the stream afterwards, except as one that is closed.
        unsafe { libc::close(0) };
        assert_eq!(sward::io::stdin().read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(sward::io::stdin().read_line(&mut String::new()).unwrap(), 0);
    }

    fn piped(role: &str) -> Child {
        command(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child")
    }

    /// Reads lines until one contains that.
    fn until(reader: &mut impl BufRead, what: &str) -> String {
        loop {
            let mut line = String::new();
            let count = reader.read_line(&mut line).unwrap_or(0);
            assert_ne!(count, 0, "the end, and no {what:?}");
            if line.contains(what) {
                return line;
            }
        }
    }

    fn succeeds(mut child: Child) {
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(child.wait().unwrap().success(), "{errors}");
    }

    #[test]
    fn as_pipes() {
        let mut child = piped("shout");
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        assert!(until(&mut errors, "free").contains("nonblocking: false"));
        let (mut input, mut output) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        for word in ["one", "two"] {
            writeln!(input, "{word}").unwrap();
            until(&mut output, &word.to_uppercase());
        }
        write!(input, "half a ").unwrap();
        thread::sleep(MOMENT);
        write!(input, "line").unwrap();
        drop(input);
        until(&mut output, "ended after HALF A LINE");
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn as_files() {
        let path = std::env::temp_dir().join(format!("sward-stdio-{}", std::process::id()));
        let open = || File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let mut input = open();
        input.write_all(&b"line\n".repeat(10_000)).unwrap();
        input.rewind().unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut output = open();
        let mut child = command("shout")
            .stdin(input)
            .stdout(output.try_clone().unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(child.wait().unwrap().success(), "{errors}");
        output.rewind().unwrap();
        let text = io::read_to_string(output).unwrap();
        assert_eq!(text.matches("LINE\n").count(), 10_001);
        assert!(text.contains("ended after LINE"));
    }

    fn terminal() -> Option<(File, File)> {
        let (mut master, mut slave) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: there is room for two descriptors; the other arguments may be null.
        let made = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) };
        if made != 0 {
            eprintln!("skipped: no terminal here: {}", io::Error::last_os_error());
            return None;
        }
        for fd in [master, slave] {
            // SAFETY: the call takes no pointers.
            assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }, 0);
        }
        // SAFETY: fresh descriptors that nobody else owns.
        Some(unsafe { (OwnedFd::from_raw_fd(master).into(), OwnedFd::from_raw_fd(slave).into()) })
    }

    #[test]
    fn as_a_terminal() {
        let Some((mut master, slave)) = terminal() else { return };
        let mut child = command("shout")
            .stdin(slave.try_clone().unwrap())
            .stdout(slave)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        assert!(until(&mut errors, "free").contains("nonblocking: false"));
        let mut output = BufReader::new(master.try_clone().unwrap());
        for word in ["one", "two"] {
            writeln!(master, "{word}").unwrap();
            until(&mut output, &word.to_uppercase());
        }
        master.write_all(b"half\n\x04").unwrap();
        until(&mut output, "ended after HALF");
        // What the child still prints has to be taken.
        let drain = thread::spawn(move || drop(output.read_to_end(&mut Vec::new())));
        assert!(child.wait().unwrap().success());
        drain.join().unwrap();
    }

    #[test]
    fn a_worker_waits_for_no_reader() {
        let mut child = piped("much");
        until(&mut BufReader::new(child.stderr.take().unwrap()), "free");
        let mut all = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(all.iter().filter(|&&byte| byte == b'x').count(), 63 << 14);

        let Some((master, slave)) = terminal() else { return };
        let mut child = command("much").stdout(slave).stderr(Stdio::piped()).spawn().unwrap();
        until(&mut BufReader::new(child.stderr.take().unwrap()), "free");
        let mut all = Vec::new();
        // A terminal that nobody has any more is an error, not an end.
        let _ = (&master).read_to_end(&mut all);
        assert!(child.wait().unwrap().success());
        assert_eq!(all.iter().filter(|&&byte| byte == b'x').count(), 63 << 14);
    }

    #[test]
    fn a_wait_for_input_ends_by_cancelling_and_by_a_limit() {
        let mut child = piped("patience");
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        until(&mut errors, "gave up");
        child.stdin.take().unwrap().write_all(b"first\nsecond\nthird").unwrap();
        let mut rest = String::new();
        errors.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
    }

    #[test]
    fn the_end_of_the_process_flushes() {
        for role in ["exit", "return"] {
            let output = command(role).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && text.contains("no end of line"), "{role}: {text}");
        }
    }

    #[test]
    fn closed_input_is_at_its_end() {
        succeeds(piped("closed"));
    }

    /// Of this process.
    #[test]
    fn handles_are_what_std_s_are() {
        fn check<T: Send + Sync + Unpin + std::fmt::Debug + UnwindSafe + RefUnwindSafe>() {}
        check::<sward::io::Stdin>();
        check::<sward::io::Stdout>();
        check::<sward::io::Stderr>();
        assert_eq!(sward::io::stdin().as_raw_fd(), 0);
        assert_eq!(sward::io::stdout().as_fd().as_raw_fd(), 1);
        assert_eq!(sward::io::stderr().lock().as_raw_fd(), 2);
        let null = File::open("/dev/null").unwrap();
        let child = command("shout").stdin(null).stdout(Stdio::piped()).output().unwrap();
        assert!(child.status.success());
        assert_eq!(sward::io::stdin().is_terminal(), io::IsTerminal::is_terminal(&io::stdin()));
    }
}
