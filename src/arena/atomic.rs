//! Arrays of atomics that many threads read and write at once, and that grow at their end.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::sync::atomic::AtomicUsize;
use super::{ArenaError, Region};

/// An atomic integer that an array can hold.
pub trait Atom: Send + Sync {
    /// The plain integer.
    type Value: bytemuck::Pod + PartialEq;
    /// Atomic store.
    fn put(&self, value: Self::Value, ordering: Ordering);
}

impl Atom for AtomicU32 {
    type Value = u32;
    fn put(&self, value: u32, ordering: Ordering) {
        self.store(value, ordering);
    }
}

impl Atom for AtomicU64 {
    type Value = u64;
    fn put(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }
}

/// Shared integers (u32 unless said otherwise) in a [`Region`]; every access is atomic.
#[derive(Debug)]
pub struct AtomicArray<A = AtomicU32> {
    region: Region,
    len: AtomicUsize,
    element: std::marker::PhantomData<A>,
}

impl<A: Atom> AtomicArray<A> {
    /// `len` elements, each `value`, with room for `capacity`.
    pub fn filled(value: A::Value, len: usize, capacity: usize) -> Result<Self, ArenaError> {
        let size = size_of::<A>();
        let array = AtomicArray {
            region: Region::anonymous(0, len.max(capacity).saturating_mul(size))?,
            len: AtomicUsize::new(0),
            element: std::marker::PhantomData,
        };
        array.grow(len, value)?;
        Ok(array)
    }

    /// `len` zero elements, of which few may ever be touched: on small pages, so that a first touch costs little.
    pub fn sparse(len: usize) -> Result<Self, ArenaError> {
        let mut region = Region::reserve(len.saturating_mul(size_of::<A>()))?;
        region.grow(len * size_of::<A>())?;
        Self::from_region(region)
    }

    /// The elements that fill a region's bytes in use; it can grow up to the region's capacity.
    pub fn from_region(region: Region) -> Result<Self, ArenaError> {
        let (length, element) = (region.len(), size_of::<A>());
        if !length.is_multiple_of(element) {
            return Err(ArenaError::Ragged { length, element });
        }
        Ok(AtomicArray { region, len: AtomicUsize::new(length / element), element: std::marker::PhantomData })
    }

    /// All elements.
    #[inline]
    pub fn as_slice(&self) -> &[A] {
        let len = self.len.load(Ordering::Acquire);
        // SAFETY: `len` elements are within the region's mapped, readable and writable bytes and aligned (regions
        // start at page boundaries). The pointer is the mapping's own, not one of a shared slice, and no plain
        // reference to the bytes is handed out while self is shared (`bytes` takes self exclusively), so all shared
        // access is atomic.
        unsafe { std::slice::from_raw_parts(self.region.as_ptr().cast(), len) }
    }

    /// Takes elements into use up to `len`; new ones are `value`, unless that is the zero they are anyway. One thread
    /// at a time may call it; readers may be at work.
    pub fn grow(&self, len: usize, value: A::Value) -> Result<(), ArenaError> {
        let (old, size) = (self.len.load(Ordering::Relaxed), size_of::<A>());
        let wanted = len.saturating_mul(size);
        if wanted > self.region.capacity() {
            return Err(ArenaError::Full { capacity: self.region.capacity(), wanted });
        }
        if value != bytemuck::Zeroable::zeroed() {
            // SAFETY: as in `as_slice`; the elements between the lengths are mapped, and zero until now.
            let all: &[A] = unsafe { std::slice::from_raw_parts(self.region.as_ptr().cast(), len.max(old)) };
            all[old..].iter().for_each(|element| element.put(value, Ordering::Relaxed));
        }
        self.len.fetch_max(len, Ordering::Release);
        Ok(())
    }

    /// Elements that it can grow by.
    pub fn room(&self) -> usize {
        self.region.capacity() / size_of::<A>() - self.len.load(Ordering::Relaxed)
    }

    /// The elements as bytes, in the machine's (little-endian) order, while nobody shares them.
    pub fn bytes(&mut self) -> &[u8] {
        let len = *self.len.get_mut() * size_of::<A>();
        // SAFETY: as in `as_slice`; &mut self excludes every other access.
        unsafe { std::slice::from_raw_parts(self.region.as_ptr(), len) }
    }
}
