//! One segment: a header, then records back to back; `format.md` says what each byte is.
//!
//! Untrusted bytes become a [`Header`] or a [`Frame`] only once their checksum fits. Where that fails
//! [`walk`] stops and says why; whether it is a torn write is for `damage.rs` to judge.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Hash, Identity, LogError, Position, Record};

/// Bytes of a segment's header.
pub const HEADER_LEN: u64 = 128;
/// The most bytes that a record's payload may have.
pub const MAX_PAYLOAD: u64 = 256 << 20;
/// Bytes of a record without its payload.
pub(super) const FRAME_LEN: usize = 76;
/// Its length and checksum, which the checksum and the hash leave out.
const PREFIX_LEN: usize = 8;
const LEAST_BODY: u64 = (FRAME_LEN - PREFIX_LEN) as u64;

const MAGIC: [u8; 8] = *b"SHRTLOG1";
const FORMAT_VERSION: u32 = 1;
const RECORD_VERSION: u8 = 1;
const FIRST_OFFSET: u64 = 40;
const BEFORE_OFFSET: u64 = 48;
const CRC_OFFSET: usize = 124;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    format_version: U32,
    header_len: U32,
    collection: [u8; 16],
    shard: U32,
    features: U32,
    first: U64,
    before: Hash,
    reserved: [u8; 44],
    crc: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RawFrame {
    length: U32,
    crc: U32,
    version: u8,
    flags: u8,
    reserved: U16,
    seq: U64,
    batch: [u8; 16],
    before: Hash,
    durable_before: U64,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN as usize && size_of::<RawFrame>() == FRAME_LEN);

/// The name of the segment that begins with a record.
pub(super) fn file_name(first: u64) -> String {
    format!("log-{first:020}.slog")
}

/// The first record of the segment of this name, `None` when it is not a segment's name.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let first: u64 = name.strip_prefix("log-")?.strip_suffix(".slog")?.parse().ok()?;
    (first > 0 && file_name(first) == name).then_some(first)
}

/// A checked header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub identity: Identity,
    /// Where the log was when the segment began.
    pub before: Position,
}

