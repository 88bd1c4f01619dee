//! A log directory of any bytes: opened or refused, never a panic; and what is opened replays, inspects and takes writes.
//!
//! Input: one byte that chooses, then the bytes of one or two segments; or (first bit) changes to a log that is whole. Further
//! bits make checksums right again after the changes, and hashes too: so that what lies behind those checks is met as well.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use shortlist::log::{Identity, Log, LogError, LogOptions, Position, Storage, inspect};

const IDENTITY: Identity = Identity { collection: [7; 16], shard: 0 };
const BEGIN: Position = Position { seq: 0, hash: [0; 32] };
const SMALL: LogOptions = LogOptions { segment_bytes: 400 };

/// What the first byte chooses.
const CHANGES: u8 = 1;
const TWO_SEGMENTS: u8 = 2;
const CHECKSUMS: u8 = 4;
const HASHES: u8 = 8;

#[derive(Debug, Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

/// Storages of which all copies are one.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Memory>>);

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().expect("no panic under the lock")
    }
}

impl Memory {
    fn file(&mut self, name: &str) -> io::Result<&mut Vec<u8>> {
        self.0.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for Shared {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().0.keys().cloned().collect())
    }
    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.lock().file(name)?.len() as u64)
    }
    fn read(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut memory = self.lock();
        let bytes = memory.file(name)?.get(offset as usize..(offset + length) as usize);
        Ok(bytes.ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
    }
    fn create(&mut self, name: &str) -> io::Result<()> {
        match self.lock().0.insert(name.to_owned(), Vec::new()) {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.lock().file(name)?.extend_from_slice(bytes);
        Ok(())
    }
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.lock().file(name)?.truncate(length as usize);
        Ok(())
    }
    fn sync(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.lock().0.remove(name);
        Ok(())
    }
    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log of two segments or more.
fn whole() -> Shared {
    let shared = Shared::default();
    let (mut log, _) = Log::open(Box::new(shared.clone()), IDENTITY, BEGIN, SMALL).expect("a new log");
    for group in 0..6u8 {
        log.append([group; 16], &vec![group; usize::from(group) * 9]).expect("appended");
        log.append([group; 16], b"second").expect("appended");
        log.sync().expect("synced");
    }
    shared
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes) as usize)
}

/// Makes the checksums of a segment right; with `hash`, of the record before it, the chain too.
fn seal(segment: &mut [u8], mut hash: Option<&mut [u8; 32]>) {
    let mut seal_one = |sealed: Range<usize>, crc_at: usize, hash_at: usize, segment: &mut [u8]| {
        if let Some(hash) = hash.as_deref_mut() {
            segment[hash_at..hash_at + 32].copy_from_slice(hash);
            if crc_at > 124 {
                *hash = blake3::hash(&segment[sealed.clone()]).into();
            }
        }
        let crc = crc32c::crc32c(&segment[sealed]);
        segment[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    };
    if segment.len() < 128 {
        return;
    }
    seal_one(0..124, 124, 48, segment);
    let mut at = 128;
    while let Some(length) = number(segment, at) {
        let end = at + 8 + length;
        if length < 68 || end > segment.len() {
            break;
        }
        seal_one(at + 8..end, at + 4, at + 36, segment);
        at = end;
    }
}

/// Files as the input wants them.
fn files(input: &[u8]) -> Shared {
    let Some((&choice, rest)) = input.split_first() else { return Shared::default() };
    let shared = if choice & CHANGES == 0 { given(choice, rest) } else { changed(rest) };
    let mut hash = [0; 32];
    for segment in shared.lock().0.values_mut() {
        if choice & HASHES != 0 {
            seal(segment, Some(&mut hash));
        } else if choice & CHECKSUMS != 0 {
            seal(segment, None);
        }
    }
    shared
}

/// Segments of these bytes.
fn given(choice: u8, rest: &[u8]) -> Shared {
    let (first, second) = rest.split_at(if choice & TWO_SEGMENTS == 0 { rest.len() } else { rest.len() / 2 });
    let mut files = BTreeMap::from([("log-00000000000000000001.slog".to_owned(), first.to_vec())]);
    if !second.is_empty() {
        files.insert("log-00000000000000000003.slog".to_owned(), second.to_vec());
    }
    Shared(Arc::new(Mutex::new(Memory(files))))
}

/// The whole log, but for some bytes.
fn changed(rest: &[u8]) -> Shared {
    let shared = whole();
    let mut memory = shared.lock();
    let count = memory.0.len();
    for change in rest.chunks_exact(4) {
        let file = memory.0.values_mut().nth(usize::from(change[0]) % count).expect("a segment");
        let at = usize::from(u16::from_le_bytes([change[1], change[2]]));
        match file.len() {
            0 => file.push(change[3]),
            length if at % 17 == 0 => file.truncate(at % length),
            length => file[at % length] ^= change[3],
        }
    }
    drop(memory);
    shared
}

/// Opens the log and goes on with it.
pub fn run(input: &[u8]) {
    let shared = files(input);
    let _ = inspect(&shared);
    let opened = Log::open(Box::new(shared.clone()), IDENTITY, BEGIN, SMALL);
    let (mut log, opened) = match opened {
        Ok(opened) => opened,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut next = opened.first;
    log.replay(opened.first - 1, &mut |record| {
        assert_eq!(record.seq, next);
        next += 1;
        Ok::<(), LogError>(())
    })
    .expect("what opens replays");
    assert_eq!(next, opened.last + 1);
    log.append([9; 16], b"one more").and_then(|_| log.sync()).expect("what opens is written to");
    drop(log);
    let (_, again) = Log::open(Box::new(shared), IDENTITY, BEGIN, SMALL).expect("and opens again");
    assert_eq!((again.last, again.trimmed), (opened.last + 1, None));
}

/// A log as it is, with its segments given byte by byte, with torn tails, and with a change of each field of a record.
pub fn seeds() -> Vec<Vec<u8>> {
    let whole = whole();
    let memory = whole.lock();
    let segments: Vec<&Vec<u8>> = memory.0.values().collect();
    let mut seeds = vec![vec![CHANGES]];
    for choice in [0, CHECKSUMS, HASHES] {
        seeds.push([&[choice][..], segments[0]].concat());
        seeds.push([&[choice][..], &segments[0][..segments[0].len() - 20]].concat());
        seeds.push([&[choice | TWO_SEGMENTS][..], segments[0], segments[1]].concat());
        // Length, version, flags, sequence number, batch, hash, watermark, payload of the first record of each segment; and of the header.
        for at in [128, 136, 137, 140, 148, 164, 196, 204, 0, 8, 12, 16, 32, 36, 40, 48, 81] {
            for file in 0..3 {
                let [low, high] = u16::to_le_bytes(at);
                seeds.push(vec![CHANGES | choice, file, low, high, 1]);
            }
        }
    }
    seeds
}
