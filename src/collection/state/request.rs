//! What requests ask of the state, checked; and, in the order of the log, the note that comes of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::events::{self, Counts, Event, EventsRequest};
use super::{Note, Register, State, sets};
use crate::attributes::{ItemFacts, parse_time};
use crate::collection::recipe::Recipe;
use crate::collection::write::{WriteError, Written};
use crate::index::{Index, View};

/// How much a collection keeps beside its items. Each is a setting, `state.<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLimits {
    /// Profiles.
    pub profiles: usize,
    /// Bytes of a profile.
    pub profile_bytes: usize,
    /// Exclude sets that have not expired.
    pub exclude_sets: usize,
    /// Ids of one exclude set.
    pub exclude_set_ids: usize,
    /// Bytes of all exclude sets.
    pub exclude_bytes: usize,
    /// Events in one request.
    pub events: usize,
}

impl Default for StateLimits {
    fn default() -> Self {
        StateLimits {
            profiles: 1_000,
            profile_bytes: 256 << 10,
            exclude_sets: 100_000,
            exclude_set_ids: 100_000,
            exclude_bytes: 512 << 20,
            events: 10_000,
        }
    }
}

/// A set of ids that searches can leave out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExcludeSetRequest {
    /// The ids; ones that are not there (yet) are fine.
    pub ids: Vec<String>,
    /// When the set is gone, RFC 3339; never unless given.
    pub expires_at: Option<String>,
}

/// A change of a set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExcludeSetPatch {
    /// Ids that come.
    #[serde(default)]
    pub add: Vec<String>,
    /// Ids that go.
    #[serde(default)]
    pub remove: Vec<String>,
    /// When the set is gone, RFC 3339; as before unless given.
    pub expires_at: Option<String>,
}

/// What a request asks of the state.
#[derive(Debug)]
pub enum StateRequest {
    /// Stores a version of a profile.
    PutProfile(String, Value),
    /// Makes a version the one that the name stands for.
    ActivateProfile(String, u32),
    /// Deletes a profile.
    DeleteProfile(String),
    /// Puts a set of ids.
    PutSet(String, ExcludeSetRequest),
    /// Changes a set of ids.
    PatchSet(String, ExcludeSetPatch),
    /// Deletes a set of ids.
    DeleteSet(String),
    /// Counts events.
    Events(EventsRequest),
}

/// A request that was checked and waits for its turn.
#[derive(Debug)]
pub(in crate::collection) struct StateWrite {
    register: Arc<Register>,
    what: What,
}

/// Times are in milliseconds, 0 for never.
#[derive(Debug)]
enum What {
    PutProfile(String, String),
    ActivateProfile(String, u32),
    DeleteProfile(String),
    PutSet(String, Vec<String>, i64),
    PatchSet { name: String, add: Vec<String>, remove: Vec<String>, expires_at: Option<i64> },
    DeleteSet(String),
    Events(Vec<Event>),
}

impl StateWrite {
    /// Checks what can be checked before its turn.
    pub fn new(
        register: &Arc<Register>,
        index: &Index,
        request: StateRequest,
    ) -> Result<StateWrite, WriteError> {
        let limits = &register.limits;
        let what = match request {
            StateRequest::PutProfile(name, document) => {
                check_name(&name)?;
                Recipe::parse(&document, &index.schema().attributes)
                    .map_err(|error| WriteError::Profile { pointer: error.pointer, reason: error.reason })?;
                let text = document.to_string();
                within("", "bytes of the profile", text.len(), limits.profile_bytes, "state.profile_bytes")?;
                What::PutProfile(name, text)
            }
            StateRequest::ActivateProfile(name, version) => What::ActivateProfile(name, version),
            StateRequest::DeleteProfile(name) => What::DeleteProfile(name),
            StateRequest::PutSet(name, ExcludeSetRequest { ids, expires_at }) => {
                check_name(&name)?;
                check_ids("/ids", &ids, limits.exclude_set_ids)?;
                What::PutSet(name, ids, time(expires_at.as_deref())?.unwrap_or(0))
            }
            StateRequest::PatchSet(name, ExcludeSetPatch { add, remove, expires_at }) => {
                check_ids("/add", &add, limits.exclude_set_ids)?;
                check_ids("/remove", &remove, limits.exclude_set_ids)?;
                What::PatchSet { name, add, remove, expires_at: time(expires_at.as_deref())? }
            }
            StateRequest::DeleteSet(name) => What::DeleteSet(name),
            StateRequest::Events(EventsRequest { events }) => {
                within("/events", "events", events.len(), limits.events, "state.events")?;
                events.iter().enumerate().try_for_each(|(at, event)| check_event(at, event))?;
                What::Events(events)
            }
        };
        Ok(StateWrite { register: Arc::clone(register), what })
    }

