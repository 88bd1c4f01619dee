//! Idempotency keys: a write that is sent again under its key is not made again, but answered as it was the first time.
//!
//! The answer is a note in the record of the write itself (see `index::Note`), so that it is there exactly when the write
//! is: after a crash, a checkpoint, or a sync whose outcome nobody was told. The committer takes writes one after the
//! other, so a repetition that comes while the first is under way waits for it.

use serde::{Deserialize, Serialize};

use super::served::WriteSettings;
use super::write::{WriteError, Written};
use crate::index::{Index, Note};

/// The shelf of the notes.
pub(super) const ANSWERS: u8 = 1;
/// Longest key, in bytes.
const MAX_KEY: usize = 255;

/// The key of a write, and what the write says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnceKey {
    /// Hash of the key.
    pub(super) key: String,
    /// Hash of the request.
    request: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    request: String,
    written: Written,
}

impl OnceKey {
    /// Of a key of 1 to 255 bytes, and what tells its request from others: the call and the body.
    pub fn new(key: &[u8], call: &str, body: &[u8]) -> Result<OnceKey, WriteError> {
        if !(1..=MAX_KEY).contains(&key.len()) {
            let reason = format!("the idempotency key has {} bytes, allowed is 1 to {MAX_KEY}", key.len());
            return Err(WriteError::Invalid { pointer: String::new(), reason });
        }
        let mut request = blake3::Hasher::new();
        request.update(&(call.len() as u64).to_le_bytes()).update(call.as_bytes()).update(body);
        Ok(OnceKey {
            key: blake3::hash(key).to_hex().to_string(),
            request: request.finalize().to_hex().to_string(),
        })
    }

    /// What is written down with the write: its sequence number is that of the record.
    pub(super) fn note(&self, written: &Written, now: i64) -> Note {
        let answer = Answer { request: self.request.clone(), written: written.clone() };
        let value = serde_json::to_string(&answer).unwrap_or_default();
        Note { shelf: ANSWERS, key: self.key.clone(), value: Some(value), at: now }
    }

    /// What became of the write, if it was made within the window.
    pub(super) fn answered(
        &self,
        index: &Index,
        settings: &WriteSettings,
        now: i64,
    ) -> Option<Result<Written, WriteError>> {
        let noted = index.note(ANSWERS, &self.key).filter(|noted| noted.at >= since(settings, now))?;
        let answer: Answer = serde_json::from_str(&noted.value).ok()?;
        if answer.request != self.request {
            return Some(Err(WriteError::KeyReused));
        }
        Some(Ok(Written { seq: noted.seq, replayed: true, ..answer.written }))
    }
}

/// Since when answers count.
pub(super) fn since(settings: &WriteSettings, now: i64) -> i64 {
    let window = i64::try_from(settings.idempotency_window.as_millis()).unwrap_or(i64::MAX);
    now.saturating_sub(window)
}
