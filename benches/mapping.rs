//! Benches of mapping.

fn main() {}
