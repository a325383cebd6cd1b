//! Checked waits, which [`Builder::checks`](crate::runtime::Builder::checks) turns on: before a coroutine
//! of such a runtime leaves its stack, the stack is walked. The wait is refused if a function of the list
//! in [`thread_bound`](super::thread_bound) is on it.
//!
//! Names are expensive, addresses are cheap, and an address always belongs to the same functions, inlined
//! ones included. So the meaning of each address is remembered. A backtrace with names is made only if a
//! walk meets a new address, or one under which a wait is wrong.
//!
//! A walk is cheap beside that, but it still takes tens of microseconds. So the walks of waits that were
//! fine are remembered, too: the depth of the stack, and where in it the return addresses were. A wait of
//! the same depth with the same addresses in the same places has the same chain of calls.

use super::current;
use super::thread_bound::{Rule, is_foreign, plain, rule_of};
use crate::base::new_thread::new_thread;
use crate::base::sys::frames;
use crate::base::sys::report;
use crate::coroutine::{Header, Id};
use std::backtrace::Backtrace;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::Once;

/// What an address in a stack means.
#[derive(Clone, Copy, Debug)]
enum Mark {
    /// A wait under it is fine.
    Fine,
    /// The coroutine's first function. What follows belongs to the worker.
    Base,
    /// A wait under it is wrong.
    Bound(&'static Rule),
}

/// The function that runs the closure of each coroutine.
const BASE: &str = "sward::coroutine::header::run";
/// What std adds to the name of a `thread_local!` for its initializer.
const INITIALIZER: &str = "::__rust_std_internal_init_fn";

static KNOWN: parking_lot::RwLock<BTreeMap<usize, Mark>> = parking_lot::RwLock::new(BTreeMap::new());
/// The complaints about refused waits whose callers have yet to unwind.
static REFUSED: parking_lot::Mutex<BTreeMap<Id, String>> = parking_lot::Mutex::new(BTreeMap::new());
static REPORTED: parking_lot::Mutex<BTreeSet<String>> = parking_lot::Mutex::new(BTreeSet::new());

/// Reads the names of the program's functions, once in a process. In a large program that takes long, and
/// would delay the first wait.
pub(crate) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(names_of(Backtrace::force_capture())));
}

/// Where the return addresses of a stack are, as distances from its base, and these addresses.
struct Chain {
    links: Box<[(usize, usize)]>,
    /// Whether it is fine for coroutines that migrate.
    fine_for_migrating: bool,
}

/// Chains of waits that were fine, by the depth of the stack.
static CHAINS: parking_lot::RwLock<BTreeMap<usize, Vec<Chain>>> = parking_lot::RwLock::new(BTreeMap::new());
/// How many chains of one depth are remembered. Others are walked each time.
const MOST_CHAINS: usize = 64;

/// The used part of the running coroutine's stack.
#[derive(Clone, Copy)]
struct Used {
    base: *const u8,
    bytes: usize,
    /// The size of the whole.
    stack: usize,
    /// Whether it is that stack: code may run on another stack for a while.
    own: bool,
}

impl Used {
    /// The word that far from the base.
    fn word(self, distance: usize) -> Option<usize> {
        let fits = (size_of::<usize>()..=self.bytes).contains(&distance) && self.own;
        // SAFETY: in the coroutine's own stack, between the frame of `complaint`, from which this is called,
        // and the base.
        fits.then(|| unsafe { self.base.wrapping_sub(distance).cast::<usize>().read_unaligned() })
    }
}

/// Why the running coroutine must not leave its stack here; `None` if it may.
#[inline(never)]
pub(super) fn complaint(header: &Header) -> Option<String> {
    let migrates = current::with(|worker| worker.home().may_migrate(header)).unwrap_or(false);
    let here = MaybeUninit::<u8>::uninit();
    // SAFETY: the caller is the coroutine.
    let base = unsafe { header.stack_base() };
    let bytes = base.addr().wrapping_sub(here.as_ptr().addr());
    let stack = header.stack_size().bytes();
    let used = Used { base, bytes, stack, own: bytes < stack };
    if is_remembered(used, migrates) {
        return None;
    }
    let counts = |rule: &Rule| migrates || !rule.migrating;
    if walk_is_fine(used, migrates) {
        return None;
    }
    let frames = learn();
    match frames.iter().position(|frame| frame.rule().is_some_and(counts)) {
        Some(worst) => Some(complain(&frames, worst)),
        None => {
            walk_is_fine(used, migrates);
            None
        }
    }
}

