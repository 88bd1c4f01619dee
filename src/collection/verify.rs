//! Slow verification of what is being served: every block of an index file read and compared with its checksum, at a
//! pace that searches do not notice. Damage ends in a typed failure of that collection, not in wrong answers for ever.
//!
//! Blocks are read from the file, not through the map, so a failing disk gives an error here and no signal.

use std::sync::OnceLock;
use std::time::Duration;

use super::{Collection, IndexRef};
use crate::file::{BLOCK, FileError};
use crate::index::Index;

/// What the verification of one opened index has found: nothing yet, all well, or the first damage.
#[derive(Debug, Default)]
pub(super) struct Verification(OnceLock<Result<(), String>>);

impl Collection {
    /// The damage that verification found in the file, if any. Such a collection is not to be searched.
    pub fn damage(&self) -> Option<String> {
        self.index().damage()
    }

    /// Whether verification of the file has ended, well or not.
    pub fn is_verified(&self) -> bool {
        self.index().0.verification.0.get().is_some()
    }

    /// Verifies the file at about `bytes_per_second`, unless that was done; gives up without a result when `stop` says.
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
        if index.0.verification.0.get().is_some() {
            return;
        }
        let outcome = verify_blocks(&index, stop);
        if let Some(outcome) = outcome {
            // Another thread may have come to the same result first.
            let _ = index.0.verification.0.set(outcome.map_err(|error| error.to_string()));
        }
    }
}

impl IndexRef {
    /// The damage that verification found in the file, if any.
    pub(super) fn damage(&self) -> Option<String> {
        self.0.verification.0.get()?.as_ref().err().cloned()
    }
}

/// None when stopped before the end.
fn verify_blocks(index: &Index, stop: &dyn Fn() -> bool) -> Option<Result<(), FileError>> {
    let file = index.file();
    let checksums = match file.checksums() {
        Ok(checksums) => checksums,
        Err(error) => return Some(Err(error)),
    };
    for block in 0..file.blocks() {
        if let Err(error) = file.verify_block(block, &checksums) {
            return Some(Err(error));
        }
        if stop() {
            return None;
        }
    }
    Some(Ok(()))
}

#[cfg(test)]
mod tests {
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
}
