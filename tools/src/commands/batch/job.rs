//! The parts of a job on disk, and what they are parts of.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use shortlist::attributes::format_time;

use super::write::{Format, Row, Totals, write_rows};
use super::{Args, beside};
use crate::commands::target::{ProfileChoice, Target};

/// A job that this process alone works on.
pub struct Job {
    directory: PathBuf,
    now: i64,
    /// Locked as long as it is open.
    _lock: File,
}

impl Job {
    /// Begins a job, or goes on with one that is the same.
    pub fn open(args: &Args, target: &Target, profile: Option<&ProfileChoice>, now: i64) -> Result<Job> {
        if args.out.exists() {
            bail!("{}: is there already; delete it, or give another name", args.out.display());
        }
        let description = describe(args, target, profile)?;
        let directory = beside(&args.out, ".parts");
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let path = directory.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        if lock.try_lock().is_err() {
            bail!("{}: another run works on it", directory.display());
        }
        // From here on the directory goes again with the job, unless a part was made.
        let mut job = Job { directory, now, _lock: lock };
        job.begin(description, args.now.is_some())?;
        Ok(job)
    }

    /// Says what the parts are of. A job that was begun before keeps its `now`, unless another is given.
    fn begin(&mut self, mut description: Value, is_now_given: bool) -> Result<()> {
        let path = self.directory.join("job.json");
        if path.exists() {
            let before = super::super::read_json(&path)?;
            let frozen =
                before["now_ms"].as_i64().with_context(|| format!("{}: has no now_ms", path.display()))?;
            self.now = if is_now_given { self.now } else { frozen };
            description["now_ms"] = json!(self.now);
            return check_same(&self.directory, &before, &description);
        }
        description["now_ms"] = json!(self.now);
        let text = serde_json::to_string_pretty(&description)? + "\n";
        publish(&path, |file| Ok(file.write_all(text.as_bytes())?))
    }

    /// What `now` means to every part.
    pub fn now(&self) -> i64 {
        self.now
    }

    fn part(&self, part: u64, format: Format) -> PathBuf {
        self.directory.join(format!("{part:08}.{}", format.extension()))
    }

    /// Whether a part is there; then it is whole.
    pub fn has(&self, part: u64, format: Format) -> bool {
        self.part(part, format).is_file()
    }

    /// Writes a part.
    pub fn write(&self, part: u64, format: Format, rows: &[Row]) -> Result<()> {
        publish(&self.part(part, format), |file| write_rows(file, format, rows))
    }

    /// Puts the parts together and takes them away.
    pub fn join(self, out: &Path, format: Format, parts: u64) -> Result<Totals> {
        let paths: Vec<PathBuf> = (0..parts).map(|part| self.part(part, format)).collect();
        let mut totals = Totals::default();
        publish(out, |file| {
            totals = super::write::join(file, format, &paths)?;
            Ok(())
        })?;
        let left = || format!("cannot remove {}", self.directory.display());
        fs::remove_dir_all(&self.directory).with_context(left)?;
        Ok(totals)
    }
}

impl Drop for Job {
    /// Without a part there is nothing to go on from: a directory that has none goes.
    fn drop(&mut self) {
        let Ok(mut entries) = fs::read_dir(&self.directory) else { return };
        let is_no_part = |name: &OsStr| {
            name == "lock" || name == "job.json" || Path::new(name).extension() == Some(OsStr::new("tmp"))
        };
        if entries.all(|entry| entry.is_ok_and(|entry| is_no_part(&entry.file_name()))) {
            // Left where it cannot be removed; the next run takes it as it is.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Writes beside, syncs, renames, syncs the directory: the file is whole or not there.
fn publish(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let staged = beside(path, ".tmp");
    let named = || format!("cannot write {}", path.display());
    let written = stage(&staged, write).and_then(|()| Ok(fs::rename(&staged, path)?));
    if written.is_err() {
        // Not there if it could not be made.
        let _ = fs::remove_file(&staged);
    }
    written.with_context(named)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).with_context(named)
}

fn stage(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let mut file = File::create(path)?;
    write(&mut file)?;
    Ok(file.sync_all()?)
}

/// All that the rows depend on.
fn describe(args: &Args, target: &Target, profile: Option<&ProfileChoice>) -> Result<Value> {
    let index = match target {
        Target::File(index) => json!({"build": index.build(), "seq": index.seq()}),
        // A server's collection moves on while it is asked.
        Target::Server(_) => json!({"url": args.target}),
    };
    let profile = match profile {
        None => Value::Null,
        Some(ProfileChoice::None) => json!("none"),
        Some(ProfileChoice::Stored(name)) => json!({"stored": name}),
        Some(ProfileChoice::Document(_, document)) => document.clone(),
    };
    Ok(json!({
        "index": index,
        "profile": profile,
        "queries": stamp(&args.queries)?,
        "query_names": args.query_names.as_deref().map(stamp).transpose()?,
        "name_field": args.name_field,
        "vector_column": args.vector_column,
        "dataset": args.dataset,
        "limit": args.limit,
        "ef": args.ef,
        "exact": args.exact,
        "part": args.part,
        "seed": args.seed,
    }))
}

/// A file by name, length and time of the last change.
fn stamp(path: &Path) -> Result<Value> {
    let named = || format!("cannot open {}", path.display());
    let facts = fs::metadata(path).with_context(named)?;
    let changed = facts.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let changed = changed.map(|since| format_time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)));
    Ok(
        json!({"file": path.file_name().map(|name| name.to_string_lossy()), "bytes": facts.len(), "changed": changed}),
    )
}

fn check_same(directory: &Path, before: &Value, now: &Value) -> Result<()> {
    let fields = now.as_object().into_iter().flatten();
    for (name, value) in fields {
        if before[name] != *value {
            bail!(
                "{}: holds parts of another job, its {name} is {}, this one's {value}; give the same, or delete the directory",
                directory.display(),
                before[name]
            );
        }
    }
    Ok(())
}
