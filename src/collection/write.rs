//! Writes: what a request asks for, checked against the collection's schema; and, in the order of the log, what comes of it.
//!
//! Preparing needs no lock and is done by whoever brings the request; resolving is done by the committer, one after the
//! other, and leaves nothing to decide: times, versions and the ids that a filter matches are in the log's record.

mod fit;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use super::Collection;
use super::once::OnceKey;
use super::query::Forms;
use super::state::{StateRequest, StateWrite};
use crate::attributes::{AttributeSchema, Cell, Filter, FilterContext, ItemFacts, parse_time};
use crate::index::{Change, Index, Put, View};

/// Expired items that one write deletes, at most.
pub(super) const EXPIRED_AT_A_TIME: usize = 10_000;

/// Items to put. Unknown fields are errors.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpsertRequest {
    /// The tower that made the vectors: unless it is the collection's, nothing is put.
    pub embedding: Option<String>,
    /// The items; a batch is applied whole or not at all.
    pub items: Vec<UpsertItem>,
}

/// An item as it shall be from now on: what it was before is replaced whole.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpsertItem {
    /// 1 to 512 bytes.
    pub id: String,
    /// The vector as numbers.
    pub vector: Option<Vec<f32>>,
    /// The vector as base64 of little-endian f32.
    pub vector_f32: Option<String>,
    /// The vector as base64 of little-endian f16.
    pub vector_f16: Option<String>,
    /// Attributes of the schema; those left out take their default, or are missing.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub attributes: Map<String, Json>,
    /// The caller's version: an item that is stored with a higher one stays as it is.
    pub version: Option<u64>,
    /// From then on the item is never returned; RFC 3339.
    pub expires_at: Option<String>,
    /// When it was first inserted, RFC 3339, for items that come from elsewhere; of an item that is there already the time
    /// stays as it is.
    pub inserted_at: Option<String>,
}

/// Attributes to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchRequest {
    /// The items; a batch is applied whole or not at all.
    pub items: Vec<PatchItem>,
    /// What to do about ids that are not there.
    #[serde(default)]
    pub missing: Missing,
}

/// Attributes of an item that change; null removes one, those left out stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchItem {
    /// Of the item.
    pub id: String,
    /// What changes.
    #[schema(value_type = Object)]
    pub attributes: Map<String, Json>,
}

/// What to do about ids that are not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Refuse the batch.
    #[default]
    Error,
    /// Leave them out and count them.
    Skip,
}

/// Items to delete: by `ids` or by `filter`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// Ids; one that is not there is no error.
    pub ids: Option<Vec<String>>,
    /// Whatever matches.
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Json>,
}

/// What a write did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Written {
    /// Items put.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upserted: Option<usize>,
    /// Items whose stored version is higher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored: Option<usize>,
    /// Items patched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patched: Option<usize>,
    /// Ids that were not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<usize>,
    /// Items deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<usize>,
    /// Number of a profile's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Whether the version is new; false when an equal one was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<bool>,
    /// Ids that an exclude set has now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<usize>,
    /// Events counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<usize>,
    /// Events that were counted before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<usize>,
    /// Events of items that are not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<usize>,
    /// A search that answers with this sequence number or a later one has seen it.
    pub seq: u64,
    /// Whether this is the answer to an earlier request of the same idempotency key.
    #[serde(skip)]
    pub replayed: bool,
}

