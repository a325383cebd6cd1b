//! Connections that are kept for later.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use sward::sync::{AcquireTimeoutError, Semaphore, SemaphorePermit};

/// A pool of connections, or of anything else that is costly to make and that one coroutine uses at a time.
///
/// Use it where the pool of a crate would block the worker (`r2d2`, `scheduled-thread-pool`), or where a
/// crate has none. A coroutine that finds all connections taken parks until one comes back.
///
/// A connection in the midst of a request must not come back: the answer would still arrive, and the next
/// user would take it for the answer to their own. [`with`](Self::with) keeps a connection only if its
/// closure returns `Ok`. The guard of [`get`](Self::get) gives the connection back unless it is dropped by
/// unwinding: after an error, or a time limit or cancellation that was caught while the guard lives, use
/// [`Pooled::take`].
///
/// ```
/// use std::io::{Read, Write};
/// use sward::net::{TcpListener, TcpStream};
/// use sward_compat::Pool;
///
/// sward::run(|| {
///     # let listener = TcpListener::bind("127.0.0.1:0")?;
///     # let address = listener.local_addr()?;
///     # sward::spawn(move || {
///     #     let mut stream = listener.accept().unwrap().0;
///     #     std::io::copy(&mut stream.try_clone().unwrap(), &mut stream)
///     # });
///     let pool = Pool::new(4, move || TcpStream::connect(address));
///     let mut answer = [0; 4];
///     let mut connection = pool.get()?;
///     connection.write_all(b"ping")?;
///     connection.read_exact(&mut answer)?;
///     drop(connection); // It is in the pool again.
///     assert_eq!((&answer, pool.idle()), (b"ping", 1));
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct Pool<T, E> {
    make: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    alive: Box<dyn Fn(&mut T) -> bool + Send + Sync>,
    idle_time: Option<Duration>,
    /// Never locked over a wait, nor while a connection is dropped.
    idle: Mutex<Idle<T>>,
    permits: Semaphore,
}

/// The connections that nobody uses.
struct Idle<T> {
    /// Each with the time since it is idle. The one that came back last is at the end.
    values: Vec<(T, Instant)>,
    closed: bool,
}

impl<T> Idle<T> {
    /// Removes the connections that have been idle for longer than the limit.
    fn outdated(&mut self, limit: Option<Duration>, now: Instant) -> Vec<(T, Instant)> {
        let Some(limit) = limit else { return Vec::new() };
        let outdated = self.values.partition_point(|(_, since)| now.duration_since(*since) > limit);
        self.values.drain(..outdated).collect()
    }
}

/// Why a [`Pool`] has no connection for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError<E> {
    /// None could be made.
    Connect(E),
    /// All were taken for as long as the caller would wait.
    TimedOut,
    /// The pool was closed.
    Closed,
}

