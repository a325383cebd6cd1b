//! Turns checked waits on for a whole test program, as `SWARD_CHECK=1` does. The test harness has no hook
//! that runs before all tests. `SWARD_CHECK=0` turns them off again.

extern "C" fn turn_on() {
    // SAFETY: the program has one thread so far, and the names are strings with an end.
    unsafe { libc::setenv(c"SWARD_CHECK".as_ptr(), c"1".as_ptr(), 0) };
}

/// The loader calls the functions in this section before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static TURN_ON: extern "C" fn() = turn_on;
