//! Arguments in, exit code out; everything else is in the library.

use std::process::ExitCode;

/// Message buffers are allocated on one thread and freed on another all day; mimalloc keeps that
/// cheap, and gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
}
