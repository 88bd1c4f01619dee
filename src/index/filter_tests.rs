//! Filtered searches against brute force: every plan, every kind of filter, while items change; and sets that are kept
//! between requests against sets made anew.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::{Value as Json, json};

use super::live_tests::{Random, Tester, similarity, size, wide};
use super::*;
use crate::attributes::{Bitset, Cell, Filter, FilterContext, ItemFacts};
use crate::vector::{Element, Metric};

const K: usize = 20;

/// Items in groups around far centres, as catalogues are.
fn grouped(metric: Metric, items: usize) -> Tester {
    let mut tester = Tester::new(metric, Element::F32, 11);
    let mut random = Random(5);
    let centres: Vec<Vec<f32>> = (0..30).map(|_| wide(|| random.number() * 4.0)).collect();
    let mut changes = Vec::new();
    for item in 0..items {
        let mut change = tester.put(format!("id-{item}"));
        let centre = &centres[random.below(30) as usize];
        let off = wide(|| random.number());
        let vector: Vec<f32> = centre.iter().zip(off).map(|(value, off)| value + off).collect();
        let Change::Put(put) = &mut change else { unreachable!("a put") };
        put.vector = Some(tester.index.row(&vector).expect("valid"));
        tester.model.get_mut(&put.id).expect("put").vector = vector;
        changes.push(change);
    }
    for changes in changes.chunks(1000) {
        tester.seq += 1;
        tester.apply(changes);
    }
    tester
}

/// Similarities of all items, the best first.
fn ranked(tester: &Tester, query: &[f32]) -> Vec<(f64, u32)> {
    let view = tester.index.view(0);
    let metric = tester.index.schema().metric;
    let one = |(id, item): (&String, &super::live_tests::Model)| {
        (similarity(metric, query, &item.vector), view.find(id).expect("there"))
    };
    let mut all: Vec<(f64, u32)> = tester.model.iter().map(one).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all
}

/// Searches; every answer must be complete, right and counted; returns how many of the best there are.
fn check(
    view: &View<'_>,
    plan: Option<PlanKind>,
    query: &Query,
    selection: &Selection,
    all: &[(f64, u32)],
    passes: &dyn Fn(u32) -> bool,
) -> (usize, usize) {
    let params = SearchParams { k: K, ef: 100, allowed: None, exact: false };
    let found = match plan {
        None => view.search_within(query, &params, selection),
        Some(plan) => view.search_by(plan, query, &params, selection),
    }
    .expect("in range");
    let truth: Vec<(f64, u32)> = all.iter().copied().filter(|&(_, slot)| passes(slot)).collect();
    assert_eq!(found.matching, truth.len(), "{plan:?}");
    assert_eq!(found.candidates.len(), truth.len().min(K), "{plan:?} {found:?}");
    assert!(found.candidates.iter().all(|one| passes(one.item)), "{plan:?}");
    let Some(worst) = truth.get(..K.min(truth.len())).and_then(<[_]>::last) else { return (0, 0) };
    let slack = 1e-4 * worst.0.abs().max(1.0);
    let right = found.candidates.iter().filter(|one| f64::from(one.similarity) >= worst.0 - slack).count();
    (right, found.candidates.len())
}

