//! What a file remembers of how it was made: the inputs' digests, the parameters, the program's version.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shortlist::attributes::format_time;
use shortlist::collection::now_millis;
use shortlist::index::Schema;

use super::Args;
use crate::progress::{Progress, Report};

/// The lineage of a build. Of paths only the files' names are kept: where they lay is nobody else's business.
pub fn of(args: &Args, schema: &Schema, show: Report) -> Result<Value> {
    let mut inputs = Vec::new();
    let given = [
        ("vectors", args.vectors.as_ref()),
        ("items", args.items.as_ref()),
        ("schema", args.schema.as_ref()),
        ("export", args.export.as_ref()),
    ];
    let mut known: Option<(&Path, Value)> = None;
    for (role, path) in given.into_iter().filter_map(|(role, path)| path.map(|path| (role, path))) {
        let digest = match &known {
            Some((same, digest)) if *same == path.as_path() => digest.clone(),
            _ => digest(path, show)?,
        };
        known = Some((path.as_path(), digest.clone()));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        inputs
            .push(json!({"role": role, "file": name, "sha256": digest["sha256"], "bytes": digest["bytes"]}));
    }
    Ok(json!({
        "tool": concat!("shortlist ", env!("CARGO_PKG_VERSION")),
        "built_at": format_time(now_millis()),
        "embedding": schema.embedding,
        "inputs": inputs,
        "parameters": {
            "metric": schema.metric,
            "element": schema.element,
            "m": schema.hnsw.m,
            "ef_construction": schema.hnsw.ef_construction,
            "threads": args.threads,
            "seed": args.seed,
            "id_field": args.id_field,
            "inserted_at": args.inserted_at,
            "vector_column": args.vector_column,
            "dataset": args.dataset,
        },
    }))
}

/// SHA-256 and length, as `sha256sum` and `ls` tell them.
fn digest(path: &Path, show: Report) -> Result<Value> {
    let read = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(read)?;
    let length = file.metadata().with_context(read)?.len();
    let progress = Progress::new(show, "digest inputs", length);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer).with_context(read)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
        progress.inc(count as u64);
    }
    drop(progress);
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(json!({"sha256": hex, "bytes": bytes}))
}
