//! A log directory of any bytes: opened or refused, never a panic; and what is opened replays, inspects and takes writes.
//!
//! Input: one byte that chooses, then the bytes of one or two segments; or (first bit) changes to a log that is whole.
#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use libfuzzer_sys::fuzz_target;
use shortlist::log::{Identity, Log, LogError, LogOptions, Position, Storage, inspect};

const IDENTITY: Identity = Identity { collection: [7; 16], shard: 0 };
const BEGIN: Position = Position { seq: 0, hash: [0; 32] };
const SMALL: LogOptions = LogOptions { segment_bytes: 400 };

#[derive(Debug, Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

/// Storages of which all copies are one.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Memory>>);

impl Shared {
    fn lock(&self) -> std::sync::LockResult<std::sync::MutexGuard<'_, Memory>> {
        self.0.lock()
    }
}

impl Memory {
    fn file(&mut self, name: &str) -> io::Result<&mut Vec<u8>> {
        self.0.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for Shared {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().unwrap().0.keys().cloned().collect())
    }
    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.lock().unwrap().file(name)?.len() as u64)
    }
    fn read(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut memory = self.lock().unwrap();
        let bytes = memory.file(name)?.get(offset as usize..(offset + length) as usize);
        Ok(bytes.ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
    }
    fn create(&mut self, name: &str) -> io::Result<()> {
        match self.lock().unwrap().0.insert(name.to_owned(), Vec::new()) {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.lock().unwrap().file(name)?.extend_from_slice(bytes);
        Ok(())
    }
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.lock().unwrap().file(name)?.truncate(length as usize);
        Ok(())
    }
    fn sync(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.lock().unwrap().0.remove(name);
        Ok(())
    }
    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log of two segments or more.
fn whole() -> Shared {
    let shared = Shared::default();
    let (mut log, _) = Log::open(Box::new(shared.clone()), IDENTITY, BEGIN, SMALL).unwrap();
    for group in 0..6u8 {
        log.append([group; 16], &vec![group; usize::from(group) * 9]).unwrap();
        log.append([group; 16], b"second").unwrap();
        log.sync().unwrap();
    }
    shared
}

/// Files as the input wants them.
fn files(input: &[u8]) -> Shared {
    let Some((&choice, rest)) = input.split_first() else { return Shared::default() };
    if choice & 1 == 0 {
        let (first, second) = rest.split_at(if choice & 2 == 0 { rest.len() } else { rest.len() / 2 });
        let mut files = BTreeMap::from([("log-00000000000000000001.slog".to_owned(), first.to_vec())]);
        if !second.is_empty() {
            files.insert("log-00000000000000000003.slog".to_owned(), second.to_vec());
        }
        return Shared(Arc::new(Mutex::new(Memory(files))));
    }
    let shared = whole();
    {
        let mut memory = shared.lock().unwrap();
        let count = memory.0.len();
        for change in rest.chunks_exact(4) {
            let file = memory.0.values_mut().nth(usize::from(change[0]) % count).unwrap();
            let at = usize::from(u16::from_le_bytes([change[1], change[2]]));
            match file.len() {
                0 => file.push(change[3]),
                length if at % 17 == 0 => file.truncate(at % length),
                length => file[at % length] ^= change[3],
            }
        }
    }
    shared
}

fuzz_target!(|input: &[u8]| {
    let shared = files(input);
    let _ = inspect(&shared);
    let Ok((mut log, opened)) = Log::open(Box::new(shared.clone()), IDENTITY, BEGIN, SMALL) else { return };
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
});
