//! Backups: an index file that covers the log up to one sequence number, with a document that says what it is.
//!
//! A checkpoint is the exact state after one record, so its file is all that a backup needs; the log after it belongs to
//! what comes later. `DIR/index.slx` is that file, `DIR/backup.json` its [`BackupManifest`]. Both directions verify: every
//! block by its checksum, every number against the others, the whole by blake3. Names of files are fixed: none comes from
//! a document or from the network.
//!
//! A restored collection is a new one: it gets a UUID of its own, so that no file or log of the old one, which may have
//! gone on after the backup, is ever taken for its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::publish::{install_new, sync_directory};
use super::{CatalogueError, Collection, CollectionName, now_millis};
use crate::attributes::format_time;
use crate::file::IndexFile;
use crate::index::Index;

const FILE: &str = "index.slx";
const MANIFEST: &str = "backup.json";
/// Longest manifest that is read, in bytes.
const MANIFEST_LEN: u64 = 64 << 10;
const PIECE: usize = 1 << 20;

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupManifest {
    /// Version of this document: 1.
    pub backup: u32,
    /// The collection's name.
    pub collection: String,
    /// Its UUID.
    pub uuid: String,
    /// The sequence number whose state it is.
    pub seq: u64,
    /// Items.
    pub items: u64,
    /// Bytes of the index file.
    pub bytes: u64,
    /// blake3 of the index file, in hexadecimal.
    pub blake3: String,
    /// When it was made, RFC 3339.
    pub made_at: String,
}

impl BackupManifest {
    /// The version that this program writes and reads.
    pub const FORMAT: u32 = 1;
}

/// An index file to copy: open, so it stays whole whatever becomes of its name.
#[derive(Debug)]
pub struct BackupFile {
    /// The file.
    pub file: File,
    /// Its bytes.
    pub bytes: u64,
    /// The sequence number that it covers.
    pub seq: u64,
    /// Name of the collection.
    pub collection: String,
    /// UUID of the collection.
    pub uuid: String,
}

fn wrong(path: &Path, reason: impl Into<String>) -> CatalogueError {
    CatalogueError::Backup { path: path.to_owned(), reason: reason.into() }
}

impl Collection {
    /// Makes a checkpoint of what is not covered yet and opens its file. Writes and searches go on. Blocking.
    pub fn backup(&self) -> Result<BackupFile, CatalogueError> {
        self.inner.checkpoint(false)?;
        // While this is held no checkpoint takes the file's name away.
        let manifest = self.inner.manifest();
        let path = self.inner.directory.join(&manifest.file);
        let failed = |error| CatalogueError::io("open", &path, error);
        let file = File::open(&path).map_err(failed)?;
        let opened = IndexFile::from_file(file.try_clone().map_err(failed)?);
        let opened = opened.map_err(|error| wrong(&path, error.to_string()))?;
        let header = opened.header();
        Ok(BackupFile {
            bytes: header.total_len,
            seq: header.facts.covers,
            collection: self.name().to_string(),
            uuid: manifest.collection.clone(),
            file,
        })
    }
}

/// Takes in an index file: `source` gives its bytes, `of` says whose it is and how long. The directory `out` must be new,
/// or empty. `progress` is told (bytes done, of). Nothing is left of one that fails.
pub fn receive_backup(
    out: &Path,
    source: &mut dyn Read,
    of: (&str, &str, u64, u64),
    progress: &dyn Fn(u64, u64),
) -> Result<BackupManifest, CatalogueError> {
    let (collection, uuid, seq, bytes) = of;
    let made = make_empty(out)?;
    let mut received = || -> Result<BackupManifest, CatalogueError> {
        let path = out.join(FILE);
        let (copied, hash) = copy(source, &path, &|done| progress(done, bytes))?;
        if copied != bytes {
            return Err(wrong(&path, format!("{copied} bytes came, {bytes} were announced")));
        }
        let items = check(&path, seq)?;
        let manifest = BackupManifest {
            backup: BackupManifest::FORMAT,
            collection: collection.to_owned(),
            uuid: uuid.to_owned(),
            seq,
            items,
            bytes,
            blake3: hash,
            made_at: format_time(now_millis()),
        };
        write_manifest(out, &manifest)?;
        Ok(manifest)
    };
    received().inspect_err(|_| {
        // What cannot be removed is no backup: it has no manifest.
        let _ = fs::remove_file(out.join(FILE));
        if made {
            let _ = fs::remove_dir(out);
        }
    })
}

