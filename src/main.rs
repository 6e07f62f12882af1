//! The command line: arguments, log output, exit codes. Everything else is in the library.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mostrod::config::{self, Loaded, Settings};
use mostrod::{check, daemon};
use tracing::Metadata;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

/// A restart would fail again: wrong settings, a wrong command line, or an unusable database file.
/// `contrib/mostrod.service` uses this code.
const EXIT_NEEDS_A_PERSON: u8 = 2;

/// Without `RUST_LOG`. The relay pool is off: the daemon itself logs what an operator can act on.
const DEFAULT_LOG: &str = "warn,mostrod=info,nostr_relay_pool=off";

/// Lets strangers trade bitcoin for fiat: a daemon for the Mostro protocol.
#[derive(Debug, Parser)]
#[command(version, about, after_help = "Without a command it runs. RUST_LOG sets what is logged.")]
struct Arguments {
    /// Where settings.toml, .env and the database are [default: ~/.mostro]
    #[arg(short, long = "dirsettings", value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Verb {
    /// Run the daemon
    Run,
    /// Say whether the daemon could run: settings, database, LND and relays, and what the ledger holds
    Check,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let verb = arguments.verb.unwrap_or(Verb::Run);
    let Some(dir) = arguments.dir.or_else(default_dir) else {
        print_line("there is no home directory: name the settings directory with -d DIR");
        return ExitCode::from(EXIT_NEEDS_A_PERSON);
    };
    if verb == Verb::Run
        && let Some(code) = write_first_settings(&dir)
    {
        return code;
    }
    let loaded = match Settings::load(&dir, std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print_line(&format!("the settings in {} cannot be run with:", dir.display()));
            for problem in problems {
                print_line(&format!("  {problem}"));
            }
            return ExitCode::from(EXIT_NEEDS_A_PERSON);
        }
    };
    start(verb, loaded)
}

/// The first run writes the settings and ends; any later one has nothing to write.
fn write_first_settings(dir: &Path) -> Option<ExitCode> {
    match config::write_template(dir) {
        Ok(None) => None,
        Ok(Some(path)) => {
            print_line(&format!(
                "there were no settings: a template is now in {}. Fill in LND, relays and key, and \
                 start again.",
                path.display()
            ));
            Some(ExitCode::SUCCESS)
        }
        Err(error) => {
            print_line(&format!("cannot write settings into {}: {error}", dir.display()));
            Some(ExitCode::FAILURE)
        }
    }
}

fn start(verb: Verb, loaded: Loaded) -> ExitCode {
    log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_line(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = match verb {
        Verb::Run => runtime.block_on(daemon::run(loaded)),
        Verb::Check => runtime.block_on(check::run(loaded, &mut io::stdout())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_line(&format!("{error:#}"));
            if verb == Verb::Run && daemon::needs_a_person(&error) {
                return ExitCode::from(EXIT_NEEDS_A_PERSON);
            }
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr() {
    let wanted = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let lines = fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    tracing_subscriber::registry().with(wanted).with(filter_fn(quotes_no_relay)).with(lines).init();
}

/// The relay pool logs unreadable messages at full length: anybody could fill the disk with them.
fn quotes_no_relay(line: &Metadata<'_>) -> bool {
    !line.target().starts_with("nostr_relay_pool") || line.fields().field("msg").is_none()
}

fn default_dir() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".mostro"))
}

/// Prints to standard error; a full or closed pipe is ignored.
fn print_line(line: &str) {
    drop(writeln!(io::stderr(), "mostrod: {line}"));
}
