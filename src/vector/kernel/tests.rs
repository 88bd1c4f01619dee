//! Every backend against the scalar oracle: lengths 0..=257 at every misalignment, and the extreme values.

use std::panic::AssertUnwindSafe;

use super::*;

const PAIRS: [(Element, Element); 6] = [
    (Element::F32, Element::F32),
    (Element::F32, Element::F16),
    (Element::F32, Element::I8),
    (Element::F32, Element::U8),
    (Element::I8, Element::I8),
    (Element::U8, Element::U8),
];

const OPERATIONS: [Operation; 2] = [Operation::Dot, Operation::L2];

/// Every length; under Miri, which is far slower, some.
const STEP: usize = if cfg!(miri) { 67 } else { 1 };
/// Long rows, which Miri does without.
const LONG: &[usize] = if cfg!(miri) { &[] } else { &[384, 768, 1000, 4096] };

/// A deterministic byte stream (splitmix64).
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `dimension` elements of a kind, the extremes among them, starting `shift` bytes into a buffer.
fn row(kind: Element, dimension: usize, shift: usize, seed: &mut u64) -> Vec<u8> {
    let mut bytes = vec![0xAB; shift];
    let values: Vec<f32> = (0..dimension)
        .map(|_| {
            let bits = random(seed);
            match (kind, bits % 8) {
                (Element::I8, 0) => 127.0,
                (Element::I8, 1) => -127.0,
                (Element::I8, _) => (bits >> 8) as i8 as f32 % 128.0,
                (Element::U8, 0) => 255.0,
                (Element::U8, _) => f32::from((bits >> 8) as u8),
                _ => (bits >> 40) as f32 / (1 << 23) as f32 - 1.0,
            }
        })
        .map(|value| if kind == Element::I8 { value.max(-127.0) } else { value })
        .collect();
    kind.encode(&values, &mut bytes).expect("in range");
    bytes
}

fn close(kind: (Element, Element), dimension: usize, got: f32, want: f32) -> bool {
    let integers = kind.0 != Element::F32;
    let slack = if integers { 0.0 } else { 1e-6 * dimension as f32 * 255.0f32.powi(2) };
    let slack =
        if kind.1 == Element::F32 || kind.1 == Element::F16 { 1e-5 * dimension as f32 } else { slack };
    (got - want).abs() <= if integers { want.abs() * 1e-7 } else { slack }
}

#[test]
fn every_backend_equals_the_oracle_at_every_length_and_alignment() {
    let mut seed = 1;
    let mut compared = 0;
    for pair in PAIRS {
        for operation in OPERATIONS {
            for dimension in (0..=257).step_by(STEP) {
                let oracle = scalar::kernel(operation, pair.0, pair.1, dimension);
                for backend in Backend::ALL {
                    let Some(kernel) = with_backend(backend, operation, pair.0, pair.1, dimension) else {
                        continue;
                    };
                    if backend == Backend::Simsimd && dimension == 0 {
                        continue;
                    }
                    for shift in [0, 1, 3, 31] {
                        let query = row(pair.0, dimension, shift, &mut seed);
                        let stored = row(pair.1, dimension, shift, &mut seed);
                        let (query, stored) = (&query[shift..], &stored[shift..]);
                        let (got, want) = (kernel.one(query, stored), oracle.one(query, stored));
                        assert!(
                            close(pair, dimension, got, want),
                            "{backend:?} {operation:?} {pair:?} d={dimension} shift={shift}: {got} is not {want}"
                        );
                        compared += 1;
                    }
                }
            }
        }
    }
    assert!(compared > 0);
}

#[test]
fn many_rows_equal_one_row_at_a_time() {
    let mut seed = 7;
    for (pair, operation) in PAIRS.into_iter().flat_map(|pair| OPERATIONS.map(|operation| (pair, operation)))
    {
        for (dimension, count) in [(3, 1), (33, 7), (64, 4), (100, 37), (384, 13), (1000, 2)] {
            if cfg!(miri) && dimension * count > 250 {
                continue;
            }
            let query = row(pair.0, dimension, 0, &mut seed);
            let rows: Vec<u8> = (0..count).flat_map(|_| row(pair.1, dimension, 0, &mut seed)).collect();
            let rows = Rows { bytes: &rows, stride: dimension * pair.1.size() };
            let ids: Vec<u32> = (0..count as u32).rev().chain([0]).collect();
            let oracle = scalar::kernel(operation, pair.0, pair.1, dimension);
            for backend in Backend::ALL {
                let Some(kernel) = with_backend(backend, operation, pair.0, pair.1, dimension) else {
                    continue;
                };
                let mut out = vec![1.0];
                kernel.many(&query, rows, &ids, &mut out);
                assert_eq!(out.len(), ids.len());
                for (&id, &got) in ids.iter().zip(&out) {
                    let want = oracle.one(&query, rows.row(id));
                    let what = (backend, operation, pair, dimension);
                    assert!(close(pair, dimension, got, want), "{what:?}: {got} is not {want}");
                }
            }
        }
    }
}

