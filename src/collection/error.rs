//! Why a search was refused. Each variant carries what the caller needs to mend it: where, what was given, what is
//! allowed. The server maps them to statuses in one place.

use crate::index::QueryError;

/// A search request was refused; pointers (RFC 6901) go into the request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SearchError {
    /// A field has a value that it cannot have.
    #[error("{reason}")]
    Invalid {
        /// Where.
        pointer: String,
        /// What is wrong, naming the value.
        reason: String,
    },
    /// A number, or a number of things, is out of its range.
    #[error("{name} is {value}, allowed is {least} to {limit}{}", named(setting))]
    OutOfRange {
        /// Where.
        pointer: String,
        /// What is counted.
        name: &'static str,
        /// What was given.
        value: u64,
        /// The smallest allowed.
        least: u64,
        /// The largest allowed.
        limit: u64,
        /// The setting that says so; `none` where there is no setting.
        setting: &'static str,
    },
    /// The item to search by is not in the collection, or none of the several is.
    #[error("{}", unknown_items(ids))]
    UnknownItems {
        /// Where.
        pointer: String,
        /// The ids.
        ids: Vec<String>,
    },
    /// There is nothing to search by.
    #[error(
        "exactly one of vector, vector_f32, vector_f16, item, items, vectors, ids, order_by, sources is needed, given: none"
    )]
    NoQuery {
        /// Where.
        pointer: String,
    },
    /// A ranked list is not kept any more.
    #[error(
        "the list of this cursor is not kept any more: 60 s after it was last read, or when too many were begun since"
    )]
    Gone,
    /// There is no such profile, or no such version.
    #[error("there is no profile {name:?}")]
    UnknownProfile {
        /// What was given.
        name: String,
    },
    /// The query's vector comes from another tower than the collection's.
    #[error("the query's vectors come from {given:?}, the collection's from {}", expected.as_deref().map_or("an unnamed embedding".to_owned(), |name| format!("{name:?}")))]
    Embedding {
        /// What the query names.
        given: String,
        /// What the collection names.
        expected: Option<String>,
    },
    /// A vector was refused.
    #[error("{source}")]
    Vector {
        /// Where.
        pointer: String,
        /// Why.
        source: QueryError,
    },
    /// A filter was refused.
    #[error("{reason}")]
    Filter {
        /// Where.
        pointer: String,
        /// Why.
        reason: String,
    },
    /// A profile was refused.
    #[error("{reason}")]
    Profile {
        /// Where.
        pointer: String,
        /// Why.
        reason: String,
    },
    /// The request ended before there was an answer.
    #[error("there was no time for an answer")]
    Timeout,
    /// The index does not cover `min_seq` yet.
    #[error("the index covers the log up to {covers}, min_seq is {min_seq}: ask again later")]
    Behind {
        /// What was asked for.
        min_seq: u64,
        /// What there is.
        covers: u64,
    },
}

/// The setting of a limit, in words.
fn named(setting: &str) -> String {
    match setting {
        "none" => String::new(),
        setting => format!(" (setting `{setting}`)"),
    }
}

impl SearchError {
    pub(super) fn invalid(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        SearchError::Invalid { pointer: pointer.into(), reason: reason.into() }
    }

    /// Where in the request, as an RFC 6901 pointer.
    pub fn pointer(&self) -> &str {
        match self {
            SearchError::Invalid { pointer, .. }
            | SearchError::OutOfRange { pointer, .. }
            | SearchError::NoQuery { pointer }
            | SearchError::UnknownItems { pointer, .. }
            | SearchError::Vector { pointer, .. }
            | SearchError::Filter { pointer, .. }
            | SearchError::Profile { pointer, .. } => pointer,
            SearchError::UnknownProfile { .. } => "/profile",
            SearchError::Gone => "/cursor",
            SearchError::Timeout => "",
            SearchError::Embedding { .. } => "/query/embedding",
            SearchError::Behind { .. } => "/min_seq",
        }
    }
}

fn unknown_items(ids: &[String]) -> String {
    match ids {
        [id] => format!("no item has the id {id:?}"),
        [first, ..] => {
            format!("none of the {} items is in the collection; the first is {first:?}", ids.len())
        }
        [] => "no item was given".to_owned(),
    }
}

/// The nearest of `known` to `given`, if it is near enough to be what was meant.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.get(..64.min(given.len()))?;
    let ranked = known.into_iter().map(|name| (edits(given, name), name));
    let (distance, name) = ranked.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + given.len() / 3).then_some(name)
}

/// Levenshtein distance in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_stranger_is_not() {
        let known = ["filter", "limit", "exact"];
        assert_eq!(nearest("filtr", known), Some("filter"));
        assert_eq!(nearest("limits", known), Some("limit"));
        assert_eq!(nearest("zebra-crossing", known), None);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
    }
}
