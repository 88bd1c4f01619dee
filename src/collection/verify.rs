//! Slow verification of what is being served: every block of an index file read and compared with its checksum, at a
//! pace that searches do not notice. Damage ends in a typed failure of that collection, not in wrong answers for ever.
//!
//! Blocks are read from the file, not through the map, so a failing disk gives an error here and no signal. A block that could not
//! be read is not a damaged one: it is tried again at once, and the whole file later; meanwhile it is reported and searches go on.

use std::io::ErrorKind;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{Collection, IndexRef};
use crate::file::{BLOCK, FileError};
use crate::index::Index;

/// How often a block is read before it counts as unread, and the pause between.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);
/// Unread blocks that end a round: the disk fails.
const MOST_UNREAD: u64 = 16;
/// How long after a round that could not read all of it the file is read again.
const AGAIN: Duration = Duration::from_secs(60);

/// What the verification of one opened index has found: nothing yet, all well, or the first damage; and what it could not read.
#[derive(Debug, Default)]
pub(super) struct Verification {
    /// For good: all well, or the first damage.
    ended: OnceLock<Result<(), String>>,
    /// Of the last round.
    unread: Mutex<Option<Unread>>,
}

/// Blocks that could not be read.
#[derive(Debug, Clone)]
struct Unread {
    blocks: u64,
    /// What the first of them failed with.
    first: String,
    /// When the round ended.
    at: Instant,
}

/// How a round through the blocks ended.
#[derive(Debug)]
enum Round {
    Stopped,
    Sound,
    Damaged(FileError),
    Unread(Unread),
}

impl Verification {
    fn unread(&self) -> MutexGuard<'_, Option<Unread>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a round is due.
    fn is_due(&self) -> bool {
        self.ended.get().is_none() && self.unread().as_ref().is_none_or(|unread| unread.at.elapsed() >= AGAIN)
    }

    fn take(&self, round: Round) {
        let ended = match round {
            Round::Stopped => return,
            Round::Unread(unread) => {
                *self.unread() = Some(unread);
                return;
            }
            Round::Sound => Ok(()),
            Round::Damaged(error) => Err(error.to_string()),
        };
        *self.unread() = None;
        // Another thread may have come to the same result first.
        let _ = self.ended.set(ended);
    }
}

impl Collection {
    /// The damage that verification found in the file, if any. Such a collection is not to be searched.
    pub fn damage(&self) -> Option<String> {
        self.index().damage()
    }

    /// What the last verification could not read, if anything. It may be sound: it will be tried again.
    pub fn unread(&self) -> Option<String> {
        let index = self.index();
        let unread = index.0.verification.unread();
        unread
            .as_ref()
            .map(|Unread { blocks, first, .. }| format!("{blocks} could not be read, the first: {first}"))
    }

    /// Blocks of the file that the last verification could not read.
    pub(super) fn unread_blocks(&self) -> u64 {
        let index = self.index();
        let unread = index.0.verification.unread();
        unread.as_ref().map_or(0, |unread| unread.blocks)
    }

    /// Whether verification of the file has ended, well or not.
    pub fn is_verified(&self) -> bool {
        self.index().0.verification.ended.get().is_some()
    }

    /// Verifies the file at about `bytes_per_second`, unless that was done, or tried not long ago; gives up without a result when
    /// `stop` says.
    pub fn verify_slowly(&self, bytes_per_second: u64, stop: &dyn Fn() -> bool) {
        let pause = Duration::from_secs_f64(BLOCK as f64 / bytes_per_second.max(1) as f64);
        self.verify(&|| {
            std::thread::sleep(pause);
            stop()
        });
    }

    /// Verifies the file as fast as it is read; `stop` is asked after each block.
    pub(super) fn verify(&self, stop: &dyn Fn() -> bool) {
        let index = self.index();
        if index.0.verification.is_due() {
            index.0.verification.take(verify_index(&index, stop));
        }
    }
}

impl IndexRef {
    /// The damage that verification found in the file, if any.
    pub(super) fn damage(&self) -> Option<String> {
        self.0.verification.ended.get()?.as_ref().err().cloned()
    }
}

fn verify_index(index: &Index, stop: &dyn Fn() -> bool) -> Round {
    let file = index.file();
    match patiently(&|| file.checksums()) {
        Ok(checksums) => verify_blocks(file.blocks(), &|block| file.verify_block(block, &checksums), stop),
        Err(error) if is_unread(&error) => {
            Round::Unread(Unread { blocks: file.blocks(), first: error.to_string(), at: Instant::now() })
        }
        Err(error) => Round::Damaged(error),
    }
}

