//! A whole index against brute force over what went in: every metric and element, duplicates, filters, damage.

use std::path::PathBuf;

use super::*;
use crate::arena::Mode;
use crate::attributes::{AttributeSchema, Bitset, Filter, FilterContext, ItemFacts, Value};
use crate::file::{ElementCode, FileWriter, Kind};
use crate::vector::{Element, Metric};
use serde_json::json;

/// A deterministic stream of numbers in -0.5..0.5.
fn stream(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }
}

/// `rows` vectors, every fifth a repeat of an earlier one, in values that each element type holds.
fn data(rows: usize, dimension: usize, element: Element, seed: u64) -> Vec<Vec<f32>> {
    let mut random = stream(seed);
    let mut vectors: Vec<Vec<f32>> = Vec::new();
    for row in 0..rows {
        if row % 5 == 4 {
            vectors.push(vectors[row / 2].clone());
            continue;
        }
        vectors.push(
            (0..dimension)
                .map(|_| match element {
                    Element::I8 => (random() * 200.0).round(),
                    Element::U8 => ((random() + 0.5) * 200.0).round(),
                    Element::F16 => half::f16::from_f32(random()).to_f32(),
                    Element::F32 => random(),
                })
                .collect(),
        );
    }
    vectors
}

fn options(metric: Metric, element: Element, dimension: usize, rows: usize) -> BuildOptions {
    let mut schema = Schema::new(dimension, metric);
    schema.element = element;
    schema.hnsw = Hnsw { m: 8, ef_construction: 60 };
    schema.attributes =
        AttributeSchema::from_json(&json!({"colour": "keyword", "price": "int"})).expect("valid");
    BuildOptions {
        schema,
        rows,
        threads: 1,
        seed: 1,
        covers: 7,
        collection: None,
        lineage: json!({"made": "by a test"}),
        now: 1_000,
    }
}

fn built(metric: Metric, element: Element, vectors: &[Vec<f32>], directory: &tempfile::TempDir) -> PathBuf {
    let path = directory.path().join(format!("{metric}-{element}.slx"));
    let mut builder =
        IndexBuilder::new(options(metric, element, vectors[0].len(), vectors.len())).expect("options");
    let mut bytes = Vec::new();
    for (row, vector) in vectors.iter().enumerate() {
        bytes.clear();
        Element::F32.encode(vector, &mut bytes).expect("finite");
        builder.push_rows(Element::F32, &bytes).expect("rows");
        let colour = Value::Keyword(["red", "green", "blue"][row % 3].into());
        let id = id_of(row, vectors.len());
        builder.push_item(&id, None, &[Some(colour), Some(Value::Int(row as i64))]).expect("item");
    }
    let report = builder.finish(&path, &|_, _, _| ()).expect("build");
    assert_eq!((report.items, report.reach.left), (vectors.len(), 0));
    path
}

/// Ids whose order is not that of the rows: odd rows count from the end.
fn id_of(row: usize, rows: usize) -> String {
    format!("id-{:04}", if row.is_multiple_of(2) { row } else { 2 * rows - row })
}

fn similarity(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    match metric {
        Metric::Dot => dot(a, b),
        Metric::Cosine => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        Metric::L2 => -a.iter().zip(b).map(|(&a, &b)| f64::from(a - b).powi(2)).sum::<f64>(),
    }
}

/// Similarities of the k best allowed items, by brute force in f64.
fn oracle(
    metric: Metric,
    vectors: &[Vec<f32>],
    query: &[f32],
    k: usize,
    allowed: &dyn Fn(usize) -> bool,
) -> Vec<f64> {
    let mut all: Vec<f64> = (0..vectors.len())
        .filter(|&row| allowed(row))
        .map(|row| similarity(metric, query, &vectors[row]))
        .collect();
    all.sort_by(|a, b| b.total_cmp(a));
    all.truncate(k);
    all
}

const PAIRS: [(Metric, Element); 9] = [
    (Metric::Cosine, Element::F32),
    (Metric::Cosine, Element::F16),
    (Metric::Cosine, Element::I8),
    (Metric::Dot, Element::F32),
    (Metric::Dot, Element::F16),
    (Metric::Dot, Element::I8),
    (Metric::L2, Element::F32),
    (Metric::L2, Element::I8),
    (Metric::L2, Element::U8),
];

