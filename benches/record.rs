//! Benches of record.

fn main() {}
