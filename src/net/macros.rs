//! What the types of sockets have in common that only a macro can say once: implementations of std's
//! traits. Each type is a struct with a `socket: Arc<Socket>`.

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

pub(super) use {byte_stream, conversions};
