//! What a server holds after a kill, against what its writers were promised.

use serde_json::{Value, json};

use crate::house::{Client, fine};
use crate::writer::{Batch, DIMENSION, Item, Items, Writer};

/// Items of each writer that are also asked for one by one.
const SAMPLE: usize = 20;

/// Faults, counted.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Promised states that are not there.
    pub lost: usize,
    /// States that nobody asked for.
    pub phantoms: usize,
    /// Batches of which a part is there.
    pub half: usize,
    /// Batches that were sent when the server died.
    pub open: usize,
    /// Those of them that are there, whole.
    pub happened: usize,
    /// Faults in words, some of them.
    pub faults: Vec<String>,
}

impl Verdict {
    fn fault(&mut self, text: String) {
        if self.faults.len() < 20 {
            self.faults.push(text);
        }
    }

    /// Compares the server with the writers, who go on from what is there.
    pub fn check(&mut self, client: &Client, writers: &mut [Writer]) {
        let (mut rest, seq) = listing(client).unwrap();
        let stats = fine(client.get("/stats"));
        if stats["items"] != rest.len() {
            self.lost += 1;
            self.fault(format!("stats count {}, a search finds {}", stats["items"], rest.len()));
        }
        for writer in writers {
            let (found, others) = rest.into_iter().partition(|(id, _)| writer.owns(id));
            rest = others;
            self.judge(writer, found);
            if seq < writer.last_seq {
                self.lost += 1;
                self.fault(format!("the index is at {seq}, {} was told {}", writer.name, writer.last_seq));
            }
            self.ask_for_some(client, writer);
        }
        self.phantoms += rest.len();
        rest.into_iter().for_each(|(id, item)| self.fault(format!("{id}: {item:?} is nobody's")));
    }

    /// Compares all items that are there of a writer.
    fn judge(&mut self, writer: &mut Writer, found: Items) {
        if let Some(batch) = writer.open.take() {
            self.open += 1;
            let has_happened = self.has_happened(&batch, writer, &found);
            self.happened += usize::from(has_happened);
            writer.settle(&batch, has_happened);
        }
        let mut ids: Vec<String> = writer.items.keys().chain(found.keys()).cloned().collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let (promised, there) = (writer.items.get(&id), found.get(&id));
            if promised == there {
                continue;
            }
            match there {
                Some(item) if !writer.has_sent(item) => self.phantoms += 1,
                _ => self.lost += 1,
            }
            self.fault(format!("{id}: promised {promised:?}, there is {there:?}"));
            writer.seqs.remove(&id);
        }
        // Each fault counts once.
        writer.items = found;
    }

    /// Whether the batch that nobody answered is there. Half a batch counts as one fault, then as what it is.
    fn has_happened(&mut self, batch: &Batch, writer: &mut Writer, found: &Items) -> bool {
        let is_after = |(id, after): (&String, &Option<Item>)| found.get(id) == after.as_ref();
        let is_before = |(id, _): (&String, &Option<Item>)| found.get(id) == writer.items.get(id);
        if batch.after.iter().all(is_after) {
            return true;
        }
        if batch.after.iter().any(|entry| is_after(entry) && !is_before(entry)) {
            self.half += 1;
            let count = batch.after.iter().filter(|&entry| is_after(entry)).count();
            self.fault(format!("{}: {count} of the {} items of a batch", writer.name, batch.after.len()));
            for (id, after) in &batch.after {
                if found.get(id) == after.as_ref() {
                    set(&mut writer.items, id, after.clone());
                }
            }
        }
        false
    }

    /// Single items: what a listing says, with the sequence number that was promised; or 404.
    fn ask_for_some(&mut self, client: &Client, writer: &Writer) {
        for number in 0..SAMPLE {
            let id = format!("{}/{}", writer.name, number * 13);
            let (status, document) = client.get(&format!("/items/{}?vector=true", encoded(&id))).unwrap();
            let there = if status == 200 { item(&document) } else { None };
            if there.as_ref() != writer.items.get(&id) || ![200, 404].contains(&status) {
                self.lost += 1;
                self.fault(format!("{id}: status {status}, {document}, not {:?}", writer.items.get(&id)));
            }
            if let Some(seq) = writer.seqs.get(&id)
                && document["seq"] != *seq
            {
                self.lost += 1;
                self.fault(format!("{id}: promised in {seq}: {document}"));
            }
        }
    }

    /// Fails unless there is no fault.
    pub fn must_be_clean(&self) {
        let faults = self.faults.join("\n");
        assert_eq!((self.lost, self.phantoms, self.half), (0, 0, 0), "lost, phantoms, half:\n{faults}");
    }
}

fn set(items: &mut Items, id: &str, item: Option<Item>) {
    match item {
        Some(item) => items.insert(id.to_owned(), item),
        None => items.remove(id),
    };
}

/// An id in a path.
fn encoded(id: &str) -> String {
    id.replace('/', "%2F")
}

/// What of the writers whose last batch was answered is not as promised, while the server runs.
pub fn difference(client: &Client, writers: &[Writer]) -> Option<String> {
    let there = match listing(client) {
        Ok((there, _)) => there,
        Err(text) => return Some(text),
    };
    writers.iter().filter(|writer| writer.open.is_none()).find_map(|writer| {
        let found: Items = there.iter().filter(|(id, _)| writer.owns(id)).map(clone).collect();
        (found != writer.items)
            .then(|| format!("{}: promised {:?}, found {found:?}", writer.name, writer.items))
    })
}

fn clone((id, item): (&String, &Item)) -> (String, Item) {
    (id.clone(), item.clone())
}

/// Everything that an exact search finds, and the sequence number of that state.
fn listing(client: &Client) -> Result<(Items, u64), String> {
    let search = json!({
        "query": {"vector": vec![0.0; DIMENSION]}, "limit": 10_000, "exact": true,
        "return": {"attributes": ["n", "batch"], "vector": true}
    });
    let answer = match client.post("/search", &search)? {
        (200, answer) => answer,
        (status, problem) => return Err(format!("a search was answered {status}, {problem}")),
    };
    let hits = answer["results"].as_array().unwrap();
    let entry = |hit: &Value| (hit["id"].as_str().unwrap().to_owned(), item(hit).unwrap());
    let items: Items = hits.iter().map(entry).collect();
    assert_eq!(items.len(), hits.len(), "an id twice");
    Ok((items, answer["seq"].as_u64().unwrap()))
}

fn item(document: &Value) -> Option<Item> {
    let numbers = document["vector"].as_array()?.iter();
    Some(Item {
        n: document["attributes"]["n"].as_u64()?,
        batch: document["attributes"]["batch"].as_str()?.to_owned(),
        vector: numbers.map(|number| number.as_f64().unwrap_or(f64::NAN) as f32).collect(),
    })
}
