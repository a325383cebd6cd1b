//! Names from the tables of symbols and the debug information of the program's files.

use crate::inspect::stack::Symbol;
use std::ffi::c_void;
use std::ptr;

/// The function of the call before that address, and the functions that it is inlined into.
pub(super) fn symbols_at(address: usize) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    backtrace::resolve(ptr::without_provenance_mut::<c_void>(address), |symbol| {
        symbols.push(Symbol {
            // Without the hash.
            name: symbol.name().map(|name| format!("{name:#}")),
            file: symbol.filename().map(|file| file.display().to_string()),
            line: symbol.lineno(),
        });
    });
    symbols
}

/// Gives back the memory of the tables, which are read anew when a name is asked for again.
pub(super) fn forget() {
    backtrace::clear_symbol_cache();
}