#[test]
fn every_metric_and_element_finds_what_brute_force_finds() {
    let directory = tempfile::tempdir().expect("directory");
    for (metric, element) in PAIRS {
        let vectors = data(900, 20, element, 1);
        let path = built(metric, element, &vectors, &directory);
        for mode in [Mode::Mapped, Mode::Resident] {
            let index = Index::open(&path, mode).expect("open");
            let (mut hits, mut wanted) = (0, 0);
            for query in data(40, 20, element, 99) {
                for (name, allowed) in [("all", None), ("some", Some(2usize)), ("few", Some(50))] {
                    let passes = move |row: usize| allowed.is_none_or(|every| row % every == 1);
                    let bits = Bitset::from_fn(vectors.len(), |item| passes(item as usize));
                    let params =
                        |exact| SearchParams { k: 12, ef: 80, allowed: allowed.map(|_| &bits), exact };
                    let query_ready = index.query(&query).expect("query");
                    let want = oracle(metric, &vectors, &query, 12, &passes);
                    for exact in [true, false] {
                        let found = index.search(&query_ready, &params(exact)).expect("search");
                        assert_eq!(
                            found.candidates.len(),
                            want.len(),
                            "{metric} {element} {name}: never fewer"
                        );
                        let mut seen = std::collections::HashSet::new();
                        for candidate in &found.candidates {
                            assert!(seen.insert(candidate.item) && passes(candidate.item as usize));
                            let true_one = similarity(metric, &query, &vectors[candidate.item as usize]);
                            let slack = 1e-4 * (1.0 + true_one.abs());
                            assert!(
                                (f64::from(candidate.similarity) - true_one).abs() < slack,
                                "{metric} {element}"
                            );
                            assert_eq!(index.similarity(&query_ready, candidate.item), candidate.similarity);
                        }
                        let worst = want.last().copied().unwrap_or(f64::NEG_INFINITY);
                        let good = found
                            .candidates
                            .iter()
                            .filter(|c| f64::from(c.similarity) >= worst - 1e-4 * (1.0 + worst.abs()))
                            .count();
                        if exact {
                            assert_eq!(good, want.len(), "{metric} {element} {name}: exact is exact");
                        } else {
                            hits += good;
                            wanted += want.len();
                        }
                    }
                }
            }
            let recall = f64::from(hits as u32) / wanted as f64;
            assert!(recall > 0.97, "{metric} {element} {mode:?}: {recall}");
        }
    }
}

#[test]
fn vectors_of_few_numbers_are_found() {
    let directory = tempfile::tempdir().expect("directory");
    // A town of some streets, far from where its coordinates are 0: hardly any codes tell its houses apart.
    let town = |element: Element, dimension: usize| {
        let mut random = stream(5);
        let spread = if element == Element::F16 { 0.5 } else { 0.004 };
        let mut house = || half::f16::from_f32(random()).to_f32() * spread;
        let mut vectors: Vec<Vec<f32>> =
            (0..1_500).map(|_| (0..dimension).map(|_| 1.0 + house()).collect()).collect();
        vectors.push(vec![100.0; dimension]);
        vectors
            .into_iter()
            .map(|vector| match element {
                Element::F16 => vector.into_iter().map(|x| half::f16::from_f32(x).to_f32()).collect(),
                _ => vector,
            })
            .collect::<Vec<Vec<f32>>>()
    };
    for (metric, element, dimension) in [
        (Metric::L2, Element::F32, 1),
        (Metric::L2, Element::F32, 2),
        (Metric::L2, Element::F16, 3),
        (Metric::L2, Element::F32, 16),
        (Metric::Cosine, Element::F32, 4),
    ] {
        let vectors = town(element, dimension);
        let index = Index::open(&built(metric, element, &vectors, &directory), Mode::Mapped).expect("open");
        let (mut hits, mut wanted) = (0, 0);
        for query in vectors.iter().step_by(50) {
            let ready = index.query(query).expect("query");
            let want = oracle(metric, &vectors, query, 10, &|_| true);
            let params = SearchParams { k: 10, ef: 60, allowed: None, exact: false };
            let found = index.search(&ready, &params).expect("search").candidates;
            let slack = if metric == Metric::Cosine { 2e-7 } else { 1e-9 };
            hits += found.iter().filter(|c| f64::from(c.similarity) >= want[9] - slack).count();
            wanted += 10;
        }
        assert!(hits * 100 >= wanted * 97, "{metric} {element} {dimension}: {hits} of {wanted}");
    }
}

