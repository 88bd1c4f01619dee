//! Vectors of every format: round trips, truncations, hostile headers.

use std::path::Path;

use arrow::array::types::{Float16Type, Float32Type, Float64Type, Int8Type, Int64Type};
use arrow::array::{FixedSizeListArray, Int32Array, LargeListArray, ListArray, StringArray};
use shortlist::vector::Element;

use super::super::npy::write_header;
use super::super::vectors::Chunk;
use super::super::{InputError, VectorOptions, VectorSource};
use super::{Files, array, tiny_hdf5};

const ROWS: usize = 5;
const DIMENSION: usize = 3;

/// The number in a row's column; small, whole, of both signs where the type allows it.
fn number(row: usize, column: usize, element: Element) -> f32 {
    let number = (row * DIMENSION + column) as f32;
    if element == Element::U8 { number } else { number - 7.0 }
}

fn plain(element: Element) -> Vec<u8> {
    let mut out = Vec::new();
    for row in 0..ROWS {
        let numbers: Vec<f32> = (0..DIMENSION).map(|column| number(row, column, element)).collect();
        element.encode(&numbers, &mut out).expect("numbers that fit");
    }
    out
}

fn npy(descr: &str, rows: u64, columns: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(&mut out, descr, rows, columns).expect("a header");
    out.extend_from_slice(bytes);
    out
}

fn bin(rows: u32, columns: u32, bytes: &[u8]) -> Vec<u8> {
    [&rows.to_le_bytes()[..], &columns.to_le_bytes(), bytes].concat()
}

fn vecs(element: Element) -> Vec<u8> {
    let rows = plain(element);
    let rows = rows.chunks_exact(DIMENSION * element.size());
    rows.flat_map(|row| [&(DIMENSION as u32).to_le_bytes()[..], row].concat()).collect()
}

fn f64s() -> Vec<u8> {
    let numbers =
        (0..ROWS).flat_map(|row| (0..DIMENSION).map(move |column| number(row, column, Element::F32)));
    numbers.flat_map(|number| f64::from(number).to_le_bytes()).collect()
}

fn list(row: usize) -> Option<Vec<Option<f32>>> {
    Some((0..DIMENSION).map(|column| Some(number(row, column, Element::F32))).collect())
}

fn open(path: &Path) -> Result<VectorSource, InputError> {
    VectorSource::open(path, &VectorOptions::default())
}

fn read(path: &Path) -> Result<Vec<u8>, InputError> {
    open(path)?.read_all()
}

fn error(path: &Path) -> String {
    read(path).expect_err("an error").to_string()
}

/// One file of each kind with the same vectors, and the element type that comes out.
fn one_of_each(files: &Files) -> Vec<(std::path::PathBuf, Element)> {
    let header = (ROWS as u64, DIMENSION as u64);
    let npy = |descr, bytes: &[u8]| npy(descr, header.0, header.1, bytes);
    let bin = |element| bin(ROWS as u32, DIMENSION as u32, &plain(element));
    let f32s = || ListArray::from_iter_primitive::<Float32Type, _, _>((0..ROWS).map(list));
    let ids = || array(StringArray::from_iter_values((0..ROWS).map(|row| format!("item {row}"))));
    let fixed = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(
        (0..ROWS).map(|row| list(row).map(|row| row.into_iter().map(|x| x.map(f64::from)))),
        DIMENSION as i32,
    );
    let halves = LargeListArray::from_iter_primitive::<Float16Type, _, _>(
        (0..ROWS).map(|row| list(row).map(|row| row.into_iter().map(|x| x.map(half::f16::from_f32)))),
    );
    let bytes = ListArray::from_iter_primitive::<Int8Type, _, _>(
        (0..ROWS).map(|row| list(row).map(|row| row.into_iter().map(|x| x.map(|x| x as i8)))),
    );
    let longs = ListArray::from_iter_primitive::<Int64Type, _, _>(
        (0..ROWS).map(|row| list(row).map(|row| row.into_iter().map(|x| x.map(|x| x as i64)))),
    );
    vec![
        (files.write("f16.npy", npy("<f2", &plain(Element::F16))), Element::F16),
        (files.write("f32.npy", npy("<f4", &plain(Element::F32))), Element::F32),
        (files.write("f64.npy", npy("<f8", &f64s())), Element::F32),
        (files.write("i8.npy", npy("|i1", &plain(Element::I8))), Element::I8),
        (files.write("u8.npy", npy("|u1", &plain(Element::U8))), Element::U8),
        (files.write("a.fvecs", vecs(Element::F32)), Element::F32),
        (files.write("a.bvecs", vecs(Element::U8)), Element::U8),
        (files.write("a.fbin", bin(Element::F32)), Element::F32),
        (files.write("a.u8bin", bin(Element::U8)), Element::U8),
        (files.write("a.I8BIN", bin(Element::I8)), Element::I8),
        (files.parquet("f32.parquet", vec![("id", ids()), ("v", array(f32s()))]), Element::F32),
        (files.parquet("f64.parquet", vec![("v", array(fixed))]), Element::F32),
        (files.parquet("f16.parquet", vec![("v", array(halves))]), Element::F16),
        (files.parquet("i8.parquet", vec![("v", array(bytes))]), Element::I8),
        (files.parquet("i64.parquet", vec![("v", array(longs))]), Element::F32),
    ]
}

