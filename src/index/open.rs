//! Opening an index file: sections become arrays, nothing is parsed or rebuilt. And verifying a whole one.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use super::Index;
use super::items::{ItemParts, Items};
use super::live::Writer;
use super::longest::{Longest, classes};
use super::matching::Filters;
use super::notes::Notes;
use super::schema::Schema;
use crate::arena::{Array, AtomicArray, Mode, Readers, Region, SlotTable};
use crate::attributes::{AttributeSchema, ColumnPart, Columns, StringTable};
use crate::file::{FileError, IndexFile, Kind};
use crate::graph::{BuildParams, Graph, GraphError, GraphParts, Linker, upper_rows};
use crate::vector::{CodeKind, Codec, Codes, Metric};

/// An index could not be opened, or is damaged.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file itself.
    #[error("{file}: {source}")]
    File {
        /// Its name.
        file: String,
        /// What is wrong with it.
        source: FileError,
    },
    /// Contents that do not fit together.
    #[error("{file}: {reason}")]
    Contents {
        /// The file's name.
        file: String,
        /// What does not fit.
        reason: String,
    },
}

impl IndexError {
    /// Whether the file itself is the reason, or that it is not there; else it may open the next time.
    pub fn is_of_contents(&self) -> bool {
        match self {
            IndexError::File { source: FileError::Io { source, .. }, .. } => {
                source.kind() == std::io::ErrorKind::NotFound
            }
            IndexError::File { source, .. } => !matches!(source, FileError::Arena(_)),
            IndexError::Contents { .. } => true,
        }
    }

    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, IndexError::File { source: FileError::Io { source, .. }, .. }
            if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Why contents could not be used; becomes an [`IndexError`] with the file's name.
enum Trouble {
    File(FileError),
    Contents(String),
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        Trouble::File(error)
    }
}
impl From<crate::arena::ArenaError> for Trouble {
    fn from(error: crate::arena::ArenaError) -> Self {
        Trouble::File(error.into())
    }
}
impl From<GraphError> for Trouble {
    fn from(error: GraphError) -> Self {
        Trouble::Contents(format!("graph: {error}"))
    }
}
impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Trouble::Contents(reason)
    }
}

impl Trouble {
    fn of(self, file: &Path) -> IndexError {
        let file = file.display().to_string();
        match self {
            Trouble::File(source) => IndexError::File { file, source },
            Trouble::Contents(reason) => IndexError::Contents { file, reason },
        }
    }
}

impl Index {
    /// Opens an index file: header, footer, table and lengths are checked, small sections are read, the rest is mapped
    /// (or, resident, the arrays that walks touch are loaded).
    pub fn open(path: &Path, mode: Mode) -> Result<Index, IndexError> {
        Index::open_roomy(path, mode, 0)
    }

    /// As `open`, with addresses for `room` items more, which [`Index::apply`] adds.
    pub fn open_roomy(path: &Path, mode: Mode, room: usize) -> Result<Index, IndexError> {
        IndexFile::open(path)
            .map_err(Trouble::from)
            .and_then(|file| assemble(file, mode, room, None))
            .map_err(|e| e.of(path))
    }

    /// As `open_roomy`, of an index without nodes, whose codes shall be made by `codec`.
    pub(super) fn open_empty(
        path: &Path,
        mode: Mode,
        room: usize,
        codec: Codec,
    ) -> Result<Index, IndexError> {
        IndexFile::open(path)
            .map_err(Trouble::from)
            .and_then(|file| assemble(file, mode, room, Some(codec)))
            .map_err(|e| e.of(path))
    }

    /// Opens a file and checks every byte and every number in it; `progress` is told (blocks done, of).
    pub fn verify(path: &Path, progress: &dyn Fn(u64, u64)) -> Result<Index, IndexError> {
        let verified = IndexFile::open(path).and_then(|file| file.verify(progress).map(|()| file));
        let index = verified.map_err(Trouble::from).and_then(|file| assemble(file, Mode::Mapped, 0, None));
        index.and_then(|index| index.verify_contents().map(|()| index)).map_err(|error| error.of(path))
    }

