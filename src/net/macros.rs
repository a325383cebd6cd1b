//! What the socket types share that only a macro can share: methods with their documentation, and
//! implementations of std's traits. Each type is a struct with a `socket: Arc<Socket>`.

/// Conversions between a socket, its descriptor, and std's type. The type has `adopt`, which takes a
/// descriptor, and `into_std`. The documentation that is passed in is that of the conversions into the type.
macro_rules! conversions {
    ($(#[$into_ours:meta])* $ours:ident, $std:ty) => {
        impl std::os::fd::AsFd for $ours {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.socket.fd()
            }
        }

        impl crate::descriptor::WatchedParts for $ours {
            fn file(&self) -> Option<crate::descriptor::WatchedFile<'_>> {
                Some(crate::descriptor::WatchedFile::new(self.socket.file.source()))
            }
        }

        impl std::os::fd::AsRawFd for $ours {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.socket.fd().as_raw_fd()
            }
        }

        $(#[$into_ours])*
        impl From<std::os::fd::OwnedFd> for $ours {
            fn from(fd: std::os::fd::OwnedFd) -> $ours {
                $ours::adopt(fd)
            }
        }

        impl std::os::fd::FromRawFd for $ours {
            unsafe fn from_raw_fd(fd: std::os::fd::RawFd) -> $ours {
                // SAFETY: passed on to the caller.
                $ours::adopt(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
            }
        }

        $(#[$into_ours])*
        impl From<$std> for $ours {
            fn from(socket: $std) -> $ours {
                $ours::adopt(socket.into())
            }
        }

        /// As `into_std`.
        ///
        /// # Panics
        ///
        /// If clones remain and no descriptor is free for a duplicate. `into_std` returns an error instead.
        impl From<$ours> for std::os::fd::OwnedFd {
            fn from(socket: $ours) -> std::os::fd::OwnedFd {
                socket.into_std().expect("a descriptor for the duplicate").into()
            }
        }

        /// As the conversion to `OwnedFd`.
        impl std::os::fd::IntoRawFd for $ours {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                std::os::fd::OwnedFd::from(self).into_raw_fd()
            }
        }

        /// As `into_std`.
        impl TryFrom<$ours> for $std {
            type Error = std::io::Error;

            fn try_from(socket: $ours) -> std::io::Result<$std> {
                socket.into_std()
            }
        }
    };
}

/// `Read` and `Write`, for the type and for references to it.
macro_rules! byte_stream {
    ($($ours:ty),*) => {$(
        impl std::io::Read for $ours {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.socket.read(buf)
            }

            fn read_vectored(&mut self, bufs: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                self.socket.read_vectored(bufs)
            }
        }

        impl std::io::Write for $ours {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.socket.write(buf)
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.socket.write_vectored(bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    )*};
}

/// The methods that all types have. `example` is code that makes a `socket`; `call` is a call on it that
/// would block. Both are parts of the doctests.
macro_rules! shared_methods {
    ($ours:ident, example: $example:literal, call: $call:literal) => {
        impl $ours {
            /// Another handle to the same socket. Unlike std's it duplicates no descriptor: clones share the
            /// descriptor, the timeouts and the mode. Does not park, and never fails.
            pub fn try_clone(&self) -> std::io::Result<$ours> {
                Ok($ours { socket: std::sync::Arc::clone(&self.socket) })
            }

            /// Takes the socket's pending error (`SO_ERROR`), if it has one, as std's method. Does not park.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.socket.take_error()
            }

            /// Makes calls that would block fail with `WouldBlock` instead of parking, for all clones. Does
            /// not park, and never fails.
            ///
            /// A server does not need this: a call that parks leaves the worker free. Unlike std's it does
            /// not change the mode of the descriptor, until `into_std`.
            ///
            /// ```
            #[doc = $example]
            /// socket.set_nonblocking(true)?;
            #[doc = concat!("let error = ", $call, ".unwrap_err();")]
            /// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            /// # Ok::<_, std::io::Error>(())
            /// ```
            pub fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
                self.socket.file.set_nonblocking(nonblocking);
                Ok(())
            }
        }
    };
}

