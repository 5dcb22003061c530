//! `tierd completions` and `tierd man`: what packages install beside the program, made from the same definitions as its help.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Exit};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tierd completions bash > /etc/bash_completion.d/tierd
  tierd completions zsh > \"${fpath[1]}/_tierd\"
  tierd completions fish > ~/.config/fish/completions/tierd.fish")]
pub struct Args {
    /// For which shell
    shell: Shell,
}

pub fn completions(args: &Args) -> Exit {
    clap_complete::generate(args.shell, &mut Cli::command(), "tierd", &mut io::stdout());
    Exit::Done
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tierd man /usr/local/share/man/man1 && man tierd-run")]
pub struct ManArgs {
    /// Where the pages are written, tierd.1 and one for each command
    directory: PathBuf,
}

pub fn man(args: &ManArgs) -> Result<Exit> {
    let to = || format!("writing the pages to {}", args.directory.display());
    clap_mangen::generate_to(Cli::command(), &args.directory).with_context(to)?;
    Ok(Exit::Done)
}
