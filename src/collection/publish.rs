//! Putting an index file into a data directory, and the manifest that names it.
//!
//! `DIR/<name>/manifest.json` names the current file beside it. Order matters: the file is complete, read-only and
//! synced under its final name before a manifest names it; the manifest is replaced by rename and the directory
//! synced; only then are files removed that no manifest names. So a crash at any point leaves the old state or the
//! new one, and at most a stray file that the next publish removes.
//!
//! What a publisher checked may not hold any more when a server takes the file up: writes go on meanwhile. So the manifest of what is
//! published also names what was there before, whose file stays until a server has opened the new one with all that the log has.
//! Where that fails, what was there before is put back (see `catalogue`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::publishers::publisher_lock_while;
use super::{CatalogueError, CollectionName, aside, now_millis};
use crate::arena::Mode;
use crate::attributes::{AttributeSpec, format_time};
use crate::index::{Index, Schema};
use crate::log::{Disk, Hash, differ, first_record, hash_of_record, last_record};

const MANIFEST: &str = "manifest.json";
/// Bytes of `index-<uuid>.slx`.
const INDEX_FILE_LEN: usize = 46;

/// Names the current index file of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this document.
    pub format: u32,
    /// The index file, beside the manifest: `index-<uuid>.slx`.
    pub file: String,
    /// When it was published, RFC 3339.
    pub published_at: String,
    /// UUID of the collection: kept from one published file to the next.
    pub collection: String,
    /// Sequence number of the log that the file covers.
    #[serde(default)]
    pub covers: u64,
    /// What answered before, as long as no server has taken up `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Manifest>>,
}

impl Manifest {
    /// The version this program writes and reads.
    pub const FORMAT: u32 = 1;

    /// Reads and checks the manifest in a collection's directory; `None` when there is none.
    pub fn read(directory: &Path) -> Result<Option<Manifest>, CatalogueError> {
        let path = directory.join(MANIFEST);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CatalogueError::io("read", &path, error)),
        };
        let wrong = |reason: String| CatalogueError::Manifest { path: path.clone(), reason };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if manifest.format != Self::FORMAT {
            return Err(wrong(format!("format is {}, this program reads {}", manifest.format, Self::FORMAT)));
        }
        if let Some(file) = manifest.files().find(|file| !is_index_file(file)) {
            return Err(wrong(format!("file is {file:?}, not index-<uuid>.slx")));
        }
        Ok(Some(manifest))
    }

    /// The index files that it names.
    fn files(&self) -> impl Iterator<Item = &str> {
        [Some(self), self.before.as_deref()].into_iter().flatten().map(|manifest| manifest.file.as_str())
    }

    /// What its files cover of the log, whichever is opened.
    pub fn surely_covers(&self) -> u64 {
        self.before.as_ref().map_or(self.covers, |before| before.covers.min(self.covers))
    }

    /// The same when a server has taken up its file.
    pub(super) fn settled(&self) -> Manifest {
        Manifest { before: None, ..self.clone() }
    }

    /// Replaces the manifest of a directory: a crash leaves the old one or the new one.
    pub(super) fn write(&self, directory: &Path) -> Result<(), CatalogueError> {
        let temporary = directory.join("manifest.json.tmp");
        let write = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            serde_json::to_writer(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&temporary, directory.join(MANIFEST))?;
            sync_directory(directory)
        };
        write().map_err(|error| CatalogueError::io("write", &directory.join(MANIFEST), error))
    }
}

/// Makes `index_file` the current index of collection `name` in the data directory `dir`. The file is opened first,
/// so that what cannot be served is never published, and moved: it no longer exists at its old place.
///
/// A collection that was written to has a log, which belongs to it alone: a file of another collection is refused, and so is
/// one from before its schema was changed.
pub fn publish(dir: &Path, name: &CollectionName, index_file: &Path) -> Result<Manifest, CatalogueError> {
    let index = Index::open(index_file, Mode::Mapped)?;
    let facts = index.file().header().facts.clone();
    drop(index);
    install(dir, name, index_file, Uuid::from_bytes(facts.collection), (facts.covers, facts.covers_hash))
}