#[test]
fn every_plan_finds_what_brute_force_finds_under_every_kind_of_filter() {
    use PlanKind::{FilteredGraph, LateFilteredGraph, Scan, TwoHopGraph};
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        let tester = grouped(metric, size(20_000, 4_000));
        let view = tester.index.view(0);
        let count = tester.index.items();
        let mut random = Random(3);
        let mut sums = std::collections::BTreeMap::<String, (usize, usize)>::new();
        let (mut plain_right, mut plain_wanted) = (0, 0);
        for _ in 0..size(100, 25) {
            let vector: Vec<f32> = wide(|| random.number() * 4.0);
            let query = tester.index.query(&vector).expect("valid");
            let all = ranked(&tester, &vector);
            let mut rank = vec![0; count as usize];
            all.iter().enumerate().for_each(|(at, &(_, slot))| rank[slot as usize] = at as u32);
            let (right, wanted) = check(&view, None, &query, &Selection::all(), &all, &|_| true);
            (plain_right, plain_wanted) = (plain_right + right, plain_wanted + wanted);
            let seed = random.next();
            for share in [0.99, 0.5, 0.2, 0.05, 0.01, 0.001] {
                let bound = (f64::from(count) * share) as u32;
                let drawn =
                    |slot: u32| Random(seed ^ u64::from(slot)).below(u64::from(count)) < u64::from(bound);
                let kinds: [(&str, &dyn Fn(u32) -> bool); 3] = [
                    ("uniform", &drawn),
                    ("near", &|slot| rank[slot as usize] < bound),
                    ("far", &|slot| rank[slot as usize] >= count - bound),
                ];
                for (kind, passes) in kinds {
                    let slots = Bitset::from_fn(count as usize, passes);
                    let selections = [view.selection(&slots), Selection::only(view.these(slots.iter()))];
                    let excluded =
                        Selection::all().without(view.these((0..count).filter(|&slot| !passes(slot))));
                    for plan in
                        [None, Some(LateFilteredGraph), Some(FilteredGraph), Some(TwoHopGraph), Some(Scan)]
                    {
                        // Hops know of no way over a hole, and are not chosen where there is one. A late walk that gave up
                        // may hop.
                        let relied_on = match plan {
                            Some(TwoHopGraph) => kind == "uniform" && share >= 0.2,
                            Some(LateFilteredGraph) => share >= 0.5,
                            _ => true,
                        };
                        for selection in selections.iter().chain([&excluded]) {
                            let (right, wanted) = check(&view, plan, &query, selection, &all, passes);
                            if relied_on {
                                let sum =
                                    sums.entry(format!("{metric} {kind} {share} {plan:?}")).or_default();
                                *sum = (sum.0 + right, sum.1 + wanted);
                            }
                        }
                    }
                }
            }
        }
        let plain = plain_right as f64 / plain_wanted as f64;
        println!("{metric}: {plain} without a filter");
        assert!(plain >= if count > 5_000 { 0.75 } else { 0.95 }, "{metric}: {plain} without a filter");
        for (name, (right, wanted)) in sums {
            let recall = right as f64 / wanted as f64;
            // Between far groups a plain walk may end in the wrong one; a filter has to find as large a share.
            let allowed = if name.ends_with("TwoHopGraph)") { 0.1 } else { 0.03 };
            let least = if plain < 0.97 { plain - allowed } else { 1.0 - allowed };
            assert!(recall >= least, "{name}: {recall}, without a filter {plain}");
        }
    }
}

fn parsed(tester: &Tester, filter: &Json) -> Filter {
    Filter::parse(filter, &tester.index.schema().attributes).expect("valid")
}

/// The ids that a kept set of a filter has, after a look at what else it says.
fn ids(view: &View<'_>, matching: &Matching) -> BTreeSet<String> {
    assert_eq!((matching.seq(), matching.slots().len()), (view.seq(), view.items() as usize));
    let slots: Vec<u32> = matching.slots().iter().collect();
    assert_eq!(matching.count(), slots.len());
    assert!(slots.iter().all(|&slot| view.sees(slot)));
    if let Some(nodes) = matching.nodes() {
        let wanted: BTreeSet<u32> = slots.iter().map(|&slot| view.node(slot)).collect();
        assert!(nodes.iter().eq(wanted.iter().copied()), "nodes of {slots:?}");
        assert_eq!(matching.node_count(), wanted.len());
    }
    slots.into_iter().map(|slot| view.id(slot).to_owned()).collect()
}

