//! Models of publish, reclaim and group commit. Long: `SHORTLIST_LONG=1 cargo test --release -p shortlist-models`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex as Plain;

use shortlist::log::{Identity, Log, LogOptions, Position, Storage};
use shortlist_models::arena::{Array, AtomicArray, Readers};
use shortlist_models::collection::{Queue, WriteBatch, WriteError};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use shuttle::sync::mpsc::sync_channel;
use shuttle::thread::spawn;

/// Tries many orders: at random, and with few changes of thread at chosen places, which finds other faults.
fn try_orders(model: fn()) {
    let orders = if std::env::var_os("SHORTLIST_LONG").is_some() { 100_000 } else { 1_000 };
    shuttle::check_random(model, orders);
    shuttle::check_pct(model, orders, 3);
}

#[test]
fn what_is_published_is_whole() {
    try_orders(|| {
        let array = Arc::new(Array::<u64>::with_capacity(64).unwrap());
        let writer = |from: u64| {
            let array = Arc::clone(&array);
            spawn(move || (0..3).for_each(|at| array.extend(&[from + at, from + at]).unwrap()))
        };
        let writers = [writer(100), writer(200)];
        let mut seen = Vec::new();
        for _ in 0..6 {
            let now = array.as_slice();
            assert!(now.starts_with(&seen), "what was published has changed: {seen:?}, {now:?}");
            for pair in now.chunks(2) {
                assert!(
                    pair.len() == 2 && pair[0] == pair[1] && pair[0] >= 100,
                    "half of an element: {now:?}"
                );
            }
            seen = now.to_vec();
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(array.len(), 12);
        for from in [100, 200] {
            let own: Vec<u64> =
                array.iter().step_by(2).copied().filter(|&value| value / 100 * 100 == from).collect();
            assert_eq!(own, [from, from + 1, from + 2], "all, in order");
        }
    });
}

#[test]
fn an_array_of_atomics_grows_with_its_values() {
    try_orders(|| {
        let array = Arc::new(AtomicArray::<std::sync::atomic::AtomicU32>::filled(7, 1, 64).unwrap());
        let growing = Arc::clone(&array);
        let writer = spawn(move || (2..6).for_each(|len| growing.grow(len * 2, 7).unwrap()));
        let mut seen = 0;
        for _ in 0..5 {
            let now = array.as_slice();
            assert!(now.len() >= seen, "it shrinks");
            assert!(
                now.iter().all(|value| value.load(std::sync::atomic::Ordering::Relaxed) == 7),
                "not filled"
            );
            seen = now.len();
        }
        writer.join().unwrap();
        assert_eq!(array.as_slice().len(), 10);
    });
}

/// What died at or before the oldest state that is read may be taken away; nobody reads that any more.
#[test]
fn nothing_is_taken_away_that_somebody_reads() {
    try_orders(|| {
        let (readers, published) = (Arc::new(Readers::default()), Arc::new(AtomicU64::new(1)));
        // Everything that died at or before this is gone.
        let taken = Arc::new(AtomicU64::new(0));
        let sweeper = {
            let (readers, published, taken) =
                (Arc::clone(&readers), Arc::clone(&published), Arc::clone(&taken));
            spawn(move || {
                for _ in 0..2 {
                    let oldest = readers.oldest(published.load(SeqCst));
                    taken.fetch_max(oldest, SeqCst);
                }
            })
        };
        let reader = || {
            let (readers, published, taken) =
                (Arc::clone(&readers), Arc::clone(&published), Arc::clone(&taken));
            spawn(move || {
                let reading = readers.enter(&published);
                // A reader of state 3 looks for what died in 4: it must be there as long as it reads.
                assert!(taken.load(SeqCst) <= reading.seq, "taken before it was looked for");
                shuttle::thread::yield_now();
                assert!(taken.load(SeqCst) <= reading.seq, "taken while it was looked for");
            })
        };
        let reading = [reader(), reader()];
        for seq in 2..5 {
            published.store(seq, SeqCst);
        }
        reading.into_iter().for_each(|reader| reader.join().unwrap());
        sweeper.join().unwrap();
        assert_eq!(readers.oldest(4), 4, "nobody is left");
    });
}

/// Segments in memory; knows what was synced.
#[derive(Debug, Clone, Default)]
struct Memory(std::sync::Arc<Plain<Files>>);

#[derive(Debug, Default)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
    synced: usize,
    syncs: usize,
}

