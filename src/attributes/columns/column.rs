//! One attribute's values.

use std::borrow::Cow;
use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use super::ColumnPart;
use crate::arena::{ArenaError, Array, Region};
use crate::attributes::{AttributeType, StringTable, Value, time};
use crate::priority::give_way;

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

/// Words of addresses that the lists of a column of its own reserve.
const LISTS_ROOM: usize = 1 << 30;

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
                lists: Array::with_capacity(LISTS_ROOM)?,
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
    pub(super) fn sections(&self) -> Vec<(ColumnPart, usize, Cow<'_, [u8]>)> {
        let data = |size, bytes| (ColumnPart::Data, size, Cow::Borrowed(bytes));
        let mut sections = match self {
            Column::Keyword { codes, .. } => vec![data(4, codes.as_bytes())],
            Column::Keywords { places, lists, .. } => {
                vec![data(4, places.as_bytes()), (ColumnPart::Lists, 4, Cow::Borrowed(lists.as_bytes()))]
            }
            Column::Int(values) | Column::Time(values) => vec![data(8, values.as_bytes())],
            Column::Float(values) => vec![data(8, values.as_bytes())],
            Column::Bool(values) => vec![data(1, values.as_bytes())],
        };
        if let Some(dictionary) = self.dictionary() {
            let (refs, heap, slots) = dictionary.sections();
            sections.push((ColumnPart::DictionaryRefs, 8, Cow::Borrowed(refs)));
            sections.push((ColumnPart::DictionaryHeap, 1, Cow::Borrowed(heap)));
            sections.push((
                ColumnPart::DictionarySlots,
                4,
                Cow::Owned(bytemuck::cast_slice(&slots).to_vec()),
            ));
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

    /// Adds [`Column::number`] of each item, NaN for a missing one.
    pub(super) fn numbers(&self, items: &[u32], out: &mut Vec<f64>) {
        match self {
            Column::Int(values) | Column::Time(values) => {
                let number = |value: i64| if value == Self::NO_INT { f64::NAN } else { value as f64 };
                out.extend(gather(values, items, Self::NO_INT).into_iter().map(number));
            }
            Column::Float(values) => {
                let number = |value: f64| if value.is_finite() { value } else { f64::NAN };
                out.extend(gather(values, items, f64::NAN).into_iter().map(number));
            }
            other => out.extend(items.iter().map(|item| other.number(*item).unwrap_or(f64::NAN))),
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

    /// The codes of these items, each as by `codes`.
    pub(super) fn code_lists(&self, items: &[u32]) -> Vec<&[u32]> {
        match self {
            Column::Keyword { codes, .. } => {
                let codes = codes.as_slice();
                let list = |item: &u32| match codes.get(*item as usize) {
                    Some(code) if *code != 0 => std::slice::from_ref(code),
                    _ => &[],
                };
                items.iter().map(list).collect()
            }
            other => items.iter().map(|item| other.codes(*item)).collect(),
        }
    }

    pub(in crate::attributes) fn code(&self, keyword: &str) -> Option<u32> {
        // A damaged slot can hold u32::MAX, which has no code.
        self.dictionary()?.find(keyword)?.checked_add(1)
    }

    /// The codes of many keywords, each as by `code`.
    pub(super) fn find_codes(&self, keywords: &[&str]) -> Vec<Option<u32>> {
        match self.dictionary() {
            Some(dictionary) => {
                dictionary.find_all(keywords).into_iter().map(|number| number?.checked_add(1)).collect()
            }
            None => vec![None; keywords.len()],
        }
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

/// The elements of these items, side by side; `none` for an item that is not there. The reads wait for nothing but memory, and
/// so for it together.
pub(in crate::attributes) fn gather<T: Copy>(values: &[T], items: &[u32], none: T) -> Vec<T> {
    items.iter().map(|item| values.get(*item as usize).copied().unwrap_or(none)).collect()
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

/// Writing: rows are appended, by the builder and by an index that takes writes; nothing is ever changed.
impl Column {
    /// Appends a missing value.
    pub(super) fn push_missing(&self) -> Result<(), ArenaError> {
        match self {
            Column::Keyword { codes: values, .. } | Column::Keywords { places: values, .. } => values.push(0),
            Column::Int(values) | Column::Time(values) => values.push(Self::NO_INT),
            Column::Float(values) => values.push(f64::NAN),
            Column::Bool(values) => values.push(0),
        }
    }

    /// Appends what another item has.
    pub(super) fn push_as(&self, item: u32) -> Result<(), ArenaError> {
        let item = item as usize;
        match self {
            Column::Keyword { codes: values, .. } | Column::Keywords { places: values, .. } => {
                values.push(values.get(item).copied().unwrap_or(0))
            }
            Column::Int(values) | Column::Time(values) => {
                values.push(values.get(item).copied().unwrap_or(Self::NO_INT))
            }
            Column::Float(values) => values.push(values.get(item).copied().unwrap_or(f64::NAN)),
            Column::Bool(values) => values.push(values.get(item).copied().unwrap_or(0)),
        }
    }

    /// Appends a value. Equal lists share a place when `shared` knows one: by the hash of its codes.
    pub(super) fn push(&self, value: Option<&Value>, shared: &mut HashMap<u64, u32>) -> Result<(), String> {
        let value = match value {
            None => return self.push_missing().map_err(|error| error.to_string()),
            Some(Value::Keywords(list)) if list.is_empty() => {
                return self.push_missing().map_err(|error| error.to_string());
            }
            Some(value) => value,
        };
        let pushed = match (self, value) {
            (Column::Keyword { codes, dictionary }, Value::Keyword(keyword)) => {
                codes.push(Column::intern(dictionary, keyword)?)
            }
            (Column::Keywords { places, lists, dictionary }, Value::Keywords(list)) => {
                let codes = list.iter().map(|keyword| Column::intern(dictionary, keyword));
                places.push(place_of(lists, shared, &codes.collect::<Result<Vec<_>, _>>()?)?)
            }
            (Column::Int(values), Value::Int(number)) if *number != Column::NO_INT => values.push(*number),
            (Column::Float(values), Value::Float(number)) if number.is_finite() => values.push(*number),
            (Column::Bool(values), Value::Bool(flag)) => values.push(1 + u8::from(*flag)),
            (Column::Time(values), Value::Time(millis)) if time::in_range(*millis) => values.push(*millis),
            (_, other) => return Err(format!("the attribute cannot hold {other:?}")),
        };
        pushed.map_err(|error| error.to_string())
    }

    /// A column in which all items have one value, or none.
    pub(super) fn uniform(
        kind: AttributeType,
        value: Option<&Value>,
        items: usize,
        seed: u64,
    ) -> Result<Column, String> {
        let column = Column::new(kind, items, seed).map_err(|error| error.to_string())?;
        if items > 0 {
            column.push(value, &mut HashMap::new())?;
        }
        for _ in 1..items {
            column.push_as(0).map_err(|error| error.to_string())?;
        }
        Ok(column)
    }

    /// A column with the values of these items, in their order.
    pub(super) fn compacted(&self, kind: AttributeType, items: &[u32]) -> Result<Column, String> {
        let seed = self.dictionary().map_or(0, StringTable::seed);
        let copy = Column::new(kind, items.len(), seed).map_err(|error| error.to_string())?;
        let mut codes = vec![0u32; self.code_bound() as usize];
        let mut translated = |code: u32, dictionary: &StringTable| -> Result<u32, String> {
            let Some(known) = codes.get_mut(code as usize) else { return Ok(0) };
            if *known == 0
                && let Some(keyword) = self.keyword(code)
            {
                *known = Column::intern(dictionary, keyword)?;
            }
            Ok(*known)
        };
        let mut shared = HashMap::new();
        for &item in items {
            give_way();
            let pushed = match &copy {
                Column::Keyword { codes, dictionary } => {
                    codes.push(translated(self.codes(item).first().copied().unwrap_or(0), dictionary)?)
                }
                Column::Keywords { places, lists, dictionary } => {
                    let list = self.codes(item).iter().map(|&code| translated(code, dictionary));
                    let list: Vec<u32> = list.collect::<Result<_, _>>()?;
                    let place = if list.is_empty() { 0 } else { place_of(lists, &mut shared, &list)? };
                    places.push(place)
                }
                Column::Int(values) | Column::Time(values) => {
                    values.push(self.int(item).unwrap_or(Self::NO_INT))
                }
                Column::Float(values) => values.push(self.float(item).unwrap_or(f64::NAN)),
                Column::Bool(values) => values.push(self.bool(item).map_or(0, |flag| 1 + u8::from(flag))),
            };
            pushed.map_err(|error| error.to_string())?;
        }
        Ok(copy)
    }

    /// Whether so many rows, with so many bytes of values in all, can be appended.
    pub(super) fn has_room(&self, rows: usize, bytes: usize) -> bool {
        let data = match self {
            Column::Keyword { codes: values, .. } => values.room(),
            Column::Keywords { places, lists, .. } if lists.room() >= rows + bytes => places.room(),
            Column::Keywords { .. } => 0,
            Column::Int(values) | Column::Time(values) => values.room(),
            Column::Float(values) => values.room(),
            Column::Bool(values) => values.room(),
        };
        data >= rows && self.dictionary().is_none_or(|dictionary| dictionary.has_room(rows, bytes))
    }

    /// Makes sure that the dictionary can be given so many keywords more.
    pub(super) fn secure(&self, keywords: usize) -> Result<(), ArenaError> {
        self.dictionary().map_or(Ok(()), |dictionary| dictionary.secure(keywords))
    }

    /// The code of a keyword, new or not.
    fn intern(dictionary: &StringTable, keyword: &str) -> Result<u32, String> {
        let (number, _) = dictionary.insert(keyword).map_err(|error| error.to_string())?;
        Ok(number + 1)
    }
}

/// 1 + the position of these codes in `lists`, where they are appended unless an equal list is known.
fn place_of(lists: &Array<u32>, shared: &mut HashMap<u64, u32>, codes: &[u32]) -> Result<u32, String> {
    let hash = xxh3_64(bytemuck::cast_slice(codes));
    if let Some(place) = shared.get(&hash)
        && list_at(lists, *place) == Some(codes)
    {
        return Ok(*place);
    }
    let place = u32::try_from(lists.len() + 1).map_err(|_| "the lists outgrow 2^32 words".to_owned())?;
    let words = [&[codes.len() as u32], codes].concat();
    lists.extend(&words).map_err(|error| error.to_string())?;
    shared.insert(hash, place);
    Ok(place)
}
