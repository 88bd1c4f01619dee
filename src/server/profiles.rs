//! Stored profiles over HTTP: versions that never change, one of them active.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::kept::{commit, read_body};
use super::search::path;
use super::{AppState, Kind, Problem};
use crate::attributes::format_time;
use crate::collection::{ProfileVersion, StateRequest, StoredProfile, Written, changes_between};

/// A profile.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProfileDocument {
    /// Its name.
    name: String,
    /// The version that the name alone stands for.
    active: u32,
    /// All versions, the newest first.
    versions: Vec<VersionDocument>,
    /// The version of `document`: the one asked for, else the active one.
    version: u32,
    /// The profile itself.
    #[schema(value_type = Object)]
    document: Value,
    /// With `against`: what differs from that version, each with its pointer, `from` there and `to` here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    changes: Option<Vec<Value>>,
}

/// A version of a profile.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionDocument {
    /// Its number, from 1.
    version: u32,
    /// When it was stored, RFC 3339.
    created_at: String,
}

/// All profiles of a collection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProfileList {
    /// By name.
    profiles: Vec<ProfileEntry>,
}

/// A profile in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProfileEntry {
    /// Its name.
    name: String,
    /// The version that the name alone stands for.
    active: u32,
    /// Its newest version.
    newest: u32,
}

/// Which version to show, and what to compare it with.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ProfileQuery {
    /// The version to show; the active one unless given.
    version: Option<u32>,
    /// A version to compare it with.
    against: Option<u32>,
}

/// The version to make active.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Activation {
    /// Its number.
    version: u32,
}

type Names = Result<Path<(String, String)>, PathRejection>;

/// All profiles.
#[utoipa::path(get, path = "/v1/collections/{c}/profiles", tag = "profiles", params(("c" = String, Path, description = "The collection")), responses(
    (status = 200, description = "The profiles, by name", body = ProfileList),
    (status = 404, description = "No such collection", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<ProfileList>, Problem> {
    let collection = state.collection(&path(name)?)?;
    let entry = |(name, profile): (String, Arc<StoredProfile>)| ProfileEntry {
        name,
        active: profile.active,
        newest: profile.versions.last().map_or(0, |newest| newest.version),
    };
    Ok(Json(ProfileList { profiles: collection.profiles().into_iter().map(entry).collect() }))
}

/// A profile: its versions, one of them whole, and what differs between two.
#[utoipa::path(get, path = "/v1/collections/{c}/profiles/{p}", tag = "profiles",
    params(("c" = String, Path, description = "The collection"), ("p" = String, Path, description = "The profile"), ProfileQuery), responses(
    (status = 200, description = "The profile", body = ProfileDocument),
    (status = 404, description = "No such profile or version", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn describe(
    State(state): State<Arc<AppState>>,
    names: Names,
    query: Result<Query<ProfileQuery>, QueryRejection>,
) -> Result<Json<ProfileDocument>, Problem> {
    let (collection, name) = path(names)?;
    let collection = state.collection(&collection)?;
    let Query(query) = query.map_err(|error| Problem::new(Kind::InvalidValue, error.body_text()))?;
    let unknown = |name: String| {
        Problem::new(Kind::UnknownProfile, format!("there is no profile {name:?}")).value(name)
    };
    let profile = collection.profile(&name).ok_or_else(|| unknown(name.clone()))?;
    let version = |number: u32| -> Result<&Arc<ProfileVersion>, Problem> {
        profile.version(number).ok_or_else(|| unknown(format!("{name}@{number}")))
    };
    let shown = version(query.version.unwrap_or(profile.active))?;
    let against = query.against.map(version).transpose()?;
    let one = |one: &Arc<ProfileVersion>| VersionDocument {
        version: one.version,
        created_at: format_time(one.created_at),
    };
    Ok(Json(ProfileDocument {
        active: profile.active,
        versions: profile.versions.iter().rev().map(one).collect(),
        version: shown.version,
        document: shown.document.clone(),
        changes: against.map(|against| changes_between(&against.document, &shown.document)),
        name: name.clone(),
    }))
}

/// Stores a version of a profile; an equal one that is there stays the one. The first is active at once.
#[utoipa::path(put, path = "/v1/collections/{c}/profiles/{p}", tag = "profiles",
    params(("c" = String, Path, description = "The collection"), ("p" = String, Path, description = "The profile")),
    request_body(content = Object, description = "The profile, as docs/ranking.md says"), responses(
    (status = 200, description = "Stored", body = Written),
    (status = "4XX", description = "The profile is wrong", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put(
    State(state): State<Arc<AppState>>,
    names: Names,
    request: Request,
) -> Result<Json<Written>, Problem> {
    let (collection, name) = path(names)?;
    let bytes = read_body(&state, request).await?;
    commit(&state, &collection, Some(bytes), |document| StateRequest::PutProfile(name, document)).await
}

/// Makes a version the one that the profile's name stands for.
#[utoipa::path(post, path = "/v1/collections/{c}/profiles/{p}/activate", tag = "profiles",
    params(("c" = String, Path, description = "The collection"), ("p" = String, Path, description = "The profile")),
    request_body = Activation, responses(
    (status = 200, description = "Active", body = Written),
    (status = "4XX", description = "No such version", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn activate(
    State(state): State<Arc<AppState>>,
    names: Names,
    request: Request,
) -> Result<Json<Written>, Problem> {
    let (collection, name) = path(names)?;
    let bytes = read_body(&state, request).await?;
    let activation = |Activation { version }| StateRequest::ActivateProfile(name, version);
    commit(&state, &collection, Some(bytes), activation).await
}

/// Deletes a profile with all its versions; their numbers are not used again.
#[utoipa::path(delete, path = "/v1/collections/{c}/profiles/{p}", tag = "profiles",
    params(("c" = String, Path, description = "The collection"), ("p" = String, Path, description = "The profile")), responses(
    (status = 200, description = "Gone", body = Written),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(state): State<Arc<AppState>>,
    names: Names,
) -> Result<Json<Written>, Problem> {
    let (collection, name) = path(names)?;
    commit(&state, &collection, None, |_: Value| StateRequest::DeleteProfile(name)).await
}
