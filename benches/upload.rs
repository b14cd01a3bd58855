//! Benches of upload.

fn main() {}
