//! Codes against exact distances.

use super::*;
use crate::arena::Array;
use crate::vector::Codes;
use proptest::prelude::*;

fn exact(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    match metric {
        Metric::L2 => a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum(),
        Metric::Cosine | Metric::Dot => -dot,
    }
}

fn codes(codec: Codec, vectors: &[Vec<f32>]) -> Codes {
    let mut rows = vec![0; vectors.len() * codec.stride()];
    for (vector, row) in vectors.iter().zip(rows.chunks_mut(codec.stride())) {
        codec.encode(vector, row);
    }
    Codes::new(codec, Array::from_slice(&rows).expect("memory"))
}

proptest! {
    #[test]
    fn code_distances_are_near_the_exact_ones(
        seeds in prop::collection::vec(prop::collection::vec(-1.0f32..1.0, 40), 3..8),
        metric in prop::sample::select(&Metric::ALL[..]),
    ) {
        let mut vectors = seeds;
        if metric == Metric::Cosine {
            for vector in &mut vectors {
                let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
                vector.iter_mut().for_each(|x| *x /= norm);
            }
        }
        let flat: Vec<f32> = vectors.iter().flatten().copied().collect();
        let codec = Codec::train(metric, Element::F32, 40, &flat, &|_| 7.0);
        let codes = codes(codec.clone(), &vectors);
        let ids: Vec<u32> = (0..vectors.len() as u32).collect();
        let mut out = Vec::new();
        for query in &vectors {
            codes.distances(&codec.encode_query(query), &ids, &mut out);
            for (vector, &got) in vectors.iter().zip(&out) {
                let want = exact(metric, query, vector);
                prop_assert!((got - want).abs() < 0.2, "{metric}: {got} is not near {want}");
            }
        }
    }
}

/// Vectors of length 1 whose numbers are normally distributed, near enough.
fn spread(count: usize, dimension: usize) -> Vec<Vec<f32>> {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut number = || (0..12).map(|_| draw()).sum::<f32>();
    (0..count)
        .map(|_| {
            let vector: Vec<f32> = (0..dimension).map(|_| number()).collect();
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.into_iter().map(|x| x / norm).collect()
        })
        .collect()
}

#[test]
fn nibbles_are_near_the_exact_ones_for_queries_and_for_items() {
    for dimension in [256, 257, 300, 511, 1024] {
        let vectors = spread(40, dimension);
        let codec = Codec::train(Metric::Cosine, Element::F32, dimension, &vectors.concat(), &|_| 0.0);
        assert_eq!(codec.kind, CodeKind::UnitU4);
        let codes = codes(codec.clone(), &vectors);
        let ids: Vec<u32> = (0..vectors.len() as u32).collect();
        let (mut out, mut item) = (Vec::new(), Vec::new());
        let mut squares = 0.0;
        for (at, query) in vectors.iter().enumerate() {
            codes.distances(&codec.encode_query(query), &ids, &mut out);
            for (other, &got) in vectors.iter().zip(&out) {
                squares += (got - exact(Metric::Cosine, query, other)).powi(2);
            }
            // Between items it is the product of both codes' levels, to the last bit that f32 holds.
            codes.distances(codes.as_item(at as u32, &mut item), &ids, &mut out);
            for (other, &got) in ids.iter().zip(&out) {
                let levels = |node: u32, j: usize| {
                    let byte = codes.row(node)[j % dimension.div_ceil(2)];
                    f64::from(if j < dimension.div_ceil(2) { byte & 15 } else { byte >> 4 }) - 7.5
                };
                let want: f64 = (0..dimension).map(|j| levels(at as u32, j) * levels(*other, j)).sum();
                let want = -want * f64::from(codec.scale).powi(2);
                assert!((f64::from(got) - want).abs() < 1e-5, "{dimension}: {got} is not {want}");
            }
        }
        let deviation = (squares / (40.0 * 40.0)).sqrt();
        assert!(deviation < 0.13 / (dimension as f32).sqrt(), "{dimension}: off by {deviation}");
    }
}

