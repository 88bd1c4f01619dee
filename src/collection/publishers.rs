//! The lock of a collection's publishers: whoever changes what the manifest names, or deletes the collection, holds it.
//!
//! Two publishers of one collection go one after the other: neither removes what the other is about to name. Nor is the collection
//! deleted meanwhile, and another made in its place. The lock is the kernel's, on `publish.lock`, so a publisher that dies gives it
//! up. One that hangs does not: who waits says so in the log, and a server waits no longer than `PATIENCE`, so that it can still stop.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::CatalogueError;

const LOCK: &str = "publish.lock";
/// A server's requests, reloads and checkpoints wait for another publisher no longer than this; they can be tried again.
pub(super) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How often is looked whether the lock is free.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Time from the beginning, and from one line of the log to the next.
const FIRST_LINE: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Waits as long as a server may.
pub(super) fn publisher_lock(directory: &Path) -> Result<File, CatalogueError> {
    publisher_lock_while(directory, &|waited| waited < PATIENCE)
}

/// Waits as long as `goes_on` says, which is told how long that was.
pub(super) fn publisher_lock_while(
    directory: &Path,
    goes_on: &dyn Fn(Duration) -> bool,
) -> Result<File, CatalogueError> {
    let path = directory.join(LOCK);
    let failed = |error| CatalogueError::io("lock", &path, error);
    let (began, mut line) = (Instant::now(), FIRST_LINE);
    loop {
        if let Some(file) = try_lock(&path).map_err(failed)? {
            return Ok(file);
        }
        let waited = began.elapsed();
        if !goes_on(waited) {
            return Err(CatalogueError::Publishing { path, waited });
        }
        if waited >= line {
            tracing::warn!(path = %path.display(), seconds = waited.as_secs(), "waits for another publisher of the collection");
            line = waited + LINE_EVERY;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The lock, if nobody has it and the directory is still the collection's: it may have been deleted while somebody waited.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(fs::metadata(path).is_ok_and(|now| is_same(&now, &file)).then_some(file)),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_same(one: &fs::Metadata, file: &File) -> bool {
    file.metadata().is_ok_and(|other| (one.dev(), one.ino()) == (other.dev(), other.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_to_publish_into_what_is_deleted_publishes_into_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("shop");
        fs::create_dir(&home).unwrap();
        let deleting = publisher_lock(&home).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                // There may be no such directory for a moment.
                loop {
                    if let Ok(lock) = publisher_lock(&home) {
                        return lock;
                    }
                }
            });
            fs::rename(&home, dir.path().join(".deleted")).unwrap();
            fs::create_dir(&home).unwrap();
            let other = publisher_lock(&home).unwrap();
            drop(deleting);
            // Of the collection that has that name now.
            drop(other);
            assert!(is_same(&fs::metadata(home.join(LOCK)).unwrap(), &waiting.join().unwrap()));
        });
    }

    #[test]
    fn nobody_waits_for_a_publisher_that_hangs_for_longer_than_he_wants() {
        let dir = tempfile::tempdir().unwrap();
        let hung = publisher_lock(dir.path()).unwrap();
        let error = publisher_lock_while(dir.path(), &|_| false).unwrap_err();
        assert!(matches!(error, CatalogueError::Publishing { .. }), "{error}");
        assert!(error.to_string().contains("publish.lock"), "{error}");
        drop(hung);
        assert!(publisher_lock_while(dir.path(), &|_| false).is_ok());
    }
}
