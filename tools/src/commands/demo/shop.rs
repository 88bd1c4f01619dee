//! The sample told as a shop, written out to work on: sections are categories, maintainers sellers, packages that
//! depend on one its popularity. The time an item came in is not in the data; it is made up here, the same every time.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use shortlist::attributes::{format_time, parse_time};
use shortlist::vector::Metric;

use crate::commands::{build, read_queries};
use crate::input::{ItemOptions, ItemReader, VectorOptions};
use crate::output;
use crate::progress::Report;

/// The newest item came in on this day, the oldest three years before.
const NEWEST: &str = "2026-11-01T00:00:00Z";
const DAYS: u64 = 3 * 365;
const DAY_MS: i64 = 86_400_000;

/// Writes items, index, requests and judgments into a directory.
pub fn write(sample: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let items = items(sample, out)?;
    let index = out.join("shop.slx");
    let mut args = build::Args::of(sample.join("vectors.npy"), items, Metric::Cosine, index);
    args.inserted_at = Some("added".to_owned());
    // One thread and one seed make the same graph, and so the same answers, every time.
    args.threads = 1;
    let built = build::build(&args, Report::choose(false, false))?;
    build::print(&args, &built)?;
    requests(sample, out)?;
    judgments(sample, out)?;
    output::line(format!("wrote items.jsonl, shop.slx, requests.jsonl, judgments.jsonl in {}", out.display()))
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    File::create(path).map(BufWriter::new).with_context(|| format!("cannot create {}", path.display()))
}

fn items(sample: &Path, out: &Path) -> Result<std::path::PathBuf> {
    let path = out.join("items.jsonl");
    let mut file = create(&path)?;
    for item in ItemReader::open(&sample.join("items.jsonl.gz"), &ItemOptions::default())? {
        let item = item?;
        let source = item.attributes.get("source").and_then(Value::as_str).unwrap_or(&item.id);
        let mut line = json!({"id": item.id, "added": added(source)?});
        item.attributes.iter().for_each(|(name, value)| line[name] = value.clone());
        writeln!(file, "{line}")?;
    }
    file.flush()?;
    Ok(path)
}

/// When the packages of a source came in: a day by the hash of its name.
fn added(source: &str) -> Result<String> {
    let newest = parse_time(NEWEST).map_err(anyhow::Error::msg)?;
    Ok(format_time(newest - (hash(source) % DAYS) as i64 * DAY_MS))
}

/// FNV-1a, 64 bits, its halves folded.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (hash >> 32) ^ (hash & 0xffff_ffff)
}

/// Each text of the sample as a search that leaves out the package whose text it is.
fn requests(sample: &Path, out: &Path) -> Result<()> {
    let vectors = read_queries(&sample.join("queries.npy"), &VectorOptions::default(), None)?;
    let options = ItemOptions { id_field: "item".to_owned(), ..ItemOptions::default() };
    let mut file = create(&out.join("requests.jsonl"))?;
    for (query, vector) in ItemReader::open(&sample.join("queries.jsonl.gz"), &options)?.zip(vectors) {
        let id = query?.id;
        let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        let query = json!({"vector_f32": STANDARD.encode(bytes)});
        writeln!(file, "{}", json!({"id": id, "query": query, "exclude": {"ids": [id]}}))?;
    }
    Ok(file.flush()?)
}

/// Packages of the same source are right for each other.
fn judgments(sample: &Path, out: &Path) -> Result<()> {
    let mut file = create(&out.join("judgments.jsonl"))?;
    for line in ItemReader::open(&sample.join("related.jsonl.gz"), &ItemOptions::default())? {
        let line = line?;
        writeln!(file, "{}", json!({"id": line.id, "related": line.attributes.get("related")}))?;
    }
    Ok(file.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_same_every_time_and_spread() {
        assert_eq!(hash("a"), 0xaf63_dc4c ^ 0x8601_ec8c);
        let days: std::collections::BTreeSet<String> =
            (0..3000).map(|number| added(&format!("source-{number}")).expect("a time")).collect();
        assert!(days.len() > 900, "{}", days.len());
        assert!(
            days.first().expect("days").as_str() >= "2023-11-02"
                && days.last().expect("days").as_str() <= "2026-11-02"
        );
    }
}
