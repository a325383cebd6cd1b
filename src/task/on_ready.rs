//! A handler that runs whenever something is ready, and holds no stack in between. What waits, and how no
//! event is lost, is in `descriptor/activation.rs`.

use crate::coroutine::{Event, WaitReason};
use crate::descriptor::{
    Active, Body, Host, Next, Verdict, WakerSlot, Watched, WatchedFile, WatchedParts, Why, adopt, set_again,
};
use crate::netpoll::{Direction, Source};
use crate::runtime::runtime_here;
use crate::sched::{set_for_good, wait_for};
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs the handler, in a coroutine of its own, each time that the source is ready to be read. Between two
/// runs there is no coroutine and no stack, only a record of some hundred bytes with the state.
///
/// Use this for many sources that are silent most of the time: devices, subscriptions, datagram sockets,
/// descriptors of other libraries. For the connections of a listener, [`net::serve`](crate::net::serve())
/// adds buffers, limits and a drain. If there are few sources, a coroutine that reads in a loop is simpler.
///
/// The source is a socket of [`net`](crate::net), an [`io::Pollable`](crate::io::Pollable) or a [`Timer`].
/// The handler gets it, the state, and why it runs. It is ordinary code, which reads, writes, locks and
/// sleeps, and returns a [`Next`]. Runs of one handler follow one another, on any worker. When it returns
/// [`Next::Close`] or panics, source, state and handler are dropped.
///
/// It should read until a read would block or returns less than was asked for. While the source is ready, the
/// handler runs again and again, even if it reads nothing; after 64 runs in a row others have their turns. A
/// run may find nothing to read. Nobody else should read from the source meanwhile, such as through a clone:
/// the other reader might get what this handler was called for.
///
/// The first run takes place once the source is ready. Does not park. On a plain thread, handlers run in the
/// default runtime. When the runtime shuts down, a handler that waits for its source is dropped, and one that
/// runs is cancelled.
///
/// # Errors
///
/// - The descriptor cannot be watched: it is closed, or of a kind that cannot be polled; or the system's, if
///   the kernel's table is full.
/// - The runtime shuts down; on a plain thread, the default runtime cannot start.
///
/// # Examples
///
/// A hundred sockets that answer datagrams, without a hundred stacks:
///
/// ```
/// use std::io::ErrorKind;
/// use std::time::Duration;
/// use sward::net::UdpSocket;
/// use sward::task::{Next, on_ready};
///
/// sward::run(|| {
///     let mut addresses = Vec::new();
///     for number in 0..100_u8 {
///         let socket = UdpSocket::bind("127.0.0.1:0")?;
///         socket.set_nonblocking(true)?;
///         addresses.push(socket.local_addr()?);
///         on_ready(socket, number, |socket, number, _why| {
///             let mut buf = [0; 512];
///             loop {
///                 match socket.recv_from(&mut buf) {
///                     Ok((_, peer)) => _ = socket.send_to(&[*number], peer),
///                     Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Idle,
///                     Err(_) => return Next::Close,
///                 }
///             }
///         })?;
///     }
///
///     let client = UdpSocket::bind("127.0.0.1:0")?;
///     client.send_to(b"who?", addresses[42])?;
///     client.set_read_timeout(Some(Duration::from_secs(10)))?;
///     let mut answer = [0];
///     client.recv(&mut answer)?;
///     assert_eq!(answer, [42]);
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[track_caller]
pub fn on_ready<W, S, F>(source: W, state: S, handler: F) -> io::Result<OnReady>
where
    W: Watched + Send + 'static,
    S: Send + 'static,
    F: FnMut(&W, &mut S, Why) -> Next + Send + 'static,
{
    let site = Location::caller();
    let host = Host::common(&runtime_here()?, site);
    let control = Arc::new(Control { closing: AtomicBool::new(false), ended: Event::new() });
    let ended = SetAtEnd(Arc::clone(&control));
    let limit = source.period();
    let mut slot = None;
    let body = Handled { source, state, handler, ended };
    adopt(&host, body, limit, false, |active| slot = Some(active.waker()))?;
    Ok(OnReady { slot: slot.expect("set before it waits"), control })
}

