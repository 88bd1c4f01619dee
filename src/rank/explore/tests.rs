//! Draws and their propensities: the drawn share over the stated propensity agrees, and the test that says so has teeth.

use serde_json::{Value as Json, json};

use super::*;
use crate::attributes::{FilterContext, ItemFacts};
use crate::index::Candidate;
use crate::rank::random::Random;
use crate::rank::tests::World;
use crate::rank::{Ranking, rank};

/// A world whose items have been shown and clicked.
struct Counted {
    world: World,
    impressions: Vec<u64>,
    clicks: Vec<u64>,
}

impl ItemFacts for Counted {
    fn items(&self) -> u32 {
        self.world.items()
    }
    fn id(&self, item: u32) -> &str {
        self.world.id(item)
    }
    fn find(&self, id: &str) -> Option<u32> {
        self.world.find(id)
    }
    fn inserted_at(&self, item: u32) -> i64 {
        self.world.inserted_at(item)
    }
    fn seq(&self, item: u32) -> u64 {
        self.world.seq(item)
    }
    fn impressions(&self, item: u32) -> u64 {
        self.impressions[item as usize]
    }
    fn clicks(&self, item: u32) -> u64 {
        self.clicks[item as usize]
    }
}

/// Items 0 and 1 are candidates; the rest, of sellers a, a, b, c, c, are newcomers.
fn world() -> Counted {
    let sellers = ["x", "y", "a", "a", "b", "c", "c"];
    let rows: Vec<_> = sellers
        .iter()
        .enumerate()
        .map(|(place, seller)| (format!("i{place}"), json!({"seller": seller, "tried": place}), vec![1.0]))
        .collect();
    let world = World::new(json!({"seller": "keyword", "tried": "int"}), &rows);
    Counted { world, impressions: vec![0, 0, 10, 20, 5, 40, 8], clicks: vec![0, 0, 2, 5, 0, 9, 2] }
}

fn candidates(items: std::ops::Range<u32>) -> Vec<Candidate> {
    items.map(|item| Candidate { item, similarity: 0.5 }).collect()
}

fn explore(extra: Json) -> Json {
    let explore = json!({"positions": [1, 3], "max_impressions": 1000, "policy": "uniform"});
    json!({"explore": crate::rank::merge_patch(&explore, &extra),
        "diversity": {"limits": [{"name": "seller", "attribute": "seller", "max": 1}]}})
}

/// Who stands where with a seed.
fn ask(counted: &Counted, document: &Json, seed: u64) -> Ranking {
    let context = FilterContext { now: 7 * 86_400_000, ..FilterContext::default() };
    let (main, newcomers) = (candidates(0..2), candidates(2..7));
    let input = RankInput {
        newcomers: &newcomers,
        facts: counted,
        seed,
        explain: false,
        ..counted.world.input(&main, &context, 4)
    };
    rank(&counted.world.profile(document), &input).expect("rank")
}

/// For every slot: requests, draws of each newcomer, and the sum of one over its propensities.
struct Tally {
    requests: f64,
    /// By slot and item: times drawn, sum of 1/p, sum of (1/p)^2.
    drawn: Vec<Vec<(f64, f64, f64)>>,
    /// By slot and item: requests in which it could be drawn.
    eligible: Vec<Vec<f64>>,
}

/// Draws with seeds 0 to `requests`.
fn tally(document: &Json, requests: u64) -> Tally {
    let counted = world();
    let sellers = ["x", "y", "a", "a", "b", "c", "c"];
    let mut tally = Tally {
        requests: requests as f64,
        drawn: vec![vec![(0.0, 0.0, 0.0); 7]; 2],
        eligible: vec![vec![0.0; 7]; 2],
    };
    for seed in 0..requests {
        let ranking = ask(&counted, document, seed);
        let mut taken: Vec<&str> = Vec::new();
        for (slot, result) in ranking.results.iter().filter(|result| result.explored.is_some()).enumerate() {
            let explored = result.explored.expect("explored");
            for item in (2..7).filter(|item| !taken.contains(&sellers[*item])) {
                tally.eligible[slot][item] += 1.0;
            }
            let inverse = 1.0 / explored.propensity;
            let (drawn, sum, squares) = &mut tally.drawn[slot][result.item as usize];
            (*drawn, *sum, *squares) = (*drawn + 1.0, *sum + inverse, *squares + inverse * inverse);
            taken.push(sellers[result.item as usize]);
        }
    }
    tally
}

