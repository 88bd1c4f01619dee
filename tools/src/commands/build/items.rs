//! The items of a build: their attributes' types, then their values, in row order.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value as Json;
use shortlist::attributes::{AttributeSchema, AttributeSpec, Inference, Value, parse_time};
use shortlist::index::{BuildError, IndexBuilder};

use super::Args;
use crate::input::{InputError, Item, ItemOptions, ItemReader, Problem};
use crate::progress::{Progress, Report};

/// The file of items, read once for the types if they are not given, and once for the values.
#[derive(Debug)]
pub struct ItemSource {
    path: Option<PathBuf>,
    vectors: PathBuf,
    options: ItemOptions,
    inserted_at: Option<String>,
    rows: u64,
    inferred: bool,
    /// Fields that are no attributes, and why.
    pub ignored: Vec<(String, String)>,
}

impl ItemSource {
    /// The items of `rows` vectors.
    pub fn new(args: &Args, rows: u64) -> Result<Self> {
        if args.items.is_none() && args.inserted_at.is_some() {
            bail!("--inserted-at names a field of the items, but there is no --items");
        }
        Ok(Self {
            path: args.items.clone(),
            vectors: args.vectors.clone().unwrap_or_default(),
            options: ItemOptions {
                id_field: args.id_field.clone(),
                vector_column: args.vector_column.clone(),
            },
            inserted_at: args.inserted_at.clone(),
            rows,
            inferred: false,
            ignored: Vec::new(),
        })
    }

    /// Takes the types from a schema's `attributes`.
    pub fn declare(&self, attributes: &Json) -> Result<AttributeSchema> {
        AttributeSchema::from_json(attributes).map_err(|reason| anyhow!(reason))
    }

    /// Infers the types from all rows.
    pub fn infer(&mut self, show: Report) -> Result<AttributeSchema> {
        self.inferred = true;
        let Some(path) = self.path.clone() else { return Ok(AttributeSchema::default()) };
        let progress = Progress::new(show, "infer types", self.rows);
        let mut inference = Inference::default();
        let mut count = 0;
        let items = self.open(&path)?;
        let skipped: Vec<_> =
            items.skipped().iter().map(|name| (name.clone(), "it holds vectors".to_owned())).collect();
        for item in items {
            let item = item?;
            for (name, value) in self.attributes(&item) {
                inference.see(name, value, item.untyped);
            }
            count += 1;
            progress.inc(1);
        }
        progress.finish();
        self.check_count(&path, count)?;
        self.ignored = skipped;
        self.ignored.extend(inference.ignored().map(|(name, reason)| (name.to_owned(), reason)));
        Ok(inference.finish())
    }

    /// Gives the builder every item.
    pub fn push(&self, builder: &mut IndexBuilder, schema: &AttributeSchema, show: Report) -> Result<()> {
        // Without items the builder gives row numbers as ids.
        let Some(path) = &self.path else { return Ok(()) };
        let progress = Progress::new(show, "read items", self.rows);
        let mut count = 0;
        for item in self.open(path)? {
            let item = item?;
            if item.row >= self.rows {
                let found = ItemReader::open(path, &self.options)?.count() as u64;
                return self.check_count(path, found);
            }
            let values = self.values(&item, schema).map_err(|reason| at(path, &item, reason))?;
            let inserted_at = self.inserted_at(&item).map_err(|reason| at(path, &item, reason))?;
            match builder.push_item(&item.id, inserted_at, &values) {
                Ok(()) => {}
                Err(error @ BuildError::DuplicateId { .. }) => {
                    return Err(error).context(path.display().to_string());
                }
                Err(error) => return Err(at(path, &item, error.to_string()).into()),
            }
            count += 1;
            progress.inc(1);
        }
        progress.finish();
        self.check_count(path, count)
    }

    /// Opens the file; where it says how many items it has, that is checked first.
    fn open(&self, path: &Path) -> Result<ItemReader> {
        let items = ItemReader::open(path, &self.options)?;
        items.rows().map_or(Ok(()), |rows| self.check_count(path, rows))?;
        Ok(items)
    }

    fn check_count(&self, path: &Path, items: u64) -> Result<()> {
        if items == self.rows {
            return Ok(());
        }
        bail!(
            "{} has {items} items, {} has {} vectors: row i of one belongs to row i of the other",
            path.display(),
            self.vectors.display(),
            self.rows
        )
    }

    /// The fields of an item that are attributes.
    fn attributes<'a>(&'a self, item: &'a Item) -> impl Iterator<Item = (&'a str, &'a Json)> {
        let fields = item.attributes.iter().map(|(name, value)| (name.as_str(), value));
        fields.filter(|(name, _)| self.inserted_at.as_deref() != Some(name))
    }

    fn values(&self, item: &Item, schema: &AttributeSchema) -> Result<Vec<Option<Value>>, String> {
        let mut values = vec![None; schema.len()];
        for (name, value) in self.attributes(item) {
            match schema.find(name) {
                Some((ordinal, spec)) => {
                    let parsed = self.parse(spec, value, item.untyped);
                    values[ordinal] = parsed.map_err(|reason| format!("attribute {name:?}: {reason}"))?;
                }
                None if self.inferred => {}
                None => return Err(unknown(name, schema)),
            }
        }
        Ok(values)
    }

    fn parse(&self, spec: &AttributeSpec, value: &Json, untyped: bool) -> Result<Option<Value>, String> {
        match value {
            Json::String(text) if untyped => spec.parse_untyped(text),
            _ if self.inferred => spec.parse_inferred(value),
            _ => spec.parse(value),
        }
    }

    fn inserted_at(&self, item: &Item) -> Result<Option<i64>, String> {
        let Some(field) = &self.inserted_at else { return Ok(None) };
        let wrong = |reason: String| format!("field {field:?}: {reason}");
        match item.attributes.get(field) {
            None | Some(Json::Null) => Err(wrong("the time of the first insertion is missing".to_string())),
            Some(Json::String(text)) => match text.parse::<i64>() {
                Ok(millis) if item.untyped => Ok(Some(millis)),
                _ => parse_time(text).map(Some).map_err(wrong),
            },
            Some(other) => {
                let millis = other.as_i64().map(Some);
                millis
                    .ok_or_else(|| wrong(format!("{other} is neither RFC 3339 nor milliseconds since 1970")))
            }
        }
    }
}

fn at(path: &Path, item: &Item, reason: String) -> InputError {
    Problem::row(item.row, format!("item {:?}: {reason}", item.id)).in_file(path)
}

fn unknown(name: &str, schema: &AttributeSchema) -> String {
    let names: Vec<&str> = schema.iter().map(|(name, _)| name).take(16).collect();
    format!("attribute {name:?} is not in the schema; there are {}", names.join(", "))
}
