//! Round trips, damage at every byte, refusals, and the operator's tools. Crashes and failing calls are in
//! `crash.rs`.

use super::fault::{Call, Fault, Faulty, Media};
use super::segment::{FRAME_LEN, Header, encode, file_name};
use super::*;

const IDENTITY: Identity = Identity { collection: [7; 16], shard: 3 };
const BEGIN: Position = Position { seq: 0, hash: [0; 32] };
const SMALL: LogOptions = LogOptions { segment_bytes: 500 };

type Owned = (u64, [u8; 16], Hash, Vec<u8>);

fn open(storage: &Faulty) -> Result<(Log, Opened), LogError> {
    Log::open(storage.boxed(), IDENTITY, BEGIN, SMALL)
}

fn records(log: &Log, after: u64) -> Vec<Owned> {
    let mut found = Vec::new();
    log.replay(after, &mut |record| {
        found.push((record.seq, record.batch, record.hash, record.payload.to_vec()));
        Ok::<(), LogError>(())
    })
    .unwrap();
    found
}

fn payload(seq: u64) -> Vec<u8> {
    (0..seq * 7 % 40).map(|at| (seq * 31 + at) as u8).collect()
}

/// Appends groups of two records each.
fn fill(log: &mut Log, groups: usize) -> Vec<Position> {
    let mut positions = Vec::new();
    for _ in 0..groups {
        for _ in 0..2 {
            let seq = log.last().seq + 1;
            positions.push(log.append([seq as u8; 16], &payload(seq)).unwrap());
        }
        log.sync().unwrap();
    }
    positions
}

/// A storage with exactly these files.
fn storage_of(files: &[(String, Vec<u8>)]) -> Faulty {
    let mut media = Media::default();
    files.iter().for_each(|(name, bytes)| media.add(name, bytes.clone()));
    Faulty::new(media)
}

/// A log of three segments and the last group's first offset and first record.
struct Sample {
    files: Vec<(String, Vec<u8>)>,
    records: Vec<Owned>,
    group_offset: usize,
    group_first: u64,
}

fn sample() -> Sample {
    let storage = Faulty::default();
    let (mut log, _) = open(&storage).unwrap();
    fill(&mut log, 6);
    let before = storage.with(|state| state.media.live());
    let group_first = log.last().seq + 1;
    fill(&mut log, 1);
    let files = storage.with(|state| state.media.live());
    assert_eq!((files.len(), before.len()), (3, 3), "the last group does not begin the last segment");
    let records = records(&log, 0);
    Sample { files, records, group_offset: before[2].1.len(), group_first }
}

#[test]
fn records_come_back_across_segments() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("log-1.slog"), "not a segment").unwrap();
    std::fs::write(directory.path().join("log-00000000000000000009.slog.tmp"), "nor this").unwrap();
    let disk = || Box::new(Disk::new(directory.path()));
    let (mut log, opened) = Log::open(disk(), IDENTITY, BEGIN, SMALL).unwrap();
    assert_eq!(opened, Opened { first: 1, last: 0, segments: 0, bytes: 0, trimmed: None });
    let positions = fill(&mut log, 40);
    assert!(log.segments() > 10);
    assert_eq!((log.last(), log.durable()), (positions[79], positions[79]));
    let (bytes, segments) = (log.bytes(), log.segments());
    drop(log);

    let (mut log, opened) = Log::open(disk(), IDENTITY, positions[20], SMALL).unwrap();
    assert_eq!(opened, Opened { first: 1, last: 80, segments, bytes, trimmed: None });
    for after in [0, 1, 20, 79, 80] {
        let found = records(&log, after);
        assert_eq!(found.len() as u64, 80 - after);
        for (record, position) in found.iter().zip(&positions[after as usize..]) {
            let (seq, hash) = (position.seq, position.hash);
            assert_eq!(*record, (seq, [seq as u8; 16], hash, payload(seq)));
        }
    }
    for position in &positions {
        assert_eq!(log.position_of(position.seq).unwrap(), Some(*position));
    }
    assert_eq!(log.position_of(0).unwrap(), Some(BEGIN));
    assert_eq!(log.position_of(81).unwrap(), None);
    assert_eq!(fill(&mut log, 1)[0].seq, 81);
}

