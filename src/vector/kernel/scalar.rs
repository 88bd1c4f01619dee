//! Plain loops: what every other kernel must equal.

use half::f16;

use super::{Backend, Element, Kernel, Operation, Rows};

#[derive(Debug)]
struct Scalar {
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
}

pub(super) fn kernel(
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Box<dyn Kernel> {
    Box::new(Scalar { operation, query, row, dimension })
}

/// Element `index` of a row as f64, which holds every element type exactly.
fn element(kind: Element, row: &[u8], index: usize) -> f64 {
    let at = index * kind.size();
    match kind {
        Element::F32 => f64::from(f32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]])),
        Element::F16 => f64::from(f16::from_le_bytes([row[at], row[at + 1]])),
        Element::I8 => f64::from(row[at] as i8),
        Element::U8 => f64::from(row[at]),
    }
}

impl Kernel for Scalar {
    fn backend(&self) -> Backend {
        Backend::Scalar
    }

    fn one(&self, query: &[u8], row: &[u8]) -> f32 {
        let pairs = (0..self.dimension)
            .map(|index| (element(self.query, query, index), element(self.row, row, index)));
        let sum: f64 = match self.operation {
            Operation::Dot => pairs.map(|(a, b)| a * b).sum(),
            Operation::L2 => pairs.map(|(a, b)| (a - b) * (a - b)).sum(),
            Operation::DotNibbles => {
                let half = self.dimension.div_ceil(2);
                let number = |index: usize| (row[index % half] >> (4 * (index / half))) & 0x0f;
                (0..2 * half).map(|index| element(self.query, query, index) * f64::from(number(index))).sum()
            }
        };
        sum as f32
    }

    fn many(&self, query: &[u8], rows: Rows<'_>, ids: &[u32], out: &mut Vec<f32>) {
        out.clear();
        out.extend(ids.iter().map(|&id| self.one(query, rows.row(id))));
    }
}
