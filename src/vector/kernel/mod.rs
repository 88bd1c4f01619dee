//! Kernels: inner product and squared Euclidean distance of a query and many rows.
//!
//! A [`Kernel`] is chosen once an index by [`select`]; holding one proves that the processor can run it. All backends
//! compute the same function; the scalar one is the oracle that the others are tested against. Integer kernels are
//! exact up to the rounding of their result to f32, float kernels differ by the order of their sums.
//!
//! Which backend wins for which type and dimension is measured by `cargo bench --bench kernels` and written down in
//! docs/benchmarks.md.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod gather;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod scalar;
mod simd;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod step;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::fmt::Debug;

use super::Element;

/// What a kernel computes of two vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Sum of products.
    Dot,
    /// Sum of squared differences.
    L2,
    /// Sum of products of an i8 query and rows (u8) of 4-bit numbers 0..=15. Byte j of a row holds number j in its low
    /// half and number h + j in its high half, where h is half the dimension, rounded up; the query holds 2 h elements.
    DotNibbles,
}

/// Who computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Plain loops in f64: the oracle.
    Scalar,
    /// Loops in lanes that compilers vectorise: the fallback of any processor.
    Portable,
    /// Own AVX-512 intrinsics, with VNNI for bytes.
    Avx512Vnni,
    /// Own AVX-512 intrinsics.
    Avx512,
    /// Own AVX2 + FMA + F16C intrinsics, with 256-bit VNNI for bytes.
    AvxVnni,
    /// Own AVX2 + FMA + F16C intrinsics.
    Avx2,
    /// Own NEON intrinsics, with dot products for bytes.
    NeonDot,
    /// Own NEON intrinsics.
    Neon,
    /// The simsimd library, which chooses among its own instruction sets.
    Simsimd,
}

impl Backend {
    /// All backends, the fastest first.
    pub const ALL: [Backend; 9] = [
        Backend::Avx512Vnni,
        Backend::Avx512,
        Backend::AvxVnni,
        Backend::Avx2,
        Backend::NeonDot,
        Backend::Neon,
        Backend::Simsimd,
        Backend::Portable,
        Backend::Scalar,
    ];
}

/// Rows of equal length, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// All rows.
    pub bytes: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// Row `index`. Panics beyond the last.
    #[inline]
    pub fn row(&self, index: u32) -> &'a [u8] {
        let start = index as usize * self.stride;
        &self.bytes[start..start + self.stride]
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.stride
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// One operation on one pair of element types at one dimension.
///
/// Queries and rows are little-endian elements in order; both hold at least the dimension (longer ones are cut).
/// The operands of an i8 inner product lie in -127..=127. Shorter slices panic, and so do ids beyond the rows.
pub trait Kernel: Send + Sync + Debug {
    /// Who computes.
    fn backend(&self) -> Backend;

    /// The value of one pair.
    fn one(&self, query: &[u8], row: &[u8]) -> f32;

    /// Replaces `out` by the value of each row named in `ids`, in order, fetching rows ahead of their use.
    fn many(&self, query: &[u8], rows: Rows<'_>, ids: &[u32], out: &mut Vec<f32>);
}

/// The kernel to use on this processor: the fastest in docs/benchmarks.md.
///
/// Types: a query of f32 against rows of any type, or i8 against i8, u8 against u8; i8 against u8 for nibbles.
pub fn select(operation: Operation, query: Element, row: Element, dimension: usize) -> Box<dyn Kernel> {
    Backend::ALL
        .into_iter()
        .find_map(|backend| with_backend(backend, operation, query, row, dimension))
        .unwrap_or_else(|| scalar::kernel(operation, query, row, dimension))
}

/// The kernel of one backend, if it has these types and the processor can run it.
pub fn with_backend(
    backend: Backend,
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Option<Box<dyn Kernel>> {
    match backend {
        Backend::Scalar => Some(scalar::kernel(operation, query, row, dimension)),
        Backend::Portable => portable::kernel(operation, query, row, dimension),
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512Vnni => avx512::vnni_kernel(operation, query, row, dimension),
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => avx512::kernel(operation, query, row, dimension),
        #[cfg(target_arch = "x86_64")]
        Backend::AvxVnni => avx2::vnni_kernel(operation, query, row, dimension),
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 => avx2::kernel(operation, query, row, dimension),
        #[cfg(not(target_arch = "x86_64"))]
        Backend::Avx512Vnni | Backend::Avx512 | Backend::AvxVnni | Backend::Avx2 => None,
        #[cfg(target_arch = "aarch64")]
        Backend::NeonDot => neon::dot_kernel(operation, query, row, dimension),
        #[cfg(target_arch = "aarch64")]
        Backend::Neon => neon::kernel(operation, query, row, dimension),
        #[cfg(not(target_arch = "aarch64"))]
        Backend::NeonDot | Backend::Neon => None,
        Backend::Simsimd => simd::kernel(operation, query, row, dimension),
    }
}

/// Runs loops over plain arrays with the registers that the processor has, rather than those that all of its kind have. What `work`
/// calls must be inlined into it; results are the same to the last bit, as nothing is fused or put in another order.
#[inline]
#[allow(unsafe_code)]
pub fn wide<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the feature is there.
        return unsafe { avx2::wide(work) };
    }
    work()
}

/// Asks the processor to fetch the cache line at `address`; a hint that reads nothing.
#[inline(always)]
#[allow(unsafe_code)]
pub fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch of any address, even an invalid one, has no effect but speed.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the intrinsic is not stable.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests;
