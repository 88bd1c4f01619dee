//! Every kernel backend by operation, element types and dimension: hot rows, gathered in random order.
//!
//! `cargo bench --bench kernels` (or with a filter, `-- f32-f32/384`). One iteration is 64 distances; the throughput
//! column is distances a second.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shortlist::vector::kernel::with_backend;
use shortlist::vector::{Backend, Element, Operation, Rows};

const ROWS: usize = 64;

fn kernels(criterion: &mut Criterion) {
    use Element::{F16, F32, I8, U8};
    for (query, row) in [(F32, F32), (F32, F16), (F32, I8), (F32, U8), (I8, I8), (U8, U8)] {
        for operation in [Operation::Dot, Operation::L2] {
            compare(criterion, operation, query, row);
        }
    }
    compare(criterion, Operation::DotNibbles, I8, U8);
}

fn compare(criterion: &mut Criterion, operation: Operation, query: Element, row: Element) {
    let mut group = criterion.benchmark_group(format!("{operation:?}/{query}-{row}"));
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(30);
    group.measurement_time(std::time::Duration::from_millis(400));
    group.warm_up_time(std::time::Duration::from_millis(100));
    for dimension in [64, 128, 384, 768, 1536] {
        let values = |seed: usize| (0..dimension).map(move |at| ((at * 31 + seed * 7) % 100) as f32);
        let (mut asked, mut rows) = (Vec::new(), Vec::new());
        query.encode(&values(1).collect::<Vec<_>>(), &mut asked).unwrap();
        for seed in 0..ROWS {
            row.encode(&values(seed).collect::<Vec<_>>(), &mut rows).unwrap();
        }
        // Two numbers of four bits a byte: any bytes are rows of nibbles.
        let stride = if operation == Operation::DotNibbles { dimension / 2 } else { dimension * row.size() };
        let rows = Rows { bytes: &rows[..ROWS * stride], stride };
        let ids: Vec<u32> = (0..ROWS as u32).map(|id| id * 37 % ROWS as u32).collect();
        let mut out = Vec::new();
        for backend in Backend::ALL {
            let Some(kernel) = with_backend(backend, operation, query, row, dimension) else { continue };
            let name = BenchmarkId::new(format!("{backend:?}"), dimension);
            group.bench_function(name, |bencher| bencher.iter(|| kernel.many(&asked, rows, &ids, &mut out)));
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
