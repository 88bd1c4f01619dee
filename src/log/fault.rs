//! A storage for tests: it keeps what a disk would, records every operation, and fails when told to.
//!
//! [`Media`] knows of each file what was synced and what was not, and of the directory likewise. A crash
//! keeps what was synced and an arbitrary part of the rest: nothing, everything, a torn end, or a mixture of
//! sectors.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::Storage;

/// A small seeded generator (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A change of the storage.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Create(String),
    Append(String, Vec<u8>),
    Truncate(String, u64),
    Sync(String),
    Remove(String),
    SyncDirectory,
}

#[derive(Debug, Clone, Default)]
struct Contents {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// The least length since the last sync: from here on `live` is not durable.
    kept: usize,
    /// What was there before the first cut since the last sync, which may be undone.
    uncut: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Entry {
    Made(String, usize),
    Removed(String),
}

/// Files, with what of them is durable.
#[derive(Debug, Clone, Default)]
pub(super) struct Media {
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending: Vec<Entry>,
    files: Vec<Contents>,
}

impl Media {
    fn file(&self, name: &str) -> io::Result<&Contents> {
        Ok(&self.files[*self.names.get(name).ok_or(io::ErrorKind::NotFound)?])
    }

    fn file_mut(&mut self, name: &str) -> io::Result<&mut Contents> {
        Ok(&mut self.files[*self.names.get(name).ok_or(io::ErrorKind::NotFound)?])
    }

    pub(super) fn apply(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Create(name) => {
                if self.names.contains_key(name) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                self.names.insert(name.clone(), self.files.len());
                self.pending.push(Entry::Made(name.clone(), self.files.len()));
                self.files.push(Contents::default());
            }
            Op::Append(name, bytes) => self.file_mut(name)?.live.extend_from_slice(bytes),
            Op::Truncate(name, length) => {
                let file = self.file_mut(name)?;
                file.uncut.get_or_insert_with(|| file.live.clone());
                file.live.truncate(*length as usize);
                file.kept = file.kept.min(file.live.len());
            }
            Op::Sync(name) => {
                let file = self.file_mut(name)?;
                file.durable = file.live.clone();
                file.kept = file.live.len();
                file.uncut = None;
            }
            Op::Remove(name) => {
                self.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
                self.pending.push(Entry::Removed(name.clone()));
            }
            Op::SyncDirectory => {
                self.durable_names = self.names.clone();
                self.pending.clear();
            }
        }
        Ok(())
    }

    /// What a power cut may leave.
    pub(super) fn crash(&self, random: &mut Random) -> Media {
        let mut names = self.durable_names.clone();
        let mode = random.below(4);
        for entry in &self.pending {
            let happens = match mode {
                0 => false,
                1 => true,
                _ => random.coin(),
            };
            match entry {
                _ if !happens => {}
                Entry::Made(name, file) => drop(names.insert(name.clone(), *file)),
                Entry::Removed(name) => drop(names.remove(name)),
            }
        }
        let mut media = Media::default();
        for (name, file) in names {
            media.add(&name, self.files[file].crash(random));
        }
        media
    }

    /// Adds a file that is durable.
    pub(super) fn add(&mut self, name: &str, bytes: Vec<u8>) {
        let kept = bytes.len();
        self.names.insert(name.to_owned(), self.files.len());
        self.files.push(Contents { live: bytes.clone(), durable: bytes, kept, uncut: None });
        self.durable_names = self.names.clone();
    }

    /// All files as they are to see.
    pub(super) fn live(&self) -> Vec<(String, Vec<u8>)> {
        self.names.iter().map(|(name, file)| (name.clone(), self.files[*file].live.clone())).collect()
    }
}

impl Contents {
    fn crash(&self, random: &mut Random) -> Vec<u8> {
        if let Some(live) = self.uncut.clone().filter(|_| random.coin()) {
            let (durable, kept) = (self.durable.clone(), self.durable.len());
            return Contents { live, durable, kept, uncut: None }.crash(random);
        }
        let mut bytes = self.durable[..self.kept].to_vec();
        let new = &self.live[self.kept..];
        let torn_at = |random: &mut Random, unit: usize| {
            let end = self.kept + random.below(new.len() + 1);
            (end / unit * unit).clamp(self.kept, self.live.len()) - self.kept
        };
        match random.below(8) {
            0 => {}
            1 => bytes.extend_from_slice(new),
            2 => bytes.extend_from_slice(&new[..torn_at(random, 1)]),
            3 => bytes.extend_from_slice(&new[..torn_at(random, 512)]),
            4 => bytes.extend_from_slice(&new[..torn_at(random, 4096)]),
            5 => self.mix(&mut bytes, 4096, random),
            _ => self.mix(&mut bytes, 512, random),
        }
        bytes
    }

