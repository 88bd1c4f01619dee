//! Writing: sections one after the other, checksums as they pass, header last; and publishing by rename.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use zerocopy::IntoBytes;

use super::header::{Facts, HEADER_LEN, Header};
use super::section::{ElementCode, Kind, RawEntry};
use super::{BLOCK, FileError};
use crate::priority::give_way;

/// Writes an index file into anything that can seek. Until `finish` the header is zeros, so an unfinished file is
/// refused by its magic.
#[derive(Debug)]
pub struct FileWriter<W: Write + Seek> {
    out: W,
    position: u64,
    block: Vec<u8>,
    checksums: Vec<u32>,
    entries: Vec<RawEntry>,
}

impl<W: Write + Seek> FileWriter<W> {
    /// Starts a file at the beginning of `out`.
    pub fn new(out: W) -> Result<Self, FileError> {
        let mut writer =
            FileWriter { out, position: 0, block: Vec::new(), checksums: Vec::new(), entries: Vec::new() };
        writer.raw(&[0; BLOCK as usize])?;
        writer.checksums.clear();
        Ok(writer)
    }

    /// Adds a section of whole elements of `stride` bytes.
    pub fn section(
        &mut self,
        kind: Kind,
        instance: u32,
        element: ElementCode,
        stride: usize,
        bytes: &[u8],
    ) -> Result<(), FileError> {
        let entry = RawEntry::new(kind, instance, element, stride as u64, self.position, bytes.len() as u64);
        self.entry(entry, bytes)
    }

    /// Adds a section whose bytes come in pieces of whole elements.
    pub fn section_of(
        &mut self,
        kind: Kind,
        instance: u32,
        element: ElementCode,
        stride: usize,
        pieces: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<(), FileError> {
        let start = self.position;
        for piece in pieces {
            self.raw(piece)?;
        }
        let length = self.position - start;
        self.entries.push(RawEntry::new(kind, instance, element, stride as u64, start, length));
        self.pad()
    }

    /// Adds a section of a kind that this version does not know; how tests make files of the future.
    #[cfg(test)]
    pub(crate) fn foreign(
        &mut self,
        code: u32,
        name: &str,
        required: bool,
        bytes: &[u8],
    ) -> Result<(), FileError> {
        let entry = RawEntry::named(code, name, required, 0).placed(
            ElementCode::Bytes,
            1,
            self.position,
            bytes.len() as u64,
        );
        self.entry(entry, bytes)
    }

    fn entry(&mut self, entry: RawEntry, bytes: &[u8]) -> Result<(), FileError> {
        self.entries.push(entry);
        self.raw(bytes)?;
        self.pad()
    }

    /// Writes checksums, table, footer and header; gives back what was written into.
    pub fn finish(mut self, facts: Facts) -> Result<W, FileError> {
        let checksums: Vec<u8> = self.checksums.iter().flat_map(|crc| crc.to_le_bytes()).collect();
        let (offset, length) = (self.position, checksums.len() as u64);
        let number = self.entries.len() as u32 + 1;
        self.entries.push(RawEntry::new(Kind::Checksums, 0, ElementCode::U32, 4, offset, length));
        self.protect_sections(number);
        let checksums_crc = self.padded_crc(&checksums)?;
        let table: Vec<u8> = self.entries.iter().flat_map(|entry| entry.as_bytes().to_vec()).collect();
        let table_offset = self.position;
        let table_crc = self.padded_crc(&table)?;
        let header = Header {
            facts,
            total_len: self.position + HEADER_LEN as u64,
            table_offset,
            table_entries: number,
            table_crc,
            checksums_crc,
        };
        let bytes = header.to_bytes();
        self.write(&bytes)?;
        self.out.seek(SeekFrom::Start(0)).map_err(FileError::io("seeking to the header"))?;
        self.write(&bytes)?;
        self.out.flush().map_err(FileError::io("flushing"))?;
        Ok(self.out)
    }

    /// Notes in every entry but the last, which are the checksums, where its checksums are and what parameters it has.
    fn protect_sections(&mut self, checksums: u32) {
        let parameters: Vec<(u32, u32)> = (1u32..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.kind.get() == Kind::CodeParameters.code())
            .map(|(number, entry)| (entry.instance.get(), number))
            .collect();
        let last = self.entries.len() - 1;
        for entry in &mut self.entries[..last] {
            entry.checksums = checksums.into();
            if entry.kind.get() == Kind::Codes.code() {
                let of = parameters.iter().find(|(instance, _)| *instance == entry.instance.get());
                entry.parameters = of.map_or(0, |&(_, number)| number).into();
            }
        }
    }

    /// Writes bytes and padding that the header itself protects; returns the checksum of both.
    fn padded_crc(&mut self, bytes: &[u8]) -> Result<u32, FileError> {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        self.raw(&padded)?;
        Ok(crc32c::crc32c(&padded))
    }

    fn pad(&mut self) -> Result<(), FileError> {
        let padding = self.position.next_multiple_of(BLOCK) - self.position;
        self.raw(&vec![0; padding as usize])
    }

    /// Writes bytes and keeps the checksum of every block that they complete.
    fn raw(&mut self, mut bytes: &[u8]) -> Result<(), FileError> {
        self.write(bytes)?;
        self.position += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK as usize - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK as usize {
                self.checksums.push(crc32c::crc32c(&self.block));
                self.block.clear();
                give_way();
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.out.write_all(bytes).map_err(FileError::io("writing"))
    }
}

/// Makes or replaces the file at `path` in one step: written beside it as `<name>.<uuid>.tmp`, synced, renamed, the directory
/// synced. On an error the temporary file is removed and what was at `path` stays.
pub fn write_atomically<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T, FileError>,
) -> Result<T, FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // A name of its own, so that two writers of one path do not mix.
    name.push(format!(".{}.tmp", uuid::Uuid::new_v4()));
    let temporary = path.with_file_name(name);
    let result = write_and_sync(&temporary, write).and_then(|value| {
        std::fs::rename(&temporary, path)
            .map_err(FileError::io(format!("renaming to {}", path.display())))?;
        Ok(value)
    });
    if result.is_err() {
        // The first error is what the caller needs to know.
        let _ = std::fs::remove_file(&temporary);
    }
    let value = result?;
    sync_directory(path)?;
    Ok(value)
}

fn write_and_sync<T>(
    temporary: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T, FileError>,
) -> Result<T, FileError> {
    let name = temporary.display();
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(temporary)
        .map_err(FileError::io(format!("creating {name}")))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let value = write(&mut out)?;
    out.flush().map_err(FileError::io(format!("writing {name}")))?;
    out.get_ref().sync_all().map_err(FileError::io(format!("syncing {name}")))?;
    Ok(value)
}

fn sync_directory(path: &Path) -> Result<(), FileError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(FileError::io(format!("syncing directory {}", parent.display())))
}
