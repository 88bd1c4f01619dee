//! Opening cheaply, verifying wholly.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::FromBytes;

use super::header::{HEADER_LEN, Header};
use super::section::{ENTRY_LEN, Kind, RawEntry, Section};
use super::{BLOCK, FileError};
use crate::arena::{Mode, Region};

/// An opened index file: header, footer, table and lengths are right; contents are not yet looked at.
#[derive(Debug)]
pub struct IndexFile {
    file: File,
    header: Header,
    sections: Vec<Section>,
}

impl IndexFile {
    /// Opens a file and checks header, footer, section table and lengths; reads nothing else.
    pub fn open(path: &Path) -> Result<IndexFile, FileError> {
        let file = File::open(path).map_err(FileError::io(format!("opening {}", path.display())))?;
        IndexFile::from_file(file)
    }

    /// As `open`, of a file that is open already.
    pub fn from_file(file: File) -> Result<IndexFile, FileError> {
        let length = file.metadata().map_err(FileError::io("reading the file's length"))?.len();
        let least = 2 * BLOCK + HEADER_LEN as u64;
        if length < least {
            return Err(check_magic(&file, length).err().unwrap_or(FileError::Short { length, least }));
        }
        let bytes = read(&file, 0, HEADER_LEN)?;
        let header = Header::check(&bytes, length)?;
        let footer_offset = length - HEADER_LEN as u64;
        let footer = read(&file, footer_offset, HEADER_LEN)?;
        if let Some(at) = (0..HEADER_LEN).find(|&at| footer[at] != bytes[at]) {
            return Err(FileError::damaged(footer_offset + at as u64, "the footer is not the header's copy"));
        }
        let sections = read_table(&file, &header, footer_offset)?;
        Ok(IndexFile { file, header, sections })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The section table, unknown optional sections included.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// A section, if the file has it.
    pub fn section(&self, kind: Kind, instance: u32) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == Some(kind) && section.instance == instance)
    }

    /// A section that must be there, with this many bytes an element.
    pub fn required(&self, kind: Kind, instance: u32, stride: u64) -> Result<&Section, FileError> {
        let section = self.section(kind, instance).ok_or(FileError::Missing { name: kind.name() })?;
        if section.stride != stride {
            let what =
                format!("section {}: elements of {} bytes, {stride} expected", section.name, section.stride);
            return Err(FileError::damaged(section.offset, what));
        }
        Ok(section)
    }

    /// Maps or loads a section, with addresses for `room` more bytes behind it.
    pub fn region(&self, section: &Section, mode: Mode, room: usize) -> Result<Region, FileError> {
        let length = section.length as usize;
        Ok(Region::open(&self.file, section.offset, length, length.saturating_add(room), mode)?)
    }

    /// Reads a small section whole.
    pub fn bytes(&self, section: &Section) -> Result<Vec<u8>, FileError> {
        read(&self.file, section.offset, section.length as usize)
    }

    /// Number of 64 KiB blocks that `verify_block` can be asked of.
    pub fn blocks(&self) -> u64 {
        self.header.table_offset / BLOCK
    }

    /// Checks one block by reading it (not through a map): how a server verifies in the background.
    pub fn verify_block(&self, block: u64, checksums: &[u32]) -> Result<(), FileError> {
        let offset = block * BLOCK;
        let bytes = read(&self.file, offset, BLOCK as usize)?;
        if block == 0 {
            return match bytes[HEADER_LEN..].iter().position(|&byte| byte != 0) {
                None => Ok(()),
                Some(at) => Err(FileError::damaged((HEADER_LEN + at) as u64, "padding that is not zero")),
            };
        }
        let Some(&want) = checksums.get(block as usize - 1) else {
            return Ok(()); // The checksums themselves, which the header's own checksum of them covers.
        };
        let got = crc32c::crc32c(&bytes);
        if got == want {
            return Ok(());
        }
        let section = self.sections.iter().rfind(|section| section.offset <= offset);
        let name = section.map_or("?", |section| &section.name);
        Err(FileError::damaged(
            offset,
            format!("block checksum of section {name} is {want:08x}, its bytes give {got:08x}"),
        ))
    }

    /// Reads the checksums of all blocks, themselves checked.
    pub fn checksums(&self) -> Result<Vec<u32>, FileError> {
        let section = self.required(Kind::Checksums, 0, 4)?;
        let blocks = section.offset / BLOCK - 1;
        if section.count != blocks
            || section.offset + section.length.next_multiple_of(BLOCK) != self.header.table_offset
        {
            let what = format!("{} checksums for {blocks} blocks", section.count);
            return Err(FileError::damaged(section.offset, what));
        }
        let padded = read(&self.file, section.offset, section.length.next_multiple_of(BLOCK) as usize)?;
        if crc32c::crc32c(&padded) != self.header.checksums_crc {
            return Err(FileError::damaged(section.offset, "the checksums' own checksum does not fit"));
        }
        let words = padded[..section.length as usize].as_chunks::<4>().0;
        Ok(words.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }

    /// Checks every byte of the file against its checksums; `progress` is told (blocks done, of).
    pub fn verify(&self, progress: &dyn Fn(u64, u64)) -> Result<(), FileError> {
        let checksums = self.checksums()?;
        for block in 0..self.blocks() {
            self.verify_block(block, &checksums)?;
            progress(block + 1, self.blocks());
        }
        Ok(())
    }
}

fn check_magic(file: &File, length: u64) -> Result<(), FileError> {
    let bytes = read(file, 0, length.min(8) as usize)?;
    let mut found = [0; 8];
    found[..bytes.len()].copy_from_slice(&bytes);
    if bytes.len() == 8 && found != super::header::MAGIC { Err(FileError::Magic { found }) } else { Ok(()) }
}

fn read(file: &File, offset: u64, length: usize) -> Result<Vec<u8>, FileError> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)
        .map_err(FileError::io(format!("reading {length} bytes at offset {offset}")))?;
    Ok(bytes)
}

fn read_table(file: &File, header: &Header, footer: u64) -> Result<Vec<Section>, FileError> {
    let offset = header.table_offset;
    let length = (header.table_entries as usize * ENTRY_LEN).next_multiple_of(BLOCK as usize);
    if !offset.is_multiple_of(BLOCK) || offset < BLOCK || offset.checked_add(length as u64) != Some(footer) {
        return Err(FileError::damaged(
            0,
            format!("a section table at {offset} of {length} bytes does not end at {footer}"),
        ));
    }
    let bytes = read(file, offset, length)?;
    if crc32c::crc32c(&bytes) != header.table_crc {
        return Err(FileError::damaged(offset, "the section table's checksum does not fit"));
    }
    let mut sections: Vec<Section> = Vec::new();
    let mut free = BLOCK;
    for (at, entry) in bytes.chunks_exact(ENTRY_LEN).take(header.table_entries as usize).enumerate() {
        let place = offset + (at * ENTRY_LEN) as u64;
        let Ok(raw) = RawEntry::read_from_bytes(entry) else {
            return Err(FileError::damaged(place, "a cut table entry"));
        };
        let section = raw.check(place, offset)?;
        if section.offset < free {
            return Err(FileError::damaged(
                place,
                format!("section {} overlaps the one before", section.name),
            ));
        }
        if sections.iter().any(|other| (other.code, other.instance) == (section.code, section.instance)) {
            return Err(FileError::damaged(place, format!("section {} is there twice", section.name)));
        }
        free = (section.offset + section.length).next_multiple_of(BLOCK);
        sections.push(section);
    }
    Ok(sections)
}