#[test]
fn unsynced_records_are_not_replayed_and_large_ones_pass_through() {
    let storage = Faulty::default();
    let (mut log, _) = open(&storage).unwrap();
    log.append([1; 16], &vec![9; 3 << 20]).unwrap();
    assert_eq!((log.last().seq, log.durable().seq), (1, 0));
    assert!(records(&log, 0).is_empty());
    log.sync().unwrap();
    log.sync().unwrap();
    assert_eq!(records(&log, 0)[0].3, vec![9; 3 << 20]);
    assert_eq!(log.segments(), 1);
    fill(&mut log, 1);
    assert_eq!(log.segments(), 2);
}

#[test]
fn a_segment_holds_at_least_a_group() {
    let storage = Faulty::default();
    let (mut log, _) = Log::open(storage.boxed(), IDENTITY, BEGIN, LogOptions { segment_bytes: 0 }).unwrap();
    fill(&mut log, 5);
    assert_eq!((log.segments(), records(&log, 0).len()), (5, 10));
    drop(log);
    assert_eq!(open(&storage).unwrap().1.segments, 5);
}

#[test]
fn a_payload_may_be_too_long() {
    let (mut log, _) = open(&Faulty::default()).unwrap();
    let error = log.append([0; 16], &vec![0; MAX_PAYLOAD as usize + 1]).unwrap_err();
    assert!(matches!(error, LogError::Payload { limit: MAX_PAYLOAD, .. }), "{error}");
    fill(&mut log, 1);
}

#[test]
fn whole_segments_are_discarded_oldest_first() {
    let storage = Faulty::default();
    let (mut log, _) = open(&storage).unwrap();
    let positions = fill(&mut log, 40);
    let segments = log.segments();
    assert_eq!(log.discard_through(0).unwrap(), 0);
    let removed = log.discard_through(50).unwrap();
    assert!(removed > 3 && log.segments() == segments - removed && log.first() <= 51 && log.first() > 30);
    let covered = positions[log.first() as usize - 2];
    assert_eq!(log.position_of(covered.seq).unwrap(), Some(covered));
    assert_eq!(log.position_of(covered.seq - 1).unwrap(), None);
    let error = log.replay(covered.seq - 1, &mut |_| Ok::<(), LogError>(())).unwrap_err();
    assert!(matches!(error, LogError::Gap { asked, .. } if asked == covered.seq - 1), "{error}");
    log.discard_through(1000).unwrap();
    assert_eq!((log.segments(), log.last().seq), (1, 80));
    drop(log);

    // Not even when the next segment could not be made.
    let full = Faulty::default();
    let (mut log, _) = Log::open(full.boxed(), IDENTITY, BEGIN, LogOptions { segment_bytes: 0 }).unwrap();
    fill(&mut log, 2);
    full.with(|state| state.fault = Some(Fault { call: Call::Create, after: 0, times: 1, code: 28 }));
    log.append([0; 16], b"lost").unwrap_err();
    assert_eq!((log.discard_through(1000).unwrap(), log.segments()), (1, 1));
    assert_eq!((log.recover().unwrap().seq, log.segments()), (4, 2));
    fill(&mut log, 1);

    // The position just before the first record is enough, an earlier one is not.
    let start = Log::open(storage.boxed(), IDENTITY, positions[79], SMALL).unwrap().1.first - 1;
    let at = |seq: u64| Log::open(storage.boxed(), IDENTITY, positions[seq as usize - 1], SMALL);
    at(start).unwrap();
    assert!(matches!(at(start - 1).unwrap_err(), LogError::Gap { asked, .. } if asked == start - 1));
}

