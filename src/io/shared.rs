//! Traits for streams that read and write through a shared reference.
//!
//! The bound `for<'a> &'a T: Read` means the same. But `&Pollable<T>` implements `Read` under that very
//! bound, so a compiler that does not know `T` yet would try `&Pollable<Pollable<Pollable<…` without end.
//! With a trait of `T` it waits until it knows `T`.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};

/// Reading through a shared reference. Every type with `Read` for `&T` implements it. Use it as a bound.
pub trait ReadShared {
    /// [`Read::read`] of the reference.
    fn read_shared(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// [`Read::read_vectored`] of the reference.
    fn read_vectored_shared(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
}

/// Writing through a shared reference. Every type with `Write` for `&T` implements it. Use it as a bound.
pub trait WriteShared {
    /// [`Write::write`] of the reference.
    fn write_shared(&self, buf: &[u8]) -> io::Result<usize>;

    /// [`Write::write_vectored`] of the reference.
    fn write_vectored_shared(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// [`Write::flush`] of the reference.
    fn flush_shared(&self) -> io::Result<()>;
}

impl<T> ReadShared for T
where
    for<'a> &'a T: Read,
{
    fn read_shared(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut this = self;
        this.read(buf)
    }

    fn read_vectored_shared(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut this = self;
        this.read_vectored(bufs)
    }
}

impl<T> WriteShared for T
where
    for<'a> &'a T: Write,
{
    fn write_shared(&self, buf: &[u8]) -> io::Result<usize> {
        let mut this = self;
        this.write(buf)
    }

    fn write_vectored_shared(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut this = self;
        this.write_vectored(bufs)
    }

    fn flush_shared(&self) -> io::Result<()> {
        let mut this = self;
        this.flush()
    }
}

/// A shared reference as a reader and writer.
pub(super) struct By<'a, T>(pub(super) &'a T);

impl<T: ReadShared> Read for By<'_, T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_shared(buf)
    }
}

impl<T: WriteShared> Write for By<'_, T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_shared(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush_shared()
    }
}
