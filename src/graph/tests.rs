//! The graph against brute force, and its promises: deterministic, connected, unharmed by damage.

use super::build::draw_level;
use super::*;
use crate::arena::{Array, AtomicArray};
use crate::vector::{CodeKind, Codec, Codes, Element, Metric};

/// Clustered vectors from a seed: what catalogues look like, with outliers.
fn vectors(count: usize, dimension: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut state = seed;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let centres: Vec<Vec<f32>> =
        (0..count.div_ceil(50)).map(|_| (0..dimension).map(|_| random() * 4.0).collect()).collect();
    (0..count).map(|at| centres[at % centres.len()].iter().map(|x| x + random()).collect()).collect()
}

/// As the index hands vectors to a codec: of unit length under cosine.
fn prepared(metric: Metric, vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let length = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let unit = |vector: &Vec<f32>| vector.iter().map(|x| x / length(vector)).collect();
    if metric == Metric::Cosine { vectors.iter().map(unit).collect() } else { vectors.to_vec() }
}

fn codes(metric: Metric, vectors: &[Vec<f32>]) -> Codes {
    let vectors = &prepared(metric, vectors);
    let dimension = vectors[0].len();
    let bound = vectors.iter().map(|v| v.iter().map(|x| x * x).sum::<f32>().sqrt()).fold(0.0, f32::max);
    let codec = Codec::train(metric, Element::F32, dimension, &vectors.concat(), &|_| bound);
    let mut rows = vec![0; vectors.len() * codec.stride()];
    for (vector, row) in vectors.iter().zip(rows.chunks_mut(codec.stride())) {
        codec.encode(vector, row);
    }
    Codes::new(codec, Array::from_slice(&rows).expect("memory"))
}

/// Miri takes hundreds of times as long.
const fn size(usual: usize, under_miri: usize) -> usize {
    if cfg!(miri) { under_miri } else { usual }
}

const PARAMS: BuildParams = BuildParams { m: size(12, 4), ef_construction: size(100, 16), seed: 3 };

fn built(codes: &Codes, threads: usize) -> Graph {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| {
        let graph = build(codes, PARAMS, &|_| ()).expect("build");
        repair(&graph, codes, 100);
        graph
    })
}

fn brute_force(codes: &Codes, query: &[u8], k: usize, allowed: impl Fn(u32) -> bool) -> Vec<(f32, u32)> {
    let ids: Vec<u32> = (0..codes.len() as u32).filter(|&id| allowed(id)).collect();
    let mut distances = Vec::new();
    codes.distances(query, &ids, &mut distances);
    let mut all: Vec<(f32, u32)> = distances.into_iter().zip(ids).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all.truncate(k);
    all
}

/// The share of exact neighbours (ties count) that a search finds, over some queries.
fn recall(
    graph: &Graph,
    codes: &Codes,
    queries: &[Vec<u8>],
    ef: usize,
    allowed: Option<&dyn Fn(u32) -> bool>,
) -> f64 {
    let (mut hits, mut wanted) = (0, 0);
    let (mut scratch, mut found) = (Scratch::default(), Vec::new());
    for query in queries {
        let exact = brute_force(codes, query, 10, |id| allowed.is_none_or(|allowed| allowed(id)));
        match allowed {
            None => {
                graph.search(codes, query, (ef, 0), &mut scratch, &mut found);
            }
            Some(passes) => {
                let passing = Passing { passes, share: 0.5, way: Way::Through, give_up: usize::MAX };
                graph.search_filtered(codes, query, ef, &passing, &mut scratch, &mut found);
            }
        }
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "sorted and unique");
        assert!(found.iter().all(|&(_, id)| allowed.is_none_or(|allowed| allowed(id))));
        let worst = exact.last().map_or(f32::NEG_INFINITY, |last| last.0);
        hits += found.iter().take(10).filter(|&&(distance, _)| distance <= worst).count();
        wanted += exact.len();
    }
    hits as f64 / wanted as f64
}

fn queries(codes: &Codes, vectors: &[Vec<f32>]) -> Vec<Vec<u8>> {
    let metric = if codes.codec().kind == CodeKind::UnitI8 { Metric::Cosine } else { Metric::L2 };
    prepared(metric, vectors).iter().map(|vector| codes.codec().encode_query(vector)).collect()
}

