//! Exports: a collection's items at one sequence number, as `shortlist export` writes them, checked while they are read.
//!
//! The last line has the count and the blake3 of what came before it; an export without it, or that does not fit it, is an
//! error, told when its end is reached.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::MultiGzDecoder;
use shortlist::collection::{ExportDeleted, ExportEnd, ExportHeader, ExportItem};

use super::extension;

/// Longest line.
const MAX_LINE: u64 = 64 << 20;
/// What the last line begins with.
const END: &[u8] = b"{\"end\":";

/// The lines of an export as they are, the last one checked.
pub struct ExportLines<R> {
    reader: R,
    hash: blake3::Hasher,
    /// Lines that were read.
    lines: u64,
    line: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> ExportLines<R> {
    /// Begins at the first line.
    pub fn new(reader: R) -> Self {
        ExportLines { reader, hash: blake3::Hasher::new(), lines: 0, line: Vec::new(), ended: false }
    }

    /// The next line, with its end; None behind the last one, which fits the others.
    pub fn next(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        let mut limited = (&mut self.reader).take(MAX_LINE);
        limited.read_until(b'\n', &mut self.line)?;
        let number = self.lines + 1;
        match (self.ended, self.line.is_empty()) {
            (true, true) => return Ok(None),
            (true, false) => bail!("line {number}: there is more behind the last line"),
            (false, true) => bail!("ends after line {}, before its last line: it is not whole", self.lines),
            (false, false) => {}
        }
        if !self.line.ends_with(b"\n") {
            bail!("line {number}: has no end: the export is not whole");
        }
        if self.line.starts_with(END) {
            let end: ExportEnd =
                serde_json::from_slice(&self.line).with_context(|| format!("line {number}"))?;
            let hash = self.hash.finalize().to_hex().to_string();
            if self.lines != end.end + 1 || hash != end.blake3 {
                let (found, wanted) = (self.lines.saturating_sub(1), end.end);
                bail!(
                    "line {number}: {found} lines of blake3 {hash} came before it, it says {wanted} and {}",
                    end.blake3
                );
            }
            self.ended = true;
        } else {
            self.hash.update(&self.line);
        }
        self.lines = number;
        Ok(Some(&self.line))
    }
}

/// What a line between the first and the last is.
pub enum ExportLine {
    /// An item.
    Item(Box<ExportItem>),
    /// A deleted item.
    Deleted(ExportDeleted),
}

/// An export's first line.
pub fn export_header(line: &[u8]) -> Result<ExportHeader> {
    let header: ExportHeader =
        serde_json::from_slice(line).context("line 1 is not the first line of an export")?;
    match header.export {
        ExportHeader::FORMAT => Ok(header),
        other => bail!("line 1: an export of format {other}, this program reads {}", ExportHeader::FORMAT),
    }
}

/// An open file.
pub struct ExportReader {
    path: PathBuf,
    lines: ExportLines<Box<dyn BufRead>>,
    header: ExportHeader,
}

impl ExportReader {
    /// Opens a file, `.gz` or plain, and reads its first line.
    pub fn open(path: &Path) -> Result<Self> {
        let named = || path.display().to_string();
        let file = BufReader::with_capacity(1 << 16, File::open(path).with_context(named)?);
        let reader: Box<dyn BufRead> = match extension(path).ends_with("gz") {
            true => Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file))),
            false => Box::new(file),
        };
        let mut lines = ExportLines::new(reader);
        let first = lines.next().with_context(named)?.ok_or_else(|| anyhow!("is empty"));
        let header = first.and_then(export_header).with_context(named)?;
        Ok(ExportReader { path: path.to_owned(), lines, header })
    }

    /// The first line.
    pub fn header(&self) -> &ExportHeader {
        &self.header
    }

    /// Lines between the first and the last, as the first tells.
    pub fn wanted(&self) -> u64 {
        self.header.items.saturating_add(self.header.deleted)
    }

    /// The next line as it is; None when the export has ended as it should. The error tells how far it goes.
    pub fn line(&mut self) -> Result<Option<&[u8]>> {
        let wanted = self.wanted();
        let (path, read) = (&self.path, self.lines.lines.saturating_sub(1).min(wanted));
        let named = || format!("{}: {read} of {wanted} lines were read", path.display());
        if self.lines.next().with_context(named)?.is_none_or(|line| line.starts_with(END)) {
            // Reads on once more, for what must not be behind it.
            self.lines.next().with_context(named)?;
            return Ok(None);
        }
        Ok(Some(&self.lines.line))
    }

    /// What the next line is; None when the export has ended as it should.
    pub fn next(&mut self) -> Result<Option<ExportLine>> {
        let named = format!("{}: line {}", self.path.display(), self.lines.lines + 1);
        let named = || named;
        let Some(line) = self.line()? else { return Ok(None) };
        if line.starts_with(b"{\"deleted\":") {
            return Ok(Some(ExportLine::Deleted(serde_json::from_slice(line).with_context(named)?)));
        }
        Ok(Some(ExportLine::Item(serde_json::from_slice(line).with_context(named)?)))
    }
}
