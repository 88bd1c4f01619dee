//! An array of u32 that many threads read and write at once.

use std::sync::atomic::AtomicU32;

use super::{ArenaError, Region};

/// Shared u32s in a [`Region`]; every access is atomic (relaxed unless the caller says otherwise).
#[derive(Debug)]
pub struct AtomicArray {
    region: Region,
}

impl AtomicArray {
    /// `len` elements, each `value`, with room for `capacity`.
    pub fn filled(value: u32, len: usize, capacity: usize) -> Result<Self, ArenaError> {
        let mut region = Region::anonymous(len.saturating_mul(4), capacity.saturating_mul(4))?;
        bytemuck::cast_slice_mut(region.bytes_mut()).fill(value);
        Ok(AtomicArray { region })
    }

    /// The elements that fill a region's bytes in use.
    pub fn from_region(region: Region) -> Result<Self, ArenaError> {
        let length = region.len();
        if !length.is_multiple_of(4) {
            return Err(ArenaError::Ragged { length, element: 4 });
        }
        Ok(AtomicArray { region })
    }

    /// All elements.
    #[inline]
    pub fn as_slice(&self) -> &[AtomicU32] {
        // SAFETY: the region's bytes in use are mapped readable and writable, aligned (regions start at page
        // boundaries) and a multiple of 4 long. The pointer is the mapping's own, not one of a shared slice, and no
        // plain reference to the bytes is handed out while self is shared (`bytes` takes self exclusively), so all
        // shared access is atomic.
        unsafe { std::slice::from_raw_parts(self.region.as_ptr().cast(), self.region.len() / 4) }
    }

    /// The elements as bytes, in the machine's (little-endian) order, while nobody shares them.
    pub fn bytes(&mut self) -> &[u8] {
        self.region.bytes()
    }
}