#[test]
fn searches_find_what_brute_force_finds_under_every_metric() {
    let data = vectors(size(3000, 60), 24, 1);
    for metric in Metric::ALL {
        let codes = codes(metric, &data);
        for threads in [1, 4] {
            let graph = built(&codes, threads);
            graph.verify().expect("rows in order");
            assert!(reach(&graph).is_empty());
            let queries = queries(&codes, &vectors(size(100, 4), 24, 9));
            let plain = recall(&graph, &codes, &queries, 100, None);
            assert!(plain > 0.98, "{metric} with {threads} threads: {plain}");
            // Of the few nodes under Miri, none would match the last.
            let shares: &[u32] = if cfg!(miri) { &[2, 10] } else { &[2, 10, 100] };
            for &share in shares {
                let filtered = recall(
                    &graph,
                    &codes,
                    &queries,
                    200,
                    Some(&|id| (id.wrapping_mul(2_654_435_761) >> 16) % share == 1),
                );
                // Queries from elsewhere, over groups far apart: the hardest case for links that stay near.
                assert!(filtered > 0.97, "{metric}, 1 in {share}: {filtered}");
            }
        }
    }
}

#[test]
fn one_thread_builds_the_same_graph_twice() {
    let codes = codes(Metric::L2, &vectors(size(800, 30), 8, 5));
    let [first, second] = [0, 1].map(|_| {
        let mut graph = built(&codes, 1);
        graph.parts_mut().links.bytes().to_vec()
    });
    assert_eq!(first, second);
}

#[test]
fn inner_product_with_wide_norms_is_connected_and_found() {
    let mut data = vectors(size(2000, 50), 16, 2);
    for (at, vector) in data.iter_mut().enumerate() {
        let stretch = 0.01 + (at % 97) as f32;
        vector.iter_mut().for_each(|x| *x *= stretch);
    }
    let codes = codes(Metric::Dot, &data);
    let graph = built(&codes, 2);
    assert!(reach(&graph).is_empty());
    let found = recall(&graph, &codes, &queries(&codes, &vectors(size(100, 4), 16, 8)), 150, None);
    assert!(found > 0.98, "{found}");
}

#[test]
fn tiny_graphs_answer_with_everything_they_have() {
    for count in 1..size(8, 5) {
        let data = vectors(count, 4, 1);
        let codes = codes(Metric::L2, &data);
        let graph = built(&codes, 2);
        let mut found = Vec::new();
        graph.search(&codes, codes.row(0), (20, 0), &mut Scratch::default(), &mut found);
        assert_eq!(found.len(), count);
    }
}

#[test]
#[cfg_attr(miri, ignore = "hours, and a small one shows nothing")]
fn a_narrow_walk_returns_more_than_it_expands() {
    let data = vectors(3000, 17, 4);
    let codes = codes(Metric::L2, &data);
    let graph = built(&codes, 1);
    let mut scratch = Scratch::default();
    let (mut narrow, mut whole, mut wide) = (Vec::new(), Vec::new(), Vec::new());
    let (mut shared, mut nearest) = (0, 0);
    for query in queries(&codes, &vectors(50, 17, 9)) {
        let few = graph.search(&codes, &query, (20, 100), &mut scratch, &mut narrow);
        let many = graph.search(&codes, &query, (100, 0), &mut scratch, &mut wide);
        graph.search(&codes, &query, (100, 100), &mut scratch, &mut whole);
        assert_eq!((narrow.len(), wide.len()), (100, 100));
        assert_eq!(wide, whole);
        assert!(narrow.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert!(few.expanded < many.expanded / 2 && few.visited < many.visited);
        shared += narrow.iter().filter(|&found| wide.contains(found)).count();
        nearest += narrow[..20].iter().filter(|&found| wide[..20].contains(found)).count();
    }
    assert!(shared > 50 * 50 && nearest > 50 * 18, "{shared} of 5000, {nearest} of 1000");
}

#[test]
#[cfg_attr(miri, ignore = "hours, and a small one shows nothing")]
fn cut_off_nodes_are_found_and_linked_again() {
    let codes = codes(Metric::L2, &vectors(500, 8, 4));
    let graph = built(&codes, 1);
    let victims: Vec<u32> = (0..500).filter(|&id| id != graph.entry() && id % 50 == 7).collect();
    for node in 0..500 {
        let kept: Vec<u32> = graph.neighbours(node, 0).filter(|id| !victims.contains(id)).collect();
        let ids = kept.into_iter().chain(std::iter::repeat(NONE));
        for (link, id) in graph.row(node, 0).iter().zip(ids) {
            link.store(id, std::sync::atomic::Ordering::Relaxed);
        }
    }
    assert!(reach(&graph).len() >= victims.len());
    let report = repair(&graph, &codes, 50);
    assert!(report.unreachable >= victims.len() && report.left == 0, "{report:?}");
    graph.verify().expect("rows in order");
}

#[test]
fn damaged_arrays_are_searched_without_harm_and_verify_tells() {
    let codes = codes(Metric::L2, &vectors(300, 8, 6));
    let mut seed = 1u32;
    for _ in 0..size(200, 5) {
        let mut graph = built_parts(&codes);
        for _ in 0..20 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let parts = graph.parts_mut();
            let links = parts.links.as_slice();
            links[seed as usize % links.len()].store(seed, std::sync::atomic::Ordering::Relaxed);
            parts.levels.as_mut_slice()[seed as usize % 300] = (seed >> 8) as u8;
            parts.upper_start.as_mut_slice()[seed as usize % 299] = seed;
        }
        assert!(graph.verify().is_err());
        let mut found = Vec::new();
        graph.search(&codes, codes.row(3), (50, 0), &mut Scratch::default(), &mut found);
        assert!(found.len() <= 50);
    }
}

