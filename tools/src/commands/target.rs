//! Who answers searches: an index file in this process, or a server. And with which profile.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};
use shortlist::attributes::{AttributeSchema, parse_time};
use shortlist::collection::{SearchLimits, SearchRequest, now_millis, search};
use shortlist::index::Index;

use super::query::client::{Cause, Client, cause};
use super::{Holding, open_index, read_json};

/// An index file or a collection of a server.
pub enum Target {
    File(Box<Index>),
    Server(Client),
}

impl Target {
    /// A URL is a server's collection, all else a file.
    pub fn open(target: &str, holding: Holding) -> Result<Target> {
        Ok(match Client::parse(target)? {
            Some(client) => Target::Server(client),
            None => Target::File(Box::new(open_index(Path::new(target), holding)?)),
        })
    }

    /// The attributes of its schema.
    pub fn attributes(&self) -> Result<AttributeSchema> {
        match self {
            Target::File(index) => Ok(index.schema().attributes.clone()),
            Target::Server(client) => client.attributes(),
        }
    }

    /// Sends a search of the API. `now` counts for a file; a server has its own clock.
    pub fn search(&self, request: Value, now: i64) -> Result<Value> {
        match self {
            Target::File(index) => search_file(index, request, now),
            Target::Server(client) => client.search(&request),
        }
    }

    /// What a failed search says about its request. A file refuses only requests.
    pub fn cause(&self, error: &anyhow::Error) -> Cause {
        match self {
            Target::File(_) => Cause::Request,
            Target::Server(_) => cause(error),
        }
    }
}

/// The same search that a server makes, in this process.
pub fn search_file(index: &Index, request: Value, now: i64) -> Result<Value> {
    let request: SearchRequest = serde_json::from_value(request).context("the request")?;
    let answer = search(index, request, &SearchLimits::default(), now)
        .map_err(|error| anyhow!("{error} (at {})", error.pointer()))?;
    // By way of text, as over HTTP: an f32 keeps its few digits and is not widened.
    Ok(serde_json::from_str(&serde_json::to_string(&answer)?)?)
}

/// A profile as the command line names it.
#[derive(Debug, Clone, PartialEq)]
pub enum ProfileChoice {
    /// Order by similarity.
    None,
    /// A document from a file, with the file's name.
    Document(String, Value),
    /// One that the server stores.
    Stored(String),
}

impl ProfileChoice {
    /// `none`, `@FILE` or a stored profile's name.
    pub fn read(given: &str) -> Result<ProfileChoice> {
        match given.strip_prefix('@') {
            Some(file) => {
                let document = read_json(Path::new(file))?;
                if !document.is_object() {
                    bail!("{file}: a profile is a JSON object");
                }
                Ok(ProfileChoice::Document(file.to_owned(), document))
            }
            None if given == "none" => Ok(ProfileChoice::None),
            None => Ok(ProfileChoice::Stored(given.to_owned())),
        }
    }

    /// Puts it into a request, in place of what the request names itself.
    pub fn put_into(&self, request: &mut Map<String, Value>) {
        request.remove("profile");
        request.remove("rank");
        match self {
            ProfileChoice::None => None,
            ProfileChoice::Document(_, document) => request.insert("rank".into(), document.clone()),
            ProfileChoice::Stored(name) => request.insert("profile".into(), json!(name)),
        };
    }

    /// What a table's column is called.
    pub fn name(&self) -> String {
        match self {
            ProfileChoice::None => "none".to_owned(),
            ProfileChoice::Stored(name) => name.clone(),
            ProfileChoice::Document(file, _) => {
                Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned()
            }
        }
    }
}

/// `--now`: RFC 3339, for answers that repeat; the clock without it.
pub fn now_argument(text: &str) -> Result<i64, String> {
    parse_time(text)
}

/// The time given, or now.
pub fn now_or_clock(given: Option<i64>) -> i64 {
    given.unwrap_or_else(now_millis)
}