#[test]
fn the_log_of_another_is_refused() {
    let storage = storage_of(&sample().files);
    let other = |collection, shard| {
        let identity = Identity { collection, shard };
        Log::open(storage.boxed(), identity, BEGIN, SMALL).unwrap_err()
    };
    let error = other([8; 16], 3);
    assert!(matches!(error, LogError::Collection { .. }), "{error}");
    assert!(error.to_string().contains("07070707-0707-0707-0707-070707070707"), "{error}");
    assert!(matches!(other([7; 16], 4), LogError::Shard { found: 3, expected: 4, .. }));
}

#[test]
fn the_index_file_must_fit_the_log() {
    let Sample { files, records, .. } = sample();
    let storage = storage_of(&files);
    let at = |seq, hash| Log::open(storage.boxed(), IDENTITY, Position { seq, hash }, SMALL);
    for (seq, _, hash, _) in &records {
        at(*seq, *hash).unwrap();
        at(*seq, [0; 32]).unwrap();
        let error = at(*seq, [9; 32]).unwrap_err();
        assert!(matches!(error, LogError::Mismatch { .. }), "{error}");
    }
    let last = records.len() as u64;
    assert!(matches!(at(last + 1, [0; 32]).unwrap_err(), LogError::Gap { first: 1, asked: 15, .. }));

    // A log that begins later knows the record before it, if its maker did.
    let storage = Faulty::default();
    let at = |seq, hash| Log::open(storage.boxed(), IDENTITY, Position { seq, hash }, SMALL);
    fill(&mut at(100, [5; 32]).unwrap().0, 1);
    assert_eq!(at(100, [5; 32]).unwrap().1.first, 101);
    assert!(matches!(at(100, [6; 32]).unwrap_err(), LogError::Mismatch { seq: 100, .. }));
    assert!(matches!(at(99, [0; 32]).unwrap_err(), LogError::Gap { asked: 99, .. }));
}

/// Opens damaged files and says how many of the sample's records are left; checks that these are as they
/// were.
fn left(sample: &Sample, files: &[(String, Vec<u8>)]) -> Result<(usize, Opened), LogError> {
    let storage = storage_of(files);
    let (mut log, opened) = open(&storage)?;
    let found = records(&log, 0);
    assert!(sample.records.starts_with(&found), "records that were never appended");
    fill(&mut log, 1);
    drop(log);
    let (log, again) = open(&storage).unwrap();
    assert_eq!((records(&log, 0).len(), again.trimmed), (found.len() + 2, None));
    Ok((found.len(), opened))
}

#[test]
fn every_flipped_byte_is_noticed() {
    let sample = sample();
    let before_group = sample.group_first as usize - 1;
    for (number, (name, bytes)) in sample.files.iter().enumerate() {
        for offset in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut files = sample.files.clone();
                files[number].1[offset] ^= flip;
                let result = left(&sample, &files);
                if number == 2 && offset >= sample.group_offset {
                    let (records, opened) = result.unwrap();
                    let trim = opened.trimmed.expect("a trim is reported");
                    assert!(records >= before_group && records < sample.records.len());
                    assert!(trim.file == *name && trim.offset <= offset as u64, "{trim:?} for {offset}");
                    assert_eq!(trim.offset + trim.bytes, bytes.len() as u64);
                    continue;
                }
                let error = result.expect_err("damage below durable data");
                match &error {
                    LogError::Damaged { file, offset: at, .. } => {
                        assert!(file == name && *at <= offset as u64, "{error} for {name} {offset}");
                    }
                    other => panic!("{other} for {name} {offset}"),
                }
            }
        }
    }
}

