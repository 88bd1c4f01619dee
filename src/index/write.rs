//! Writing an index file: the same sections whether a build or a checkpoint brings their contents.

use std::io::{Seek, Write};

use xxhash_rust::xxh3::xxh3_64;

use super::items::{ItemParts, settled};
use super::open::column_kind;
use super::schema::Schema;
use crate::arena::{ArenaError, SlotTable};
use crate::attributes::{AttributeType, ColumnPart, Columns};
use crate::file::{self, ElementCode, FileError, FileWriter, Kind};
use crate::graph::Graph;
use crate::vector::{CodeKind, Codec, Element, Metric};

/// What goes into a file.
pub(super) struct Contents<'a> {
    pub schema: &'a Schema,
    pub lineage: &'a serde_json::Value,
    pub report: &'a [u8],
    pub seed: u64,
    pub string_seed: u64,
    pub collection: [u8; 16],
    pub covers: u64,
    pub covers_hash: [u8; 32],
    /// Milliseconds since the epoch.
    pub created_at: i64,
    pub clipped_share: f64,
    pub codec: Codec,
    /// Rows in the order of the nodes, in pieces of whole rows.
    pub vectors: &'a mut dyn Iterator<Item = &'a [u8]>,
    /// As `vectors`; not asked for when the codes are the vectors.
    pub codes: &'a mut dyn Iterator<Item = &'a [u8]>,
    /// f32 a node; written under cosine only.
    pub inverse_norms: &'a [u8],
    pub vector_slots: &'a [u32],
    /// A byte a node; written under inner product only.
    pub size_classes: &'a [u8],
    pub items: &'a ItemParts,
    pub columns: Option<&'a Columns>,
    /// JSON, or nothing.
    pub tombstones: &'a [u8],
    /// JSON, or nothing.
    pub notes: &'a [u8],
    /// What the collection keeps beside its items, or nothing.
    pub state: &'a [u8],
    pub graph: &'a mut Graph,
}

/// The hash table that finds a node by its vector's stored bytes.
pub(super) fn vector_slots(vectors: &[u8], row_len: usize) -> Result<Vec<u32>, ArenaError> {
    let rows = vectors.len() / row_len;
    let table = SlotTable::new(rows)?;
    for (node, row) in vectors.chunks_exact(row_len).enumerate() {
        table.insert(xxh3_64(row), node as u32, rows, |_| None)?;
    }
    Ok(table.to_vec())
}