fn is_remembered(used: Used, migrates: bool) -> bool {
    let chains = CHAINS.read();
    let same = |chain: &Chain| {
        (chain.fine_for_migrating || !migrates)
            && chain.links.iter().all(|(distance, address)| used.word(*distance) == Some(*address))
    };
    chains.get(&used.bytes).is_some_and(|chains| chains.iter().any(same))
}

/// Whether all addresses are known, and a wait under each of them is fine. Then the chain is remembered.
#[inline(never)]
fn walk_is_fine(used: Used, migrates: bool) -> bool {
    let (mut fine, mut whole) = (false, true);
    let mut chain = Chain { links: Box::default(), fine_for_migrating: true };
    let mut links = Vec::new();
    let known = KNOWN.read();
    frames::walk(&mut |frame| {
        let distance = used.base.addr().wrapping_sub(frame.stored_at);
        if used.own && (used.bytes..used.stack).contains(&distance) {
            return true; // a frame of the walk itself
        }
        whole &= used.word(distance) == Some(frame.address);
        links.push((distance, frame.address));
        fine = match known.get(&frame.address) {
            None => false,
            Some(Mark::Base) => {
                fine = true;
                return false;
            }
            Some(Mark::Fine) => true,
            Some(Mark::Bound(rule)) => {
                chain.fine_for_migrating &= !rule.migrating;
                rule.migrating && !migrates
            }
        };
        fine
    });
    drop(known);
    if fine && whole {
        chain.links = links.into();
        let mut chains = CHAINS.write();
        let chains = chains.entry(used.bytes).or_default();
        if chains.len() < MOST_CHAINS {
            chains.push(chain);
        }
    }
    fine
}

/// Remembers what the addresses of the present stack mean.
fn learn() -> Vec<Frame> {
    let frames = parse(&names_of(Backtrace::force_capture()));
    let mut known = KNOWN.write();
    for (at, frame) in frames.iter().enumerate() {
        let mark = match frame.rule() {
            Some(rule) => Mark::Bound(rule),
            None if at + 1 == frames.len() && frame.is_base() => Mark::Base,
            None => Mark::Fine,
        };
        // An address has a frame for each function that was inlined there.
        let entry = known.entry(frame.address).or_insert(mark);
        if let Mark::Fine = entry {
            *entry = mark;
        }
    }
    // Frames that the backtrace does not show.
    frames::walk(&mut |frame| !matches!(known.entry(frame.address).or_insert(Mark::Fine), Mark::Base));
    drop(known);
    frames
}

/// The text of a backtrace. It is made on another thread's stack, as this stack may be small.
fn names_of(trace: Backtrace) -> String {
    std::thread::scope(|scope| {
        let text = || format!("{trace:#}");
        match new_thread("sward-names").and_then(|thread| thread.spawn_scoped(scope, text)) {
            Ok(thread) => thread.join().unwrap_or_default(),
            Err(_) => String::new(),
        }
    })
}

/// A function in a backtrace, and where in it the call stands.
#[derive(Debug, Default)]
struct Frame {
    address: usize,
    name: String,
    place: Option<String>,
}

impl Frame {
    fn rule(&self) -> Option<&'static Rule> {
        rule_of(&self.name)
    }

    fn is_base(&self) -> bool {
        plain(&self.name).starts_with(BASE)
    }

    fn is_users(&self) -> bool {
        self.place.is_some() && !is_foreign(&self.name)
    }
}

/// The functions of a backtrace in its full form, from the innermost one to the coroutine's first.
///
/// ```text
///    4:     0x556906f88a83 - my_server::connect::h8a18bae8a8e03d64
///                                at /src/main.rs:9:37
///                              my_server::inlined_into_it::h0123456789abcdef
/// ```
fn parse(text: &str) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(frame) = frames.last_mut() {
                frame.place = Some(place.to_owned());
            }
            continue;
        }
        if frames.last().is_some_and(Frame::is_base) {
            break;
        }
        let numbered = line.split_once(": ").filter(|(number, _)| number.parse::<u32>().is_ok());
        let rest = numbered.map_or(line, |(_, rest)| rest).trim_start();
        let (address, name) = match rest.strip_prefix("0x").and_then(|rest| rest.split_once(" - ")) {
            Some((digits, name)) => (usize::from_str_radix(digits.trim(), 16).unwrap_or_default(), name),
            None => (frames.last().map_or(0, |frame| frame.address), rest),
        };
        frames.push(Frame { address, name: name.to_owned(), place: None });
    }
    frames
}

