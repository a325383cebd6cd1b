//! Libraries that are loaded while coroutines run, and have thread-locals.

use super::coroutines::{Coroutine, coroutines};
use crate::common::Folder;
use std::ffi::{CStr, CString, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A loaded library with one number for each thread.
#[derive(Clone, Copy)]
pub(crate) struct Library {
    handle: *mut c_void,
    get: extern "C" fn() -> c_int,
    set: extern "C" fn(c_int),
}

// SAFETY: the loader and the functions of the library may be called in all threads.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    pub(crate) fn load(path: &Path) -> Library {
        let path = CString::new(path.to_str().expect("UTF-8")).expect("no end inside");
        // SAFETY: the path has an end, the library has these two functions, and its constructors do nothing.
        unsafe {
            let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
            assert!(!handle.is_null(), "{:?}", CStr::from_ptr(libc::dlerror()));
            let (get, set) = (libc::dlsym(handle, c"get".as_ptr()), libc::dlsym(handle, c"set".as_ptr()));
            assert!(!get.is_null() && !set.is_null());
            Library {
                handle,
                get: std::mem::transmute::<*mut c_void, extern "C" fn() -> c_int>(get),
                set: std::mem::transmute::<*mut c_void, extern "C" fn(c_int)>(set),
            }
        }
    }

    /// Nobody calls the functions any more.
    pub(crate) fn unload(self) {
        // SAFETY: by the above.
        assert_eq!(unsafe { libc::dlclose(self.handle) }, 0);
    }

    pub(crate) fn get(self) -> c_int {
        (self.get)()
    }

    pub(crate) fn set(self, value: c_int) {
        (self.set)(value);
    }
}

/// Compiles a library with a number for each thread, of that initial value, whose storage has that model.
/// Prints why, if it cannot. glibc has room for a few hundred bytes of static storage.
pub(crate) fn compile(folder: &Folder, model: &str, value: c_int) -> Option<PathBuf> {
    let text = format!(
        "static __thread int number __attribute__((tls_model(\"{model}\"))) = {value};\n\
         static __thread char more[100] __attribute__((tls_model(\"{model}\")));\n\
         int get(void) {{ return number + more[50]; }}\n\
         void set(int value) {{ number = value; more[50] = 0; }}\n",
    );
    let (source, library) = (folder.file("library.c", &text), folder.at("library.so"));
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    match compiled {
        Ok(status) if status.success() => Some(library),
        failed => {
            println!("skipped: cc: {failed:?}");
            None
        }
    }
}

/// One coroutine loads the library while the others wait. All of them have been in their threads before.
fn loaded_late(model: &str) {
    let folder = Folder::new();
    let Some(path) = compile(&folder, model, 42) else { return };
    let library = OnceLock::new();
    coroutines(20).isolated().run(move |this: &Coroutine| {
        this.pauses(3);
        if this.number == 7 {
            library.get_or_init(|| Library::load(&path));
        }
        let library: Library = this.retry(|| library.get().copied());
        assert_eq!(library.get(), 42, "the initial value");
        library.set(this.number as c_int);
        this.pauses(5);
        assert_eq!(library.get(), this.number as c_int);
        // The next coroutine in this thread expects it.
        library.set(42);
    });
}

#[test]
fn a_library_with_dynamic_storage_is_loaded_late() {
    loaded_late("global-dynamic");
}

/// Its storage is at a fixed distance from the thread pointer, in all threads that exist.
#[test]
fn a_library_with_static_storage_is_loaded_late() {
    loaded_late("initial-exec");
}

/// Each load has fresh thread-locals, also in the place of those of an earlier one.
#[test]
fn a_library_is_loaded_again_and_again() {
    let folder = Folder::new();
    let Some(path) = compile(&folder, "global-dynamic", 43) else { return };
    let lock = sward::sync::Mutex::new(());
    coroutines(10).run(move |this| {
        for round in 0..10 {
            // Nobody else has it loaded meanwhile.
            let guard = lock.lock().expect("no panic");
            let library = Library::load(&path);
            assert_eq!(library.get(), 43);
            library.set(round);
            this.pauses(2);
            assert_eq!(library.get(), round);
            library.unload();
            drop(guard);
            this.pause();
        }
    });
}
