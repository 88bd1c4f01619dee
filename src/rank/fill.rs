//! Filling the list top-down past what would break a limit, and what is tried when it would stay short.
//!
//! In this order: other candidates for the same limits (`repair`), giving up the next limit of `relax`, and closing the gap
//! before the next pin or explored item. Only pins break a limit that is in force, and then it is reported.
//!
//! When there is no time to refine the list any more it is finished cheaply: by score, without repair, under the same limits.
//! Where even that takes too long, the list ends.

use super::cut::finishing;
use super::limits::{Limits, Verdict};
use super::line::{How, Line, Placed};
use super::mmr::{Admission, Queue};
use super::pool::Pool;
use super::{ItemVectors, repair};
use crate::deadline::Deadline;

/// Why a candidate was first passed over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Refusal {
    pub(super) limit: usize,
    pub(super) position: usize,
}

/// A list being filled.
pub(super) struct Fill<'a> {
    pool: &'a Pool,
    vectors: &'a dyn ItemVectors,
    diversity: f64,
    pub(super) limits: Limits<'a>,
    pub(super) line: Line,
    pub(super) queue: Queue<'a>,
    /// By place in the pool.
    pub(super) refusals: Vec<Option<Refusal>>,
    /// Repair found nothing better for the limits in force.
    repaired: bool,
    /// When it is not refined any more, and when it is not even finished.
    refining: &'a Deadline,
    finishing: Deadline,
    /// Whether the time kept candidates from being exchanged.
    pub(super) unrepaired: bool,
}

impl<'a> Fill<'a> {
    /// `line` holds the pins and explored items, which `limits` count.
    pub(super) fn new(
        pool: &'a Pool,
        vectors: &'a dyn ItemVectors,
        diversity: f64,
        limits: Limits<'a>,
        line: Line,
        refining: &'a Deadline,
    ) -> Self {
        let refusals = vec![None; pool.scored.len()];
        let queue = Queue::new(pool, vectors, diversity, left(pool, &line), peers(&line), refining);
        let (repaired, unrepaired) = (false, false);
        // Scores, slots and limits have had their time.
        let finishing = finishing(refining);
        Fill {
            pool,
            vectors,
            diversity,
            limits,
            line,
            queue,
            refusals,
            repaired,
            refining,
            finishing,
            unrepaired,
        }
    }

    /// Whether the list ends where it is: there was no time even to finish it cheaply.
    pub(super) fn is_spent(&self) -> bool {
        self.finishing.has_passed()
    }

    /// From which place of the list on, from 0, MMR had no time.
    pub(super) fn plain_from(&self) -> Option<usize> {
        let plain = |(_, placed): (usize, &Placed)| placed.how == How::Filled(None);
        self.line.placed().position(plain).filter(|_| self.diversity > 0.0)
    }

    /// Fills what can be filled.
    pub(super) fn run(&mut self) {
        let mut position = 0;
        while let Some(stuck) = self.advance(position) {
            position = stuck;
            let others = !self.queue.is_empty() && !self.is_spent();
            if others && self.repair() {
                position = 0;
            } else if others && self.limits.relax() {
                self.queue.release();
                self.repaired = false;
            } else if !self.close_gap(position) {
                return;
            }
        }
    }

    /// Fills from a position on; the position at which nobody may stand, or None when the list is full.
    fn advance(&mut self, from: usize) -> Option<usize> {
        let mut open = self.line.open();
        for position in from..self.line.len() {
            if !self.line.is_free(position) {
                continue;
            }
            let reserved = self.limits.outstanding() >= open && open > 0;
            let mut found = if reserved { self.next(position, true) } else { None };
            if found.is_none() {
                found = self.next(position, false);
            }
            let Some(placed) = found else { return Some(position) };
            self.line.put(position, placed, &mut self.limits);
            open -= 1;
        }
        None
    }

    /// Who comes to a position; with `reserved` only who serves an outstanding `min`.
    fn next(&mut self, position: usize, reserved: bool) -> Option<Placed> {
        let Fill { queue, limits, refusals, refining, finishing, .. } = self;
        let wanting = if reserved { limits.wanting() } else { None };
        let found = queue.next(|place| {
            let work = limits.work(place);
            if refining.spends(work) && finishing.spends(work) {
                return Admission::Nobody;
            }
            let (admission, limit) = match limits.verdict(place, position) {
                Verdict::Free if reserved && !limits.serves(place) => (Admission::NotNow, wanting),
                Verdict::Free => (Admission::Yes, None),
                Verdict::NotHere(limit) => (Admission::NotNow, Some(limit)),
                Verdict::Full(limit) => (Admission::Never, Some(limit)),
            };
            if let Some(limit) = limit {
                refusals[place].get_or_insert(Refusal { limit, position });
            }
            admission
        });
        found.map(|(place, relevance)| Placed { place, how: How::Filled(relevance) })
    }

    /// Fills the list anew from candidates of which more fit; false, and nothing changed, when there are none.
    fn repair(&mut self) -> bool {
        if self.repaired {
            return false;
        }
        if self.refining.has_passed() {
            self.unrepaired = true;
            return false;
        }
        self.repaired = true;
        let (limits, line) = (self.limits.clone(), self.line.clone());
        let filled = filled(&self.line);
        let wanted = filled.len() + self.line.open();
        let until = self.refining;
        let chosen = repair::longer(&self.limits, &self.line, self.pool.main, &filled, wanted, until);
        self.unrepaired |= until.has_passed();
        let Some(chosen) = chosen else { return false };
        self.line.clear_filled(&mut self.limits);
        self.ask(chosen);
        self.advance(0);
        let longer = self.line.open() < line.open();
        if !longer {
            (self.limits, self.line) = (limits, line);
        }
        // The others wait for the next limit to be given up.
        self.ask(left(self.pool, &self.line));
        longer
    }

    /// Goes on with these candidates.
    fn ask(&mut self, places: Vec<usize>) {
        let peers = peers(&self.line);
        self.queue = Queue::new(self.pool, self.vectors, self.diversity, places, peers, self.refining);
    }

    /// Brings the next explored item, or when there is none the next pin, forward to a position that nobody may fill. An
    /// explored item that would break a hard window there leaves the list, and its room to the candidates, of which it may
    /// be one.
    fn close_gap(&mut self, position: usize) -> bool {
        let Some(from) = self.line.next_fixed(position) else { return false };
        let Some(placed) = self.line.take(from, &mut self.limits) else { return false };
        let pinned = matches!(placed.how, How::Pinned(_));
        if pinned || self.limits.hard_windows_allow(placed.place, position) {
            self.line.put(position, placed, &mut self.limits);
        } else {
            self.ask(left(self.pool, &self.line));
            self.repaired = false;
        }
        true
    }
}

/// Candidates that are not on the list.
fn left(pool: &Pool, line: &Line) -> Vec<usize> {
    (0..pool.main).filter(|place| !line.has(*place)).collect()
}

/// Those on the list, by position.
fn peers(line: &Line) -> Vec<usize> {
    line.placed().map(|(_, placed)| placed.place).collect()
}

/// Those on the list that are neither pinned nor explored.
fn filled(line: &Line) -> Vec<usize> {
    let filled = line.placed().filter(|(_, placed)| matches!(placed.how, How::Filled(_)));
    filled.map(|(_, placed)| placed.place).collect()
}

#[cfg(test)]
mod tests;