impl Header {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let raw = RawHeader {
            magic: MAGIC,
            format_version: FORMAT_VERSION.into(),
            header_len: (HEADER_LEN as u32).into(),
            collection: self.identity.collection,
            shard: self.identity.shard.into(),
            features: 0.into(),
            first: self.before.seq.saturating_add(1).into(),
            before: self.before.hash,
            reserved: [0; 44],
            crc: 0.into(),
        };
        let mut bytes = raw.as_bytes().to_vec();
        let crc = crc32c::crc32c(&bytes[..CRC_OFFSET]);
        bytes[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Checks the header at the start of a segment; `Damaged` when its bytes are not whole.
    pub(super) fn check(file: &str, bytes: &[u8]) -> Result<Header, LogError> {
        let Ok((raw, _)) = RawHeader::read_from_prefix(bytes) else {
            let what = format!("{} bytes, a header has {HEADER_LEN}", bytes.len());
            return Err(LogError::damaged(file, 0, what));
        };
        if raw.magic != MAGIC {
            let what = format!("it begins with {:02x?}, a segment with \"SHRTLOG1\"", raw.magic);
            return Err(LogError::damaged(file, 0, what));
        }
        let crc = crc32c::crc32c(&bytes[..CRC_OFFSET]);
        if raw.crc.get() != crc {
            let what = format!("header checksum is {:08x}, its bytes give {crc:08x}", raw.crc);
            return Err(LogError::damaged(file, 0, what));
        }
        raw.check_version(file)?;
        if raw.first.get() == 0 || file_name(raw.first.get()) != file {
            let what = format!("its first record is {}, which does not fit its name", raw.first);
            return Err(LogError::damaged(file, FIRST_OFFSET, what));
        }
        let identity = Identity { collection: raw.collection, shard: raw.shard.get() };
        Ok(Header { identity, before: Position { seq: raw.first.get() - 1, hash: raw.before } })
    }

    /// Refuses the segment of another collection or shard.
    pub(super) fn belongs_to(&self, file: &str, expected: Identity) -> Result<(), LogError> {
        let (file, found) = (file.to_owned(), self.identity);
        if found.collection != expected.collection {
            let (found, expected) = (found.collection, expected.collection);
            return Err(LogError::Collection { file, found, expected });
        }
        if found.shard != expected.shard {
            return Err(LogError::Shard { file, found: found.shard, expected: expected.shard });
        }
        Ok(())
    }

    /// Refuses a segment that does not go on where the one before it ends.
    pub(super) fn follows(&self, file: &str, end: Position) -> Result<(), LogError> {
        follows(file, self.before.seq, end.seq)?;
        if self.before.hash != end.hash {
            let what = format!("it does not go on from record {}, whose hash is another", end.seq);
            return Err(LogError::damaged(file, BEFORE_OFFSET, what));
        }
        Ok(())
    }
}

/// Refuses a segment that begins after `before` where the one before it ends with record `end`.
pub(super) fn follows(file: &str, before: u64, end: u64) -> Result<(), LogError> {
    if before > end {
        return Err(LogError::Missing { file: file.to_owned(), first: end + 1, last: before });
    }
    if before < end {
        let what = format!("it begins after record {before}, the segment before it ends with {end}");
        return Err(LogError::damaged(file, FIRST_OFFSET, what));
    }
    Ok(())
}

impl RawHeader {
    fn check_version(&self, file: &str) -> Result<(), LogError> {
        let checks = [
            (8, "format version", self.format_version.get(), FORMAT_VERSION),
            (12, "header length", self.header_len.get(), HEADER_LEN as u32),
            (36, "feature bits", self.features.get(), 0),
        ];
        refuse_unknown(file, 0, &checks)
    }
}

/// Refuses the first number that is not the known one; entries are (offset, what, found, known).
fn refuse_unknown(file: &str, base: u64, checks: &[(u64, &'static str, u32, u32)]) -> Result<(), LogError> {
    match checks.iter().find(|(_, _, found, known)| found != known) {
        None => Ok(()),
        Some(&(offset, what, found, known)) => {
            let (file, offset) = (file.to_owned(), base + offset);
            Err(LogError::Unsupported { file, offset, what, found, known })
        }
    }
}

/// Adds a record to `out`; returns its position. The payload's length was checked.
pub(super) fn encode(
    out: &mut Vec<u8>,
    before: Position,
    batch: [u8; 16],
    durable_before: u64,
    payload: &[u8],
) -> Position {
    let start = out.len();
    let seq = before.seq.saturating_add(1);
    let raw = RawFrame {
        length: ((FRAME_LEN - PREFIX_LEN + payload.len()) as u32).into(),
        crc: 0.into(),
        version: RECORD_VERSION,
        flags: 0,
        reserved: 0.into(),
        seq: seq.into(),
        batch,
        before: before.hash,
        durable_before: durable_before.into(),
    };
    out.extend_from_slice(raw.as_bytes());
    out.extend_from_slice(payload);
    let body = &out[start + PREFIX_LEN..];
    let (crc, hash) = (crc32c::crc32c(body), *blake3::hash(body).as_bytes());
    out[start + 4..start + PREFIX_LEN].copy_from_slice(&crc.to_le_bytes());
    Position { seq, hash }
}

/// The length and sequence number that a record at `at` would have, when it would end within the segment.
pub(super) fn glance(bytes: &[u8], at: usize) -> Option<(u64, u64)> {
    let head = bytes.get(at..at + FRAME_LEN)?;
    let body = u64::from(u32::from_le_bytes(*head.first_chunk()?));
    let fits = (LEAST_BODY..=LEAST_BODY + MAX_PAYLOAD).contains(&body)
        && body <= (bytes.len() - at - PREFIX_LEN) as u64;
    fits.then_some((body + PREFIX_LEN as u64, u64::from_le_bytes(*head[12..].first_chunk()?)))
}

/// A record whose checksum fits.
pub(super) struct Frame<'a> {
    raw: RawFrame,
    body: &'a [u8],
    offset: u64,
}

impl<'a> Frame<'a> {
    /// The record at an offset, or what does not fit there.
    pub(super) fn at(bytes: &'a [u8], offset: u64) -> Result<Frame<'a>, String> {
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let Ok((raw, _)) = RawFrame::read_from_prefix(rest) else {
            return Err(format!("{} bytes are left, a record has at least {FRAME_LEN}", rest.len()));
        };
        let length = u64::from(raw.length.get());
        let most = LEAST_BODY + MAX_PAYLOAD;
        if !(LEAST_BODY..=most).contains(&length) {
            return Err(format!(
                "a record's length of {length} bytes is not between {LEAST_BODY} and {most}"
            ));
        }
        let body = &rest[PREFIX_LEN..];
        let Some(body) = body.get(..length as usize) else {
            return Err(format!("a record of {length} bytes, of which {} are there", body.len()));
        };
        let crc = crc32c::crc32c(body);
        if raw.crc.get() != crc {
            return Err(format!("a record's checksum is {:08x}, its bytes give {crc:08x}", raw.crc));
        }
        Ok(Frame { raw, body, offset })
    }

    /// The watermark of its sync group.
    pub(super) fn durable_before(&self) -> u64 {
        self.raw.durable_before.get()
    }

    /// Sequence number.
    pub(super) fn seq(&self) -> u64 {
        self.raw.seq.get()
    }

    /// Where the next record begins.
    pub(super) fn end(&self) -> u64 {
        self.offset + (PREFIX_LEN + self.body.len()) as u64
    }

    /// Refuses a whole record that this version cannot read or that does not go on from `end`.
    fn follows(&self, file: &str, end: Position) -> Result<(), LogError> {
        let checks = [
            (8, "record version", u32::from(self.raw.version), u32::from(RECORD_VERSION)),
            (9, "flags", u32::from(self.raw.flags), 0),
            (10, "flags", u32::from(self.raw.reserved.get()), 0),
        ];
        refuse_unknown(file, self.offset, &checks)?;
        if Some(self.seq()) != end.seq.checked_add(1) {
            let what = format!("record {} follows record {}", self.seq(), end.seq);
            return Err(LogError::damaged(file, self.offset, what));
        }
        if self.raw.before != end.hash {
            let what = format!("record {} does not go on from the record before it", self.seq());
            return Err(LogError::damaged(file, self.offset, what));
        }
        Ok(())
    }

    fn record(&self) -> Record<'a> {
        Record {
            seq: self.seq(),
            batch: self.raw.batch,
            hash: *blake3::hash(self.body).as_bytes(),
            payload: &self.body[FRAME_LEN - PREFIX_LEN..],
        }
    }
}

/// Why a walk did not come to the end of a segment.
#[derive(Debug)]
pub(super) enum Flaw {
    /// No record there, which a torn write can leave.
    NoRecord(String),
    /// A whole record that must not be there, which nothing torn leaves.
    WrongRecord(LogError),
}

/// How far a walk came.
#[derive(Debug)]
pub(super) struct Walk {
    /// The last good record.
    pub last: Position,
    /// Where it ends.
    pub end: u64,
    /// What is there, unless it is the end.
    pub flaw: Option<Flaw>,
}

impl Walk {
    /// The flaw as an error: for segments that must be whole.
    pub(super) fn whole(self, file: &str) -> Result<Position, LogError> {
        match self.flaw {
            None => Ok(self.last),
            Some(Flaw::NoRecord(what)) => Err(LogError::damaged(file, self.end, what)),
            Some(Flaw::WrongRecord(error)) => Err(error),
        }
    }
}

/// Goes through the records of a segment that begins after `before`, as far as they are good.
pub(super) fn walk<E>(
    file: &str,
    bytes: &[u8],
    before: Position,
    each: &mut dyn FnMut(Record<'_>) -> Result<(), E>,
) -> Result<Walk, E> {
    let mut walk = Walk { last: before, end: HEADER_LEN, flaw: None };
    while walk.end < bytes.len() as u64 {
        let frame = match Frame::at(bytes, walk.end) {
            Ok(frame) => frame,
            Err(what) => {
                walk.flaw = Some(Flaw::NoRecord(what));
                break;
            }
        };
        if let Err(error) = frame.follows(file, walk.last) {
            walk.flaw = Some(Flaw::WrongRecord(error));
            break;
        }
        let record = frame.record();
        each(record)?;
        walk.last = Position { seq: record.seq, hash: record.hash };
        walk.end = frame.end();
    }
    Ok(walk)
}
