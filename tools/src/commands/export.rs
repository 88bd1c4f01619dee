//! `shortlist export`: a consistent copy of a collection's items.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use shortlist::collection::{Catalogue, CollectionName, Export, ExportHeader};

use super::query::client::Client;
use crate::input::{ExportLines, export_header, grouped};
use crate::output;
use crate::progress::{Progress, Report};

/// Copy all items of a collection, as they are at one sequence number, to a file.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Copy all items of a collection, as they are at one sequence number, to a file.\n\n\
        The file is lines of JSON: the first names the collection, its UUID, its schema and the sequence number; then an \
        item a line with vector, attributes, times and version; the last has the count and the blake3 of all before it, \
        so that half a copy is never taken for a whole one. With a name that ends in .gz it is compressed.\n\n\
        From a running server (the key needs scope `admin`): writes, searches and checkpoints go on, and the copy is of \
        the moment at which it began. Or from a data directory that no server serves.",
    after_help = EXAMPLES
)]
pub struct Args {
    /// The collection: http://HOST:PORT/COLLECTION, or DIR/COLLECTION of a data directory
    #[arg(value_name = "COLLECTION")]
    pub source: String,
    /// The file to write: .jsonl or .jsonl.gz
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  shortlist export http://127.0.0.1:7700/shop --out shop.jsonl.gz
  Rebuild it elsewhere, and publish what then catches up with the writes since:
    shortlist build --export shop.jsonl.gz --out data/shop
  Into another server:
    shortlist import http://127.0.0.1:7701/shop --export shop.jsonl.gz

Against a server with keys, put yours into the variable SHORTLIST_KEY.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let header = match Client::parse(&args.source)? {
        Some(client) => {
            let copy = client.copy("export")?;
            write(&args.out, BufReader::with_capacity(1 << 16, copy.body))?
        }
        None => {
            let (directory, name) = of_directory(&args.source)?;
            let (_catalogue, collection) = Catalogue::open_one(&directory, &name)?;
            write(
                &args.out,
                BufReader::new(Pieces { export: collection.export(), piece: Vec::new(), at: 0 }),
            )?
        }
    };
    let items = grouped(header.items.into());
    output::line(format!("{items} items exported as of sequence number {}", header.seq))
}

/// A data directory and a collection in it.
pub fn of_directory(source: &str) -> Result<(PathBuf, CollectionName)> {
    let path = Path::new(source);
    let expected = || anyhow!("{source}: expected http://HOST:PORT/COLLECTION or DIR/COLLECTION");
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(expected)?;
    let name = name.parse().with_context(|| source.to_owned())?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new(".")).to_owned();
    if !path.is_dir() {
        bail!("{source}: there is no such collection's directory");
    }
    Ok((directory, name))
}

/// Writes the lines beside their place, checks them, and moves the file there.
fn write(out: &Path, lines: impl BufRead) -> Result<ExportHeader> {
    let part = part_of(out)?;
    let written = write_checked(&part, is_gzip(out), lines).and_then(|header| {
        fs::rename(&part, out)?;
        Ok(header)
    });
    if written.is_err() {
        // Not there if it could not be made.
        let _ = fs::remove_file(&part);
    }
    written.with_context(|| format!("nothing was written to {}", out.display()))
}

fn part_of(out: &Path) -> Result<PathBuf> {
    let name = out.file_name().ok_or_else(|| anyhow!("--out {}: names no file", out.display()))?;
    Ok(out.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id())))
}

fn is_gzip(out: &Path) -> bool {
    out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

fn write_checked(part: &Path, gzip: bool, lines: impl BufRead) -> Result<ExportHeader> {
    let file = File::create_new(part).with_context(|| format!("cannot create {}", part.display()))?;
    let file = BufWriter::with_capacity(1 << 20, file);
    if !gzip {
        let (file, header) = copy(file, lines)?;
        file.into_inner()?.sync_all()?;
        return Ok(header);
    }
    let (file, header) = copy(GzEncoder::new(file, Compression::fast()), lines)?;
    file.finish()?.into_inner()?.sync_all()?;
    Ok(header)
}

fn copy<W: Write>(mut out: W, lines: impl BufRead) -> Result<(W, ExportHeader)> {
    let mut lines = ExportLines::new(lines);
    let first = lines.next()?.ok_or_else(|| anyhow!("the export is empty"))?;
    let header = export_header(first)?;
    out.write_all(first)?;
    let progress = Progress::new(Report::choose(false, false), "export", header.items + header.deleted);
    while let Some(line) = lines.next()? {
        out.write_all(line)?;
        progress.inc(1);
    }
    progress.finish();
    Ok((out, header))
}

/// The pieces of a copy, as bytes to read.
struct Pieces {
    export: Export,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.piece.len() {
            match self.export.next().transpose()? {
                None => return Ok(0),
                Some(piece) => (self.piece, self.at) = (piece, 0),
            }
        }
        let count = out.len().min(self.piece.len() - self.at);
        out[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
