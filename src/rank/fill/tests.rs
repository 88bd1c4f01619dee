//! The list against its definition: a naive greedy fill, an exhaustive search of small pools, and limits that never break.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use serde_json::{Value as Json, json};

use crate::attributes::FilterContext;
use crate::index::Candidate;
use crate::rank::mmr::marginal;
use crate::rank::terms::scaled;
use crate::rank::tests::World;
use crate::rank::units::normalise;
use crate::rank::{Profile, RankInput, Ranking, rank};
use crate::vector::kernel::select as kernel;
use crate::vector::{Element, Operation};

/// An item of the tests' shop. Value 0 is a missing one.
#[derive(Debug, Clone)]
struct Item {
    seller: u8,
    section: u8,
    size: u8,
    tags: Vec<u8>,
    own: Option<bool>,
    weight: u8,
    vector: Vec<i8>,
}

/// A limit: attribute, value of its own, bound.
#[derive(Debug, Clone)]
struct Rule {
    attribute: &'static str,
    only: Option<u8>,
    bound: Bound,
    relax: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    Max(usize),
    Share(f64),
    Window(usize, usize),
    Min(usize),
}

/// Of unit vectors.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = kernel(Operation::Dot, Element::F32, Element::F32, a.len());
    dot.one(bytemuck::cast_slice(a), bytemuck::cast_slice(b)).clamp(-1.0, 1.0)
}

fn item() -> impl Strategy<Value = Item> {
    let values = (0..4u8, 0..4u8, 0..3u8, prop::collection::vec(1..4u8, 0..3));
    let rest = (select(&[None, Some(true), Some(false)][..]), 0..8u8, prop::collection::vec(-2..=2i8, 3));
    (values, rest).prop_map(|((seller, section, size, tags), (own, weight, vector))| Item {
        seller,
        section,
        size,
        tags,
        own,
        weight,
        vector,
    })
}

const ATTRIBUTES: [&str; 5] = ["seller", "section", "size", "tags", "own"];

fn limit() -> impl Strategy<Value = Rule> {
    let bound = prop_oneof![
        3 => (1..4usize).prop_map(Bound::Max),
        1 => select(&[0.2, 0.34, 0.5, 1.0][..]).prop_map(Bound::Share),
        2 => (2..5usize, 1..3usize).prop_filter("a window", |(w, m)| m < w).prop_map(|(w, m)| Bound::Window(w, m)),
        1 => (1..4usize).prop_map(Bound::Min),
    ];
    let only = prop_oneof![2 => Just(None), 1 => (1..3u8).prop_map(Some)];
    (select(&ATTRIBUTES[..]), only, bound, any::<bool>()).prop_map(|(attribute, only, bound, relax)| {
        let is_min = matches!(bound, Bound::Min(_));
        Rule { attribute, only: only.or(is_min.then_some(1)), bound, relax: relax && !is_min }
    })
}

/// The values of an item that an attribute counts, as the API writes them.
fn values(item: &Item, attribute: &str) -> Vec<Json> {
    let keyword = |value: u8| if value == 0 { vec![] } else { vec![json!(format!("v{value}"))] };
    match attribute {
        "seller" => keyword(item.seller),
        "section" => keyword(item.section),
        "size" => {
            if item.size == 0 {
                vec![]
            } else {
                vec![json!(item.size)]
            }
        }
        "own" => item.own.iter().map(|own| json!(own)).collect(),
        _ => {
            let mut tags = item.tags.clone();
            tags.sort_unstable();
            tags.dedup();
            tags.iter().map(|tag| json!(format!("v{tag}"))).collect()
        }
    }
}

impl Rule {
    fn value(&self) -> Option<Json> {
        let only = self.only?;
        Some(match self.attribute {
            "size" => json!(only),
            "own" => json!(only == 1),
            _ => json!(format!("v{only}")),
        })
    }

    fn json(&self, place: usize) -> Json {
        let mut limit = match self.bound {
            Bound::Max(max) => json!({"max": max}),
            Bound::Share(share) => json!({"max_share": share}),
            Bound::Window(window, max) => json!({"window": window, "max": max}),
            Bound::Min(min) => json!({"min": min}),
        };
        limit["name"] = json!(place.to_string());
        limit["attribute"] = json!(self.attribute);
        if let Some(value) = self.value() {
            limit["value"] = value;
        }
        limit
    }