impl<E: fmt::Display> fmt::Display for PoolError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Connect(error) => error.fmt(f),
            PoolError::TimedOut => f.write_str("all connections of the pool were taken for too long"),
            PoolError::Closed => f.write_str("the pool of connections was closed"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> Error for PoolError<E> {}

/// The error of connecting itself, or one of the kind `TimedOut` or `NotConnected`.
impl From<PoolError<io::Error>> for io::Error {
    fn from(error: PoolError<io::Error>) -> io::Error {
        let kind = match error {
            PoolError::Connect(error) => return error,
            PoolError::TimedOut => io::ErrorKind::TimedOut,
            PoolError::Closed => io::ErrorKind::NotConnected,
        };
        io::Error::new(kind, error)
    }
}

impl<T, E> Pool<T, E> {
    /// A pool of at most that many connections, each of which `make` makes when it is needed. `make` may
    /// park.
    ///
    /// # Panics
    ///
    /// If the limit is zero.
    pub fn new(limit: usize, make: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> Pool<T, E> {
        assert!(limit > 0, "sward-compat: a pool without connections");
        Pool {
            make: Box::new(make),
            alive: Box::new(|_: &mut T| true),
            idle_time: None,
            idle: Mutex::new(Idle { values: Vec::new(), closed: false }),
            permits: Semaphore::new(limit),
        }
    }

    /// Asks this of each connection that was idle before a caller gets it. If the answer is false, the
    /// connection is dropped. `alive` may park.
    pub fn check(mut self, alive: impl Fn(&mut T) -> bool + Send + Sync + 'static) -> Pool<T, E> {
        self.alive = Box::new(alive);
        self
    }

    /// Drops connections that have been idle for longer than this, instead of handing them out: servers and
    /// firewalls close idle connections, often in silence. By default a connection may be idle for ever.
    ///
    /// Each [`get`](Self::get), and each return of a connection, drops the connections that are too old by
    /// then. No timer does, so while nobody uses the pool its idle connections stay; where that matters, call
    /// [`drop_outdated`](Self::drop_outdated) now and then.
    pub fn idle_time(mut self, limit: Duration) -> Pool<T, E> {
        self.idle_time = Some(limit);
        self
    }

    /// Calls the closure with a connection. If it returns `Ok`, the connection is kept for later, and
    /// otherwise dropped. Parks while all are taken.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and of the closure.
    pub fn with<R, F: From<PoolError<E>>>(&self, f: impl FnOnce(&mut T) -> Result<R, F>) -> Result<R, F> {
        let mut connection = self.get()?;
        let result = f(&mut connection);
        if result.is_err() {
            // Closed before the permit is returned, as `_permit` says.
            connection.value = None;
        }
        result
    }

    /// The connection that came back last, or a new one. Parks while all are taken; callers get connections
    /// in the order in which they have asked.
    ///
    /// A cancellation, or a time limit of the caller ([`sward::time::timeout`]), unwinds out of it, and the
    /// pool loses nothing.
    ///
    /// # Errors
    ///
    /// [`PoolError::Connect`] with the error of making a connection, or [`PoolError::Closed`].
    pub fn get(&self) -> Result<Pooled<'_, T, E>, PoolError<E>> {
        let permit = self.permits.acquire().map_err(|_| PoolError::Closed)?;
        self.get_with(permit)
    }

    /// As [`get`](Self::get), and waits for so long at most until a connection is free. The limit does not
    /// cover `make` and `alive`, which begin after the wait: [`sward::time::timeout`] around the call covers
    /// all of it.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`PoolError::TimedOut`].
    pub fn get_timeout(&self, limit: Duration) -> Result<Pooled<'_, T, E>, PoolError<E>> {
        match self.permits.acquire_timeout(limit) {
            Ok(permit) => self.get_with(permit),
            Err(AcquireTimeoutError::Timeout) => Err(PoolError::TimedOut),
            Err(AcquireTimeoutError::Closed) => Err(PoolError::Closed),
        }
    }

    fn get_with<'a>(&'a self, permit: SemaphorePermit<'a>) -> Result<Pooled<'a, T, E>, PoolError<E>> {
        let value = loop {
            if self.idle_time.is_some() {
                self.drop_outdated();
            }
            // Not in the `match`, which would hold the lock.
            let idle = self.lock().values.pop();
            match idle {
                Some((mut value, _)) => {
                    if (self.alive)(&mut value) {
                        break value;
                    }
                }
                None => break (self.make)().map_err(PoolError::Connect)?,
            }
        };
        Ok(Pooled { value: Some(value), pool: self, _permit: permit })
    }

    /// Drops the connections that have been idle for longer than [`idle_time`](Self::idle_time) allows. Parks
    /// if their drop does.
    pub fn drop_outdated(&self) {
        let outdated = self.lock().outdated(self.idle_time, Instant::now());
        drop(outdated);
    }

    /// Closes the pool: drops its idle connections, and each other one when its user gives it back. Callers
    /// of [`get`](Self::get) that wait, and all later ones, get [`PoolError::Closed`]. Does not wait for the
    /// connections in use; parks if the drop of a connection does.
    pub fn close(&self) {
        let idle = {
            let mut idle = self.lock();
            idle.closed = true;
            std::mem::take(&mut idle.values)
        };
        self.permits.close();
        drop(idle);
    }

    /// How many connections nobody uses.
    pub fn idle(&self) -> usize {
        self.lock().values.len()
    }

    /// Keeps a connection, and drops the outdated ones. A closed pool drops the connection itself.
    fn put_back(&self, value: T) {
        let mut idle = self.lock();
        if idle.closed {
            drop(idle);
            drop(value);
            return;
        }
        // Under the lock, so that the times are in order.
        let now = Instant::now();
        idle.values.push((value, now));
        let outdated = idle.outdated(self.idle_time, now);
        drop(idle);
        drop(outdated);
    }

    fn lock(&self) -> MutexGuard<'_, Idle<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, E> fmt::Debug for Pool<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.idle()).finish_non_exhaustive()
    }
}

/// A connection of a [`Pool`], which gets it back when this is dropped, unless the thread is unwinding.
pub struct Pooled<'a, T, E> {
    /// `None` once it was taken out.
    value: Option<T>,
    pool: &'a Pool<T, E>,
    /// After `value`, so that a connection is in the pool, or closed, before another user may ask for one.
    _permit: SemaphorePermit<'a>,
}

impl<T, E> Pooled<'_, T, E> {
    /// Takes a connection out of the pool for good: after an error, for example. The pool may make another
    /// one in its place at once, so close this one soon.
    pub fn take(mut self) -> T {
        self.value.take().expect("it is taken once")
    }
}

impl<T, E> Deref for Pooled<'_, T, E> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is taken by value")
    }
}

impl<T, E> DerefMut for Pooled<'_, T, E> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is taken by value")
    }
}

impl<T, E> Drop for Pooled<'_, T, E> {
    fn drop(&mut self) {
        let value = self.value.take();
        if !thread::panicking()
            && let Some(value) = value
        {
            self.pool.put_back(value);
        }
    }
}

impl<T: fmt::Debug, E> fmt::Debug for Pooled<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pooled").field(&**self).finish()
    }
}