fn verify_blocks(
    blocks: u64,
    verify: &dyn Fn(u64) -> Result<(), FileError>,
    stop: &dyn Fn() -> bool,
) -> Round {
    let mut unread: Option<Unread> = None;
    for block in 0..blocks {
        match patiently(&|| verify(block)) {
            Ok(()) => {}
            Err(error) if is_unread(&error) => {
                let first = || Unread { blocks: 0, first: error.to_string(), at: Instant::now() };
                let unread = unread.get_or_insert_with(first);
                (unread.blocks, unread.at) = (unread.blocks + 1, Instant::now());
                if unread.blocks >= MOST_UNREAD {
                    break;
                }
            }
            Err(error) => return Round::Damaged(error),
        }
        if stop() {
            return Round::Stopped;
        }
    }
    unread.map_or(Round::Sound, Round::Unread)
}

/// Does it again, a few times, when something could not be read.
fn patiently<T>(read: &dyn Fn() -> Result<T, FileError>) -> Result<T, FileError> {
    for _ in 1..TRIES {
        match read() {
            Err(error) if is_unread(&error) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    read()
}

/// Whether the disk gave no bytes, rather than wrong ones. A file that ends too soon is damaged.
fn is_unread(error: &FileError) -> bool {
    matches!(error, FileError::Io { source, .. } if source.kind() != ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::arena::Mode;
    use crate::collection::{Catalogue, CollectionName, publish};
    use crate::index::{BuildOptions, IndexBuilder, Schema};
    use crate::vector::{Element, Metric};

    #[test]
    fn damage_under_a_served_index_is_found_and_named_and_a_stop_ends_early() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("new.slx");
        let options = BuildOptions {
            schema: Schema::new(2, Metric::L2),
            rows: 1,
            threads: 1,
            seed: 0,
            covers: 0,
            collection: None,
            lineage: serde_json::Value::Null,
            now: 0,
        };
        let mut builder = IndexBuilder::new(options).expect("options");
        builder.push_rows(Element::F32, &[0; 8]).expect("row");
        builder.finish(&file, &|_, _, _| ()).expect("build");
        let name: CollectionName = "shop".parse().expect("name");
        publish(directory.path(), &name, &file).expect("publish");
        let catalogue = Catalogue::open(directory.path(), Mode::Mapped).expect("open");
        let collection = catalogue.get("shop").expect("there");
        collection.verify_slowly(1 << 40, &|| true);
        assert!(!collection.is_verified(), "stopped after one block");
        let path = directory.path().join("shop").join(&collection.manifest().file);
        let mut permissions = std::fs::metadata(&path).expect("metadata").permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        std::fs::set_permissions(&path, permissions).expect("published files are read-only");
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("open");
        file.write_all_at(b"!", 3 * BLOCK + 5).expect("write");
        collection.verify_slowly(1 << 40, &|| false);
        let damage = collection.damage().expect("found");
        assert!(damage.contains(&format!("damaged at offset {}", 3 * BLOCK)), "{damage}");
    }

    fn eio() -> FileError {
        FileError::io("reading")(io::Error::from_raw_os_error(5))
    }

    #[test]
    fn what_is_read_at_the_second_try_is_sound() {
        let failures = Cell::new(2);
        let once = |block: u64| {
            if block != 3 || failures.get() == 0 {
                return Ok(());
            }
            failures.set(failures.get() - 1);
            Err(eio())
        };
        assert!(matches!(verify_blocks(6, &once, &|| false), Round::Sound));
    }

    #[test]
    fn what_cannot_be_read_is_told_is_no_damage_and_is_tried_again() {
        let found = Verification::default();
        let bad = |block: u64| if block == 1 || block == 4 { Err(eio()) } else { Ok(()) };
        found.take(verify_blocks(6, &bad, &|| false));
        assert_eq!(found.unread().as_ref().map(|unread| unread.blocks), Some(2));
        assert!(found.ended.get().is_none() && !found.is_due(), "not at once");
        if let Some(unread) = &mut *found.unread() {
            unread.at -= AGAIN;
        }
        assert!(found.is_due());
        found.take(verify_blocks(6, &|_| Ok(()), &|| false));
        assert!(found.unread().is_none() && found.ended.get() == Some(&Ok(())), "it was sound");
        let reads = Cell::new(0);
        let dead = |_| {
            reads.set(reads.get() + 1);
            Err(eio())
        };
        let ended = verify_blocks(1_000, &dead, &|| false);
        assert!(matches!(ended, Round::Unread(Unread { blocks: MOST_UNREAD, .. })), "a dead disk: {ended:?}");
        assert_eq!(reads.get(), MOST_UNREAD * TRIES as u64);
    }

    #[test]
    fn wrong_bytes_are_damage_also_beside_unread_ones_and_in_a_cut_file() {
        let bad = |block: u64| match block {
            1 => Err(eio()),
            4 => Err(FileError::damaged(4, "wrong")),
            _ => Ok(()),
        };
        assert!(matches!(verify_blocks(6, &bad, &|| false), Round::Damaged(_)));
        let cut = |_| Err(FileError::io("reading")(io::Error::from(ErrorKind::UnexpectedEof)));
        assert!(matches!(verify_blocks(6, &cut, &|| false), Round::Damaged(_)));
    }
}
