//! More candidates under the same limits, when taking the best first got stuck.
//!
//! Limits by count on two single-valued attributes make candidates the edges of a bipartite graph, from one attribute's value
//! to the other's, and a list a set of edges with a capacity at each node (a b-matching). It can grow as long as there is
//! an augmenting path (Berge, 1957; Ford and Fulkerson, 1956): a candidate comes on, one that it crowds out goes, another
//! comes on in that one's place, and so on. So with such limits on one or two attributes no list stays short that could
//! be filled. Every pair of attributes is tried; what other limits say is asked of each path as a whole. When that fails,
//! two are looked for that fit in one's place. With limits that are no such pair the result may be short of the best.

use std::collections::{HashMap, VecDeque};

use super::limits::Limits;
use super::line::Line;
use crate::deadline::Deadline;

/// At most `wanted` candidates, more than are `chosen` (places on the list), that all limits by count allow together; as many
/// as were found when the deadline came.
pub(super) fn longer(
    limits: &Limits<'_>,
    line: &Line,
    main: usize,
    chosen: &[usize],
    wanted: usize,
    deadline: &Deadline,
) -> Option<Vec<usize>> {
    let single = |attribute: &usize| {
        let of = |place: usize| limits.keys(place).iter().filter(|key| limits.attribute(**key) == *attribute);
        (0..main).all(|place| of(place).count() <= 1)
    };
    let attributes: Vec<usize> = limits.capped().into_iter().filter(single).collect();
    let mut choice = Choice::new(limits, line, main, chosen, deadline);
    let pairs = |choice: &mut Choice<'_>, keep_mins: bool| {
        attributes.iter().enumerate().any(|(second, b)| {
            attributes[..second].iter().any(|a| {
                !deadline.spends(ENTRY * main) && Edges::new(choice, *a, *b).augment(choice, keep_mins)
            })
        })
    };
    let more = |choice: &mut Choice<'_>| {
        pairs(choice, true) || pairs(choice, false) || choice.swap(true) || choice.swap(false)
    };
    while choice.count < wanted && !deadline.spends(ENTRY * main) && more(&mut choice) {}
    (choice.count > chosen.len()).then(|| choice.places())
}

/// Candidates that are looked at for a swap, at most: some milliseconds.
const SWAP_WORK: usize = 1_000_000;

/// What a candidate that is looked at is to the deadline.
const ENTRY: usize = 8;

/// Which candidates are chosen, and what they and the fixed ones count for.
struct Choice<'a> {
    limits: &'a Limits<'a>,
    /// By place; pins and explored items are `fixed`.
    chosen: Vec<bool>,
    fixed: Vec<bool>,
    counts: Vec<u32>,
    count: usize,
    deadline: &'a Deadline,
}

impl<'a> Choice<'a> {
    fn new(
        limits: &'a Limits<'a>,
        line: &Line,
        main: usize,
        places: &[usize],
        deadline: &'a Deadline,
    ) -> Self {
        let mut chosen = vec![false; main];
        places.iter().for_each(|place| chosen[*place] = true);
        let fixed = (0..main).map(|place| line.has(place) && !chosen[place]).collect();
        let counts = limits.room().0.to_vec();
        Choice { limits, chosen, fixed, counts, count: places.len(), deadline }
    }

    fn has_room(&self, number: u32) -> bool {
        self.counts[number as usize] < self.limits.room().1[number as usize]
    }

    /// Takes the path's candidates on and off; false, and nothing changed, when a limit forbids it.
    fn apply(&mut self, on: &[usize], off: &[usize]) -> bool {
        self.turn(off, false);
        self.turn(on, true);
        let caps = self.limits.room().1;
        let keys = on.iter().flat_map(|place| self.limits.keys(*place));
        let allowed = keys.into_iter().all(|key| self.counts[*key as usize] <= caps[*key as usize]);
        if !allowed {
            self.turn(on, false);
            self.turn(off, true);
        }
        allowed
    }

    fn turn(&mut self, places: &[usize], on: bool) {
        for &place in places {
            self.chosen[place] = on;
            self.count = if on { self.count + 1 } else { self.count - 1 };
            for key in self.limits.keys(place) {
                let count = &mut self.counts[*key as usize];
                *count = if on { *count + 1 } else { *count - 1 };
            }
        }
    }

