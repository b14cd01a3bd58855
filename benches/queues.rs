//! Benches of queues.

fn main() {}
