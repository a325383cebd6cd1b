//! The one list of code that must not wait: functions under whose frames a wait is wrong, by their names.
//!
//! During a wait in a coroutine, other coroutines of the same thread run. That goes wrong if code relies on
//! the calls of a thread being nested, or keeps something in a thread-local for the time of a call. Only
//! functions that call a closure can be found this way: a guard that is a value (tokio's `EnterGuard`,
//! tracing's `Entered`) has no frame.

/// A kind of frame under which a coroutine must not wait.
#[derive(Debug)]
pub(super) struct Rule {
    /// What a function's name, without generic arguments, contains: all parts of one of these lists.
    names: &'static [&'static [&'static str]],
    /// What the coroutine is inside of, in the words of the panic's message.
    pub(super) what: &'static str,
    /// Why a wait there is wrong, and what to do.
    pub(super) why: &'static str,
    /// Whether it is wrong only for coroutines that may migrate.
    pub(super) migrating: bool,
}

const ENTERED: &str = "it keeps its state in a thread-local until the closure returns, and the other coroutines of \
    the worker would find it there; leave the closure before a wait";

/// All rules. The first one that a name matches counts.
pub(super) const RULES: &[Rule] = &[
    Rule {
        names: &[
            &["::__rust_std_internal_init_fn"],
            &["std::sys::thread_local::", "::get_or_init_slow"],
            &["std::sys::thread_local::", "::initialize"],
            &["std::sys::thread_local::os::", "::get"],
        ],
        what: "the initializer of a thread_local!",
        why: "another coroutine of the worker may initialize the variable meanwhile, and its value would be \
            dropped while it is borrowed; wait before the first use, or keep the value in a \
            sward::sync::OnceLock or a task_local!",
        migrating: false,
    },
    Rule {
        names: &[&["thread_local::ThreadLocal::get_or"]],
        what: "the initializer of a thread_local::ThreadLocal",
        why: "another coroutine of the worker may set the value meanwhile, and it would be overwritten while \
            it is borrowed; wait before the first use",
        migrating: false,
    },
    Rule {
        names: &[
            &["std::sync::", "once::Once::call"],
            &["std::sys::sync::once::", "::Once::call"],
            &["once_cell::imp::", "initialize"],
            &["parking_lot::once::Once::call"],
            &["spin::once::Once::", "call_once"],
        ],
        what: "the initializer of a Once, OnceLock, LazyLock, OnceCell or lazy_static!",
        why: "a coroutine that wants the value meanwhile blocks its worker, for ever if it is this one; use \
            sward::sync::{Once, OnceLock, LazyLock}, whose callers park",
        migrating: false,
    },
    Rule {
        names: &[&["scoped_tls::ScopedKey::set"]],
        what: "scoped_tls's ScopedKey::set",
        why: "scopes of several coroutines do not nest, so that a reference may outlive what it refers to; leave \
            the closure before a wait, or use a task_local!",
        migrating: false,
    },
    Rule {
        names: &[&["stacker::grow"], &["stacker::_grow"]],
        what: "stacker::grow",
        why: "stacker keeps the limit of the stack in a thread-local, and the other coroutines of the worker would \
            overflow theirs unnoticed; give the coroutine a larger stack (task::Builder::stack_size)",
        migrating: false,
    },
    Rule {
        names: &[
            &["tokio::runtime::context::", "enter_runtime"],
            &["tokio::runtime::context::scoped::Scoped::set"],
            &["tokio::task::task_local::LocalKey::", "scope"],
            &["tokio::task::local::", "::with"],
            &["tokio::task::coop::", "with_budget"],
            &["tokio::runtime::coop::", "with_budget"],
        ],
        what: "a context of tokio (block_on, LocalSet, a task_local)",
        why: ENTERED,
        migrating: false,
    },
    Rule {
        names: &[
            &["futures_executor::local_pool::", "run_executor"],
            &["futures_executor::local_pool::", "block_on"],
        ],
        what: "an executor of futures",
        why: "it blocks the worker, and no other coroutine there can enter one meanwhile; use sward::block_on",
        migrating: false,
    },
    Rule {
        names: &[
            &["tracing::span::Span::in_scope"],
            &["tracing_core::dispatcher::with_default"],
            &["tracing_core::dispatcher::get_default"],
        ],
        what: "a span or a dispatcher of tracing",
        why: ENTERED,
        migrating: false,
    },
    Rule {
        names: &[&["std::thread::local::LocalKey::with"], &["std::thread::local::LocalKey::try_with"]],
        what: "LocalKey::with, in a coroutine that may go on on another thread",
        why: "the reference is to the first thread's value; leave the closure before a wait, or pin the coroutine \
            (task::Builder::pinned)",
        migrating: true,
    },
];

impl Rule {
    fn matches(&self, plain: &str) -> bool {
        self.names.iter().any(|parts| parts.iter().all(|part| plain.contains(part)))
    }
}

/// The first rule that a function's name, as backtraces print it, matches.
pub(super) fn rule_of(name: &str) -> Option<&'static Rule> {
    let plain = plain(name);
    // The crate's own functions have names like std's.
    if plain.starts_with("sward::") {
        return None;
    }
    RULES.iter().find(|rule| rule.matches(&plain))
}