/// A write was refused, or nobody knows what became of it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// Part of the request is wrong.
    #[error("{reason}")]
    Invalid {
        /// Where, an RFC 6901 pointer.
        pointer: String,
        /// What is wrong, naming the value and the limit.
        reason: String,
    },
    /// An item to patch is not there.
    #[error("there is no item {id:?}; `\"missing\": \"skip\"` leaves such ids out")]
    UnknownItem {
        /// Where.
        pointer: String,
        /// The id.
        id: String,
    },
    /// A profile was refused.
    #[error("{reason}")]
    Profile {
        /// Where.
        pointer: String,
        /// Why.
        reason: String,
    },
    /// There is no such profile, or no such version of it.
    #[error("there is no profile {name:?}")]
    UnknownProfile {
        /// What was given.
        name: String,
    },
    /// There is no such exclude set, or it has expired.
    #[error("there is no exclude set {name:?}; PUT makes one")]
    UnknownSet {
        /// What was given.
        name: String,
    },
    /// The vectors come from another tower than the collection's.
    #[error("the vectors come from {given:?}, the collection's from {}", expected.as_deref().map_or("an unnamed embedding".to_owned(), |name| format!("{name:?}")))]
    Embedding {
        /// What the request names.
        given: String,
        /// What the collection names.
        expected: Option<String>,
    },
    /// The idempotency key belongs to an earlier, other request.
    #[error("this idempotency key was used for another request: a new request needs a new key")]
    KeyReused,
    /// Too many writes wait.
    #[error("{waiting} writes wait, at most {limit} may: send it again later")]
    Busy {
        /// Writes that wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// There is no room for it. Nothing was changed.
    #[error("{reason}")]
    NoSpace {
        /// Of what, and how much.
        reason: String,
    },
    /// The log failed while this was being written: it may be there after the next start, or not.
    #[error("the outcome of this write is unknown: {reason}")]
    Unknown {
        /// What failed.
        reason: String,
    },
    /// The collection takes no writes until the server is started again.
    #[error("no writes are taken: {reason}")]
    Closed {
        /// Why.
        reason: String,
    },
}

impl WriteError {
    fn invalid(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        WriteError::Invalid { pointer: pointer.into(), reason: reason.into() }
    }

    /// Where in the request, "" when it is not about a part of it.
    pub fn pointer(&self) -> &str {
        match self {
            WriteError::Invalid { pointer, .. }
            | WriteError::UnknownItem { pointer, .. }
            | WriteError::Profile { pointer, .. } => pointer,
            WriteError::Embedding { .. } => "/embedding",
            _ => "",
        }
    }
}

/// A write that was checked and waits to be resolved.
#[derive(Debug)]
pub struct WriteBatch {
    operations: Vec<Operation>,
    /// What it was checked against, when attributes are in it.
    schema: Option<Arc<AttributeSchema>>,
    written: Written,
    /// Under which it can be sent again.
    pub(super) key: Option<OnceKey>,
    /// Bytes of ids and attributes, at most.
    pub(super) bytes: usize,
}

#[derive(Debug)]
enum Operation {
    Upsert {
        id: String,
        row: Vec<u8>,
        cells: Vec<Cell>,
        version: Option<u64>,
        expires_at: i64,
        /// Of an item that is not there yet.
        inserted_at: Option<i64>,
    },
    Patch {
        id: String,
        cells: Vec<Cell>,
        missing: Missing,
    },
    Delete {
        id: String,
    },
    /// A filter, and the document that it was read from.
    DeleteMatching(Filter, Json),
    /// Whatever has expired, some of it at a time.
    DeleteExpired,
    /// What is kept beside the items.
    State(StateWrite),
}

/// What is known of an id after the writes before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    is_there: bool,
    /// It has expired, and nobody has deleted it yet.
    lingers: bool,
    inserted_at: i64,
    /// Of a deleted or expired item: the one that it had.
    version: u64,
    expires_at: i64,
}

/// What writes that are not applied yet leave of the ids that they touch.
pub(super) type Overlay = HashMap<String, Known>;

impl WriteBatch {
    /// Items that it adds slots for, at most.
    pub(super) fn items(&self) -> usize {
        self.operations.len()
    }

    /// Whether it can only be resolved when everything before it was applied.
    pub(super) fn needs_the_state(&self) -> bool {
        let needs = |operation: &Operation| {
            matches!(
                operation,
                Operation::DeleteMatching(..) | Operation::DeleteExpired | Operation::State(_)
            )
        };
        self.operations.iter().any(needs)
    }

    /// The same write under a key: sent again, it is not made again.
    pub fn once(self, key: OnceKey) -> WriteBatch {
        WriteBatch { key: Some(key), ..self }
    }