/// The waits for readiness to read or accept. `what` is the call that may succeed then.
macro_rules! readable_methods {
    ($ours:ident, what: $what:literal, example: $example:literal) => {
        impl $ours {
            #[doc = concat!("Waits until ", $what, " would not block. Parks until then, also in non-blocking")]
            /// mode. Another caller may be faster, so the call may still have to wait.
            ///
            /// # Errors
            ///
            /// `WouldBlock` after the read timeout, where there is one; `NotConnected` after `close`.
            pub fn readable(&self) -> std::io::Result<()> {
                self.socket.wait_ready(crate::netpoll::Direction::Read, crate::coroutine::WaitReason::Readable)
            }

            /// As [`readable`](Self::readable), for futures: `Pending` in place of the wait, and the task is
            /// woken when it is worth polling again. Does not park.
            ///
            /// Use it to write an adapter for async code: make the call in
            /// [non-blocking mode](Self::set_nonblocking), and poll this once the call fails with
            /// `WouldBlock`. If several tasks poll one socket for one direction, the task that has polled
            /// last is woken. The waker is called on a worker, so it must not block.
            ///
            /// A coroutine that polls what is always ready gets `Pending` now and then, and is woken at once,
            /// so that others go first.
            ///
            /// # Errors
            ///
            /// `NotConnected` after `close`. On a plain thread, if no runtime runs in the process.
            ///
            /// ```
            /// use std::future::poll_fn;
            /// use std::task::Poll;
            ///
            /// sward::run(|| {
            #[doc = concat!("    ", $example)]
            ///     let pending = poll_fn(|context| Poll::Ready(socket.poll_readable(context).is_pending()));
            ///     assert!(sward::block_on(pending));
            ///     Ok::<_, std::io::Error>(())
            /// })
            /// # .unwrap();
            /// ```
            pub fn poll_readable(
                &self,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.socket.poll_ready(crate::netpoll::Direction::Read, context)
            }
        }
    };
}

/// The waits for readiness to write.
macro_rules! writable_methods {
    ($ours:ident, what: $what:literal) => {
        impl $ours {
            #[doc = concat!("Waits until ", $what, " would not block: there is room, or an error to report.")]
            /// Otherwise as [`readable`](Self::readable).
            ///
            /// # Errors
            ///
            /// `WouldBlock` after the write timeout, `NotConnected` after `close`.
            pub fn writable(&self) -> std::io::Result<()> {
                self.socket
                    .wait_ready(crate::netpoll::Direction::Write, crate::coroutine::WaitReason::Writable)
            }

            /// As [`writable`](Self::writable), for futures; see [`poll_readable`](Self::poll_readable).
            pub fn poll_writable(
                &self,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.socket.poll_ready(crate::netpoll::Direction::Write, context)
            }
        }
    };
}

/// The methods of the types that transfer: those of all types, with the same arguments, and the timeouts.
macro_rules! transfer_methods {
    ($ours:ident, example: $example:literal, call: $call:literal) => {
        crate::net::macros::shared_methods! { $ours, example: $example, call: $call }
        crate::net::macros::readable_methods! { $ours, what: "a call that reads or receives", example: $example }
        crate::net::macros::writable_methods! { $ours, what: "a call that writes or sends" }

        impl $ours {
            /// Limits how long a call waits to read or receive, for all clones, from their next call on;
            /// `None` removes the limit. `InvalidInput` if the time is zero. Does not park.
            ///
            /// A call that exceeds the limit fails with `WouldBlock`, and nothing is lost. Each call has the
            /// whole time again. So this limits how long a connection may be idle, not how long a message may
            /// take to arrive; [`timeout`](crate::time::timeout) limits that.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = $example]
            /// socket.set_read_timeout(Some(Duration::from_millis(1)))?;
            #[doc = concat!("let error = ", $call, ".unwrap_err();")]
            /// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            /// # Ok::<_, std::io::Error>(())
            /// ```
            pub fn set_read_timeout(&self, dur: Option<std::time::Duration>) -> std::io::Result<()> {
                self.socket.file.set_timeout(crate::netpoll::Direction::Read, dur)
            }

            /// Limits how long a call waits to write or send. Otherwise as
            /// [`set_read_timeout`](Self::set_read_timeout).
            pub fn set_write_timeout(&self, dur: Option<std::time::Duration>) -> std::io::Result<()> {
                self.socket.file.set_timeout(crate::netpoll::Direction::Write, dur)
            }

            /// The limit that [`set_read_timeout`](Self::set_read_timeout) has set. Does not park, and never
            /// fails.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.socket.file.timeout(crate::netpoll::Direction::Read))
            }

            /// The limit that [`set_write_timeout`](Self::set_write_timeout) has set. Does not park, and
            /// never fails.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.socket.file.timeout(crate::netpoll::Direction::Write))
            }
        }
    };
}

pub(super) use {
    byte_stream, conversions, readable_methods, shared_methods, transfer_methods, writable_methods,
};
