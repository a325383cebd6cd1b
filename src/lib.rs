//! Goroutines for Rust.
mod base;
mod stack;
