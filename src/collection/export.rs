//! A consistent copy of a collection as lines of JSON: all items as they were at one sequence number.
//!
//! | line | is |
//! |---|---|
//! | first | an [`ExportHeader`]: which collection, its schema, the sequence number, how many lines follow |
//! | one an item | an [`ExportItem`] |
//! | one a deleted item whose version is remembered | an [`ExportDeleted`] |
//! | last | an [`ExportEnd`], with the blake3 of all bytes before it |
//!
//! The list of the items is taken between two batches; their slots never change, so they are read afterwards, as fast as
//! the copy is taken. Nothing waits for it: no write, no search, no checkpoint, no sweep. The index that it began with
//! stays in memory until it ends.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Collection;
use super::served::IndexRef;
use crate::attributes::{format_time, parse_time};
use crate::index::{Capture, ItemRecord, Tombstone};

/// A piece of the copy ends with the line that reaches so many bytes.
const PIECE: usize = 256 << 10;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportHeader {
    /// Version of the format: 1.
    pub export: u32,
    /// Name of the collection.
    pub collection: String,
    /// Its UUID.
    pub uuid: String,
    /// The sequence number whose state this is.
    pub seq: u64,
    /// blake3 of the log's record of that number, in hexadecimal, where it is known: a build takes over only where the log has this one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub record: String,
    /// The schema document; `embedding` in it names the tower that made the vectors.
    pub schema: Value,
    /// Lines of items.
    pub items: u64,
    /// Lines of deleted items.
    pub deleted: u64,
}

impl ExportHeader {
    /// The version that this program writes and reads.
    pub const FORMAT: u32 = 1;

    /// The record's hash, all zeros where it is not known; None when it is none.
    pub fn record_hash(&self) -> Option<[u8; 32]> {
        match self.record.is_empty() {
            true => Some([0; 32]),
            false => blake3::Hash::from_hex(&self.record).ok().map(Into::into),
        }
    }
}

/// An item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportItem {
    /// Its id.
    pub id: String,
    /// Its vector as it is stored, as base64 of little-endian f32: exact, whatever type it is stored as.
    pub vector_f32: String,
    /// Its attributes; those that are missing are left out.
    #[serde(default)]
    pub attributes: Map<String, Value>,
    /// First insertion, RFC 3339.
    pub inserted_at: String,
    /// The caller's version, if it has one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// When it expires, RFC 3339, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Sequence number of its last change.
    pub seq: u64,
}

impl ExportItem {
    /// The numbers of the vector; the error names the field.
    pub fn vector(&self) -> Result<Vec<f32>, String> {
        let bytes = STANDARD.decode(&self.vector_f32).map_err(|error| format!("vector_f32: {error}"))?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        match rest.is_empty() {
            true => Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
            false => Err(format!("vector_f32: {} bytes are not whole numbers of 4", bytes.len())),
        }
    }

    /// Its times and numbers; the error names the field.
    pub fn record(&self) -> Result<ItemRecord, String> {
        let inserted_at = parse_time(&self.inserted_at).map_err(|reason| format!("inserted_at: {reason}"))?;
        let expires_at = match &self.expires_at {
            None => 0,
            Some(text) => parse_time(text).map_err(|reason| format!("expires_at: {reason}"))?.max(1),
        };
        Ok(ItemRecord { seq: self.seq, inserted_at, version: self.version, expires_at })
    }
}

/// A deleted item: a put with a lower version shall not bring it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportDeleted {
    /// Its id.
    pub deleted: String,
    /// The caller's version that it had.
    pub version: u64,
    /// When it was deleted, milliseconds since the epoch.
    pub at: i64,
}

impl From<ExportDeleted> for Tombstone {
    fn from(line: ExportDeleted) -> Tombstone {
        Tombstone { id: line.deleted, version: line.version, at: line.at }
    }
}

/// The last line: without it a copy is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportEnd {
    /// How many lines of items and of deleted items there were.
    pub end: u64,
    /// blake3 of all bytes before this line, in hexadecimal.
    pub blake3: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A copy that is being made: an iterator over its pieces, each of whole lines.
#[derive(Debug)]
pub struct Export {
    index: IndexRef,
    header: ExportHeader,
    capture: Capture,
    /// Lines that were made, the first one included; more than there are when the last one was, too.
    at: usize,
    hash: blake3::Hasher,
}

impl Collection {
    /// Begins a copy of the newest state. Blocking.
    pub fn export(&self) -> Export {
        let index = self.index();
        let capture = index.capture();
        let header = ExportHeader {
            export: ExportHeader::FORMAT,
            collection: self.name().to_string(),
            uuid: self.manifest().collection,
            seq: capture.seq,
            record: self
                .inner
                .hash_of(&index, capture.seq)
                .map(|hash| blake3::Hash::from_bytes(hash).to_hex().to_string())
                .unwrap_or_default(),
            schema: index.schema().to_json(),
            items: capture.slots.len() as u64,
            deleted: capture.tombstones.len() as u64,
        };
        Export { index, header, capture, at: 0, hash: blake3::Hasher::new() }
    }
}

impl Export {
    /// The first line.
    pub fn header(&self) -> &ExportHeader {
        &self.header
    }

    fn lines(&self) -> usize {
        self.capture.slots.len() + self.capture.tombstones.len()
    }

    fn line(&self, at: usize, vector: &mut Vec<f32>, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let items = self.capture.slots.len();
        match at {
            0 => serde_json::to_writer(&mut *out, &self.header)?,
            at if at <= items => {
                serde_json::to_writer(&mut *out, &self.item(self.capture.slots[at - 1], vector))?;
            }
            at => {
                let Tombstone { id, version, at } = self.capture.tombstones[at - 1 - items].clone();
                serde_json::to_writer(&mut *out, &ExportDeleted { deleted: id, version, at })?;
            }
        }
        out.push(b'\n');
        Ok(())
    }

    fn item(&self, slot: u32, vector: &mut Vec<f32>) -> ExportItem {
        let ItemRecord { seq, inserted_at, version, expires_at } = self.index.record(slot);
        self.index.vector(slot, vector);
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        ExportItem {
            id: self.index.id(slot).to_owned(),
            vector_f32: STANDARD.encode(bytes),
            attributes: self.index.columns().to_json(slot),
            inserted_at: format_time(inserted_at),
            version,
            expires_at: (expires_at != 0).then(|| format_time(expires_at)),
            seq,
        }
    }
}

impl Iterator for Export {
    type Item = serde_json::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let lines = self.lines();
        if self.at > lines + 1 {
            return None;
        }
        let (mut piece, mut vector) = (Vec::with_capacity(PIECE + (16 << 10)), Vec::new());
        while self.at <= lines && piece.len() < PIECE {
            if let Err(error) = self.line(self.at, &mut vector, &mut piece) {
                self.at = lines + 2;
                return Some(Err(error));
            }
            self.at += 1;
        }
        self.hash.update(&piece);
        if self.at == lines + 1 {
            self.at += 1;
            let end = ExportEnd { end: lines as u64, blake3: self.hash.finalize().to_hex().to_string() };
            if let Err(error) = serde_json::to_writer(&mut piece, &end) {
                return Some(Err(error));
            }
            piece.push(b'\n');
        }
        Some(Ok(piece))
    }
}
