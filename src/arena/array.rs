//! A typed array over a region: fixed-size elements, appended in place, never moved, never changed once readable.
//!
//! One thread may append while others read: an element is written before the length that covers it is published
//! (release, acquire), and what a reader got covers published elements only.

use std::marker::PhantomData;

use bytemuck::Pod;

use super::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use super::sync::{Mutex, PoisonError};
use super::{ArenaError, Region};

/// Elements of a plain type in a [`Region`]; derefs to a slice.
#[derive(Debug)]
pub struct Array<T> {
    region: Region,
    len: AtomicUsize,
    appending: Mutex<()>,
    element: PhantomData<T>,
}

impl<T: Pod> Array<T> {
    /// An empty array with addresses for `capacity` elements.
    pub fn with_capacity(capacity: usize) -> Result<Self, ArenaError> {
        let bytes = capacity.saturating_mul(size_of::<T>());
        Ok(Array::over(Region::anonymous(0, bytes)?, 0))
    }

    /// `len` zero elements.
    pub fn zeroed(len: usize) -> Result<Self, ArenaError> {
        let bytes = len.saturating_mul(size_of::<T>());
        Ok(Array::over(Region::anonymous(bytes, bytes)?, len))
    }

    /// A copy of `values`.
    pub fn from_slice(values: &[T]) -> Result<Self, ArenaError> {
        let array = Array::with_capacity(values.len())?;
        array.extend(values)?;
        Ok(array)
    }

    /// The elements that fill a region's bytes in use; more can be appended up to its capacity.
    pub fn from_region(region: Region) -> Result<Self, ArenaError> {
        let (length, element) = (region.len(), size_of::<T>());
        if length % element != 0 {
            return Err(ArenaError::Ragged { length, element });
        }
        Ok(Array::over(region, length / element))
    }

    fn over(region: Region, len: usize) -> Self {
        Array { region, len: AtomicUsize::new(len), appending: Mutex::new(()), element: PhantomData }
    }

    /// Appends one element.
    pub fn push(&self, value: T) -> Result<(), ArenaError> {
        self.extend(std::slice::from_ref(&value))
    }

    /// Appends elements: all of them or, when there is no room, none.
    pub fn extend(&self, values: &[T]) -> Result<(), ArenaError> {
        // The lock guards no data of its own; a panic under it leaves the old length.
        let _one_at_a_time = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        let start = self.len.load(Relaxed);
        let wanted = start.saturating_add(values.len()).saturating_mul(size_of::<T>());
        if wanted > self.region.capacity() {
            return Err(ArenaError::Full { capacity: self.region.capacity(), wanted });
        }
        // SAFETY: the target lies within the region's capacity and beyond the published length. References are only
        // handed out to published elements (`as_slice`) or exclusively (`as_mut_slice` borrows self mutably), so none
        // covers the target, and the lock keeps other writers out.
        unsafe {
            let target = self.region.as_ptr().cast_mut().cast::<T>().add(start);
            std::ptr::copy_nonoverlapping(values.as_ptr(), target, values.len());
        }
        self.len.store(start + values.len(), Release);
        Ok(())
    }

    /// Elements that can still be appended.
    pub fn room(&self) -> usize {
        self.region.capacity() / size_of::<T>() - self.len.load(Relaxed)
    }

    /// All elements.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        let len = self.len.load(Acquire);
        // SAFETY: regions start at multiples of 4 KiB at least, so elements are aligned; `len` of them are within the
        // region, initialised (by the file, zeros, or `extend`) and, while self is shared, never written again.
        unsafe { std::slice::from_raw_parts(self.region.as_ptr().cast(), len) }
    }

    /// All elements, to change.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let len = *self.len.get_mut();
        // SAFETY: as in `as_slice`, and &mut self excludes every other reference.
        unsafe { std::slice::from_raw_parts_mut(self.region.as_ptr().cast_mut().cast(), len) }
    }

    /// All elements as bytes, in the machine's (little-endian) order.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.as_slice())
    }
}

impl<T: Pod> std::ops::Deref for Array<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_complete_while_another_thread_appends() {
        let count = if cfg!(miri) { 500 } else { 200_000 };
        let array = Array::<u64>::with_capacity(count).expect("memory");
        std::thread::scope(|scope| {
            scope.spawn(|| (0..count as u64).for_each(|value| array.push(value).expect("room")));
            let mut seen = 0;
            while seen < count {
                let values = array.as_slice();
                assert!(
                    values.len() >= seen
                        && values[seen..].iter().copied().eq(seen as u64..values.len() as u64)
                );
                seen = values.len();
            }
        });
        assert!(matches!(array.extend(&[0; 100_000]), Err(ArenaError::Full { .. })));
        assert_eq!(array.len(), count, "all or none");
    }
}
