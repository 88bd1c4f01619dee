//! An index file of any bytes: opened or refused, never a panic or a read outside; and what opens can be searched. What
//! verification finds no fault with opens, and unless its checksums were made to fit it answers as before.
//!
//! Input: one byte that chooses; then a whole file, or places and bytes to change in one that is whole. A further bit makes
//! the checksums right again after the changes: so that what lies behind them is met as well.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;
use shortlist::arena::Mode;
use shortlist::file::{IndexFile, Section};
use shortlist::index::Index;

use super::{build, exercise};

const HEADER: usize = 4096;
const BLOCK: usize = 64 * 1024;
const ENTRY: usize = 96;

/// What the first byte chooses.
const CHANGES: u8 = 3;
const RESIDENT: u8 = 4;
const CHECKSUMS: u8 = 8;

struct Whole {
    home: tempfile::TempDir,
    bytes: Vec<u8>,
    /// Bytes of header, sections and table, without padding.
    used: Vec<usize>,
    /// Where the checksums section, the table, the schema and the lineage begin; the latter two with their ends.
    checksums: usize,
    table: usize,
    documents: [std::ops::Range<usize>; 2],
    answers: Vec<Value>,
}

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("whole.slx");
        build(&path);
        let file = IndexFile::open(&path).expect("opened");
        let range = |section: &Section| section.offset as usize..(section.offset + section.length) as usize;
        let sections: Vec<_> = file.sections().iter().map(range).collect();
        let named =
            |name| range(file.sections().iter().find(|section| section.name == name).expect("a section"));
        let documents = ["schema", "lineage"].map(named);
        let bytes = std::fs::read(&path).expect("read");
        let (table, checksums) = (number(&bytes, 256) as usize, sections.last().expect("sections").start);
        let table_entries = table..table + sections.len() * ENTRY;
        let used = (0..412).chain(table_entries).chain(sections.into_iter().flatten()).collect();
        let answers = exercise(&Index::open(&path, Mode::Mapped).expect("opened"));
        Whole { home, bytes, used, checksums, table, documents, answers }
    })
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn put_crc(bytes: &mut [u8], at: usize, from: usize, to: usize) {
    let crc = crc32c::crc32c(&bytes[from..to]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the checksums of blocks, table and header right, and the footer the header's copy.
fn seal(bytes: &mut [u8], whole: &Whole) {
    for (number, from) in (BLOCK..whole.checksums).step_by(BLOCK).enumerate() {
        put_crc(bytes, whole.checksums + 4 * number, from, from + BLOCK);
    }
    for (at, document) in [88, 120].into_iter().zip(&whole.documents) {
        let hash = blake3::hash(&bytes[document.clone()]);
        bytes[at..at + 32].copy_from_slice(hash.as_bytes());
    }
    let end = bytes.len() - HEADER;
    put_crc(bytes, 272, whole.table, end);
    put_crc(bytes, 276, whole.checksums, whole.table);
    put_crc(bytes, HEADER - 4, 0, HEADER - 4);
    bytes.copy_within(0..HEADER, end);
}

/// Opens, searches and verifies.
pub fn run(input: &[u8]) {
    let whole = whole();
    let path: PathBuf = whole.home.path().join("changed.slx");
    let Some((&choice, rest)) = input.split_first() else { return };
    let mut bytes = whole.bytes.clone();
    if choice & CHANGES == 0 {
        bytes = rest.to_vec();
    } else {
        for change in rest.chunks_exact(5) {
            let at = u32::from_le_bytes([change[0], change[1], change[2], change[3]]) as usize;
            bytes[whole.used[at % whole.used.len()]] = change[4];
        }
        if choice & CHECKSUMS != 0 {
            seal(&mut bytes, whole);
        }
    }
    std::fs::write(&path, bytes).expect("written");
    let mode = if choice & RESIDENT == 0 { Mode::Mapped } else { Mode::Resident };
    let answers = Index::open(&path, mode).map(|index| exercise(&index));
    let verified = Index::verify(&path, &|_, _| ());
    match (&answers, &verified) {
        (Err(error), Ok(_)) => panic!("verified, but does not open: {error}"),
        (Ok(answers), Ok(_)) if choice & CHECKSUMS == 0 => {
            assert!(*answers == whole.answers, "other answers")
        }
        (Err(error), _) => assert!(!error.to_string().is_empty()),
        _ => {}
    }
}

/// The file as it is, and with a change in every section, in each field of the header and in the first entries of the table.
pub fn seeds() -> Vec<Vec<u8>> {
    let whole = whole();
    let mut seeds = vec![vec![1], vec![1 | RESIDENT], [&[0][..], &whole.bytes[..HEADER]].concat()];
    let fields = (0..412).step_by(4).chain((412..whole.used.len()).step_by(37));
    for (number, at) in fields.enumerate() {
        let seal = if number % 4 == 3 { 0 } else { CHECKSUMS };
        let value = [0, 1, 0xff, 0x7f][number % 4];
        seeds.push([&[1 | seal][..], &(at as u32).to_le_bytes(), &[value]].concat());
    }
    seeds
}
