//! Changes as the log's records hold them: resolved effects, with attributes by name.
//!
//! Layout, little-endian: version u8 (1), count of names u16 (0 without a put), each name as text; count of changes u32, then each:
//!
//! | tag | fields |
//! |---|---|
//! | 1 put | id text, flags u8 (1 has a vector, 2 attributes that are not listed are kept), vector bytes with length u32, inserted_at i64, version u64, expires_at i64, count of cells u16, each name u16 and value |
//! | 2 delete | id text, version u64, time i64 |
//! | 3 note | shelf u8, key text, has a value u8, value with length u32, time i64 |
//! | 32 state | length u32, bytes: profiles, exclude sets and events, see `state` |
//!
//! A new kind of change takes the next tag; a program that does not know a tag refuses the record.
//!
//! All attributes that there were when the record was written are named. One that is not came to the schema later: a put with a
//! vector gives the item its default, a put without one (a patch) keeps what the item has.
//!
//! A text is its length u16 and UTF-8. A value is a tag u8: 0 none, 1 keyword (text), 2 keywords (count u32, texts), 3 int
//! i64, 4 float f64, 5 bool u8, 6 time i64.

use crate::attributes::{AttributeSchema, Cell, Value};
use crate::index::{Change, Note, Put};

const VERSION: u8 = 1;
const HAS_VECTOR: u8 = 1;
const KEEPS: u8 = 2;
const STATE: u8 = 32;

/// A record cannot be read, or does not fit the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record of sequence number {seq}: {reason}")]
pub struct RecordError {
    /// Of the record.
    pub seq: u64,
    /// What is wrong.
    pub reason: String,
}

/// Writes changes; cells are by ordinal of `schema`.
pub(super) fn encode(changes: &[Change], schema: &AttributeSchema) -> Vec<u8> {
    let mut out = Encoder(vec![VERSION]);
    let named = changes.iter().any(|change| matches!(change, Change::Put(_)));
    let names: Vec<&str> = schema.iter().filter(|_| named).map(|(name, _)| name).collect();
    out.u16(names.len() as u16);
    names.into_iter().for_each(|name| out.text(name));
    out.u32(changes.len() as u32);
    for change in changes {
        match change {
            Change::Put(put) => out.put(put),
            Change::Delete { id, version, at } => {
                out.0.push(2);
                out.text(id);
                out.u64(*version);
                out.u64(*at as u64);
            }
            Change::Note(Note { shelf, key, value, at }) => {
                out.0.extend_from_slice(&[3, *shelf]);
                out.text(key);
                out.0.push(u8::from(value.is_some()));
                let value = value.as_deref().unwrap_or("");
                out.u32(value.len() as u32);
                out.0.extend_from_slice(value.as_bytes());
                out.u64(*at as u64);
            }
            Change::State(bytes) => {
                out.0.push(STATE);
                out.u32(bytes.len() as u32);
                out.0.extend_from_slice(bytes);
            }
        }
    }
    out.0
}

struct Encoder(Vec<u8>);

