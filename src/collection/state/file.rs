//! The state as bytes, for a section of the index file: lines of JSON.
//!
//! The first line says up to which sequence number it goes; the lines after it are notes that make the state anew, and
//! what no note can say (numbers of profiles that are gone); the last carries the blake3 of all before it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::events::{Seen, parse_key, print_key};
use super::{Note, Register, State};

const FORMAT: u32 = 1;
/// Counters, and events, a line.
const SOME: usize = 1_000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    seq: u64,
    /// When exclude sets were last swept, so that a replay sweeps them at the same moments.
    swept: i64,
    /// Above the versions of profiles that were deleted and whose names are forgotten.
    #[serde(default, skip_serializing_if = "is_zero")]
    forgotten: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    blake3: String,
}

/// What a file keeps, of one moment.
pub(in crate::collection) struct Kept {
    state: Arc<State>,
    events: Vec<u128>,
}

impl Register {
    /// The newest state and the events in it, while nothing is applied.
    pub fn kept(&self) -> Kept {
        Kept { state: self.newest(), events: self.seen().iter().collect() }
    }

    /// A state as bytes, after everything up to `applied` at least; counters of ids that `is_there` refuses are left out.
    pub fn to_bytes(&self, kept: &Kept, applied: u64, is_there: &dyn Fn(&str) -> bool) -> Vec<u8> {
        let Kept { state, events } = kept;
        let mut out = Lines(Vec::new());
        let (swept, forgotten) = (state.sets.swept(), state.profiles.forgotten());
        out.push(&Head { format: FORMAT, seq: state.seq.max(applied), swept, forgotten });
        for (name, profile) in state.profiles.iter() {
            for one in &profile.versions {
                let (version, at, document) = (one.version, one.created_at, one.text.clone());
                out.push(&Note::ProfileVersion { name: name.clone(), version, at, document });
            }
            out.push(&Note::ActiveProfile { name: name.clone(), version: profile.active });
        }
        for (name, &last) in state.profiles.gone() {
            out.push(&Note::NoProfile { name: name.clone(), last });
        }
        for (name, set) in state.sets.iter() {
            let mut ids: Vec<String> = set.ids().map(|id| id.to_string()).collect();
            ids.sort_unstable();
            out.push(&Note::Set { name: name.to_string(), ids, expires_at: set.expires_at, at: i64::MIN });
        }
        let numbers = state.numbers();
        let counted = (0..).zip(&numbers.ids).filter_map(|(number, id)| {
            let counts = state.counters.get(number).filter(|_| is_there(id))?;
            Some((id.to_string(), *counts))
        });
        let counted: Vec<_> = counted.collect();
        for some in counted.chunks(SOME) {
            out.push(&Note::Counts { counts: some.to_vec(), events: Vec::new() });
        }
        for some in events.chunks(SOME) {
            let events = some.iter().map(|key| print_key(*key)).collect();
            out.push(&Note::Counts { counts: Vec::new(), events });
        }
        let blake3 = blake3::hash(&out.0).to_string();
        out.push(&End { blake3 });
        out.0
    }

    /// Takes in what [`Register::to_bytes`] wrote.
    pub fn read(&self, bytes: &[u8]) -> Result<(), String> {
        let text = bytes.strip_suffix(b"\n").ok_or("it ends too soon")?;
        let last = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let (body, end) = text.split_at(last);
        let end: End = serde_json::from_slice(end).map_err(|error| format!("the last line: {error}"))?;
        if blake3::hash(body).to_string() != end.blake3 {
            return Err("the lines do not fit the hash in the last one".to_owned());
        }
        let mut lines = body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let head: Head = serde_json::from_slice(lines.next().ok_or("it is empty")?)
            .map_err(|error| format!("the first line: {error}"))?;
        if head.format != FORMAT {
            return Err(format!("format {}, this program reads {FORMAT}", head.format));
        }
        *self.seen() = Seen::default();
        let mut state = State::default();
        Arc::make_mut(&mut state.profiles).set_forgotten(head.forgotten);
        for line in lines {
            match serde_json::from_slice(line).map_err(|error| format!("a line: {error}"))? {
                Note::Counts { counts, events } if counts.is_empty() => {
                    self.seen().extend(events.iter().filter_map(|text| parse_key(text)));
                }
                note => state.take(note, self),
            }
        }
        state.sets.set_swept(head.swept);
        state.seq = head.seq;
        self.restore(state);
        Ok(())
    }
}

struct Lines(Vec<u8>);

impl Lines {
    /// Notes and numbers always become JSON.
    fn push(&mut self, line: &impl Serialize) {
        if serde_json::to_writer(&mut self.0, line).is_ok() {
            self.0.push(b'\n');
        }
    }
}
