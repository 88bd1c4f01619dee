//! A range of addresses: reserve, map a file section at its start, or load it into huge pages.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use super::ALIGNMENT;

const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// How the arrays of an index file are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Mapped from the file: opens at once, pages come in as they are touched.
    #[default]
    Mapped,
    /// Copied into anonymous memory on huge pages when opened: slower to open, no page faults later.
    Resident,
}

/// Memory could not be had, or a file section could not be mapped or read.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// The kernel refused a range of addresses.
    #[error("cannot reserve {bytes} bytes of addresses: {source}")]
    Reserve {
        /// Bytes asked for.
        bytes: usize,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A section of a file could not be mapped.
    #[error("cannot map {length} bytes at offset {offset}: {source}")]
    Map {
        /// Start in the file.
        offset: u64,
        /// Bytes asked for.
        length: usize,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A section of a file could not be read.
    #[error("cannot read {length} bytes at offset {offset}: {source}")]
    Read {
        /// Start in the file.
        offset: u64,
        /// Bytes asked for.
        length: usize,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// An array would outgrow the range that was reserved for it.
    #[error("an array of {capacity} bytes cannot grow to {wanted}")]
    Full {
        /// Bytes reserved.
        capacity: usize,
        /// Bytes wanted.
        wanted: usize,
    },
    /// A section's length is not a whole number of elements.
    #[error("{length} bytes are not a whole number of {element}-byte elements")]
    Ragged {
        /// Bytes in the section.
        length: usize,
        /// Bytes of one element.
        element: usize,
    },
}

/// A range of readable and writable addresses that never moves, released when dropped.
#[derive(Debug)]
pub struct Region {
    mapping: NonNull<u8>,
    mapping_len: usize,
    base: NonNull<u8>,
    len: usize,
    capacity: usize,
}

// SAFETY: a region owns its memory exclusively; access goes through &self (reads) and &mut self (writes).
unsafe impl Send for Region {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves addresses for `capacity` bytes; memory comes, zeroed, with the first touch of each page.
    pub fn reserve(capacity: usize) -> Result<Region, ArenaError> {
        if capacity > isize::MAX as usize - 2 * HUGE_PAGE {
            let source = std::io::Error::other("more than a process can address");
            return Err(ArenaError::Reserve { bytes: capacity, source });
        }
        let capacity = capacity.max(1).next_multiple_of(ALIGNMENT);
        let huge = capacity >= HUGE_PAGE;
        let mapping_len = if huge { capacity + HUGE_PAGE } else { capacity };
        let mapping = take(mapping_len).map_err(|source| ArenaError::Reserve { bytes: capacity, source })?;
        let shift = if huge { mapping.as_ptr().align_offset(HUGE_PAGE) } else { 0 };
        // SAFETY: shift < HUGE_PAGE, and the mapping is that much longer than `capacity`.
        let base = unsafe { mapping.add(shift) };
        Ok(Region { mapping, mapping_len, base, len: 0, capacity })
    }

    /// Anonymous memory of `len` zero bytes with room for `capacity`, on huge pages where the kernel has them.
    pub fn anonymous(len: usize, capacity: usize) -> Result<Region, ArenaError> {
        let mut region = Region::reserve(capacity.max(len))?;
        region.advise(Advice::LinuxHugepage);
        region.len = len;
        Ok(region)
    }

    /// Holds `len` bytes of `file` from `offset` (a multiple of 64 KiB) at the start of a range of `capacity`.
    ///
    /// Mapped: privately, copy-on-write; the caller vouches that nobody changes or truncates the file
    /// meanwhile (serve owns its files; see docs/architecture.md). Resident: read into huge pages.
    pub fn open(
        file: &File,
        offset: u64,
        len: usize,
        capacity: usize,
        mode: Mode,
    ) -> Result<Region, ArenaError> {
        match mode {
            Mode::Mapped if cfg!(miri) => Region::load(file, offset, len, capacity),
            Mode::Mapped => Region::map(file, offset, len, capacity),
            Mode::Resident => Region::load(file, offset, len, capacity),
        }
    }

    fn map(file: &File, offset: u64, len: usize, capacity: usize) -> Result<Region, ArenaError> {
        let mut region = Region::reserve(capacity.max(len))?;
        if len > 0 {
            // SAFETY: [base, base + len) lies in this region's own reservation, which nobody refers to yet, so
            // replacing its pages (FIXED) disturbs no one. Reads past the file's end cannot happen while the
            // caller keeps its promise about truncation.
            unsafe {
                mm::mmap(
                    region.base.as_ptr().cast(),
                    len,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED,
                    file,
                    offset,
                )
            }
            .map_err(|error| ArenaError::Map { offset, length: len, source: error.into() })?;
        }
        region.len = len;
        Ok(region)
    }

    fn load(file: &File, offset: u64, len: usize, capacity: usize) -> Result<Region, ArenaError> {
        let mut region = Region::anonymous(len, capacity)?;
        file.read_exact_at(region.bytes_mut(), offset).map_err(|source| ArenaError::Read {
            offset,
            length: len,
            source,
        })?;
        Ok(region)
    }

    /// The bytes in use.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: [base, base + len) is mapped readable for the life of self, and initialised (file or zeros).
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// The bytes in use, to change; of a mapped file the kernel copies the pages that are touched.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and &mut self excludes every other reference.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    /// Where the bytes in use begin, for arrays whose elements are shared as atomics.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.base.as_ptr()
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes that can be in use.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether no byte is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes `len` bytes into use; new ones are zero. Addresses stay as they are.
    pub fn grow(&mut self, len: usize) -> Result<(), ArenaError> {
        if len > self.capacity {
            return Err(ArenaError::Full { capacity: self.capacity, wanted: len });
        }
        self.len = self.len.max(len);
        Ok(())
    }

    fn advise(&self, advice: Advice) {
        if cfg!(miri) {
            return;
        }
        // SAFETY: the range is this region's own; the advice used here changes no contents. A refusal (a kernel
        // without huge pages) costs speed only, so the result is not needed.
        let _ = unsafe { mm::madvise(self.base.as_ptr().cast(), self.capacity, advice) };
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the memory is this region's own, taken in `reserve`; no reference outlives self.
        unsafe { give_back(self.mapping, self.mapping_len) }
    }
}

/// Addresses of zeroed memory that the kernel gives on first touch.
#[cfg(not(miri))]
fn take(len: usize) -> std::io::Result<NonNull<u8>> {
    // SAFETY: a fresh anonymous mapping at an address that the kernel chooses overlaps nothing.
    let start = unsafe {
        mm::mmap_anonymous(
            std::ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    }?;
    NonNull::new(start.cast::<u8>()).ok_or_else(|| std::io::Error::other("the kernel returned address 0"))
}

/// Pages are given back in pieces: the kernel holds the address space's lock for each, and page faults of others wait for it.
#[cfg(not(miri))]
const GIVEN_BACK: usize = 4 << 20;

/// # Safety
///
/// `take` returned this memory, and nobody refers to it any more.
#[cfg(not(miri))]
unsafe fn give_back(start: NonNull<u8>, len: usize) {
    let start = start.as_ptr().cast::<std::ffi::c_void>();
    for at in (0..len).step_by(GIVEN_BACK) {
        let length = GIVEN_BACK.min(len - at);
        // SAFETY: the piece lies in the mapping, which nobody refers to. If the kernel keeps the pages, the unmapping
        // below frees them.
        let _ = unsafe { mm::madvise(start.add(at), length, Advice::LinuxDontNeed) };
    }
    // SAFETY: the mapping was made in `take`, and nobody refers to it.
    let _ = unsafe { mm::munmap(start, len) };
}

/// Miri has no maps: memory of the heap takes their place, and `open` reads files into it.
#[cfg(miri)]
fn take(len: usize) -> std::io::Result<NonNull<u8>> {
    let layout = std::alloc::Layout::from_size_align(len, ALIGNMENT).map_err(std::io::Error::other)?;
    // SAFETY: `reserve` asks for at least ALIGNMENT bytes.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
        .ok_or_else(|| std::io::ErrorKind::OutOfMemory.into())
}

/// # Safety
///
/// `take` returned this memory, and nobody refers to it any more.
#[cfg(miri)]
unsafe fn give_back(start: NonNull<u8>, len: usize) {
    // SAFETY: `take` made the same layout of the same length.
    unsafe {
        std::alloc::dealloc(start.as_ptr(), std::alloc::Layout::from_size_align_unchecked(len, ALIGNMENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_mapped_file_is_private_and_grows_in_place() {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(&vec![7u8; 2 * ALIGNMENT]).expect("write");
        for mode in [Mode::Mapped, Mode::Resident] {
            let mut region =
                Region::open(&file, ALIGNMENT as u64, ALIGNMENT, 4 * ALIGNMENT, mode).expect("open");
            let before = region.bytes().as_ptr();
            region.bytes_mut()[0] = 9;
            region.grow(3 * ALIGNMENT).expect("grow");
            assert_eq!(region.bytes().as_ptr(), before);
            assert_eq!((region.bytes()[0], region.bytes()[1], region.bytes()[ALIGNMENT]), (9, 7, 0));
            assert!(matches!(region.grow(5 * ALIGNMENT), Err(ArenaError::Full { .. })));
            let mut on_disk = [0u8];
            file.read_exact_at(&mut on_disk, ALIGNMENT as u64).expect("read");
            assert_eq!(on_disk, [7], "a private map never writes to its file");
        }
    }
}
