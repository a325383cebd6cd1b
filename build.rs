//! The one table of systems: which back-end, `poll`, clock and thread-local storage the target has, as `cfg`s that choose modules.

use std::env;

/// Systems with `epoll`.
const EPOLL: &[&str] = &["linux", "android"];
/// Systems with `kqueue`.
const KQUEUE: &[&str] =
    &["macos", "ios", "tvos", "watchos", "visionos", "freebsd", "netbsd", "openbsd", "dragonfly"];
/// Systems with `ppoll`, a `poll` whose timeout is in nanoseconds.
const PPOLL: &[&str] = &["linux", "android", "freebsd", "dragonfly"];
/// Systems with `pthread_getcpuclockid`.
const THREAD_CLOCK: &[&str] = &["linux", "android", "freebsd", "dragonfly"];

/// Processors whose thread pointer a program may set.
const THREAD_POINTER: &[&str] = &["x86_64", "aarch64"];

/// Sanitizers that are told of each stack switch. The first one that a build has counts.
const SANITIZERS: &[&str] = &["thread", "address", "leak"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTFLAGS");
    let os = env::var("CARGO_CFG_TARGET_OS").expect("cargo sets the target");
    let is = |systems: &[&str]| systems.contains(&os.as_str());
    let forced = |name| env::var_os(name).is_some();
    // A kqueue carries a key in a pointer, and keys have 64 bits.
    let wide = env::var("CARGO_CFG_TARGET_POINTER_WIDTH").is_ok_and(|width| width == "64");
    let backend = if forced("CARGO_CFG_SWARD_POLL") {
        "poll"
    } else if forced("CARGO_CFG_SWARD_LIBKQUEUE") || is(KQUEUE) && wide {
        "kqueue"
    } else if is(EPOLL) {
        "epoll"
    } else {
        "poll"
    };
    // Simulation and injected faults answer the calls of this back-end.
    if forced("CARGO_FEATURE_SIM") && backend == "epoll" && os == "linux" && !forced("CARGO_CFG_LOOM") {
        println!("cargo::rustc-cfg=sward_sim");
    }
    println!("cargo::rustc-cfg=sward_backend=\"{backend}\"");
    if is(PPOLL) {
        println!("cargo::rustc-cfg=sward_ppoll");
    }
    let apple = env::var("CARGO_CFG_TARGET_VENDOR").is_ok_and(|vendor| vendor == "apple");
    let clock = if is(THREAD_CLOCK) {
        "posix"
    } else if apple {
        "mach"
    } else {
        "none"
    };
    println!("cargo::rustc-cfg=sward_thread_clock=\"{clock}\"");
    // Set if the compiler instruments the program, which only nightly ones do.
    let sanitizers = env::var("CARGO_CFG_SANITIZE").unwrap_or_default();
    let sanitizer = SANITIZERS.iter().find(|name| sanitizers.split(',').any(|it| it == **name));
    if let Some(name) = sanitizer {
        println!("cargo::rustc-cfg=sward_sanitizer=\"{name}\"");
        println!("cargo::rustc-cfg=sward_sanitizer");
    }
    let has =
        |name: &str, value: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).is_ok_and(|v| v == value);
    let glibc = os == "linux" && has("ENV", "gnu") && wide && has("ENDIAN", "little");
    let modelled = forced("CARGO_CFG_LOOM") || forced("CARGO_CFG_MIRI");
    // ThreadSanitizer keeps what it knows of a thread in the thread-locals, and a thread's thread-locals are
    // used by one thread only.
    let by_thread = sanitizer == Some(&"thread");
    if glibc && !modelled && !by_thread && THREAD_POINTER.iter().any(|arch| has("ARCH", arch)) {
        println!("cargo::rustc-cfg=sward_storage");
    }
}