fn complain(frames: &[Frame], worst: usize) -> String {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::new());
    let short = |frame: &Frame| {
        let place = frame.place.as_deref().unwrap_or("an unknown place");
        let place = place.strip_prefix(&*here.to_string_lossy()).unwrap_or(place);
        let name = plain(&frame.name);
        let name =
            name.split_once("::h").filter(|(_, hash)| hash.len() == 16).map_or(&*name, |(name, _)| name);
        let name = name.split(INITIALIZER).next().unwrap_or(name);
        format!("{} in {name}", place.trim_start_matches('/'))
    };
    let rule = frames[worst].rule().expect("it was chosen for its rule");
    let mut text = String::from("sward: a coroutine waits");
    if let Some(wait) = frames[..=worst].iter().find(|frame| frame.is_users()) {
        text += &format!(" at {}", short(wait));
    }
    text += &format!(", inside {}", rule.what);
    // The user's function nearest to the frame, inside of it: the initializer, or the closure.
    let inner = frames[..=worst].iter().rev().find(|frame| frame.is_users());
    let outer = || frames[worst..].iter().find(|frame| frame.is_users());
    if let Some(around) = inner.or_else(outer).map(short)
        && !text.contains(&around)
    {
        text += &format!(" ({around})");
    }
    format!("{text}: {}", rule.why)
}

/// Notes that a wait was refused for that reason; the caller is about to unwind.
pub(super) fn refused(id: Id, complaint: String) {
    REFUSED.lock().insert(id, complaint);
}

/// Panics if the caller unwinds because a wait of the coroutine was refused.
#[track_caller]
pub(super) fn raise(header: &Header) {
    let complaint = REFUSED.lock().remove(&header.id());
    if let Some(complaint) = complaint {
        panic!("{complaint}");
    }
}

/// Reports a wait that cannot be refused, once for each place.
pub(super) fn report_once(header: &Header, complaint: &str) {
    if REPORTED.lock().insert(complaint.to_owned()) {
        report(format_args!(
            "{complaint} ({}; it cannot be refused: a scope or a lent closure ends here)",
            header.label()
        ));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const TRACE: &str = "\
   0:     0x10 - sward::sched::wait::wait::h0123456789abcdef
                               at /sward/src/sched/wait.rs:1:2
   1:     0x20 - my::connect::h0123456789abcdef
                               at /src/main.rs:3:4
                 my::KEY::__rust_std_internal_init_fn::h0123456789abcdef
                               at /src/main.rs:5:6
   2:     0x30 - std::sys::thread_local::native::lazy::Storage<T,D>::get_or_init_slow::h0123456789abcdef
                               at /rustc/lazy.rs:7:8
   3:     0x40 - sward::coroutine::header::run::h0123456789abcdef
                               at /sward/src/coroutine/header.rs:9:10
   4:     0x50 - sward::sched::worker::Worker::run::h0123456789abcdef
";

    #[test]
    fn a_backtrace_is_read_up_to_the_coroutines_first_function() {
        let frames = parse(TRACE);
        let addresses: Vec<_> = frames.iter().map(|frame| frame.address).collect();
        assert_eq!(addresses, [0x10, 0x20, 0x20, 0x30, 0x40]);
        assert_eq!(frames[2].place.as_deref(), Some("/src/main.rs:5:6"));
        assert!(frames[4].is_base() && frames[4].place.is_some());
    }

    #[test]
    fn a_complaint_names_the_wait_and_the_initializer() {
        let frames = parse(TRACE);
        let worst = frames.iter().position(|frame| frame.rule().is_some()).expect("it is there");
        let text = complain(&frames, worst);
        let start = "sward: a coroutine waits at src/main.rs:3:4 in my::connect, inside the initializer of a \
                     thread_local! (src/main.rs:5:6 in my::KEY): ";
        assert!(text.starts_with(start), "{text}");
    }
}