#[test]
fn a_change_is_seen_by_the_next_filtered_query() {
    let context = FilterContext::default();
    let mut tester = Tester::new(Metric::L2, Element::F32, 31);
    for _ in 0..30 {
        tester.batch(300);
    }
    type Passes = fn(&super::live_tests::Model) -> bool;
    let filters: Vec<(Json, Passes)> = vec![
        (json!({"price": {"lt": 50}}), |item| item.price.is_some_and(|price| price < 50)),
        (json!({"price": {"gte": 90}}), |item| item.price.is_some_and(|price| price >= 90)),
        (json!({"colour": "red"}), |item| item.colour == Some("red")),
        (json!({"colour": {"not_in": ["red", "blue"]}}), |item| !matches!(item.colour, Some("red" | "blue"))),
        (json!({"colour": "green", "none": [{"price": {"exists": true}}]}), |item| {
            item.colour == Some("green") && item.price.is_none()
        }),
        (json!({"none": [{"_id": {"in": ["id-1", "id-2", "id-3"]}}]}), |_| true),
    ];
    let few = IdSet::new((0..40).map(|at| format!("id-{at}")).collect::<Vec<_>>().iter().map(String::as_str));
    for round in 0..size(100_000, 5_000) {
        if round % 50 == 0 {
            tester.batch(300);
        } else if !tester.model.is_empty() {
            let at = tester.random.below(tester.model.len() as u64) as usize;
            let id = tester.model.keys().nth(at).expect("within").clone();
            tester.seq += 1;
            let change = tester.patch(&id);
            tester.apply(&[change]);
        }
        let view = tester.index.view(0);
        // Not every filter every time, so that kept sets lag behind by different numbers of changes.
        for (at, (filter, passes)) in filters.iter().enumerate() {
            if round % (at + 1) != 0 {
                continue;
            }
            let found = ids(&view, &view.matching(&parsed(&tester, filter), &context).expect("no context"));
            let named = |id: &str| at == 5 && ["id-1", "id-2", "id-3"].contains(&id);
            let wanted = tester.model.iter().filter(|(id, item)| passes(item) && !named(id));
            assert_eq!(found, wanted.map(|(id, _)| id.clone()).collect(), "round {round}: {filter}");
        }
        if round % 3 == 0 {
            let found = ids(&view, &view.named(&few));
            let number = |id: &String| id.trim_start_matches("id-").parse::<u32>().expect("a number");
            assert_eq!(found, tester.model.keys().filter(|id| number(id) < 40).cloned().collect());
        }
        drop(view);
        match round % 1_000 {
            400 | 800 => drop(tester.index.sweep(1)),
            600 => tester.checkpoint(round),
            _ => {}
        }
    }
}

#[test]
fn an_older_view_has_its_own_state_whatever_others_have_kept() {
    let context = FilterContext::default();
    let mut tester = Tester::new(Metric::L2, Element::F32, 32);
    for _ in 0..30 {
        tester.batch(200);
    }
    let filter = parsed(&tester, &json!({"price": {"lt": 50}}));
    let set = IdSet::new(["id-1", "id-2", "id-3", "id-4"]);
    for _ in 0..size(2_000, 200) {
        let changes: Vec<Change> = (0..5).map(|at| tester.put(format!("id-{at}"))).collect();
        tester.seq += 1;
        let seq = tester.seq;
        let older = tester.index.view(0);
        let before = ids(&older, &older.matching(&filter, &context).expect("no context"));
        let named = ids(&older, &older.named(&set));
        tester.index.apply(&[Batch { seq, changes: &changes }], &tester.pool).expect("room");
        let newer = tester.index.view(0);
        let after = ids(&newer, &newer.matching(&filter, &context).expect("no context"));
        assert_eq!(ids(&newer, &newer.named(&set)).len(), 4);
        assert_eq!(ids(&older, &older.matching(&filter, &context).expect("no context")), before);
        assert_eq!(ids(&older, &older.named(&set)), named);
        assert_eq!(ids(&newer, &newer.matching(&filter, &context).expect("no context")), after);
    }
}

#[test]
fn readers_agree_with_sets_made_anew_while_another_thread_writes() {
    let context = FilterContext::default();
    let mut tester = Tester::new(Metric::L2, Element::F32, 33);
    for _ in 0..50 {
        tester.batch(500);
    }
    let filters: Vec<Filter> = [
        json!({"price": {"lt": 50}}),
        json!({"colour": "red"}),
        json!({"colour": {"not_in": ["red"]}, "price": 7}),
    ]
    .iter()
    .map(|filter| parsed(&tester, filter))
    .collect();
    let batches: Vec<(u64, Vec<Change>)> = (0..size(20_000, 1_000))
        .map(|_| {
            tester.seq += 1;
            let id = format!("id-{}", tester.random.below(500));
            (tester.seq, vec![tester.put(id)])
        })
        .collect();
    let (index, pool, done) = (&tester.index, &tester.pool, AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    let view = index.view(0);
                    for filter in &filters {
                        let kept = view.matching(filter, &context).expect("no context");
                        let mut anew = filter.evaluate(view.columns(), &view, &context).expect("no context");
                        view.retain(&mut anew);
                        assert_eq!((kept.seq(), kept.slots()), (view.seq(), &anew));
                    }
                }
            });
        }
        for (seq, changes) in &batches {
            index.apply(&[Batch { seq: *seq, changes }], pool).expect("room");
        }
        done.store(true, SeqCst);
    });
}

