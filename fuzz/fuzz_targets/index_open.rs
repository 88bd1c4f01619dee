//! An index file of any bytes: opened or refused, never a panic or a read outside; and what opens can be searched.
//!
//! Input: one byte that chooses; then a whole file, or places and bytes to change in one that is whole.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use shortlist::arena::Mode;
use shortlist::file::IndexFile;
use shortlist::index::Index;
use shortlist_fuzz::{build, exercise};

struct Whole {
    home: tempfile::TempDir,
    bytes: Vec<u8>,
    /// Bytes of header and sections, without padding.
    used: Vec<usize>,
}

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("whole.slx");
        build(&path);
        let file = IndexFile::open(&path).unwrap();
        let sections = file.sections().iter();
        let sections = sections.flat_map(|section| section.offset as usize..(section.offset + section.length) as usize);
        let used = sections.chain(0..4096).collect();
        Whole { bytes: std::fs::read(&path).unwrap(), used, home }
    })
}

fuzz_target!(|input: &[u8]| {
    let whole = whole();
    let path: PathBuf = whole.home.path().join("changed.slx");
    let Some((&choice, rest)) = input.split_first() else { return };
    let mut bytes = whole.bytes.clone();
    if choice & 3 == 0 {
        bytes = rest.to_vec();
    } else {
        for change in rest.chunks_exact(5) {
            let at = u32::from_le_bytes([change[0], change[1], change[2], change[3]]) as usize;
            bytes[whole.used[at % whole.used.len()]] = change[4];
        }
    }
    std::fs::write(&path, bytes).unwrap();
    let mode = if choice & 4 == 0 { Mode::Mapped } else { Mode::Resident };
    if let Ok(index) = Index::open(&path, mode) {
        exercise(&index);
    }
    let _ = Index::verify(&path, &|_, _| ());
});
