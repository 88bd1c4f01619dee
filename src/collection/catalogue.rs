//! The data directory of a server: which collections there are, each with its current index.
//!
//! One server a directory (`serve.lock`). Collections are opened when the catalogue opens, or by [`Catalogue::start`], which
//! also verifies and warms them and tells how far it is; a damaged one is an error there. Later a [`Catalogue::reload`] takes up what was published since and keeps the old index when the new
//! one does not open. Readers never wait: they take an `Arc` and keep it as long as they need.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::fs::{FlockOperation, flock};

use super::publish::{install_new, sync_directory};
use super::publishers::{PATIENCE, publisher_lock, publisher_lock_while};
use super::served::WriteSettings;
use super::startup::Startup;
use super::{Collection, CollectionName, Manifest, now_millis, recent};
use crate::arena::Mode;
use crate::file::FileError;
use crate::index::{BuildError, BuildOptions, IndexBuilder, IndexError, Schema, SchemaChangeError};
use crate::log::LogError;

/// The data directory or a collection in it could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Not a collection's name.
    #[error(
        "{given:?} is not a collection's name: lower-case letters, digits, '-' and '_', the first a letter or digit, at most 64"
    )]
    Name {
        /// What was given, shortened.
        given: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another server has this directory.
    #[error(
        "{path} is locked: another server (process {holder}) serves this directory; stop it or choose another --data"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Process number as the lock file tells it.
        holder: String,
    },
    /// Somebody else publishes into the collection, or deletes it, and does not finish.
    #[error("{path} is held by another publisher of the collection, for {} s already: try again; where it stays so, end the process that holds it", waited.as_secs())]
    Publishing {
        /// The lock file.
        path: PathBuf,
        /// How long was waited for it.
        waited: Duration,
    },
    /// A manifest is damaged.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A backup is not whole, or its place is taken.
    #[error("{path}: {reason}")]
    Backup {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An index file is damaged; the error names it.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The log cannot be used.
    #[error("{directory}: {source}")]
    Log {
        /// Its directory.
        directory: PathBuf,
        /// Why not; names file and offset.
        source: LogError,
    },
    /// The log's records could not be applied.
    #[error("{directory}: the log could not be replayed: {reason}")]
    Replay {
        /// The log's directory.
        directory: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A checkpoint could not be written.
    #[error("checkpoint {path}: {source}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: FileError,
    },
    /// The collection was closed: deleted, or replaced by a newer one.
    #[error("collection {name} was closed meanwhile")]
    Closed {
        /// Its name.
        name: CollectionName,
    },
    /// A change of the schema was refused.
    #[error(transparent)]
    Change(#[from] SchemaChangeError),
    /// The disk failed so that nobody knows whether a change is durable.
    #[error("{reason}")]
    Unknown {
        /// What failed, and what to do.
        reason: String,
    },
    /// An empty index could not be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There is a collection of that name with another schema.
    #[error("collection {name} is there with another schema: {existing}")]
    OtherSchema {
        /// Its name.
        name: CollectionName,
        /// Its schema.
        existing: String,
    },
}

impl CatalogueError {
    /// Whether the disk was full.
    pub fn is_out_of_space(&self) -> bool {
        let source = match self {
            CatalogueError::Io { source, .. } => source,
            CatalogueError::Checkpoint { source: FileError::Io { source, .. }, .. } => source,
            CatalogueError::Log { source, .. } => return source.is_out_of_space(),
            _ => return false,
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        CatalogueError::Io { action, path: path.to_owned(), source }
    }
}

/// What a reload changed.
#[derive(Debug, Default)]
pub struct Reload {
    /// Collections whose newly published index is now served.
    pub opened: Vec<CollectionName>,
    /// Collections whose manifest is gone.
    pub removed: Vec<CollectionName>,
    /// What did not open; the old index, if there was one, is still served.
    pub failed: Vec<CatalogueError>,
}

/// Begins the name of a directory whose collection was deleted; no collection's name begins so.
const DELETED: &str = ".deleted-";

type Collections = BTreeMap<String, Arc<Collection>>;

/// All collections of a data directory. Shared between threads.
#[derive(Debug)]
pub struct Catalogue {
    pub(super) dir: PathBuf,
    mode: Mode,
    settings: WriteSettings,
    collections: ArcSwap<Collections>,
    reloading: Mutex<()>,
    pub(super) startup: Arc<Startup>,
    _lock: File,
}

impl Catalogue {
    /// Locks the directory and opens every collection in it; what their logs hold is applied.
    pub fn open(dir: &Path, mode: Mode) -> Result<Catalogue, CatalogueError> {
        Catalogue::open_with(dir, mode, WriteSettings::default())
    }

    /// As `open`, with other settings for writes.
    pub fn open_with(dir: &Path, mode: Mode, settings: WriteSettings) -> Result<Catalogue, CatalogueError> {
        let catalogue = Catalogue::lock(dir, mode, settings)?;
        catalogue.open_all()?;
        catalogue.startup.set_ready();
        Ok(catalogue)
    }

    /// Locks the directory and opens one collection of it, for a tool; the others are left alone.
    pub fn open_one(
        dir: &Path,
        name: &CollectionName,
    ) -> Result<(Catalogue, Arc<Collection>), CatalogueError> {
        let catalogue = Catalogue::lock(dir, Mode::Mapped, WriteSettings::default())?;
        match catalogue.open_collection(name, None)?.collection() {
            Some(collection) => {
                catalogue.startup.set_ready();
                Ok((catalogue, collection))
            }
            None => {
                let reason = "there is no such collection".to_owned();
                Err(CatalogueError::Manifest { path: dir.join(name.as_str()), reason })
            }
        }
    }

    /// Locks the directory; its collections are there when [`Catalogue::start`] has opened them.
    pub fn lock(dir: &Path, mode: Mode, settings: WriteSettings) -> Result<Catalogue, CatalogueError> {
        let lock = lock(dir)?;
        Ok(Catalogue {
            dir: dir.to_owned(),
            mode,
            settings,
            collections: ArcSwap::default(),
            reloading: Mutex::new(()),
            startup: Arc::default(),
            _lock: lock,
        })
    }

    pub(super) fn open_all(&self) -> Result<(), CatalogueError> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        remove_deleted(&self.dir)?;
        let names = names(&self.dir)?;
        self.startup.announce(names.len());
        let mut collections = Collections::new();
        for name in names {
            if let Some(collection) = self.open_collection(&name, None)?.collection() {
                collections.insert(name.to_string(), collection);
            }
        }
        self.collections.store(Arc::new(collections));
        Ok(())
    }

    /// Makes an empty collection; false when it is there with the same schema. Blocking.
    pub fn create(&self, name: &CollectionName, schema: Schema) -> Result<bool, CatalogueError> {
        if let Some(collection) = self.get(name.as_str()) {
            return has_schema(&collection, &schema).map(|()| false);
        }
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been published since the last look, or be published now: that is taken up, not overwritten.
        if self.get(name.as_str()).is_none() {
            self.take_up(name)?;
        }
        if let Some(collection) = self.get(name.as_str()) {
            return has_schema(&collection, &schema).map(|()| false);
        }
        let collection = uuid::Uuid::new_v4();
        let options = BuildOptions {
            schema: schema.clone(),
            rows: 0,
            threads: 1,
            seed: collection.as_u64_pair().0,
            covers: 0,
            collection: Some(*collection.as_bytes()),
            lineage: serde_json::json!({"created": "over HTTP"}),
            now: now_millis(),
        };
        let made = install_new(&self.dir, name, collection, 0, |directory| {
            let file = directory.join(format!("index-{}.slx", uuid::Uuid::new_v4()));
            IndexBuilder::new(options)?.finish(&file, &|_, _, _| ())?;
            Ok(file)
        })?;
        self.take_up(name)?;
        match self.get(name.as_str()) {
            Some(collection) => has_schema(&collection, &schema).map(|()| made),
            None => Ok(made),
        }
    }

    /// Opens a collection that is not served yet, if there is one of the name. Under the lock of reloads.
    fn take_up(&self, name: &CollectionName) -> Result<(), CatalogueError> {
        if let Some(opened) = self.open_collection(name, None)?.collection() {
            let mut collections = Collections::clone(&self.collections.load());
            collections.insert(name.to_string(), opened);
            self.collections.store(Arc::new(collections));
        }
        Ok(())
    }

    /// Deletes a collection with everything in it; false when there is none. Blocking.
    pub fn delete(&self, name: &CollectionName) -> Result<bool, CatalogueError> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(collection) = self.get(name.as_str()) else { return Ok(false) };
        let directory = self.dir.join(name.as_str());
        // Who is publishing into it finishes that, and what he brings goes with it.
        let _publisher = publisher_lock(&directory)?;
        let mut collections = Collections::clone(&self.collections.load());
        collections.remove(name.as_str());
        self.collections.store(Arc::new(collections));
        collection.close(false);
        // Under a name that is no collection's it is gone at once, whole; what a crash leaves of it the next start removes.
        let deleted = self.dir.join(format!("{DELETED}{}", uuid::Uuid::new_v4()));
        fs::rename(&directory, &deleted).map_err(|error| CatalogueError::io("rename", &directory, error))?;
        sync_directory(&self.dir).map_err(|error| CatalogueError::io("sync", &self.dir, error))?;
        fs::remove_dir_all(&deleted).map_err(|error| CatalogueError::io("remove", &deleted, error))?;
        Ok(true)
    }

    /// Stops all writing; every collection that was written to gets a last checkpoint, so that the next start is quick.
    pub fn close(&self) {
        for collection in self.all() {
            collection.close(true);
        }
    }

    /// The collection of a name.
    pub fn get(&self, name: &str) -> Option<Arc<Collection>> {
        self.collections.load().get(name).cloned()
    }

    /// All collections, by name.
    pub fn all(&self) -> Vec<Arc<Collection>> {
        self.collections.load().values().cloned().collect()
    }

    /// Takes up what was published or removed since, and keeps what does not open as it was. Blocking.
    pub fn reload(&self) -> Reload {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = Reload::default();
        let found = match names(&self.dir) {
            Ok(found) => found,
            Err(error) => {
                report.failed.push(error);
                return report;
            }
        };
        let old = self.collections.load_full();
        let mut new = Collections::new();
        for name in found {
            let current = old.get(name.as_str());
            match self.open_collection(&name, current) {
                Ok(Found::Same(collection)) => {
                    new.insert(name.to_string(), collection);
                }
                Ok(Found::New(collection)) => {
                    report.opened.push(name.clone());
                    new.insert(name.to_string(), collection);
                }
                Ok(Found::None) => {}
                Err(error) => {
                    report.failed.push(error);
                    new.extend(current.map(|current| (name.to_string(), Arc::clone(current))));
                }
            }
        }
        let gone = old.values().filter(|collection| !new.contains_key(collection.name().as_str()));
        report.removed.extend(gone.map(|collection| collection.name().clone()));
        if !report.opened.is_empty() || !report.removed.is_empty() {
            self.collections.store(Arc::new(new));
        }
        report
    }

    /// The collection as its manifest names it. A published file takes over in `current` where it can; else `current` is closed and
    /// another opened in its place.
    fn open_collection(
        &self,
        name: &CollectionName,
        current: Option<&Arc<Collection>>,
    ) -> Result<Found, CatalogueError> {
        let directory = self.dir.join(name.as_str());
        if let Some(current) = current {
            // While this is held no checkpoint replaces the manifest.
            let _publishing = current.inner.publishing();
            let found = Manifest::read(&directory)?;
            let refused = current.inner.refused.lock().unwrap_or_else(PoisonError::into_inner);
            if found.as_ref() == Some(&current.manifest()) || (found.is_some() && found == *refused) {
                return Ok(Found::Same(Arc::clone(current)));
            }
        }
        let Some(found) = Manifest::read(&directory)? else { return Ok(Found::None) };
        let refuse = |current: &Collection, error: &CatalogueError| {
            // What is put back removes every file but its own: no checkpoint may be about to name one.
            let _one = current.inner.keeper.one_at_a_time();
            // While another publisher is at it the next reload tries again.
            let Ok(_publisher) = publisher_lock(&directory) else { return };
            if Manifest::read(&directory).is_ok_and(|now| now.as_ref() == Some(&found)) {
                current.inner.put_back(error);
            }
            *current.inner.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        };
        if let Some(current) = current {
            match current.inner.take_over() {
                Ok(true) => return Ok(Found::New(Arc::clone(current))),
                // Its log has one writer at a time.
                Ok(false) => current.close(false),
                Err(error) => {
                    let can_not = matches!(error, CatalogueError::Replay { .. } | CatalogueError::Index(_));
                    if can_not && is_for_good(&error) && !current.inner.keeper.is_stopped() {
                        refuse(current, &error);
                    }
                    return Err(error);
                }
            }
        }
        let opened = self.open_published(name, &directory, current.is_none());
        if let (Err(error), Some(current)) = (&opened, current) {
            if !self.startup.is_stopped() && is_for_good(error) {
                refuse(current, error);
            }
            current.resume();
        }
        let opened = opened?;
        if let Some(current) = current {
            // It answers warm, by the queries that come now.
            recent::warm(&opened.index(), &current.index().recent_queries(), &|| true);
        }
        Ok(Found::New(Arc::new(opened)))
    }

    /// Opens what the manifest names. Where nobody serves the collection, what was there before takes the place of what does not open.
    fn open_published(
        &self,
        name: &CollectionName,
        directory: &Path,
        or_before: bool,
    ) -> Result<Collection, CatalogueError> {
        // No other file comes until this one has settled. A start waits for it as long as it takes, or until it is stopped.
        let is_starting = || self.startup.progress().is_some() && !self.startup.is_stopped();
        let _publisher = publisher_lock_while(directory, &|waited| {
            is_starting() || (waited < PATIENCE && !self.startup.is_stopped())
        })?;
        let open = |manifest: Manifest| {
            let startup = Arc::clone(&self.startup);
            Collection::open(name, directory, manifest, self.mode, &self.settings, startup)
        };
        let missing = || CatalogueError::io("read", directory, std::io::ErrorKind::NotFound.into());
        let manifest = Manifest::read(directory)?.ok_or_else(missing)?;
        let opened = match (open(manifest.clone()), manifest.before) {
            (Err(error), Some(before)) if or_before && !self.startup.is_stopped() && is_for_good(&error) => {
                let Ok(opened) = open(*before) else { return Err(error) };
                opened.inner.put_back(&error);
                return Ok(opened);
            }
            (opened, _) => opened?,
        };
        opened.inner.settle();
        Ok(opened)
    }
}

