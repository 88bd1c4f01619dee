//! Files of version 1, written once by the first version of this program and never again: they must open for ever.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use shortlist::arena::Mode;
use shortlist::attributes::{Bitset, Filter, FilterContext};
use shortlist::index::{Index, SearchParams};

/// What the fixture answered when it was written: ids and cosines of the five best.
const ANSWER: [(&str, f32); 5] = [
    ("id-0023", 0.6799873),
    ("id-0030", 0.5296342),
    ("id-0007", 0.47343215),
    ("id-0014", 0.47343215),
    ("id-0029", 0.47343215),
];

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn check(index: &Index) {
    assert_eq!((index.items(), index.nodes(), index.covers()), (40, 32, 7));
    assert_eq!(index.build(), "5cc73949-1e77-4f57-a9f4-66789e089539");
    let query = index.query(&[0.3, -0.1, 0.2, 0.4, -0.2, 0.1]).unwrap();
    let mut all = Bitset::empty(40);
    (0..40).for_each(|item| all.insert(item));
    for exact in [true, false] {
        for allowed in [None, Some(&all)] {
            let found = index.search(&query, &SearchParams { k: 5, ef: 40, allowed, exact }).unwrap();
            for (candidate, (id, similarity)) in found.candidates.iter().zip(ANSWER) {
                assert_eq!(index.id(candidate.item), id);
                assert!((candidate.similarity - similarity).abs() < 1e-6);
            }
        }
    }
    let filter = serde_json::json!({"colour": {"in": ["green"]}, "price": {"gte": 20}});
    let filter = Filter::parse(&filter, &index.schema().attributes).unwrap();
    let green = filter.evaluate(index.columns(), &index.view(0), &FilterContext::default()).unwrap();
    assert_eq!(green.iter().collect::<Vec<_>>(), [22, 25, 28, 31, 34, 37]);
}

#[test]
fn a_file_of_version_1_opens_and_answers() {
    for mode in [Mode::Mapped, Mode::Resident] {
        check(&Index::open(&fixture("version-1.slx"), mode).unwrap());
    }
    check(&Index::verify(&fixture("version-1.slx"), &|_, _| ()).unwrap());
}

#[test]
fn an_unknown_optional_section_is_skipped() {
    let index = Index::verify(&fixture("version-1-unknown-optional.slx"), &|_, _| ()).unwrap();
    let flux = index.file().sections().iter().find(|section| section.name == "flux").unwrap();
    assert!(flux.kind.is_none() && !flux.required);
    check(&index);
}

#[test]
fn an_unknown_required_section_is_refused_by_name() {
    let error =
        Index::open(&fixture("version-1-unknown-required.slx"), Mode::Mapped).unwrap_err().to_string();
    assert!(error.contains("required section \"flux\" (kind 777)"), "{error}");
}
