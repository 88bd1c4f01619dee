//! Who is reading, and since when: lets a writer know what no reader can still look at.
//!
//! A reader enters with the number of the state that it reads (a sequence number) and holds it until it leaves. Neither
//! side locks: a reader claims one of a fixed number of places with one compare-and-swap, the writer looks at all of
//! them. When all places are taken a reader counts as one that reads since ever, which only delays the writer.

use super::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

const PLACES: usize = 256;
const FREE: u64 = u64::MAX;

/// The readers of one index.
#[derive(Debug)]
pub struct Readers {
    places: Vec<AtomicU64>,
    crowd: AtomicUsize,
}

/// A reader at work; leaves when dropped.
#[derive(Debug)]
pub struct Reading<'a> {
    readers: &'a Readers,
    place: Option<usize>,
    /// The state that it reads.
    pub seq: u64,
}

impl Default for Readers {
    fn default() -> Self {
        Readers { places: (0..PLACES).map(|_| AtomicU64::new(FREE)).collect(), crowd: AtomicUsize::new(0) }
    }
}

impl Readers {
    /// Enters as a reader of the state that `published` names now.
    pub fn enter(&self, published: &AtomicU64) -> Reading<'_> {
        // The place says "since ever" until the state is known, so the writer never overlooks a reader in between.
        let start = place_of_thread();
        for offset in 0..PLACES {
            let place = (start + offset) % PLACES;
            if self.places[place].compare_exchange(FREE, 0, SeqCst, SeqCst).is_ok() {
                let seq = published.load(SeqCst);
                self.places[place].store(seq, SeqCst);
                return Reading { readers: self, place: Some(place), seq };
            }
        }
        self.crowd.fetch_add(1, SeqCst);
        Reading { readers: self, place: None, seq: published.load(SeqCst) }
    }

    /// The oldest state that anybody may be reading, at most `published`.
    pub fn oldest(&self, published: u64) -> u64 {
        if self.crowd.load(SeqCst) > 0 {
            return 0;
        }
        self.places.iter().map(|place| place.load(SeqCst)).min().map_or(published, |seq| seq.min(published))
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        match self.place {
            Some(place) => self.readers.places[place].store(FREE, SeqCst),
            None => {
                self.readers.crowd.fetch_sub(1, SeqCst);
            }
        }
    }
}

/// Spreads threads over the places, so that each usually finds its own free.
fn place_of_thread() -> usize {
    // Only a hint: not part of what the models order.
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local!(static PLACE: usize = NEXT.fetch_add(1, SeqCst) % PLACES);
    PLACE.with(|place| *place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_reader_counts_until_it_leaves() {
        let (readers, published) = (Readers::default(), AtomicU64::new(5));
        assert_eq!(readers.oldest(5), 5);
        let first = readers.enter(&published);
        published.store(9, SeqCst);
        let second = readers.enter(&published);
        assert_eq!((first.seq, second.seq, readers.oldest(9)), (5, 9, 5));
        drop(first);
        assert_eq!(readers.oldest(12), 9);
        drop(second);
        assert_eq!(readers.oldest(12), 12);
    }

    #[test]
    fn a_crowd_holds_everything_back_and_dissolves() {
        let (readers, published) = (Readers::default(), AtomicU64::new(3));
        let crowd: Vec<_> = (0..PLACES + 2).map(|_| readers.enter(&published)).collect();
        assert_eq!(readers.oldest(3), 0);
        drop(crowd);
        assert_eq!(readers.oldest(3), 3);
    }
}
