//! Where a build goes: an index file, or a collection of a data directory. Either way it is built beside its place
//! under another name, judged there, and moved only then.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use shortlist::collection::{CollectionName, Manifest, publish};

/// What `--out` means.
#[derive(Debug)]
pub enum Target {
    /// An index file.
    File(PathBuf),
    /// A collection to publish.
    Collection {
        /// The data directory.
        directory: PathBuf,
        /// The collection's name.
        name: CollectionName,
    },
}

impl Target {
    /// A name with a dot is a file's, since no collection's name has one.
    pub fn parse(out: &Path) -> Result<Target> {
        let shown = out.display();
        let name = out.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name.filter(|_| !ends_in_slash(out)) else {
            bail!(
                "--out {shown}: names a directory; give an index file (NAME.slx) or DIR/NAME for a collection"
            );
        };
        let parent = out.parent().unwrap_or(Path::new(""));
        if name.contains('.') {
            if out.is_dir() {
                bail!("--out {shown}: is a directory");
            }
            return Ok(Target::File(out.to_owned()));
        }
        if parent.as_os_str().is_empty() {
            bail!(
                "--out {name}: write {name}.slx for an index file, or ./{name} to publish it in this directory"
            );
        }
        let name = name.parse().with_context(|| format!("--out {shown}"))?;
        Ok(Target::Collection { directory: parent.to_owned(), name })
    }

    /// The UUID of the collection: as given, or the published one's if nothing was written to it. What was written to has a log, which
    /// goes on from no other items than its own: only who gives the UUID says that these are.
    pub fn collection(&self, given: Option<&str>) -> Result<Option<[u8; 16]>> {
        if let Some(given) = given {
            return parse_uuid(given).map(Some).ok_or_else(|| {
                anyhow!(
                    "--collection-uuid {given:?} is not a UUID such as 123e4567-e89b-42d3-a456-426614174000"
                )
            });
        }
        let Target::Collection { directory, name } = self else { return Ok(None) };
        let directory = directory.join(name.as_str());
        let manifest = Manifest::read(&directory)?.filter(|_| !directory.join("log").is_dir());
        Ok(manifest.and_then(|manifest| parse_uuid(&manifest.collection)))
    }

    /// A place for the file until it is judged.
    pub fn stage(&self) -> Result<Staged<'_>> {
        let (directory, name) = match self {
            Target::File(path) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (parent.unwrap_or(Path::new(".")), name)
            }
            Target::Collection { directory, name } => (directory.as_path(), name.to_string()),
        };
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let path = directory.join(format!(".{name}.{}.building", std::process::id()));
        Ok(Staged { target: self, path })
    }
}

/// A file that is not yet at its place; dropped, it is removed.
#[derive(Debug)]
pub struct Staged<'a> {
    target: &'a Target,
    path: PathBuf,
}

impl Staged<'_> {
    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it to its place, and says where that is.
    pub fn commit(self) -> Result<Value> {
        match self.target {
            Target::File(path) => {
                let moved = fs::rename(&self.path, path).and_then(|()| sync_parent(path));
                moved.with_context(|| format!("cannot write {}", path.display()))?;
                Ok(json!({"path": path}))
            }
            Target::Collection { directory, name } => {
                let manifest = publish(directory, name, &self.path)?;
                let path = directory.join(name.as_str()).join(&manifest.file);
                Ok(json!({"path": path, "collection": name.as_str(), "uuid": manifest.collection}))
            }
        }
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // Not there if it was moved, or never written.
        let _ = fs::remove_file(&self.path);
    }
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().ends_with('/')
}

/// 32 hex digits, hyphens where they belong or none.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let places: Vec<usize> = text.match_indices('-').map(|(place, _)| place).collect();
    if !places.is_empty() && places != [8, 13, 18, 23] {
        return None;
    }
    let digits: String = text.chars().filter(|letter| *letter != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_makes_a_file_and_a_directory_a_collection() {
        assert!(matches!(Target::parse(Path::new("a/b.slx")), Ok(Target::File(_))));
        assert!(
            matches!(Target::parse(Path::new("data/shop")), Ok(Target::Collection { name, .. }) if name.as_str() == "shop")
        );
        for (out, part) in
            [("shop", "./shop"), ("data/Shop", "Shop"), ("data/", "directory"), ("..", "directory")]
        {
            let error = format!("{:#}", Target::parse(Path::new(out)).expect_err(out));
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn uuids_are_read_strictly() {
        let bytes = parse_uuid("123e4567-e89b-42d3-a456-426614174000").expect("valid");
        assert_eq!(bytes[..4], [0x12, 0x3e, 0x45, 0x67]);
        for bad in ["", "123e4567", "123e-4567e89b42d3a456426614174000", "+23e4567e89b42d3a456426614174000"] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
    }
}
