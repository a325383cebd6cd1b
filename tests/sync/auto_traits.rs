//! Which types may be sent and shared.

use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};
use sward::sync::{
    Barrier, Condvar, LazyLock, Mutex, Notify, Once, OnceLock, RwLock, RwLockWriteGuard, Semaphore, WaitGroup,
};
use sward::task::JoinHandle;

/// Which types may cross threads and panics is a part of the interface.
#[test]
fn auto_traits_are_as_promised() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
    send::<Mutex<Cell<u8>>>();
    sync::<Mutex<Cell<u8>>>();
    sync::<sward::sync::MutexGuard<'_, u8>>();
    send::<RwLock<u8>>();
    sync::<RwLock<u8>>();
    sync::<sward::sync::RwLockReadGuard<'_, u8>>();
    sync::<RwLockWriteGuard<'_, u8>>();
    send::<Condvar>();
    sync::<Condvar>();
    send::<Semaphore>();
    sync::<Semaphore>();
    send::<sward::sync::SemaphorePermit<'_>>();
    sync::<sward::sync::SemaphorePermit<'_>>();
    send::<sward::sync::OwnedSemaphorePermit>();
    sync::<sward::sync::OwnedSemaphorePermit>();
    send::<Barrier>();
    sync::<Barrier>();
    send::<Once>();
    sync::<Once>();
    send::<OnceLock<Cell<u8>>>();
    sync::<OnceLock<u8>>();
    send::<LazyLock<u8>>();
    sync::<LazyLock<u8, Box<dyn FnOnce() -> u8 + Send>>>();
    send::<WaitGroup>();
    sync::<WaitGroup>();
    send::<Notify>();
    sync::<Notify>();
    unwind_safe::<Mutex<Cell<u8>>>();
    unwind_safe::<RwLock<Cell<u8>>>();
    unwind_safe::<Condvar>();
    unwind_safe::<Semaphore>();
    unwind_safe::<Barrier>();
    unwind_safe::<Once>();
    unwind_safe::<OnceLock<u8>>();
    unwind_safe::<LazyLock<u8>>();
    unwind_safe::<WaitGroup>();
    unwind_safe::<Notify>();
}

/// Checks at compile time whether a type implements a trait: an inherent constant hides the trait's.
macro_rules! implements {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code)]
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        trait Otherwise {
            const YES: bool = false;
        }
        impl<T: ?Sized> Otherwise for Probe<T> {}
        #[allow(dead_code)]
        impl<T: ?Sized + $($bound)+> Probe<T> {
            const YES: bool = true;
        }
        <Probe<$type>>::YES
    }};
}

/// The auto traits of a type, in a fixed order.
macro_rules! auto_traits {
    ($type:ty) => {
        [
            ("Send", implements!($type: Send)),
            ("Sync", implements!($type: Sync)),
            ("Unpin", implements!($type: Unpin)),
            ("UnwindSafe", implements!($type: UnwindSafe)),
            ("RefUnwindSafe", implements!($type: RefUnwindSafe)),
        ]
    };
}

/// Locks, guards and handles have the auto traits of std's, for payloads of each kind.
#[test]
fn auto_traits_are_those_of_std() {
    use std::sync as std_sync;
    use sward::sync;
    type NotUnpin = std::marker::PhantomPinned;
    macro_rules! same {
        ($($payload:ty),*) => {$({
            type P = $payload;
            same!(@ Mutex<P>, RwLock<P>, OnceLock<P>, LazyLock<P>, LazyLock<u8, P>, MutexGuard<'static, P>,
                RwLockReadGuard<'static, P>, RwLockWriteGuard<'static, P>, PoisonError<P>, TryLockError<P>);
            assert_eq!(
                auto_traits!(JoinHandle<P>)[..3],
                auto_traits!(std::thread::JoinHandle<P>)[..3],
                "JoinHandle<{}>", stringify!($payload)
            );
            // Ours has them for any payload, as `JoinHandle`: `spawn` has required `Send` already.
            assert!(
                implements!(sward::task::ScopedJoinHandle<'static, P>: Send + Sync + Unpin),
                "ScopedJoinHandle<{}>", std::any::type_name::<P>()
            );
        })*};
        (@ $($name:ident<$($arg:tt),*>),*) => {$(
            assert_eq!(
                auto_traits!(sync::$name<$($arg),*>),
                auto_traits!(std_sync::$name<$($arg),*>),
                "{} of {}", stringify!($name<$($arg),*>), std::any::type_name::<P>()
            );
        )*};
    }
    same!(
        u8,
        Cell<u8>,
        std::rc::Rc<u8>,
        &'static mut u8,
        &'static Cell<u8>,
        std_sync::MutexGuard<'static, u8>,
        *const u8,
        NotUnpin,
        Box<dyn Fn()>
    );
    macro_rules! plain {
        ($($name:ident),*) => {$(
            assert_eq!(auto_traits!(sync::$name), auto_traits!(std_sync::$name), stringify!($name));
        )*};
    }
    plain!(Barrier, BarrierWaitResult, Condvar, Once, WaitTimeoutResult);
}