    /// The note that comes of it, after everything that `view` has; None when nothing changes.
    pub fn resolve(
        self,
        view: &View<'_>,
        now: i64,
        written: &mut Written,
    ) -> Result<Option<Vec<u8>>, WriteError> {
        let state = self.register.newest();
        let limits = &self.register.limits;
        let note = match self.what {
            What::PutProfile(name, document) => put_profile(&state, limits, name, document, now, written)?,
            What::ActivateProfile(name, version) => activate(&state, name, version, written)?,
            What::DeleteProfile(name) => {
                let last = state.profiles.next(&name) - 1;
                written.deleted = Some(state.profiles.get(&name).map_or(0, |_| 1));
                state.profiles.get(&name).map(|_| Note::NoProfile { name, last })
            }
            What::PutSet(name, ids, expires_at) => {
                let before = state.sets.get(&name).map_or(0, |_| 1);
                let count = state.sets.iter().filter(|(_, set)| set.lives(now)).count() + 1 - before;
                within("", "exclude sets", count, limits.exclude_sets, "state.exclude_sets")?;
                has_room(&state, (&name, true), &ids, now, limits)?;
                written.ids = Some(ids.iter().collect::<HashSet<_>>().len());
                Some(Note::Set { name, ids, expires_at, at: now })
            }
            What::PatchSet { name, add, remove, expires_at } => {
                let Some(set) = state.sets.get(&name).filter(|set| set.lives(now)) else {
                    return Err(WriteError::UnknownSet { name });
                };
                let going: HashSet<&String> = remove.iter().filter(|id| set.contains(id)).collect();
                let coming: HashSet<&String> =
                    add.iter().filter(|id| !set.contains(id) || going.contains(id)).collect();
                let count = set.len() - going.len() + coming.len();
                within("/add", "ids of the set", count, limits.exclude_set_ids, "state.exclude_set_ids")?;
                has_room(&state, (&name, false), &add, now, limits)?;
                written.ids = Some(count);
                Some(Note::SetChange { name, add, remove, expires_at, at: now })
            }
            What::DeleteSet(name) => {
                let there = state.sets.get(&name).is_some_and(|set| set.lives(now));
                written.deleted = Some(usize::from(there));
                state.sets.get(&name).map(|_| Note::NoSet { name })
            }
            What::Events(events) => count(&self.register, view, events, written),
        };
        let bytes = note.map(|note| serde_json::to_vec(&note)).transpose();
        bytes.map_err(|error| WriteError::Invalid { pointer: String::new(), reason: error.to_string() })
    }
}

fn put_profile(
    state: &State,
    limits: &StateLimits,
    name: String,
    document: String,
    at: i64,
    written: &mut Written,
) -> Result<Option<Note>, WriteError> {
    let profile = state.profiles.get(&name);
    // Equal whatever the order of its fields.
    let parsed: Option<Value> = serde_json::from_str(&document).ok();
    let equal = |one: &&Arc<super::ProfileVersion>| Some(&one.document) == parsed.as_ref();
    let same = profile.and_then(|profile| profile.versions.iter().rev().find(equal));
    if let Some(same) = same {
        (written.version, written.created) = (Some(same.version), Some(false));
        return Ok(None);
    }
    let count = state.profiles.len() + usize::from(profile.is_none());
    within("", "profiles", count, limits.profiles, "state.profiles")?;
    let version = state.profiles.next(&name);
    (written.version, written.created) = (Some(version), Some(true));
    Ok(Some(Note::ProfileVersion { name, version, at, document }))
}

fn activate(
    state: &State,
    name: String,
    version: u32,
    written: &mut Written,
) -> Result<Option<Note>, WriteError> {
    written.version = Some(version);
    match state.profiles.get(&name) {
        Some(profile) if profile.version(version).is_some() => {
            Ok((profile.active != version).then_some(Note::ActiveProfile { name, version }))
        }
        _ => Err(WriteError::UnknownProfile { name: format!("{name}@{version}") }),
    }
}

fn count(register: &Register, view: &View<'_>, events: Vec<Event>, written: &mut Written) -> Option<Note> {
    let (mut counted, mut duplicates, mut unknown) = (Vec::new(), 0, 0);
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    let mut new = HashSet::new();
    {
        let seen = register.seen();
        for event in events {
            let key = events::key(&event.id);
            if seen.contains(key) || new.contains(&key) {
                duplicates += 1;
            } else if view.find(&event.item).is_none() {
                unknown += 1;
            } else {
                new.insert(key);
                counted.push(events::print_key(key));
                let of_event = Counts::of(&event);
                counts.entry(event.item).or_default().add(&of_event);
            }
        }
    }
    (written.counted, written.duplicates, written.unknown) =
        (Some(counted.len()), Some(duplicates), Some(unknown));
    let counts: Vec<_> = counts.into_iter().collect();
    (!counted.is_empty()).then_some(Note::Counts { counts, events: counted })
}