impl Tally {
    /// Of each slot: chi-square of the draws weighted by one over their propensities, and its degrees of freedom. Each
    /// newcomer's sum should be the number of requests in which it could be drawn; the sums of one slot hang together a
    /// little, so the chi-square with as many degrees as newcomers errs on the strict side for a wrong propensity.
    ///
    /// Stated propensities are multiplied by `wrong`.
    fn chi_squares(&self, wrong: f64) -> Vec<(f64, usize)> {
        let slots = self.drawn.iter().zip(&self.eligible);
        slots
            .map(|(drawn, eligible)| {
                let cells = drawn.iter().zip(eligible).filter(|(_, eligible)| **eligible > 0.0);
                let chi = |((_, sum, squares), eligible): (&(f64, f64, f64), &f64)| {
                    // Of one request the variance is 1/p - 1; the squares estimate the sum of 1/p.
                    (sum / wrong - eligible).powi(2) / (squares / (wrong * wrong) - eligible).max(1e-9)
                };
                let chis: Vec<f64> = cells.map(chi).collect();
                (chis.iter().sum(), chis.len())
            })
            .collect()
    }
}

/// The chance of a chi-square this large: the regularised upper gamma function, for an odd or even number of degrees.
fn p_value(chi: f64, degrees: usize) -> f64 {
    // Wilson and Hilferty: the cube root of chi-square over its degrees is nearly normal.
    let k = degrees as f64;
    let z = ((chi / k).cbrt() - (1.0 - 2.0 / (9.0 * k))) / (2.0 / (9.0 * k)).sqrt();
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}

/// Abramowitz and Stegun 7.1.26.
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = poly * (-x * x).exp();
    if x < 0.0 { 2.0 - tail } else { tail }
}

#[test]
fn uniform_propensities_are_the_shares_and_wrong_ones_are_found() {
    let tally = tally(&explore(json!({})), 100_000);
    // Plainly, of the first slot: everybody a fifth.
    let expected = tally.requests / 5.0;
    let plain: f64 =
        tally.drawn[0][2..].iter().map(|(drawn, ..)| (drawn - expected).powi(2) / expected).sum();
    assert!(p_value(plain, 4) > 0.01, "chi-square {plain}");
    agrees_only_when_right(&tally);
}

#[test]
fn thompson_s_estimates_are_the_shares_and_wrong_ones_are_found() {
    let requests = if std::env::var_os("SHORTLIST_LONG").is_some() { 100_000 } else { 3_000 };
    agrees_only_when_right(&tally(&explore(json!({"policy": "thompson"})), requests));
}

fn agrees_only_when_right(tally: &Tally) {
    for (wrong, agrees) in [(1.0, true), (0.9, false), (1.1, false)] {
        for (slot, (chi, degrees)) in tally.chi_squares(wrong).into_iter().enumerate() {
            let p = p_value(chi, degrees);
            println!("slot {slot}, propensity x {wrong}: chi-square {chi:.2} of {degrees}, p {p:.4}");
            assert_eq!(degrees, 5);
            assert_eq!(p > 0.01, agrees, "slot {slot}, propensity x {wrong}: chi-square {chi}, p {p}");
        }
    }
}

#[test]
fn each_policy_says_what_its_propensity_is_worth() {
    let counted = world();
    let explored = |extra: Json, seed| {
        let results = ask(&counted, &explore(extra), seed).results;
        results.iter().filter_map(|result| Some((result.item, result.explored?))).collect::<Vec<_>>()
    };
    for seed in 0..50 {
        let uniform = explored(json!({}), seed);
        assert_eq!(uniform[0].1, Explored { policy: Policy::Uniform, propensity: 0.2, basis: Basis::Exact });
        // The seller drawn first is full for the second: 3 of 5 are left after a or c, 4 after b.
        let left = if uniform[0].0 == 4 { 4.0 } else { 3.0 };
        assert_eq!(uniform[1].1.propensity, 1.0 / left);
        let thompson = explored(json!({"policy": "thompson"}), seed);
        assert!(
            thompson.iter().all(|(_, one)| one.basis == Basis::Estimated
                && one.propensity > 0.0
                && one.propensity <= 1.0)
        );
        // Rates .25, .2, .225, .25; item 4 was tried least of all, and never clicked: its bound is the highest.
        let ucb = explored(json!({"policy": "ucb"}), seed);
        assert_eq!(
            ucb[0],
            (4, Explored { policy: Policy::Ucb, propensity: 1.0, basis: Basis::Deterministic })
        );
        assert!(!ucb[0].1.basis.is_usable() && uniform[0].1.basis.is_usable());
    }
    assert_eq!(explored(json!({}), 3), explored(json!({}), 3));
    // Counters of the schema: item 6 was tried often, item 2 least.
    let own = explored(json!({"policy": "ucb", "counters": {"trials": "tried", "successes": "tried"}}), 1);
    assert_eq!(own[0].0, 2);
}

