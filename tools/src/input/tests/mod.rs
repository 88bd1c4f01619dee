//! Tests of all readers on small files that they write themselves, and on `tests/data/tiny.hdf5`.

mod items;
mod neighbors;
mod vectors;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

/// A directory for one test's files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a written file");
        path
    }

    fn parquet(&self, name: &str, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .expect("a batch");
        let path = self.path(name);
        let file = fs::File::create(&path).expect("a file");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("written rows");
        writer.close().expect("a footer");
        path
    }

    /// Calls `read` with each shorter version of a file, from nothing to all but the last byte.
    fn each_truncation(&self, whole: &Path, mut read: impl FnMut(&Path, usize)) {
        let bytes = fs::read(whole).expect("the whole file");
        let cut = self.path("cut").join(whole.file_name().expect("a name"));
        fs::create_dir_all(cut.parent().expect("a directory")).expect("a directory");
        for length in 0..bytes.len() {
            fs::write(&cut, &bytes[..length]).expect("a cut file");
            read(&cut, length);
        }
    }
}

fn tiny_hdf5() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny.hdf5")
}

fn array(array: impl arrow::array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}
