//! Power cuts, killed processes and failing calls, against a record of what was appended and acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{CALLS, Call, Fault, Faulty, Media, Op, Random};
use super::{Identity, Log, LogError, LogOptions, Position};

const IDENTITY: Identity = Identity { collection: [7; 16], shard: 0 };
const BEGIN: Position = Position { seq: 0, hash: [0; 32] };
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What a client knows, up to some operation of the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Note {
    /// A record may be in the log from now on.
    Appended(u64, Vec<u8>),
    /// All records up to this one are acknowledged.
    Acknowledged(u64),
    /// An index file covers the log up to here.
    Covered(Position),
}

/// What must and what may be in the log.
#[derive(Debug, Clone)]
struct Oracle {
    covered: Position,
    acknowledged: BTreeMap<u64, Vec<u8>>,
    /// Payloads ever appended under a number; several after a recovery.
    appended: BTreeMap<u64, BTreeSet<Vec<u8>>>,
    newest: BTreeMap<u64, Vec<u8>>,
}

impl Oracle {
    fn new() -> Oracle {
        Oracle {
            covered: BEGIN,
            acknowledged: BTreeMap::new(),
            appended: BTreeMap::new(),
            newest: BTreeMap::new(),
        }
    }

    fn take(&mut self, note: &Note) {
        match note {
            Note::Appended(seq, payload) => {
                self.appended.entry(*seq).or_default().insert(payload.clone());
                self.newest.insert(*seq, payload.clone());
            }
            Note::Acknowledged(last) => {
                for (&seq, payload) in self.newest.range(..=last) {
                    self.acknowledged.entry(seq).or_insert_with(|| payload.clone());
                }
            }
            Note::Covered(position) => self.covered = *position,
        }
    }

    /// Opens the log and checks that it holds all that it must and nothing that it must not.
    fn check(&self, storage: &Faulty, options: LogOptions) -> Log {
        let (log, opened) = Log::open(storage.boxed(), IDENTITY, self.covered, options)
            .unwrap_or_else(|error| panic!("refused: {error}"));
        let mut next = self.covered.seq + 1;
        log.replay(self.covered.seq, &mut |record| {
            assert_eq!(record.seq, next);
            next += 1;
            let appended = self.appended.get(&record.seq).expect("a record that nobody appended");
            assert!(appended.contains(record.payload), "record {} was never appended like this", record.seq);
            if let Some(payload) = self.acknowledged.get(&record.seq) {
                assert_eq!(
                    payload, record.payload,
                    "record {} was acknowledged with other bytes",
                    record.seq
                );
            }
            Ok::<(), LogError>(())
        })
        .unwrap();
        assert_eq!(next, opened.last + 1);
        let must = self.acknowledged.keys().last().copied().unwrap_or(0);
        assert!(opened.last >= must, "record {must} was acknowledged, the log ends with {}", opened.last);
        log
    }
}

/// A client of a log, taking notes.
struct Client {
    storage: Faulty,
    log: Option<Log>,
    options: LogOptions,
    random: Random,
    /// With the number of storage operations before each.
    notes: Vec<(usize, Note)>,
    oracle: Oracle,
}

impl Client {
    fn new(storage: Faulty, options: LogOptions, seed: u64) -> Client {
        let random = Random(seed);
        Client { storage, log: None, options, random, notes: vec![], oracle: Oracle::new() }
    }

    fn note(&mut self, note: Note) {
        self.oracle.take(&note);
        self.notes.push((self.storage.with(|state| state.ops.len()), note));
    }

