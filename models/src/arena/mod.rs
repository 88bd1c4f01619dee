//! `src/arena`, but for the hash table.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "the models use a part")]

use shuttle::sync;

#[path = "../../../src/arena/array.rs"]
mod array;
#[path = "../../../src/arena/atomic.rs"]
mod atomic;
#[path = "../../../src/arena/readers.rs"]
mod readers;
#[path = "../../../src/arena/region.rs"]
mod region;

pub use array::Array;
pub use atomic::{Atom, AtomicArray};
pub use readers::{Readers, Reading};
pub use region::{ArenaError, Mode, Region};

/// As in the library.
pub const ALIGNMENT: usize = 64 * 1024;
