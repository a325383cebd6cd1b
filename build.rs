//! What the target system has, as `cfg`s that choose modules: the one table of systems.

use std::env;

/// Systems with `epoll`.
const EPOLL: &[&str] = &["linux", "android"];
/// Systems with `kqueue`.
const KQUEUE: &[&str] =
    &["macos", "ios", "tvos", "watchos", "visionos", "freebsd", "netbsd", "openbsd", "dragonfly"];
/// Systems whose `poll` has a form with a timeout in nanoseconds, `ppoll`.
const PPOLL: &[&str] = &["linux", "android", "freebsd", "dragonfly"];
/// Systems with `pthread_getcpuclockid`.
const THREAD_CLOCK: &[&str] = &["linux", "android", "freebsd", "dragonfly"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTFLAGS");
    let os = env::var("CARGO_CFG_TARGET_OS").expect("cargo tells the target");
    let is = |systems: &[&str]| systems.contains(&os.as_str());
    let wish = |name| env::var_os(name).is_some();
    // Keys go through a kqueue in a pointer, and have 64 bits.
    let wide = env::var("CARGO_CFG_TARGET_POINTER_WIDTH").is_ok_and(|width| width == "64");
    let backend = if wish("CARGO_CFG_SWARD_POLL") {
        "poll"
    } else if wish("CARGO_CFG_SWARD_LIBKQUEUE") || is(KQUEUE) && wide {
        "kqueue"
    } else if is(EPOLL) {
        "epoll"
    } else {
        "poll"
    };
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
}