/// Puts a backup into a data directory, as collection `name` or as that which it was. A server on that directory takes it
/// up by itself. Refused when there is such a collection. `progress` is told (bytes done, of).
pub fn restore_backup(
    backup: &Path,
    dir: &Path,
    name: Option<&CollectionName>,
    progress: &dyn Fn(u64, u64),
) -> Result<(CollectionName, BackupManifest), CatalogueError> {
    let manifest = read_manifest(backup)?;
    let name = match name {
        Some(name) => name.clone(),
        None => manifest.collection.parse()?,
    };
    let directory = dir.join(name.as_str());
    if fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some()) || directory.is_file() {
        return Err(wrong(&directory, "is there already: restore it under another name, or delete it first"));
    }
    fs::create_dir_all(dir).map_err(|error| CatalogueError::io("create", dir, error))?;
    let staged = Staged(dir.join(format!(".{name}.{}.restoring", Uuid::new_v4())));
    let source = backup.join(FILE);
    let kind = fs::symlink_metadata(&source).map_err(|error| CatalogueError::io("open", &source, error))?;
    if !kind.is_file() || kind.len() != manifest.bytes {
        let reason = format!("is not the file of {} bytes that {MANIFEST} names", manifest.bytes);
        return Err(wrong(&source, reason));
    }
    let mut file = File::open(&source).map_err(|error| CatalogueError::io("open", &source, error))?;
    let (_, hash) = copy(&mut file, &staged.0, &|done| progress(done, manifest.bytes))?;
    if hash != manifest.blake3 {
        return Err(wrong(&source, format!("its blake3 is {hash}, {MANIFEST} says {}", manifest.blake3)));
    }
    let items = check(&staged.0, manifest.seq)?;
    if items != manifest.items {
        return Err(wrong(&source, format!("it has {items} items, {MANIFEST} says {}", manifest.items)));
    }
    match install_new(dir, &name, Uuid::new_v4(), manifest.seq, |_| Ok(staged.0.clone()))? {
        true => Ok((name, manifest)),
        false => {
            Err(wrong(&directory, "was made meanwhile: restore it under another name, or delete it first"))
        }
    }
}

/// A file that is removed unless it was moved to its place.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // Not there if it was moved, or never written.
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether it had to be made.
fn make_empty(out: &Path) -> Result<bool, CatalogueError> {
    match fs::create_dir(out) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let entries = fs::read_dir(out).map_err(|error| CatalogueError::io("list", out, error))?;
            match entries.count() {
                0 => Ok(false),
                _ => Err(wrong(out, "is not empty: a backup is never written over another")),
            }
        }
        Err(error) => Err(CatalogueError::io("create", out, error)),
    }
}

/// Copies to a new file, synced; how many bytes, and their blake3.
fn copy(source: &mut dyn Read, to: &Path, progress: &dyn Fn(u64)) -> Result<(u64, String), CatalogueError> {
    let mut copied = 0;
    let mut hash = blake3::Hasher::new();
    let mut run = || -> io::Result<()> {
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        let mut piece = vec![0; PIECE];
        loop {
            let count = match source.read(&mut piece) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            hash.update(&piece[..count]);
            out.write_all(&piece[..count])?;
            copied += count as u64;
            progress(copied);
        }
        out.sync_all()
    };
    run().map_err(|error| CatalogueError::io("copy to", to, error))?;
    Ok((copied, hash.finalize().to_hex().to_string()))
}

/// Verifies every byte and every number of an index file that shall cover `seq`; how many items it has.
fn check(path: &Path, seq: u64) -> Result<u64, CatalogueError> {
    let index = Index::verify(path, &|_, _| ())?;
    if index.covers() != seq {
        return Err(wrong(path, format!("it covers the log up to {}, {seq} was announced", index.covers())));
    }
    Ok(index.items().into())
}

fn write_manifest(out: &Path, manifest: &BackupManifest) -> Result<(), CatalogueError> {
    let path = out.join(MANIFEST);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        serde_json::to_writer_pretty(&mut file, manifest)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        sync_directory(out)
    };
    write().map_err(|error| CatalogueError::io("write", &path, error))
}

fn read_manifest(backup: &Path) -> Result<BackupManifest, CatalogueError> {
    let path = backup.join(MANIFEST);
    let failed = |error| CatalogueError::io("read", &path, error);
    let mut bytes = Vec::new();
    File::open(&path).map_err(failed)?.take(MANIFEST_LEN).read_to_end(&mut bytes).map_err(failed)?;
    let manifest: BackupManifest =
        serde_json::from_slice(&bytes).map_err(|error| wrong(&path, error.to_string()))?;
    match manifest.backup {
        BackupManifest::FORMAT => Ok(manifest),
        other => Err(wrong(&path, format!("format {other}, this program reads {}", BackupManifest::FORMAT))),
    }
}
