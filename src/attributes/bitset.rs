//! A dense set of item or node numbers below a fixed bound: one bit each.
//!
//! Invariant: bits at and beyond the bound are clear, so counting, comparing and `contains` need no mask.

/// Numbers that are tested at a time: milliseconds at most.
pub(super) const BLOCK: usize = 1 << 18;

/// Members are numbers below `len()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitset {
    words: Vec<u64>,
    len: usize,
}

impl Bitset {
    /// The empty set below `len`.
    pub fn empty(len: usize) -> Self {
        Bitset { words: vec![0; len.div_ceil(64)], len }
    }

    /// All numbers below `len`.
    pub fn full(len: usize) -> Self {
        let mut set = Bitset { words: vec![u64::MAX; len.div_ceil(64)], len };
        set.clear_tail();
        set
    }

    /// The numbers below `len` for which `test` holds.
    pub fn from_fn(len: usize, test: impl FnMut(u32) -> bool) -> Self {
        Bitset::from_fn_while(len, test, || true)
    }

    /// As `from_fn`, as long as it `goes_on`, which is asked before each [`BLOCK`] but the first: nothing beyond is a member.
    pub(super) fn from_fn_while(
        len: usize,
        mut test: impl FnMut(u32) -> bool,
        goes_on: impl Fn() -> bool,
    ) -> Self {
        let mut set = Bitset::empty(len);
        for (place, word) in set.words.iter_mut().enumerate() {
            let start = place * 64;
            if start > 0 && start.is_multiple_of(BLOCK) && !goes_on() {
                break;
            }
            for bit in 0..(len - start).min(64) {
                *word |= u64::from(test((start + bit) as u32)) << bit;
            }
        }
        set
    }

    /// The places below `len` whose value passes; places that `values` does not reach are not members.
    pub(super) fn scan<T: Copy>(len: usize, values: &[T], test: impl Fn(T) -> bool) -> Self {
        Bitset::scan_while(len, values, test, || true)
    }

    /// As `scan`, as long as it `goes_on`, which is asked before each [`BLOCK`] but the first: nothing beyond is a member.
    pub(super) fn scan_while<T: Copy>(
        len: usize,
        values: &[T],
        test: impl Fn(T) -> bool,
        goes_on: impl Fn() -> bool,
    ) -> Self {
        let mut set = Bitset::empty(len);
        let values = &values[..len.min(values.len())];
        for (block, words) in set.words.chunks_mut(BLOCK / 64).enumerate() {
            let Some(values) = values.get(block * BLOCK..) else { break };
            if block > 0 && !goes_on() {
                break;
            }
            scan_block(words, &values[..values.len().min(BLOCK)], &test);
        }
        set
    }

    /// Raises the bound; what is new is no member.
    pub fn grow(&mut self, len: usize) {
        if len > self.len {
            self.words.resize(len.div_ceil(64), 0);
            self.len = len;
        }
    }

    /// Raises the bound to `start + tail.len()` and takes over what `tail`, whose first place is `start`, says of the numbers
    /// from the old bound on. `start` is a multiple of 64, at most the old bound.
    pub fn extend(&mut self, start: usize, tail: &Bitset) {
        debug_assert!(start.is_multiple_of(64) && start <= self.len);
        let old = self.len;
        self.grow(start + tail.len);
        for (at, word) in (start / 64..).zip(&tail.words) {
            let first = at * 64;
            let new =
                if first >= old { u64::MAX } else { u64::MAX.checked_shl((old - first) as u32).unwrap_or(0) };
            if let Some(own) = self.words.get_mut(at) {
                *own |= word & new;
            }
        }
    }

    /// The members from `start` (a multiple of 64) to below `end`, counted from `start`.
    pub fn part(&self, start: usize, end: usize) -> Bitset {
        let mut part = Bitset::empty(end.min(self.len).saturating_sub(start));
        let words = self.words.get(start / 64..).unwrap_or(&[]);
        part.words.iter_mut().zip(words).for_each(|(own, word)| *own = *word);
        part.clear_tail();
        part
    }

    /// The bound.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no members (whatever the bound).
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Members.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// 64 members a word, the lowest number in the lowest bit; bits beyond the bound are clear.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether `index` is a member; false at or beyond the bound.
    #[inline]
    pub fn contains(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Adds a member below the bound; a number at or beyond it is left out.
    #[inline]
    pub fn insert(&mut self, index: u32) {
        if (index as usize) < self.len {
            self.words[index as usize / 64] |= 1 << (index % 64);
        }
    }

    /// Removes a member.
    #[inline]
    pub fn remove(&mut self, index: u32) {
        if let Some(word) = self.words.get_mut(index as usize / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    /// Keeps what is in both; nothing at or beyond the other's bound is in it.
    pub fn intersect(&mut self, other: &Bitset) {
        let shared = self.words.len().min(other.words.len());
        for (word, with) in self.words.iter_mut().zip(&other.words) {
            *word &= with;
        }
        self.words[shared..].fill(0);
    }

    /// Adds what is in the other, below this set's bound.
    pub fn unite(&mut self, other: &Bitset) {
        for (word, with) in self.words.iter_mut().zip(&other.words) {
            *word |= with;
        }
        self.clear_tail();
    }

    /// Takes out what is in the other.
    pub fn subtract(&mut self, other: &Bitset) {
        for (word, without) in self.words.iter_mut().zip(&other.words) {
            *word &= !without;
        }
    }

    /// Every number below the bound that was not a member, and no other.
    pub fn complement(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        self.clear_tail();
    }

    /// Members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter_from(0)
    }

    /// Members from `first` on, ascending.
    pub fn iter_from(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        let start = first as usize / 64;
        let words = self.words.get(start..).unwrap_or(&[]);
        let seen = (1u64 << (first % 64)) - 1;
        words.iter().enumerate().flat_map(move |(place, word)| {
            let mut left = if place == 0 { word & !seen } else { *word };
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some((start + place) as u32 * 64 + bit)
            })
        })
    }