/// Whether a function is not the user's own: std's, this crate's, or of a crate that a rule names.
pub(super) fn is_foreign(name: &str) -> bool {
    const KNOWN: &[&str] = &["std", "core", "alloc", "sward", "lazy_static", "psm", "tracing_core"];
    let plain = plain(name);
    // `<&Type as Trait>::function`
    let path = plain.trim_start_matches(['&', '*']).trim_start_matches("mut ").trim_start_matches("const ");
    let Some((first, _)) = path.split_once("::") else { return true };
    let named = |part: &&str| part.split_once("::").is_some_and(|(own, _)| own == first);
    KNOWN.contains(&first) || RULES.iter().flat_map(|rule| rule.names).flat_map(|names| *names).any(named)
}

/// A function's path without generic arguments, without the hashes of crates and the brackets around a type.
pub(super) fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let (mut depth, mut last) = (0_u32, ' ');
    for c in name.chars() {
        match c {
            // The arguments of what stands before them.
            '<' | '[' if depth > 0 || last.is_alphanumeric() || matches!(last, '_' | ':') => depth += 1,
            '>' if last == '-' => {}
            '>' | ']' if depth > 0 => depth -= 1,
            // Around `<Type as Trait>`.
            '<' | '>' => continue,
            _ if depth == 0 => plain.push(c),
            _ => {}
        }
        last = c;
    }
    plain.replace("::::", "::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_without_their_arguments() {
        for (name, path) in [
            (
                "std::sync::once::Once::call_once::{{closure}}",
                "std::sync::once::Once::call_once::{{closure}}",
            ),
            ("<scoped_tls::ScopedKey<u32>>::set::<fn() -> u32, u8>", "scoped_tls::ScopedKey::set::"),
            ("<std[e28293b1aa0f68bd]::backtrace::Backtrace>::create", "std::backtrace::Backtrace::create"),
            ("<a::B<[u8; 3]> as c::D>::e::h0123456789abcdef", "a::B as c::D::e::h0123456789abcdef"),
            ("alloc::vec::Vec<T,A>::push", "alloc::vec::Vec::push"),
        ] {
            assert_eq!(plain(name), path, "{name}");
        }
    }

    fn what(name: &str) -> Option<&'static str> {
        rule_of(name).map(|rule| rule.what)
    }

    #[test]
    fn rules_know_functions_by_name() {
        let local = Some("the initializer of a thread_local!");
        assert_eq!(what("my::KEY::__rust_std_internal_init_fn"), local);
        let name = "<std[e28293b1aa0f68bd]::sys::thread_local::native::lazy::Storage<u32, ()>>::get_or_init_slow::<F>";
        assert_eq!(what(name), local);
        assert!(what("std::sync::once::Once::call_once_force").is_some());
        assert!(what("std::sync::poison::once::Once::call_once").is_some());
        assert!(what("<std::sys::sync::once::futex::Once>::call").is_some());
        assert!(what("once_cell::imp::initialize_or_wait").is_some());
        assert!(what("scoped_tls::ScopedKey<T>::set").is_some());
        assert!(what("stacker::_grow::{{closure}}").is_some());
        assert!(rule_of("std::thread::local::LocalKey<T>::with").is_some_and(|rule| rule.migrating));
    }

    #[test]
    fn what_parks_properly_is_known_by_no_rule() {
        for name in [
            "sward::sync::once::Once::call_once",
            "<sward::sync::once_lock::OnceLock<T>>::get_or_init",
            "std::sync::once_lock::OnceLock<T>::get",
            "core::cell::once::OnceCell<T>::get_or_init",
            "std::panicking::catch_unwind::do_call",
            "std::sys::thread_local::native::lazy::destroy",
        ] {
            assert_eq!(what(name), None, "{name}");
        }
    }

    #[test]
    fn users_code_is_told_from_that_of_libraries() {
        for name in [
            "std::thread::spawn",
            "<core::option::Option<T>>::map",
            "scoped_tls::ScopedKey<T>::set",
            "__rust_try",
        ] {
            assert!(is_foreign(name), "{name}");
        }
        assert!(!is_foreign("my_server::main::{{closure}}"));
        assert!(!is_foreign("<my_server::Key as core::ops::Deref>::deref"));
    }
}
