//! What an index file keeps beside its items, put aside: a build from an export, which has none of it, takes its place.
//!
//! `state.lines` are profiles, exclude sets and counters, as the file's section has them (see `state::file`). `notes.lines`
//! are its notes, the answers under idempotency keys: a line of JSON, and a line with its blake3. Both stay until a checkpoint
//! has what is in them, and the log's records since with them. The state is written last and removed last: it stands for both.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::CatalogueError;
use crate::arena::Mode;
use crate::file::{FileError, write_atomically};
use crate::index::{Index, IndexError};

const STATE: &str = "state.lines";
const NOTES: &str = "notes.lines";

/// Puts aside what an index file of a collection's directory has; one that has nothing leaves what is there.
pub(super) fn keep(directory: &Path, file: &str) -> Result<(), CatalogueError> {
    let (notes, state) = match kept(&directory.join(file)) {
        Ok(kept) => kept,
        // What is damaged must not keep a sound file from taking its place. What only this program or this moment cannot read must.
        Err(error) if is_damage(&error) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if let Some(notes) = notes {
        let hash = blake3::hash(&notes).to_hex();
        write(&directory.join(NOTES), &[&notes, b"\n", hash.as_bytes(), b"\n"])?;
    }
    state.map_or(Ok(()), |state| write(&directory.join(STATE), &[&state]))
}

type Kept = (Option<Vec<u8>>, Option<Vec<u8>>);

fn kept(path: &Path) -> Result<Kept, IndexError> {
    let index = Index::open(path, Mode::Mapped)?;
    let failed = |source| IndexError::File { file: path.display().to_string(), source };
    Ok((index.notes().map_err(failed)?, index.state().map_err(failed)?))
}

fn is_damage(error: &IndexError) -> bool {
    error.is_of_contents() && !matches!(error, IndexError::File { source: FileError::Unsupported { .. }, .. })
}

fn write(path: &Path, parts: &[&[u8]]) -> Result<(), CatalogueError> {
    let written = write_atomically(path, |out| {
        parts.iter().try_for_each(|part| out.write_all(part)).map_err(FileError::io("writing what is aside"))
    });
    written.map_err(|source| CatalogueError::Checkpoint { path: path.to_owned(), source })
}

/// Whether something is aside.
pub(super) fn is_there(directory: &Path) -> bool {
    directory.join(STATE).exists()
}

/// The state that is aside.
pub(super) fn state(directory: &Path) -> Result<Option<Vec<u8>>, CatalogueError> {
    read(&directory.join(STATE))
}

/// The notes that are aside, as a file's section has them.
pub(super) fn notes(directory: &Path) -> Result<Option<Vec<u8>>, CatalogueError> {
    let path = directory.join(NOTES);
    let Some(mut bytes) = read(&path)? else { return Ok(None) };
    let body = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let end = format!("\n{}\n", blake3::hash(&bytes[..body]).to_hex());
    if bytes[body..] != *end.as_bytes() {
        let reason = "its first line does not fit the hash in the second".to_owned();
        return Err(CatalogueError::Manifest { path, reason });
    }
    bytes.truncate(body);
    Ok(Some(bytes))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CatalogueError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CatalogueError::io("read", path, error)),
    }
}

/// Removes what is aside: a checkpoint has it.
pub(super) fn remove(directory: &Path) -> Result<(), CatalogueError> {
    for name in [NOTES, STATE] {
        let path = directory.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CatalogueError::io("remove", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_of_the_notes_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(notes(directory.path()).unwrap(), None);
        let path = directory.path().join(NOTES);
        let text = br#"{"1":{}}"#;
        let hash = blake3::hash(text).to_hex();
        write(&path, &[text, b"\n", hash.as_bytes(), b"\n"]).unwrap();
        assert_eq!(notes(directory.path()).unwrap().as_deref(), Some(&text[..]));
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let error = notes(directory.path()).unwrap_err().to_string();
            assert!(error.contains(NOTES), "{at}: {error}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(notes(directory.path()).is_err(), "cut at {at}");
        }
        remove(directory.path()).unwrap();
        assert_eq!(notes(directory.path()).unwrap(), None);
    }

    #[test]
    fn what_is_damaged_gives_way_and_what_this_program_does_not_know_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/version-1-unknown-required.slx");
        fs::copy(fixture, directory.path().join("later.slx")).unwrap();
        let error = keep(directory.path(), "later.slx").unwrap_err();
        assert!(error.to_string().contains("not supported"), "{error}");
        fs::write(directory.path().join("damaged.slx"), [7; 5_000]).unwrap();
        keep(directory.path(), "damaged.slx").unwrap();
        keep(directory.path(), "gone.slx").unwrap();
    }
}