    fn counted(&self, item: &Item) -> Vec<Json> {
        let only = self.value();
        values(item, self.attribute)
            .into_iter()
            .filter(|value| only.as_ref().is_none_or(|only| only == value))
            .collect()
    }

    fn most(&self, wanted: usize) -> usize {
        match self.bound {
            Bound::Max(max) | Bound::Window(_, max) => max,
            Bound::Share(share) => (share * wanted as f64 + 1e-9).floor() as usize,
            Bound::Min(_) => usize::MAX,
        }
    }

    /// The overfull groups of positions, for each value: the list has gaps while it grows.
    fn breaches(&self, list: &[Option<&Item>], wanted: usize) -> Vec<Vec<usize>> {
        let mut by_value: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (position, item) in list.iter().enumerate() {
            for value in item.iter().flat_map(|item| self.counted(item)) {
                by_value.entry(value.to_string()).or_default().push(position);
            }
        }
        let window = if let Bound::Window(window, _) = self.bound { window } else { list.len().max(1) };
        let groups = by_value.into_values().flat_map(|positions| {
            let starts = (0..list.len()).map(move |start| {
                positions
                    .iter()
                    .copied()
                    .filter(|at| (start..start + window).contains(at))
                    .collect::<Vec<_>>()
            });
            starts.collect::<Vec<_>>()
        });
        groups.filter(|group| group.len() > self.most(wanted)).collect()
    }
}

struct Shop {
    world: World,
    items: Vec<Item>,
}