/// Refuses a file from before the log begins: the records between them are in the current file alone. And one from after it
/// ends: the next write would get a sequence number that the file has already. And one that goes on from another record than the log has.
fn check_covers(directory: &Path, current: &Manifest, covers: u64, hash: Hash) -> Result<(), CatalogueError> {
    if !has_log(directory) {
        return Ok(());
    }
    let log = directory.join("log");
    let failed = |source| CatalogueError::Log { directory: log.clone(), source };
    // A log without records goes on from the current file.
    let first = first_record(&Disk::new(&log)).map_err(failed)?.unwrap_or(current.covers + 1);
    let last = last_record(&Disk::new(&log)).map_err(failed)?.unwrap_or(current.covers);
    if covers > last {
        let reason =
            format!("the log ends with record {last}, the file says that it covers it up to {covers}");
        return Err(CatalogueError::Manifest { path: directory.to_owned(), reason });
    }
    let found = hash_of_record(&Disk::new(&log), covers).map_err(failed)?;
    if found.is_some_and(|found| differ(found, hash)) {
        let reason = format!(
            "record {covers} of the log is not the one that the file goes on from: the log was truncated since, or the file is of a \
             collection that began with an export of this one; export again"
        );
        return Err(CatalogueError::Manifest { path: directory.to_owned(), reason });
    }
    if covers + 1 < first {
        let reason = format!(
            "the log begins with record {first}, the file covers it up to {covers} only: export again, newer"
        );
        return Err(CatalogueError::Manifest { path: directory.to_owned(), reason });
    }
    Ok(())
}

/// Refuses a file that lacks an attribute of the collection, has it with another type, or vectors of another tower: it was
/// exported before the schema changed, and what was written since could not be applied to it. Nor could it to vectors of another
/// kind, which are refused as soon as anything was written.
fn check_schema(directory: &Path, current: &str, file: &Path, covers: u64) -> Result<(), CatalogueError> {
    if !has_log(directory) {
        return Ok(());
    }
    // What cannot be read any more must not keep a sound file from taking its place.
    let Ok(current) = Index::open(&directory.join(current), Mode::Mapped) else { return Ok(()) };
    let new = Index::open(file, Mode::Mapped)?;
    let (current, new) = (current.schema(), new.schema());
    let differs = |(name, spec): (&str, &AttributeSpec)| match new.attributes.find(name) {
        Some((_, other)) if other.kind == spec.kind => None,
        Some((_, other)) => Some(format!("attribute {name:?} is {}, in the file {}", spec.kind, other.kind)),
        None => Some(format!("the file lacks attribute {name:?} ({})", spec.kind)),
    };
    let tower = || {
        let named = current.embedding.as_ref().filter(|name| Some(*name) != new.embedding.as_ref())?;
        Some(format!(
            "its vectors come from {named:?}, the file's from {:?}",
            new.embedding.as_deref().unwrap_or("")
        ))
    };
    let log = directory.join("log");
    let failed = |source| CatalogueError::Log { directory: log.clone(), source };
    let goes_on = last_record(&Disk::new(&log)).map_err(failed)?.is_some_and(|last| last > covers);
    let vectors = || {
        let of = |schema: &Schema| (schema.dimension, schema.metric, schema.element);
        let ((d, metric, element), (other_d, other_metric, other_element)) = (of(current), of(new));
        let told = format!(
            "vectors are {d} x {element}, {metric}, in the file {other_d} x {other_element}, {other_metric}"
        );
        (goes_on && of(current) != of(new)).then_some(told)
    };
    match vectors().or_else(|| current.attributes.iter().find_map(differs)).or_else(tower) {
        None => Ok(()),
        Some(reason) => {
            let reason = format!("{reason}: the schema has changed since the export, export again");
            Err(CatalogueError::Manifest { path: directory.to_owned(), reason })
        }
    }
}

