//! The list as it grows: positions, and who stands there and why.

use super::explore::Explored;
use super::limits::Limits;
use super::mmr::Relevance;

/// Someone on the list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    /// Place in the pool.
    pub(super) place: usize,
    pub(super) how: How,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum How {
    /// By this rule, a place in the profile.
    Pinned(usize),
    Explored(Explored),
    /// By score, or by MMR, which says what it made of it.
    Filled(Option<Relevance>),
}

/// Positions from 0; fixed ones, pins and explored items, stand with gaps before them until the list is filled.
#[derive(Debug, Clone)]
pub(super) struct Line {
    slots: Vec<Option<Placed>>,
    on: Vec<bool>,
}

impl Line {
    /// An empty list of so many positions over a pool of so many entrants.
    pub(super) fn new(positions: usize, entrants: usize) -> Self {
        Line { slots: vec![None; positions], on: vec![false; entrants] }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether an entrant is on the list.
    pub(super) fn has(&self, place: usize) -> bool {
        self.on[place]
    }

    pub(super) fn is_free(&self, position: usize) -> bool {
        self.slots[position].is_none()
    }

    /// The first free position at or after this one.
    pub(super) fn free_from(&self, position: usize) -> Option<usize> {
        (position..self.len()).find(|position| self.is_free(*position))
    }

    /// Free positions.
    pub(super) fn open(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_none()).count()
    }

    pub(super) fn put(&mut self, position: usize, placed: Placed, limits: &mut Limits<'_>) {
        limits.put(placed.place, position);
        self.on[placed.place] = true;
        self.slots[position] = Some(placed);
    }

    pub(super) fn take(&mut self, position: usize, limits: &mut Limits<'_>) -> Option<Placed> {
        let placed = self.slots[position].take()?;
        limits.remove(placed.place, position);
        self.on[placed.place] = false;
        Some(placed)
    }

    /// Of the positions after this one, behind which nobody has been filled in: the first of an explored item, so that pins
    /// keep theirs while they can, or else of a pin.
    pub(super) fn next_fixed(&self, position: usize) -> Option<usize> {
        let explored =
            |position: &usize| matches!(&self.slots[*position], Some(Placed { how: How::Explored(_), .. }));
        let after = || position + 1..self.len();
        after().find(explored).or_else(|| after().find(|position| !self.is_free(*position)))
    }

    /// Takes off whoever is neither pinned nor explored; the places, by position.
    pub(super) fn clear_filled(&mut self, limits: &mut Limits<'_>) -> Vec<usize> {
        let mut places = Vec::new();
        for position in 0..self.len() {
            if let Some(Placed { how: How::Filled(_), .. }) = self.slots[position]
                && let Some(placed) = self.take(position, limits)
            {
                places.push(placed.place);
            }
        }
        places
    }

    /// Those on the list with their positions.
    pub(super) fn placed(&self) -> impl Iterator<Item = (usize, &Placed)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(position, slot)| Some((position, slot.as_ref()?)))
    }
}