#[test]
fn a_large_family_on_one_vector_is_neither_lost_nor_repeated() {
    let directory = tempfile::tempdir().expect("directory");
    let mut vectors = data(300, 8, Element::F32, 3);
    for row in 100..250 {
        vectors[row] = vectors[0].clone();
    }
    let path = built(Metric::Cosine, Element::F32, &vectors, &directory);
    let index = Index::open(&path, Mode::Mapped).expect("open");
    assert!(index.nodes() < 150);
    let query = index.query(&vectors[0]).expect("query");
    for k in [1, 10, 151, 200, 300] {
        let found =
            index.search(&query, &SearchParams { k, ef: 10, allowed: None, exact: false }).expect("search");
        assert_eq!(found.candidates.len(), k);
        let family = found.candidates.iter().filter(|c| c.similarity > 0.99999).count();
        assert!(family >= k.min(150), "{family} of the family in {k}");
        let ids: Vec<&str> = found.candidates.iter().take(family).map(|c| index.id(c.item)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "equal similarities order by id");
        let mut all: Vec<String> =
            (0..300).filter(|&row| vectors[row] == vectors[0]).map(|row| id_of(row, 300)).collect();
        all.sort();
        let least = k.min(all.len());
        assert_eq!(ids[..least], all[..least], "the first k of the family by id, wherever k cuts it");
    }
    let mut last = Bitset::empty(300);
    last.insert(249);
    let params = SearchParams { k: 5, ef: 10, allowed: Some(&last), exact: false };
    assert_eq!(index.search(&query, &params).expect("search").candidates.len(), 1);
}

#[test]
fn one_absurd_number_does_not_blind_the_walk() {
    let directory = tempfile::tempdir().expect("directory");
    let mut vectors = data(1000, 12, Element::F32, 21);
    vectors[3][5] = 1e6;
    let index =
        Index::open(&built(Metric::L2, Element::F32, &vectors, &directory), Mode::Mapped).expect("open");
    let mut hits = 0;
    for query in data(50, 12, Element::F32, 22) {
        let want = oracle(Metric::L2, &vectors, &query, 10, &|_| true);
        let params = SearchParams { k: 10, ef: 100, allowed: None, exact: false };
        let found = index.search(&index.query(&query).expect("query"), &params).expect("search");
        let least = want[9] - 1e-4;
        hits += found.candidates.iter().filter(|c| f64::from(c.similarity) >= least).count();
    }
    assert!(hits >= 480, "{hits} of 500");
}

#[test]
fn items_keep_their_ids_attributes_and_times() {
    let directory = tempfile::tempdir().expect("directory");
    let vectors = data(100, 6, Element::F32, 4);
    let index =
        Index::open(&built(Metric::L2, Element::F32, &vectors, &directory), Mode::Mapped).expect("open");
    assert_eq!((index.covers(), index.lineage()), (7, &json!({"made": "by a test"})));
    let mut vector = Vec::new();
    let view = index.view(0);
    for row in [0u32, 4, 99] {
        let item = view.find(&id_of(row as usize, 100)).expect("found");
        assert_eq!((item, view.inserted_at(item), ItemFacts::seq(&view, item)), (row, 1_000, 7));
        assert_eq!(index.columns().to_json(item)["price"], json!(row));
        index.vector(item, &mut vector);
        assert_eq!(vector, vectors[row as usize]);
    }
    assert_eq!(view.find("id-9100"), None);
    let filter = json!({"colour": "red", "price": {"lt": 30}});
    let filter = Filter::parse(&filter, &index.schema().attributes).expect("valid");
    let bits = filter.evaluate(index.columns(), &view, &FilterContext::default()).expect("evaluated");
    assert_eq!(bits.count(), 10);
}

#[test]
fn an_empty_index_answers_with_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("empty.slx");
    let builder = IndexBuilder::new(options(Metric::Cosine, Element::F32, 4, 0)).expect("options");
    builder.finish(&path, &|_, _, _| ()).expect("build");
    let index = Index::verify(&path, &|_, _| ()).expect("verified");
    let query = index.query(&[1.0, 0.0, 0.0, 0.0]).expect("query");
    let view = index.view(0);
    for exact in [true, false] {
        let found =
            view.search(&query, &SearchParams { k: 5, ef: 10, allowed: None, exact }).expect("search");
        assert!(found.candidates.is_empty() && found.kind == PlanKind::None);
    }
}