#[test]
fn every_truncation_is_noticed_or_leaves_a_prefix() {
    let sample = sample();
    for (number, (_, bytes)) in sample.files.iter().enumerate() {
        for length in 0..bytes.len() {
            let mut files = sample.files.clone();
            files[number].1.truncate(length);
            let result = left(&sample, &files);
            if number < 2 {
                let error = result.expect_err("records are missing in the middle");
                assert!(matches!(error, LogError::Damaged { .. } | LogError::Missing { .. }), "{error}");
                continue;
            }
            // Nothing behind the cut is left to say what was durable.
            let (_, opened) = result.unwrap();
            let kept = opened.trimmed.map_or(length as u64, |trim| trim.offset);
            assert!(kept <= length as u64);
            assert!(length < sample.group_offset || kept >= sample.group_offset as u64);
            // But an index file that covers more knows.
            let storage = storage_of(&files);
            let (seq, _, hash, _) = sample.records[sample.records.len() - 1];
            let error = Log::open(storage.boxed(), IDENTITY, Position { seq, hash }, SMALL).unwrap_err();
            assert!(matches!(error, LogError::Damaged { .. } | LogError::Gap { .. }), "{error}");
            assert_eq!(storage.with(|state| state.ops.len()), 0, "a refused log was changed");
        }
    }
}

#[test]
fn tails_of_zeros_and_garbage_are_trimmed() {
    let sample = sample();
    let tails: [Vec<u8>; 4] =
        [vec![0; 1], vec![0; 5000], vec![0xff; 777], (0..9000u32).map(|at| ((at * at) >> 3) as u8).collect()];
    for tail in tails {
        let mut files = sample.files.clone();
        files[2].1.extend_from_slice(&tail);
        let (records, opened) = left(&sample, &files).unwrap();
        assert_eq!(records, sample.records.len());
        assert_eq!(opened.trimmed.unwrap().bytes, tail.len() as u64);
    }
    // A segment that was being made, with any part of its header.
    for length in 0..=HEADER_LEN as usize {
        let mut files = sample.files.clone();
        files.push((file_name(sample.records.len() as u64 + 1), vec![0; length]));
        let (records, opened) = left(&sample, &files).unwrap();
        assert_eq!((records, opened.segments), (sample.records.len(), 3));
        assert_eq!(opened.trimmed.unwrap().offset, 0);
    }
}

#[test]
fn a_segment_being_made_tells_what_was_before_it() {
    let sample = sample();
    let mut files = sample.files.clone();
    files.push((file_name(40), vec![]));
    let error = left(&sample, &files).unwrap_err();
    assert!(matches!(error, LogError::Missing { first: 15, last: 39, .. }), "{error}");
    let error = left(&sample, &files[3..]).unwrap_err();
    assert!(matches!(error, LogError::Gap { asked: 0, .. }), "{error}");
    let only = [(file_name(1), vec![1, 2, 3])];
    let (mut log, opened) = open(&storage_of(&only)).unwrap();
    assert_eq!((opened.segments, opened.trimmed.unwrap().bytes), (0, 3));
    fill(&mut log, 1);
}

#[test]
fn missing_and_foreign_segments_are_refused() {
    let sample = sample();
    let mut files = sample.files.clone();
    files.remove(1);
    let error = left(&sample, &files).unwrap_err();
    assert!(matches!(error, LogError::Missing { .. }), "{error}");
    files.remove(0);
    assert!(matches!(left(&sample, &files).unwrap_err(), LogError::Gap { asked: 0, .. }));

    // The same numbers from another history: a right checksum, a wrong chain.
    let storage = Faulty::default();
    let (mut log, _) = open(&storage).unwrap();
    log.append([1; 16], b"another").unwrap();
    log.sync().unwrap();
    fill(&mut log, 20);
    let others = storage.with(|state| state.media.live());
    let mut end = Position { seq: 0, hash: [0; 32] };
    sample.records.iter().for_each(|&(seq, _, hash, _)| end = Position { seq, hash });
    let mut files = sample.files.clone();
    encode(&mut files[2].1, Position { hash: [9; 32], ..end }, [0; 16], 128, b"wrong chain");
    let error = left(&sample, &files).unwrap_err();
    assert!(matches!(&error, LogError::Damaged { what, .. } if what.contains("does not go on")), "{error}");
    let mut files = sample.files.clone();
    encode(&mut files[2].1, Position { seq: end.seq + 1, ..end }, [0; 16], 128, b"wrong number");
    let error = left(&sample, &files).unwrap_err();
    assert!(
        matches!(&error, LogError::Damaged { what, .. } if what.contains("follows record 14")),
        "{error}"
    );
    let mut files = sample.files.clone();
    let before = Position { hash: [9; 32], ..end };
    files.push((file_name(end.seq + 1), Header { identity: IDENTITY, before }.to_bytes()));
    let error = left(&sample, &files).unwrap_err();
    assert!(
        matches!(&error, LogError::Damaged { offset: 48, what, .. } if what.contains("another")),
        "{error}"
    );
    let mut files = vec![sample.files[0].clone()];
    files.extend(others.into_iter().skip(1));
    let error = left(&sample, &files).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. } | LogError::Missing { .. }), "{error}");
}