impl Shop {
    fn new(items: &[Item]) -> Self {
        let rows: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(place, item)| {
                let one = |attribute: &str| values(item, attribute).pop();
                let row = json!({"seller": one("seller"), "section": one("section"), "size": one("size"), "own": one("own"),
                    "tags": item.tags.iter().map(|tag| format!("v{tag}")).collect::<Vec<_>>(),
                    "weight": f64::from(item.weight) / 7.0});
                (format!("i{place:02}"), row, item.vector.iter().map(|x| f32::from(*x)).collect())
            })
            .collect();
        let schema = json!({"seller": "keyword", "section": "keyword", "size": "int", "own": "bool",
            "tags": "keywords", "weight": "float"});
        Shop { world: World::new(schema, &rows), items: items.to_vec() }
    }

    fn document(limits: &[Rule], diversity: f64) -> Json {
        let named = |(place, limit): (usize, &Rule)| limit.relax.then(|| place.to_string());
        json!({"score": {"similarity": 0, "terms": [{"attribute": "weight"}]},
            "diversity": {"mmr": {"diversity": diversity},
                "limits": limits.iter().enumerate().map(|(place, limit)| limit.json(place)).collect::<Vec<_>>(),
                "relax": limits.iter().enumerate().filter_map(named).collect::<Vec<_>>()}})
    }

    fn candidates(&self, items: std::ops::Range<usize>) -> Vec<Candidate> {
        items.map(|item| Candidate { item: item as u32, similarity: 0.0 }).collect()
    }

    fn rank(&self, document: &Json, candidates: &[Candidate], wanted: usize) -> Vec<usize> {
        let context = FilterContext::default();
        let input = RankInput { explain: false, ..self.world.input(candidates, &context, wanted) };
        let ranking = rank(&self.world.profile(document), &input).expect("rank");
        ranking.results.iter().map(|result| result.item as usize).collect()
    }

    fn list<'a>(&'a self, places: &[usize]) -> Vec<Option<&'a Item>> {
        places.iter().map(|place| Some(&self.items[*place])).collect()
    }

    fn unit(&self, place: usize) -> Vec<f32> {
        let mut vector: Vec<f32> = self.items[place].vector.iter().map(|x| f32::from(*x)).collect();
        normalise(&mut vector);
        vector
    }

    /// Greedy as the page reads: at each position everybody is compared with everybody on the list.
    fn naive(&self, limits: &[Rule], diversity: f64, wanted: usize) -> Vec<usize> {
        let weight = |place: usize| f64::from(self.items[place].weight) / 7.0;
        let weights = || (0..self.items.len()).map(weight);
        let range = (weights().fold(f64::MAX, f64::min), weights().fold(f64::MIN, f64::max));
        // By score, then by id.
        let mut pool: Vec<usize> = (0..self.items.len()).collect();
        pool.sort_by(|a, b| weight(*b).total_cmp(&weight(*a)).then(a.cmp(b)));
        let mut list: Vec<usize> = Vec::new();
        while list.len() < wanted {
            let allowed = |place: &usize| {
                let mut longer = list.clone();
                longer.push(*place);
                let longer = self.list(&longer);
                !list.contains(place) && limits.iter().all(|limit| limit.breaches(&longer, wanted).is_empty())
            };
            let deficit = |limit: &&Rule| match limit.bound {
                Bound::Min(min) => min.saturating_sub(
                    list.iter().filter(|place| !limit.counted(&self.items[**place]).is_empty()).count(),
                ),
                _ => 0,
            };
            let wanting: Vec<&Rule> = limits.iter().filter(|limit| deficit(limit) > 0).collect();
            let reserved = wanting.iter().map(deficit).sum::<usize>() >= wanted - list.len();
            let serves =
                |place: &usize| wanting.iter().any(|limit| !limit.counted(&self.items[*place]).is_empty());
            let mut open: Vec<usize> = pool.iter().copied().filter(allowed).collect();
            if reserved && open.iter().any(serves) {
                open.retain(serves);
            }
            let value = |place: usize| {
                let nearest = list.iter().map(|other| cosine(&self.unit(place), &self.unit(*other)));
                marginal(
                    diversity,
                    scaled(weight(place), range),
                    nearest.max_by(f32::total_cmp).unwrap_or(0.0),
                )
            };
            let best = open.into_iter().map(|place| (place, value(place)));
            let Some((place, _)) = best.reduce(|best, next| if next.1 > best.1 { next } else { best }) else {
                break;
            };
            list.push(place);
        }
        list
    }

    /// The most candidates, and their best weight, that limits by count allow together: every subset is looked at.
    fn exhaustive(&self, limits: &[Rule], wanted: usize) -> (usize, f64) {
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let mut most = Vec::new();
        let mut number = |limit: usize, value: Json| {
            let next = numbers.len();
            *numbers.entry(format!("{limit} {value}")).or_insert_with(|| {
                most.push(limits[limit].most(wanted));
                next
            })
        };
        let mut counted = |item: &Item| -> Vec<usize> {
            let values = limits.iter().enumerate().map(|(place, limit)| (place, limit.counted(item)));
            values
                .flat_map(|(place, values)| values.into_iter().map(move |value| (place, value)))
                .map(|(place, value)| number(place, value))
                .collect()
        };
        let items: Vec<(Vec<usize>, f64)> =
            self.items.iter().map(|item| (counted(item), f64::from(item.weight) / 7.0)).collect();
        let mut best = (0, 0.0);
        for set in (0u32..1 << items.len()).filter(|set| set.count_ones() as usize <= wanted) {
            let length = set.count_ones() as usize;
            let chosen =
                || items.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1).map(|(_, item)| item);
            let weight: f64 = chosen().map(|(_, weight)| weight).sum();
            let mut counts = vec![0; most.len()];
            chosen().flat_map(|(numbers, _)| numbers).for_each(|number| counts[*number] += 1);
            let allowed = counts.iter().zip(&most).all(|(count, most)| count <= most);
            if allowed && (length > best.0 || (length == best.0 && weight > best.1)) {
                best = (length, weight);
            }
        }
        best
    }
}

