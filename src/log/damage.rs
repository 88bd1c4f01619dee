//! Is damage in the last segment a torn write, or damage to records that were durable?
//!
//! A torn write touches only the last sync group. So if a record behind the damage says that the damaged
//! bytes were durable before its group began, they were written whole and acknowledged, and must not be
//! trimmed.

use super::segment::{FRAME_LEN, Frame, glance};

/// Bytes that may be checksummed for nothing, in lengths of the segment. Only payloads made to look like
/// records need more than a few.
const EFFORT: u64 = 16;

/// What speaks against trimming a segment at `damage`, after record `last`; `None` when nothing does.
pub(super) fn against_trimming(bytes: &[u8], damage: u64, last: u64) -> Option<String> {
    let length = bytes.len() as u64;
    let highest = last.saturating_add(1 + length / FRAME_LEN as u64);
    let mut budget = EFFORT * length;
    let mut at = damage as usize + 1;
    while at + FRAME_LEN <= bytes.len() {
        let likely = glance(bytes, at).filter(|&(_, seq)| seq > last && seq <= highest);
        let Some((cost, _)) = likely else {
            at += 1;
            continue;
        };
        if cost > budget {
            return Some("too much behind it looks like records to tell whether it was durable".into());
        }
        budget -= cost;
        let Ok(frame) = Frame::at(bytes, at as u64) else {
            at += 1;
            continue;
        };
        let durable = frame.durable_before();
        if durable > damage {
            let (seq, at) = (frame.seq(), at);
            return Some(format!(
                "record {seq} behind it, at offset {at}, says that {durable} bytes were durable"
            ));
        }
        at = frame.end() as usize;
    }
    None
}
