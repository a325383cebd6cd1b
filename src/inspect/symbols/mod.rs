//! The names of addresses, and which frames of a stack are the runtime's own.
//!
//! - `named`: feature `symbols`: functions, files and lines.
//! - `unnamed`: without it.

#[cfg(feature = "symbols")]
mod named;
#[cfg(not(feature = "symbols"))]
mod unnamed;

#[cfg(feature = "symbols")]
use named::{forget as forget_tables, symbols_at};
#[cfg(not(feature = "symbols"))]
use unnamed::{forget as forget_tables, symbols_at};

use super::stack::{Frame, Symbol};
use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

/// The function that runs the closure of each coroutine. What is further out is the runtime's.
const BASE: &str = "sward::coroutine::header::run";
/// The same where the debug information has no paths of functions: its file from the root of this crate, and
/// how its name begins.
const BASE_IN: (&str, [&str; 2]) = ("coroutine/header.rs", ["run", "run<"]);
/// This file, from the root of this crate's sources.
const THIS: &str = "inspect/symbols/mod.rs";

/// The names of those return addresses. Where there is none, the name is the file of the code with the offset
/// in it, as `addr2line` takes it. Nothing for an address that is in no file. `addresses` is sorted.
pub(super) fn resolve(addresses: &[usize]) -> HashMap<usize, Vec<Symbol>> {
    let names = addresses.iter().map(|address| {
        let mut symbols = symbols_at(*address);
        if symbols.iter().all(|symbol| symbol.name.is_none()) {
            symbols = offset_of(*address).into_iter().collect();
        }
        (*address, symbols)
    });
    names.collect()
}

/// Gives back what `resolve` has read of the program's files: tens of megabytes for a program with debug
/// information. The next `resolve` reads it anew.
pub(super) fn forget() {
    forget_tables();
}