fn max_on(attributes: &'static [&'static str]) -> impl Strategy<Value = Vec<Rule>> {
    let one = (select(attributes), prop_oneof![2 => Just(None), 1 => (1..4u8).prop_map(Some)], 1..4usize);
    let limit =
        one.prop_map(|(attribute, only, max)| Rule { attribute, only, bound: Bound::Max(max), relax: false });
    prop::collection::vec(limit, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The lazy fill is the naive one, unless that is stuck and others fit.
    #[test]
    fn lazy_is_greedy(
        items in prop::collection::vec(item(), 0..16), limits in prop::collection::vec(limit(), 0..5),
        diversity in prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0f64], wanted in 1..14usize,
    ) {
        let limits: Vec<Rule> = limits.into_iter().map(|limit| Rule { relax: false, ..limit }).collect();
        let shop = Shop::new(&items);
        let places = shop.rank(&Shop::document(&limits, diversity), &shop.candidates(0..items.len()), wanted);
        let naive = shop.naive(&limits, diversity, wanted);
        prop_assert!(places.len() >= naive.len(), "{places:?} is shorter than {naive:?}");
        prop_assert!(places.len() > naive.len() || places == naive, "{places:?} is not {naive:?}");
        for limit in limits.iter().filter(|limit| !matches!(limit.bound, Bound::Min(_))) {
            prop_assert_eq!(limit.breaches(&shop.list(&places), wanted), Vec::<Vec<usize>>::new(), "{:?}", limit);
        }
    }

    /// With `max` on up to two single-valued attributes no list is short that could be filled.
    #[test]
    fn two_attributes_never_leave_a_list_short(
        items in prop::collection::vec(item(), 0..10), limits in max_on(&["seller", "section"]), wanted in 1..9usize,
        diversity in prop_oneof![Just(0.0), Just(0.4)],
    ) {
        let shop = Shop::new(&items);
        let places = shop.rank(&Shop::document(&limits, diversity), &shop.candidates(0..items.len()), wanted);
        prop_assert_eq!(places.len(), shop.exhaustive(&limits, wanted).0);
        for limit in &limits {
            prop_assert!(limit.breaches(&shop.list(&places), wanted).is_empty(), "{limit:?}");
        }
    }

    /// Pins, explored items, every kind of limit, some of them relaxed: a hard limit is broken by pins alone.
    #[test]
    fn hard_limits_hold(
        items in prop::collection::vec(item(), 4..14), limits in prop::collection::vec(limit(), 1..5),
        pins in prop::collection::vec((0..14usize, 1..12usize), 0..3), slots in prop::collection::btree_set(1..12usize, 0..3),
        main in 2..12usize, wanted in 1..12usize, diversity in prop_oneof![Just(0.0), Just(0.5)], seed: u64,
    ) {
        let shop = Shop::new(&items);
        let mut document = Shop::document(&limits, diversity);
        let pins: Vec<_> = pins.into_iter().filter(|(item, _)| *item < items.len()).collect();
        document["rules"] = pins.iter().enumerate().map(|(place, (item, position))| {
            json!({"name": place.to_string(), "pin": {"id": format!("i{item:02}"), "position": position}})
        }).collect();
        if !slots.is_empty() {
            document["explore"] = json!({"positions": slots, "max_age": "10000w"});
        }
        let main = main.min(items.len());
        let (candidates, newcomers) = (shop.candidates(0..main), shop.candidates(main / 2..items.len()));
        let pinned: Vec<Candidate> = pins.iter().map(|(item, _)| Candidate { item: *item as u32, similarity: 0.0 }).collect();
        let context = FilterContext::default();
        let input = RankInput { newcomers: &newcomers, pinned: &pinned, seed, ..shop.world.input(&candidates, &context, wanted) };
        let Ranking { results, shortfalls, .. } = rank(&shop.world.profile(&document), &input).expect("rank");
        let places: Vec<usize> = results.iter().map(|result| result.item as usize).collect();
        prop_assert!(places.len() <= wanted);
        prop_assert!((0..places.len()).all(|at| !places[..at].contains(&places[at])), "twice: {places:?}");
        for (number, limit) in limits.iter().enumerate() {
            let breaches = limit.breaches(&shop.list(&places), wanted);
            let reported = shortfalls.iter().any(|shortfall| shortfall.name == number.to_string());
            if !matches!(limit.bound, Bound::Min(_)) {
                prop_assert_eq!(!breaches.is_empty(), reported, "{:?} {:?} {:?}", limit, places, shortfalls);
            }
            let pins_alone = |group: &Vec<usize>| {
                let pinned = group.iter().filter(|at| results[**at].pinned.is_some()).count();
                // Where a gap was closed, a pin came to stand beside others.
                pinned > limit.most(wanted) || (pinned > 0 && matches!(limit.bound, Bound::Window(..)))
            };
            prop_assert!(limit.relax || breaches.iter().all(pins_alone), "{limit:?} broken in {places:?}");
        }
        // A pin whose position is on the list and that nothing crowds out is there.
        for (number, (item, position)) in pins.iter().enumerate() {
            let first = pins.iter().position(|(other, _)| other == item) == Some(number);
            let windows = limits.iter().any(|limit| matches!(limit.bound, Bound::Window(..)));
            if first && *position <= places.len() && pins.len() == 1 && !windows {
                prop_assert_eq!(places[position - 1], *item);
            }
        }
        let explored = results.iter().filter(|result| result.explored.is_some()).count();
        let asked = slots.iter().filter(|slot| **slot <= wanted).count();
        let missing = shortfalls.iter().find(|short| short.name == "explore").map_or(0, |short| short.wanted - short.got);
        prop_assert_eq!(explored + missing, asked, "{:?}", shortfalls);
        // Nobody who is left would fit at the end of a list that is short.
        let fits = |item: &usize| {
            let mut longer = places.clone();
            longer.push(*item);
            let breaks = |limit: &Rule| {
                let breaches = limit.breaches(&shop.list(&longer), wanted);
                !matches!(limit.bound, Bound::Min(_)) && breaches.iter().any(|group| group.contains(&places.len()))
            };
            !places.contains(item) && !limits.iter().any(breaks)
        };
        prop_assert!(places.len() == wanted || !(0..main).any(|item| fits(&item)), "short: {:?}", places);
    }
}

