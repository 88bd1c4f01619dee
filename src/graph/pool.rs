//! What one walk remembers: its best candidates, sorted, and the nodes it has seen.

/// Ghosts that are let in beside the others, at most: a sweep takes them away before there are so many near one place.
const GHOSTS: usize = 4_096;

/// So many that come at once are sorted and merged.
const MERGED: usize = 10;

/// A hole of so many nodes around the query widens a search by one.
pub(super) const HOLE: usize = 2;

/// The `capacity` nearest nodes seen so far, ascending by (distance, node), each expanded or not.
///
/// An entry is one u64: the distance's bits made order-preserving, the node (xor a salt) shifted by one, and bit 0 for
/// "expanded". Comparing entries compares distances first, then salted nodes. With salt 0 equal distances order by node;
/// inserts take a salt each, so that of many equal neighbours not all choose the same few.
/// Invariant: entries before `cursor` are expanded.
#[derive(Debug, Default)]
pub(super) struct Pool {
    entries: Vec<u64>,
    capacity: usize,
    /// The capacity without ghosts.
    least: usize,
    /// Entries at the end that are kept, but not expanded.
    unexpanded: usize,
    /// Ghosts that are let in at most.
    most_ghosts: usize,
    /// Whether the capacity grows with the ghosts that came, of which these are counted.
    widens: bool,
    ghosts: usize,
    salt: u32,
    cursor: usize,
    ball: Option<Ball>,
    /// Entries from here on are outside the ball.
    bound: u64,
    /// Memory of `offer_all`.
    near: Vec<u64>,
}

/// What a pool covers instead of a number of nodes: all within `factor` times the distance of the `rank`-th nearest, but
/// at least `least`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ball {
    /// Counted from 0.
    pub rank: usize,
    pub factor: f32,
    /// The distance of a vector from itself.
    pub zero: f32,
    pub least: usize,
    /// At least so many where the nearest are as near as codes can tell: the ball has no radius then.
    pub alike: usize,
}

impl Ball {
    /// The first entry behind one at this distance.
    fn end(&self, distance: f32) -> u64 {
        let end = self.zero + self.factor * (distance - self.zero).max(0.0);
        u64::from(ordered(end)) << 32 | u64::from(u32::MAX)
    }
}

/// f32 to u32 so that unsigned order is numeric order (NaN, which a damaged file may yield, last).
pub(crate) fn ordered(distance: f32) -> u32 {
    if distance.is_nan() {
        return u32::MAX;
    }
    let bits = distance.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

pub(super) fn unordered(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 1 { bits & 0x7fff_ffff } else { !bits })
}

impl Pool {
    /// Empties the pool; the salt has 31 bits.
    pub(super) fn reset(&mut self, capacity: usize, salt: u32) {
        self.entries.clear();
        self.entries.reserve(capacity + 1);
        self.capacity = capacity;
        self.least = capacity;
        self.unexpanded = 0;
        self.most_ghosts = GHOSTS;
        self.widens = false;
        self.ghosts = 0;
        self.salt = salt & (u32::MAX >> 1);
        self.cursor = 0;
        self.ball = None;
        self.bound = u64::MAX;
    }

    /// Empties the pool for a walk that keeps more than it expands: the `ef` nearest are expanded, `capacity` are kept.
    pub(super) fn reset_narrow(&mut self, capacity: usize, ef: usize) {
        self.reset(capacity.max(ef), 0);
        self.unexpanded = self.capacity - ef;
    }

    /// Empties the pool for a walk that covers a ball, `most` nodes at most.
    pub(super) fn reset_ball(&mut self, ball: Ball, most: usize) {
        self.reset(most, 0);
        self.ball = Some(ball);
    }

    /// Empties the pool for ghosts that are not wanted rather than dead: many in one place are a hole in what may be found, and
    /// around a hole more nodes are equally near than around a point, so every [`HOLE`] of them widen the pool by one.
    pub(super) fn reset_late(&mut self, capacity: usize, most_ghosts: usize) {
        self.reset(capacity, 0);
        self.most_ghosts = most_ghosts;
        self.widens = true;
    }

