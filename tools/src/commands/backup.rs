//! `shortlist backup`: a verified copy of a collection's index file, while it is served.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Result;
use shortlist::collection::{BackupFile, Catalogue, receive_backup};

use super::export::of_directory;
use super::query::client::Client;
use crate::input::grouped;
use crate::output;
use crate::progress::{Progress, Report};

/// Copy a collection to a directory, verified, to restore it from.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Copy a collection to a directory, verified, to restore it from.\n\n\
        A checkpoint is made, which is the exact state at one sequence number, and its index file copied; writes, searches \
        and later checkpoints go on meanwhile. Every byte of the copy is then checked. The backup has everything that was \
        answered before it began. `shortlist restore` puts it into a data directory.\n\n\
        From a running server (the key needs scope `admin`), or from a data directory that no server serves.",
    after_help = "Examples:\n  shortlist backup http://127.0.0.1:7700/shop --out backups/shop-2026-11-23\n  \
        shortlist backup data/shop --out backups/shop\n\n\
        Against a server with keys, put yours into the variable SHORTLIST_KEY."
)]
pub struct Args {
    /// The collection: http://HOST:PORT/COLLECTION, or DIR/COLLECTION of a data directory
    #[arg(value_name = "COLLECTION")]
    pub source: String,
    /// The directory to make; one that is there must be empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if let Some(client) = Client::parse(&args.source)? {
        let mut copy = client.copy("backup")?;
        let name = client.name().to_owned();
        let length = copy.length()?;
        return receive(&args.out, &mut copy.body, (&name, &copy.collection, copy.seq, length));
    }
    let (directory, name) = of_directory(&args.source)?;
    let (_catalogue, collection) = Catalogue::open_one(&directory, &name)?;
    let BackupFile { mut file, bytes, seq, collection, uuid } = collection.backup()?;
    receive(&args.out, &mut file, (&collection, &uuid, seq, bytes))
}

fn receive(out: &Path, source: &mut dyn Read, of: (&str, &str, u64, u64)) -> Result<()> {
    let progress = Progress::new(Report::choose(false, false), "back up", of.3);
    let manifest = receive_backup(out, source, of, &|done, _| progress.set(done))?;
    progress.finish();
    let (items, size) = (grouped(manifest.items.into()), output::bytes(manifest.bytes));
    output::line(format!(
        "{items} items backed up and verified ({size}), as of sequence number {}",
        manifest.seq
    ))
}