/// Whether a collection was written to: it has a log.
fn has_log(directory: &Path) -> bool {
    directory.join("log").is_dir()
}

/// Puts a checked file into place; `collection` is the UUID of a collection that had no file before.
pub(super) fn install(
    dir: &Path,
    name: &CollectionName,
    index_file: &Path,
    collection: Uuid,
    (covers, hash): (u64, Hash),
) -> Result<Manifest, CatalogueError> {
    let (directory, _lock) = enter(dir, name)?;

    let current = Manifest::read(&directory)?;
    if let Some(current) = &current {
        aside::keep(&directory, &current.file)?;
    }
    let collection = match &current {
        Some(current) if has_log(&directory) && current.collection != collection.to_string() => {
            let reason = format!(
                "was written to: its log belongs to collection {}, the file to {collection}; a build from an export takes \
                 over with `--collection-uuid {} --covers SEQ`, or delete the collection first",
                current.collection, current.collection
            );
            return Err(CatalogueError::Manifest { path: directory, reason });
        }
        Some(current) => {
            check_covers(&directory, current, covers, hash)?;
            check_schema(&directory, &current.file, index_file, covers)?;
            current.collection.clone()
        }
        None => collection.to_string(),
    };
    // Of several that no server has taken up, none is what answered before.
    let before = current.map(|current| current.before.clone().unwrap_or_else(|| Box::new(current)));
    put_in_place(&directory, index_file, collection, covers, before)
}

/// As `install`, of a collection that is not there yet; one that is, is left alone, and the answer is false. `make` is told the
/// collection's directory and gives the file.
pub(super) fn install_new(
    dir: &Path,
    name: &CollectionName,
    collection: Uuid,
    covers: u64,
    make: impl FnOnce(&Path) -> Result<PathBuf, CatalogueError>,
) -> Result<bool, CatalogueError> {
    let (directory, _lock) = enter(dir, name)?;
    if Manifest::read(&directory)?.is_some() {
        return Ok(false);
    }
    if has_log(&directory) {
        let reason = "there is a log, and no manifest".to_owned();
        return Err(CatalogueError::Manifest { path: directory, reason });
    }
    let file = make(&directory)?;
    put_in_place(&directory, &file, collection.to_string(), covers, None)?;
    Ok(true)
}

/// The directory of a collection, made if it is not there, and the lock of its publishers, waited for as long as it takes.
fn enter(dir: &Path, name: &CollectionName) -> Result<(PathBuf, File), CatalogueError> {
    let directory = dir.join(name.as_str());
    fs::create_dir_all(&directory).map_err(|error| CatalogueError::io("create", &directory, error))?;
    sync_directory(dir).map_err(|error| CatalogueError::io("sync", dir, error))?;
    let lock = publisher_lock_while(&directory, &|_| true)?;
    Ok((directory, lock))
}

/// Withdraws a publication that no server has taken up if what was there before covers more of the log; the file that is withdrawn.
/// For who is about to give up records of the log: that one has them, and would go when the other is opened.
pub fn withdraw(directory: &Path) -> Result<Option<String>, CatalogueError> {
    let Some(before) = Manifest::read(directory)?.and_then(|manifest| manifest.before) else {
        return Ok(None);
    };
    let _publisher = publisher_lock_while(directory, &|_| true)?;
    match Manifest::read(directory)? {
        Some(now) if now.before.as_ref() == Some(&before) && before.covers > now.covers => {
            before.write(directory)?;
            remove_strays(directory, &before)?;
            Ok(Some(now.file))
        }
        _ => Ok(None),
    }
}