    /// Opens the log, as a process that starts, and serves what it finds.
    fn open(&mut self) -> Result<(), LogError> {
        self.log = None;
        let (log, opened) = Log::open(self.storage.boxed(), IDENTITY, self.oracle.covered, self.options)?;
        self.log = Some(log);
        // What it finds may be an earlier try than the newest: take it from the log.
        let (from, mut found) = (self.oracle.covered.seq, vec![]);
        self.log().replay(from, &mut |record| {
            found.push(Note::Appended(record.seq, record.payload.to_vec()));
            Ok::<(), LogError>(())
        })?;
        found.into_iter().for_each(|note| self.note(note));
        self.note(Note::Acknowledged(opened.last));
        Ok(())
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn append(&mut self) -> Result<Position, LogError> {
        let length = match self.random.below(8) {
            0 => 0,
            1 => 2000 + self.random.below(6000),
            _ => self.random.below(400),
        };
        let payload: Vec<u8> = (0..length).map(|_| self.random.next() as u8).collect();
        let seq = self.log().last().seq + 1;
        self.note(Note::Appended(seq, payload.clone()));
        self.log().append([3; 16], &payload)
    }

    fn group(&mut self) -> Result<(), LogError> {
        for _ in 0..1 + self.random.below(3) {
            self.append()?;
        }
        self.log().sync()?;
        let last = self.log().last().seq;
        self.note(Note::Acknowledged(last));
        Ok(())
    }

    /// An index file is written that covers some of the log; what it covers is discarded.
    fn checkpoint(&mut self) -> Result<(), LogError> {
        let (first, last) = (self.log().first(), self.log().durable().seq);
        let seq = first - 1 + self.random.below((last + 2 - first) as usize) as u64;
        let seq = seq.max(self.oracle.covered.seq);
        let position = self.log().position_of(seq)?.unwrap();
        self.note(Note::Covered(position));
        self.log().discard_through(seq).map(|_| ())
    }

    fn fail_next(&mut self, call: Call, times: usize) {
        self.storage.with(|state| state.fault = Some(Fault { call, after: 0, times, code: ENOSPC }));
    }

    /// A power cut at this moment loses nothing acknowledged.
    fn check_after_power_cut(&self, seed: u64) {
        let media = self.storage.with(|state| state.media.clone());
        for seed in seed * 100..seed * 100 + 8 {
            self.oracle.check(&Faulty::new(media.crash(&mut Random(seed))), self.options);
        }
    }

    /// Groups, checkpoints, restarts and full disks.
    fn live(&mut self, groups: usize) {
        self.open().unwrap();
        for _ in 0..groups {
            let call = match self.random.below(16) {
                0 => Some(Call::Append),
                1 => Some(Call::Sync),
                2 => Some(Call::Create),
                _ => None,
            };
            if let Some(call) = call {
                let times = 1 + self.random.below(2);
                self.fail_next(call, times);
            }
            if self.group().is_err() {
                while self.log().recover().is_err() {}
            }
            self.storage.with(|state| state.fault = None);
            match self.random.below(12) {
                0 | 1 => self.checkpoint().unwrap(),
                2 => self.open().unwrap(),
                _ => {}
            }
        }
    }
}

/// One crash of a storage, then a restart, a write, and in the middle of that a second crash.
fn crash_twice(media: &Media, oracle: &Oracle, options: LogOptions, random: &mut Random) -> usize {
    // Half of the time only the process dies, and what was not synced is still to see.
    let first = if random.coin() { media.crash(random) } else { media.clone() };
    let storage = Faulty::new(first.clone());
    drop(oracle.check(&storage, options));
    let storage = Faulty::new(first.clone());
    let mut client = Client::new(storage.clone(), options, random.next());
    client.oracle = oracle.clone();
    client.open().unwrap();
    client.group().unwrap();
    client.oracle.check(&storage, options);
    let ops = storage.with(|state| state.ops.clone());
    let cut = random.below(ops.len() + 1);
    let (mut media, mut oracle) = (first, oracle.clone());
    ops[..cut].iter().for_each(|op| media.apply(op).unwrap());
    take_notes(&mut oracle, &client.notes, cut);
    oracle.check(&Faulty::new(media.crash(random)), options);
    2
}

fn take_notes(oracle: &mut Oracle, notes: &[(usize, Note)], ops: usize) {
    notes.iter().filter(|(at, _)| *at <= ops).for_each(|(_, note)| oracle.take(note));
}

/// Crashes after every prefix of the operations of one scenario.
fn crash_everywhere(seed: u64, groups: usize, variants: usize) -> usize {
    let options = LogOptions { segment_bytes: 3000 };
    let storage = Faulty::default();
    let mut client = Client::new(storage.clone(), options, seed);
    client.live(groups);
    let ops: Vec<Op> = storage.with(|state| state.ops.clone());
    let (mut media, mut oracle, mut random) = (Media::default(), Oracle::new(), Random(seed ^ 0xc0ffee));
    let mut notes = client.notes.iter().peekable();
    let mut states = 0;
    for done in 0..=ops.len() {
        // A note with the same count was taken after the operation before and before the next one.
        while let Some((_, note)) = notes.next_if(|(at, _)| *at <= done) {
            oracle.take(note);
        }
        for _ in 0..variants {
            states += crash_twice(&media, &oracle, options, &mut random);
        }
        if let Some(op) = ops.get(done) {
            media.apply(op).unwrap();
        }
    }
    states
}

#[test]
fn a_crash_loses_nothing_acknowledged_and_invents_nothing() {
    let (scenarios, variants) = if std::env::var_os("SHORTLIST_LONG").is_some() { (24, 4) } else { (5, 1) };
    let states: usize = (0..scenarios).map(|seed| crash_everywhere(seed, 60, variants)).sum();
    println!("{states} states");
    assert!(states >= if variants > 1 { 20_000 } else { 2_000 }, "only {states} states");
}

/// Groups, a checkpoint and a restart, stopping at the first error.
fn script(client: &mut Client) -> Result<(), LogError> {
    client.open()?;
    for step in 0..12 {
        client.group()?;
        if step % 5 == 4 {
            client.checkpoint()?;
        }
    }
    client.open()?;
    client.group()
}

/// After a failure while appending or syncing: poisoned, and the first failure is kept.
fn check_poisoned(client: &mut Client, first: &LogError) {
    if client.log().poison().is_none() {
        return; // A read, or a discard.
    }
    for _ in 0..2 {
        for error in [client.log().append([0; 16], b"late").unwrap_err(), client.log().sync().unwrap_err()] {
            let LogError::Poisoned { first: kept } = error else { panic!("{error}") };
            assert_eq!(kept.to_string(), first.to_string());
        }
    }
}

/// A log that says that nothing is left beyond what is durable says the truth.
fn check_given_up(client: &mut Client) {
    if !client.log().has_given_up() {
        return;
    }
    let (durable, storage) = (client.log().durable().seq, client.storage.clone());
    let fault = storage.with(|state| state.fault.take());
    let media = storage.with(|state| state.media.clone());
    let (_, opened) =
        Log::open(Faulty::new(media).boxed(), IDENTITY, client.oracle.covered, client.options).unwrap();
    assert_eq!(opened.last, durable, "more is in the files than was durable");
    storage.with(|state| state.fault = fault);
}

/// Recovers, where calls of a second kind fail at first.
fn check_recovery(client: &mut Client, second: Option<Call>) {
    if let Some(call) = second {
        client.fail_next(call, 2);
    }
    let mut tries = 0;
    while client.log().recover().is_err() {
        tries += 1;
        assert!(tries <= 2, "recovery fails without a cause");
        client.check_after_power_cut(tries);
        check_given_up(client);
    }
    client.storage.with(|state| state.fault = None);
    let durable = client.log().durable();
    assert_eq!(client.log().last(), durable);
    client.group().unwrap();
}

/// Runs the script with a failure of call number `after`; `false` when it was never reached.
fn fail_once(call: Call, after: usize, code: i32, second: Option<Call>) -> bool {
    let storage = Faulty::default();
    let mut client = Client::new(storage.clone(), LogOptions { segment_bytes: 1200 }, 11);
    storage.with(|state| state.fault = Some(Fault { call, after, times: 1, code }));
    let result = script(&mut client);
    if storage.with(|state| state.failed) == 0 {
        result.unwrap();
        return false;
    }
    let error = result.expect_err("a failing call was passed over");
    assert!(matches!(error, LogError::Io { .. }), "{error}");
    assert_eq!(error.is_out_of_space(), code == ENOSPC);
    client.check_after_power_cut(1);
    if client.log.is_some() {
        check_poisoned(&mut client, &error);
        check_recovery(&mut client, second);
    }
    client.check_after_power_cut(2);
    client.open().unwrap();
    client.group().unwrap();
    client.oracle.check(&storage, client.options);
    true
}

#[test]
fn every_call_may_fail() {
    let seconds = CALLS.map(|call| (ENOSPC, Some(call)));
    let variants = [(EIO, None), (ENOSPC, None)].into_iter().chain(seconds);
    let mut failures = 0;
    for (code, second) in variants {
        for call in CALLS {
            let mut after = 0;
            while fail_once(call, after, code, second) {
                after += 1;
            }
            // Nothing is torn here, so that only recovery cuts files.
            assert_eq!(after == 0, call == Call::Truncate, "{call:?}");
            failures += after;
        }
    }
    println!("{failures} failures");
    assert!(failures > 300, "only {failures} failures");
}