#[test]
fn bad_vectors_and_parameters_are_named() {
    let directory = tempfile::tempdir().expect("directory");
    let vectors = data(50, 4, Element::F32, 5);
    let index =
        Index::open(&built(Metric::Cosine, Element::F32, &vectors, &directory), Mode::Mapped).expect("open");
    let cases: [(&[f32], &str); 6] = [
        (&[1e-40, 0.0, 0.0, 0.0], "shorter than 1e-18"),
        (&[1.0; 3], "3 numbers, this collection's dimension is 4"),
        (&[1.0, f32::NAN, 0.0, 0.0], "number 1 of the vector is NaN"),
        (&[1.0, 0.0, f32::INFINITY, 0.0], "number 2 of the vector is inf"),
        (&[0.0; 4], "zero vector"),
        (&[1e30; 4], "at most 1e18"),
    ];
    for (vector, want) in cases {
        let error = index.query(vector).expect_err("refused").to_string();
        assert!(error.contains(want), "{error:?} does not contain {want:?}");
    }
    let query = index.query(&[1.0; 4]).expect("query");
    for (k, ef, want) in [(0, 10, "k is 0"), (1_000_000, 10, "k is 1000000"), (1, 0, "ef is 0")] {
        let params = SearchParams { k, ef, allowed: None, exact: false };
        let error = index.search(&query, &params).expect_err("refused").to_string();
        assert!(error.contains(want) && error.contains("1 to 100000"), "{error}");
    }
}

#[test]
fn bad_input_to_a_build_names_its_row() {
    let start = || IndexBuilder::new(options(Metric::Cosine, Element::F16, 2, 3)).expect("options");
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let cases: [(&[f32], &str); 4] = [
        (&[1.0, 2.0, f32::NAN, 0.0], "row 1: number 0 of the vector is NaN"),
        (&[1.0, 2.0, 1.0, 2.0, 0.0, 0.0], "row 2: a zero vector"),
        (&[70_000.0, 1.0], "row 0: value 70000 at position 0 cannot be stored as f16"),
        (&[1e-9, 0.0], "row 0: as f16: a zero vector"),
    ];
    for (values, want) in cases {
        let error = start().push_rows(Element::F32, &bytes(values)).expect_err("refused").to_string();
        assert!(error.contains(want), "{error:?} does not contain {want:?}");
    }
    let mut builder = start();
    builder.push_item("a", None, &[None, None]).expect("item");
    let error = builder.push_item("a", None, &[None, None]).expect_err("refused").to_string();
    assert_eq!(error, "row 1: id \"a\" is already the id of row 0");
    let directory = tempfile::tempdir().expect("directory");
    let error = builder.finish(&directory.path().join("x"), &|_, _, _| ()).expect_err("refused").to_string();
    assert!(error.starts_with("0 vectors but 1 items"), "{error}");
}

/// A small index to damage, and what its searches answer when whole.
fn small() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let directory = tempfile::tempdir().expect("directory");
    let path = built(Metric::Cosine, Element::F32, &data(40, 6, Element::F32, 8), &directory);
    let bytes = std::fs::read(&path).expect("read");
    (directory, path, bytes)
}

/// Uses an index as a server would; whatever is damaged, this ends without a panic.
fn exercise(index: &Index) {
    let Ok(query) = index.query(&vec![0.3; index.schema().dimension]) else { return };
    let view = index.view(0);
    for exact in [true, false] {
        let found =
            view.search(&query, &SearchParams { k: 20, ef: 30, allowed: None, exact }).expect("in range");
        for candidate in found.candidates {
            let _ = (
                index.id(candidate.item),
                index.columns().to_json(candidate.item),
                view.find(index.id(candidate.item)),
            );
        }
    }
    if let Ok(filter) = Filter::parse(&json!({"colour": "red"}), &index.schema().attributes) {
        let bits = filter.evaluate(index.columns(), &view, &FilterContext::default()).expect("no context");
        let params = SearchParams { k: 20, ef: 30, allowed: Some(&bits), exact: false };
        let _ = index.search(&query, &params).expect("in range");
    }
}