    /// Checks items to put.
    pub fn upsert(index: &Index, request: UpsertRequest) -> Result<WriteBatch, WriteError> {
        if let Some(given) = &request.embedding {
            check_embedding(index, given)?;
        }
        let mut bytes = 0;
        let mut operations = Vec::with_capacity(request.items.len());
        for (at, item) in request.items.into_iter().enumerate() {
            let pointer = format!("/items/{at}");
            bytes += item.id.len() + size_of_attributes(&item.attributes);
            operations.push(upsert(index, item, &pointer)?);
        }
        let written = Written { upserted: Some(0), ignored: Some(0), ..Written::default() };
        let schema = Some(index.columns().shared_schema());
        Ok(WriteBatch { operations, schema, written, key: None, bytes })
    }

    /// Checks attributes to change.
    pub fn patch(index: &Index, request: PatchRequest) -> Result<WriteBatch, WriteError> {
        let mut bytes = 0;
        let mut operations = Vec::with_capacity(request.items.len());
        for (at, PatchItem { id, attributes }) in request.items.into_iter().enumerate() {
            check_id(&id, &format!("/items/{at}/id"))?;
            bytes += id.len() + size_of_attributes(&attributes);
            let schema = &index.schema().attributes;
            let parsed = schema.parse_row(&attributes);
            let row =
                parsed.map_err(|reason| WriteError::invalid(format!("/items/{at}/attributes"), reason))?;
            let given = |name: &str| attributes.contains_key(name);
            let cells = schema.iter().zip(row);
            let cells =
                cells.map(|((name, _), value)| if given(name) { Cell::Set(value) } else { Cell::Kept });
            operations.push(Operation::Patch { id, cells: cells.collect(), missing: request.missing });
        }
        let written = Written { patched: Some(0), skipped: Some(0), ..Written::default() };
        let schema = Some(index.columns().shared_schema());
        Ok(WriteBatch { operations, schema, written, key: None, bytes })
    }

    /// Checks what to delete.
    pub fn delete(index: &Index, request: DeleteRequest) -> Result<WriteBatch, WriteError> {
        let operations = match (request.ids, request.filter) {
            (Some(ids), None) => {
                for (at, id) in ids.iter().enumerate() {
                    check_id(id, &format!("/ids/{at}"))?;
                }
                ids.into_iter().map(|id| Operation::Delete { id }).collect()
            }
            (None, Some(document)) => {
                let filter = Filter::parse(&document, &index.schema().attributes);
                let filter = filter.map_err(|error| {
                    WriteError::invalid(format!("/filter{}", error.pointer), error.reason)
                })?;
                if filter.reads_counters() {
                    let reason = "a delete cannot ask for _impressions or _clicks: search for the ids first";
                    return Err(WriteError::invalid("/filter", reason));
                }
                vec![Operation::DeleteMatching(filter, document)]
            }
            _ => return Err(WriteError::invalid("", "exactly one of `ids` and `filter` is needed")),
        };
        let written = Written { deleted: Some(0), ..Written::default() };
        let schema = Some(index.columns().shared_schema());
        Ok(WriteBatch { operations, schema, written, key: None, bytes: 0 })
    }

    /// Checks what is asked of what the collection keeps beside its items.
    pub fn state(collection: &Collection, request: StateRequest) -> Result<WriteBatch, WriteError> {
        let register = &collection.inner.register;
        let operations = vec![Operation::State(StateWrite::new(register, &collection.index(), request)?)];
        Ok(WriteBatch { operations, schema: None, written: Written::default(), key: None, bytes: 0 })
    }

    /// The keeper's own: what has expired is deleted, so that it takes no place in searches.
    pub(super) fn expire() -> WriteBatch {
        WriteBatch {
            operations: vec![Operation::DeleteExpired],
            schema: None,
            written: Written::default(),
            key: None,
            bytes: 0,
        }
    }