#[test]
fn later_versions_are_refused_not_trimmed() {
    let sample = sample();
    let set = |number: usize, at: usize, value: u8, from: usize, to: usize, crc: usize| {
        let mut files = sample.files.clone();
        let bytes = &mut files[number].1;
        bytes[at] = value;
        let sum = crc32c::crc32c(&bytes[from..to]);
        bytes[crc..crc + 4].copy_from_slice(&sum.to_le_bytes());
        left(&sample, &files).unwrap_err()
    };
    for at in [8, 12, 36] {
        let error = set(2, at, 77, 0, 124, 124);
        assert!(matches!(error, LogError::Unsupported { offset, .. } if offset == at as u64), "{error}");
    }
    let start = sample.group_offset;
    let length = u32::from_le_bytes(*sample.files[2].1[start..].first_chunk().unwrap()) as usize;
    for at in [8, 9, 10] {
        let error = set(2, start + at, 2, start + 8, start + 8 + length, start + 4);
        assert!(matches!(error, LogError::Unsupported { offset, .. } if offset == (start + at) as u64));
    }
}

#[test]
fn payloads_that_look_like_records_do_not_mislead() {
    // A whole record as payload, with a watermark that would forbid a trim, inside a record that is whole:
    // passed over.
    let mut forged = Vec::new();
    encode(&mut forged, Position { seq: 3, hash: [1; 32] }, [0; 16], 1 << 40, b"forged");
    let storage = Faulty::default();
    let (mut log, _) = open(&storage).unwrap();
    log.append([0; 16], b"one").unwrap();
    log.sync().unwrap();
    let damaged = log.bytes() as usize;
    log.append([0; 16], b"two").unwrap();
    log.append([0; 16], &forged).unwrap();
    log.sync().unwrap();
    storage.with(|state| {
        let mut files = state.media.live();
        files[0].1[damaged + 20] ^= 1;
        state.media = Media::default();
        files.iter().for_each(|(name, bytes)| state.media.add(name, bytes.clone()));
    });
    let (log, opened) = open(&storage).unwrap();
    assert_eq!((log.last().seq, opened.trimmed.unwrap().offset), (1, damaged as u64));

    // Many heads of records that claim the rest of the segment: the search gives up, and refuses.
    let mut files = storage.with(|state| state.media.live());
    for _ in 0..4000 {
        let mut head = Vec::new();
        encode(&mut head, Position { seq: 1, hash: [1; 32] }, [0; 16], 0, &[]);
        head[..4].copy_from_slice(&150_000u32.to_le_bytes());
        files[0].1.extend_from_slice(&head);
    }
    let error = open(&storage_of(&files)).unwrap_err();
    assert!(matches!(&error, LogError::Damaged { what, .. } if what.contains("too much")), "{error}");
}

#[test]
fn a_trim_that_fails_changes_nothing_that_matters() {
    let sample = sample();
    let mut files = sample.files.clone();
    files[2].1.extend_from_slice(&[0xaa; 100]);
    for call in [Call::Truncate, Call::Sync, Call::SyncDirectory] {
        let storage = storage_of(&files);
        storage.with(|state| state.fault = Some(Fault { call, after: 0, times: 1, code: 5 }));
        assert!(matches!(open(&storage).unwrap_err(), LogError::Io { .. }));
        assert_eq!(open(&storage).unwrap().1.last, sample.records.len() as u64);
    }
}