#[test]
fn each_kind_gives_the_rows_that_were_written() {
    let files = Files::new();
    for (path, element) in one_of_each(&files) {
        let mut source = open(&path).expect("a source");
        assert_eq!((source.rows(), source.dimension(), source.element()), (ROWS as u64, DIMENSION, element));
        assert_eq!(source.row_bytes(), DIMENSION * element.size());
        assert_eq!(source.read_all().expect("all rows"), plain(element), "{path:?}");
        assert_eq!(source.next_chunk(1).expect("the end"), None);
        for size in [0, 1, 2, 100] {
            assert_chunks(&path, size, &plain(element));
        }
        let mut source = open(&path).expect("a source");
        for row in [4, 0, 2] {
            source.seek(row).expect("a row");
            let chunk = source.next_chunk(1).expect("a chunk").expect("a row");
            let bytes = &plain(element)[row as usize * source.row_bytes()..][..source.row_bytes()];
            assert_eq!(chunk, Chunk { first_row: row, rows: 1, bytes: bytes.to_vec() }, "{path:?}");
        }
        let behind = source.seek(5).expect_err("behind the last").to_string();
        assert!(behind.ends_with("row 5: there is no such row; the file has 5, counted from 0"), "{behind}");
    }
}

fn assert_chunks(path: &Path, size: usize, all: &[u8]) {
    let mut source = open(path).expect("a source");
    let (mut next, mut bytes) = (0, Vec::new());
    while let Some(chunk) = source.next_chunk(size).expect("a chunk") {
        assert_eq!(chunk.first_row, next);
        assert!(chunk.rows >= 1 && chunk.rows <= size.max(1), "{path:?}");
        next += chunk.rows as u64;
        bytes.extend(chunk.bytes);
    }
    assert_eq!(bytes, all, "{path:?}");
}

#[test]
fn each_truncation_of_each_kind_is_an_error() {
    let files = Files::new();
    for (path, element) in one_of_each(&files) {
        files.each_truncation(&path, |cut, length| match read(cut) {
            Err(error) => assert!(error.to_string().starts_with(&cut.display().to_string())),
            Ok(rows) => {
                // Rows of .fvecs and .bvecs have no count before them: a cut between two is a smaller file.
                let row = 4 + DIMENSION * element.size();
                let vecs = path.extension().is_some_and(|kind| kind.to_string_lossy().ends_with("vecs"));
                assert!(
                    vecs && length % row == 0 && rows.len() * row == length * (row - 4),
                    "{path:?} {length}"
                );
            }
        });
    }
}