#[test]
fn what_is_excluded_is_left_out_and_not_counted() {
    let mut tester = grouped(Metric::L2, 3_000);
    let context = FilterContext::default();
    let cheap = parsed(&tester, &json!({"price": {"lt": 50}}));
    let set = IdSet::default();
    let mut excluded = BTreeSet::new();
    for round in 0..size(200, 30) {
        let ids: Vec<String> = (0..40).map(|_| format!("id-{}", tester.random.below(3_500))).collect();
        set.add(ids.iter().map(String::as_str));
        excluded.extend(ids);
        if round % 10 == 9 {
            let back: Vec<String> = excluded.iter().step_by(3).cloned().collect();
            set.remove(back.iter().map(String::as_str));
            excluded.retain(|id| !back.contains(id));
        }
        if round == 20 {
            tester.checkpoint(round);
        }
        // Versions of items that are excluded, and ids that were not there when they were excluded.
        tester.seq += 1;
        let numbers: Vec<u64> = (0..10).map(|_| tester.random.below(3_500)).collect();
        let changes: Vec<Change> = numbers.iter().map(|at| tester.put(format!("id-{at}"))).collect();
        tester.apply(&changes);
        assert_eq!(set.len(), excluded.len());
        let vector = tester.vector();
        let (view, query) = (tester.index.view(0), tester.index.query(&vector).expect("valid"));
        let all = ranked(&tester, &vector);
        let matching = view.matching(&cheap, &context).expect("no context");
        // A set of ids, the nearest of a filter, and a few or many single items.
        let out = view.named(&set);
        let near: Vec<u32> = all.iter().map(|one| one.1).take([5, 200][round % 2]).collect();
        let without = |selection: Selection| {
            selection.without(std::sync::Arc::clone(&out)).without_items(&view, near.clone())
        };
        let left = |slot: u32| !excluded.contains(view.id(slot)) && !near.contains(&slot);
        for plan in
            [None, Some(PlanKind::LateFilteredGraph), Some(PlanKind::FilteredGraph), Some(PlanKind::Scan)]
        {
            let everything = without(Selection::all());
            let (right, wanted) = check(&view, plan, &query, &everything, &all, &left);
            assert!(right * 100 >= wanted * 90, "{plan:?}: {right} of {wanted}");
            let some = |slot: u32| left(slot) && matching.contains(slot);
            let filtered = without(Selection::only(std::sync::Arc::clone(&matching)));
            let (right, wanted) = check(&view, plan, &query, &filtered, &all, &some);
            assert!(right * 100 >= wanted * 90, "{plan:?}: {right} of {wanted}");
        }
    }
}

/// The nearest items have expired and nobody has deleted them yet: as many others come, without a filter and with one.
#[test]
fn expired_items_take_no_place() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        let mut tester = grouped(metric, 3_000);
        let vector: Vec<f32> = tester.vector().iter().map(|number| number * 4.0).collect();
        let query = tester.index.query(&vector).expect("valid");
        let id = |one: &(f64, u32)| tester.index.id(one.1).to_owned();
        let gone: Vec<String> = ranked(&tester, &vector)[..400].iter().map(id).collect();
        let expires = |id: &String| {
            let cells = vec![Cell::Kept, Cell::Kept];
            Change::Put(Put {
                id: id.clone(),
                vector: None,
                cells,
                inserted_at: 5,
                version: 0,
                expires_at: 1_000,
            })
        };
        let changes: Vec<Change> = gone.iter().map(expires).collect();
        tester.seq += 1;
        tester.apply(&changes);
        let all = ranked(&tester, &vector);
        let cheap = parsed(&tester, &json!({"price": {"lt": 50}}));
        for now in [999, 1_000] {
            let view = tester.index.view(now);
            let matching = view.matching(&cheap, &FilterContext::default()).expect("no context");
            let near: Vec<u32> =
                all.iter().map(|one| one.1).filter(|&slot| view.sees(slot)).take(5).collect();
            let selections = [Selection::all(), Selection::only(matching)];
            let few = selections.clone().map(|selection| selection.without_items(&view, near.clone()));
            for selection in selections.iter().chain(&few) {
                let live = |one: &&(f64, u32)| selection.contains(&view, one.1);
                let worst = all.iter().filter(live).nth(K - 1).expect("enough").0;
                let graphs = [Some(PlanKind::Graph), None].into_iter().filter(|plan| {
                    plan.is_none() || (selection.matching.is_none() && selection.excluded.is_empty())
                });
                for plan in
                    graphs.chain([Some(PlanKind::FilteredGraph), Some(PlanKind::Scan), Some(PlanKind::Exact)])
                {
                    let params = SearchParams { k: K, ef: 100, allowed: None, exact: false };
                    let found = match plan {
                        None => view.search_within(&query, &params, selection),
                        Some(plan) => view.search_by(plan, &query, &params, selection),
                    };
                    let found = found.expect("in range").candidates;
                    assert_eq!(found.len(), K, "{metric} at {now} by {plan:?}");
                    assert!(found.iter().all(|one| selection.contains(&view, one.item)), "{metric} at {now}");
                    let slack = 1e-4 * worst.abs().max(1.0);
                    let right = found.iter().filter(|one| f64::from(one.similarity) >= worst - slack).count();
                    assert!(right >= K - 2, "{metric} at {now} by {plan:?}: {right} of {K}");
                }
            }
        }
    }
}