    /// Raises the capacity.
    pub(super) fn widen(&mut self, capacity: usize) {
        self.capacity = self.capacity.max(capacity);
        self.least = self.least.max(capacity);
    }

    /// Takes a node in if it is among the nearest; it must not have been offered before.
    #[inline]
    pub(super) fn offer(&mut self, distance: f32, node: u32) -> bool {
        self.offer_entry(self.entry(distance, node))
    }

    #[inline]
    fn offer_entry(&mut self, entry: u64) -> bool {
        if self.entries.len() >= self.capacity {
            if self.entries.last().is_none_or(|&last| entry >= last) {
                return false;
            }
            self.entries.pop();
        }
        self.insert(entry);
        true
    }

    /// Offers many. Those that are too far are sorted out first: most are, which of them cannot be foreseen, and so there is no
    /// branch on it.
    #[inline]
    pub(super) fn offer_all(&mut self, distances: &[f32], nodes: &[u32]) {
        let full = self.entries.len() >= self.capacity;
        let last = self.entries.last().filter(|_| full).map_or(self.bound, |&last| last.min(self.bound));
        let mut near = std::mem::take(&mut self.near);
        near.resize(near.len().max(nodes.len()), 0);
        let mut count = 0;
        for (&distance, &node) in distances.iter().zip(nodes) {
            let entry = self.entry(distance, node);
            near[count] = entry;
            count += usize::from(entry < last);
        }
        match count {
            0..MERGED => {
                for &entry in &near[..count] {
                    self.offer_entry(entry);
                }
            }
            _ => self.merge(&mut near[..count]),
        }
        self.near = near;
        self.shrink();
    }

    /// Takes in the nearest of many, as offering each would. One pass moves each entry once; which of two goes first cannot be
    /// foreseen, so there is no branch on it.
    fn merge(&mut self, near: &mut [u64]) {
        near.sort_unstable();
        let (mut old, mut new) = (self.entries.len(), near.len());
        let mut at = old + new;
        self.entries.resize(at, 0);
        while new > 0 {
            let last = self.entries[..old].last().map_or(0, |&last| last);
            let other = near[new - 1];
            at -= 1;
            self.entries[at] = last.max(other);
            old -= usize::from(last > other);
            new -= usize::from(last <= other);
        }
        self.entries.truncate(self.capacity);
        self.cursor = self.cursor.min(at);
    }

    /// Drops what lies outside the ball, which becomes smaller as nearer nodes come.
    #[inline]
    fn shrink(&mut self) {
        let Some(ball) = self.ball.filter(|ball| self.entries.len() > ball.least) else { return };
        let Some(&at_rank) = self.entries.get(ball.rank) else { return };
        let distance = unordered((at_rank >> 32) as u32);
        let end = ball.end(distance);
        let wanted = if distance > ball.zero { ball.least } else { ball.alike };
        let least = wanted.min(self.entries.len());
        let inside = self.entries[least..].partition_point(|&entry| entry < end);
        self.entries.truncate(least + inside);
        // What is nearer than the last that must stay comes in, even from outside.
        self.bound = if least < wanted { u64::MAX } else { self.entries[least - 1].max(end) };
    }

    /// As `offer`, where ghosts are let in beside the `capacity` nearest others: as long as they are nearer than the last
    /// of those.
    #[inline]
    pub(super) fn offer_among(&mut self, distance: f32, node: u32, is_ghost: impl Fn(u32) -> bool) -> bool {
        let entry = self.entry(distance, node);
        let full = self.entries.len() >= self.capacity;
        if full && self.entries.last().is_none_or(|&last| entry >= last) {
            return false;
        }
        self.insert(entry);
        if is_ghost(node) && self.capacity < self.least + self.most_ghosts {
            self.capacity += 1;
            self.ghosts += 1;
            if self.widens && self.ghosts.is_multiple_of(HOLE) {
                self.capacity += 1;
                self.least += 1;
            }
        } else if full {
            self.entries.pop();
        }
        // When as many as wanted are in, ghosts behind the last of them lead nowhere that matters.
        while self.entries.len() >= self.capacity
            && self.entries.last().is_some_and(|&last| is_ghost(self.node(last)))
        {
            self.entries.pop();
            // A node may have died since it was let in.
            self.capacity = (self.capacity - 1).max(self.least);
        }
        true
    }