#[test]
fn slots_respect_age_limits_pins_and_the_list_s_end() {
    let counted = world();
    let ranking = |extra: Json| ask(&counted, &explore(extra), 5);
    let items = |ranking: &Ranking| ranking.results.iter().filter(|one| one.explored.is_some()).count();
    // Inserted on days 0 to 6, now is day 7: two are at most two days old, both of seller c.
    let young = ranking(json!({"max_age": "2d"}));
    assert_eq!(items(&young), 1);
    assert_eq!(
        (young.shortfalls[0].name.as_str(), young.shortfalls[0].wanted, young.shortfalls[0].got),
        ("explore", 2, 1)
    );
    assert_eq!(items(&ranking(json!({"max_impressions": 6}))), 1);
    assert_eq!(items(&ranking(json!({"enabled": false}))), 0);
    // Positions beyond the list are no shortfall.
    let late = ranking(json!({"positions": [2, 50]}));
    assert_eq!((items(&late), late.shortfalls.len()), (1, 0));
    assert!(late.results[1].explored.is_some());
    // A pin goes first; the slot takes the next free position.
    let mut document = explore(json!({"positions": [1]}));
    document["rules"] = json!([{"name": "hero", "pin": {"id": "i1", "position": 1}}]);
    let context = FilterContext { now: 7 * 86_400_000, ..FilterContext::default() };
    let (main, newcomers, pinned) = (candidates(0..2), candidates(2..7), candidates(1..2));
    let input =
        RankInput { newcomers: &newcomers, pinned: &pinned, ..counted.world.input(&main, &context, 3) };
    let results = rank(&counted.world.profile(&document), &input).expect("rank").results;
    assert_eq!((results[0].item, results[2].item), (1, 0));
    assert!(results[0].pinned.as_deref() == Some("hero") && results[1].explored.is_some());
}

/// The estimate against plain counting of wins.
#[test]
fn an_estimate_is_near_the_chance() {
    let arms = [(1.0, 1.0), (3.0, 8.0), (10.0, 30.0), (2.0, 1.0), (40.0, 100.0)];
    let mut random = Random::new(77, 0);
    let mut wins = [0.0; 5];
    for _ in 0..200_000 {
        let (arm, _) = greatest(arms.iter().map(|(a, b)| random.beta(*a, *b))).expect("arms");
        wins[arm] += 1.0 / 200_000.0;
    }
    let mut sum = 0.0;
    for (arm, share) in wins.into_iter().enumerate() {
        let runs = (0..40).map(|run| estimate(&arms, arm, &mut Random::new(run, 9), &Deadline::never()));
        let mean = runs.sum::<f64>() / 40.0;
        assert!((mean - share).abs() < 0.005 + 0.03 * share, "arm {arm}: estimated {mean}, drawn {share}");
        sum += mean;
    }
    assert!((sum - 1.0).abs() < 0.01, "{sum}");
}

/// Counts of every size give numbers of [0, 1] and chances of (0, 1], soon.
#[test]
fn counts_of_any_size_are_ranked() {
    let sizes = [
        -1.0,
        0.0,
        1.0,
        10.5,
        1e6,
        1e9,
        1e17,
        u64::MAX as f64,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::INFINITY,
        f64::NAN,
    ];
    let pairs = || sizes.iter().flat_map(|trials| sizes.iter().map(|successes| (*trials, *successes)));
    let mut random = Random::new(3, 0);
    for (trials, successes) in pairs() {
        let (a, b) = posterior(bounded(trials, successes).0, bounded(trials, successes).1);
        assert!(a >= 1.0 && b >= 1.0 && a + b <= 2.0 * MOST + 2.0, "{trials} {successes}: beta({a}, {b})");
        for _ in 0..20 {
            let drawn = random.beta(a, b);
            assert!((0.0..=1.0).contains(&drawn), "beta({a}, {b}): {drawn}");
            let below = beta_below(drawn, a, b);
            assert!((0.0..=1.0).contains(&below), "beta({a}, {b}) below {drawn}: {below}");
        }
        for rival in [(1.0, 1.0), (1.0, 1.0 + MOST), (1.0 + MOST, 1.0)] {
            let chance = estimate(&[(a, b), rival], 0, &mut random, &Deadline::never());
            assert!(chance > 0.0 && chance <= 1.0, "beta({a}, {b}) against {rival:?}: {chance}");
        }
    }
    // The rate stays what it was.
    let (a, b) = posterior(bounded(1e17, 2.5e16).0, bounded(1e17, 2.5e16).1);
    assert!((a / (a + b) - 0.25).abs() < 1e-5, "beta({a}, {b})");
}

/// The same through the whole pipeline: counters as events and columns have them.
#[test]
fn slots_are_drawn_from_extreme_counters() {
    let extremes = [0, 1, 1_000_000_000, 100_000_000_000_000_000, u64::MAX];
    for (trials, successes) in extremes.iter().flat_map(|a| extremes.iter().map(move |b| (*a, *b))) {
        let mut counted = world();
        counted.impressions[2..5].fill(trials);
        counted.clicks[2..5].fill(successes);
        for policy in ["uniform", "thompson", "ucb"] {
            let document = json!({"explore": {"positions": [1, 3], "max_age": "10000w", "policy": policy}});
            let results = ask(&counted, &document, 5).results;
            let explored: Vec<Explored> = results.iter().filter_map(|one| one.explored).collect();
            assert_eq!(explored.len(), 2, "{policy}, {successes} of {trials}");
            assert!(explored.iter().all(|one| one.propensity > 0.0 && one.propensity <= 1.0), "{explored:?}");
        }
    }
}
