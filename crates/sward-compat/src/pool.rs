//! Connections that are kept for later.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use sward::sync::{Semaphore, SemaphorePermit};

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
    /// Never locked over a wait.
    idle: Mutex<Vec<T>>,
    permits: Semaphore,
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
        let alive = Box::new(|_: &mut T| true);
        Pool { make: Box::new(make), alive, idle: Mutex::default(), permits: Semaphore::new(limit) }
    }

    /// Asks this of each connection that was idle before somebody gets it. If the answer is false, the
    /// connection is dropped. `alive` may park.
    pub fn check(mut self, alive: impl Fn(&mut T) -> bool + Send + Sync + 'static) -> Pool<T, E> {
        self.alive = Box::new(alive);
        self
    }

    /// Calls the closure with a connection. If it returns `Ok`, the connection is kept for later, and
    /// otherwise dropped. Parks while all are taken.
    ///
    /// # Errors
    ///
    /// Those of making a connection, and of the closure.
    pub fn with<R, F: From<E>>(&self, f: impl FnOnce(&mut T) -> Result<R, F>) -> Result<R, F> {
        let mut connection = self.get()?;
        let result = f(&mut connection);
        if result.is_err() {
            // Closed before the permit is returned, as `_permit` says.
            connection.value = None;
        }
        result
    }

    /// The connection that came back last, or a new one. Parks while all are taken.
    ///
    /// # Errors
    ///
    /// Those of making a connection.
    pub fn get(&self) -> Result<Pooled<'_, T, E>, E> {
        let permit = self.permits.acquire().expect("nothing closes the semaphore");
        let value = loop {
            let idle = self.lock().pop();
            match idle {
                Some(mut value) => {
                    if (self.alive)(&mut value) {
                        break value;
                    }
                }
                None => break (self.make)()?,
            }
        };
        Ok(Pooled { value: Some(value), pool: self, _permit: permit })
    }

    /// How many connections nobody uses.
    pub fn idle(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
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
        if !thread::panicking() {
            self.pool.lock().extend(value);
        }
    }
}

impl<T: fmt::Debug, E> fmt::Debug for Pooled<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pooled").field(&**self).finish()
    }
}