    /// Adds what was not synced, where some sectors were not written; perhaps cut at a sector.
    fn mix(&self, bytes: &mut Vec<u8>, unit: usize, random: &mut Random) {
        let garbage = random.below(4) == 0;
        let end = if random.coin() {
            self.live.len()
        } else {
            bytes.len() + random.below(self.live.len() - bytes.len() + 1)
        };
        while bytes.len() < end {
            let (from, to) = (bytes.len(), ((bytes.len() / unit + 1) * unit).min(end));
            if random.coin() {
                bytes.extend_from_slice(&self.live[from..to]);
            } else {
                bytes.extend((from..to).map(|_| if garbage { random.next() as u8 } else { 0 }));
            }
        }
    }
}

/// Kinds of calls that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    List,
    Length,
    Read,
    Create,
    Append,
    Truncate,
    Sync,
    Remove,
    SyncDirectory,
}

pub(super) const CALLS: [Call; 9] = [
    Call::List,
    Call::Length,
    Call::Read,
    Call::Create,
    Call::Append,
    Call::Truncate,
    Call::Sync,
    Call::Remove,
    Call::SyncDirectory,
];

/// Which call fails, and with what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub call: Call,
    /// Calls of this kind that still succeed.
    pub after: usize,
    /// How many then fail.
    pub times: usize,
    /// The system's error number.
    pub code: i32,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub media: Media,
    pub ops: Vec<Op>,
    pub fault: Option<Fault>,
    /// How many calls failed.
    pub failed: usize,
}

/// A storage whose clones share one state.
#[derive(Debug, Clone, Default)]
pub(super) struct Faulty(Arc<Mutex<State>>);

impl Faulty {
    pub(super) fn new(media: Media) -> Faulty {
        Faulty(Arc::new(Mutex::new(State { media, ..State::default() })))
    }

    pub(super) fn with<T>(&self, use_state: impl FnOnce(&mut State) -> T) -> T {
        use_state(&mut self.0.lock().unwrap())
    }

    pub(super) fn boxed(&self) -> Box<dyn Storage> {
        Box::new(self.clone())
    }

    fn check(&self, call: Call) -> io::Result<()> {
        self.with(|state| {
            let Some(fault) = state.fault.as_mut().filter(|fault| fault.call == call) else {
                return Ok(());
            };
            if fault.after > 0 {
                fault.after -= 1;
                return Ok(());
            }
            if fault.times == 0 {
                return Ok(());
            }
            fault.times -= 1;
            state.failed += 1;
            Err(io::Error::from_raw_os_error(fault.code))
        })
    }

    fn change(&self, call: Call, op: Op) -> io::Result<()> {
        self.check(call)?;
        self.record(op)
    }

    fn record(&self, op: Op) -> io::Result<()> {
        self.with(|state| {
            state.media.apply(&op)?;
            state.ops.push(op);
            Ok(())
        })
    }
}

impl Storage for Faulty {
    fn list(&self) -> io::Result<Vec<String>> {
        self.check(Call::List)?;
        Ok(self.with(|state| state.media.names.keys().cloned().collect()))
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.check(Call::Length)?;
        self.with(|state| Ok(state.media.file(name)?.live.len() as u64))
    }

    fn read(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        self.check(Call::Read)?;
        self.with(|state| {
            let bytes = state.media.file(name)?.live.get(offset as usize..(offset + length) as usize);
            Ok(bytes.ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
        })
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.change(Call::Create, Op::Create(name.to_owned()))
    }

    /// A failing write leaves half of its bytes.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let checked = self.check(Call::Append);
        let written = if checked.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.record(Op::Append(name.to_owned(), written.to_vec()))?;
        checked
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.change(Call::Truncate, Op::Truncate(name.to_owned(), length))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.change(Call::Sync, Op::Sync(name.to_owned()))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change(Call::Remove, Op::Remove(name.to_owned()))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.change(Call::SyncDirectory, Op::SyncDirectory)
    }
}
