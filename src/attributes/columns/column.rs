//! One attribute's values.

use super::ColumnPart;
use crate::arena::{ArenaError, Array, Region};
use crate::attributes::strings::append;
use crate::attributes::{AttributeType, StringTable, Value, time};

/// See the table at the head of the parent module.
#[derive(Debug)]
pub(in crate::attributes) enum Column {
    Keyword { codes: Array<u32>, dictionary: StringTable },
    Keywords { places: Array<u32>, lists: Array<u32>, dictionary: StringTable },
    Int(Array<i64>),
    Float(Array<f64>),
    Bool(Array<u8>),
    Time(Array<i64>),
}

impl Column {
    /// What stands for a missing int or time.
    pub(in crate::attributes) const NO_INT: i64 = i64::MIN;

    pub(super) fn new(kind: AttributeType, items: usize, seed: u64) -> Result<Self, ArenaError> {
        Ok(match kind {
            AttributeType::Keyword => Column::Keyword {
                codes: Array::with_capacity(items)?,
                dictionary: StringTable::new(seed, 0)?,
            },
            AttributeType::Keywords => Column::Keywords {
                places: Array::with_capacity(items)?,
                lists: Array::with_capacity(0)?,
                dictionary: StringTable::new(seed, 0)?,
            },
            AttributeType::Int => Column::Int(Array::with_capacity(items)?),
            AttributeType::Float => Column::Float(Array::with_capacity(items)?),
            AttributeType::Bool => Column::Bool(Array::with_capacity(items)?),
            AttributeType::Time => Column::Time(Array::with_capacity(items)?),
        })
    }

    pub(super) fn open(
        kind: AttributeType,
        seed: u64,
        section: &mut dyn FnMut(ColumnPart) -> Result<Region, String>,
    ) -> Result<Self, String> {
        let data = section(ColumnPart::Data)?;
        Ok(match kind {
            AttributeType::Keyword => {
                Column::Keyword { codes: array(data)?, dictionary: open_dictionary(seed, section)? }
            }
            AttributeType::Keywords => Column::Keywords {
                places: array(data)?,
                lists: array(section(ColumnPart::Lists)?)?,
                dictionary: open_dictionary(seed, section)?,
            },
            AttributeType::Int => Column::Int(array(data)?),
            AttributeType::Float => Column::Float(array(data)?),
            AttributeType::Bool => Column::Bool(array(data)?),
            AttributeType::Time => Column::Time(array(data)?),
        })
    }

    /// Part, bytes of one element, bytes.
    pub(super) fn sections(&self) -> Vec<(ColumnPart, usize, &[u8])> {
        let mut sections = match self {
            Column::Keyword { codes, .. } => vec![(ColumnPart::Data, 4, codes.as_bytes())],
            Column::Keywords { places, lists, .. } => {
                vec![(ColumnPart::Data, 4, places.as_bytes()), (ColumnPart::Lists, 4, lists.as_bytes())]
            }
            Column::Int(values) | Column::Time(values) => vec![(ColumnPart::Data, 8, values.as_bytes())],
            Column::Float(values) => vec![(ColumnPart::Data, 8, values.as_bytes())],
            Column::Bool(values) => vec![(ColumnPart::Data, 1, values.as_bytes())],
        };
        if let Some(dictionary) = self.dictionary() {
            let [refs, heap, slots] = dictionary.sections();
            sections.push((ColumnPart::DictionaryRefs, 8, refs));
            sections.push((ColumnPart::DictionaryHeap, 1, heap));
            sections.push((ColumnPart::DictionarySlots, 4, slots));
        }
        sections
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Column::Keyword { codes: values, .. } | Column::Keywords { places: values, .. } => values.len(),
            Column::Int(values) | Column::Time(values) => values.len(),
            Column::Float(values) => values.len(),
            Column::Bool(values) => values.len(),
        }
    }

    pub(super) fn get(&self, item: u32) -> Option<Value> {
        match self {
            Column::Keyword { .. } => {
                Some(Value::Keyword(self.keyword(*self.codes(item).first()?)?.to_owned()))
            }
            Column::Keywords { .. } => {
                let keywords = self.codes(item).iter().filter_map(|code| self.keyword(*code));
                let list: Vec<_> = keywords.map(str::to_owned).collect();
                (!list.is_empty()).then_some(Value::Keywords(list))
            }
            Column::Int(_) => self.int(item).map(Value::Int),
            Column::Float(_) => self.float(item).map(Value::Float),
            Column::Bool(_) => self.bool(item).map(Value::Bool),
            Column::Time(_) => self.int(item).map(Value::Time),
        }
    }

    pub(super) fn number(&self, item: u32) -> Option<f64> {
        match self {
            Column::Int(_) | Column::Time(_) => self.int(item).map(|value| value as f64),
            Column::Float(_) => self.float(item),
            Column::Bool(_) => self.bool(item).map(f64::from),
            Column::Keyword { .. } | Column::Keywords { .. } => None,
        }
    }

    /// An int's or a time's value.
    pub(in crate::attributes) fn int(&self, item: u32) -> Option<i64> {
        let (Column::Int(values) | Column::Time(values)) = self else { return None };
        values.get(item as usize).copied().filter(|value| *value != Self::NO_INT)
    }

    pub(in crate::attributes) fn float(&self, item: u32) -> Option<f64> {
        let Column::Float(values) = self else { return None };
        values.get(item as usize).copied().filter(|value| value.is_finite())
    }

    pub(in crate::attributes) fn bool(&self, item: u32) -> Option<bool> {
        let Column::Bool(values) = self else { return None };
        match values.get(item as usize)? {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        }
    }

    pub(in crate::attributes) fn codes(&self, item: u32) -> &[u32] {
        let item = item as usize;
        match self {
            Column::Keyword { codes, .. } => match codes.get(item) {
                Some(0) | None => &[],
                Some(_) => &codes[item..=item],
            },
            Column::Keywords { places, lists, .. } => {
                places.get(item).and_then(|place| list_at(lists, *place)).unwrap_or(&[])
            }
            _ => &[],
        }
    }

    pub(in crate::attributes) fn code(&self, keyword: &str) -> Option<u32> {
        // A damaged slot can hold u32::MAX, which has no code.
        self.dictionary()?.find(keyword)?.checked_add(1)
    }

    pub(in crate::attributes) fn keyword(&self, code: u32) -> Option<&str> {
        self.dictionary()?.get(code.checked_sub(1)?)
    }

    pub(in crate::attributes) fn code_bound(&self) -> u32 {
        let strings = self.dictionary().map_or(0, StringTable::len).min(StringTable::MAX_STRINGS);
        strings as u32 + 1
    }

    pub(super) fn verify(&self) -> Result<(), String> {
        if let Some(dictionary) = self.dictionary() {
            dictionary.verify().map_err(|reason| format!("dictionary: {reason}"))?;
        }
        let bound = self.code_bound();
        match self {
            Column::Keyword { codes, .. } => each(codes, |code| match code < bound {
                true => Ok(()),
                false => Err(format!("code {code} is not below {bound}")),
            }),
            Column::Keywords { places, lists, .. } => each(places, |place| verify_list(lists, place, bound)),
            Column::Int(_) => Ok(()),
            Column::Float(values) => {
                each(values, |value| match value.is_finite() || value.to_bits() == f64::NAN.to_bits() {
                    true => Ok(()),
                    false => Err(format!("{value} ({:#x}) is neither finite nor missing", value.to_bits())),
                })
            }
            Column::Bool(values) => each(values, |value| match value <= 2 {
                true => Ok(()),
                false => Err(format!("{value} is not 0 (missing), 1 (false) or 2 (true)")),
            }),
            Column::Time(values) => {
                each(values, |value| match value == Self::NO_INT || time::in_range(value) {
                    true => Ok(()),
                    false => Err(format!("{value} ms lies outside the years -9999 to 9999")),
                })
            }
        }
    }

    fn dictionary(&self) -> Option<&StringTable> {
        match self {
            Column::Keyword { dictionary, .. } | Column::Keywords { dictionary, .. } => Some(dictionary),
            _ => None,
        }
    }
}

