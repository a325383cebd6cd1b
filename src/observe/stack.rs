//! The stack of a coroutine, as data.

use std::fmt;

/// The calls of a coroutine that have not returned, from the innermost one outwards. The runtime's own frames
/// are left out at both ends.
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
