//! Recording searches, to try profiles on them later (`shortlist profile try`). Off unless asked for.
//!
//! A share of the searches that were answered is appended to `DIR/<collection>.jsonl`, the body of one a line, as it was sent:
//! with its vectors, excluded ids and context. Such a file is as private as the requests are; only its owner may read
//! it. A file that has reached its size takes no more.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// What is recorded, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordSettings {
    /// A directory; it is made when it is not there.
    pub directory: PathBuf,
    /// Share of the searches, 0 to 1.
    pub share: f64,
    /// Bytes of one collection's file, at most.
    pub max_bytes: u64,
}

/// Appends requests to files.
#[derive(Debug)]
pub(super) struct Recorder {
    settings: RecordSettings,
    asked: AtomicU64,
    files: Mutex<HashMap<String, Recording>>,
}

#[derive(Debug)]
struct Recording {
    file: File,
    bytes: u64,
    is_full: bool,
}

impl Recorder {
    /// Makes the directory.
    pub fn new(settings: RecordSettings) -> io::Result<Recorder> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&settings.directory)?;
        Ok(Recorder { settings, asked: AtomicU64::new(0), files: Mutex::default() })
    }

    /// Whether the search that is being answered is one of the share. They are spread, not every so many.
    pub fn wants(&self) -> bool {
        let asked = self.asked.fetch_add(1, Relaxed);
        let spread = xxhash_rust::xxh3::xxh3_64(&asked.to_le_bytes());
        ((spread >> 11) as f64) < self.settings.share * (1u64 << 53) as f64
    }

    /// Appends a request. What cannot be written is told once a file, and costs no search anything.
    pub fn record(&self, collection: &str, request: &Value) {
        if request["cursor"].as_str().is_some_and(|cursor| cursor != "start") {
            // A page of a list that nobody will have kept.
            return;
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let recording = match files.get_mut(collection) {
            Some(recording) => recording,
            None => match self.open(collection) {
                Ok(recording) => files.entry(collection.to_owned()).or_insert(recording),
                Err(error) => return tracing::warn!(collection, "searches cannot be recorded: {error}"),
            },
        };
        let mut line = request.to_string();
        line.push('\n');
        if recording.is_full {
            return;
        }
        let bytes = recording.bytes + line.len() as u64;
        let written = match bytes > self.settings.max_bytes {
            true => Err(io::Error::other(format!("the file has reached {} bytes", self.settings.max_bytes))),
            false => recording.file.write_all(line.as_bytes()),
        };
        match written {
            Ok(()) => recording.bytes = bytes,
            Err(error) => {
                recording.is_full = true;
                tracing::warn!(collection, "no more searches are recorded: {error}");
            }
        }
    }

    /// Collections' names are names of files.
    fn open(&self, collection: &str) -> io::Result<Recording> {
        let path = self.settings.directory.join(format!("{collection}.jsonl"));
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Recording { file, bytes, is_full: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    fn recorder(directory: &std::path::Path, share: f64, max_bytes: u64) -> Recorder {
        let directory = directory.join("records");
        Recorder::new(RecordSettings { directory, share, max_bytes }).unwrap()
    }

    #[test]
    fn a_share_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        for (share, least, most) in [(0.0, 0, 0), (1.0, 10_000, 10_000), (0.01, 60, 150)] {
            let recorder = recorder(dir.path(), share, 0);
            let wanted = (0..10_000).filter(|_| recorder.wants()).count();
            assert!((least..=most).contains(&wanted), "{wanted} at {share}");
        }
    }

    #[test]
    fn files_are_private_appended_to_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let request = json!({"query": {"item": "line\nbreak"}});
        let line = request.to_string().len() as u64 + 1;
        for _ in 0..2 {
            let recorder = recorder(dir.path(), 1.0, 3 * line);
            (0..2).for_each(|_| recorder.record("shop", &request));
        }
        let path = dir.path().join("records/shop.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, vec![request; 3]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
