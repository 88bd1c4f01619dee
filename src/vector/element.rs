//! The number types that vectors are stored in, and their conversion from and to f32.
//!
//! Rows are plain bytes, elements in order, little-endian, without padding: `dimension * Element::size()` bytes.

use std::fmt;
use std::str::FromStr;

use half::f16;
use serde::{Deserialize, Serialize};

/// The stored type of a vector's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// IEEE 754 single precision, 4 bytes.
    F32,
    /// IEEE 754 half precision, 2 bytes.
    F16,
    /// Signed byte.
    I8,
    /// Unsigned byte.
    U8,
}

/// A number that an element type cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("value {value} at position {position} cannot be stored as {element}: {reason}")]
pub struct ElementError {
    /// Position in the vector, from 0.
    pub position: usize,
    /// The value that was given.
    pub value: f32,
    /// The type it should have become.
    pub element: Element,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Element {
    /// All element types, in the order of their codes in the index file.
    pub const ALL: [Element; 4] = [Element::F32, Element::F16, Element::I8, Element::U8];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 => 2,
            Element::I8 | Element::U8 => 1,
        }
    }

    /// The name used in schemas and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::I8 => "i8",
            Element::U8 => "u8",
        }
    }

    /// Appends `values` to `out` in this type; -0 becomes +0, floats round to nearest, integers must be whole
    /// and in range.
    pub fn encode(self, values: &[f32], out: &mut Vec<u8>) -> Result<(), ElementError> {
        out.reserve(values.len() * self.size());
        for (position, &value) in values.iter().enumerate() {
            let fail = |reason| ElementError { position, value, element: self, reason };
            if !value.is_finite() {
                return Err(fail("not a finite number"));
            }
            match self {
                Element::F32 => out.extend_from_slice(&(value + 0.0).to_le_bytes()),
                Element::F16 => {
                    let half = f16::from_f32(value + 0.0);
                    if !half.is_finite() {
                        return Err(fail("beyond the largest half, 65504"));
                    }
                    let half = if half == f16::ZERO { f16::ZERO } else { half };
                    out.extend_from_slice(&half.to_le_bytes());
                }
                Element::I8 => {
                    whole(value, -128.0, 127.0).map_err(fail)?;
                    out.push(value as i8 as u8);
                }
                Element::U8 => {
                    whole(value, 0.0, 255.0).map_err(fail)?;
                    out.push(value as u8);
                }
            }
        }
        Ok(())
    }

    /// Appends the numbers of a stored row to `out`. `row` holds whole elements.
    pub fn decode(self, row: &[u8], out: &mut Vec<f32>) {
        match self {
            Element::F32 => out.extend(row.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            Element::F16 => {
                out.extend(row.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()))
            }
            Element::I8 => out.extend(row.iter().map(|&byte| f32::from(byte as i8))),
            Element::U8 => out.extend(row.iter().map(|&byte| f32::from(byte))),
        }
    }
}

fn whole(value: f32, low: f32, high: f32) -> Result<(), &'static str> {
    if value.fract() != 0.0 {
        Err("not a whole number")
    } else if value < low || value > high {
        Err("out of range")
    } else {
        Ok(())
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Element {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Element::ALL
            .into_iter()
            .find(|element| element.name() == text)
            .ok_or_else(|| format!("element type {text:?} is not one of f32, f16, i8, u8"))
    }
}