impl Encoder {
    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Texts are ids, names and keywords, at most 65,535 bytes each, as was checked when they came.
    fn text(&mut self, text: &str) {
        self.u16(text.len() as u16);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn put(&mut self, put: &Put) {
        self.0.push(1);
        self.text(&put.id);
        let keeps = put.cells.contains(&Cell::Kept);
        self.0.push((u8::from(put.vector.is_some()) * HAS_VECTOR) | (u8::from(keeps) * KEEPS));
        let vector = put.vector.as_deref().unwrap_or(&[]);
        self.u32(vector.len() as u32);
        self.0.extend_from_slice(vector);
        self.u64(put.inserted_at as u64);
        self.u64(put.version);
        self.u64(put.expires_at as u64);
        // What is not listed is kept, or else none: so none is listed only where others are kept.
        let listed = |cell: &&(usize, &Cell)| match cell.1 {
            Cell::Kept => false,
            Cell::Set(None) => keeps,
            Cell::Set(Some(_)) => true,
        };
        let cells: Vec<(usize, &Cell)> = put.cells.iter().enumerate().collect();
        self.u16(cells.iter().filter(listed).count() as u16);
        for (ordinal, cell) in cells.iter().filter(listed) {
            self.u16(*ordinal as u16);
            match cell {
                Cell::Set(Some(value)) => self.value(value),
                _ => self.0.push(0),
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Keyword(text) => {
                self.0.push(1);
                self.text(text);
            }
            Value::Keywords(list) => {
                self.0.push(2);
                self.u32(list.len() as u32);
                list.iter().for_each(|text| self.text(text));
            }
            Value::Int(number) => {
                self.0.push(3);
                self.u64(*number as u64);
            }
            Value::Float(number) => {
                self.0.push(4);
                self.u64(number.to_bits());
            }
            Value::Bool(flag) => self.0.extend_from_slice(&[5, u8::from(*flag)]),
            Value::Time(millis) => {
                self.0.push(6);
                self.u64(*millis as u64);
            }
        }
    }
}

/// Reads what [`encode`] wrote, for an index of `schema`.
pub(super) fn decode(seq: u64, payload: &[u8], schema: &AttributeSchema) -> Result<Vec<Change>, RecordError> {
    Decoder { rest: payload }.changes(Some(schema)).map_err(|reason| RecordError { seq, reason })
}

/// As [`decode`], for whom attributes do not matter: none has to be known, and puts have none.
pub(super) fn decode_beside(seq: u64, payload: &[u8]) -> Result<Vec<Change>, RecordError> {
    Decoder { rest: payload }.changes(None).map_err(|reason| RecordError { seq, reason })
}

struct Decoder<'a> {
    rest: &'a [u8],
}

/// The attributes that a record names, in the schema that it is read for.
struct Named {
    ordinals: Vec<usize>,
    /// Those that came to the schema later: their ordinals and defaults.
    later: Vec<(usize, Option<Value>)>,
}

impl Named {
    fn new(ordinals: Vec<usize>, schema: &AttributeSchema) -> Named {
        let mut is_named = vec![false; schema.len()];
        ordinals.iter().for_each(|&ordinal| is_named[ordinal] = true);
        let of_schema = schema.iter().enumerate().filter(|(ordinal, _)| !is_named[*ordinal]);
        let later = of_schema.map(|(ordinal, (_, spec))| (ordinal, spec.default.clone())).collect();
        Named { ordinals, later }
    }
}

impl<'a> Decoder<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or("it ends too soon")?;
        self.rest = rest;
        Ok(bytes)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or("it ends too soon")?;
        self.rest = rest;
        Ok(*bytes)
    }
    fn u8(&mut self) -> Result<u8, String> {
        Ok(u8::from_le_bytes(self.array()?))
    }
    fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    fn text(&mut self) -> Result<&'a str, String> {
        let length = self.u16()?;
        std::str::from_utf8(self.bytes(length.into())?).map_err(|error| error.to_string())
    }

    fn changes(mut self, schema: Option<&AttributeSchema>) -> Result<Vec<Change>, String> {
        let version = self.u8()?;
        if version != VERSION {
            return Err(format!("version {version}, this program reads {VERSION}"));
        }
        let names = self.u16()?;
        let ordinals: Vec<usize> = (0..names)
            .map(|_| {
                let name = self.text()?;
                let Some(schema) = schema else { return Ok(usize::MAX) };
                schema.find(name).map(|(ordinal, _)| ordinal).ok_or(format!("no attribute {name:?} is known"))
            })
            .collect::<Result<_, _>>()?;
        let named = match schema {
            Some(schema) => Named::new(ordinals, schema),
            None => Named { ordinals, later: Vec::new() },
        };
        let count = self.u32()?;
        let mut changes = Vec::new();
        for _ in 0..count {
            changes.push(match self.u8()? {
                1 => Change::Put(self.put(&named, schema.map_or(0, AttributeSchema::len))?),
                2 => Change::Delete {
                    id: self.text()?.to_owned(),
                    version: self.u64()?,
                    at: self.u64()? as i64,
                },
                3 => Change::Note(self.note()?),
                STATE => {
                    let length = self.u32()?;
                    Change::State(self.bytes(length as usize)?.to_vec())
                }
                tag => return Err(format!("a change of kind {tag}")),
            });
        }
        if self.rest.is_empty() { Ok(changes) } else { Err(format!("{} bytes too many", self.rest.len())) }
    }

    fn note(&mut self) -> Result<Note, String> {
        let (shelf, key, has_value) = (self.u8()?, self.text()?.to_owned(), self.u8()? != 0);
        let length = self.u32()?;
        let value = std::str::from_utf8(self.bytes(length as usize)?).map_err(|error| error.to_string())?;
        let value = has_value.then(|| value.to_owned());
        Ok(Note { shelf, key, value, at: self.u64()? as i64 })
    }

    fn put(&mut self, named: &Named, attributes: usize) -> Result<Put, String> {
        let id = self.text()?.to_owned();
        let flags = self.u8()?;
        let length = self.u32()?;
        let vector = self.bytes(length as usize)?;
        let vector = (flags & HAS_VECTOR != 0).then(|| vector.to_vec());
        let (inserted_at, version, expires_at) = (self.u64()? as i64, self.u64()?, self.u64()? as i64);
        let unlisted = if flags & KEEPS != 0 { Cell::Kept } else { Cell::Set(None) };
        let mut cells = vec![unlisted; attributes];
        for (ordinal, default) in &named.later {
            let kept = vector.is_none();
            cells[*ordinal] = if kept { Cell::Kept } else { Cell::Set(default.clone()) };
        }
        for _ in 0..self.u16()? {
            let name = usize::from(self.u16()?);
            let value = self.value()?;
            let ordinal = named.ordinals.get(name).ok_or(format!("a value of attribute {name}"))?;
            if let Some(cell) = cells.get_mut(*ordinal) {
                *cell = Cell::Set(value);
            }
        }
        Ok(Put { id, vector, cells, inserted_at, version, expires_at })
    }

    fn value(&mut self) -> Result<Option<Value>, String> {
        Ok(Some(match self.u8()? {
            0 => return Ok(None),
            1 => Value::Keyword(self.text()?.to_owned()),
            2 => {
                let count = self.u32()?;
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(self.text()?.to_owned());
                }
                Value::Keywords(list)
            }
            3 => Value::Int(self.u64()? as i64),
            4 => Value::Float(f64::from_bits(self.u64()?)),
            5 => Value::Bool(self.u8()? != 0),
            6 => Value::Time(self.u64()? as i64),
            tag => return Err(format!("a value of kind {tag}")),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> AttributeSchema {
        let json =
            json!({"a": "keyword", "b": "keywords", "c": "int", "d": "float", "e": "bool", "f": "time"});
        AttributeSchema::from_json(&json).unwrap()
    }

    fn changes() -> Vec<Change> {
        let all = vec![
            Cell::Set(Some(Value::Keyword("é".into()))),
            Cell::Set(Some(Value::Keywords(vec!["x".into(), String::new()]))),
            Cell::Set(Some(Value::Int(-7))),
            Cell::Set(Some(Value::Float(0.5))),
            Cell::Set(Some(Value::Bool(true))),
            Cell::Set(Some(Value::Time(-1))),
        ];
        let put = |vector: Option<Vec<u8>>, cells: Vec<Cell>| {
            Change::Put(Put { id: "one".into(), vector, cells, inserted_at: -3, version: 9, expires_at: 11 })
        };
        vec![
            put(Some(vec![1, 2, 3]), all),
            put(None, vec![Cell::Kept, Cell::Set(None), Cell::Kept, Cell::Kept, Cell::Set(None), Cell::Kept]),
            put(Some(Vec::new()), vec![Cell::Set(None); 6]),
            Change::Delete { id: "gone".into(), version: 3, at: -4 },
            Change::Note(Note { shelf: 7, key: "k".into(), value: Some("é".into()), at: 5 }),
            Change::Note(Note { shelf: 7, key: String::new(), value: None, at: -5 }),
            Change::State(b"{}".to_vec()),
        ]
    }

    #[test]
    fn changes_survive_the_round_trip() {
        let bytes = encode(&changes(), &schema());
        assert_eq!(decode(5, &bytes, &schema()), Ok(changes()));
    }

    #[test]
    fn attributes_go_by_name() {
        let one = AttributeSchema::from_json(&json!({"c": "int"})).unwrap();
        let put = Put {
            id: "i".into(),
            vector: None,
            cells: vec![Cell::Set(Some(Value::Int(4)))],
            inserted_at: 0,
            version: 0,
            expires_at: 0,
        };
        let bytes = encode(&[Change::Put(put)], &one);
        let Change::Put(read) = &decode(1, &bytes, &schema()).unwrap()[0] else { panic!("a put") };
        assert_eq!(read.cells[2], Cell::Set(Some(Value::Int(4))));
        assert_eq!(read.cells[0], Cell::Kept, "a patch from before there was an attribute keeps it");
        assert!(decode(1, &encode(&changes(), &schema()), &one).unwrap_err().to_string().contains("\"a\""));
        let beside = decode_beside(1, &encode(&changes(), &schema())).unwrap();
        let puts = |change: &&Change| matches!(change, Change::Put(put) if put.cells.is_empty());
        assert_eq!(beside.iter().filter(puts).count(), 3);
        assert_eq!(beside[3..], changes()[3..], "what is beside the items needs no schema");
        let note = [Change::State(vec![7])];
        assert_eq!(decode(1, &encode(&note, &schema()), &one).unwrap(), note, "notes need no attributes");
    }

    #[test]
    fn attributes_that_came_later_have_their_default() {
        let before = AttributeSchema::from_json(&json!({"c": "int"})).unwrap();
        let after = json!({"a": {"type": "keyword", "default": "x"}, "b": "keywords", "c": {"type": "int", "default": 8}});
        let after = AttributeSchema::from_json(&after).unwrap();
        let read = |vector: Option<Vec<u8>>, cell: Cell| {
            let (inserted_at, version, expires_at) = (0, 0, 0);
            let put = Put { id: "i".into(), vector, cells: vec![cell], inserted_at, version, expires_at };
            let bytes = encode(&[Change::Put(put)], &before);
            let Change::Put(put) = decode(1, &bytes, &after).unwrap().remove(0) else { panic!("a put") };
            put.cells
        };
        let (four, none) = (|| Cell::Set(Some(Value::Int(4))), || Cell::Set(None));
        let default = || Cell::Set(Some(Value::Keyword("x".into())));
        assert_eq!(read(Some(vec![1]), four()), [default(), none(), four()]);
        assert_eq!(
            read(Some(vec![1]), none()),
            [default(), none(), none()],
            "what was named and left out stays so"
        );
        assert_eq!(read(None, four()), [Cell::Kept, Cell::Kept, four()]);
        assert_eq!(read(None, Cell::Kept), vec![Cell::Kept; 3]);
    }

    #[test]
    fn cut_or_changed_bytes_never_panic() {
        let bytes = encode(&changes(), &schema());
        for length in 0..bytes.len() {
            assert!(decode(1, &bytes[..length], &schema()).is_err());
        }
        for at in 0..bytes.len() {
            for change in [1u8, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                let _ = decode(1, &bytes, &schema());
            }
        }
    }
}