    fn clear_tail(&mut self) {
        if let (used @ 1.., Some(last)) = (self.len % 64, self.words.last_mut()) {
            *last &= (1 << used) - 1;
        }
    }
}

/// Tests values into the bits of words that are clear. Tests make bytes first, which compilers vectorise, and bytes make bits.
fn scan_block<T: Copy>(words: &mut [u64], values: &[T], test: impl Fn(T) -> bool) {
    let (chunks, rest) = values.as_chunks::<64>();
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = packed(&chunk.map(|value| u8::from(test(value))));
    }
    if let Some(word) = words.get_mut(chunks.len()) {
        *word = rest.iter().enumerate().fold(0, |word, (bit, value)| word | u64::from(test(*value)) << bit);
    }
}

/// A bit for each byte, which is 0 or 1: a product moves eight of them side by side.
#[inline]
fn packed(bytes: &[u8; 64]) -> u64 {
    let (eights, _) = bytes.as_chunks::<8>();
    (0..).zip(eights).fold(0, |word, (at, eight)| {
        word | (u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * at)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn pair(len: usize, members: &[u32]) -> (Bitset, BTreeSet<u32>) {
        let mut set = Bitset::empty(len);
        let mut oracle = BTreeSet::new();
        for member in members {
            set.insert(*member);
            if (*member as usize) < len {
                oracle.insert(*member);
            }
        }
        (set, oracle)
    }

    fn same(set: &Bitset, oracle: &BTreeSet<u32>) -> Result<(), TestCaseError> {
        prop_assert!(set.iter().eq(oracle.iter().copied()));
        prop_assert_eq!(set.count(), oracle.len());
        prop_assert_eq!(set.is_empty(), oracle.is_empty());
        for index in 0..400 {
            prop_assert_eq!(set.contains(index), oracle.contains(&index));
        }
        let tail = set.words().iter().map(|word| word.count_ones() as usize).sum::<usize>();
        prop_assert_eq!(tail, oracle.len(), "bits beyond the bound are clear");
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_a_tree_set(
            (len, other_len) in (0usize..300, 0usize..300),
            a in prop::collection::vec(0u32..310, 0..200),
            b in prop::collection::vec(0u32..310, 0..200),
            removed in prop::collection::vec(0u32..400, 0..20),
        ) {
            let (mut set, mut oracle) = pair(len, &a);
            let (other, other_oracle) = pair(other_len, &b);
            for index in removed {
                set.remove(index);
                oracle.remove(&index);
            }
            same(&set, &oracle)?;
            same(&Bitset::from_fn(len, |index| oracle.contains(&index)), &oracle)?;

            let mut both = set.clone();
            both.intersect(&other);
            same(&both, &oracle.intersection(&other_oracle).copied().collect())?;
            let mut either = set.clone();
            either.unite(&other);
            same(&either, &oracle.union(&other_oracle).copied().filter(|i| (*i as usize) < len).collect())?;
            let mut rest = set.clone();
            rest.subtract(&other);
            same(&rest, &oracle.difference(&other_oracle).copied().collect())?;
            set.complement();
            same(&set, &(0..len as u32).filter(|index| !oracle.contains(index)).collect())?;
        }

        #[test]
        fn grows_by_tails_and_gives_parts(
            (len, more, cut) in (0usize..300, 0usize..200, 0usize..5),
            a in prop::collection::vec(0u32..310, 0..200),
            b in prop::collection::vec(0u32..400, 0..200),
        ) {
            let (mut set, oracle) = pair(len, &a);
            let start = (len / 64).saturating_sub(cut) * 64;
            let tail_len = len + more - start;
            let (tail, tail_oracle) = pair(tail_len, &b);
            set.extend(start, &tail);
            let new = tail_oracle.iter().map(|index| index + start as u32).filter(|index| *index as usize >= len);
            let whole: BTreeSet<u32> = oracle.iter().copied().chain(new).collect();
            same(&set, &whole)?;
            let part = set.part(start, len);
            let within = whole.iter().filter(|index| (start..len).contains(&(**index as usize)));
            same(&part, &within.map(|index| index - start as u32).collect())?;
            prop_assert!(set.iter_from(len as u32).eq(whole.range(len as u32..).copied()));
        }

        #[test]
        fn full_and_scan(len in 0usize..300, values in prop::collection::vec(0u8..4, 0..300)) {
            same(&Bitset::full(len), &(0..len as u32).collect())?;
            let passes = |index: &u32| values.get(*index as usize).is_some_and(|value| *value == 1);
            let scanned = Bitset::scan(len, &values, |value| value == 1);
            same(&scanned, &(0..len as u32).filter(passes).collect())?;
        }
    }

    #[test]
    fn blocks_meet_and_are_left_out_when_it_does_not_go_on() {
        let len = 2 * BLOCK + 77;
        let values: Vec<u32> = (0..len as u32).collect();
        let whole = Bitset::from_fn(len, |index| index % 3 == 1);
        assert_eq!(Bitset::scan(len, &values, |value| value % 3 == 1), whole);
        let asked = std::cell::Cell::new(0);
        let once = || asked.replace(asked.get() + 1) < 1;
        let cut = Bitset::scan_while(len, &values, |value| value % 3 == 1, once);
        asked.set(0);
        assert_eq!(cut, Bitset::from_fn_while(len, |index| index % 3 == 1, once));
        assert_eq!(cut, Bitset::from_fn(len, |index| (index as usize) < 2 * BLOCK && index % 3 == 1));
    }
}
