//! The `dig-ingest` binary: parses the command line and hands over to one command.

// C and Rust share this allocator (the crate's `override` feature covers C).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    dig_ingest::commands::main()
}