#[test]
fn a_few_large_numbers_do_not_spoil_nibbles() {
    let mut vectors = spread(40, 300);
    for vector in &mut vectors {
        // Two numbers far larger than the others, as some embeddings have.
        (vector[3], vector[70]) = (0.9, -0.8);
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
    }
    let codec = Codec::train(Metric::Cosine, Element::F32, 300, &vectors.concat(), &|_| 0.0);
    assert_eq!(codec.kind, CodeKind::UnitU4);
    let codes = codes(codec.clone(), &vectors);
    let (ids, mut out): (Vec<u32>, _) = ((0..40).collect(), Vec::new());
    for query in &vectors {
        codes.distances(&codec.encode_query(query), &ids, &mut out);
        for (other, got) in vectors.iter().zip(&out) {
            let want = exact(Metric::Cosine, query, other);
            assert!((got - want).abs() < 0.05, "{got} is not near {want}");
        }
    }
    let small = spread(40, 64);
    let codec = Codec::train(Metric::Cosine, Element::F32, 64, &small.concat(), &|_| 0.0);
    assert_eq!(codec.kind, CodeKind::UnitI8);
    let none = Codec::train(Metric::Cosine, Element::F32, 300, &[], &|_| 0.0);
    assert!(none.kind == CodeKind::UnitU4 && none.scale > 0.0);
}

#[test]
fn the_extra_dimension_orders_items_as_euclidean_distance_would() {
    let vectors = vec![vec![3.0, 0.0], vec![0.1, 0.0], vec![0.0, 3.0]];
    let codec = Codec::train(Metric::Dot, Element::F32, 2, &vectors.concat(), &|_| 3.0);
    let codes = codes(codec.clone(), &vectors);
    let mut out = Vec::new();
    // Among items the short vector's nearest is itself; for a query of the same numbers it is the long one.
    codes.distances(codes.row(1), &[0, 1, 2], &mut out);
    assert!(out[1] < out[0] && out[1] < out[2], "{out:?}");
    codes.distances(&codec.encode_query(&vectors[1]), &[0, 1, 2], &mut out);
    assert!(out[0] < out[1], "{out:?}");
}

#[test]
fn one_far_value_does_not_take_the_levels_of_all_others() {
    let mut values: Vec<f32> = (0..20_000).map(|at| at as f32 / 20_000.0).collect();
    values.push(1e6);
    let (step, offset) = affine_scale(&values);
    assert!(step < 0.01 && offset.abs() < 0.01, "step {step}, offset {offset}");
    let skewed: Vec<f32> = (0..20_000).map(|at| (at as f32 / 20_000.0).powi(8) * 1.5).collect();
    let (step, offset) = affine_scale(&skewed);
    assert!(step <= 1.5 / 255.0 && offset < 0.01, "step {step}, offset {offset}");
    // One number in a hundred is not 0: those are what tells vectors apart.
    let sparse: Vec<f32> =
        (0..50_000).map(|at| if at % 100 == 0 { -(1.0 - at as f32 / 50_000.0).ln() } else { 0.0 }).collect();
    let (step, offset) = affine_scale(&sparse);
    assert!(offset == 0.0 && 255.0 * step > 4.0, "clipped at {}", 255.0 * step);
}

#[test]
fn vectors_of_few_numbers_are_told_apart() {
    for (metric, element, kind) in [
        (Metric::L2, Element::F32, CodeKind::Raw),
        (Metric::L2, Element::F16, CodeKind::Raw),
        (Metric::Cosine, Element::F32, CodeKind::UnitF32),
    ] {
        let turn = |at: usize| (at as f32 * 0.002, 0.002 * at as f32);
        let vectors: Vec<Vec<f32>> = (0..100)
            .map(|at| vec![turn(at).0.cos(), turn(at).1.sin()])
            .map(|vector| vector.into_iter().map(|x| half::f16::from_f32(x).to_f32()).collect())
            .collect();
        let codec = Codec::train(metric, element, 2, &vectors.concat(), &|_| 1.0);
        assert_eq!(codec.kind, kind);
        let codes = codes(codec.clone(), &vectors);
        let ids: Vec<u32> = (0..100).collect();
        let (mut out, mut item) = (Vec::new(), Vec::new());
        for (at, vector) in vectors.iter().enumerate() {
            for query in [&codec.encode_query(vector)[..], codes.as_item(at as u32, &mut item)] {
                codes.distances(query, &ids, &mut out);
                for (other, got) in vectors.iter().zip(&out) {
                    assert!((got - exact(metric, vector, other)).abs() < 1e-6, "{metric} {element}");
                }
            }
        }
    }
}

/// Vectors whose numbers lie around others for each place.
fn off_centre(count: usize, dimension: usize, off: f32) -> Vec<Vec<f32>> {
    let centre = &spread(1, dimension)[0];
    let shifted = |vector: Vec<f32>| vector.iter().zip(centre).map(|(x, c)| x + off * c).collect();
    spread(count, dimension).into_iter().map(shifted).collect()
}