fn within(pointer: &str, name: &str, value: usize, limit: usize, setting: &str) -> Result<(), WriteError> {
    if value <= limit {
        return Ok(());
    }
    let reason = format!("{name}: {value}, allowed are {limit} (setting `{setting}`)");
    Err(WriteError::Invalid { pointer: pointer.to_owned(), reason })
}

/// Whether ids can be added to the set `name`, or put in its place if `replaced`. Sets that have expired take no room: the
/// change sweeps them.
fn has_room(
    state: &State,
    (name, replaced): (&str, bool),
    ids: &[String],
    now: i64,
    limits: &StateLimits,
) -> Result<(), WriteError> {
    let coming = sets::weight(name, ids);
    if state.sets.bytes() + coming <= limits.exclude_bytes {
        return Ok(());
    }
    let staying = state.sets.iter().filter(|(of, set)| set.lives(now) && !(replaced && ***of == *name));
    let staying: usize = staying.map(|(of, set)| set.weight(of)).sum();
    let bytes = staying + coming;
    if bytes <= limits.exclude_bytes {
        return Ok(());
    }
    let reason = format!(
        "exclude sets would take {bytes} bytes, the limit is {} (setting `state.exclude_bytes`)",
        limits.exclude_bytes
    );
    Err(WriteError::NoSpace { reason })
}

/// Names of profiles and sets: 1 to 128 letters, digits, `-`, `_`, `.`, `:`.
fn check_name(name: &str) -> Result<(), WriteError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if (1..=128).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    let shown: String = name.chars().take(128).collect();
    let reason = format!("{shown:?} is not a name: 1 to 128 letters, digits, '-', '_', '.' and ':'");
    Err(WriteError::Invalid { pointer: String::new(), reason })
}

fn check_ids(pointer: &str, ids: &[String], limit: usize) -> Result<(), WriteError> {
    within(pointer, "ids", ids.len(), limit, "state.exclude_set_ids")?;
    ids.iter()
        .enumerate()
        .try_for_each(|(at, id)| check_length(id, Index::MAX_ID, || format!("{pointer}/{at}")))
}

fn check_length(text: &str, most: usize, pointer: impl Fn() -> String) -> Result<(), WriteError> {
    if (1..=most).contains(&text.len()) {
        return Ok(());
    }
    let reason = format!("the id has {} bytes, allowed is 1 to {most}", text.len());
    Err(WriteError::Invalid { pointer: pointer(), reason })
}

fn check_event(at: usize, event: &Event) -> Result<(), WriteError> {
    let invalid = |field: &str, reason: String| {
        Err(WriteError::Invalid { pointer: format!("/events/{at}/{field}"), reason })
    };
    check_length(&event.id, 128, || format!("/events/{at}/id"))?;
    check_length(&event.item, Index::MAX_ID, || format!("/events/{at}/item"))?;
    match event.value {
        Some(value) if !value.is_finite() || value.abs() > 1e15 => {
            return invalid("value", format!("value is {value}, at most 1e15 either way is allowed"));
        }
        Some(_) if event.kind != super::EventKind::Conversion => {
            return invalid("value", "a value goes with a conversion".to_owned());
        }
        _ => {}
    }
    match event.time.as_deref().map(parse_time) {
        Some(Err(reason)) => invalid("time", reason),
        _ => Ok(()),
    }
}

fn time(text: Option<&str>) -> Result<Option<i64>, WriteError> {
    let parsed = text.map(parse_time).transpose();
    let at = |reason| WriteError::Invalid { pointer: "/expires_at".to_owned(), reason };
    Ok(parsed.map_err(at)?.map(|millis| millis.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_sets_and_the_one_replaced_take_no_room() {
        let limits = StateLimits { exclude_bytes: 1_000, ..StateLimits::default() };
        let ids = |count: usize| (0..count).map(|id| format!("id-{id}")).collect::<Vec<_>>();
        let mut state = State::default();
        state.sets.put("old", ids(13), 100);
        assert!(has_room(&state, ("new", true), &ids(5), 99, &limits).is_err(), "it lives yet");
        assert_eq!(has_room(&state, ("new", true), &ids(5), 100, &limits), Ok(()));
        assert_eq!(has_room(&state, ("old", true), &ids(13), 99, &limits), Ok(()));
        assert!(has_room(&state, ("new", true), &ids(15), 100, &limits).is_err());
    }
}