    /// Takes one off and two on, the best that fit; false, and nothing changed, when there are none. With `keep_mins`
    /// nothing goes that a `min` needs.
    fn swap(&mut self, keep_mins: bool) -> bool {
        let (mut fits, mut work) = (Vec::new(), 0);
        let mut alike: HashMap<&[u32], u8> = HashMap::new();
        for goes in (0..self.chosen.len()).rev() {
            if !self.chosen[goes] || (keep_mins && self.limits.is_needed(goes)) {
                continue;
            }
            if self.deadline.spends(ENTRY * self.chosen.len()) {
                return false;
            }
            self.turn(&[goes], false);
            fits.clear();
            alike.clear();
            work += self.chosen.len();
            fits.extend((0..self.chosen.len()).filter(|&place| {
                // Of those that count for the same, two are as good as all.
                place != goes && self.admits(place) && {
                    let count = alike.entry(self.limits.keys(place)).or_insert(0);
                    *count += 1;
                    *count <= 2
                }
            }));
            for (at, first) in fits.iter().enumerate() {
                work += fits.len() - at;
                if work > SWAP_WORK || self.deadline.spends(ENTRY * (fits.len() - at)) {
                    self.turn(&[goes], true);
                    return false;
                }
                self.turn(&[*first], true);
                if let Some(second) = fits[at + 1..].iter().find(|second| self.admits(**second)) {
                    self.turn(&[*second], true);
                    return true;
                }
                self.turn(&[*first], false);
            }
            self.turn(&[goes], true);
        }
        false
    }

    /// Whether a candidate that is not on the list has room.
    fn admits(&self, place: usize) -> bool {
        !self.chosen[place]
            && !self.fixed[place]
            && self.limits.keys(place).iter().all(|number| self.has_room(*number))
    }

    fn places(&self) -> Vec<usize> {
        (0..self.chosen.len()).filter(|place| self.chosen[*place]).collect()
    }
}

/// The graph of one pair of attributes. The last node of each side stands for "no value", which has room for all.
struct Edges {
    /// By place: its nodes.
    ends: Vec<(usize, usize)>,
    /// By left node: places that are not chosen, best first.
    free: Vec<Vec<usize>>,
    /// By right node: places that are.
    taken: Vec<Vec<usize>>,
    none: usize,
}

impl Edges {
    fn new(choice: &Choice<'_>, left: usize, right: usize) -> Self {
        let none = choice.counts.len();
        let node = |place: usize, attribute: usize| {
            let key =
                choice.limits.keys(place).iter().find(|key| choice.limits.attribute(**key) == attribute);
            key.map_or(none, |key| *key as usize)
        };
        let ends = (0..choice.chosen.len()).map(|place| (node(place, left), node(place, right))).collect();
        let mut edges =
            Edges { ends, free: vec![Vec::new(); none + 1], taken: vec![Vec::new(); none + 1], none };
        for (place, (left, right)) in edges.ends.iter().enumerate() {
            match (choice.fixed[place], choice.chosen[place]) {
                (true, _) => {}
                (false, true) => edges.taken[*right].push(place),
                (false, false) => edges.free[*left].push(place),
            }
        }
        edges
    }

    fn has_room(&self, choice: &Choice<'_>, node: usize) -> bool {
        node == self.none || choice.has_room(node as u32)
    }

    /// Finds a shortest augmenting path and follows it; false when there is none. With `keep_mins` nothing goes that a
    /// `min` needs.
    fn augment(&self, choice: &mut Choice<'_>, keep_mins: bool) -> bool {
        let nodes = self.none + 1;
        // How each left node was reached: the place that goes; and each right one: the place that comes.
        let (mut going, mut coming) = (vec![None; nodes], vec![None; nodes]);
        let mut seen = vec![false; nodes];
        let starts = (0..nodes).filter(|node| !self.free[*node].is_empty() && self.has_room(choice, *node));
        let mut queue: VecDeque<usize> = starts.collect();
        queue.iter().for_each(|node| seen[*node] = true);
        while let Some(node) = queue.pop_front() {
            for &place in &self.free[node] {
                if choice.deadline.spends(ENTRY) {
                    return false;
                }
                let right = self.ends[place].1;
                if coming[right].is_some() {
                    continue;
                }
                if self.has_room(choice, right) {
                    let (on, off) = self.path(place, &going, &coming);
                    choice.deadline.spends(2 * ENTRY * on.len());
                    if choice.apply(&on, &off) {
                        return true;
                    }
                    continue;
                }
                coming[right] = Some(place);
                for &other in &self.taken[right] {
                    let left = self.ends[other].0;
                    let stays = keep_mins && choice.limits.is_needed(other);
                    if !seen[left] && !stays {
                        seen[left] = true;
                        going[left] = Some(other);
                        queue.push_back(left);
                    }
                }
            }
        }
        false
    }

    /// The path that ends with this place: who comes on and who goes.
    fn path(
        &self,
        last: usize,
        going: &[Option<usize>],
        coming: &[Option<usize>],
    ) -> (Vec<usize>, Vec<usize>) {
        let (mut on, mut off) = (vec![last], Vec::new());
        let mut node = self.ends[last].0;
        while let Some(goes) = going[node] {
            off.push(goes);
            let Some(comes) = coming[self.ends[goes].1] else { break };
            on.push(comes);
            node = self.ends[comes].0;
        }
        (on, off)
    }
}