    fn verify_contents(&self) -> Result<(), Trouble> {
        self.graph.verify()?;
        self.items.verify()?;
        self.columns.verify().map_err(|error| error.to_string())?;
        let mut vector = Vec::new();
        for node in 0..self.nodes() {
            vector.clear();
            self.schema.element.decode(self.vectors().row(node), &mut vector);
            let norm = super::query::check(&vector, self.schema.dimension, self.schema.metric)
                .map_err(|error| format!("vector of node {node}: {error}"))?;
            if self.schema.metric == Metric::Cosine {
                let product = norm * f64::from(self.inverse_norms[node as usize]);
                if !(0.999..1.001).contains(&product) {
                    return Err(format!("node {node}: inverse norm times norm is {product}").into());
                }
            }
        }
        match crate::graph::reach(&self.graph).as_slice() {
            [] => Ok(()),
            [first, ..] => Err(format!("graph: node {first} cannot be reached from the entry point").into()),
        }
    }
}

/// Bytes of strings that are expected of an item that is yet to come, at most.
const STRING_ROOM: usize = 256;

fn assemble(file: IndexFile, mode: Mode, room: usize, codec: Option<Codec>) -> Result<Index, Trouble> {
    let facts = file.header().facts.clone();
    let (nodes, items) = (facts.nodes as usize, facts.items as usize);
    if (nodes == 0) != (items == 0) || nodes > items {
        return Err(format!("{nodes} nodes cannot carry {items} items").into());
    }
    let schema_bytes = json_bytes(&file, Kind::Schema, Some(&facts.schema_hash))?;
    let schema = Schema::from_json(&parse(&schema_bytes, "schema")?).map_err(|e| format!("schema: {e}"))?;
    let lineage = parse(&json_bytes(&file, Kind::Lineage, Some(&facts.lineage_hash))?, "lineage")?;
    let report = parse(&json_bytes(&file, Kind::Report, None)?, "report")?;
    let row_len = schema.dimension * schema.element.size();
    let open = Sections { file: &file, mode, room };
    let (graph, params) = open.graph(nodes)?;
    // Codes of a codec that is given are not those of the file, which has none.
    let begins = codec.is_some() && nodes == 0;
    let codec = codec.map_or_else(|| open.codec(&schema), Ok)?;
    let vectors = open.array(Kind::Vectors, row_len, nodes, Some(mode))?;
    let (codes, vectors) = match codec.kind {
        CodeKind::Raw => (Codes::new(codec, vectors), None),
        _ => {
            let rows = match begins {
                true => Array::with_capacity(room.saturating_mul(codec.stride()))?,
                false => open.array(Kind::Codes, codec.stride(), nodes, Some(mode))?,
            };
            (Codes::new(codec, rows), Some(vectors))
        }
    };
    let inverse_norms = match schema.metric {
        Metric::Cosine => open.array(Kind::InverseNorms, 4, nodes, Some(mode))?,
        _ => Array::with_capacity(0)?,
    };
    let longest = open.longest(&schema, &codes)?;
    let item_table = Items::new(open.items(nodes, items)?)?;
    let vector_slots = open.vector_slots()?;
    let tombstones = serde_json::from_slice(&json_bytes(&file, Kind::Tombstones, None)?)
        .map_err(|error| format!("section tombstones: {error}"))?;
    let notes = serde_json::from_slice(&json_bytes(&file, Kind::Notes, None)?)
        .map_err(|error| format!("section notes: {error}"))?;
    let expiring = report.get("expiring").and_then(serde_json::Value::as_u64).unwrap_or(0) > 0;
    let columns = open.columns(&schema.attributes, items)?;
    let build = uuid::Uuid::from_bytes(facts.file).to_string();
    let exact = Index::exact_kernel(schema.metric, schema.element, schema.dimension);
    Ok(Index {
        schema,
        lineage,
        report,
        build,
        graph,
        codes,
        vectors,
        row_len,
        exact,
        inverse_norms,
        longest,
        items: item_table,
        columns,
        filters: Filters::new(),
        buffers: Mutex::new(Vec::new()),
        published: AtomicU64::new(facts.covers),
        readers: Readers::default(),
        revived: AtomicU64::new(0),
        unswept: AtomicUsize::new(0),
        swept_nodes: AtomicUsize::new(nodes),
        expiring: AtomicBool::new(expiring),
        base_nodes: nodes,
        room,
        mode,
        linker: Linker::new(params),
        recent: Default::default(),
        writer: Mutex::new(Writer::new(vector_slots, tombstones, Notes::read(notes))),
        sweeping: Mutex::new(()),
        file,
    })
}

/// Largest JSON section that is read into memory.
const MAX_JSON: u64 = 64 << 20;

