//! `shortlist restore`: a backup into a data directory.

use std::path::PathBuf;

use anyhow::Result;
use shortlist::collection::{CollectionName, restore_backup};

use crate::input::grouped;
use crate::output;
use crate::progress::{Progress, Report};

/// Put a backup into a data directory, verified.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Put a backup into a data directory, verified.\n\n\
        Every byte of the backup is checked before it counts. A collection that is there is never overwritten: give \
        another --name, or delete it first. A server on the directory takes the collection up within seconds.\n\n\
        The restored collection is a new one with a UUID of its own, because the old one may have gone on after the \
        backup: exports and builds of the old one cannot be published into it by mistake.",
    after_help = "Examples:\n  shortlist restore backups/shop-2026-11-23 --data data\n  \
        shortlist restore backups/shop-2026-11-23 --data data --name shop-before"
)]
pub struct Args {
    /// The backup's directory
    #[arg(value_name = "BACKUP")]
    pub backup: PathBuf,
    /// The data directory
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Name of the collection [default: as it was]
    #[arg(long, value_name = "NAME")]
    pub name: Option<CollectionName>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let progress = Progress::new(Report::choose(false, false), "restore", 0);
    let (name, manifest) =
        restore_backup(&args.backup, &args.data, args.name.as_ref(), &|done, _| progress.set(done))?;
    progress.finish();
    let items = grouped(manifest.items.into());
    output::line(format!("collection {name}: {items} items restored, as of sequence number {}", manifest.seq))
}
