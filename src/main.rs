//! Arguments in, exit code out; everything else is in the library.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::process::ExitCode;

/// Message buffers are allocated on one thread and freed on another all day; mimalloc keeps that
/// cheap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The option that says after how many milliseconds freed memory goes back to the system.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|command| command == "run")
        && env::var_os(PURGE_DELAY).is_none()
    {
        // Without it the gateway only holds more memory than it needs.
        let error = begin_again();
        eprintln!("note: {PURGE_DELAY} could not be set, so freed memory goes back late: {error}");
    }
    tidegate::cli::main()
}

/// Begins this process again with the option set: mimalloc reads it before `main`. By itself it waits
/// a second and for later use of the same memory, and what a flood of a million keys took stayed
/// (`benches/state`, memory: 80 to 190 MiB of 300, each flood more; 60 with the option).
fn begin_again() -> io::Error {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| "tidegate".into());
    match env::current_exe() {
        Ok(program) => {
            Command::new(program).arg0(name).args(arguments).env(PURGE_DELAY, "1").exec()
        }
        Err(error) => error,
    }
}
