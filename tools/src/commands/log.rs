//! `shortlist log`: what is in a collection's log, and the operator's decision about a damaged one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;
use shortlist::arena::Mode;
use shortlist::collection::{Catalogue, Manifest, WriteSettings, withdraw};
use shortlist::log::{Disk, Truncated, check_place, inspect, truncate};

use super::number::whole;
use crate::input::grouped;
use crate::output;
use crate::table::{Align, Table};

/// Look into a collection's change log, or give up what lies behind a damage.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Look into a collection's change log, or give up what lies behind a damage.\n\n\
        A server trims by itself what a crash left half written at the log's end, and says so. Damage before that could \
        be to writes that were answered, so the server refuses to start and names file and offset. `inspect` shows \
        what is there; `truncate` gives up every record from an offset on, which nobody but you can decide.\n\n\
        Stop the server first.",
    after_help = "Examples:\n  shortlist log inspect data/shop\n  shortlist log truncate data/shop --file \
        log-00000000000000000001.slog --at 40960"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the segments: records, sequence numbers, bytes, the first damage
    Inspect {
        /// The collection's directory, or its `log` directory
        collection: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove every record from an offset on
    Truncate {
        /// The collection's directory, or its `log` directory
        collection: PathBuf,
        /// The segment, as `inspect` names it
        #[arg(long)]
        file: String,
        /// The offset, as the error or `inspect` names it
        #[arg(long, value_name = "AT", value_parser = whole(0..=u64::MAX))]
        at: u64,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    output::log("warn", false);
    match &args.action {
        Action::Inspect { collection, json } => show(&disk(collection)?, *json),
        Action::Truncate { collection, file, at } => {
            let mut disk = disk(collection)?;
            let _lock = lock_out_servers(collection)?;
            let records = |disk: &Disk| -> Result<u64> {
                Ok(inspect(disk)?.iter().map(|segment| segment.records).sum())
            };
            // Before anything is given up: a place that is not there gives up nothing.
            check_place(&disk, file, *at)?;
            if let Some(file) = withdraw(&home(collection))? {
                output::line(format!(
                    "{file}, which was published and which no server has taken up, is withdrawn: what was there before has records that it has not"
                ))?;
            }
            let before = records(&disk)?;
            let mut done = truncate(&mut disk, file, *at)?;
            if let Some(rest) = remove_covered(collection, &mut disk)? {
                done.removed.extend(rest.removed);
                done.bytes += rest.bytes;
            }
            let (removed, given_up) = (done.removed.len(), before.saturating_sub(records(&disk)?));
            let bytes = grouped(done.bytes.into());
            output::line(format!(
                "gave up {bytes} bytes with {given_up} sound records, {removed} segments removed"
            ))
        }
    }
}

/// Removes all of a log that ends before what the index file covers: a log goes on from its file, and every record of this one is in it.
fn remove_covered(collection: &Path, disk: &mut Disk) -> Result<Option<Truncated>> {
    let segments = inspect(disk)?;
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(None) };
    match Manifest::read(&home(collection))? {
        Some(manifest) if last.last < manifest.surely_covers() => Ok(Some(truncate(disk, &first.file, 0)?)),
        _ => Ok(None),
    }
}

/// The collection's directory, which was given, or whose log was.
fn home(collection: &Path) -> PathBuf {
    match collection.join("log").is_dir() {
        true => collection.to_owned(),
        false => collection
            .canonicalize()
            .ok()
            .and_then(|log| log.parent().map(Path::to_owned))
            .unwrap_or_default(),
    }
}

/// Holds the lock of the data directory that the collection lies in, if servers use it: one that runs would write on to what is removed.
fn lock_out_servers(collection: &Path) -> Result<Option<Catalogue>> {
    let collection = collection.canonicalize().with_context(|| collection.display().to_string())?;
    let is_log = collection.file_name().is_some_and(|name| name == "log");
    let data = if is_log { collection.parent().and_then(Path::parent) } else { collection.parent() };
    match data.filter(|data| data.join("serve.lock").exists()) {
        Some(data) => Ok(Some(Catalogue::lock(data, Mode::Mapped, WriteSettings::default())?)),
        None => Ok(None),
    }
}

fn disk(collection: &Path) -> Result<Disk> {
    let log = collection.join("log");
    let directory = if log.is_dir() { log } else { collection.to_owned() };
    if !directory.is_dir() {
        bail!("{}: is not a directory", collection.display());
    }
    Ok(Disk::new(directory))
}

fn show(disk: &Disk, as_json: bool) -> Result<()> {
    let segments = inspect(disk)?;
    if as_json {
        let rows: Vec<_> = segments
            .iter()
            .map(|segment| {
                let damage = segment.damage.as_ref().map(
                    |damage| json!({"offset": damage.offset, "reason": damage.reason, "torn": damage.torn}),
                );
                json!({"file": segment.file, "records": segment.records, "first": segment.first,
                    "last": segment.last, "bytes": segment.bytes, "damage": damage})
            })
            .collect();
        return output::json(&rows);
    }
    let mut table = Table::new([
        ("segment", Align::Left),
        ("records", Align::Right),
        ("first", Align::Right),
        ("last", Align::Right),
        ("bytes", Align::Right),
        ("damage", Align::Left),
    ]);
    for segment in &segments {
        let damage = segment.damage.as_ref().map_or(String::new(), |damage| {
            let kind = if damage.torn { "torn tail, trimmed at the next start" } else { "damaged" };
            format!("{kind} at {}: {}", damage.offset, damage.reason)
        });
        table.row([
            segment.file.clone(),
            grouped(segment.records.into()),
            segment.first.to_string(),
            segment.last.to_string(),
            grouped(segment.bytes.into()),
            damage,
        ]);
    }
    output::table(&table)
}
