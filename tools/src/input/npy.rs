//! NumPy's `.npy`: magic, version, the length of a header, the header (a Python dictionary as text), the numbers.
//!
//! Only the header is read here, and only what the readers can use: two dimensions, C order, a plain type.
//! The header is at most `MAX_HEADER` bytes, and is searched for its three keys instead of evaluated.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::Problem;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself refuses more than 10,000 characters unless told otherwise.
const MAX_HEADER: u64 = 10_000;
/// Numbers begin at a multiple of this.
const ALIGNMENT: usize = 64;

/// What a `.npy` header says of a matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NpyHeader {
    /// NumPy's name of the type: `<f4`, `|u1`.
    pub descr: String,
    /// The first dimension.
    pub rows: u64,
    /// The second dimension.
    pub columns: u64,
    /// Where the numbers begin.
    pub offset: u64,
}

impl NpyHeader {
    /// Reads the header of a file that is `length` bytes long.
    pub fn read(file: &mut File, length: u64) -> Result<Self, Problem> {
        let (text, offset) = header_text(file, length)?;
        let descr = descr(&text)?;
        if value(&text, "fortran_order").is_some_and(|value| value.starts_with("True")) {
            return Err(Problem::content(
                "the array is in Fortran order; save it in C order: np.save(file, np.ascontiguousarray(array))",
            ));
        }
        match shape(&text)?[..] {
            [rows, columns] => Ok(Self { descr, rows, columns, offset }),
            ref other => Err(Problem::content(format!(
                "the array has {} dimensions, shape {other:?}; two are needed: rows and columns",
                other.len()
            ))),
        }
    }
}

/// The header's text, and the offset of the first byte behind it.
fn header_text(file: &mut File, length: u64) -> Result<(String, u64), Problem> {
    let too_short =
        |needed: u64| Problem::content(format!("truncated: the header ends at byte {needed} of {length}"));
    let mut fixed = [0; 12];
    let head = if length < 10 { return Err(too_short(10)) } else { length.min(12) as usize };
    file.seek(SeekFrom::Start(0)).map_err(Problem::read)?;
    file.read_exact(&mut fixed[..head]).map_err(Problem::read)?;
    if &fixed[..6] != MAGIC {
        return Err(Problem::content("does not begin with \\x93NUMPY, so it is not a .npy file"));
    }
    let (start, size) = match fixed[6] {
        1 => (10, u64::from(u16::from_le_bytes([fixed[8], fixed[9]]))),
        2 | 3 => (12, u64::from(u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]))),
        other => {
            return Err(Problem::content(format!(".npy version {other} is unknown; 1, 2 and 3 are read")));
        }
    };
    if size > MAX_HEADER {
        return Err(Problem::content(format!("a header of {size} bytes is over the limit of {MAX_HEADER}")));
    }
    if start + size > length {
        return Err(too_short(start + size));
    }
    let mut bytes = vec![0; size as usize];
    file.seek(SeekFrom::Start(start)).map_err(Problem::read)?;
    file.read_exact(&mut bytes).map_err(Problem::read)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), start + size))
}

/// The text that follows a key of the dictionary.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let quoted = |quote: char| format!("{quote}{key}{quote}");
    let (_, rest) = text.split_once(&quoted('\'')).or_else(|| text.split_once(&quoted('"')))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

fn descr(text: &str) -> Result<String, Problem> {
    let value = value(text, "descr").ok_or_else(|| Problem::content("the header has no 'descr'"))?;
    let quote = value.chars().next().filter(|first| matches!(first, '\'' | '"'));
    let closed = quote.and_then(|quote| value[1..].split_once(quote));
    match closed {
        Some((descr, _)) => Ok(descr.to_string()),
        None => Err(Problem::content("the array's type is structured; an array of plain numbers is needed")),
    }
}

fn shape(text: &str) -> Result<Vec<u64>, Problem> {
    let inside = value(text, "shape")
        .and_then(|value| value.strip_prefix('('))
        .and_then(|value| value.split_once(')'))
        .map(|(inside, _)| inside)
        .ok_or_else(|| Problem::content("the header has no 'shape'"))?;
    inside
        .split(',')
        .map(|number| number.trim().trim_end_matches('L'))
        .filter(|number| !number.is_empty())
        .map(|number| {
            number.parse().map_err(|_| Problem::content(format!("shape ({inside}) is not whole numbers")))
        })
        .collect()
}

/// Writes magic, version 1 and header of a matrix in C order.
pub fn write_header(out: &mut impl Write, descr: &str, rows: u64, columns: u64) -> io::Result<()> {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let unpadded = 10 + text.len() + 1;
    text.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    text.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&(text.len() as u16).to_le_bytes())?;
    out.write_all(text.as_bytes())
}