/// A ring: cheap to make, valid, so that a test can damage it often.
fn built_parts(codes: &Codes) -> Graph {
    let nodes = codes.len();
    let links: AtomicArray = AtomicArray::filled(NONE, nodes * 4, nodes * 4).expect("memory");
    for node in 0..nodes {
        links.as_slice()[node * 4].store(((node + 1) % nodes) as u32, std::sync::atomic::Ordering::Relaxed);
    }
    Graph::new(GraphParts {
        m: 2,
        nodes,
        entry: 0,
        growth: 0.0,
        links,
        levels: Array::zeroed(nodes).expect("memory"),
        upper_start: Array::zeroed(nodes).expect("memory"),
        upper: AtomicArray::filled(NONE, 0, 0).expect("memory"),
    })
    .expect("lengths agree")
}

#[test]
#[cfg_attr(miri, ignore = "hours, and a small one shows nothing")]
fn a_group_whose_links_all_stay_inside_does_not_trap_a_search() {
    let codes = codes(Metric::L2, &vectors(400, 6, 12));
    let graph = built(&codes, 1);
    // Every node near node 7 keeps only its links to others of the group; the group stays reachable from outside.
    let mut near = brute_force(&codes, codes.row(7), 60, |_| true);
    near.retain(|&(_, node)| node != graph.entry());
    let group: Vec<u32> = near.iter().map(|&(_, node)| node).collect();
    for &node in &group {
        let inside: Vec<u32> = graph.neighbours(node, 0).filter(|id| group.contains(id)).collect();
        let ids = inside.into_iter().chain(std::iter::repeat(NONE));
        for (link, id) in graph.row(node, 0).iter().zip(ids) {
            link.store(id, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let mut found = Vec::new();
    graph.search(&codes, codes.row(7), (200, 0), &mut Scratch::default(), &mut found);
    assert_eq!(found.len(), 200, "all that was asked for, not just the group");
}

#[test]
fn upper_rows_do_not_end_before_nodes_do() {
    // Whole pages of links and of rows, so that there is not more room than asked for.
    const NODES: usize = 1 << 13;
    for (m, seed) in [2, 3, 20].into_iter().flat_map(|m| (0..12).map(move |seed| (m, seed))) {
        let array = |len| AtomicArray::filled(NONE, 0, len).expect("memory");
        let graph = Graph::new(GraphParts {
            m,
            nodes: 0,
            entry: 0,
            growth: 0.0,
            links: array(NODES * 2 * m),
            levels: Array::with_capacity(NODES).expect("memory"),
            upper_start: Array::with_capacity(NODES).expect("memory"),
            upper: array(upper_rows(NODES) * m),
        })
        .expect("lengths agree");
        while graph.room() > 0 {
            let nodes = graph.nodes() as u64..(graph.nodes() + graph.room().min(500)) as u64;
            let levels: Vec<u8> = nodes.map(|node| draw_level(seed, node, m)).collect();
            graph.append(&levels).expect("there is room");
        }
        assert_eq!(graph.nodes(), NODES, "m {m}, seed {seed}");
    }
}
