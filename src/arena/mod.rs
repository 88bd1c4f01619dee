//! Memory that index arrays live in: reserved once, mapped from a file or anonymous, growing in place.
//!
//! A [`Region`] is a range of addresses that never moves. Its start may be a private (copy-on-write) map of a file
//! section, the rest is anonymous memory that the kernel gives on first touch. An [`Array`] is a typed view of a
//! region: element `i` is one multiplication away, in a file of today or an insert of tomorrow alike. It is appended to
//! while others read; what may change in place is an [`AtomicArray`].
//!
//! Invariants: nothing a region holds ever moves; a file is never written through a map; bytes between an array's
//! length and its capacity are zero (of a mapped file: unless its padding is damaged, which `verify` tells).

#![allow(unsafe_code)]

// The models (`models/`) put a scheduler's atomics and locks here.
use std::sync;

mod array;
mod atomic;
mod readers;
mod region;
mod slots;

pub use array::Array;
pub use atomic::{Atom, AtomicArray};
pub use readers::{Readers, Reading};
pub use region::{ArenaError, Mode, Region};
pub use slots::SlotTable;

/// Sections of an index file that are mapped start at multiples of this, and so do regions.
pub const ALIGNMENT: usize = 64 * 1024;