/// Items that are taken off the list are no reason to believe that a walk has found enough: of 105 that match, the nearest 50
/// are taken off and 15 have expired; 20 are wanted of the 40 left, but the walk comes to five of them.
#[test]
fn what_is_taken_off_does_not_count_as_found() {
    let mut tester = grouped(Metric::L2, 3_000);
    let mut random = Random(12);
    for _ in 0..size(50, 10) {
        let vector: Vec<f32> = wide(|| random.number() * 4.0);
        let query = tester.index.query(&vector).expect("valid");
        let nearest = ranked(&tester, &vector);
        let ids: Vec<String> = nearest[..105].iter().map(|one| tester.index.id(one.1).to_owned()).collect();
        let put = |id: &String, expires_at| {
            let (id, cells) = (id.clone(), vec![Cell::Kept, Cell::Kept]);
            Change::Put(Put { id, vector: None, cells, inserted_at: 5, version: 0, expires_at })
        };
        let changes =
            ids.iter().enumerate().map(|(at, id)| put(id, if (55..70).contains(&at) { 9 } else { 0 }));
        tester.seq += 1;
        tester.apply(&changes.collect::<Vec<_>>());
        let view = tester.index.view(10);
        let slots: Vec<u32> = ids.iter().map(|id| tester.index.view(0).find(id).expect("there")).collect();
        let selection = Selection::only(view.these(slots.iter().copied()))
            .without_items(&view, slots[..50].iter().copied());
        for plan in
            [PlanKind::FilteredGraph, PlanKind::LateFilteredGraph, PlanKind::TwoHopGraph, PlanKind::Scan]
        {
            let params = SearchParams { k: 20, ef: 20, allowed: None, exact: false };
            let found = view.search_by(plan, &query, &params, &selection).expect("in range");
            assert_eq!((found.matching, found.candidates.len()), (55, 20), "{plan:?}");
            assert!(found.candidates.iter().all(|one| selection.contains(&view, one.item)), "{plan:?}");
        }
        drop(view);
        tester.seq += 1;
        tester.apply(&ids.iter().map(|id| put(id, 0)).collect::<Vec<_>>());
    }
}

#[test]
fn times_and_context_are_part_of_what_a_filter_is_known_by() {
    let mut tester = Tester::new(Metric::L2, Element::F32, 34);
    for _ in 0..20 {
        tester.batch(100);
    }
    let view = tester.index.view(0);
    let at = |now: i64, price: i64| FilterContext {
        now,
        values: [("price".to_owned(), json!(price))].into_iter().collect(),
    };
    let young = parsed(&tester, &json!({"_inserted_at": {"gte": "now-1d"}}));
    const DAY: i64 = 86_400_000;
    // Items were inserted at 5 ms.
    assert_eq!(view.matching(&young, &at(5 + DAY, 0)).expect("now").count(), tester.model.len());
    assert_eq!(view.matching(&young, &at(6 + DAY, 0)).expect("now").count(), 0);
    let below = parsed(&tester, &json!({"price": {"lt": {"context": "price"}}}));
    for price in [50, 20, 50, 70] {
        let wanted = tester.model.values().filter(|item| item.price.is_some_and(|own| own < price)).count();
        assert_eq!(view.matching(&below, &at(0, price)).expect("given").count(), wanted);
    }
    assert!(view.matching(&below, &FilterContext::default()).is_err());
    assert_eq!(view.matching(&below, &at(0, 50)).expect("given").seq(), tester.seq);
}

