//! Where segments are: a flat set of named files.
//!
//! The trait has one user in the program, [`Disk`], and one in the tests: a store that forgets what was not
//! synced and fails when told to. Names are plain file names, never paths.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Named files that grow at their end.
pub trait Storage: Send + Debug {
    /// Names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Bytes of a file.
    fn length(&self, name: &str) -> io::Result<u64>;
    /// Reads exactly `length` bytes from `offset` on.
    fn read(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>>;
    /// Makes an empty file; an error if there is one. Durable after `sync_directory`.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes at a file's end. Durable after `sync`. After an error any part may have been written.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file. Durable after `sync`.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Makes contents and length of a file durable (fdatasync).
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Removes a file. Durable after `sync_directory`.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Makes all files made and removed durable.
    fn sync_directory(&mut self) -> io::Result<()>;
}

/// A directory.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    /// The file last written, kept open: the kernel reports a failed write-back to whoever had the file open
    /// then.
    writing: Option<(String, File)>,
}

impl Disk {
    /// Uses a directory, which must exist.
    pub fn new(directory: impl Into<PathBuf>) -> Disk {
        Disk { directory: directory.into(), writing: None }
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        if is_plain(name) {
            return Ok(self.directory.join(name));
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not a plain file name")))
    }

    fn open_to_write(&mut self, name: &str) -> io::Result<&File> {
        let file = match self.writing.take() {
            Some((open, file)) if open == name => file,
            _ => OpenOptions::new().append(true).open(self.path(name)?)?,
        };
        Ok(&self.writing.insert((name.to_owned(), file)).1)
    }
}

/// Whether a name is a file's own: letters, digits, `-`, `_` and `.`, not first.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && is_plain(&name)
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(name)?)?.len())
    }

    fn read(&self, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(name)?)?;
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length)?;
        bytes.resize(length, 0);
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.path(name)?)?;
        self.writing = Some((name.to_owned(), file));
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.open_to_write(name)?;
        file.write_all(bytes)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let file = self.open_to_write(name)?;
        file.set_len(length)?;
        // Not all file systems count a shorter length among what fdatasync must write.
        file.sync_all()
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.open_to_write(name)?.sync_data()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let path = self.path(name)?;
        self.writing.take_if(|(open, _)| *open == name);
        fs::remove_file(path)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}
