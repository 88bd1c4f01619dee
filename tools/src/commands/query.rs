//! `shortlist query`: one search, of an index file or of a server, as a table.

pub mod client;
mod conditions;
mod explain;
pub mod show;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};
use shortlist::attributes::AttributeSchema;
use shortlist::index::Index;

use super::number::whole;
use super::target::{Target, now_argument, now_or_clock};
use super::{Holding, json_argument, read_json};
use crate::input::{VectorOptions, VectorSource};
use crate::output;

/// Ask an index file or a server for the items nearest to an item or a vector.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Ask an index file or a server for the items nearest to an item or a vector.\n\n\
        Conditions (--where) are typed by the index's schema and all must hold; --filter takes the API's filter language. \
        A profile ranks what was found: --profile @FILE sends a profile document, --profile NAME names one that the server \
        stores. Against a server with keys, put yours into the variable SHORTLIST_KEY.",
    after_help = EXAMPLES
)]
#[command(group = clap::ArgGroup::new("by").required(true).args(["item", "vector"]))]
pub struct Args {
    /// An index file, or http://HOST:PORT/COLLECTION
    #[arg(value_name = "INDEX|URL")]
    pub target: String,
    /// Search by an item: what is like it
    #[arg(long, value_name = "ID")]
    pub item: Option<String>,
    /// Search by a vector: a file that build reads, and the row, counted from 0 [default row: 0]
    #[arg(long, value_name = "FILE[:ROW]")]
    pub vector: Option<String>,
    /// A condition: attr=value, attr!=value, or a range such as attr<500, attr>=2026-01-31T08:00:00Z; repeatable
    #[arg(long = "where", value_name = "ATTR=VALUE")]
    pub conditions: Vec<String>,
    /// A filter in the API's language, as JSON or from a file
    #[arg(long, value_name = "JSON|@FILE")]
    pub filter: Option<String>,
    /// Rank by a profile: a stored one's name, or a document from a file
    #[arg(long, value_name = "NAME|@FILE")]
    pub profile: Option<String>,
    /// Results wanted
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole(1..=Index::MAX_EF))]
    pub limit: usize,
    /// Width of the search [default: the collection's]
    #[arg(long, value_name = "N", value_parser = whole(1..=Index::MAX_EF))]
    pub ef: Option<usize>,
    /// Compare with every matching item instead of walking the graph
    #[arg(long)]
    pub exact: bool,
    /// Attributes to show [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub attributes: Option<Vec<String>>,
    /// What `now` means to an index file, RFC 3339, for answers that repeat [default: the clock]
    #[arg(long, value_name = "TIME", value_parser = now_argument)]
    pub now: Option<i64>,
    /// Show how each score and place came about
    #[arg(long)]
    pub explain: bool,
    /// Print the answer as the API writes it
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  shortlist query shop.slx --item acm --limit 5
  shortlist query shop.slx --vector queries.npy:12 --where section=games --where 'size_kib<5000'
  shortlist query http://127.0.0.1:7700/shop --item acm --filter '{\"tags\": {\"in\": [\"game::arcade\", \"game::puzzle\"]}}'
  shortlist query http://127.0.0.1:7700/shop --item acm --profile @popular.json --explain";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let target = Target::open(&args.target, Holding::Mapped)?;
    if args.now.is_some() && matches!(target, Target::Server(_)) {
        bail!("--now is for index files: a server has its own clock");
    }
    let schema = target.attributes()?;
    let request = request(args, &schema)?;
    let answer = target.search(request, now_or_clock(args.now))?;
    if args.json {
        return output::json(&answer);
    }
    show::answer(&answer, &shown(args, &schema))?;
    if args.explain { explain::print(&answer) } else { Ok(()) }
}

/// The API's search request.
fn request(args: &Args, schema: &AttributeSchema) -> Result<Value> {
    let query = match (&args.item, &args.vector) {
        (Some(id), _) => json!({"item": id}),
        (None, Some(vector)) => json!({"vector": read_vector(vector)?}),
        (None, None) => bail!("give --item ID or --vector FILE[:ROW]"),
    };
    let mut request = Map::new();
    request.insert("query".into(), query);
    request.insert("limit".into(), json!(args.limit));
    request.insert("return".into(), json!({"attributes": shown(args, schema)}));
    if let Some(filter) = filter(args, schema)? {
        request.insert("filter".into(), filter);
    }
    if let Some(ef) = args.ef {
        request.insert("ef".into(), json!(ef));
    }
    if args.exact {
        request.insert("exact".into(), json!(true));
    }
    if args.explain {
        request.insert("explain".into(), json!(true));
    }
    match args.profile.as_deref().map(|profile| (profile, profile.strip_prefix('@'))) {
        Some((_, Some(file))) => request.insert("rank".into(), read_json(Path::new(file))?),
        Some((name, None)) => request.insert("profile".into(), json!(name)),
        None => None,
    };
    Ok(Value::Object(request))
}

fn shown(args: &Args, schema: &AttributeSchema) -> Vec<String> {
    let all = || schema.iter().map(|(name, _)| name.to_owned()).collect();
    args.attributes.clone().unwrap_or_else(all)
}

/// `--where` and `--filter` together.
fn filter(args: &Args, schema: &AttributeSchema) -> Result<Option<Value>> {
    let conditions = args.conditions.iter().map(|condition| conditions::parse(condition, schema));
    let mut all = conditions.collect::<Result<Vec<Value>>>()?;
    if let Some(filter) = &args.filter {
        all.push(json_argument(filter, "--filter")?);
    }
    Ok(match all.len() {
        0 | 1 => all.pop(),
        _ => Some(json!({"all": all})),
    })
}

/// Reads one vector. A name with a colon that is a file's is the file.
fn read_vector(given: &str) -> Result<Vec<f32>> {
    let (path, row) = match given.rsplit_once(':') {
        Some((path, row)) if !Path::new(given).exists() => {
            let row = row.parse().map_err(|_| anyhow!("--vector {given}: {row:?} is not a row number"))?;
            (PathBuf::from(path), row)
        }
        _ => (PathBuf::from(given), 0),
    };
    let mut source = VectorSource::open(&path, &VectorOptions::default())?;
    source.seek(row)?;
    let chunk = source.next_chunk(1)?.with_context(|| format!("{}: holds no vectors", path.display()))?;
    let mut vector = Vec::with_capacity(source.dimension());
    source.element().decode(&chunk.bytes[..source.row_bytes()], &mut vector);
    match vector.iter().position(|number| !number.is_finite()) {
        Some(place) => {
            bail!("{}: row {row}, column {place} is {}, which is not finite", path.display(), vector[place])
        }
        None => Ok(vector),
    }
}