#[test]
fn recovery_goes_on_in_a_new_file() {
    let storage = Faulty::default();
    let (mut log, _) = open(&storage).unwrap();
    assert_eq!(log.recover().unwrap(), BEGIN);
    let durable = fill(&mut log, 1)[1];
    let fail = || {
        storage.with(|state| state.fault = Some(Fault { call: Call::Append, after: 0, times: 1, code: 28 }))
    };
    fail();
    log.append([0; 16], b"lost").unwrap();
    assert!(log.sync().unwrap_err().is_out_of_space());
    assert!(log.append([0; 16], b"late").unwrap_err().is_out_of_space());
    assert_eq!(log.recover().unwrap(), durable);
    assert_eq!((log.segments(), log.last(), log.durable()), (2, durable, durable));
    // The new segment holds nothing durable: it is replaced by another of the same name.
    fail();
    log.append([0; 16], b"lost").unwrap();
    log.sync().unwrap_err();
    assert_eq!((log.recover().unwrap(), log.segments()), (durable, 2));
    fill(&mut log, 2);
    let found = records(&log, 0);
    drop(log);
    let (log, opened) = open(&storage).unwrap();
    assert_eq!((opened.last, opened.trimmed, records(&log, 0)), (6, None, found));
}

#[test]
fn inspection_and_truncation_bring_a_damaged_log_back() {
    let sample = sample();
    let reports = inspect(&*storage_of(&sample.files).boxed()).unwrap();
    assert_eq!(reports.iter().map(|report| report.records).sum::<u64>(), sample.records.len() as u64);
    assert!(reports.iter().all(|report| report.damage.is_none() && report.identity == Some(IDENTITY)));
    for number in 0..3 {
        for offset in [0, 50, 128 + FRAME_LEN + 3, sample.files[number].1.len() - 1] {
            let mut files = sample.files.clone();
            files[number].1[offset] ^= 0x55;
            let storage = storage_of(&files);
            let reports = inspect(&*storage.boxed()).unwrap();
            let damage = reports[number].damage.clone().expect("damage is reported");
            assert!(damage.offset <= offset as u64);
            assert_eq!(damage.torn, open(&storage_of(&files)).is_ok());
            let kept: u64 = reports[..=number].iter().map(|report| report.records).sum();
            let name = &files[number].0;
            let truncated = truncate(&mut *storage.boxed(), name, damage.offset).unwrap();
            assert_eq!(truncated.removed.len(), 2 - number + usize::from(damage.offset == 0));
            let (log, opened) = open(&storage).unwrap();
            assert_eq!((opened.last, records(&log, 0).len() as u64), (kept, kept));
        }
    }
    let mut storage = storage_of(&sample.files).boxed();
    for (file, offset) in [("log-1.slog", 0), ("../passwd", 0), (&sample.files[0].0, 1 << 30)] {
        assert!(matches!(truncate(&mut *storage, file, offset).unwrap_err(), LogError::Offset { .. }));
    }
}

#[test]
fn names_are_never_paths() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(directory.path());
    for name in ["", ".", "..", "../up", "a/b", ".hidden", "a\0b", "é", &"x".repeat(65)] {
        assert_eq!(disk.create(name).unwrap_err().kind(), std::io::ErrorKind::InvalidInput, "{name:?}");
        assert!(disk.read(name, 0, 1).is_err() && disk.remove(name).is_err() && disk.length(name).is_err());
    }
    disk.create("plain").unwrap();
    assert_eq!(disk.create("plain").unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    disk.append("plain", b"0123456789").unwrap();
    disk.truncate("plain", 4).unwrap();
    disk.append("plain", b"xy").unwrap();
    disk.sync("plain").unwrap();
    assert_eq!(disk.read("plain", 2, 4).unwrap(), b"23xy");
    assert_eq!((disk.list().unwrap(), disk.length("plain").unwrap()), (vec!["plain".to_owned()], 6));
    disk.remove("plain").unwrap();
    disk.sync_directory().unwrap();
    assert!(disk.append("plain", b"gone").is_err());
}
