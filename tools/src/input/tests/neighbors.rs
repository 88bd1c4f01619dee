//! Ground truth of every format: round trips and truncations.

use std::path::Path;

use super::super::neighbors::{write_neighbors_ibin, write_neighbors_npy};
use super::super::npy::write_header;
use super::super::{Neighbors, read_neighbors, write_neighbors};
use super::{Files, tiny_hdf5};

fn sample(with_distances: bool) -> Neighbors {
    let distances = with_distances.then(|| vec![0.5, 1.0, 0.25, 2.0, 0.0, 4.0]);
    Neighbors { rows: 3, columns: 2, ids: vec![0, 1, 7, i32::MAX as u32, 5, 6], distances }
}

fn bytes<T, const SIZE: usize>(numbers: &[T], to_bytes: impl Fn(&T) -> [u8; SIZE]) -> Vec<u8> {
    numbers.iter().flat_map(to_bytes).collect()
}

fn npy(descr: &str, rows: u64, columns: u64, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(&mut out, descr, rows, columns).expect("a header");
    out.extend_from_slice(data);
    out
}

fn error(path: &Path) -> String {
    read_neighbors(path).expect_err("an error").to_string()
}

#[test]
fn what_is_written_is_read() {
    let files = Files::new();
    let (npy, ibin) = (files.path("n.npy"), files.path("n.ibin"));
    write_neighbors_npy(&npy, &sample(true)).expect("written");
    assert_eq!(read_neighbors(&npy).expect("read"), sample(false));
    for with_distances in [false, true] {
        write_neighbors_ibin(&ibin, &sample(with_distances)).expect("written");
        assert_eq!(read_neighbors(&ibin).expect("read"), sample(with_distances));
    }
    assert_eq!(sample(true).row(1), [7, i32::MAX as u32]);
    write_neighbors(&npy, &sample(false)).expect("by extension");
    let error = write_neighbors(&files.path("n.csv"), &sample(false)).expect_err("csv").to_string();
    assert!(
        error.ends_with("neighbours cannot be written to a .csv file; supported are .npy, .ibin"),
        "{error}"
    );
}

#[test]
fn other_kinds_are_read() {
    let files = Files::new();
    let longs = bytes(&[0i64, 1, 7, 2_147_483_647, 5, 6], |id| id.to_le_bytes());
    let path = files.write("long.npy", npy("<i8", 3, 2, &longs));
    assert_eq!(read_neighbors(&path).expect("int64"), sample(false));
    let vecs: Vec<u8> = sample(false)
        .ids
        .chunks(2)
        .flat_map(|row| bytes(&[2, row[0], row[1]], |id| id.to_le_bytes()))
        .collect();
    let path = files.write("a.ivecs", vecs);
    assert_eq!(read_neighbors(&path).expect("ivecs"), sample(false));
    let found = read_neighbors(&tiny_hdf5()).expect("hdf5");
    assert_eq!((found.rows, found.columns, &found.ids[..]), (3, 2, &[0, 1, 1, 2, 2, 3][..]));
    assert_eq!(found.distances, Some(vec![0.5, 1.0, 0.5, 1.0, 0.5, 1.25]));
}

#[test]
fn each_truncation_is_an_error() {
    let files = Files::new();
    let (npy, ibin, far) = (files.path("n.npy"), files.path("n.ibin"), files.path("far.ibin"));
    write_neighbors_npy(&npy, &sample(false)).expect("written");
    write_neighbors_ibin(&ibin, &sample(false)).expect("written");
    write_neighbors_ibin(&far, &sample(true)).expect("written");
    for path in [&npy, &ibin, &far] {
        files.each_truncation(path, |cut, length| match read_neighbors(cut) {
            Err(_) => {}
            // Without any of its distances this is a whole file of ids.
            Ok(found) => assert!(path == &far && length == 32 && found == sample(false)),
        });
    }
    files.each_truncation(&tiny_hdf5(), |cut, _| {
        if let Ok(found) = read_neighbors(cut) {
            assert_eq!(found.ids, [0, 1, 1, 2, 2, 3]);
        }
    });
}

#[test]
fn ids_and_sizes_are_judged() {
    let files = Files::new();
    let path = files.write("n.npy", npy("<i4", 2, 2, &bytes(&[0i32, 1, 2, -1], |id| id.to_le_bytes())));
    assert!(
        error(&path).ends_with("row 1: column 1: id -1 is not between 0 and 4294967295"),
        "{}",
        error(&path)
    );
    let path = files.write("n.npy", npy("<i8", 1, 1, &bytes(&[1i64 << 32], |id| id.to_le_bytes())));
    assert!(error(&path).contains("id 4294967296 is not between"), "{}", error(&path));
    let path = files.write("n.npy", npy("<f4", 1, 1, &[0; 4]));
    assert!(error(&path).contains("neighbours are read from int32, uint32 and int64"), "{}", error(&path));
    let path = files.write("n.ibin", [u32::MAX.to_le_bytes(), 100u32.to_le_bytes()].concat());
    assert!(error(&path).contains("truncated after 0 whole rows"), "{}", error(&path));
    let path = files.write("n.ivecs", bytes(&[1u32, 5, 2, 5], |number| number.to_le_bytes()));
    assert!(error(&path).ends_with("row 1: it has 2 columns, row 0 has 1"), "{}", error(&path));
    let path = files.write("n.ivecs", u32::MAX.to_le_bytes());
    assert!(error(&path).contains("dimension 4294967295"), "{}", error(&path));
    let path = files.write("n.fbin", "");
    assert!(error(&path).contains("neighbours cannot be read from a .fbin file"), "{}", error(&path));
}
