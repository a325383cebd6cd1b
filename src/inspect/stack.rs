//! The stack of a coroutine, as data.

use std::fmt;
use std::hash::{Hash, Hasher};

/// The calls of a coroutine that have not returned, from the innermost one outwards. The runtime's own frames
/// are left out at both ends.
///
/// The worker of a suspended coroutine reads it between two turns. If a coroutine keeps its worker in a turn,
/// a signal to the worker's thread does: `SIGURG`, as in Go, on Linux with glibc 2.35 or later, on x86-64 and
/// aarch64. It is sent by a dump only, and only to such a thread. A system call there may end early with
/// `EINTR`, which std and this crate handle. Any other `SIGURG` reaches the handler that the program had set
/// before the first dump; a handler that it sets later must call the earlier one, as those of
/// `sward::signal` do, or such stacks are missing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Stack {
    /// The calls.
    pub frames: Vec<Frame>,
    /// Whether these are all.
    pub extent: StackExtent,
}

/// How much of a stack is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StackExtent {
    /// All of it.
    Whole,
    /// The innermost frames. It has more.
    Cut,
    /// Nothing: so little of the stack is left that nothing could walk it.
    NoRoom,
}

/// A call that has not returned.
///
/// Two are equal if they stand in the same line of the same functions, or without lines, at the same address.
#[derive(Clone, Debug, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The address at which the code goes on when the call returns.
    pub address: usize,
    /// The function that makes the call, and the functions that it is inlined into, from the innermost one
    /// outwards. Empty without names.
    pub symbols: Vec<Symbol>,
}

/// A function in which a call stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Symbol {
    /// Its name.
    pub name: Option<String>,
    /// The file of the call.
    pub file: Option<String>,
    /// The line of the call.
    pub line: Option<u32>,
}

impl Frame {
    /// What it is compared by: the names, if they say where the call stands. The runtime's own functions that
    /// are inlined there may make it several addresses.
    fn key(&self) -> (usize, &[Symbol]) {
        let placed = !self.symbols.is_empty() && self.symbols.iter().all(|symbol| symbol.line.is_some());
        if placed { (0, &self.symbols) } else { (self.address, &[]) }
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Frame) -> bool {
        self.key() == other.key()
    }
}

impl Hash for Frame {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.symbols.is_empty() {
            return write!(f, "{:#x}", self.address);
        }
        for (index, symbol) in self.symbols.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match &symbol.name {
                Some(name) => f.write_str(name)?,
                None => write!(f, "{:#x}", self.address)?,
            }
            if let (Some(file), Some(line)) = (&symbol.file, symbol.line) {
                write!(f, " at {file}:{line}")?;
            }
        }
        Ok(())
    }
}
