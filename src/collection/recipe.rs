//! The ranking recipe of one search: a stored profile, the request's patch of it, or both; and its fallback.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::request::QueryDocument;
use super::state::{ProfileVersion, State, StoredProfile};
use super::{SearchError, SearchRequest};
use crate::attributes::AttributeSchema;
use crate::rank::{Profile, ProfileError, merge_patch};

/// A checked profile with the parts of it that are the search's.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Score, rules, diversity.
    pub profile: Profile,
    /// What is searched by when there is no usable query, the budget ran out, or too few came.
    pub fallback: Option<QueryDocument>,
    /// Fewer results than this are too few.
    pub min_results: usize,
}

impl Recipe {
    /// Parses and checks a profile document.
    pub fn parse(document: &Value, schema: &AttributeSchema) -> Result<Recipe, ProfileError> {
        let mut own = document.clone();
        let mut take = |name: &str| own.as_object_mut().and_then(|fields| fields.remove(name));
        let fallback = take("fallback").filter(|value| !value.is_null()).map(parse_fallback).transpose()?;
        let min_results = take("min_results").filter(|value| !value.is_null());
        let min_results = min_results.map(|value| parse_min_results(&value)).transpose()?.unwrap_or(0);
        if min_results > 0 && fallback.is_none() {
            let reason = "min_results says when the fallback serves, and there is no fallback".to_owned();
            return Err(ProfileError { pointer: "/min_results".to_owned(), reason });
        }
        Ok(Recipe { profile: Profile::parse(&own, schema)?, fallback, min_results })
    }
}

fn parse_fallback(value: Value) -> Result<QueryDocument, ProfileError> {
    let refuse = |pointer: &str, reason: String| Err(ProfileError { pointer: pointer.to_owned(), reason });
    let Value::Object(mut fields) = value else {
        return refuse("/fallback", "fallback is an object with a query".to_owned());
    };
    let Some(query) = fields.remove("query") else {
        return refuse("/fallback", "query is missing".to_owned());
    };
    if let Some(other) = fields.keys().next() {
        return refuse(&format!("/fallback/{other}"), format!("unknown field {other:?}; allowed is query"));
    }
    let parsed: Result<QueryDocument, _> = serde_path_to_error::deserialize(query);
    match parsed {
        Ok(query) if query.is_absent() => refuse("/fallback/query", "the query is empty".to_owned()),
        Ok(query) => Ok(query),
        Err(error) => refuse("/fallback/query", format!("{}: {}", error.path(), error.inner())),
    }
}

fn parse_min_results(value: &Value) -> Result<usize, ProfileError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| ProfileError {
        pointer: "/min_results".to_owned(),
        reason: format!("min_results is {value}, it is a whole number from 0"),
    })
}

/// The recipe of a request, its name and version, and where in the request it stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Chosen {
    pub recipe: Option<Arc<Recipe>>,
    /// `name@version`, when it is a stored one.
    pub name: Option<String>,
    /// Whether the request has changed it.
    pub patched: bool,
}

impl Chosen {
    /// A pointer into the profile as one into the request.
    pub fn pointer(&self, inside: &str) -> String {
        if self.is_stored() { "/profile".to_owned() } else { format!("/rank{inside}") }
    }

    /// Whether it is a stored one as it stands: of others the client names the rules.
    pub fn is_stored(&self) -> bool {
        self.name.is_some() && !self.patched
    }

    pub fn profile(&self) -> Option<&Profile> {
        self.recipe.as_ref().map(|recipe| &recipe.profile)
    }

    pub fn fallback(&self) -> Option<&QueryDocument> {
        self.recipe.as_ref()?.fallback.as_ref()
    }
}

/// Reads the request's recipe. An empty `rank` without a profile is none.
pub(super) fn choose(
    request: &SearchRequest,
    state: &State,
    schema: &AttributeSchema,
    caches: &super::state::SlotCaches,
) -> Result<Chosen, SearchError> {
    let stored = request.profile.as_deref().map(|name| find(state, name)).transpose()?;
    let patch = request.rank.as_ref().filter(|patch| !patch.as_object().is_some_and(Map::is_empty));
    if patch.is_some_and(|patch| !patch.is_object()) {
        return Err(SearchError::invalid("/rank", "rank is a profile document: an object"));
    }
    let name = stored.as_ref().map(|(name, version)| format!("{name}@{}", version.version));
    let mut chosen = Chosen { recipe: None, name, patched: patch.is_some() };
    let parse = |document: &Value| {
        Recipe::parse(document, schema).map(Arc::new).map_err(|error| SearchError::Profile {
            pointer: chosen.pointer(&error.pointer),
            reason: match &chosen.name {
                Some(name) => format!("profile {name:?}, {error}"),
                None => error.reason,
            },
        })
    };
    chosen.recipe = match (stored, patch) {
        (None, None) => None,
        (Some((name, version)), None) => {
            Some(caches.recipe(&format!("{name}@{}", version.version), || parse(&version.document))?)
        }
        (Some((_, version)), Some(patch)) => Some(parse(&merge_patch(&version.document, patch))?),
        (None, Some(patch)) => {
            let document = merge_patch(&json!({}), patch);
            let is_empty = document.as_object().is_some_and(Map::is_empty);
            if is_empty { None } else { Some(parse(&document)?) }
        }
    };
    Ok(chosen)
}

/// A stored profile by `name` or `name@version`.
fn find<'a>(state: &State, given: &'a str) -> Result<(&'a str, Arc<ProfileVersion>), SearchError> {
    let unknown = || SearchError::UnknownProfile { name: given.to_owned() };
    let (name, version) = match given.rsplit_once('@') {
        Some((name, version)) => (name, Some(version.parse::<u32>().map_err(|_| unknown())?)),
        None => (given, None),
    };
    let profile: &StoredProfile = state.profiles.get(name).ok_or_else(unknown)?;
    let version = profile.version(version.unwrap_or(profile.active)).ok_or_else(unknown)?;
    Ok((name, Arc::clone(version)))
}
