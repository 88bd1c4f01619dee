//! Items as NDJSON: a body of any length, committed in chunks while it comes in.
//!
//! Each committed chunk is answered by a line `{"through_line", "seq"}`: everything up to that line is on disk and found.
//! The next chunk is read only when the one before was committed and its line was taken, so a fast sender is held back. An
//! error ends the stream with a line that holds its problem and the line of the body that it is about; earlier chunks stand.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{AppState, Kind, Limits, Problem, body};
use crate::collection::{Collection, UpsertItem, UpsertRequest, WriteBatch, Written};

/// Lines that are committed together, at most.
const CHUNK_LINES: usize = 1_000;
/// Bytes of lines that are committed together: a chunk ends at the first line that reaches them.
const CHUNK_BYTES: usize = 4 << 20;

/// Whether the body is NDJSON.
pub(super) fn is_ndjson(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-ndjson"))
}

/// Answers at once, with a body that grows as chunks are committed.
pub(super) fn upsert(state: Arc<AppState>, collection: Arc<Collection>, content: Body) -> Response {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(take_in(state, collection, content, sender));
    let content_type = HeaderValue::from_static("application/x-ndjson");
    ([(header::CONTENT_TYPE, content_type)], Body::new(Lines(receiver))).into_response()
}

/// A line, and what is wrong about it.
type Refused = Box<(u64, Problem)>;

/// A body that comes through a channel.
pub(super) struct Lines(mpsc::Receiver<Bytes>);

impl Lines {
    /// What the receiver gives, until there is no sender.
    pub fn new(receiver: mpsc::Receiver<Bytes>) -> Lines {
        Lines(receiver)
    }
}

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

async fn take_in(
    state: Arc<AppState>,
    collection: Arc<Collection>,
    content: Body,
    sender: mpsc::Sender<Bytes>,
) {
    let mut reader = Reader { content, buffer: Vec::new(), ended: false };
    let mut through = 0;
    loop {
        let outcome = match reader.chunk(&state.config.limits).await {
            Ok(None) => return,
            Ok(Some(chunk)) => commit(&state, &collection, chunk, &mut through).await,
            Err(problem) => Err(Box::new((through + 1, problem))),
        };
        let line = match &outcome {
            Ok(written) => json!({"through_line": through, "seq": written.seq}),
            Err(refused) => json!({"line": refused.0, "problem": refused.1}),
        };
        let sent = sender.send(Bytes::from(format!("{line}\n"))).await;
        // A client that has gone reads no lines: what it sent no more is not taken in.
        if outcome.is_err() || sent.is_err() {
            return;
        }
    }
}

/// Commits whole lines; `through` counts them. The error names the line.
async fn commit(
    state: &AppState,
    collection: &Arc<Collection>,
    chunk: Vec<u8>,
    through: &mut u64,
) -> Result<Written, Refused> {
    let (sender, receiver) = oneshot::channel();
    let (collection, before) = (Arc::clone(collection), *through);
    let prepared = state
        .run(move |_| {
            let (batch, lines) = prepare(&collection, &chunk, before)?;
            collection.write(
                batch,
                Box::new(move |answer| {
                    // Nobody to tell when the client has gone; the write stands.
                    let _ = sender.send(answer);
                }),
            );
            Ok::<u64, Refused>(lines)
        })
        .await;
    let lines = prepared.map_err(|problem| Box::new((before + 1, problem)))??;
    let gone = || Problem::new(Kind::WritesClosed, "the collection was closed meanwhile");
    let answer = receiver.await.map_err(|_| Box::new((before + 1, gone())))?;
    let written = answer.map_err(|error| Box::new((before + 1, Problem::from(error))))?;
    *through += lines;
    Ok(written)
}