#[test]
fn what_vectors_have_in_common_takes_no_levels() {
    for (metric, kind) in [(Metric::L2, CodeKind::CentredU8), (Metric::Cosine, CodeKind::ConeU8)] {
        let mut vectors = off_centre(200, 300, 100.0);
        if metric == Metric::Cosine {
            vectors.iter_mut().for_each(|vector| {
                let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                vector.iter_mut().for_each(|x| *x /= norm);
            });
        }
        let codec = Codec::train(metric, Element::F32, 300, &vectors.concat(), &|_| 0.0);
        assert_eq!(codec.kind, kind);
        let codes = codes(codec.clone(), &vectors);
        let (ids, mut out, mut item): (Vec<u32>, _, _) = ((0..200).collect(), Vec::new(), Vec::new());
        // Cosines lie between 0.999 and 1, squared distances around 2.
        let slack = if metric == Metric::Cosine { 5e-6 } else { 0.1 };
        for (at, vector) in vectors.iter().enumerate() {
            for query in [&codec.encode_query(vector)[..], codes.as_item(at as u32, &mut item)] {
                codes.distances(query, &ids, &mut out);
                for (other, got) in vectors.iter().zip(&out) {
                    let want = exact(metric, vector, other);
                    assert!((got - want).abs() < slack, "{metric}: {got} is not near {want}");
                }
            }
        }
    }
    let few = off_centre(50, 300, 100.0).concat();
    assert_eq!(
        Codec::train(Metric::L2, Element::F32, 300, &few, &|_| 0.0).kind,
        CodeKind::AffineU8,
        "too few"
    );
}

#[test]
fn what_items_have_in_common_moves_all_products_with_a_query_alike() {
    let mut vectors = off_centre(400, 100, 3.0);
    let train = |vectors: &[Vec<f32>]| {
        let bound = |centre: &[f32]| lengths(&vectors.concat(), 100, centre).into_iter().fold(0.0, f32::max);
        Codec::train(Metric::Dot, Element::F32, 100, &vectors.concat(), &bound)
    };
    assert_eq!(train(&vectors).kind, CodeKind::ScaledI8, "equal lengths");
    // Along the centre they differ by twice as much as otherwise.
    let centre = &spread(1, 100)[0];
    for (at, vector) in vectors.iter_mut().enumerate() {
        let more = (at % 5) as f32 - 2.0;
        vector.iter_mut().zip(centre).for_each(|(x, c)| *x += more * c);
    }
    let codec = train(&vectors);
    assert_eq!(codec.kind, CodeKind::CentredI8);
    assert!(codec.bound < 3.0 && !codec.is_beyond(&vectors[7]), "{}", codec.bound);
    let codes = codes(codec.clone(), &vectors);
    let (ids, mut out): (Vec<u32>, _) = ((0..400).collect(), Vec::new());
    for query in spread(20, 100) {
        codes.distances(&codec.encode_query(&query), &ids, &mut out);
        let common = exact(Metric::Dot, &query, &codec.centre);
        for (vector, got) in vectors.iter().zip(&out) {
            let want = exact(Metric::Dot, &query, vector) - common;
            assert!((got - want).abs() < 0.02, "{got} is not near {want}");
        }
    }
    // Among themselves items lie as their distances say, whatever their place.
    let extra = |node: u32| codec.trailer(codes.row(node)).1;
    codes.distances(codes.row(0), &[1], &mut out);
    let got = 2.0 * (codec.bound.powi(2) + out[0]);
    let want = exact(Metric::L2, &vectors[0], &vectors[1]) + (extra(0) - extra(1)).powi(2);
    assert!((got - want).abs() < 0.1, "{got} is not near {want}");
}