    #[inline]
    fn entry(&self, distance: f32, node: u32) -> u64 {
        u64::from(ordered(distance)) << 32 | u64::from(node ^ self.salt) << 1
    }

    #[inline]
    fn node(&self, entry: u64) -> u32 {
        ((entry as u32) >> 1) ^ self.salt
    }

    #[inline]
    fn insert(&mut self, entry: u64) {
        let at = self.entries.partition_point(|&other| other < entry);
        self.entries.insert(at, entry);
        self.cursor = self.cursor.min(at);
    }

    /// The nearest node not expanded yet, now marked as expanded.
    #[inline]
    pub(super) fn expand(&mut self) -> Option<u32> {
        let end = self.entries.len().min(self.capacity - self.unexpanded);
        while let Some(entry) = self.entries[..end].get_mut(self.cursor) {
            self.cursor += 1;
            if *entry & 1 == 0 {
                *entry |= 1;
                return Some(((*entry as u32) >> 1) ^ self.salt);
            }
        }
        None
    }

    /// How many are expanded, at least.
    #[inline]
    pub(super) fn wanted(&self) -> usize {
        self.ball.map_or(self.capacity - self.unexpanded, |ball| ball.least)
    }

    /// Whether as many as wanted are in.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= self.wanted()
    }

    /// Whether so many ghosts came that some were left out, and what lies behind them.
    pub(super) fn is_crowded(&self) -> bool {
        self.capacity >= self.least + self.most_ghosts
    }

    /// Nodes in it.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether `capacity` nodes are in and `distance` is beyond them all.
    pub(super) fn rejects(&self, distance: f32) -> bool {
        self.entries.len() >= self.capacity
            && self.entries.last().is_none_or(|&last| u64::from(ordered(distance)) > last >> 32)
    }

    /// Distance and node, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (f32, u32)> + '_ {
        self.entries.iter().map(|&entry| (unordered((entry >> 32) as u32), self.node(entry)))
    }
}

/// A set of nodes, emptied in time proportional to what was put in.
///
/// Invariant: `touched[..count]` names every word that is not 0, once; behind it there is a place for each other word, and one more.
#[derive(Debug, Default)]
pub(super) struct Visited {
    words: Vec<u64>,
    touched: Vec<u32>,
    count: usize,
}

impl Visited {
    pub(super) fn reset(&mut self, nodes: usize) {
        for &word in &self.touched[..self.count] {
            self.words[word as usize] = 0;
        }
        self.count = 0;
        self.words.resize(nodes.div_ceil(64), 0);
        self.touched.resize(self.words.len() + 1, 0);
    }