    /// What comes of it, after everything that `view` and `overlay` have; and what the overlay shall take in once it is in
    /// the log.
    pub(super) fn resolve(
        self,
        view: &View<'_>,
        overlay: &Overlay,
        now: i64,
    ) -> Result<(Vec<Change>, Written, Overlay), WriteError> {
        let all = view.index().view(i64::MIN);
        let mut resolver = Resolver { view, all, overlay, own: Overlay::new(), now, written: self.written };
        let mut changes = Vec::with_capacity(self.operations.len());
        for (at, operation) in self.operations.into_iter().enumerate() {
            resolver.resolve(at, operation, &mut changes)?;
        }
        let Resolver { own, written, .. } = resolver;
        Ok((changes, written, own))
    }
}

struct Resolver<'a> {
    view: &'a View<'a>,
    /// The same without a clock: it sees what has expired and is not yet deleted.
    all: View<'a>,
    overlay: &'a Overlay,
    /// What this batch has done so far; goes into the overlay when all of it is well.
    own: Overlay,
    now: i64,
    written: Written,
}

impl Resolver<'_> {
    /// What has expired is as good as deleted, whether it was yet or not: gone, and its version keeps older ones away.
    fn known(&self, id: &str) -> Known {
        let written = self.own.get(id).or_else(|| self.overlay.get(id)).copied();
        let known = written.unwrap_or_else(|| self.stored(id));
        if known.is_there && known.expires_at != 0 && known.expires_at <= self.now {
            return Known { is_there: false, lingers: true, inserted_at: self.now, expires_at: 0, ..known };
        }
        known
    }

    fn stored(&self, id: &str) -> Known {
        match self.all.find(id) {
            Some(slot) => {
                let (version, expires_at) = self.all.version(slot);
                let inserted_at = self.all.inserted_at(slot);
                Known { is_there: true, lingers: false, inserted_at, version, expires_at }
            }
            None => {
                let version = self.all.tombstone(id).unwrap_or(0);
                Known { is_there: false, lingers: false, inserted_at: self.now, version, expires_at: 0 }
            }
        }
    }

    fn resolve(
        &mut self,
        at: usize,
        operation: Operation,
        changes: &mut Vec<Change>,
    ) -> Result<(), WriteError> {
        match operation {
            Operation::Upsert { id, row, cells, version, expires_at, inserted_at: given } => {
                let Known { is_there, lingers, inserted_at, version: stored, .. } = self.known(&id);
                let inserted_at = if is_there { inserted_at } else { given.unwrap_or(inserted_at) };
                if version.is_some_and(|version| version < stored) {
                    count(&mut self.written.ignored);
                    return Ok(());
                }
                // Without a version of its own, a put goes on with the stored one; a deleted item begins anew.
                let version = version.unwrap_or(if is_there { stored } else { 0 });
                if lingers {
                    // What it was ends first, as if the keeper had been quicker: its counters are not the new one's. Said here, so
                    // that a replay does the same by whatever clock.
                    changes.push(Change::Delete { id: id.clone(), version: stored, at: self.now });
                }
                count(&mut self.written.upserted);
                let known = Known { is_there: true, lingers: false, inserted_at, version, expires_at };
                self.own.insert(id.clone(), known);
                changes.push(Change::Put(Put {
                    id,
                    vector: Some(row),
                    cells,
                    inserted_at,
                    version,
                    expires_at,
                }));
            }
            Operation::Patch { id, cells, missing } => match self.known(&id) {
                Known { is_there: true, inserted_at, version, expires_at, .. } => {
                    count(&mut self.written.patched);
                    changes.push(Change::Put(Put {
                        id,
                        vector: None,
                        cells,
                        inserted_at,
                        version,
                        expires_at,
                    }));
                }
                _ if missing == Missing::Skip => count(&mut self.written.skipped),
                _ => return Err(WriteError::UnknownItem { pointer: format!("/items/{at}/id"), id }),
            },
            Operation::Delete { id } => self.delete(id, changes),
            Operation::DeleteExpired => self.delete_expired(changes),
            Operation::State(write) => {
                changes.extend(write.resolve(self.view, self.now, &mut self.written)?.map(Change::State));
            }
            Operation::DeleteMatching(filter, _) => {
                let context = FilterContext { now: self.now, ..FilterContext::default() };
                let matching = filter.evaluate(self.view.columns(), self.view, &context);
                let mut matching = matching.map_err(|error| {
                    WriteError::invalid(format!("/filter{}", error.pointer), error.reason)
                })?;
                self.view.retain(&mut matching);
                for slot in matching.iter() {
                    self.delete(self.view.id(slot).to_owned(), changes);
                }
            }
        }
        Ok(())
    }

    fn delete_expired(&mut self, changes: &mut Vec<Change>) {
        let expired = self.all.all();
        let expired = expired.iter().filter(|&slot| !self.view.sees(slot)).take(EXPIRED_AT_A_TIME);
        for slot in expired {
            let (version, expires_at) = self.all.version(slot);
            let id = self.all.id(slot).to_owned();
            let known = Known { is_there: false, lingers: false, inserted_at: self.now, version, expires_at };
            self.own.insert(id.clone(), known);
            count(&mut self.written.deleted);
            changes.push(Change::Delete { id, version, at: self.now });
        }
    }

    fn delete(&mut self, id: String, changes: &mut Vec<Change>) {
        let known = self.known(&id);
        if known.is_there {
            count(&mut self.written.deleted);
            self.own.insert(id.clone(), Known { is_there: false, inserted_at: self.now, ..known });
            changes.push(Change::Delete { id, version: known.version, at: self.now });
        }
    }
}

