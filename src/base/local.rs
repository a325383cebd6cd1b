//! The crate's thread-locals, behind accessors that are never inlined.
//!
//! The problem: LLVM takes the address of a thread-local for a constant of the function, and may keep it in
//! a register across a stack switch. In migrating mode the function can return from the switch on another
//! thread; it would then use the first thread's variable.
//!
//! The remedy: [`thread_locals!`](thread_locals) declares a variable together with its accessors, each of
//! them `#[inline(never)]`. The address lives and dies within one accessor, and no accessor switches. An
//! accessor copies values in and out. It cannot return a reference to the variable: the closure in which its
//! body runs does not let one out.
//!
//! Each layer declares its own variables with its own types: `base::lock` (ranks of held locks),
//! `base::recycle` (free blocks), `coroutine::thread` (the parker), `sched::worker` (the worker, the budget).
//! `thread_local!` stands in this file alone; `tests/tidy.rs` checks that.

/// Declares one thread-local variable with a constant initial value, and the accessors that alone can use it.
///
/// An accessor is written as a closure over the variable, and as what it returns once the thread has
/// destroyed the variable. That happens at the thread's end: to a type with a destructor on all systems, to
/// others only where the system has no thread-locals of its own.
///
/// ```ignore
/// thread_locals! {
///     /// What it is.
///     static COUNT: Cell<u32> = Cell::new(0);
///
///     /// Adds to the count, and returns what it was.
///     fn add(n: u32) -> u32 = |count| count.replace(count.get() + n), destroyed: 0;
/// }
/// ```
macro_rules! thread_locals {
    (
        $(#[$about:meta])*
        static $name:ident: $kind:ty = $initial:expr;
        $(
            $(#[$attribute:meta])*
            $visible:vis fn $accessor:ident($($argument:ident: $input:ty),*) $(-> $output:ty)?
                = |$variable:ident| $body:expr, destroyed: $destroyed:expr;
        )+
    ) => {
        thread_local! {
            $(#[$about])*
            static $name: $kind = const { $initial };
        }
        $(
            $(#[$attribute])*
            #[inline(never)]
            $visible fn $accessor($($argument: $input),*) $(-> $output)? {
                $name.try_with(|$variable| $body).unwrap_or($destroyed)
            }
        )+
    };
}
pub(crate) use thread_locals;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;

    /// Its destructor is why the variable is destroyed while the thread still runs.
    struct Count(Cell<u32>);

    impl Drop for Count {
        fn drop(&mut self) {
            AFTERWARDS.set(Some(add(1)));
        }
    }

    thread_locals! {
        static COUNT: Count = Count(Cell::new(0));
        fn add(n: u32) -> u32 = |count| count.0.replace(count.0.get() + n), destroyed: u32::MAX;
    }

    static AFTERWARDS: Shared = Shared(std::sync::Mutex::new(None));

    struct Shared(std::sync::Mutex<Option<u32>>);

    impl Shared {
        fn set(&self, value: Option<u32>) {
            *self.0.lock().expect("no panic") = value;
        }
    }

    #[test]
    fn an_accessor_copies_values_and_outlives_the_variable() {
        let thread = std::thread::spawn(|| (add(2), add(3), add(0)));
        assert_eq!(thread.join().expect("no panic"), (0, 2, 5));
        assert_eq!(*AFTERWARDS.0.lock().expect("no panic"), Some(u32::MAX));
    }
}