/// The codes at a place as a keywords column stores it; None when missing or damaged.
pub(in crate::attributes) fn list_at(lists: &[u32], place: u32) -> Option<&[u32]> {
    let (count, rest) = lists.get(place.checked_sub(1)? as usize..)?.split_first()?;
    rest.get(..*count as usize)
}

fn verify_list(lists: &[u32], place: u32, bound: u32) -> Result<(), String> {
    if place == 0 {
        return Ok(());
    }
    let list = list_at(lists, place)
        .ok_or_else(|| format!("the list at {} goes beyond the {} words of lists", place - 1, lists.len()))?;
    if list.is_empty() {
        return Err(format!("the list at {} is empty", place - 1));
    }
    match list.iter().find(|code| **code == 0 || **code >= bound) {
        Some(code) => Err(format!("the list at {}: code {code} is not in 1..{bound}", place - 1)),
        None => Ok(()),
    }
}

fn each<T: Copy>(values: &[T], check: impl Fn(T) -> Result<(), String>) -> Result<(), String> {
    for (item, value) in values.iter().enumerate() {
        check(*value).map_err(|reason| format!("item {item}: {reason}"))?;
    }
    Ok(())
}

fn array<T: bytemuck::Pod>(region: Region) -> Result<Array<T>, String> {
    Array::from_region(region).map_err(|error| error.to_string())
}

fn open_dictionary(
    seed: u64,
    section: &mut dyn FnMut(ColumnPart) -> Result<Region, String>,
) -> Result<StringTable, String> {
    let refs = section(ColumnPart::DictionaryRefs)?;
    let heap = section(ColumnPart::DictionaryHeap)?;
    let slots = section(ColumnPart::DictionarySlots)?;
    StringTable::open(seed, refs, heap, slots).map_err(|error| format!("dictionary: {error}"))
}

/// Writing, used by the builder.
impl Column {
    /// Appends a missing value.
    pub(super) fn push_missing(&mut self) -> Result<(), ArenaError> {
        match self {
            Column::Keyword { codes: values, .. } | Column::Keywords { places: values, .. } => {
                append(values, &[0])
            }
            Column::Int(values) | Column::Time(values) => append(values, &[Self::NO_INT]),
            Column::Float(values) => append(values, &[f64::NAN]),
            Column::Bool(values) => append(values, &[0]),
        }
    }

    /// The code of a keyword, new or not.
    pub(super) fn intern(dictionary: &mut StringTable, keyword: &str) -> Result<u32, String> {
        let (number, _) = dictionary.insert(keyword).map_err(|error| error.to_string())?;
        Ok(number + 1)
    }
}
