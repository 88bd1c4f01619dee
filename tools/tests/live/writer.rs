//! A writer: owns its ids, sends random batches one after the other, and knows what it was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Random;
use crate::house::{Answer, Client};

pub const DIMENSION: usize = 8;
/// Ids of a writer.
const IDS: u64 = 300;
/// Vectors that many items share.
const SHARED: u64 = 8;

/// What an item is. `n` and `batch` name the batch that it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub n: u64,
    pub batch: String,
    pub vector: Vec<f32>,
}

pub type Items = BTreeMap<String, Item>;

/// What became of a batch.
#[derive(Debug, PartialEq)]
pub enum Step {
    Acknowledged,
    /// It was not made, for sure: this status says so.
    Refused(u16),
    /// Nobody knows.
    Open,
    /// An answer that should not be.
    Strange(String),
}

/// Whether an answer says that nothing was written.
fn is_refusal(status: u16, problem: &Value) -> bool {
    matches!(status, 429 | 507) || (status == 503 && problem["type"] == "/problems/writes-closed")
}

#[derive(Clone, Copy)]
enum Call {
    Upsert,
    Patch,
    Delete,
}

/// A batch, and what each of its ids is after it.
#[derive(Clone)]
pub struct Batch {
    n: u64,
    call: Call,
    body: Value,
    /// What the answer must count.
    count: usize,
    pub after: BTreeMap<String, Option<Item>>,
}

impl Batch {
    fn send(&self, client: &Client) -> Answer {
        match self.call {
            Call::Upsert => client.post("/items", &self.body),
            Call::Patch => client.patch("/items", &self.body),
            Call::Delete => client.post("/items/delete", &self.body),
        }
    }

    fn counted(&self) -> &'static str {
        match self.call {
            Call::Upsert => "upserted",
            Call::Patch => "patched",
            Call::Delete => "deleted",
        }
    }
}

#[derive(Clone)]
pub struct Writer {
    pub name: String,
    random: Random,
    /// Number of the next batch.
    next: u64,
    /// What was promised.
    pub items: Items,
    /// Sequence numbers of the items' last changes, where the answer told them.
    pub seqs: BTreeMap<String, u64>,
    /// The highest sequence number that an answer told.
    pub last_seq: u64,
    /// The batch that was sent when the server died.
    pub open: Option<Batch>,
    /// Batches that were sent when the server died, and had not happened.
    undone: BTreeSet<u64>,
    pub acknowledged: usize,
    /// Answers that came after the power was cut.
    pub late: usize,
    pub refused: usize,
    /// What should never happen.
    pub surprises: Vec<String>,
}

impl Writer {
    pub fn new(number: u64) -> Writer {
        Writer {
            name: format!("w{number}"),
            random: Random(number + 1),
            next: 0,
            items: Items::new(),
            seqs: BTreeMap::new(),
            last_seq: 0,
            open: None,
            undone: BTreeSet::new(),
            acknowledged: 0,
            late: 0,
            refused: 0,
            surprises: Vec::new(),
        }
    }

    /// Sends batches until the server is gone; before `ending` is set that is a surprise.
    pub fn run(&mut self, client: &Client, ending: &AtomicBool, cut: &AtomicBool) {
        loop {
            match self.step_before(client, cut) {
                Step::Acknowledged => {}
                Step::Refused(429 | 507) => std::thread::sleep(Duration::from_millis(5)),
                Step::Refused(_) | Step::Open if ending.load(SeqCst) => return,
                step => {
                    let (name, n) = (&self.name, self.next - 1);
                    return self.surprises.push(format!("{name} {n}: {step:?}"));
                }
            }
        }
    }

    /// Sends one batch. After an open one there is no next before `settle`.
    pub fn step(&mut self, client: &Client) -> Step {
        self.step_before(client, &AtomicBool::new(false))
    }

    /// The same; what is answered after `cut` was set is no promise: with the power really gone nobody would have heard it.
    fn step_before(&mut self, client: &Client, cut: &AtomicBool) -> Step {
        let batch = self.batch();
        match batch.send(client) {
            Ok((200, _)) if cut.load(SeqCst) => {
                self.late += 1;
                self.open = Some(batch);
                Step::Open
            }
            Ok((200, answer)) => {
                self.acknowledge(&batch, &answer);
                Step::Acknowledged
            }
            Ok((status, problem)) if is_refusal(status, &problem) => {
                self.refused += 1;
                self.undone.insert(batch.n);
                Step::Refused(status)
            }
            answer => {
                let strange = matches!(answer, Ok((status, _)) if status != 503);
                self.open = Some(batch);
                if strange { Step::Strange(format!("{answer:?}")) } else { Step::Open }
            }
        }
    }