#[test]
fn ann_benchmarks_files_are_read() {
    let options = |dataset: &str| VectorOptions { dataset: Some(dataset.to_string()), column: None };
    let mut train = open(&tiny_hdf5()).expect("train");
    assert_eq!((train.rows(), train.dimension(), train.element()), (20, 4, Element::F32));
    let rows: Vec<u8> = (0..80u8).flat_map(|number| (f32::from(number) / 8.0).to_le_bytes()).collect();
    assert_eq!(train.read_all().expect("rows"), rows);
    assert_chunks(&tiny_hdf5(), 7, &rows);
    let mut test = VectorSource::open(&tiny_hdf5(), &options("test")).expect("test, compressed f64");
    let rows: Vec<u8> = (0..12u8).flat_map(|number| (f32::from(number) / 8.0 + 0.5).to_le_bytes()).collect();
    assert_eq!(test.read_all().expect("rows"), rows);
    let mut bytes = VectorSource::open(&tiny_hdf5(), &options("bytes")).expect("i8");
    assert_eq!(bytes.element(), Element::I8);
    assert_eq!(bytes.read_all().expect("rows"), (-20..20i8).map(|number| number as u8).collect::<Vec<_>>());
    for (name, part) in [
        ("none", "there is no dataset \"none\"; the file holds: "),
        ("line", "dataset \"line\" has shape [4]; two dimensions are needed"),
        ("neighbors", "vectors are read from float32, float64, int8 and uint8"),
    ] {
        let error = VectorSource::open(&tiny_hdf5(), &options(name)).expect_err(name).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn each_truncation_of_hdf5_is_an_error() {
    let files = Files::new();
    files.each_truncation(&tiny_hdf5(), |cut, _| {
        let all = ["train", "test", "bytes"].map(|name| {
            let options = VectorOptions { dataset: Some(name.to_string()), column: None };
            VectorSource::open(cut, &options).and_then(|mut source| source.read_all())
        });
        assert!(all.iter().any(Result::is_err));
    });
}

#[test]
fn a_damaged_hdf5_never_panics() {
    let files = Files::new();
    let bytes = std::fs::read(tiny_hdf5()).expect("the fixture");
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0xff;
        let path = files.write("damaged.hdf5", damaged);
        let _ = read(&path);
        let _ = super::super::read_neighbors(&path);
    }
}

#[test]
fn a_damaged_parquet_never_panics() {
    let files = Files::new();
    for (path, _) in one_of_each(&files).into_iter().filter(|(path, _)| path.ends_with("f32.parquet")) {
        let bytes = std::fs::read(path).expect("the file");
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0xff;
            let _ = read(&files.write("damaged.parquet", damaged));
        }
    }
}

#[test]
fn hostile_headers_allocate_nothing() {
    let files = Files::new();
    let huge = files.write("huge.npy", npy("<f4", u64::MAX, 65_536, &[0; 64]));
    assert!(error(&huge).contains("truncated after 0 whole rows"), "{}", error(&huge));
    let wide = files.write("wide.npy", npy("<f4", 1, u64::MAX, &[0; 64]));
    assert!(error(&wide).contains("is not between 1 and 65536"), "{}", error(&wide));
    let big = files.write("huge.fbin", bin(u32::MAX, 65_536, &[0; 64]));
    assert!(
        error(&big).contains("= 1,125,899,906,580,480 bytes after byte 8, the file holds 64"),
        "{}",
        error(&big)
    );
    let vecs = files.write("huge.fvecs", u32::MAX.to_le_bytes());
    assert!(error(&vecs).contains("dimension 4294967295 is not between"), "{}", error(&vecs));
    let mut header = npy("<f4", 1, 1, &[0; 4]);
    header[6] = 2;
    header[8..12].fill(0xff);
    let long = files.write("header.npy", header);
    assert!(
        error(&long).contains("a header of 4294967295 bytes is over the limit of 10000"),
        "{}",
        error(&long)
    );
}

#[test]
fn arrays_of_other_kinds_say_what_is_needed() {
    let files = Files::new();
    let with = |text: &str| {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend([0; 16]);
        error(&files.write("other.npy", bytes))
    };
    for (text, part) in [
        ("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", "Fortran order"),
        (
            "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2), }",
            "type is \">f4\"; vectors are read from",
        ),
        ("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 2), }", "type is \"<i4\""),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 2), }", "type is structured"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", "has 1 dimensions, shape [4]"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 1), }", "has 3 dimensions"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, -2), }", "is not whole numbers"),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 2), }",
            "is not whole numbers",
        ),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }", "8 bytes too many"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0), }", "dimension 0 is not between 1 and"),
        ("{'fortran_order': False, 'shape': (2, 2), }", "no 'descr'"),
        ("", "no 'descr'"),
    ] {
        let error = with(text);
        assert!(error.contains(part), "{error}");
    }
    let ok = with("{\"shape\": (2L, 2L), \"fortran_order\": False, \"descr\": \"|i8\"}");
    assert!(ok.contains("\"|i8\""), "{ok}");
}