/// Beyond two attributes, or with lists of values, repair is a heuristic: how far it falls short of the best.
#[test]
fn the_gap_beyond_two_attributes() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let long = std::env::var_os("SHORTLIST_LONG").is_some();
    for (attributes, most) in [(&["seller", "section", "size"][..], 0.02), (&["seller", "tags"][..], 0.06)] {
        let (mut cases, mut short, mut missing, mut possible, mut weight, mut best) = (0, 0, 0, 0, 0.0, 0.0);
        for _ in 0..if long { 20_000 } else { 1_000 } {
            let shop = prop::collection::vec(item(), 6..10).new_tree(&mut runner).expect("items").current();
            let limits = attributes.iter().map(|attribute| Rule {
                attribute,
                only: None,
                bound: Bound::Max(1 + cases % 2),
                relax: false,
            });
            let (limits, wanted): (Vec<Rule>, _) = (limits.collect(), 5 + cases % 3);
            let shop = Shop::new(&shop);
            let places =
                shop.rank(&Shop::document(&limits, 0.0), &shop.candidates(0..shop.items.len()), wanted);
            let (length, sum) = shop.exhaustive(&limits, wanted);
            assert!(
                places.len() <= length
                    && limits.iter().all(|limit| limit.breaches(&shop.list(&places), wanted).is_empty())
            );
            cases += 1;
            short += usize::from(places.len() < length);
            missing += length - places.len();
            possible += length;
            if places.len() == length {
                weight += places.iter().map(|place| f64::from(shop.items[*place].weight) / 7.0).sum::<f64>();
                best += sum;
            }
        }
        let (length, score) = (missing as f64 / possible as f64, 1.0 - weight / best);
        println!(
            "max by {attributes:?}: {short} of {cases} lists short, {length:.4} of their results missing; where none is, {score:.4} of the score"
        );
        assert!(length <= most, "{attributes:?}: {length}");
    }
}

/// Items in the order of their scores.
fn shop_of(sellers: &[u8], sections: &[u8]) -> Shop {
    let item = |(weight, (seller, section)): (u8, (&u8, &u8))| {
        let (seller, section, vector) = (*seller, *section, vec![1, 0, 0]);
        Item { seller, section, size: 0, tags: vec![], own: None, weight, vector }
    };
    let weights = (0..sellers.len() as u8).rev();
    Shop::new(&weights.zip(sellers.iter().zip(sections)).map(item).collect::<Vec<_>>())
}

fn limits(list: Json, relax: Json) -> Json {
    json!({"score": {"similarity": 0, "terms": [{"attribute": "weight"}]}, "diversity": {"limits": list, "relax": relax}})
}

