//! The section table: which array lies where.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{BLOCK, FileError};

/// Bytes of a table entry.
pub(super) const ENTRY_LEN: usize = 96;
/// Most sections of a file.
pub(super) const MAX_SECTIONS: u32 = 65_536;
const REQUIRED: u32 = 1;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What a section holds. The codes are part of the format and never change meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All kinds that this version knows.
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// The number in the section table.
            pub fn code(self) -> u32 {
                match self { $(Kind::$name => $code,)* }
            }

            /// The name in the section table.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// The schema, JSON.
    Schema = 1, "schema";
    /// Where the index came from, JSON.
    Lineage = 2, "lineage";
    /// What the build found out: reachability, clipped share; JSON.
    Report = 3, "report";
    /// Graph parameters.
    Graph = 10, "graph";
    /// Links of level 0.
    Links = 11, "links";
    /// A level a node.
    Levels = 12, "levels";
    /// First upper row a node.
    UpperStart = 13, "upper-start";
    /// Links of the upper levels.
    Upper = 14, "upper";
    /// Vectors as given.
    Vectors = 20, "vectors";
    /// Codes; the instance tells several apart.
    Codes = 21, "codes";
    /// Parameters of the codes of the same instance.
    CodeParameters = 22, "code-parameters";
    /// One over the length of each vector, under cosine.
    InverseNorms = 23, "inverse-norms";
    /// Hash table that finds a node by its vector's bytes.
    VectorSlots = 24, "vector-slots";
    /// Size class of each vector's length, under inner product.
    SizeClasses = 25, "size-classes";
    /// What is taken off of each vector before it is coded, f32.
    CodeCentre = 26, "code-centre";
    /// Node of each item.
    ItemNode = 30, "item-node";
    /// Next and previous item on the same node.
    ItemRing = 31, "item-ring";
    /// One item of each node.
    NodeItem = 32, "node-item";
    /// Sequence number, first insertion, version, expiry of each item.
    ItemFacts = 33, "item-facts";
    /// Flags of each item.
    ItemFlags = 34, "item-flags";
    /// Offsets of ids.
    IdRefs = 35, "id-refs";
    /// Ids.
    IdHeap = 36, "id-heap";
    /// Hash table of ids.
    IdSlots = 37, "id-slots";
    /// A column's values; the instance is the attribute's ordinal in these five.
    ColumnData = 40, "column-data";
    /// A column's lists.
    ColumnLists = 41, "column-lists";
    /// A dictionary's offsets.
    DictionaryRefs = 42, "dictionary-refs";
    /// A dictionary's strings.
    DictionaryHeap = 43, "dictionary-heap";
    /// A dictionary's hash table.
    DictionarySlots = 44, "dictionary-slots";
    /// Versions of deleted items, JSON.
    Tombstones = 50, "tombstones";
    /// Notes of the log beside the items, JSON.
    Notes = 51, "notes";
    /// Profiles, exclude sets and counters of the collection, lines of JSON.
    State = 52, "state";
    /// crc32c of each block before this section.
    Checksums = 90, "checksums";
}

/// The element type of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementCode {
    /// Records or text.
    Bytes = 0,
    /// u8.
    U8 = 1,
    /// i8.
    I8 = 2,
    /// u32.
    U32 = 3,
    /// u64.
    U64 = 4,
    /// i64.
    I64 = 5,
    /// f16.
    F16 = 6,
    /// f32.
    F32 = 7,
    /// f64.
    F64 = 8,
}

/// A table entry as it lies in the file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct RawEntry {
    pub kind: U32,
    pub instance: U32,
    pub flags: U32,
    pub element: U32,
    pub encoding: U32,
    pub stride: U32,
    pub count: U64,
    pub offset: U64,
    pub length: U64,
    pub parameters: U32,
    pub checksums: U32,
    pub name: [u8; 32],
    pub reserved: U64,
}

/// A checked table entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its kind; None when this version does not know it (then it is optional).
    pub kind: Option<Kind>,
    /// Its kind's number.
    pub code: u32,
    /// Its name in the file.
    pub name: String,
    /// Which of several of a kind.
    pub instance: u32,
    /// Whether a reader that does not know it must refuse the file.
    pub required: bool,
    /// Bytes of one element or row.
    pub stride: u64,
    /// Elements or rows.
    pub count: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes, without padding.
    pub length: u64,
}

impl RawEntry {
    pub(super) fn new(
        kind: Kind,
        instance: u32,
        element: ElementCode,
        stride: u64,
        offset: u64,
        length: u64,
    ) -> RawEntry {
        let optional = matches!(
            kind,
            Kind::Lineage
                | Kind::Report
                | Kind::VectorSlots
                | Kind::SizeClasses
                | Kind::Tombstones
                | Kind::Notes
                | Kind::State
        );
        RawEntry::named(kind.code(), kind.name(), !optional, instance).placed(element, stride, offset, length)
    }

    pub(super) fn named(code: u32, text: &str, required: bool, instance: u32) -> RawEntry {
        let mut name = [0; 32];
        let len = text.len().min(32);
        name[..len].copy_from_slice(&text.as_bytes()[..len]);
        RawEntry {
            kind: code.into(),
            instance: instance.into(),
            flags: if required { REQUIRED } else { 0 }.into(),
            element: 0.into(),
            encoding: 0.into(),
            stride: 1.into(),
            count: 0.into(),
            offset: 0.into(),
            length: 0.into(),
            parameters: 0.into(),
            checksums: 0.into(),
            name,
            reserved: 0.into(),
        }
    }

    pub(super) fn placed(mut self, element: ElementCode, stride: u64, offset: u64, length: u64) -> RawEntry {
        self.element = (element as u32).into();
        self.stride = (stride as u32).into();
        self.count = (length / stride.max(1)).into();
        self.offset = offset.into();
        self.length = length.into();
        self
    }

    /// Checks an entry on its own; `at` is where it lies, `end` where sections must end.
    pub(super) fn check(&self, at: u64, end: u64) -> Result<Section, FileError> {
        let damaged = |what: String| FileError::damaged(at, what);
        let name_len = self.name.iter().position(|&byte| byte == 0).unwrap_or(32);
        let name = String::from_utf8_lossy(&self.name[..name_len]).into_owned();
        let code = self.kind.get();
        let kind = Kind::ALL.iter().copied().find(|kind| kind.code() == code);
        let required = self.flags.get() & REQUIRED != 0;
        if kind.is_none() && required {
            let known = format!("{} kinds of section", Kind::ALL.len());
            return Err(FileError::Unsupported {
                what: "required section",
                found: format!("{name:?} (kind {code})"),
                known,
            });
        }
        if kind.is_some() && self.encoding.get() != 0 {
            let found = format!("{} of section {name}", self.encoding);
            return Err(FileError::Unsupported { what: "encoding", found, known: "0, plain".into() });
        }
        let (offset, length) = (self.offset.get(), self.length.get());
        if offset % BLOCK != 0 || offset < BLOCK || offset.checked_add(length).is_none_or(|to| to > end) {
            return Err(damaged(format!("section {name} at {offset} of {length} bytes is out of place")));
        }
        let (stride, count) = (u64::from(self.stride.get()), self.count.get());
        if stride == 0 || stride.checked_mul(count) != Some(length) {
            return Err(damaged(format!(
                "section {name}: {count} elements of {stride} bytes are not {length} bytes"
            )));
        }
        Ok(Section {
            kind,
            code,
            name,
            instance: self.instance.get(),
            required,
            stride,
            count,
            offset,
            length,
        })
    }
}
