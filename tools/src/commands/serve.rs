//! `shortlist serve`: answers searches over a data directory until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use shortlist::collection::Catalogue;
use shortlist::server::{self, Keys, RecordSettings, ServerConfig};

use super::Holding;
use crate::input::grouped;

/// Serve every collection of a data directory over HTTP.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Serve every collection of a data directory over HTTP.\n\n\
        Collections are what `shortlist build --out DIR/NAME` published there; a newly published one is taken up while \
        serving. The API is described at /openapi.json and readable at /docs; /livez, /readyz and /metrics are for \
        operators.\n\n\
        Without keys the server listens on this machine only. Keys are lines `read|write|admin SHA256-OF-THE-KEY`, in \
        --keys FILE or in the variable SHORTLIST_KEYS; callers send `Authorization: Bearer KEY`. Ctrl-C or SIGTERM stops \
        it: requests that run are finished, new ones refused.",
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
    /// Record searches into DIR/<collection>.jsonl, for `shortlist profile try`: with their vectors, ids and context, so
    /// as private as the requests are
    #[arg(long, value_name = "DIR")]
    pub record_requests: Option<PathBuf>,
    /// Share of the searches that are recorded, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, requires = "record_requests", value_parser = share)]
    pub record_share: f64,
    /// MiB of a collection's file of recorded searches, at most
    #[arg(long, value_name = "MIB", default_value_t = 256, requires = "record_requests")]
    pub record_max_mib: u64,
    /// Seconds that running requests may take when the server stops
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub shutdown_timeout: u64,
    /// Write the log as JSON lines
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  shortlist serve --data data
  shortlist serve --data data --listen 0.0.0.0:7700 --keys keys.txt --mode resident
  printf %s \"$KEY\" | sha256sum      # the digest for a line of keys.txt

RUST_LOG=debug tells more, RUST_LOG=warn less.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    log(args.json);
    let config = config(args)?;
    let catalogue = Arc::new(Catalogue::open(&args.data, args.mode.into())?);
    let collections = catalogue.all();
    for collection in &collections {
        let items = grouped(collection.index().items().into());
        eprintln!("collection {}: {items} items", collection.name());
    }
    if collections.is_empty() {
        let data = args.data.display();
        eprintln!("note: {data} has no collection yet; shortlist build --out {data}/NAME publishes one");
    }
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
        shutdown_timeout: Duration::from_secs(args.shutdown_timeout),
        record: args.record_requests.clone().map(|directory| RecordSettings {
            directory,
            share: args.record_share,
            max_bytes: args.record_max_mib.saturating_mul(1 << 20),
        }),
        ..defaults
    })
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{share} is not within 0 to 1")) }
}

fn log(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    // Set already only if this process serves twice, and then as wanted.
    let _ = if json { log.json().try_init() } else { log.try_init() };
}

/// The reactor: searches have threads of their own.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
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
