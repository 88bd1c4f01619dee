//! The side file of recent queries, and warming an index by them.
//!
//! `recent-queries.bin` beside the index file, rewritten with each checkpoint and when the server stops. Little-endian:
//! magic `SHRTRCQ1`, u32 dimension, u32 count (at most 200), count x dimension f32, u32 crc32c of all before. A file that is
//! damaged or of another dimension is passed over: it only ever decides which pages are read first.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::index::{Index, SearchParams};

const FILE: &str = "recent-queries.bin";
const MAGIC: &[u8; 8] = b"SHRTRCQ1";
const HEADER: usize = 16;
/// Results of a search that warms.
const K: usize = 100;

/// Replaces the file; a crash leaves the old one or the new one.
pub(super) fn store(directory: &Path, queries: &[Vec<f32>]) -> io::Result<()> {
    let Some(first) = queries.first() else { return Ok(()) };
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(first.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(queries.len() as u32).to_le_bytes());
    queries.iter().flatten().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let temporary = directory.join("recent-queries.bin.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, directory.join(FILE))
}

/// Reads the file; nothing when there is none. The error says what is wrong with it.
pub(super) fn load(directory: &Path, dimension: usize) -> Result<Vec<Vec<f32>>, String> {
    let most = HEADER + Index::RECENT_QUERIES * dimension * 4 + 4;
    let mut bytes = Vec::new();
    match File::open(directory.join(FILE)) {
        Ok(file) => file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err("its checksum does not fit".to_owned());
    }
    let (header, rows) = body.split_at_checked(HEADER).ok_or("it is too short")?;
    let word =
        |at: usize| header[at..at + 4].iter().rev().fold(0usize, |all, &byte| all << 8 | usize::from(byte));
    let (found, count) = (word(8), word(12));
    if header[..8] != MAGIC[..] || found != dimension || rows.len() != count.saturating_mul(dimension * 4) {
        return Err(format!(
            "{count} queries of dimension {found} in {} bytes, the dimension is {dimension}",
            bytes.len()
        ));
    }
    let numbers: Vec<f32> = rows.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(numbers.chunks_exact(dimension).map(<[f32]>::to_vec).collect())
}

/// Searches by these vectors, without any by those of the index's own items, until `step` says that it is enough; the index
/// remembers them as its own last queries.
pub(super) fn warm(index: &Index, queries: &[Vec<f32>], step: &dyn Fn() -> bool) {
    let items = index.items();
    let own = if queries.is_empty() { items.min(Index::RECENT_QUERIES as u32) } else { 0 };
    let own = (0..own).map(|at| {
        let mut vector = Vec::new();
        index.vector((u64::from(items) * u64::from(at) / u64::from(own)) as u32, &mut vector);
        vector
    });
    let k = K.min(index.schema().default_ef);
    let params = SearchParams { k, ef: index.schema().default_ef, allowed: None, exact: false };
    for vector in queries.iter().cloned().chain(own) {
        // A vector that cannot be searched by warms nothing, and harms nothing.
        let _ = index.query(&vector).and_then(|query| index.search(&query, &params));
        if !step() {
            return;
        }
    }
}

/// Searches that warming takes.
pub(super) fn steps(index: &Index, queries: &[Vec<f32>]) -> u64 {
    if queries.is_empty() {
        index.items().min(Index::RECENT_QUERIES as u32).into()
    } else {
        queries.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_survive_the_round_trip_and_damage_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let queries = vec![vec![1.0, -2.5, 0.0], vec![f32::MIN_POSITIVE, 3.0, 4.0]];
        assert_eq!(load(directory.path(), 3), Ok(Vec::new()));
        store(directory.path(), &queries).unwrap();
        assert_eq!(load(directory.path(), 3), Ok(queries));
        assert!(load(directory.path(), 2).unwrap_err().contains("dimension 3"));
        let path = directory.path().join(FILE);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            fs::write(&path, &bytes).unwrap();
            assert!(load(directory.path(), 3).is_err(), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(load(directory.path(), 3).is_err(), "cut at {at}");
        }
    }
}