/// Rows of nothing but the ends of their range, which overflow soonest.
#[test]
fn the_largest_sums_are_exact() {
    let (i8, u8) = ((Element::I8, Element::I8), (Element::U8, Element::U8));
    let (signed, unsigned) = ([-127i8 as u8, 127, 0], [0, 255, 128]);
    let mut compared = Vec::new();
    for (operation, pair, values) in
        [(Operation::Dot, i8, signed), (Operation::L2, i8, [128, 127, 0]), (Operation::L2, u8, unsigned)]
    {
        for dimension in (1..=200).step_by(STEP).chain(LONG.iter().copied()) {
            let oracle = scalar::kernel(operation, pair.0, pair.1, dimension);
            for (a, b) in values.into_iter().flat_map(|a| values.map(|b| (a, b))) {
                let (query, stored) = (vec![a; dimension], vec![b; dimension]);
                let want = oracle.one(&query, &stored);
                for backend in Backend::ALL.into_iter().filter(|&backend| backend != Backend::Simsimd) {
                    let Some(kernel) = with_backend(backend, operation, pair.0, pair.1, dimension) else {
                        continue;
                    };
                    let got = kernel.one(&query, &stored);
                    assert_eq!(got, want, "{backend:?} {operation:?} {pair:?} d={dimension} {a} {b}");
                    if !compared.contains(&backend) {
                        compared.push(backend);
                    }
                }
            }
        }
    }
    println!("compared: {compared:?}");
    assert!(compared.len() > 1);
}

#[test]
fn packed_nibbles_equal_the_oracle_at_every_length_and_alignment() {
    let mut seed = 11;
    let (operation, query, stored) = (Operation::DotNibbles, Element::I8, Element::U8);
    let mut compared = 0;
    for dimension in (1..=260).step_by(STEP).chain(LONG.iter().copied()) {
        let half = dimension.div_ceil(2);
        let oracle = scalar::kernel(operation, query, stored, dimension);
        for (shift, ends) in [(0, false), (1, false), (31, false), (3, true)] {
            let mut asked = row(query, 2 * half, shift, &mut seed);
            let mut rows = row(stored, 5 * half, shift, &mut seed);
            if ends {
                asked[shift..].fill(if dimension % 3 == 0 { 128 } else { 127 });
                rows[shift..].fill(255);
            }
            let asked = &asked[shift..];
            let rows = Rows { bytes: &rows[shift..], stride: half };
            for kernel in Backend::ALL
                .iter()
                .filter_map(|&backend| with_backend(backend, operation, query, stored, dimension))
            {
                let mut out = Vec::new();
                kernel.many(asked, rows, &[4, 2, 0, 1, 3], &mut out);
                for (id, got) in [4, 2, 0, 1, 3].into_iter().zip(out) {
                    let want = oracle.one(asked, rows.row(id));
                    assert_eq!(got, want, "{:?} d={dimension} shift={shift}", kernel.backend());
                    assert_eq!(kernel.one(asked, rows.row(id)), want, "{:?} d={dimension}", kernel.backend());
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 0);
}

/// The oracle itself, by hand: byte j holds number j and number h + j.
#[test]
fn a_row_of_nibbles_holds_its_second_half_in_the_high_bits() {
    let query = [1, 10, 100, -1i8 as u8];
    let oracle = scalar::kernel(Operation::DotNibbles, Element::I8, Element::U8, 4);
    assert_eq!(oracle.one(&query, &[0x31, 0xf2]), (1 + 20 + 300 - 15) as f32);
}

#[test]
fn an_id_beyond_the_rows_is_caught() {
    let rows = [0u8; 64];
    let rows = Rows { bytes: &rows, stride: 32 };
    for backend in Backend::ALL {
        let Some(kernel) = with_backend(backend, Operation::L2, Element::U8, Element::U8, 32) else {
            continue;
        };
        for before in [0, 1, 5, 30] {
            let ids: Vec<u32> = std::iter::repeat_n(1, before).chain([2, 0, 0]).collect();
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
                kernel.many(&[0; 32], rows, &ids, &mut Vec::new());
            }));
            assert!(result.is_err(), "{backend:?}: an id beyond the last row, {before} ids before it");
        }
    }
}

#[test]
fn a_value_does_not_depend_on_the_other_rows() {
    let mut seed = 5;
    for (pair, operation) in PAIRS.iter().flat_map(|pair| OPERATIONS.map(|operation| (*pair, operation))) {
        for dimension in [1, 20, 33, 100, 129, 384, 777] {
            if cfg!(miri) && dimension > 33 {
                continue;
            }
            let stored: Vec<u8> = (0..9).flat_map(|_| row(pair.1, dimension, 0, &mut seed)).collect();
            let query = row(pair.0, dimension, 0, &mut seed);
            let rows = Rows { bytes: &stored, stride: dimension * pair.1.size() };
            for backend in Backend::ALL {
                let Some(kernel) = with_backend(backend, operation, pair.0, pair.1, dimension) else {
                    continue;
                };
                let (mut all, mut some) = (Vec::new(), Vec::new());
                kernel.many(&query, rows, &[0, 1, 2, 3, 4, 5, 6, 7, 8], &mut all);
                for id in 0..9u32 {
                    assert_eq!(kernel.one(&query, rows.row(id)).to_bits(), all[id as usize].to_bits());
                    kernel.many(&query, rows, &[8 - id, id], &mut some);
                    assert_eq!(
                        some[1].to_bits(),
                        all[id as usize].to_bits(),
                        "{backend:?} {operation:?} {dimension}"
                    );
                }
            }
        }
    }
}