/// The file that has the code before that address, and where in it.
fn offset_of(address: usize) -> Option<Symbol> {
    let call = address.checked_sub(1)?;
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: it looks the address up and does not follow it.
    if unsafe { libc::dladdr(ptr::without_provenance::<c_void>(call), info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: zero is a valid value, and `dladdr` has set it.
    let info = unsafe { info.assume_init() };
    if info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's own name of the file, which exists until the file is unloaded.
    let file = unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy();
    let file = file.rsplit('/').next().unwrap_or_default();
    let name = format!("{file}+{:#x}", call.wrapping_sub(info.dli_fbase.addr()));
    Some(Symbol { name: Some(name), file: None, line: None })
}

/// Whose function it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// This crate's, or the switch's.
    Runtime,
    /// Of std, which is between functions of any owner. Or nobody knows.
    Std,
    /// The program's, or another crate's.
    Program,
}

/// The file of a function of this crate, from the root of its sources.
fn own_file(symbol: &Symbol) -> Option<&str> {
    let root = file!().strip_suffix(THIS)?;
    let file = symbol.file.as_deref()?;
    if root.starts_with('/') {
        return file.strip_prefix(root);
    }
    file.strip_prefix(env!("CARGO_MANIFEST_DIR"))?.strip_prefix('/')?.strip_prefix(root)
}

/// The owner of a function. Its name says so, unless the debug information has only lines
/// (`line-tables-only`): then names are without paths, and the file says so.
fn owner(symbol: &Symbol) -> Owner {
    if own_file(symbol).is_some() {
        return Owner::Runtime;
    }
    if let Some(file) = &symbol.file {
        // As the standard library is built, and as its sources are installed.
        if file.starts_with("/rustc/") || file.contains("/lib/rustlib/src/rust/library/") {
            return Owner::Std;
        }
        if file.contains("/corosensei-") {
            return Owner::Runtime;
        }
    }
    owner_by_name(symbol.name.as_deref().unwrap_or_default())
}

fn owner_by_name(name: &str) -> Owner {
    // `<sward::net::TcpStream as std::io::Read>::read` is the runtime's.
    let mut path = name;
    while let Some(rest) = path.strip_prefix(['<', '&', '[', '(', '*']) {
        path =
            ["mut ", "const ", "dyn ", "impl "].iter().fold(rest, |rest, word| rest.trim_start_matches(word));
    }
    let first = path.split("::").next().unwrap_or_default();
    match first {
        "" => Owner::Std,
        "sward" | "corosensei" => Owner::Runtime,
        "std" | "core" | "alloc" => Owner::Std,
        _ if path.starts_with("__rust") || path.starts_with("_Unwind") => Owner::Std,
        _ => Owner::Program,
    }
}

/// Whether it is the function that runs a coroutine's closure.
fn is_base(symbol: &Symbol) -> bool {
    let name = symbol.name.as_deref().unwrap_or_default();
    let (file, [whole, start]) = BASE_IN;
    name.starts_with(BASE) || own_file(symbol) == Some(file) && (name == whole || name.starts_with(start))
}

/// The same file, from the working directory if it is there.
fn shorten(file: String, here: &Path) -> String {
    Path::new(&file).strip_prefix(here).map_or_else(|_| file.clone(), |rest| rest.display().to_string())
}

/// Removes the runtime's own frames at both ends of a stack: it then begins with the function of this crate
/// that the program has called, and ends with the coroutine's closure. A stack without names stays as it is,
/// and so does a stack in which no function is the program's.
pub(super) fn trim(frames: &mut Vec<Frame>) {
    // All functions, with their frames, from the innermost one outwards. A frame without names is one of
    // them.
    let mut all: Vec<(usize, Option<Symbol>)> = Vec::new();
    for (at, frame) in frames.iter_mut().enumerate() {
        let symbols = std::mem::take(&mut frame.symbols);
        if symbols.is_empty() {
            all.push((at, None));
        }
        all.extend(symbols.into_iter().map(|symbol| (at, Some(symbol))));
    }
    let base = all.iter().rposition(|(_, symbol)| symbol.as_ref().is_some_and(is_base));
    let inside = &all[..base.unwrap_or(all.len())];
    let owners: Vec<_> = inside.iter().map(|(_, symbol)| symbol.as_ref().map_or(Owner::Std, owner)).collect();
    let is_programs = |owner: &Owner| *owner == Owner::Program;
    let mut kept = 0..inside.len();
    if let (Some(inner), Some(outer)) =
        (owners.iter().position(is_programs), owners.iter().rposition(is_programs))
    {
        // The outermost function of this crate that the program's innermost one has called.
        let called = owners[..inner].iter().rposition(|owner| *owner == Owner::Runtime);
        kept.start = called.unwrap_or(0);
        if base.is_some() {
            kept.end = outer + 1;
        }
    }
    let here = std::env::current_dir().unwrap_or_default();
    let mut stays = vec![false; frames.len()];
    for (frame, symbol) in all.drain(kept) {
        stays[frame] = true;
        frames[frame].symbols.extend(
            symbol.map(|symbol| Symbol { file: symbol.file.map(|file| shorten(file, &here)), ..symbol }),
        );
    }
    let mut stays = stays.into_iter();
    frames.retain(|_| stays.next().unwrap_or(true));
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn frames(of: &[&[&str]]) -> Vec<Frame> {
        let symbol = |name: &&str| Symbol { name: Some((*name).to_owned()), file: None, line: None };
        let frame = |(at, names): (usize, &&[&str])| Frame {
            address: at,
            symbols: names.iter().map(symbol).collect(),
        };
        of.iter().enumerate().map(frame).collect()
    }

    fn trimmed(of: &[&[&str]]) -> Vec<String> {
        let mut frames = frames(of);
        trim(&mut frames);
        let names = frames.iter().map(|frame| {
            let names: Vec<_> = frame.symbols.iter().filter_map(|symbol| symbol.name.clone()).collect();
            names.join(" in ")
        });
        names.collect()
    }

    #[test]
    fn a_stack_begins_at_the_call_and_ends_at_the_closure() {
        let stack: &[&[&str]] = &[
            &["corosensei::arch::x86_64::switch_yield", "sward::sched::wait::park"],
            &["core::option::Option<T>::map", "sward::sync::raw_mutex::RawMutex::lock_slow"],
            &["sward::sync::mutex::Mutex<T>::lock", "app::work"],
            &["app::main::{{closure}}", "std::panicking::catch_unwind", "sward::coroutine::header::run"],
            &["sward::coroutine::header::Header::start::{{closure}}"],
            &["sward::sched::worker::Worker::run"],
        ];
        assert_eq!(
            trimmed(stack),
            ["sward::sync::mutex::Mutex<T>::lock in app::work", "app::main::{{closure}}"]
        );
    }

    #[test]
    fn without_paths_the_files_decide() {
        let root = file!().strip_suffix(THIS).expect("this file");
        let root = if root.starts_with('/') {
            root.to_owned()
        } else {
            format!("{}/{root}", env!("CARGO_MANIFEST_DIR"))
        };
        let frames = [
            ("park", format!("{root}sched/wait.rs")),
            ("call_once<F, ()>", "/rustc/0/library/core/src/ops/function.rs".to_owned()),
            ("lock<u8>", format!("{root}sync/mutex.rs")),
            ("work", "/app/src/main.rs".to_owned()),
            ("{closure#0}", "/app/src/main.rs".to_owned()),
            ("catch_unwind<F>", "/rustc/0/library/std/src/panic.rs".to_owned()),
            ("run<F, u8>", format!("{root}coroutine/header.rs")),
            ("coroutine_func<F>", "/r/corosensei-0.3.4/src/coroutine.rs".to_owned()),
        ];
        let frame = |(name, file): (&str, String)| {
            let symbol = Symbol { name: Some(name.to_owned()), file: Some(file), line: Some(1) };
            Frame { address: 1, symbols: vec![symbol] }
        };
        let mut frames: Vec<_> = frames.map(frame).into();
        trim(&mut frames);
        let names: Vec<_> = frames.iter().filter_map(|frame| frame.symbols[0].name.as_deref()).collect();
        assert_eq!(names, ["lock<u8>", "work", "{closure#0}"]);
    }

    #[test]
    fn std_between_the_program_and_the_runtime_stays() {
        let stack: &[&[&str]] = &[
            &["sward::sched::wait::park"],
            &["<sward::net::tcp_stream::TcpStream as std::io::Read>::read"],
            &["std::io::Read::read_exact"],
            &["<app::Client as std::io::Read>::read"],
            &["core::ops::function::FnOnce::call_once"],
            &["sward::coroutine::header::run"],
        ];
        assert_eq!(
            trimmed(stack),
            [
                "<sward::net::tcp_stream::TcpStream as std::io::Read>::read",
                "std::io::Read::read_exact",
                "<app::Client as std::io::Read>::read"
            ]
        );
    }

    #[test]
    fn what_has_no_names_stays_whole() {
        let mut unnamed = frames(&[&[], &[], &[]]);
        trim(&mut unnamed);
        assert_eq!(unnamed.len(), 3);
        // Foreign code in the middle, and a stack that was cut.
        let stack: &[&[&str]] = &[&["sward::sched::wait::park"], &["app::a"], &[], &["app::b"]];
        assert_eq!(trimmed(stack), ["sward::sched::wait::park", "app::a", "", "app::b"]);
        // The runtime's own coroutine.
        let own: &[&[&str]] = &[&["sward::sched::wait::park"], &["sward::coroutine::header::run"]];
        assert_eq!(trimmed(own), ["sward::sched::wait::park"]);
    }

    #[test]
    fn an_address_has_a_name_or_a_place() {
        let address = resolve as *const () as usize + 1;
        let symbols = &resolve(&[address])[&address];
        let name = symbols.last().and_then(|symbol| symbol.name.clone()).expect("code of this program");
        assert!(name.contains("resolve") || name.contains("+0x"), "{name}");
        assert!(resolve(&[8])[&8].is_empty());
    }
}
