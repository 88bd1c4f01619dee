//! Explore slots: newcomers drawn for fixed positions, each with the chance that it had.
//!
//! Slots are drawn one after another, each among the newcomers that are not on the list and that the hard limits allow at its
//! position; the propensity is that draw's chance given the draws before. All that is random comes from the request's
//! seed: stream 0 draws, stream 1 + n estimates the propensity of slot n.
//!
//! When the deadline comes, slots that have not been drawn stay empty. That is settled before a draw, never after it: a slot
//! given up because of who was drawn would make every propensity wrong. One that was drawn is estimated from fewer samples.

use super::RankInput;
use super::limits::{Limits, Verdict};
use super::line::{How, Line, Placed};
use super::pool::Pool;
use super::profile::{Counter, Explore, Policy};
use super::random::{Random, beta_below};
use crate::deadline::Deadline;

/// How an explored item came to its place.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Explored {
    /// How it was chosen.
    pub policy: Policy,
    /// The chance that it had of being chosen for this slot, given the slots before.
    pub propensity: f64,
    /// What that number is worth.
    pub basis: Basis,
}

/// What a propensity is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// The chance itself.
    Exact,
    /// A seeded Monte Carlo estimate of it.
    Estimated,
    /// Nothing was drawn: the propensity is 1, and off-policy learning cannot use it.
    Deterministic,
}

impl Basis {
    /// Whether off-policy learning can use the propensity.
    pub fn is_usable(self) -> bool {
        self != Basis::Deterministic
    }
}

/// Samples behind an estimated propensity.
const SAMPLES: u32 = 1024;
/// The same when the deadline comes: off by about four times as much.
const FEWEST: u32 = 64;

/// What a newcomer of a slot is to the deadline, and a Beta number of a sample.
const NEWCOMER: usize = 64;
const BETA: usize = 64;

/// What the deadline did to the slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Slots were not drawn.
    pub(super) undrawn: bool,
    /// A propensity comes from fewer samples.
    pub(super) coarse: bool,
}

/// Counts beyond a million tell nothing more: by then the rate is known to a thousandth. With ever larger ones an estimate
/// would take ever longer, and in the end mean nothing.
const MOST: f64 = 1e6;

/// Fills the slots whose positions the list has.
pub(super) fn draw(
    explore: &Explore,
    input: &RankInput<'_>,
    pool: &Pool,
    limits: &mut Limits<'_>,
    line: &mut Line,
) -> Cut {
    let mut cut = Cut::default();
    let newcomers = pool.newcomers(input, explore.newcomers());
    let mut random = Random::new(input.seed, 0);
    for (slot, position) in (1..).zip(&explore.positions) {
        // A pin may stand there: then the next free position.
        let Some(position) = line.free_from(position - 1) else { continue };
        if input.deadline.spends(NEWCOMER * newcomers.len()) {
            cut.undrawn = true;
            break;
        }
        let allowed = |place: &usize| !line.has(*place) && limits.verdict(*place, position) == Verdict::Free;
        let allowed: Vec<usize> = newcomers.iter().copied().filter(allowed).collect();
        let arms = Arms { explore, input, pool, places: &allowed };
        let Some((place, propensity, basis)) = arms.choose(&mut random, slot) else { continue };
        cut.coarse |= basis == Basis::Estimated && input.deadline.has_passed();
        let explored = Explored { policy: explore.policy, propensity, basis };
        line.put(position, Placed { place, how: How::Explored(explored) }, limits);
    }
    cut
}

/// The newcomers that one slot is drawn from.
struct Arms<'a> {
    explore: &'a Explore,
    input: &'a RankInput<'a>,
    pool: &'a Pool,
    /// Places in the pool, best score first.
    places: &'a [usize],
}

