//! The simsimd library behind the kernel trait: pairs of equal types (f32, i8; its Rust face has no u8).

use simsimd::SpatialSimilarity;

use super::{Backend, Element, Kernel, Operation, Rows};

type Function<T> = fn(&[T], &[T]) -> Option<f64>;

#[derive(Debug)]
struct Simsimd<T: 'static> {
    function: Function<T>,
    dimension: usize,
}

pub(super) fn kernel(
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Option<Box<dyn Kernel>> {
    match (query, row) {
        // It is C, which Miri does not run.
        _ if cfg!(miri) => None,
        (Element::F32, Element::F32) => boxed::<f32>(operation, dimension),
        (Element::I8, Element::I8) => boxed::<i8>(operation, dimension),
        _ => None,
    }
}

fn boxed<T>(operation: Operation, dimension: usize) -> Option<Box<dyn Kernel>>
where
    T: SpatialSimilarity + bytemuck::Pod + std::fmt::Debug + Send + Sync,
{
    let function: Function<T> = match operation {
        Operation::Dot => T::dot,
        Operation::L2 => T::sqeuclidean,
        Operation::DotNibbles => return None,
    };
    Some(Box::new(Simsimd { function, dimension }))
}

impl<T: bytemuck::Pod + std::fmt::Debug + Send + Sync> Kernel for Simsimd<T> {
    fn backend(&self) -> Backend {
        Backend::Simsimd
    }

    fn one(&self, query: &[u8], row: &[u8]) -> f32 {
        let bytes = self.dimension * size_of::<T>();
        let (query, row) = (&query[..bytes], &row[..bytes]);
        let value = match (bytemuck::try_cast_slice(query), bytemuck::try_cast_slice(row)) {
            (Ok(query), Ok(row)) => (self.function)(query, row),
            // A row that is not aligned for T is copied; index arrays are aligned whenever their stride is.
            _ => (self.function)(&copied(query), &copied(row)),
        };
        // simsimd gives None only for slices of unequal length, which the two lines above exclude.
        value.unwrap_or(f64::NAN) as f32
    }

    fn many(&self, query: &[u8], rows: Rows<'_>, ids: &[u32], out: &mut Vec<f32>) {
        out.clear();
        out.extend(ids.iter().map(|&id| self.one(query, rows.row(id))));
    }
}

fn copied<T: bytemuck::Pod>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}