/// Flips a bit of one byte after the other: `verify` reports each, and no open or search panics. Every byte with
/// SHORTLIST_EVERY_BYTE=1 (minutes), or those of SHORTLIST_EVERY_BYTE=from..to; else a sample: every seventh in use, and
/// some of the padding.
#[test]
fn every_flipped_byte_is_reported_by_verify_and_harmless_without() {
    let (directory, path, bytes) = small();
    let every = std::env::var("SHORTLIST_EVERY_BYTE").ok();
    let range =
        every.as_deref().and_then(|range| range.split_once("..")).map_or(0..bytes.len(), |(from, to)| {
            from.parse().expect("a number")..to.parse::<usize>().expect("a number").min(bytes.len())
        });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let flip = |thread: usize| {
        let copy = directory.path().join(format!("copy-{thread}.slx"));
        std::fs::copy(&path, &copy).expect("copy");
        let mine = range.clone().filter(|at| at % threads == thread);
        let flipped = mine.filter(|&at| flip_and_look(&copy, &bytes, at, every.is_some())).count();
        Index::verify(&copy, &|_, _| ()).expect("whole again");
        flipped
    };
    let flip = &flip;
    let flipped: usize = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || flip(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert!(flipped > 1000, "{flipped}");
}

/// False when the byte is not in the sample.
fn flip_and_look(path: &std::path::Path, bytes: &[u8], at: usize, every: bool) -> bool {
    let file = crate::file::IndexFile::open(path).expect("whole until now");
    let mut used = file.sections().iter().map(|section| section.offset..section.offset + section.length);
    let in_use = used.any(|range| range.contains(&(at as u64)));
    let edge = at < 4096 || at >= bytes.len() - 4096 - 96 * 40;
    let step = if in_use {
        7
    } else if edge {
        13
    } else {
        4099
    };
    if !every && !at.is_multiple_of(step) {
        return false;
    }
    write_at(path, at, bytes[at] ^ (1 << (at % 8)));
    assert!(Index::verify(path, &|_, _| ()).is_err(), "byte {at} flipped: verify did not notice");
    match Index::open(path, Mode::Mapped) {
        // Padding is read by nobody but `verify`.
        Ok(index) if in_use || edge => exercise(&index),
        _ => {}
    }
    write_at(path, at, bytes[at]);
    true
}

fn write_at(path: &std::path::Path, at: usize, byte: u8) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("open to damage");
    file.write_all_at(&[byte], at as u64).expect("write");
}

#[test]
fn every_truncation_is_refused_at_open() {
    let (directory, path, bytes) = small();
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("open");
    let every = std::env::var_os("SHORTLIST_EVERY_BYTE").is_some();
    for length in (0..bytes.len() as u64).rev().step_by(if every { 1 } else { 997 }).chain(0..10) {
        file.set_len(length).expect("truncate");
        assert!(Index::open(&path, Mode::Mapped).is_err(), "opened with {length} bytes");
    }
    drop(directory);
}

/// Contents that are wrong under right checksums: random words in every section, rewritten as a valid file.
#[test]
fn wrong_numbers_under_right_checksums_are_harmless_and_verify_tells() {
    let (directory, path, bytes) = small();
    let file = crate::file::IndexFile::open(&path).expect("open");
    let forged = directory.path().join("forged.slx");
    let mut random = stream(11);
    let mut told = 0;
    for round in 0..300 {
        let mut out = FileWriter::new(std::io::Cursor::new(Vec::new())).expect("memory");
        let victim = round % file.sections().len();
        for (at, section) in file.sections().iter().enumerate() {
            let Some(kind) = section.kind.filter(|&kind| kind != Kind::Checksums) else { continue };
            let mut contents = bytes[section.offset as usize..][..section.length as usize].to_vec();
            if at == victim && !matches!(kind, Kind::Schema | Kind::Lineage | Kind::Report) {
                for _ in 0..3 {
                    let place = ((random() + 0.5) * contents.len().max(1) as f32) as usize;
                    if let Some(byte) = contents.get_mut(place) {
                        *byte = (random() * 512.0) as i32 as u8;
                    }
                }
            }
            out.section(kind, section.instance, ElementCode::Bytes, section.stride as usize, &contents)
                .expect("memory");
        }
        let out = out.finish(file.header().facts.clone()).expect("memory").into_inner();
        std::fs::write(&forged, out).expect("write");
        told += usize::from(Index::verify(&forged, &|_, _| ()).is_err());
        if let Ok(index) = Index::open(&forged, Mode::Mapped) {
            exercise(&index);
        }
    }
    assert!(told > 100, "verify told only {told} of 300");
}