/// Whether what was published will not open the next time either: want of memory or of a disk's answer, and another publisher, say
/// nothing of it.
fn is_for_good(error: &CatalogueError) -> bool {
    match error {
        CatalogueError::Io { .. } | CatalogueError::Publishing { .. } => false,
        CatalogueError::Index(error) => error.is_of_contents(),
        _ => true,
    }
}

/// What a manifest names.
enum Found {
    /// No manifest is there.
    None,
    /// What is served already.
    Same(Arc<Collection>),
    /// A file that was not served before.
    New(Arc<Collection>),
}

impl Found {
    fn collection(self) -> Option<Arc<Collection>> {
        match self {
            Found::None => None,
            Found::Same(collection) | Found::New(collection) => Some(collection),
        }
    }
}

/// Names of the directories that can be collections; whatever else lies there is left alone.
fn names(dir: &Path) -> Result<Vec<CollectionName>, CatalogueError> {
    let failed = |error| CatalogueError::io("list", dir, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(Ok(name)) = name.to_str().map(str::parse::<CollectionName>) else { continue };
        if entry.file_type().map_err(failed)?.is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes collections whose deletion a crash cut short.
fn remove_deleted(dir: &Path) -> Result<(), CatalogueError> {
    let failed = |error| CatalogueError::io("list", dir, error);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DELETED)) {
            fs::remove_dir_all(&path).map_err(|error| CatalogueError::io("remove", &path, error))?;
        }
    }
    Ok(())
}

