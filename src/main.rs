//! The `tierd` program. Everything it does is in the library: see [`tierd`].

use std::process::ExitCode;

fn main() -> ExitCode {
    tierd::cli::main()
}
