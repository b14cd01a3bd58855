//! Benches of path.

fn main() {}
