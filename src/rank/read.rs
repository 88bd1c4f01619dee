//! Reading a profile document: every error has the pointer of its place, the value and the limit.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::{Profile, ProfileError};
use crate::attributes::parse_duration;

/// One object of the document and where it stands. A field that is `null` is absent.
pub(super) struct Fields<'a> {
    pointer: String,
    map: &'a Map<String, Json>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(json: &'a Json, pointer: String) -> Result<Self, ProfileError> {
        match json {
            Json::Object(map) => Ok(Fields { pointer, map }),
            other => Err(error(pointer, format!("expected an object, not {}", shown(other)))),
        }
    }

    /// Refuses every field but the `known` ones.
    pub(super) fn allow(&self, known: &[&str]) -> Result<(), ProfileError> {
        match self.map.keys().map(String::as_str).find(|key| !known.contains(key)) {
            None => Ok(()),
            Some(key) => {
                Err(self.fail(key, format!("unknown field {key:?}; allowed are {}", known.join(", "))))
            }
        }
    }

    pub(super) fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The pointer of a field.
    pub(super) fn at(&self, key: &str) -> String {
        child(&self.pointer, key)
    }

    /// An error at a field.
    pub(super) fn fail(&self, key: &str, reason: impl Into<String>) -> ProfileError {
        error(self.at(key), reason)
    }

    /// An error at the object itself.
    pub(super) fn fail_here(&self, reason: impl Into<String>) -> ProfileError {
        error(self.pointer.clone(), reason)
    }

    /// Names and values of all fields, null ones too.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Json)> {
        self.map.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Json> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn need(&self, key: &str) -> Result<&'a Json, ProfileError> {
        self.get(key).ok_or_else(|| self.fail_here(format!("{key} is missing")))
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, ProfileError> {
        self.get(key).map(|json| Fields::new(json, self.at(key))).transpose()
    }

    /// A list of at most `most` values, each with its pointer; an absent one is empty.
    pub(super) fn list(&self, key: &str, most: usize) -> Result<Vec<(String, &'a Json)>, ProfileError> {
        let list = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Json::Array(list)) => list,
            Some(other) => return Err(self.fail(key, format!("expected a list, not {}", shown(other)))),
        };
        if list.len() > most {
            return Err(self.fail(key, format!("{} {key} given; the limit is {most}", list.len())));
        }
        let at = self.at(key);
        Ok(list.iter().enumerate().map(|(place, json)| (format!("{at}/{place}"), json)).collect())
    }

    /// A list of at most `most` objects; an absent one is empty.
    pub(super) fn objects(&self, key: &str, most: usize) -> Result<Vec<Fields<'a>>, ProfileError> {
        self.list(key, most)?.into_iter().map(|(pointer, json)| Fields::new(json, pointer)).collect()
    }

    /// A whole number from `least` to `most`.
    pub(super) fn whole(&self, key: &str, least: usize, most: usize) -> Result<Option<usize>, ProfileError> {
        let Some(json) = self.get(key) else { return Ok(None) };
        let whole = json.as_u64().and_then(|number| usize::try_from(number).ok());
        match whole.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let upto = if most < usize::MAX { format!(" to {most}") } else { String::new() };
                let reason = format!("{key} is {}, it is a whole number from {least}{upto}", shown(json));
                Err(self.fail(key, reason))
            }
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, ProfileError> {
        self.get(key).map(|json| number(json).map_err(|reason| self.fail(key, reason))).transpose()
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ProfileError> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.fail(key, format!("expected true or false, not {}", shown(other)))),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ProfileError> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.fail(key, format!("expected a string, not {}", shown(other)))),
        }
    }

    /// The object's `name`, which no other in `taken` has.
    pub(super) fn unique_name(&self, taken: &mut BTreeSet<&'a str>) -> Result<String, ProfileError> {
        let name = self.need_text("name")?;
        if name.is_empty() || name.len() > Profile::MAX_NAME {
            let reason = format!("a name has 1 to {} bytes, this one has {}", Profile::MAX_NAME, name.len());
            return Err(self.fail("name", reason));
        }
        match taken.insert(name) {
            true => Ok(name.to_owned()),
            false => {
                Err(self.fail("name", format!("{name:?} is the name of an earlier one; names are unique")))
            }
        }
    }

    /// A duration such as `7d`, in milliseconds.
    pub(super) fn duration(&self, key: &str) -> Result<Option<i64>, ProfileError> {
        let Some(json) = self.get(key) else { return Ok(None) };
        let expected = || format!("expected a duration such as \"36h\" or \"7d\", not {}", shown(json));
        let text = json.as_str().ok_or_else(|| self.fail(key, expected()))?;
        parse_duration(text).map(Some).map_err(|reason| self.fail(key, reason))
    }

    pub(super) fn need_text(&self, key: &str) -> Result<&'a str, ProfileError> {
        self.need(key)?;
        Ok(self.text(key)?.unwrap_or_default())
    }
}

/// A finite number.
pub(super) fn number(json: &Json) -> Result<f64, String> {
    let number = json.as_f64().filter(|number| number.is_finite());
    number.ok_or_else(|| format!("expected a finite number, not {}", shown(json)))
}

pub(super) fn error(pointer: String, reason: impl Into<String>) -> ProfileError {
    ProfileError { pointer, reason: reason.into() }
}

/// The pointer of `key` below `pointer`.
pub(super) fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// A value in a message: its text, cut after 80 characters.
pub(super) fn shown(json: &Json) -> String {
    let text = json.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
