//! The header, and its copy at the end of the file.
//!
//! Untrusted bytes become a [`RawHeader`], a checked one becomes a [`Header`].

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::section::{ENTRY_LEN, MAX_SECTIONS};
use super::{BLOCK, FileError};

/// Bytes of the header, and of the footer.
pub const HEADER_LEN: usize = 4096;
pub(super) const MAGIC: [u8; 8] = *b"SHRTLST1";
const FORMAT_VERSION: u32 = 1;
const ENDIAN: u32 = 0x0a0b_0c0d;
const EMBEDDING_MAX: usize = 128;
const HASH_NAME: [u8; 16] = *b"xxh3-64\0\0\0\0\0\0\0\0\0";

/// The header as it lies in the file; `format.md` says what each field means.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct RawHeader {
    pub magic: [u8; 8],
    pub format_version: U32,
    pub header_len: U32,
    pub incompatible: U64,
    pub read_only_compatible: U64,
    pub compatible: U64,
    pub endian: U32,
    pub alignment: U32,
    pub total_len: U64,
    pub file: [u8; 16],
    pub collection: [u8; 16],
    pub schema_hash: [u8; 32],
    pub lineage_hash: [u8; 32],
    pub covers: U64,
    pub covers_hash: [u8; 32],
    pub shard_number: U32,
    pub shard_count: U32,
    pub hash_name: [u8; 16],
    pub nodes: U64,
    pub items: U64,
    pub node_id_width: U32,
    pub item_id_width: U32,
    pub created_at: I64,
    pub string_seed: U64,
    pub table_offset: U64,
    pub table_entries: U32,
    pub table_entry_len: U32,
    pub table_crc: U32,
    pub checksums_crc: U32,
    pub embedding_len: U32,
    pub embedding: [u8; EMBEDDING_MAX],
    pub reserved: [u8; HEADER_LEN - 416],
    pub crc: U32,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN);

/// What the writer of a file says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// UUID of this file (the build).
    pub file: [u8; 16],
    /// UUID of the collection.
    pub collection: [u8; 16],
    /// blake3 of the schema section.
    pub schema_hash: [u8; 32],
    /// blake3 of the lineage section.
    pub lineage_hash: [u8; 32],
    /// Sequence number of the collection's log that the index covers.
    pub covers: u64,
    /// Hash of that log record, zeros when there is none.
    pub covers_hash: [u8; 32],
    /// Which shard of how many.
    pub shard: (u32, u32),
    /// Distinct vectors.
    pub nodes: u64,
    /// Items.
    pub items: u64,
    /// When it was made, milliseconds since the epoch.
    pub created_at: i64,
    /// Seed of the hash tables of ids and dictionaries.
    pub string_seed: u64,
    /// The tower that made the vectors, "" when not named; at most 128 bytes.
    pub embedding: String,
}

/// A checked header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the writer said.
    pub facts: Facts,
    /// Bytes of the file.
    pub total_len: u64,
    pub(super) table_offset: u64,
    pub(super) table_entries: u32,
    pub(super) table_crc: u32,
    pub(super) checksums_crc: u32,
}