#[test]
fn rows_and_values_are_named() {
    let files = Files::new();
    let mut rows = vecs(Element::F32);
    rows[16..20].copy_from_slice(&9u32.to_le_bytes());
    let path = files.write("a.fvecs", rows);
    assert!(
        error(&path).ends_with("a.fvecs: row 1: its dimension is 9, that of row 0 is 3"),
        "{}",
        error(&path)
    );
    let numbers: Vec<u8> =
        [1.0, 2.0, 1e300, 4.0].iter().flat_map(|number: &f64| number.to_le_bytes()).collect();
    let path = files.write("a.npy", npy("<f8", 2, 2, &numbers));
    assert!(
        error(&path).ends_with("row 1: column 0: 1e300 is beyond the largest f32, 3.4028235e38"),
        "{}",
        error(&path)
    );
    let nan: Vec<u8> = [f64::NAN, f64::INFINITY].iter().flat_map(|number| number.to_le_bytes()).collect();
    assert!(read(&files.write("nan.npy", npy("<f8", 1, 2, &nan))).is_ok(), "the caller judges these");
    let error = open(&files.write("a.txt", "")).expect_err("text").to_string();
    assert!(error.contains("vectors cannot be read from a .txt file; supported are .npy, .fvecs"), "{error}");
    let error = open(&files.write("vectors", "")).expect_err("no extension").to_string();
    assert!(error.contains("a file without an extension"), "{error}");
    assert!(open(&files.path("none.npy")).expect_err("none").to_string().contains("cannot open: "));
    std::fs::create_dir(files.path("dir.npy")).expect("a directory");
    assert!(open(&files.path("dir.npy")).expect_err("dir").to_string().contains("is not a regular file"));
}

#[test]
fn parquet_columns_are_chosen_and_judged() {
    let files = Files::new();
    let lists = |rows: Vec<Option<Vec<Option<f32>>>>| {
        array(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
    };
    let row = |numbers: &[f32]| Some(numbers.iter().copied().map(Some).collect::<Vec<_>>());
    let number = array(Int32Array::from(vec![1, 2]));
    let good = || lists(vec![row(&[1.0, 2.0]), row(&[3.0, 4.0])]);
    let two = files.parquet("two.parquet", vec![("a", good()), ("n", number.clone()), ("b", good())]);
    assert!(
        error(&two).ends_with(
            "several columns could be the vectors, name one: lists of numbers are in \"a\", \"b\""
        )
    );
    let named = |column: &str| {
        VectorSource::open(&two, &VectorOptions { column: Some(column.to_string()), dataset: None })
            .and_then(|mut source| source.read_all())
    };
    assert_eq!(named("b").expect("b").len(), 16);
    assert!(
        named("n").expect_err("n").to_string().contains("column \"n\" is Int32, not a list of numbers; ")
    );
    assert!(named("c").expect_err("c").to_string().contains("there is no column \"c\"; "));
    for (rows, part) in [
        (vec![row(&[1.0, 2.0]), row(&[3.0])], "row 1: column \"v\": 1 numbers, row 0 has 2"),
        (vec![row(&[1.0, 2.0]), None], "row 1: column \"v\": null instead of a vector"),
        (vec![row(&[1.0, 2.0]), Some(vec![Some(1.0), None])], "row 1: column \"v\": null at position 1"),
        (vec![], "column \"v\": there are no rows"),
    ] {
        let path = files.parquet("bad.parquet", vec![("v", lists(rows))]);
        assert!(error(&path).contains(part), "{}", error(&path));
    }
    let none = files.parquet("none.parquet", vec![("n", number)]);
    assert!(
        error(&none).ends_with("no column is a list of numbers, so there are no vectors"),
        "{}",
        error(&none)
    );
    let long =
        ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1 << 24), Some((1 << 24) + 1)])]);
    let long = files.parquet("long.parquet", vec![("v", array(long))]);
    assert!(error(&long).contains("16777217 does not fit f32"), "{}", error(&long));
}