fn count(counter: &mut Option<usize>) {
    *counter = Some(counter.unwrap_or(0) + 1);
}

fn upsert(index: &Index, item: UpsertItem, pointer: &str) -> Result<Operation, WriteError> {
    let UpsertItem { id, vector, vector_f32, vector_f16, attributes, version, .. } = item;
    check_id(&id, &format!("{pointer}/id"))?;
    let forms = Forms { vector: &vector, f32: &vector_f32, f16: &vector_f16 };
    let (numbers, at) =
        forms.read(pointer).map_err(|error| WriteError::invalid(error.pointer(), error.to_string()))?;
    let row = index.row(&numbers).map_err(|reason| WriteError::invalid(at, reason))?;
    let schema = &index.schema().attributes;
    let values = schema.parse_row(&attributes);
    let values = values.map_err(|reason| WriteError::invalid(format!("{pointer}/attributes"), reason))?;
    let cells = schema.iter().zip(values);
    let cells = cells.map(|((_, spec), value)| Cell::Set(value.or_else(|| spec.default.clone()))).collect();
    let time = |text: &Option<String>, name: &str| {
        let time = text.as_deref().map(parse_time).transpose();
        time.map_err(|reason| WriteError::invalid(format!("{pointer}/{name}"), reason))
    };
    let expires_at = time(&item.expires_at, "expires_at")?.map_or(0, |time| time.max(1));
    let inserted_at = time(&item.inserted_at, "inserted_at")?;
    Ok(Operation::Upsert { id, row, cells, version, expires_at, inserted_at })
}

/// Refuses vectors of another tower than the collection's.
pub(crate) fn check_embedding(index: &Index, given: &str) -> Result<(), WriteError> {
    match &index.schema().embedding {
        Some(expected) if expected == given => Ok(()),
        expected => Err(WriteError::Embedding { given: given.to_owned(), expected: expected.clone() }),
    }
}

fn check_id(id: &str, pointer: &str) -> Result<(), WriteError> {
    if (1..=Index::MAX_ID).contains(&id.len()) {
        return Ok(());
    }
    let reason = format!("the id has {} bytes, allowed is 1 to {}", id.len(), Index::MAX_ID);
    Err(WriteError::invalid(pointer, reason))
}

fn size_of_attributes(attributes: &Map<String, Json>) -> usize {
    attributes.values().map(size_of_value).sum()
}

/// Bytes that a value takes in a column at most: its text, and a length for each of its parts.
fn size_of_value(value: &Json) -> usize {
    match value {
        Json::String(text) => text.len() + 8,
        Json::Array(list) => list.iter().map(size_of_value).sum::<usize>() + 8,
        _ => 16,
    }
}