fn json_bytes(file: &IndexFile, kind: Kind, hash: Option<&[u8; 32]>) -> Result<Vec<u8>, Trouble> {
    let Some(section) = file.section(kind, 0) else {
        return if kind == Kind::Schema {
            Err(FileError::Missing { name: kind.name() }.into())
        } else {
            Ok(b"{}".into())
        };
    };
    // One entry a deleted item or a note: as many as there are.
    if section.length > MAX_JSON && !matches!(kind, Kind::Tombstones | Kind::Notes) {
        return Err(
            format!("section {} has {} bytes, at most {MAX_JSON}", kind.name(), section.length).into()
        );
    }
    let bytes = file.bytes(section)?;
    match hash {
        Some(hash) if blake3::hash(&bytes).as_bytes() != hash => {
            let what = format!("section {} does not fit the hash in the header", kind.name());
            Err(FileError::damaged(section.offset, what).into())
        }
        _ => Ok(bytes),
    }
}

fn parse(bytes: &[u8], name: &str) -> Result<serde_json::Value, Trouble> {
    serde_json::from_slice(bytes).map_err(|error| format!("section {name}: {error}").into())
}

struct Sections<'a> {
    file: &'a IndexFile,
    mode: Mode,
    /// Elements that each array can be given more.
    room: usize,
}

