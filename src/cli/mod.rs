//! The command line: one file a command. A command builds the [`App`], runs something on it, prints the
//! result on stdout and says how it went by its [`Exit`].

mod apply;
mod check;
mod completions;
mod explain;
mod healthcheck;
mod iam;
mod init;
mod job;
mod ledger;
mod plan;
mod progress_bar;
mod quarantine;
mod replicate;
mod report;
mod restore;
mod run;
mod simulate;
mod status;
mod whole_file;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::app::App;
use crate::config::{self, ConfigError, Settings};
use crate::telemetry;

/// How a command ended. The numbers are those of sysexits.h, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// Done with failures; the report says which.
    Failures = 1,
    Usage = 64,
    /// AWS cannot be reached, or a needed resource is missing.
    Unavailable = 69,
    /// Another daemon holds the lease for this job.
    Held = 75,
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

const AFTER_HELP: &str = "\
First steps:
  tierd check --offline           the configuration as it takes effect, and when each job runs next
  tierd init --dry-run            what is missing in AWS; without --dry-run it is made
  tierd plan                      what would be moved, and what that costs and saves

Exit codes:
  0   done
  1   done with failures; the report says which
  64  wrong usage
  69  AWS cannot be reached, or a needed resource is missing (`tierd check` says which)
  75  another daemon holds the lease for this job
  78  bad configuration";

/// One daemon that gives every user a bucket, counts how its objects are used, and keeps each in the storage class that it
/// deserves.
#[derive(Debug, Parser)]
#[command(name = "tierd", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration file [default: $TIERD_CONFIG, else /etc/tierd/tierd.toml]
    ///
    /// Any key can be overridden from the environment, with two underscores between the levels:
    /// TIERD__INGEST__SCHEDULE="rate(1 hour)".
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon: every enabled part, until SIGTERM or SIGINT
    ///
    /// Then it drains and exits 0; a second signal exits at once. SIGHUP has it read its configuration again: if all of
    /// it is in order it goes on under the new one, else under the old one, and log lines say why. Log lines and metrics
    /// go to stdout, one JSON object a line.
    Run,
    /// Shows the configuration as it takes effect, and verifies that all it needs is there
    ///
    /// Prints the whole configuration as TOML, the next five times of every schedule, and a line for each table, queue and
    /// bucket that is needed: how it stands, and the mend. Changes nothing.
    Check(check::Args),
    /// Makes the tables and queues that `check` misses
    ///
    /// Makes the ledger and the state table, and each queue with its dead-letter queue and its policy, and prints a line
    /// for each.
    Init(init::Args),
    /// Runs one job now, in the foreground
    ///
    /// A job runs under its lease, so that it never runs beside the daemon's own run of it: exit code 75 says that
    /// another one is running.
    Job(job::Args),
    /// Shows what a transition run would do, and what each move costs and saves
    ///
    /// By pair of classes and by bucket: objects, bytes, the cost once, the saving a month and when it is paid back; and what
    /// stays where it is, and why. Changes nothing.
    Plan(plan::Args),
    /// Executes a plan that `tierd plan --out FILE` wrote
    ///
    /// Moves exactly what the plan says and nothing else, and leaves alone what has changed since. Runs as the transition job,
    /// under its lease.
    Apply(apply::Args),
    /// Shows everything that is known of one object, and what each policy would do with it and why
    ///
    /// Looks into the ledger and at the object itself, and changes nothing.
    Explain(explain::Args),
    /// Copies the objects that were there before their [[replicate]] rule
    ///
    /// Walks the listing and copies what is missing at the destination or differs; what is there already is passed over, so
    /// a run that was broken off is taken up by the next one.
    Replicate(replicate::Args),
    /// Asks for archived objects to be restored, or shows how far that is
    ///
    /// The request goes to S3 at once; the daemon copies the object back when S3 says that it is ready, which takes minutes
    /// to days by class and tier. Asking twice does no harm.
    Restore(restore::Args),
    /// Shows what goes on: jobs, leases, queues, restores, what was set aside
    ///
    /// Reads the state table and the queues, so it shows the work of all daemons, wherever it is asked; only the health is
    /// that of the daemon on this machine.
    Status(status::Args),
    /// What was set aside because it cannot be done, and why
    ///
    /// Users whose bucket cannot be made, log files that cannot be read, restores that failed: nothing of these is forgotten
    /// or tried again before a person says so.
    Quarantine(quarantine::Args),
    /// Shows what is stored and what it costs, by class, age and bucket, and the moves that would pay
    ///
    /// Reads the ledger and changes nothing. With --out it writes one page that needs no network, or a table for
    /// spreadsheets.
    Report(report::Args),
    /// Carries an old table over into the ledger
    ///
    /// For those who come from the functions that tierd replaces, whose table was keyed by ETag alone.
    Ledger(ledger::Args),
    /// Replays your own logs, or a trace of accesses, and says what each policy would have cost
    ///
    /// Puts every policy beside leaving all in STANDARD, beside Intelligent-Tiering, and beside the optimum that knows the
    /// future. Reads and changes nothing; with --trace FILE it needs neither AWS nor a configuration.
    Simulate(simulate::Args),
    /// Says whether the running daemon is well (for container and systemd probes)
    ///
    /// Reads the daemon's heartbeat file. Exit code 0 if every enabled part made progress lately; else 1, and a line a
    /// part that did not.
    Healthcheck,
    /// Prints the least IAM policy that this configuration needs
    ///
    /// One JSON document on stdout, made from the configuration: only its own tables, queues, buckets and prefixes, and no
    /// action that is not used.
    Iam(iam::Args),
    /// Prints a completion script for a shell
    #[command(hide = true)]
    Completions(completions::Args),
    /// Writes the manual pages
    #[command(hide = true)]
    Man(completions::ManArgs),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    end_without_a_reader();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to stdout.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _gone = error.print();
            return exit.into();
        }
    };
    // What packages ask for while they are built, where there is no configuration.
    match &cli.command {
        Command::Completions(args) => return completions::completions(args).into(),
        Command::Man(args) => return ended(completions::man(args)),
        _ => {}
    }
    let loaded = config::load(cli.config.as_deref(), std::env::vars()).map(|loaded| loaded.settings);
    let loaded = match (loaded, &cli.command) {
        // A trace holds all that it takes.
        (Err(ConfigError::NotFound { path, .. }), Command::Simulate(_)) if path == Path::new(config::DEFAULT_PATH) => {
            simulate::settings_without_file()
        }
        (loaded, _) => loaded,
    };
    let settings = match loaded {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{:#}", anyhow::Error::new(error));
            return Exit::Config.into();
        }
    };
    if let Command::Healthcheck = cli.command {
        // No runtime, no client: a probe runs every few seconds.
        return healthcheck::run(&settings).into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tierd: the runtime cannot start: {error}");
            return Exit::Failures.into();
        }
    };
    let exit = runtime.block_on(async {
        match cli.command {
            Command::Run => run::run(settings, cli.config).await,
            Command::Check(args) => check::run(settings, args).await,
            Command::Init(args) => init::run(settings, args).await,
            Command::Job(args) => job::run(settings, args).await,
            Command::Plan(args) => plan::run(settings, args).await,
            Command::Apply(args) => apply::run(settings, args).await,
            Command::Explain(args) => explain::run(settings, args).await,
            Command::Replicate(args) => replicate::run(settings, args).await,
            Command::Restore(args) => restore::run(settings, args).await,
            Command::Status(args) => status::run(settings, args).await,
            Command::Quarantine(args) => quarantine::run(settings, args).await,
            Command::Iam(args) => iam::run(settings, args).await,
            Command::Ledger(args) => ledger::run(settings, args).await,
            Command::Healthcheck | Command::Completions(_) | Command::Man(_) => unreachable!("handled above"),
            Command::Report(args) => report::run(settings, args).await,
            Command::Simulate(args) => simulate::run(settings, args).await,
        }
    });
    // A blocking task that still runs (a large file being inflated) must not keep a drained daemon alive.
    runtime.shutdown_background();
    telemetry::finish();
    ended(exit)
}