fn put_in_place(
    directory: &Path,
    index_file: &Path,
    collection: String,
    covers: u64,
    before: Option<Box<Manifest>>,
) -> Result<Manifest, CatalogueError> {
    let file = format!("index-{}.slx", Uuid::new_v4());
    move_file(index_file, &directory.join(&file))?;
    let published_at = format_time(now_millis());
    let manifest = Manifest { format: Manifest::FORMAT, file, published_at, collection, covers, before };
    if let Err(error) = manifest.write(directory) {
        // Nobody would ever remove it from a collection that is not there yet; and where it came from it can be published again.
        if Manifest::read(directory).is_ok_and(|now| now.as_ref() != Some(&manifest)) {
            let _ = fs::rename(directory.join(&manifest.file), index_file);
        }
        return Err(error);
    }
    remove_strays(directory, &manifest)?;
    Ok(manifest)
}

/// Moves a file, read-only and synced, by rename; by copy from another file system.
fn move_file(from: &Path, to: &Path) -> Result<(), CatalogueError> {
    seal(from).map_err(|error| CatalogueError::io("sync", from, error))?;
    match fs::rename(from, to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy(from, to).map_err(|error| CatalogueError::io("copy to", to, error))?;
            fs::remove_file(from).map_err(|error| CatalogueError::io("remove", from, error))?;
        }
        Err(error) => return Err(CatalogueError::io("move to", to, error)),
    }
    let directory = to.parent().unwrap_or(Path::new("."));
    sync_directory(directory).map_err(|error| CatalogueError::io("sync", directory, error))
}

pub(super) fn seal(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o444))?;
    file.sync_all()
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let temporary = to.with_extension("slx.tmp");
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    io::copy(&mut File::open(from)?, &mut out)?;
    drop(out);
    seal(&temporary)?;
    fs::rename(&temporary, to)
}

pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes index files and temporary files that `current` does not name; anything else in the directory is not ours.
pub(super) fn remove_strays(directory: &Path, current: &Manifest) -> Result<(), CatalogueError> {
    let failed = |path: &Path, error| CatalogueError::io("clean up", path, error);
    for entry in fs::read_dir(directory).map_err(|error| failed(directory, error))? {
        let entry = entry.map_err(|error| failed(directory, error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let ours = is_index_file(&name) || name.strip_suffix(".tmp").is_some_and(is_ours_when_finished);
        if ours && !current.files().any(|file| file == name) {
            let path: PathBuf = entry.path();
            fs::remove_file(&path).map_err(|error| failed(&path, error))?;
        }
    }
    Ok(())
}

/// `manifest.json`, or an index file's name, with what a writer puts behind it to have a name of its own.
fn is_ours_when_finished(name: &str) -> bool {
    name == MANIFEST || name.get(..INDEX_FILE_LEN).is_some_and(is_index_file)
}

fn is_index_file(name: &str) -> bool {
    let uuid = name.strip_prefix("index-").and_then(|rest| rest.strip_suffix(".slx"));
    uuid.is_some_and(|uuid| uuid.len() == 36 && Uuid::try_parse(uuid).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_second_file_replaces_the_first_and_strays_go() {
        let dir = tempfile::tempdir().unwrap();
        let name: CollectionName = "shop".parse().unwrap();
        let source = dir.path().join("built.slx");
        fs::write(&source, "one").unwrap();
        let first = install(dir.path(), &name, &source, Uuid::new_v4(), (0, [0; 32])).unwrap();
        assert!(!source.exists(), "moved");

        let home = dir.path().join("shop");
        fs::write(home.join("notes.txt"), "not ours").unwrap();
        fs::write(home.join("manifest.json.tmp"), "left by a crash").unwrap();
        fs::write(home.join(format!("index-{}.slx.tmp", Uuid::new_v4())), "left by a crash").unwrap();
        fs::write(home.join(format!("index-{}.slx", Uuid::new_v4())), "left by a crash").unwrap();
        let unfinished = format!("index-{}.slx.{}.tmp", Uuid::new_v4(), Uuid::new_v4());
        fs::write(home.join(unfinished), "left by a crash").unwrap();

        fs::write(&source, "two").unwrap();
        let second = install(dir.path(), &name, &source, Uuid::new_v4(), (0, [0; 32])).unwrap();
        assert_eq!(second.collection, first.collection, "the collection stays the same one");
        assert_eq!(Manifest::read(&home).unwrap().as_ref(), Some(&second));
        assert_eq!(
            second.before.as_deref(),
            Some(&first),
            "what was there stays until a server has taken up the other"
        );
        assert_eq!(fs::read_to_string(home.join(&second.file)).unwrap(), "two");
        assert_eq!(fs::metadata(home.join(&second.file)).unwrap().permissions().mode() & 0o777, 0o444);
        let mut files = [first.file.as_str(), second.file.as_str()];
        files.sort_unstable();
        assert_eq!(listing(&home), [&files[..], &["manifest.json", "notes.txt", "publish.lock"]].concat());

        assert_eq!(withdraw(&home).unwrap(), None, "it covers as much");

        fs::write(&source, "three").unwrap();
        let third = install(dir.path(), &name, &source, Uuid::new_v4(), (0, [0; 32])).unwrap();
        assert_eq!(third.before.as_deref(), Some(&first));
        assert!(!home.join(&second.file).exists(), "nobody served it");
        remove_strays(&home, &third.settled()).unwrap();
        assert_eq!(listing(&home), [third.file.as_str(), "manifest.json", "notes.txt", "publish.lock"]);
    }

    #[test]
    fn what_is_withdrawn_leaves_what_was_there_before() {
        let dir = tempfile::tempdir().unwrap();
        let (name, home) = ("shop".parse().unwrap(), dir.path().join("shop"));
        let source = dir.path().join("built.slx");
        fs::write(&source, "one").unwrap();
        let first = install(dir.path(), &name, &source, Uuid::new_v4(), (9, [0; 32])).unwrap();
        fs::write(&source, "two").unwrap();
        let second = install(dir.path(), &name, &source, Uuid::new_v4(), (4, [0; 32])).unwrap();
        assert_eq!(withdraw(&home).unwrap(), Some(second.file.clone()));
        assert_eq!(Manifest::read(&home).unwrap().as_ref(), Some(&first));
        assert!(home.join(&first.file).exists() && !home.join(&second.file).exists());
        assert_eq!(withdraw(&home).unwrap(), None);
    }

    #[test]
    fn what_could_not_be_published_is_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (name, home) = ("shop".parse().unwrap(), dir.path().join("shop"));
        let source = dir.path().join("built.slx");
        fs::write(&source, "one").unwrap();
        // Where the manifest is to be written there is no place for it.
        fs::create_dir_all(home.join("manifest.json.tmp")).unwrap();
        install(dir.path(), &name, &source, Uuid::new_v4(), (0, [0; 32])).unwrap_err();
        assert_eq!(fs::read_to_string(&source).unwrap(), "one");
        assert_eq!(listing(&home), ["manifest.json.tmp", "publish.lock"]);
        fs::remove_dir(home.join("manifest.json.tmp")).unwrap();
        install(dir.path(), &name, &source, Uuid::new_v4(), (0, [0; 32])).unwrap();
    }

    #[test]
    fn a_manifest_cannot_name_a_path() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), None);
        for file in [
            "../other/index.slx",
            "/etc/passwd",
            "index-1.slx",
            "index-../../../../../../../../../../etcx.slx",
        ] {
            let manifest =
                serde_json::json!({"format": 1, "file": file, "published_at": "", "collection": ""});
            fs::write(dir.path().join(MANIFEST), manifest.to_string()).unwrap();
            let error = Manifest::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains("manifest.json") && error.contains("index-<uuid>.slx"), "{error}");
        }
        fs::write(
            dir.path().join(MANIFEST),
            r#"{"format": 2, "file": "", "published_at": "", "collection": ""}"#,
        )
        .unwrap();
        assert!(Manifest::read(dir.path()).unwrap_err().to_string().contains("format is 2"));
    }

    #[test]
    fn a_copy_is_sealed_like_a_rename() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b.slx"));
        fs::write(&from, "bytes").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "bytes");
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o444);
        assert_eq!(listing(dir.path()), ["a", "b.slx"]);
    }
}