/// The items of the lines, checked; and how many lines there were.
fn prepare(collection: &Collection, chunk: &[u8], before: u64) -> Result<(WriteBatch, u64), Refused> {
    let mut items = Vec::new();
    let mut lines_of_items = Vec::new();
    let mut lines = before;
    for line in chunk.split_inclusive(|&byte| byte == b'\n') {
        lines += 1;
        if !line.trim_ascii().is_empty() {
            items.push(
                body::parse::<UpsertItem>(line.trim_ascii()).map_err(|problem| Box::new((lines, problem)))?,
            );
            lines_of_items.push(lines);
        }
    }
    let batch = WriteBatch::upsert(&collection.index(), UpsertRequest { embedding: None, items }).map_err(
        |error| {
            let mut problem = Problem::from(error);
            // `/items/3/vector` of the chunk is `/vector` of its line.
            let (at, rest) = item_pointer(problem.pointer.as_deref().unwrap_or(""));
            problem.pointer = Some(rest);
            Box::new((lines_of_items.get(at).copied().unwrap_or(before + 1), problem))
        },
    )?;
    Ok((batch, lines - before))
}

fn item_pointer(pointer: &str) -> (usize, String) {
    let Some(rest) = pointer.strip_prefix("/items/") else { return (0, pointer.to_owned()) };
    let (number, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let rest = if rest.is_empty() { String::new() } else { format!("/{rest}") };
    (number.parse().unwrap_or(0), rest)
}

struct Reader {
    content: Body,
    buffer: Vec<u8>,
    ended: bool,
}

impl Reader {
    /// The next chunk of whole lines; the last one may lack its end of line.
    async fn chunk(&mut self, limits: &Limits) -> Result<Option<Vec<u8>>, Problem> {
        let mut looked_at = 0;
        let (mut lines, mut end) = (0, 0);
        loop {
            while let Some(at) = self.buffer[looked_at..].iter().position(|&byte| byte == b'\n') {
                looked_at += at + 1;
                (lines, end) = (lines + 1, looked_at);
                if lines == CHUNK_LINES || end >= CHUNK_BYTES {
                    return Ok(Some(self.take(end)));
                }
            }
            looked_at = self.buffer.len();
            if self.buffer.len() - end > limits.body_bytes {
                let detail = format!(
                    "a line is longer than {} bytes (setting `limits.body_bytes`)",
                    limits.body_bytes
                );
                return Err(Problem::new(Kind::BodyTooLarge, detail).limit(limits.body_bytes));
            }
            if self.ended || !self.read_more(limits).await? {
                let rest = self.buffer.len();
                return Ok((rest > 0).then(|| self.take(rest)));
            }
        }
    }

    fn take(&mut self, end: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(end);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// False at the end.
    async fn read_more(&mut self, limits: &Limits) -> Result<bool, Problem> {
        let frame = match tokio::time::timeout(limits.body_timeout, self.content.frame()).await {
            Ok(frame) => frame,
            Err(_) => {
                let seconds = limits.body_timeout.as_secs_f64();
                let detail = format!("nothing came for {seconds} s (setting `limits.body_timeout`)");
                return Err(Problem::new(Kind::BodyTimeout, detail).limit(seconds));
            }
        };
        match frame {
            None => self.ended = true,
            Some(Err(_)) => {
                // What came before the break is whole lines at most; the last may be cut, so it is not taken.
                let end = self.buffer.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
                self.buffer.truncate(end);
                self.ended = true;
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.buffer.extend_from_slice(data);
                }
            }
        }
        Ok(!self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_of_a_chunk_become_those_of_a_line() {
        assert_eq!(item_pointer("/items/3/vector/0"), (3, "/vector/0".to_owned()));
        assert_eq!(item_pointer("/items/7"), (7, String::new()));
        assert_eq!(item_pointer(""), (0, String::new()));
    }

    #[tokio::test]
    async fn chunks_end_with_lines() {
        let text: String = (0..2_500).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>() + "last";
        let mut reader = Reader { content: Body::from(text.clone()), buffer: Vec::new(), ended: false };
        let mut all = Vec::new();
        let mut sizes = Vec::new();
        while let Some(chunk) = reader.chunk(&Limits::default()).await.unwrap() {
            sizes.push(chunk.split_inclusive(|&byte| byte == b'\n').count());
            all.extend(chunk);
        }
        assert_eq!((String::from_utf8(all).unwrap(), sizes), (text, vec![1_000, 1_000, 501]));
    }
}