fn ranked(shop: &Shop, document: &Json, wanted: usize) -> (Vec<usize>, Vec<(String, usize, usize)>) {
    let context = FilterContext::default();
    let candidates = shop.candidates(0..shop.items.len());
    let input = RankInput { explain: false, ..shop.world.input(&candidates, &context, wanted) };
    let Ranking { results, shortfalls, .. } = rank(&shop.world.profile(document), &input).expect("rank");
    let shortfalls = shortfalls.into_iter().map(|short| (short.name, short.wanted, short.got));
    (results.iter().map(|result| result.item as usize).collect(), shortfalls.collect())
}

#[test]
fn a_stuck_list_is_repaired() {
    // Best first takes 0 (seller 1, section 1), which leaves both others nothing; 1 and 2 fit together.
    let shop = shop_of(&[1, 1, 2], &[1, 2, 1]);
    let list = json!([{"name": "seller", "attribute": "seller", "max": 1}, {"name": "section", "attribute": "section", "max": 1}]);
    assert_eq!(ranked(&shop, &limits(list, json!([])), 2), (vec![1, 2], vec![]));
}

#[test]
fn limits_are_given_up_in_their_order_and_no_further_than_needed() {
    let shop = shop_of(&[1, 1, 1, 2, 2], &[1, 1, 1, 1, 2]);
    let list = json!([
        {"name": "seller", "attribute": "seller", "max": 1}, {"name": "section", "attribute": "section", "max": 1},
        {"name": "spread", "attribute": "seller", "window": 2, "max": 1}]);
    let relax = |names: Json| ranked(&shop, &limits(list.clone(), names), 4);
    let short = |name: &str, wanted, got| (name.to_owned(), wanted, got);
    // 0 and 4 fit; nothing else does.
    assert_eq!(relax(json!([])), (vec![0, 4], vec![short("results", 4, 2)]));
    // Without the sellers' limit still only one of each section.
    assert_eq!(relax(json!(["seller"])), (vec![0, 4], vec![short("results", 4, 2)]));
    // Then the sections' too; the window holds: 0 4 1 3.
    let all = (vec![0, 4, 1, 3], vec![short("seller", 1, 2), short("section", 1, 3)]);
    assert_eq!(relax(json!(["seller", "section"])), all);
    assert_eq!(relax(json!(["section", "seller"])), all);
    assert_eq!(relax(json!(["section"])).0, [0, 4]);
    // A limit that may be given up and need not be is not.
    let loose = json!([{"name": "seller", "attribute": "seller", "max": 3}]);
    assert_eq!(ranked(&shop, &limits(loose, json!(["seller"])), 5), (vec![0, 1, 2, 3, 4], vec![]));
}

#[test]
fn shares_are_of_the_results_wanted() {
    let shop = shop_of(&[1, 1, 1, 1, 2, 2], &[0; 6]);
    let share = |share: f64, wanted| {
        ranked(
            &shop,
            &limits(json!([{"name": "s", "attribute": "seller", "max_share": share}]), json!([])),
            wanted,
        )
        .0
    };
    assert_eq!(share(0.5, 4), [0, 1, 4, 5]);
    assert_eq!(share(0.5, 5), [0, 1, 4, 5]);
    // 0.29 x 100 is 29, whatever binary fractions say of it.
    assert_eq!(share(0.29, 100).len(), 6);
    let limit = Profile::parse(
        &limits(json!([{"name": "s", "attribute": "seller", "max_share": 0.29}]), json!([])),
        &shop.world.schema,
    );
    assert_eq!(limit.expect("profile").recipe.limits[0].most(100), 29);
}

#[test]
fn minimums_take_the_last_positions_that_can_still_serve() {
    let shop = shop_of(&[1, 1, 1, 1, 2, 2], &[0; 6]);
    let min = |min: usize, wanted| {
        let list = json!([{"name": "twos", "attribute": "seller", "value": "v2", "min": min}]);
        ranked(&shop, &limits(list, json!([])), wanted)
    };
    assert_eq!(min(1, 3), (vec![0, 1, 4], vec![]));
    assert_eq!(min(2, 3), (vec![0, 4, 5], vec![]));
    assert_eq!(min(3, 4), (vec![0, 4, 5, 1], vec![("twos".to_owned(), 3, 2)]));
}