    /// Adds a node below the bound; true when it is new. Without a branch, as that cannot be foreseen.
    #[inline]
    pub(super) fn insert(&mut self, node: u32) -> bool {
        let (index, bit) = (node / 64, 1u64 << (node % 64));
        let word = &mut self.words[index as usize];
        let before = *word;
        *word = before | bit;
        self.touched[self.count] = index;
        self.count += usize::from(before == 0);
        before & bit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbered(distances: impl Iterator<Item = f32>) -> Vec<(usize, f32)> {
        distances.enumerate().collect()
    }

    /// Offers numbered distances at once, and notes them.
    fn offer_batch(pool: &mut Pool, batch: &[(usize, f32)], offered: &mut Vec<(f32, u32)>) {
        let (nodes, distances): (Vec<u32>, Vec<f32>) =
            batch.iter().map(|&(node, distance)| (node as u32, distance)).unzip();
        pool.offer_all(&distances, &nodes);
        offered.extend(distances.into_iter().zip(nodes));
    }

    proptest! {
        #[test]
        fn a_pool_is_the_sorted_head_of_what_was_offered(
            offers in prop::collection::vec(-4i8..4, 0..90), capacity in 1usize..30, batch in 1usize..25,
        ) {
            let mut pool = Pool::default();
            pool.reset(capacity, 0);
            let mut oracle = Vec::new();
            for batch in numbered(offers.iter().map(|&distance| f32::from(distance) / 2.0)).chunks(batch) {
                offer_batch(&mut pool, batch, &mut oracle);
                pool.expand();
            }
            oracle.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            oracle.truncate(capacity);
            prop_assert_eq!(pool.iter().collect::<Vec<_>>(), oracle);
        }

        #[test]
        fn a_pool_that_covers_a_ball_keeps_what_is_inside(
            offers in prop::collection::vec(0u8..60, 0..80), rank in 0usize..6, more in 1usize..6, factor in 1.0f32..2.0,
            batch in 1usize..25,
        ) {
            let ball = Ball { rank, factor, zero: 0.0, least: rank + more, alike: rank + more };
            let mut pool = Pool::default();
            pool.reset_ball(ball, 40);
            let mut oracle = Vec::new();
            for batch in numbered(offers.iter().map(|&distance| distance.into())).chunks(batch) {
                offer_batch(&mut pool, batch, &mut oracle);
            }
            oracle.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let end = oracle.get(rank).map_or(f32::INFINITY, |at_rank| at_rank.0 * factor);
            let inside = oracle.iter().take_while(|&&(distance, _)| distance <= end).count();
            oracle.truncate(inside.max(ball.least).min(40));
            prop_assert_eq!(pool.iter().collect::<Vec<_>>(), oracle);
        }

        #[test]
        fn ghosts_take_no_places(
            offers in prop::collection::vec(-4i8..4, 0..60), capacity in 1usize..20,
        ) {
            let is_ghost = |node: u32| node % 3 == 1;
            let mut pool = Pool::default();
            pool.reset(capacity, 0);
            let mut oracle = Vec::new();
            for (node, distance) in offers.iter().enumerate() {
                pool.offer_among(f32::from(*distance), node as u32, is_ghost);
                oracle.push((f32::from(*distance), node as u32));
            }
            oracle.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let mut wanted: Vec<_> = oracle.into_iter().filter(|&(_, node)| !is_ghost(node)).collect();
            wanted.truncate(capacity);
            let found: Vec<_> = pool.iter().filter(|&(_, node)| !is_ghost(node)).collect();
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn every_node_is_expanded_once(offers in prop::collection::vec(0u8..50, 0..90), batch in 1usize..25) {
            let mut pool = Pool::default();
            pool.reset(100, 77);
            let (mut expanded, mut offered) = (Vec::new(), Vec::new());
            for batch in numbered(offers.iter().map(|&distance| distance.into())).chunks(batch) {
                offer_batch(&mut pool, batch, &mut offered);
                let some = batch[0].1 as usize % 8;
                expanded.extend(std::iter::from_fn(|| pool.expand()).take(some));
            }
            expanded.extend(std::iter::from_fn(|| pool.expand()));
            expanded.sort_unstable();
            prop_assert_eq!(expanded, (0..offers.len() as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_ball_without_radius_keeps_more() {
        let ball = Ball { rank: 2, factor: 1.5, zero: 0.0, least: 4, alike: 8 };
        for (nearest, kept) in [(0.0, 8), (-0.1, 8), (1.0, 4)] {
            let mut pool = Pool::default();
            pool.reset_ball(ball, 40);
            let mut offered = Vec::new();
            let distances = [nearest; 3].into_iter().chain((0..20).map(|far| 7.0 + far as f32));
            for batch in numbered(distances).chunks(5) {
                offer_batch(&mut pool, batch, &mut offered);
            }
            assert_eq!(pool.len(), kept, "nearest at {nearest}");
        }
    }

    #[test]
    fn distances_survive_the_round_trip_in_order() {
        let values = [f32::NEG_INFINITY, -2.5, -0.0, 0.0, 1e-30, 3.5, f32::INFINITY];
        for pair in values.windows(2) {
            assert!(ordered(pair[0]) <= ordered(pair[1]));
        }
        assert!(values.iter().all(|&value| unordered(ordered(value)).to_bits() == value.to_bits()));
        assert!(ordered(f32::NAN) > ordered(f32::INFINITY));
    }
}
