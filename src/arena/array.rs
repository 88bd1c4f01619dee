//! A typed array over a region: fixed-size elements, grown in place, never moved.

use std::marker::PhantomData;

use bytemuck::Pod;

use super::{ArenaError, Region};

/// Elements of a plain type in a [`Region`]; derefs to a slice.
#[derive(Debug)]
pub struct Array<T> {
    region: Region,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Array<T> {
    /// An empty array with addresses for `capacity` elements.
    pub fn with_capacity(capacity: usize) -> Result<Self, ArenaError> {
        let bytes = capacity.saturating_mul(size_of::<T>());
        Ok(Array { region: Region::anonymous(0, bytes)?, len: 0, element: PhantomData })
    }

    /// `len` zero elements.
    pub fn zeroed(len: usize) -> Result<Self, ArenaError> {
        let bytes = len.saturating_mul(size_of::<T>());
        Ok(Array { region: Region::anonymous(bytes, bytes)?, len, element: PhantomData })
    }

    /// A copy of `values`.
    pub fn from_slice(values: &[T]) -> Result<Self, ArenaError> {
        let mut array = Array::with_capacity(values.len())?;
        array.extend(values)?;
        Ok(array)
    }

    /// The elements that fill a region's bytes in use.
    pub fn from_region(region: Region) -> Result<Self, ArenaError> {
        let (length, element) = (region.len(), size_of::<T>());
        if length % element != 0 {
            return Err(ArenaError::Ragged { length, element });
        }
        Ok(Array { region, len: length / element, element: PhantomData })
    }

    /// Appends one element.
    pub fn push(&mut self, value: T) -> Result<(), ArenaError> {
        self.extend(std::slice::from_ref(&value))
    }

    /// Appends elements.
    pub fn extend(&mut self, values: &[T]) -> Result<(), ArenaError> {
        let start = self.len;
        self.region.grow((start + values.len()).saturating_mul(size_of::<T>()))?;
        self.len += values.len();
        self.as_mut_slice()[start..].copy_from_slice(values);
        Ok(())
    }

    /// All elements.
    pub fn as_slice(&self) -> &[T] {
        // Regions start at multiples of 4 KiB at least, and `len` elements are in use: the cast cannot fail.
        bytemuck::cast_slice(&self.region.bytes()[..self.len * size_of::<T>()])
    }

    /// All elements, to change.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let bytes = self.len * size_of::<T>();
        bytemuck::cast_slice_mut(&mut self.region.bytes_mut()[..bytes])
    }

    /// All elements as bytes, in the machine's (little-endian) order.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.as_slice())
    }
}

impl<T: Pod> std::ops::Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}
