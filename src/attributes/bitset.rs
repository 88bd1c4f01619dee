//! A dense set of item or node numbers below a fixed bound: one bit each.

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
    pub fn full(_len: usize) -> Self {
        todo!()
    }
    /// The bound.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Members.
    pub fn count(&self) -> usize {
        todo!()
    }
    /// Whether `index` is a member; false at or beyond the bound.
    #[inline]
    pub fn contains(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
    /// Adds a member below the bound.
    pub fn insert(&mut self, _index: u32) {
        todo!()
    }
    /// Removes a member.
    pub fn remove(&mut self, _index: u32) {
        todo!()
    }
    /// Keeps what is in both.
    pub fn intersect(&mut self, _other: &Bitset) {
        todo!()
    }
    /// Adds what is in the other.
    pub fn unite(&mut self, _other: &Bitset) {
        todo!()
    }
    /// Takes out what is in the other.
    pub fn subtract(&mut self, _other: &Bitset) {
        todo!()
    }
    /// Every number below the bound that was not a member, and no other.
    pub fn complement(&mut self) {
        todo!()
    }
    /// Members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::empty()
    }
}