/// Sets of moments that do not come again are not kept: they would push out the others.
#[test]
fn a_moving_time_in_the_context_is_not_kept() {
    let mut tester = Tester::new(Metric::L2, Element::F32, 36);
    tester.batch(100);
    let view = tester.index.view(0);
    let since = json!({"context": "since"});
    let filters = [
        json!({"_inserted_at": {"gte": "now-1d"}}),
        json!({"_inserted_at": {"gte": since}}),
        json!({"_inserted_at": since}),
        json!({"none": [{"_inserted_at": {"in": ["1970-01-01T00:00:00Z", since]}}]}),
        json!({"_inserted_at": {"in": {"context": "days"}}}),
    ];
    let context = |now: i64, since: &str| FilterContext {
        now,
        values: [
            ("since".to_owned(), json!(since)),
            ("days".to_owned(), json!(["1970-01-01T00:00:00Z", since])),
        ]
        .into(),
    };
    for (place, filter) in filters.iter().enumerate() {
        let filter = parsed(&tester, filter);
        let before = tester.index.filters.size();
        for now in 0..20 {
            let moving = context(now, "now-1h");
            assert_eq!(filter.bind(&moving).expect("bound").key(), None, "filter {place}");
            view.matching(&filter, &moving).expect("bound");
        }
        let after = tester.index.filters.size();
        // The one constant test of the fourth filter stands alone in no leaf.
        assert_eq!(after, before, "filter {place}: kept sets and tests");
        // A moment that is named comes again.
        if place > 0 {
            assert!(filter.bind(&context(7, "2026-01-01T00:00:00Z")).expect("bound").key().is_some());
        }
    }
}

#[test]
fn combined_filters_mean_what_their_parts_do() {
    let mut tester = Tester::new(Metric::L2, Element::F32, 35);
    for _ in 0..20 {
        tester.batch(100);
    }
    let (view, context) = (tester.index.view(0), FilterContext::default());
    let red = parsed(&tester, &json!({"colour": "red"}));
    let cheap = parsed(&tester, &json!({"price": {"lt": 50}}));
    let set = |filter: &Filter| view.matching(filter, &context).expect("no context").slots().clone();
    let mut both = set(&red);
    both.intersect(&set(&cheap));
    assert_eq!(set(&Filter::all(&[red.clone(), Filter::everything(), cheap.clone()])), both);
    let mut dear = view.all();
    dear.subtract(&set(&cheap));
    assert_eq!(set(&cheap.negated()), dear);
    assert_eq!(set(&Filter::all(&[])), view.all());
    let again = parsed(&tester, &json!({"colour": {"in": ["red"]}}));
    assert_eq!(red.key(), again.key());
    assert_ne!(red.key(), cheap.key());
    assert_ne!(red.key(), red.negated().key());
}

/// A set that could not be brought up to date in time is what it was, and is brought up to date by the next.
#[test]
fn a_deadline_leaves_kept_sets_as_they_were() {
    let mut tester = Tester::new(Metric::L2, Element::F32, 37);
    let context = FilterContext::default();
    let tests: Vec<Json> = (0..3_000).map(|n| json!({"price": {"gt": 1_000 + n}})).collect();
    let filter = parsed(&tester, &json!({"none": tests, "colour": "red"}));
    let late = |view: &View<'_>| {
        view.set_deadline(Some(std::time::Instant::now()));
        let error = view.matching(&filter, &context).expect_err("late");
        assert!(error.is_late, "{error}");
        view.set_deadline(None);
    };
    for _ in 0..3 {
        for _ in 0..5 {
            tester.batch(100);
        }
        let view = tester.index.view(0);
        late(&view);
        let mut anew = filter.evaluate(view.columns(), &view, &context).expect("in time");
        view.retain(&mut anew);
        assert_eq!(view.matching(&filter, &context).expect("in time").slots(), &anew);
        assert!(anew.count() > 0);
        view.set_deadline(Some(std::time::Instant::now()));
        let known = view.matching(&filter, &context).expect("what is known takes no time");
        assert_eq!(known.slots(), &anew);
    }
}
