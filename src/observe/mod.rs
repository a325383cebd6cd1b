//! What a running program says about itself.
//!
//! [`dump`] says what each coroutine of the process does: which ones wait, for what, and since when.
//!
//! ```
//! let runtime = sward::runtime::Builder::new().build()?;
//! println!("{}", sward::observe::dump());
//! # drop(runtime);
//! # Ok::<(), std::io::Error>(())
//! ```

// Rank 6: it reads the layers below and changes none of them. Only `runtime` imports it, which starts it.
//
// - `dump`: the facts, as data.

mod dump;

pub use dump::{Dump, dump};
