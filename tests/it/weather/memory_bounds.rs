//! What is promised in bytes holds in bytes (M1).