impl Memory {
    fn with<T>(&self, use_files: impl FnOnce(&mut Files) -> T) -> T {
        use_files(&mut self.0.lock().unwrap())
    }
}

impl Storage for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.with(|files| files.files.keys().cloned().collect()))
    }
    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.with(|files| files.files[name].len() as u64))
    }
    fn read(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        Ok(self.with(|files| files.files[name][offset as usize..(offset + length) as usize].to_vec()))
    }
    fn create(&mut self, name: &str) -> io::Result<()> {
        self.with(|files| files.files.insert(name.to_owned(), Vec::new()));
        Ok(())
    }
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.with(|files| files.files.entry(name.to_owned()).or_default().extend_from_slice(bytes));
        Ok(())
    }
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.with(|files| files.files.entry(name.to_owned()).or_default().truncate(length as usize));
        Ok(())
    }
    fn sync(&mut self, name: &str) -> io::Result<()> {
        // Others go on while the disk is at it.
        let length = self.with(|files| files.files[name].len());
        shuttle::thread::yield_now();
        self.with(|files| {
            files.synced = files.synced.max(length);
            files.syncs += 1;
        });
        Ok(())
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.with(|files| files.files.remove(name));
        Ok(())
    }
    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    /// Payloads that a power cut would leave.
    fn durable(&self) -> Vec<u64> {
        let cut = Memory::default();
        self.with(|files| {
            for (name, bytes) in &files.files {
                let kept = bytes[..files.synced.min(bytes.len())].to_vec();
                cut.with(|files| files.files.insert(name.clone(), kept));
            }
        });
        let mut found = Vec::new();
        open(&cut)
            .replay(0, &mut |record| {
                found.push(u64::from_le_bytes(record.payload.try_into().unwrap()));
                Ok::<(), shortlist::log::LogError>(())
            })
            .unwrap();
        found
    }
}

fn open(storage: &Memory) -> Log {
    let identity = Identity { collection: [1; 16], shard: 0 };
    let start = Position { seq: 0, hash: [0; 32] };
    Log::open(Box::new(storage.clone()), identity, start, LogOptions::default()).unwrap().0
}

const WRITERS: u64 = 3;
const WRITES: u64 = 2;

/// The library's queue and log, and a committer that does what its own does: take a group, append, sync, publish, answer.
#[test]
fn every_write_is_answered_once_and_is_durable_and_seen_then() {
    try_orders(|| {
        let (queue, storage) = (Arc::new(Queue::new(2)), Memory::default());
        let (published, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let committer = {
            let (queue, storage, published) = (Arc::clone(&queue), storage.clone(), Arc::clone(&published));
            spawn(move || {
                let mut log = open(&storage);
                while let Some(group) = queue.take() {
                    assert!(!group.is_empty(), "nothing to do");
                    let mut replies = Vec::new();
                    for (WriteBatch(number), reply) in group {
                        let position = log.append([0; 16], &number.to_le_bytes()).unwrap();
                        replies.push((position.seq, reply));
                    }
                    log.sync().unwrap();
                    published.store(log.durable().seq, SeqCst);
                    replies.into_iter().for_each(|(seq, reply)| reply(Ok(seq)));
                }
            })
        };
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (queue, storage) = (Arc::clone(&queue), storage.clone());
                let (published, answered) = (Arc::clone(&published), Arc::clone(&answered));
                spawn(move || {
                    for number in 0..WRITES {
                        let number = writer * WRITES + number;
                        let (sender, receiver) = sync_channel(1);
                        queue.push(WriteBatch(number), Box::new(move |answer| sender.send(answer).unwrap()));
                        match receiver.recv().unwrap() {
                            Ok(seq) => {
                                assert!(published.load(SeqCst) >= seq, "answered before it was seen");
                                let durable = storage.durable();
                                assert_eq!(
                                    durable[seq as usize - 1],
                                    number,
                                    "answered before it was durable"
                                );
                            }
                            Err(WriteError::Busy { waiting, limit }) => {
                                assert!(waiting >= limit && limit == 2)
                            }
                            Err(error) => panic!("{error:?}"),
                        }
                        answered.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(answered.load(SeqCst) as u64, WRITERS * WRITES);
        queue.close();
        committer.join().unwrap();
        let (sender, receiver) = sync_channel(1);
        queue.push(WriteBatch(99), Box::new(move |answer| sender.send(answer).unwrap()));
        assert!(matches!(receiver.recv().unwrap(), Err(WriteError::Closed { .. })));
    });
}
