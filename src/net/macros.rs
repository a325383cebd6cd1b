//! What the types of sockets have in common that only a macro can say once: methods, with their
//! documentation, and implementations of std's traits. Each type is a struct with a `socket: Arc<Socket>`.

/// The ways between a socket, its descriptor, and std's type. The type has `adopt`, which makes one of a
/// descriptor, and `into_std`. The documentation is that of the ways in.
macro_rules! conversions {
    ($(#[$taken_over:meta])* $ours:ident, $std:ty) => {
        impl std::os::fd::AsFd for $ours {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.socket.fd()
            }
        }

        impl std::os::fd::AsRawFd for $ours {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.socket.fd().as_raw_fd()
            }
        }

        $(#[$taken_over])*
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

        $(#[$taken_over])*
        impl From<$std> for $ours {
            fn from(socket: $std) -> $ours {
                $ours::adopt(socket.into())
            }
        }

        /// As `into_std`.
        ///
        /// # Panics
        ///
        /// Clones remain and no descriptor is free for a duplicate; `into_std` reports that instead.
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

/// The methods that all types have. In their examples, `example` makes a `socket`, and `call` is one on it
/// that would block.
macro_rules! shared_methods {
    ($ours:ident, example: $example:literal, call: $call:literal) => {
        impl $ours {
            /// Another handle to the same socket. It shares everything with this one: descriptor, timeouts,
            /// mode. Does not park.
            ///
            /// # Errors
            ///
            /// None at present: no descriptor is duplicated.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $example]
            /// let clone = socket.try_clone()?;
            /// clone.set_nonblocking(true)?;
            #[doc = concat!("let error = ", $call, ".unwrap_err();")]
            /// assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            /// # Ok::<_, std::io::Error>(())
            /// ```
            pub fn try_clone(&self) -> std::io::Result<$ours> {
                Ok($ours { socket: std::sync::Arc::clone(&self.socket) })
            }

            /// Takes the socket's pending error (`SO_ERROR`), if there is one. Does not park.
            ///
            /// # Errors
            ///
            /// Those of `getsockopt(2)`.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $example]
            /// assert!(socket.take_error()?.is_none());
            /// # Ok::<_, std::io::Error>(())
            /// ```
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.socket.take_error()
            }

            /// Whether calls that would block fail with `WouldBlock` instead of parking, for all clones.
            /// Does not park.
            ///
            /// Nobody needs this to keep a worker free: without it, calls park.
            ///
            /// # Errors
            ///
            /// None at present.
            ///
            /// # Examples
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

/// The methods of the types that transfer: those of all types, with the same arguments, and the timeouts.
macro_rules! transfer_methods {
    ($ours:ident, example: $example:literal, call: $call:literal) => {
        crate::net::macros::shared_methods! { $ours, example: $example, call: $call }

        impl $ours {
            /// Sets the longest that a call waits to read or receive; `None` is for ever. It holds for all
            /// clones, from their next call on. Does not park. A call that exceeds it fails with
            /// `WouldBlock`, and nothing is lost.
            ///
            /// Each call has the whole time again, so set once it limits how long a connection is idle, not
            /// how long a message takes to arrive.
            ///
            /// # Errors
            ///
            /// `InvalidInput` if it is zero.
            ///
            /// # Examples
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

            /// Sets the longest that a call waits to write or send; `None` is for ever. It holds for all
            /// clones, from their next call on. Does not park.
            ///
            /// # Errors
            ///
            /// `InvalidInput` if it is zero.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $example]
            /// let limit = Some(std::time::Duration::from_secs(1));
            /// socket.set_write_timeout(limit)?;
            /// assert_eq!(socket.write_timeout()?, limit);
            /// # Ok::<_, std::io::Error>(())
            /// ```
            pub fn set_write_timeout(&self, dur: Option<std::time::Duration>) -> std::io::Result<()> {
                self.socket.file.set_timeout(crate::netpoll::Direction::Write, dur)
            }

            /// The longest that a call waits to read or receive. Does not park.
            ///
            /// # Errors
            ///
            /// None.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $example]
            /// assert_eq!(socket.read_timeout()?, None);
            /// # Ok::<_, std::io::Error>(())
            /// ```
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.socket.file.timeout(crate::netpoll::Direction::Read))
            }

            /// The longest that a call waits to write or send. Does not park.
            ///
            /// # Errors
            ///
            /// None.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $example]
            /// assert_eq!(socket.write_timeout()?, None);
            /// # Ok::<_, std::io::Error>(())
            /// ```
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.socket.file.timeout(crate::netpoll::Direction::Write))
            }
        }
    };
}

pub(super) use {byte_stream, conversions, shared_methods, transfer_methods};