/// Refuses another schema than a collection has.
fn has_schema(collection: &Collection, schema: &Schema) -> Result<(), CatalogueError> {
    let index = collection.index();
    if index.schema() == schema {
        return Ok(());
    }
    let existing = index.schema().to_json().to_string();
    Err(CatalogueError::OtherSchema { name: collection.name().clone(), existing })
}

fn lock(dir: &Path) -> Result<File, CatalogueError> {
    let path = dir.join("serve.lock");
    let failed = |error: io::Error| CatalogueError::io("lock", &path, error);
    let mut file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
            return Err(CatalogueError::Locked { path, holder });
        }
        Err(error) => return Err(failed(error.into())),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::WriteBatch;
    use crate::vector::Metric;

    #[test]
    fn one_server_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Catalogue::open(dir.path(), Mode::Mapped).unwrap();
        assert!(first.all().is_empty());
        let error = Catalogue::open(dir.path(), Mode::Mapped).unwrap_err().to_string();
        assert!(error.contains("serve.lock") && error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        assert!(Catalogue::open(dir.path(), Mode::Mapped).is_ok());
    }

    #[test]
    fn what_is_no_collection_is_left_alone_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("Not a name")).unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let catalogue = Catalogue::open(dir.path(), Mode::Mapped).unwrap();
        assert!(catalogue.all().is_empty() && catalogue.get("empty").is_none());

        fs::write(dir.path().join("empty/manifest.json"), "{").unwrap();
        let report = catalogue.reload();
        assert!(report.failed[0].to_string().contains("empty/manifest.json"), "{report:?}");
        drop(catalogue);
        assert!(Catalogue::open(dir.path(), Mode::Mapped).is_err());
    }

    #[test]
    fn a_publisher_that_hangs_holds_up_no_delete_for_good_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path(), Mode::Mapped).unwrap();
        let name = "shop".parse().unwrap();
        let schema = Schema::new(2, Metric::L2);
        assert!(catalogue.create(&name, schema.clone()).unwrap());
        let hung = publisher_lock(&dir.path().join("shop")).unwrap();
        let error = catalogue.delete(&name).unwrap_err();
        assert!(matches!(error, CatalogueError::Publishing { .. }), "{error}");
        assert!(!catalogue.create(&name, schema).unwrap(), "it is there still");
        drop(hung);
        assert!(catalogue.delete(&name).unwrap() && catalogue.get("shop").is_none());
    }

    #[test]
    fn a_start_that_waits_for_a_publisher_can_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path(), Mode::Mapped).unwrap();
        catalogue.create(&"shop".parse().unwrap(), Schema::new(2, Metric::L2)).unwrap();
        drop(catalogue);
        let hung = publisher_lock(&dir.path().join("shop")).unwrap();
        let catalogue = Catalogue::lock(dir.path(), Mode::Mapped, WriteSettings::default()).unwrap();
        std::thread::scope(|scope| {
            let starting = scope.spawn(|| catalogue.start(false));
            std::thread::sleep(PATIENCE + PATIENCE / 2);
            assert!(!starting.is_finished(), "a start is patient");
            catalogue.stop_start();
            assert!(starting.join().unwrap().is_err());
        });
        drop((hung, catalogue));
        assert!(Catalogue::open(dir.path(), Mode::Mapped).unwrap().get("shop").is_some());
    }

    #[test]
    fn what_a_write_left_half_done_is_not_built_upon_when_a_collection_is_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path(), Mode::Mapped).unwrap();
        catalogue.create(&"shop".parse().unwrap(), Schema::new(2, Metric::L2)).unwrap();
        let shop = catalogue.get("shop").unwrap();
        let put = || {
            let request =
                serde_json::from_value(serde_json::json!({"items": [{"id": "a", "vector": [1, 2]}]}));
            shop.write_and_wait(WriteBatch::upsert(&shop.index(), request.unwrap()).unwrap())
        };
        let resumed = || {
            shop.close(false);
            assert!(put().is_err(), "it is closed");
            shop.resume();
        };
        put().unwrap();
        resumed();
        put().unwrap();
        shop.inner.commit().as_mut().unwrap().broken = Some("half done".to_owned());
        resumed();
        let error = put().unwrap_err().to_string();
        assert!(error.contains("half done"), "{error}");
        assert_eq!(shop.index().seq(), 2);
    }

    #[test]
    fn a_directory_that_is_missing_is_an_error_that_names_it() {
        let error = Catalogue::open(Path::new("/nonexistent/data"), Mode::Mapped).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/data"), "{error}");
    }
}
