//! `shortlist serve`: answers searches and takes writes over a data directory until it is told to stop.

mod limits;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use shortlist::collection::{Catalogue, StateLimits, WriteSettings};
use shortlist::server::{self, Keys, RecordSettings, ServerConfig};

use self::limits::LimitArgs;
use super::number::whole;
use super::{Holding, time};
use crate::output;

/// Serve every collection of a data directory over HTTP.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Serve every collection of a data directory over HTTP.\n\n\
        Collections are what `shortlist build --out DIR/NAME` published there, or what was made over HTTP; a newly \
        published one is taken up while serving. At the start each collection is opened, what its log has after its newest \
        checkpoint is applied, its file is verified and its pages are warmed by the last queries; meanwhile /readyz is 503 \
        and says how far it is. The API is described at /openapi.json and readable at /docs; /livez, /readyz and /metrics are for \
        operators.\n\n\
        Without keys the server listens on this machine only. Keys are lines `read|write|admin SHA256-OF-THE-KEY`, in \
        --keys FILE or in the variable SHORTLIST_KEYS; callers send `Authorization: Bearer KEY`. Ctrl-C or SIGTERM stops \
        it: requests that run are finished, new ones refused.\n\n\
        Settings are the flags below, and nothing else: where an error names one, as `limits.ef`, `state.events` or \
        `writes.queue`, its flag is --limits-ef, --state-events or --write-queue.",
    after_help = EXAMPLES
)]
pub struct Args {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7700")]
    pub listen: SocketAddr,
    /// Map the index files, or copy them into memory first
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Holding::Mapped)]
    pub mode: Holding,
    /// Threads that search [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// A file of keys
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Listen on an address that other machines reach although there are no keys
    #[arg(long)]
    pub allow_public_without_keys: bool,
    /// When to compare the index files with their checksums: before the server is ready, or behind running searches
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Verify::Start)]
    pub verify: Verify,
    /// Record searches into DIR/<collection>.jsonl, for `shortlist profile try`: with their vectors, ids and context, so
    /// as private as the requests are
    #[arg(long, value_name = "DIR")]
    pub record_requests: Option<PathBuf>,
    /// Share of the searches that are recorded, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, requires = "record_requests", value_parser = record_share)]
    pub record_share: f64,
    /// MiB of a collection's file of recorded searches, at most
    #[arg(long, value_name = "MIB", default_value_t = 256, requires = "record_requests", value_parser = whole(0..=1_u64 << 30))]
    pub record_max_mib: u64,
    /// Seconds that running requests may take when the server stops
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = whole(0..=86_400_u64))]
    pub shutdown_timeout: u64,
    /// Write the log as JSON lines
    #[arg(long)]
    pub json: bool,
    #[command(flatten, next_help_heading = "Writes")]
    pub writes: WriteArgs,
    #[command(flatten, next_help_heading = "Requests")]
    pub limits: LimitArgs,
    #[command(flatten, next_help_heading = "Beside the items")]
    pub state: StateArgs,
}

/// When files are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// Before the server is ready: about a second for each gigabyte.
    Start,
    /// Slowly, while it serves: a large collection is ready sooner.
    Background,
}

/// How collections take writes; the API's errors name these settings as `writes.<name>`.
#[derive(Debug, Clone, clap::Args)]
pub struct WriteArgs {
    /// Write a checkpoint when the log has so many bytes that no index file covers: less is a shorter start, more is
    /// fewer files written
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "256M")]
    pub checkpoint_bytes: u64,
    /// Write a checkpoint when the oldest such record is so old
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "15m")]
    pub checkpoint_age: Duration,
    /// Bytes a second at which checkpoints are written, so that the log's syncs do not wait for them; 0 for no pace
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "64M")]
    pub checkpoint_pace: u64,
    /// Keep the log so long after a checkpoint covers it, so that an index built elsewhere from an older export catches up
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "24h")]
    pub log_retention: Duration,
    /// But at most so many bytes of it; each start reads them
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "1G")]
    pub log_retention_bytes: u64,
    /// Refuse writes (507) while a collection's log is larger, whatever keeps it from being covered; 0 for no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "0")]
    pub log_max_bytes: u64,
    /// Refuse writes (507) while the process has more memory of its own; 0 for no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "0")]
    pub memory_limit: u64,
    /// Bytes after which the log goes on in a new file: whole files are kept or removed
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "64M")]
    pub segment_bytes: u64,
    /// Writes of a collection that may wait; more are refused (429)
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub write_queue: u32,
    /// Remember a write's answer so long under its `Idempotency-Key`
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "24h")]
    pub idempotency_window: Duration,
    /// But at most so many answers of a collection
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub idempotency_keys: u32,
    /// Reopen a collection onto its newest checkpoint when this share of its slots is dead or came since: frees memory
    #[arg(long, value_name = "SHARE", default_value_t = 0.25, value_parser = share)]
    pub reopen_share: f64,
}

/// How much a collection keeps beside its items; the API's errors name these settings as `state.<name>`.
#[derive(Debug, Clone, clap::Args)]
pub struct StateArgs {
    /// Profiles
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub state_profiles: u32,
    /// Bytes of a profile
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "256K")]
    pub state_profile_bytes: u64,
    /// Exclude sets that have not expired
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub state_exclude_sets: u32,
    /// Ids of one exclude set
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub state_exclude_set_ids: u32,
    /// Bytes of all exclude sets, in memory and in every checkpoint
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "512M")]
    pub state_exclude_bytes: u64,
    /// Events in one request
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub state_events: u32,
}