#[test]
fn sections_of_the_future_are_skipped_or_refused_by_name() {
    let (directory, path, bytes) = small();
    let file = crate::file::IndexFile::open(&path).expect("open");
    for (name, required) in [("colour-wheel", false), ("flux", true)] {
        let future = directory.path().join(name);
        let mut out = FileWriter::new(std::io::Cursor::new(Vec::new())).expect("memory");
        for section in file.sections() {
            let Some(kind) = section.kind.filter(|&kind| kind != Kind::Checksums) else { continue };
            let contents = &bytes[section.offset as usize..][..section.length as usize];
            out.section(kind, section.instance, ElementCode::Bytes, section.stride as usize, contents)
                .expect("memory");
        }
        out.foreign(777, name, required, b"from later").expect("memory");
        std::fs::write(&future, out.finish(file.header().facts.clone()).expect("memory").into_inner())
            .expect("write");
        match Index::verify(&future, &|_, _| ()) {
            Ok(index) => {
                assert!(!required && index.file().sections().iter().any(|section| section.name == name))
            }
            Err(error) => assert!(
                required && error.to_string().contains("required section \"flux\" (kind 777)"),
                "{error}"
            ),
        }
    }
}

#[test]
fn not_an_index_is_said_so() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("x.slx");
    for (contents, want) in [
        (vec![], "truncated: 0 bytes"),
        (b"hello, I am a text file".to_vec(), "not an index file"),
        (vec![0; 300_000], "not an index file"),
    ] {
        std::fs::write(&path, contents).expect("write");
        let error = Index::open(&path, Mode::Mapped).expect_err("refused").to_string();
        assert!(error.contains(want) && error.contains("x.slx"), "{error}");
    }
}

#[test]
fn a_deadline_ends_a_search_with_the_best_so_far() {
    let directory = tempfile::tempdir().expect("directory");
    let vectors = data(3_000, 12, Element::F32, 31);
    let index =
        Index::open(&built(Metric::L2, Element::F32, &vectors, &directory), Mode::Mapped).expect("open");
    let query = index.query(&vectors[17]).expect("a vector");
    let half = Bitset::from_fn(3_000, |item| item % 2 == 1);
    for (allowed, exact) in [(None, false), (Some(&half), false), (None, true), (Some(&half), true)] {
        let params = SearchParams { k: 500, ef: 1_000, allowed, exact };
        let view = index.view(0);
        let whole = view.search(&query, &params).expect("in range");
        assert!(!whole.interrupted && whole.candidates.len() == 500);
        view.set_deadline(Some(std::time::Instant::now()));
        let cut = view.search(&query, &params).expect("in range");
        assert!(cut.interrupted, "{allowed:?} {exact}");
        assert!(cut.visited < whole.visited, "{} of {}", cut.visited, whole.visited);
        assert!(
            !cut.candidates.is_empty() && cut.candidates.is_sorted_by(|a, b| a.similarity >= b.similarity)
        );
        for one in &cut.candidates {
            assert_eq!(one.similarity, index.similarity(&query, one.item), "compared as always");
        }
        view.set_deadline(None);
        assert_eq!(view.search(&query, &params).expect("in range").candidates, whole.candidates);
    }
}

/// Vectors in all directions whose lengths differ widely: the longest are near every query, and near each other never.
#[test]
fn long_vectors_are_found_in_every_direction() {
    let mut random = stream(3);
    let mut vector = |spread: f32| -> Vec<f32> {
        let length = (spread * (0..12).map(|_| random()).sum::<f32>()).exp();
        (0..24).map(|_| (0..4).map(|_| random()).sum::<f32>() * length).collect()
    };
    let vectors: Vec<Vec<f32>> = (0..6_000).map(|_| vector(0.7)).collect();
    let directory = tempfile::tempdir().expect("directory");
    let path = built(Metric::Dot, Element::F32, &vectors, &directory);
    let index = Index::open(&path, Mode::Mapped).expect("open");
    let half = Bitset::from_fn(vectors.len(), |item| item % 2 == 1);
    for allowed in [None, Some(&half)] {
        let mut found = 0;
        for _ in 0..50 {
            let query = vector(0.0);
            let best = oracle(Metric::Dot, &vectors, &query, 100, &|row| allowed.is_none() || row % 2 == 1);
            let params = SearchParams { k: 100, ef: 200, allowed, exact: false };
            let answer = index.search(&index.query(&query).expect("valid"), &params).expect("in range");
            let enough = best[99] - 1e-5;
            found += answer.candidates.iter().filter(|one| f64::from(one.similarity) >= enough).count();
        }
        let recall = found as f64 / 5_000.0;
        assert!(recall >= 0.98, "{recall}, filtered: {}", allowed.is_some());
    }
}