/// For [`on_ready`]: ready after that long, and again that long after each run that returns [`Next::Idle`].
/// [`Next::IdleFor`] sets another time for the next run. Each run is up to 32 ms and 1/64 of the time late.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use sward::task::{Next, Timer, on_ready};
///
/// sward::run(|| {
///     let ticks = on_ready(Timer(Duration::from_millis(1)), 0, |_, count, _| {
///         *count += 1;
///         if *count < 3 { Next::Idle } else { Next::Close }
///     })?;
///     ticks.wait();
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer(pub Duration);

impl WatchedParts for Timer {
    fn file(&self) -> Option<WatchedFile<'_>> {
        None
    }

    fn period(&self) -> Option<Duration> {
        Some(self.0)
    }
}

/// Controls a handler of [`on_ready`]. Dropping it leaves the handler alone.
pub struct OnReady {
    slot: Arc<WakerSlot>,
    control: Arc<Control>,
}

impl OnReady {
    /// Has the handler run, with [`Why::Woken`]: at once if it waits, otherwise once the present run has
    /// returned [`Next::Idle`]. Several calls may cause one run, but a run begins after each of them. Does
    /// nothing if the handler has ended. Does not park.
    pub fn wake(&self) {
        self.slot.wake();
    }

    /// Ends the handler: no further run begins, and a present one goes on to its end. Then source, state and
    /// handler are dropped. Does not park.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UdpSocket;
    /// use sward::task::{Next, on_ready};
    ///
    /// sward::run(|| {
    ///     let silent = on_ready(UdpSocket::bind("127.0.0.1:0")?, (), |_, _, _| Next::Idle)?;
    ///     assert!(!silent.is_closed());
    ///     silent.close();
    ///     silent.wait();
    ///     assert!(silent.is_closed());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn close(&self) {
        self.control.closing.store(true, Ordering::SeqCst);
        self.slot.wake();
    }

    /// Whether the handler has ended, and source, state and handler were dropped. Does not park.
    pub fn is_closed(&self) -> bool {
        self.control.ended.is_set()
    }

    /// Waits until the handler has ended, and source, state and handler were dropped. Parks. A handler must
    /// not wait for itself. A caller that is cancelled unwinds out of this.
    pub fn wait(&self) {
        while !self.is_closed() {
            let _ = wait_for(&self.control.ended, WaitReason::OnReady, None);
        }
    }
}

impl fmt::Debug for OnReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnReady").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

struct Control {
    /// Stored before the wake-up by hand, and read by the run that follows it.
    closing: AtomicBool,
    /// Set for good when all was dropped.
    ended: Event,
}

struct SetAtEnd(Arc<Control>);

impl Drop for SetAtEnd {
    fn drop(&mut self) {
        set_for_good(&self.0.ended);
    }
}

/// A handler with its source and its state.
struct Handled<W, S, F> {
    source: W,
    state: S,
    handler: F,
    /// The last field, so that it is dropped after all others.
    ended: SetAtEnd,
}

impl<W, S, F> Body for Handled<W, S, F>
where
    W: Watched + Send + 'static,
    S: Send + 'static,
    F: FnMut(&W, &mut S, Why) -> Next + Send + 'static,
{
    fn source(&self) -> Option<&Source> {
        self.source.file().map(WatchedFile::source)
    }

    fn run(&mut self, active: &Active<'_>) -> Verdict {
        if self.ended.0.closing.load(Ordering::SeqCst) {
            return Verdict::Close;
        }
        // What the handler reads cannot be known, so it counts as a reader.
        let has_read = true;
        match (self.handler)(&self.source, &mut self.state, active.why) {
            Next::Close => Verdict::Close,
            Next::Idle => Verdict::Idle { limit: self.source.period(), closes: false, has_read },
            Next::IdleFor(limit) => Verdict::Idle { limit: Some(limit), closes: false, has_read },
        }
    }

    fn leave(&mut self, _: &Host) {
        // A clone of the source may be waiting for what the handler has left.
        if let Some(source) = self.source()
            && source.event(Direction::Read).has_waiters()
        {
            set_again(source, Direction::Read);
        }
    }
}