#[test]
fn pins_keep_their_places_and_breaches_are_reported() {
    let shop = shop_of(&[1, 1, 1, 2, 1], &[0; 5]);
    let pin = |name: &str, item: usize, position: usize| json!({"name": name, "pin": {"id": format!("i{item:02}"), "position": position}});
    let rank = |rules: Json, pinned: &[u32], wanted| {
        let mut document = limits(json!([{"name": "seller", "attribute": "seller", "max": 1}]), json!([]));
        document["rules"] = rules;
        let context = FilterContext::default();
        let candidates = shop.candidates(0..4);
        let pinned: Vec<_> = pinned.iter().map(|item| Candidate { item: *item, similarity: 0.0 }).collect();
        let input =
            RankInput { pinned: &pinned, explain: false, ..shop.world.input(&candidates, &context, wanted) };
        let Ranking { results, shortfalls, rules, .. } =
            rank(&shop.world.profile(&document), &input).expect("rank");
        let touched: Vec<usize> = rules.iter().map(|rule| rule.touched).collect();
        (results.iter().map(|result| result.item).collect::<Vec<_>>(), shortfalls, touched)
    };
    // The pin is seller 1's only one, though 0 scores better; nobody is left for the third place.
    let (list, short, touched) = rank(json!([pin("a", 4, 2)]), &[4], 3);
    assert_eq!((list, touched), (vec![3, 4], vec![1]));
    assert_eq!(short.iter().map(|short| short.name.as_str()).collect::<Vec<_>>(), ["results"]);
    // Two pins of one seller: both stand, the breach is said. The second wanted the first's position.
    let (list, short, _) = rank(json!([pin("a", 4, 1), pin("b", 0, 1)]), &[0, 4], 3);
    assert_eq!(list, [4, 0, 3]);
    assert_eq!((short[0].name.as_str(), short[0].wanted, short[0].got), ("seller", 1, 2));
    assert!(short[0].reason.contains("pins") && short[0].reason.contains("\"v1\""), "{short:?}");
    // What may not be shown is not, and that is said; a position beyond the list waits.
    let (list, short, touched) = rank(json!([pin("a", 4, 1), pin("b", 3, 9)]), &[3], 2);
    assert_eq!((list, touched), (vec![0, 3], vec![0, 0]));
    assert_eq!((short[0].name.as_str(), short[0].got), ("a", 0));
    // A list that ends before its pin closes up.
    assert_eq!(rank(json!([pin("a", 4, 9)]), &[4], 10).0, [3, 4]);
}

/// An explored item that leaves the list leaves its room, too.
#[test]
fn what_an_explored_item_held_is_filled_when_it_goes() {
    // Item 2, explored at position 3, holds section 2 against item 1. Brought forward it would stand beside item 0, of its
    // own seller, so it goes; now item 1 fits.
    let shop = shop_of(&[1, 2, 1], &[1, 2, 2]);
    let list = json!([
        {"name": "section", "attribute": "section", "max": 1},
        {"name": "spread", "attribute": "seller", "window": 2, "max": 1}]);
    let mut document = limits(list, json!([]));
    document["explore"] = json!({"positions": [3], "max_age": "10000w"});
    let context = FilterContext::default();
    let (candidates, newcomers) = (shop.candidates(0..2), shop.candidates(2..3));
    let input = RankInput { newcomers: &newcomers, ..shop.world.input(&candidates, &context, 4) };
    let Ranking { results, shortfalls, .. } = rank(&shop.world.profile(&document), &input).expect("rank");
    assert_eq!(results.iter().map(|result| result.item).collect::<Vec<_>>(), [0, 1]);
    let explore = shortfalls.iter().find(|short| short.name == "explore").expect("said");
    assert_eq!((explore.wanted, explore.got), (1, 0));
}

#[test]
fn zero_and_huge_vectors_have_cosines() {
    for (vector, length) in [(vec![0.0, 0.0], 0.0), (vec![f32::MAX; 40], 1.0), (vec![f32::NAN, 1.0], 0.0)] {
        let mut unit = vector;
        normalise(&mut unit);
        assert!((cosine(&unit, &unit) - length).abs() < 1e-5);
    }
}