#[test]
fn inner_products_are_found_whatever_the_vectors_are_like() {
    let mut random = stream(9);
    let mut vector = |dimension: usize| -> Vec<f32> {
        (0..dimension).map(|_| (0..6).map(|_| random()).sum::<f32>()).collect()
    };
    let mut vectors = |dimension: usize| -> Vec<Vec<f32>> { (0..3_000).map(|_| vector(dimension)).collect() };
    let unit = |vector: &Vec<f32>| -> Vec<f32> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter().map(|x| x / length).collect()
    };
    // Directions finer than bytes tell; one number far larger than all others; one vector far longer; another unit of length.
    let plane: Vec<_> = vectors(2).iter().map(unit).collect();
    let mut constant = vectors(32);
    constant.iter_mut().for_each(|vector| vector[7] = 1_000.0);
    let mut one_long: Vec<_> = vectors(24).iter().map(unit).collect();
    one_long[5].iter_mut().for_each(|x| *x *= 1e4);
    let mut large = vectors(24);
    let lengths = data(large.len(), 1, Element::F32, 4);
    large.iter_mut().zip(&lengths).for_each(|(vector, by)| {
        vector.iter_mut().for_each(|x| *x *= 1e4 * (2.0 * by[0]).exp());
    });
    let directory = tempfile::tempdir().expect("directory");
    for (name, vectors) in
        [("plane", plane), ("constant", constant), ("one long", one_long), ("large", large)]
    {
        let path = built(Metric::Dot, Element::F32, &vectors, &directory);
        let index = Index::open(&path, Mode::Mapped).expect("open");
        let mut hits = 0;
        for query in data(50, vectors[0].len(), Element::F32, 23) {
            let best = oracle(Metric::Dot, &vectors, &query, 10, &|_| true);
            let params = SearchParams { k: 10, ef: 100, allowed: None, exact: false };
            let answer = index.search(&index.query(&query).expect("valid"), &params).expect("in range");
            let enough = best[9] - 1e-6 * best[0].abs().max(1e-3);
            hits += answer.candidates.iter().filter(|one| f64::from(one.similarity) >= enough).count();
        }
        assert!(hits >= 485, "{name}: {hits} of 500");
    }
}

#[test]
fn a_bias_beside_the_factors_of_a_model_does_not_spoil_the_links() {
    let mut random = stream(11);
    let mut normal = || (0..12).map(|_| random()).sum::<f32>();
    let factors = |spread: f32, bias: f32, normal: &mut dyn FnMut() -> f32| -> Vec<f32> {
        let size = 0.2 * (spread * normal()).exp();
        let mut vector: Vec<f32> = (0..64).map(|_| size * normal()).collect();
        vector[0] = bias * (1.0 + 0.23 * normal());
        vector
    };
    let vectors: Vec<_> = (0..8_000).map(|_| factors(0.4, 3.0, &mut normal)).collect();
    let directory = tempfile::tempdir().expect("directory");
    let path = built(Metric::Dot, Element::F32, &vectors, &directory);
    let index = Index::open(&path, Mode::Mapped).expect("open");
    let mut hits = 0;
    for _ in 0..50 {
        let mut query = factors(0.0, 1.0, &mut normal);
        query[0] = 0.0;
        let best = oracle(Metric::Dot, &vectors, &query, 100, &|_| true);
        let params = SearchParams { k: 100, ef: 200, allowed: None, exact: false };
        let answer = index.search(&index.query(&query).expect("valid"), &params).expect("in range");
        let enough = best[99] - 1e-5;
        hits += answer.candidates.iter().filter(|one| f64::from(one.similarity) >= enough).count();
    }
    assert!(hits >= 4_400, "{hits} of 5,000");
}