impl StateArgs {
    fn limits(&self) -> StateLimits {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        StateLimits {
            profiles: self.state_profiles as usize,
            profile_bytes: size(self.state_profile_bytes),
            exclude_sets: self.state_exclude_sets as usize,
            exclude_set_ids: self.state_exclude_set_ids as usize,
            exclude_bytes: size(self.state_exclude_bytes),
            events: self.state_events as usize,
        }
    }
}

impl WriteArgs {
    fn settings(&self, state: StateLimits) -> WriteSettings {
        WriteSettings {
            queue: self.write_queue as usize,
            checkpoint_bytes: self.checkpoint_bytes,
            checkpoint_age: self.checkpoint_age,
            checkpoint_pace: self.checkpoint_pace,
            log_retention: self.log_retention,
            log_retention_bytes: self.log_retention_bytes,
            log_max_bytes: self.log_max_bytes,
            memory_limit: self.memory_limit,
            reopen_share: self.reopen_share,
            segment_bytes: self.segment_bytes,
            idempotency_window: self.idempotency_window,
            idempotency_keys: self.idempotency_keys as usize,
            state,
        }
    }
}

/// `4096`, `64K`, `256M`, `2G`: powers of 1,024.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => (&text[..at], unit.to_ascii_uppercase()),
        _ => (text, 'B'),
    };
    let shift = match unit {
        'B' => 0,
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => 64,
    };
    let number = number.parse::<u64>().ok().filter(|number| shift < 64 && *number <= u64::MAX >> shift);
    number
        .map(|number| number << shift)
        .ok_or_else(|| format!("{text:?} is not a number of bytes such as 4096, 64K, 256M or 2G"))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.01..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a number from 0.01 to 1"))
}

const EXAMPLES: &str = "\
Examples:
  shortlist serve --data data
  shortlist serve --data data --listen 0.0.0.0:7700 --keys keys.txt --mode resident
  printf %s \"$KEY\" | sha256sum      # the digest for a line of keys.txt

The log has a line for each write and for each request that was refused. RUST_LOG=info,shortlist::audit=debug adds those that were
answered and only read; RUST_LOG=debug tells more, RUST_LOG=warn less.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    output::log("info", args.json);
    let config = config(args)?;
    let settings = args.writes.settings(args.state.limits());
    let catalogue = Arc::new(Catalogue::lock(&args.data, args.mode.into(), settings)?);
    runtime()?.block_on(async {
        let listener = server::bind(&config).await?;
        eprintln!("listening on http://{}, API at /docs, stop with Ctrl-C", listener.local_addr()?);
        server::serve(config, catalogue, listener, stop_signal()).await?;
        eprintln!("stopped");
        Ok(())
    })
}

fn config(args: &Args) -> Result<ServerConfig> {
    let keys = match &args.keys {
        Some(path) => Some(Keys::load(path)?),
        None => Keys::from_env().context("SHORTLIST_KEYS")?,
    };
    let defaults = ServerConfig::default();
    Ok(ServerConfig {
        listen: args.listen,
        keys,
        allow_public_without_keys: args.allow_public_without_keys,
        threads: args.threads.map_or(defaults.threads, usize::from),
        verify_at_start: args.verify == Verify::Start,
        shutdown_timeout: Duration::from_secs(args.shutdown_timeout),
        record: args.record_requests.clone().map(|directory| RecordSettings {
            directory,
            share: args.record_share,
            max_bytes: args.record_max_mib.saturating_mul(1 << 20),
        }),
        limits: args.limits.limits(),
        ..defaults
    })
}

fn record_share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{share} is not within 0 to 1")) }
}

/// The reactor: searches have threads of their own.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    // Where a thread cannot be made, tokio panics and then waits for those it has made: the process would neither serve nor end.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| {
        let reason = panic.payload().downcast_ref::<String>().map_or("a thread of them failed", |text| text);
        eprintln!("error: cannot start the reactor's threads: {reason}");
        std::process::exit(1);
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    std::panic::set_hook(hook);
    runtime.context("cannot start the reactor's threads")
}

/// Comes when the process is asked to end.
pub async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending::<()>().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Serve {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_left_out_are_the_defaults_of_the_library() {
        let serve = Serve::parse_from(["serve", "--data", "d"]);
        let settings = |args: &Args| args.writes.settings(args.state.limits());
        assert_eq!(settings(&serve.args), WriteSettings::default());
        let flags = "--state-profiles 1 --state-profile-bytes 2K --state-exclude-sets 3 --state-exclude-set-ids 4 \
                     --state-exclude-bytes 5M --state-events 6";
        let serve = Serve::parse_from(["serve", "--data", "d"].into_iter().chain(flags.split_whitespace()));
        let state = StateLimits {
            profiles: 1,
            profile_bytes: 2 << 10,
            exclude_sets: 3,
            exclude_set_ids: 4,
            exclude_bytes: 5 << 20,
            events: 6,
        };
        assert_eq!(settings(&serve.args), WriteSettings { state, ..WriteSettings::default() });
        let serve = Serve::parse_from(["serve", "--data", "d"]);
        assert_eq!(serve.args.verify == Verify::Start, ServerConfig::default().verify_at_start);
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!((bytes("4096"), bytes("64K"), bytes("2g")), (Ok(4096), Ok(65_536), Ok(2 << 30)));
        for bad in ["", "M", "1.5G", "-1", "64X", "18446744073709551615T", "1é"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(time("15m"), Ok(Duration::from_secs(900)));
        assert!(time("15").is_err() && share("0").is_err() && share("1.1").is_err() && share("NaN").is_err());
    }
}