impl Header {
    /// The bytes of the header and of the footer.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let facts = &self.facts;
        let mut embedding = [0; EMBEDDING_MAX];
        let embedding_len = facts.embedding.len().min(EMBEDDING_MAX);
        embedding[..embedding_len].copy_from_slice(&facts.embedding.as_bytes()[..embedding_len]);
        let raw = RawHeader {
            magic: MAGIC,
            format_version: FORMAT_VERSION.into(),
            header_len: (HEADER_LEN as u32).into(),
            incompatible: 0.into(),
            read_only_compatible: 0.into(),
            compatible: 0.into(),
            endian: ENDIAN.into(),
            alignment: (BLOCK as u32).into(),
            total_len: self.total_len.into(),
            file: facts.file,
            collection: facts.collection,
            schema_hash: facts.schema_hash,
            lineage_hash: facts.lineage_hash,
            covers: facts.covers.into(),
            covers_hash: facts.covers_hash,
            shard_number: facts.shard.0.into(),
            shard_count: facts.shard.1.into(),
            hash_name: HASH_NAME,
            nodes: facts.nodes.into(),
            items: facts.items.into(),
            node_id_width: 4.into(),
            item_id_width: 4.into(),
            created_at: facts.created_at.into(),
            string_seed: facts.string_seed.into(),
            table_offset: self.table_offset.into(),
            table_entries: self.table_entries.into(),
            table_entry_len: (ENTRY_LEN as u32).into(),
            table_crc: self.table_crc.into(),
            checksums_crc: self.checksums_crc.into(),
            embedding_len: (embedding_len as u32).into(),
            embedding,
            reserved: [0; HEADER_LEN - 416],
            crc: 0.into(),
        };
        let mut bytes = raw.as_bytes().to_vec();
        let crc = crc32c::crc32c(&bytes[..HEADER_LEN - 4]);
        bytes[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Checks the header of a file of `length` bytes.
    pub(super) fn check(bytes: &[u8], length: u64) -> Result<Header, FileError> {
        let Ok(raw) = RawHeader::read_from_bytes(bytes) else {
            return Err(FileError::Short { length, least: BLOCK });
        };
        if raw.magic != MAGIC {
            return Err(FileError::Magic { found: raw.magic });
        }
        let crc = crc32c::crc32c(&bytes[..HEADER_LEN - 4]);
        if raw.crc.get() != crc {
            return Err(FileError::damaged(
                0,
                format!("header checksum is {:08x}, its bytes give {crc:08x}", raw.crc),
            ));
        }
        raw.check_version()?;
        if raw.total_len.get() != length {
            let what = format!("the header says {} bytes, the file has {length}", raw.total_len);
            return Err(FileError::damaged(length.min(raw.total_len.get()), what));
        }
        raw.into_header()
    }
}

impl RawHeader {
    fn check_version(&self) -> Result<(), FileError> {
        let unsupported =
            |what, found: String, known: String| Err(FileError::Unsupported { what, found, known });
        if self.format_version.get() != FORMAT_VERSION {
            return unsupported(
                "format version",
                self.format_version.to_string(),
                FORMAT_VERSION.to_string(),
            );
        }
        if self.incompatible.get() != 0 {
            return unsupported(
                "incompatible feature bits",
                format!("{:#x}", self.incompatible),
                "none".into(),
            );
        }
        let layout =
            (self.header_len.get(), self.endian.get(), self.alignment.get(), self.table_entry_len.get());
        if layout != (HEADER_LEN as u32, ENDIAN, BLOCK as u32, ENTRY_LEN as u32) {
            return unsupported(
                "layout",
                format!("{layout:?}"),
                format!("{:?}", (HEADER_LEN, ENDIAN, BLOCK, ENTRY_LEN)),
            );
        }
        let widths = (self.node_id_width.get(), self.item_id_width.get());
        if widths != (4, 4) {
            return unsupported("id width", format!("{widths:?}"), "4 bytes".into());
        }
        if self.hash_name != HASH_NAME {
            let found = String::from_utf8_lossy(&self.hash_name).into_owned();
            return unsupported("hash", found, "xxh3-64".into());
        }
        Ok(())
    }

    fn into_header(self) -> Result<Header, FileError> {
        let limit = crate::graph::MAX_NODES as u64;
        if self.nodes.get() > limit || self.items.get() > limit {
            let found = format!("{} nodes, {} items", self.nodes, self.items);
            return Err(FileError::Unsupported { what: "size", found, known: format!("at most {limit}") });
        }
        if self.table_entries.get() > MAX_SECTIONS {
            return Err(FileError::damaged(
                0,
                format!("{} sections, at most {MAX_SECTIONS}", self.table_entries),
            ));
        }
        let embedding = self.embedding.get(..self.embedding_len.get() as usize);
        let Some(embedding) = embedding.and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            return Err(FileError::damaged(280, "the embedding's name is too long or not UTF-8"));
        };
        let embedding = embedding.to_owned();
        let facts = Facts {
            file: self.file,
            collection: self.collection,
            schema_hash: self.schema_hash,
            lineage_hash: self.lineage_hash,
            covers: self.covers.get(),
            covers_hash: self.covers_hash,
            shard: (self.shard_number.get(), self.shard_count.get()),
            nodes: self.nodes.get(),
            items: self.items.get(),
            created_at: self.created_at.get(),
            string_seed: self.string_seed.get(),
            embedding,
        };
        Ok(Header {
            facts,
            total_len: self.total_len.get(),
            table_offset: self.table_offset.get(),
            table_entries: self.table_entries.get(),
            table_crc: self.table_crc.get(),
            checksums_crc: self.checksums_crc.get(),
        })
    }
}