impl Contents<'_> {
    /// Writes all sections, header and footer.
    pub fn write<W: Write + Seek>(mut self, out: W) -> Result<(), FileError> {
        let schema = self.schema.to_json().to_string();
        let lineage = self.lineage.to_string();
        let mut file = FileWriter::new(out)?;
        file.section(Kind::Schema, 0, ElementCode::Bytes, 1, schema.as_bytes())?;
        file.section(Kind::Lineage, 0, ElementCode::Bytes, 1, lineage.as_bytes())?;
        file.section(Kind::Report, 0, ElementCode::Bytes, 1, self.report)?;
        self.write_graph(&mut file)?;
        self.write_vectors(&mut file)?;
        self.write_items(&mut file)?;
        self.write_columns(&mut file)?;
        if !self.tombstones.is_empty() {
            file.section(Kind::Tombstones, 0, ElementCode::Bytes, 1, self.tombstones)?;
        }
        if !self.notes.is_empty() {
            file.section(Kind::Notes, 0, ElementCode::Bytes, 1, self.notes)?;
        }
        if !self.state.is_empty() {
            file.section(Kind::State, 0, ElementCode::Bytes, 1, self.state)?;
        }
        let facts = file::Facts {
            file: *uuid::Uuid::new_v4().as_bytes(),
            collection: self.collection,
            schema_hash: *blake3::hash(schema.as_bytes()).as_bytes(),
            lineage_hash: *blake3::hash(lineage.as_bytes()).as_bytes(),
            covers: self.covers,
            covers_hash: self.covers_hash,
            shard: (0, 1),
            nodes: self.graph.nodes() as u64,
            items: self.items.node.len() as u64,
            created_at: self.created_at,
            string_seed: self.string_seed,
            embedding: self.schema.embedding.clone().unwrap_or_default(),
        };
        file.finish(facts)?;
        Ok(())
    }

    fn write_graph<W: Write + Seek>(&mut self, file: &mut FileWriter<W>) -> Result<(), FileError> {
        let mut parameters = Vec::with_capacity(32);
        let m = self.graph.m();
        let efc = self.schema.hnsw.ef_construction as u32;
        for word in [m as u32, efc, self.graph.entry(), 0] {
            parameters.extend_from_slice(&word.to_le_bytes());
        }
        parameters.extend_from_slice(&self.seed.to_le_bytes());
        let parts = self.graph.parts_mut();
        parameters.extend_from_slice(&parts.growth.to_le_bytes());
        parameters.extend_from_slice(&[0; 4]);
        file.section(Kind::Graph, 0, ElementCode::Bytes, 32, &parameters)?;
        file.section(Kind::Links, 0, ElementCode::U32, 8 * m, parts.links.bytes())?;
        file.section(Kind::Levels, 0, ElementCode::U8, 1, parts.levels.as_bytes())?;
        file.section(Kind::UpperStart, 0, ElementCode::U32, 4, parts.upper_start.as_bytes())?;
        file.section(Kind::Upper, 0, ElementCode::U32, 4 * m, parts.upper.bytes())
    }

    fn write_vectors<W: Write + Seek>(&mut self, file: &mut FileWriter<W>) -> Result<(), FileError> {
        let codec = &self.codec;
        let kind = CodeKind::ALL.iter().position(|&kind| kind == codec.kind).unwrap_or(0) as u32;
        let mut parameters = Vec::with_capacity(32);
        parameters.extend_from_slice(&kind.to_le_bytes());
        parameters.extend_from_slice(&codec.kind.version().to_le_bytes());
        for number in [codec.scale, codec.offset, codec.bound, self.clipped_share as f32] {
            parameters.extend_from_slice(&number.to_le_bytes());
        }
        parameters.extend_from_slice(&[0; 8]);
        let element = match self.schema.element {
            Element::F32 => ElementCode::F32,
            Element::F16 => ElementCode::F16,
            Element::I8 => ElementCode::I8,
            Element::U8 => ElementCode::U8,
        };
        let row_len = self.schema.dimension * self.schema.element.size();
        file.section(Kind::CodeParameters, 0, ElementCode::Bytes, 32, &parameters)?;
        if codec.kind.is_centred() {
            let centre = bytemuck::cast_slice(&codec.centre);
            file.section(Kind::CodeCentre, 0, ElementCode::F32, 4, centre)?;
        }
        file.section_of(Kind::Vectors, 0, element, row_len, self.vectors)?;
        if codec.kind != CodeKind::Raw {
            file.section_of(Kind::Codes, 0, ElementCode::U8, codec.stride(), self.codes)?;
            if self.schema.metric == Metric::Cosine {
                file.section(Kind::InverseNorms, 0, ElementCode::F32, 4, self.inverse_norms)?;
            }
        }
        let slots = bytemuck::cast_slice(self.vector_slots);
        file.section(Kind::VectorSlots, 0, ElementCode::U32, 4, slots)?;
        if self.schema.metric == Metric::Dot {
            file.section(Kind::SizeClasses, 0, ElementCode::U8, 1, self.size_classes)?;
        }
        Ok(())
    }

    fn write_items<W: Write + Seek>(&self, file: &mut FileWriter<W>) -> Result<(), FileError> {
        let items = self.items;
        let (ring, node_item) = (settled(&items.ring), settled(&items.node_item));
        file.section(Kind::ItemNode, 0, ElementCode::U32, 4, items.node.as_bytes())?;
        file.section(Kind::ItemRing, 0, ElementCode::U32, 8, bytemuck::cast_slice(&ring))?;
        file.section(Kind::NodeItem, 0, ElementCode::U32, 4, bytemuck::cast_slice(&node_item))?;
        file.section(Kind::ItemFacts, 0, ElementCode::Bytes, 32, items.facts.as_bytes())?;
        file.section(Kind::ItemFlags, 0, ElementCode::U8, 1, items.flags.as_bytes())?;
        let (refs, heap, slots) = items.ids.sections();
        file.section(Kind::IdRefs, 0, ElementCode::U64, 8, refs)?;
        file.section(Kind::IdHeap, 0, ElementCode::U8, 1, heap)?;
        file.section(Kind::IdSlots, 0, ElementCode::U32, 4, bytemuck::cast_slice(&slots))
    }

    fn write_columns<W: Write + Seek>(&self, file: &mut FileWriter<W>) -> Result<(), FileError> {
        let Some(columns) = self.columns else { return Ok(()) };
        for (part, ordinal, stride, bytes) in columns.sections() {
            let attribute = columns.schema().get(ordinal as usize);
            let element = element_code(part, attribute.map(|(_, spec)| spec.kind));
            file.section(column_kind(part), ordinal, element, stride, &bytes)?;
        }
        Ok(())
    }
}

fn element_code(part: ColumnPart, kind: Option<AttributeType>) -> ElementCode {
    match (part, kind) {
        (ColumnPart::DictionaryRefs, _) => ElementCode::U64,
        (ColumnPart::DictionaryHeap, _) => ElementCode::U8,
        (ColumnPart::Data, Some(AttributeType::Int | AttributeType::Time)) => ElementCode::I64,
        (ColumnPart::Data, Some(AttributeType::Float)) => ElementCode::F64,
        (ColumnPart::Data, Some(AttributeType::Bool)) => ElementCode::U8,
        _ => ElementCode::U32,
    }
}