impl Arms<'_> {
    /// The place that is chosen, its propensity, and what that is worth.
    fn choose(&self, random: &mut Random, slot: u64) -> Option<(usize, f64, Basis)> {
        if self.places.is_empty() {
            return None;
        }
        let (arm, propensity, basis) = match self.explore.policy {
            Policy::Uniform => {
                (random.below(self.places.len()), 1.0 / self.places.len() as f64, Basis::Exact)
            }
            Policy::Thompson => {
                let arms = self.beta_parameters();
                let (arm, _) = greatest(arms.iter().map(|(a, b)| random.beta(*a, *b)))?;
                let mut random = Random::new(self.input.seed, slot);
                (arm, estimate(&arms, arm, &mut random, self.input.deadline), Basis::Estimated)
            }
            Policy::Ucb => {
                let (arm, _) = greatest(self.upper_bounds().into_iter())?;
                (arm, 1.0, Basis::Deterministic)
            }
        };
        Some((self.places[arm], propensity, basis))
    }

    /// Trials and successes of each, as they are used.
    fn counts(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.places.iter().map(|place| {
            let item = self.pool.scored[*place].item;
            let count = |counter: Counter| match counter {
                Counter::Impressions => self.input.facts.impressions(item) as f64,
                Counter::Clicks => self.input.facts.clicks(item) as f64,
                Counter::Column(ordinal) => self.input.columns.number(ordinal, item).unwrap_or(0.0),
            };
            bounded(count(self.explore.trials), count(self.explore.successes))
        })
    }

    /// The posterior of each success rate, from a uniform prior.
    fn beta_parameters(&self) -> Vec<(f64, f64)> {
        self.counts().map(|(trials, successes)| posterior(trials, successes)).collect()
    }

    /// UCB1 (Auer, Cesa-Bianchi, Fischer, 2002): the rate and sqrt(2 ln N / n); boundless for one never tried.
    fn upper_bounds(&self) -> Vec<f64> {
        let all: f64 = self.counts().map(|(trials, _)| trials).sum();
        let bound = |(trials, successes): (f64, f64)| match trials > 0.0 {
            true => successes / trials + (2.0 * all.max(1.0).ln() / trials).sqrt(),
            false => f64::INFINITY,
        };
        self.counts().map(bound).collect()
    }
}

/// Counts as they are used: not negative, and brought down to [`MOST`] at the same rate.
fn bounded(trials: f64, successes: f64) -> (f64, f64) {
    let count = |number: f64| if number > 0.0 { number.min(f64::MAX) } else { 0.0 };
    let (trials, successes) = (count(trials), count(successes));
    let scale = (MOST / trials.max(successes)).min(1.0);
    (trials * scale, successes * scale)
}

/// The beta distribution of a success rate after these counts, from a uniform prior.
fn posterior(trials: f64, successes: f64) -> (f64, f64) {
    (1.0 + successes, 1.0 + (trials - successes).max(0.0))
}

/// The first of the greatest, and its number.
fn greatest(numbers: impl Iterator<Item = f64>) -> Option<(usize, f64)> {
    numbers.enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// The chance that one arm's number is the greatest: the mean, over samples of all the others' greatest, of its chance to
/// be above. (Sampling the others and integrating its own number has far less variance than counting wins.) The [`FEWEST`]
/// samples are taken whatever the time.
fn estimate(arms: &[(f64, f64)], arm: usize, random: &mut Random, deadline: &Deadline) -> f64 {
    if arms.len() == 1 {
        return 1.0;
    }
    let (a, b) = arms[arm];
    let others = || arms.iter().enumerate().filter(|(other, _)| *other != arm);
    let mut sample = || {
        let rival = others().map(|(_, (a, b))| random.beta(*a, *b)).fold(0.0, f64::max);
        1.0 - beta_below(rival, a, b)
    };
    let (mut sum, mut samples) = (0.0, 0);
    while samples < FEWEST || (samples < SAMPLES && !deadline.spends(BETA * arms.len())) {
        sum += sample();
        samples += 1;
    }
    // It was drawn, so it had a chance.
    (sum / f64::from(samples)).clamp(1e-9, 1.0)
}

#[cfg(test)]
mod tests;