impl Sections<'_> {
    fn region(&self, kind: Kind, stride: usize, count: usize, mode: Mode) -> Result<Region, Trouble> {
        let section = self.file.required(kind, 0, stride as u64)?;
        if section.count != count as u64 {
            let reason = format!("section {} has {} elements, {count} expected", section.name, section.count);
            return Err(reason.into());
        }
        Ok(self.file.region(section, mode, self.room.saturating_mul(stride))?)
    }

    /// An array of `count` rows; held in `mode`, or mapped.
    fn array<T: bytemuck::Pod>(
        &self,
        kind: Kind,
        stride: usize,
        count: usize,
        mode: Option<Mode>,
    ) -> Result<Array<T>, Trouble> {
        Ok(Array::from_region(self.region(kind, stride, count, mode.unwrap_or(Mode::Mapped))?)?)
    }

    fn graph(&self, nodes: usize) -> Result<(Graph, BuildParams), Trouble> {
        let section = self.file.required(Kind::Graph, 0, 32)?;
        let bytes = self.file.bytes(section)?;
        let word =
            |at: usize| bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let (m, entry) = (word(0) as usize, word(8));
        let seed = u64::from(word(16)) | u64::from(word(20)) << 32;
        let params = BuildParams { m, ef_construction: (word(4) as usize).clamp(1, 10_000), seed };
        if !(2..=256).contains(&m) {
            return Err(format!("graph: m is {m}, allowed is 2 to 256").into());
        }
        let growth = f32::from_bits(word(24));
        if !growth.is_finite() || growth < 0.0 {
            return Err(format!("graph: growth is {growth}").into());
        }
        let upper = self.file.required(Kind::Upper, 0, 4 * m as u64)?;
        let upper = self.file.region(upper, self.mode, upper_rows(self.room).saturating_mul(4 * m))?;
        let graph = Graph::new(GraphParts {
            m,
            nodes,
            entry,
            growth,
            links: AtomicArray::from_region(self.region(Kind::Links, 8 * m, nodes, self.mode)?)?,
            levels: self.array(Kind::Levels, 1, nodes, Some(self.mode))?,
            upper_start: self.array(Kind::UpperStart, 4, nodes, Some(self.mode))?,
            upper: AtomicArray::from_region(upper)?,
        })?;
        Ok((graph, params))
    }

    fn vector_slots(&self) -> Result<Option<SlotTable>, Trouble> {
        let Some(section) = self.file.section(Kind::VectorSlots, 0) else { return Ok(None) };
        Ok(Some(SlotTable::from_region(self.file.region(section, Mode::Mapped, 0)?)?))
    }

    /// Nodes by length; from the codes where the file does not say.
    fn longest(&self, schema: &Schema, codes: &Codes) -> Result<Option<Longest>, Trouble> {
        if schema.metric != Metric::Dot {
            return Ok(None);
        }
        let section =
            self.file.section(Kind::SizeClasses, 0).filter(|section| section.length == codes.len() as u64);
        let classes = match section {
            Some(section) => self.file.bytes(section)?,
            None => classes(codes.codec(), (0..codes.len() as u32).map(|node| codes.row(node))),
        };
        Ok(Some(Longest::new(&classes, self.room)?))
    }

    fn codec(&self, schema: &Schema) -> Result<Codec, Trouble> {
        let section = self.file.required(Kind::CodeParameters, 0, 32)?;
        let bytes = self.file.bytes(section)?;
        let word = |at: usize| bytes.get(at..at + 4).map_or([0; 4], |b| [b[0], b[1], b[2], b[3]]);
        let number = |at: usize| f32::from_le_bytes(word(at));
        let version = u32::from_le_bytes(word(4));
        let kind = CodeKind::ALL.get(u32::from_le_bytes(word(0)) as usize).copied();
        let allowed = CodeKind::of(schema.metric, schema.element);
        let Some(kind) = kind.filter(|kind| allowed.contains(kind)) else {
            let names: Vec<_> = allowed.iter().map(|kind| kind.name()).collect();
            return Err(format!("codes of kind {kind:?}, {} expected", names.join(" or ")).into());
        };
        if version != kind.version() {
            let (name, known) = (kind.name(), kind.version());
            return Err(format!(
                "codes {name} of version {version}, this program knows {known}: build it again"
            )
            .into());
        }
        let (scale, offset, bound) = (number(8), number(12), number(16));
        if ![scale, offset, bound].iter().all(|value| value.is_finite()) || scale <= 0.0 || bound < 0.0 {
            return Err(format!("code parameters: scale {scale}, offset {offset}, bound {bound}").into());
        }
        let centre = if kind.is_centred() { self.centre(schema)? } else { Vec::new() };
        let (element, dimension) = (schema.element, schema.dimension);
        Ok(Codec { kind, element, dimension, scale, offset, bound, centre: centre.into() })
    }

    /// What is taken off of each vector before it is coded.
    fn centre(&self, schema: &Schema) -> Result<Vec<f32>, Trouble> {
        let bytes = self.file.bytes(self.file.required(Kind::CodeCentre, 0, 4)?)?;
        let centre: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        if centre.len() != schema.dimension || centre.iter().any(|value| !value.is_finite()) {
            return Err(format!(
                "the centre of the codes has {} numbers, {} finite ones expected",
                centre.len(),
                schema.dimension
            )
            .into());
        }
        Ok(centre)
    }

    fn items(&self, nodes: usize, items: usize) -> Result<ItemParts, Trouble> {
        let table = |kind: Kind, stride: u64, room: usize| -> Result<Region, Trouble> {
            Ok(self.file.region(self.file.required(kind, 0, stride)?, Mode::Mapped, room)?)
        };
        let heap_room = self.room.saturating_mul(STRING_ROOM);
        let seed = self.file.header().facts.string_seed;
        let refs = self.region(Kind::IdRefs, 8, items, Mode::Mapped)?;
        let ids =
            StringTable::open(seed, refs, table(Kind::IdHeap, 1, heap_room)?, table(Kind::IdSlots, 4, 0)?)?;
        let atomic = |kind: Kind, stride: usize, count: usize| -> Result<AtomicArray, Trouble> {
            Ok(AtomicArray::from_region(self.region(kind, stride, count, Mode::Mapped)?)?)
        };
        Ok(ItemParts {
            ids,
            node: self.array(Kind::ItemNode, 4, items, None)?,
            ring: atomic(Kind::ItemRing, 8, items)?,
            node_item: atomic(Kind::NodeItem, 4, nodes)?,
            facts: self.array(Kind::ItemFacts, 32, items, None)?,
            flags: self.array(Kind::ItemFlags, 1, items, None)?,
        })
    }

    /// Bytes that a part of a column can be given more.
    fn column_room(&self, part: ColumnPart) -> usize {
        match part {
            ColumnPart::Data | ColumnPart::DictionaryRefs => self.room.saturating_mul(8),
            ColumnPart::Lists | ColumnPart::DictionaryHeap => self.room.saturating_mul(STRING_ROOM),
            ColumnPart::DictionarySlots => 0,
        }
    }

    fn columns(&self, schema: &AttributeSchema, items: usize) -> Result<Columns, Trouble> {
        let seed = self.file.header().facts.string_seed;
        let mut section = |part: ColumnPart, ordinal: u32| -> Result<Option<Region>, String> {
            let section = self.file.section(column_kind(part), ordinal);
            section
                .map(|section| {
                    self.file.region(section, Mode::Mapped, self.column_room(part)).map_err(|e| e.to_string())
                })
                .transpose()
        };
        Ok(Columns::open(schema, items, seed, &mut section).map_err(|error| error.to_string())?)
    }
}

pub(super) fn column_kind(part: ColumnPart) -> Kind {
    match part {
        ColumnPart::Data => Kind::ColumnData,
        ColumnPart::Lists => Kind::ColumnLists,
        ColumnPart::DictionaryRefs => Kind::DictionaryRefs,
        ColumnPart::DictionaryHeap => Kind::DictionaryHeap,
        ColumnPart::DictionarySlots => Kind::DictionarySlots,
    }
}
