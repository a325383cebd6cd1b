//! What code finds inside a storage, and what it leaves behind.

use super::supported;

#[test]
fn supported_here_or_a_reason() {
    match supported() {
        Ok(()) => println!("supported"),
        Err(reason) => println!("unsupported: {reason}"),
    }
}