    fn acknowledge(&mut self, batch: &Batch, answer: &Value) {
        let seq = answer["seq"].as_u64();
        let goes_on = seq.is_some_and(|seq| seq >= self.last_seq);
        if !goes_on || answer[batch.counted()] != batch.count {
            let (name, n, count) = (&self.name, batch.n, batch.count);
            self.surprises.push(format!("{name} {n}: after {}, of {count}: {answer}", self.last_seq));
        }
        self.last_seq = self.last_seq.max(seq.unwrap_or(0));
        self.acknowledged += 1;
        self.apply(batch, seq);
    }

    /// Takes in what became of the open batch.
    pub fn settle(&mut self, batch: &Batch, has_happened: bool) {
        if has_happened {
            self.apply(batch, None);
        } else {
            self.undone.insert(batch.n);
        }
    }

    fn apply(&mut self, batch: &Batch, seq: Option<u64>) {
        for (id, item) in &batch.after {
            match item {
                Some(item) => self.items.insert(id.clone(), item.clone()),
                None => self.items.remove(id),
            };
            match seq {
                Some(seq) if item.is_some() => self.seqs.insert(id.clone(), seq),
                _ => self.seqs.remove(id),
            };
        }
    }

    pub fn owns(&self, id: &str) -> bool {
        id.split_once('/').is_some_and(|(writer, _)| writer == self.name)
    }

    /// Whether a batch of that name was sent, and is not known to have come to nothing.
    pub fn has_sent(&self, item: &Item) -> bool {
        item.batch == self.text(item.n) && item.n < self.next && !self.undone.contains(&item.n)
    }

    fn text(&self, n: u64) -> String {
        format!("{}-{n}", self.name)
    }

    fn batch(&mut self) -> Batch {
        let n = self.next;
        self.next += 1;
        let ids = self.some_ids();
        let known: Vec<String> = ids.iter().filter(|id| self.items.contains_key(*id)).cloned().collect();
        match self.random.below(20) {
            0..4 if !known.is_empty() => self.patch(n, known),
            4..7 => delete(n, &ids, known.len()),
            7 if !known.is_empty() => self.delete_batch(n, &known[0]),
            _ => self.upsert(n, ids),
        }
    }

    /// 1 to 20 of its ids, all different.
    fn some_ids(&mut self) -> Vec<String> {
        let (first, count) = (self.random.below(IDS), self.random.below(20) + 1);
        (0..count).map(|step| format!("{}/{}", self.name, (first + 7 * step) % IDS)).collect()
    }

    fn upsert(&mut self, n: u64, ids: Vec<String>) -> Batch {
        let mut after = BTreeMap::new();
        for id in ids {
            let shared = self.random.below(4) == 0;
            let vector = if shared {
                Random(1_000 + self.random.below(SHARED)).vector(DIMENSION)
            } else {
                self.random.vector(DIMENSION)
            };
            after.insert(id, Some(Item { n, batch: self.text(n), vector }));
        }
        let document = |(id, item): (&String, &Option<Item>)| {
            let item = item.as_ref().unwrap();
            json!({"id": id, "vector": item.vector, "attributes": {"n": n, "batch": item.batch}})
        };
        let items: Vec<Value> = after.iter().map(document).collect();
        Batch { n, call: Call::Upsert, body: json!({"items": items}), count: items.len(), after }
    }

    /// Changes the attributes of items that are there.
    fn patch(&self, n: u64, ids: Vec<String>) -> Batch {
        let text = self.text(n);
        let document = |id: &String| json!({"id": id, "attributes": {"n": n, "batch": text}});
        let items: Vec<Value> = ids.iter().map(document).collect();
        let item = |id: &String| Item { n, batch: text.clone(), vector: self.items[id].vector.clone() };
        let after = ids.iter().map(|id| (id.clone(), Some(item(id)))).collect();
        Batch { n, call: Call::Patch, body: json!({"items": items}), count: ids.len(), after }
    }

    /// Deletes, by a filter, all that is left of the batch that an item comes from.
    fn delete_batch(&self, n: u64, id: &str) -> Batch {
        let text = &self.items[id].batch;
        let of_batch = self.items.iter().filter(|(_, item)| item.batch == *text);
        let after: BTreeMap<_, _> = of_batch.map(|(id, _)| (id.clone(), None)).collect();
        Batch { n, call: Call::Delete, body: json!({"filter": {"batch": text}}), count: after.len(), after }
    }
}

/// Deletes ids, of which `known` are there.
fn delete(n: u64, ids: &[String], known: usize) -> Batch {
    let after = ids.iter().map(|id| (id.clone(), None)).collect();
    Batch { n, call: Call::Delete, body: json!({"ids": ids}), count: known, after }
}
