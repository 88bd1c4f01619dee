//! The codes of all nodes, and their distances to a query's code. See `code` for what is in a row.

use super::Element;
use super::code::{CodeKind, Codec, finish_u4_query};
use super::kernel::{self, Kernel, Rows};
use crate::arena::{ArenaError, Array};

/// Cache lines that are fetched ahead of a batch.
const PREFETCH: usize = 16;

/// The codes of all nodes, and the kernel that compares them.
#[derive(Debug)]
pub struct Codes {
    codec: Codec,
    kernel: Box<dyn Kernel>,
    /// For queries of f32.
    far: Box<dyn Kernel>,
    rows: Array<u8>,
    stride: usize,
}

impl Codes {
    /// Codes in an array of whole rows.
    pub fn new(codec: Codec, rows: Array<u8>) -> Codes {
        let (kernel, far, stride) = (codec.kernel(), codec.far_kernel(), codec.stride());
        Codes { codec, kernel, far, rows, stride }
    }

    /// The codec.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Appends the code of one more node.
    pub fn push(&self, row: &[u8]) -> Result<(), ArenaError> {
        self.rows.extend(row)
    }

    /// Rows that can still be appended.
    pub fn room(&self) -> usize {
        self.rows.room() / self.stride
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len() / self.stride
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows.
    pub fn rows(&self) -> Rows<'_> {
        Rows { bytes: self.rows.as_slice(), stride: self.stride }
    }

    /// The code of a node.
    #[inline]
    pub fn row(&self, node: u32) -> &[u8] {
        self.rows().row(node)
    }

    /// The code of a node in the form of a query that finds other nodes near it as items lie near each other; `buffer` may
    /// hold it.
    #[inline]
    pub fn as_item<'a>(&'a self, node: u32, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        let row = self.row(node);
        if self.codec.is_float() && self.codec.element == Element::F16 {
            let numbers = row.as_chunks().0.iter().map(|&half| half::f16::from_le_bytes(half).to_f32());
            buffer.clear();
            buffer.extend(numbers.flat_map(f32::to_le_bytes));
            return buffer;
        }
        if self.codec.kind != CodeKind::UnitU4 {
            return row;
        }
        // Twice each level's distance from the middle is a whole number.
        let double = |level: u8| (2 * level as i8 - 15) as u8;
        let numbers = &row[..self.codec.half()];
        buffer.clear();
        buffer.extend(numbers.iter().map(|byte| double(byte & 15)));
        buffer.extend(numbers.iter().map(|byte| double(byte >> 4)));
        buffer[self.codec.dimension..].fill(0);
        finish_u4_query(buffer, self.codec.scale / 2.0);
        buffer
    }

    /// The code of a node in the form of a query that asks for large products with it, without the extra dimension; `buffer`
    /// may hold it.
    #[inline]
    pub fn as_query<'a>(&'a self, node: u32, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        if !self.codec.kind.is_dot() {
            return self.as_item(node, buffer);
        }
        buffer.clear();
        buffer.extend_from_slice(self.row(node));
        let (scale, _) = self.codec.trailer(buffer);
        self.codec.set_trailer(buffer, scale, 0.0);
        buffer
    }

    /// Asks for the codes of the first of these nodes: as much as the processor fetches at a time.
    #[inline]
    pub fn prefetch(&self, nodes: &[u32]) {
        let lines = self.stride.div_ceil(64);
        for &node in nodes.iter().take((PREFETCH / lines).max(1)) {
            let row = self.rows.as_ptr().wrapping_add(node as usize * self.stride);
            (0..lines).for_each(|line| kernel::prefetch(row.wrapping_add(line * 64)));
        }
    }

    /// Replaces `out` by the distance (minus the approximate similarity) of a code to each of `nodes`.
    #[inline]
    pub fn distances(&self, query: &[u8], nodes: &[u32], out: &mut Vec<f32>) {
        let codec = &self.codec;
        let kernel = if codec.is_far(query) { &self.far } else { &self.kernel };
        kernel.many(query, self.rows(), nodes, out);
        match codec.kind {
            CodeKind::Raw => {}
            CodeKind::UnitF32 => scale_all(out, -1.0),
            CodeKind::UnitI8 => scale_all(out, -codec.unit_scale(query) * codec.scale),
            CodeKind::AffineU8 | CodeKind::CentredU8 => scale_all(out, codec.scale * codec.scale),
            CodeKind::ConeU8 => {
                let factor = codec.scale * codec.scale / 2.0;
                out.iter_mut().for_each(|value| *value = *value * factor - 1.0);
            }
            CodeKind::UnitU4 => {
                let at = 2 * codec.half();
                let read =
                    |at: usize| f32::from_le_bytes([query[at], query[at + 1], query[at + 2], query[at + 3]]);
                let (factor, offset) = (-read(at) * codec.scale, read(at + 4));
                out.iter_mut().for_each(|value| *value = (*value - offset) * factor);
            }
            CodeKind::ScaledI8 | CodeKind::ScaledF32 | CodeKind::CentredI8 | CodeKind::CentredF32 => {
                let (scale, extra) = codec.trailer(query);
                for (value, &node) in out.iter_mut().zip(nodes) {
                    let (other_scale, other_extra) = codec.trailer(self.row(node));
                    *value = -(scale * other_scale * *value + extra * other_extra);
                }
            }
        }
    }
}

fn scale_all(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}