#[test]
fn vectors_that_codes_do_not_tell_apart_are_compared_themselves() {
    // One number has the range, all others tell near ones apart.
    let mut large = spread(1_500, 20);
    (0..).zip(&mut large).for_each(|(at, vector)| vector[7] = (at % 10) as f32 * 100.0);
    let kind = |metric, dimension, vectors: &[Vec<f32>]| {
        Codec::train(metric, Element::F32, dimension, &vectors.concat(), &|_| 1.0).kind
    };
    assert_eq!(kind(Metric::L2, 20, &large), CodeKind::Raw);
    // Three tight bundles of directions.
    let centres = spread(3, 300);
    let bundles: Vec<Vec<f32>> = spread(1_500, 300)
        .iter()
        .enumerate()
        .map(|(at, off)| off.iter().zip(&centres[at % 3]).map(|(off, c)| c + 1e-4 * off).collect())
        .collect();
    assert_eq!(kind(Metric::Cosine, 300, &bundles), CodeKind::UnitF32);
    // As well of a few hundred, and under inner product.
    (0..).zip(&mut large).for_each(|(at, vector)| vector[7] = (at % 2) as f32 * 1_000.0);
    assert_eq!(kind(Metric::L2, 20, &large[..300]), CodeKind::Raw);
    let constant: Vec<Vec<f32>> =
        spread(1_500, 20).into_iter().map(|v| [v, vec![1_000.0]].concat()).collect();
    assert_eq!(kind(Metric::Dot, 21, &constant), CodeKind::ScaledF32);
    let first = Codec::begin(Metric::Dot, Element::F32, 21, &constant[..500].concat());
    assert_eq!(first.kind, CodeKind::ScaledF32);
    assert!(
        first.bound < 1_021.0,
        "all are of nearly the same length, and {} would cost digits",
        first.bound
    );
    // Rounding makes none of equal length longer than all.
    let units = spread(500, 384);
    let norms = units.iter().map(|v| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32);
    let longest = norms.fold(0.0, f32::max);
    let codec = Codec::train(Metric::Dot, Element::F32, 384, &units.concat(), &|_| longest);
    assert!(!units.iter().any(|unit| codec.is_beyond(unit)));
    // Links stay good when the bound, or the centre, hardly changes.
    let other = |bound, centre: f32| Codec {
        bound,
        centre: Arc::new([centre, 0.0]),
        kind: CodeKind::CentredI8,
        ..codec.clone()
    };
    let is_elsewhere = |bound, centre| other(1.0, 2.0).is_elsewhere(&other(bound, centre));
    assert!(!is_elsewhere(1.5, 2.05) && !is_elsewhere(0.8, 1.95));
    assert!(is_elsewhere(5.0, 2.0) && is_elsewhere(0.5, 2.0) && is_elsewhere(1.0, 2.2));
    // Of a single one nobody knows.
    assert_eq!(Codec::begin(Metric::Dot, Element::F32, 21, &constant[0]).bound.round(), 1_500.0);
    // Codes that do are shorter.
    assert_eq!(kind(Metric::Dot, 20, &spread(1_500, 20)), CodeKind::ScaledI8);
    assert_eq!(kind(Metric::L2, 20, &spread(1_500, 20)), CodeKind::AffineU8);
    assert_eq!(kind(Metric::Cosine, 300, &spread(1_500, 300)), CodeKind::UnitU4);
}

#[test]
fn a_query_far_from_all_items_ranks_them_as_they_are() {
    for (element, numbers) in [(Element::F32, 40.0f32), (Element::U8, 40.0), (Element::I8, 1.0)] {
        let vectors: Vec<Vec<f32>> = spread(60, 40)
            .into_iter()
            .map(|vector| vector.into_iter().map(|x| (x * numbers + numbers).max(0.0).round()).collect())
            .collect();
        let codec = Codec::train(Metric::L2, element, 40, &vectors.concat(), &|_| 0.0);
        let codes = codes(codec.clone(), &vectors);
        let (ids, mut out): (Vec<u32>, _) = ((0..60).collect(), Vec::new());
        for direction in spread(10, 40) {
            let query: Vec<f32> = direction.iter().map(|x| 4_000.0 * x).collect();
            codes.distances(&codec.encode_query(&query), &ids, &mut out);
            for (vector, got) in vectors.iter().zip(&out) {
                let want = exact(Metric::L2, &query, vector);
                // Cut off, the numbers would be off by most of it.
                assert!((got - want).abs() < 1e-3 * want, "{element}: {got} is not near {want}");
            }
        }
    }
}

#[test]
fn a_query_with_a_large_number_keeps_its_direction() {
    let codec =
        Codec { scale: 0.1 / 127.0, ..Codec::train(Metric::Cosine, Element::F32, 3, &[0.1; 30], &|_| 0.0) };
    let codes = codes(codec.clone(), &[vec![0.0, 0.1, 0.0], vec![0.09, 0.0, 0.0]]);
    let mut out = Vec::new();
    codes.distances(&codec.encode_query(&[0.9, 0.43, 0.0]), &[0, 1], &mut out);
    assert!((out[0] + 0.043).abs() < 1e-3 && (out[1] + 0.081).abs() < 1e-3, "{out:?}");
}

#[test]
fn one_dominant_value_does_not_get_clipped() {
    let mut vector = vec![0.01; 63];
    vector.push(1.0);
    let codec = Codec::train(Metric::Cosine, Element::F32, 64, &vector, &|_| 0.0);
    assert_eq!(codec.encode(&vector, &mut vec![0; codec.stride()]), 0);
}
