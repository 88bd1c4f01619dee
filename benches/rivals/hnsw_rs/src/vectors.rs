//! Reads `.npy` (f16 or f32, two dimensions, C order) and `.u8bin` files into f32 rows.

use std::fs;

use half::f16;

use crate::Result;

pub struct Vectors {
    pub rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Vectors {
    /// With the metric `cosine` every row is scaled to unit length.
    pub fn read(path: &str, metric: &str) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| format!("{path}: {e}"))?;
        let read = if path.ends_with(".npy") { read_npy(&bytes) } else { read_u8bin(&bytes) };
        let mut vectors = read.map_err(|e| format!("{path}: {e}"))?;
        if metric == "cosine" {
            vectors.normalize();
        }
        Ok(vectors)
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.columns..(i + 1) * self.columns]
    }

    fn normalize(&mut self) {
        for row in self.values.chunks_mut(self.columns) {
            let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
            }
        }
    }
}

fn read_npy(bytes: &[u8]) -> Result<Vectors> {
    if bytes.get(..6) != Some(b"\x93NUMPY") {
        return Err("not a .npy file".into());
    }
    let (start, length) = match bytes[6] {
        1 => (10, u16::from_le_bytes(bytes[8..10].try_into()?) as usize),
        _ => (12, u32::from_le_bytes(bytes[8..12].try_into()?) as usize),
    };
    let header = std::str::from_utf8(&bytes[start..start + length])?;
    if header.contains("'fortran_order': True") {
        return Err("Fortran order is not supported".into());
    }
    let (rows, columns) = npy_shape(header)?;
    let data = &bytes[start + length..];
    let values: Vec<f32> = if header.contains("'<f2'") {
        data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    } else if header.contains("'<f4'") {
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    } else {
        return Err(format!("only f16 and f32 are supported: {header}").into());
    };
    checked(rows, columns, values)
}

/// The two numbers of `'shape': (63666, 384)`.
fn npy_shape(header: &str) -> Result<(usize, usize)> {
    let inside = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')'));
    let (shape, _) = inside.ok_or("the .npy header has no shape")?;
    let numbers: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    match numbers[..] {
        [rows, columns] => Ok((rows, columns)),
        _ => Err(format!("two dimensions expected, found ({shape})").into()),
    }
}

fn read_u8bin(bytes: &[u8]) -> Result<Vectors> {
    let word = |at: usize| -> Result<usize> {
        let four = bytes.get(at..at + 4).ok_or("file too short")?;
        Ok(u32::from_le_bytes(four.try_into()?) as usize)
    };
    let values = bytes.get(8..).unwrap_or_default().iter().map(|b| f32::from(*b)).collect();
    checked(word(0)?, word(4)?, values)
}

fn checked(rows: usize, columns: usize, values: Vec<f32>) -> Result<Vectors> {
    if values.len() != rows * columns {
        return Err(format!("{rows} x {columns} announced, {} values found", values.len()).into());
    }
    Ok(Vectors { rows, columns, values })
}