/// `println!` panics where what it prints cannot be written. A reader that has seen enough (`tierd check | head`) is no fault of
/// the program, and a full disk none that a stack trace helps with.
fn end_without_a_reader() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match panic.payload_as_str() {
        Some(text) if text.starts_with("failed printing to stdout") => {
            if !text.contains("Broken pipe") {
                eprintln!("tierd: {text}");
            }
            std::process::exit(Exit::Failures as i32);
        }
        _ => otherwise(panic),
    }));
}

fn ended(result: Result<Exit>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("tierd: {error:#}");
            if is_missing(&error) {
                eprintln!("tierd: `tierd check` says what is missing, and `tierd init` makes what is tierd's own");
            }
            exit_for(&error).into()
        }
    }
}

/// Whether a command ended for want of something that it needs: a table, a queue, a bucket.
fn is_missing(error: &anyhow::Error) -> bool {
    use crate::aws::{AwsError, Kind};
    error.chain().any(|cause| cause.downcast_ref::<AwsError>().is_some_and(|e| e.kind == Kind::NotFound))
}

/// What an error that ended a command means for its exit code.
fn exit_for(error: &anyhow::Error) -> Exit {
    use crate::aws::{AwsError, Kind};
    use crate::resources::NotReady;
    let outage = error.chain().any(|cause| {
        cause.is::<NotReady>()
            || cause
                .downcast_ref::<AwsError>()
                .is_some_and(|e| e.is_outage() || matches!(e.kind, Kind::NotFound | Kind::Transient))
    });
    if outage { Exit::Unavailable } else { Exit::Failures }
}

/// The program for a command that runs in the foreground: log lines go to stderr, results to stdout.
async fn foreground(settings: Settings) -> Result<App> {
    use std::io::IsTerminal;
    let format = if std::io::stderr().is_terminal() { telemetry::Format::Pretty } else { telemetry::Format::Json };
    telemetry::init(telemetry::Output::Stderr, format, &settings.telemetry.level)?;
    App::connect(settings).await
}
