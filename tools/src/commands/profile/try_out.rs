//! `shortlist profile try`: recorded requests through two profiles, and what would move.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use serde_json::{Map, Value, json};
use shortlist::eval::Resampling;

use super::changes::{Changes, Replayed};
use super::picture;
use crate::commands::Holding;
use crate::commands::number::whole;
use crate::commands::replay::ask_all;
use crate::commands::target::{ProfileChoice, Target, now_argument, now_or_clock};
use crate::input::{Asked, RequestOptions, Requests, VectorOptions};
use crate::output;
use crate::progress::{Progress, Report};

/// Replay recorded requests through two profiles and show what would move.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Replay recorded requests through two profiles and show what would move.\n\n\
        Each request is asked twice, with profile A and with profile B in place of its own, all else as recorded. Shown are: \
        how many lists change and how much (overlap of the first K; rank-biased overlap, which weighs the top most), which \
        items enter and leave most often, what each value of an attribute gets of the exposure (a place's attention is 1 / \
        log2(place + 1)), how often each rule touches a result, and the lists that change most, side by side.\n\n\
        Requests are .jsonl(.gz) of searches of the HTTP API, one a line, each with an `id` if you like; or vectors in any \
        format that build reads.",
    after_help = EXAMPLES
)]
pub struct Args {
    /// An index file, or http://HOST:PORT/COLLECTION
    #[arg(value_name = "INDEX|URL")]
    pub target: String,
    /// Recorded requests: .jsonl, .jsonl.gz, or vectors
    #[arg(long, value_name = "FILE")]
    pub requests: PathBuf,
    /// What is live: a document from a file, a stored profile's name, or none
    #[arg(long, value_name = "@FILE|NAME|none", default_value = "none")]
    pub profile: String,
    /// What might go live
    #[arg(long, value_name = "@FILE|NAME|none")]
    pub against: String,
    /// Results of each request that are compared
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub k: u16,
    /// Compare the exposure of these attributes' values [default: keywords and bools of at most 20 values seen]
    #[arg(long, value_name = "ATTR", value_delimiter = ',')]
    pub by: Option<Vec<String>>,
    /// Lists to show side by side, those that change most
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole(0..=1_000_000_usize))]
    pub show: usize,
    /// What `now` means to an index file, RFC 3339, for answers that repeat [default: the clock]
    #[arg(long, value_name = "TIME", value_parser = now_argument)]
    pub now: Option<i64>,
    /// Seed of the bootstrap; each request without one gets this plus its number
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = whole(0..=u64::MAX))]
    pub seed: u64,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  shortlist profile try shop.slx --requests monday.jsonl --against @home.json
  shortlist profile try http://127.0.0.1:7700/shop --requests monday.jsonl --profile home@3 --against @home-4.json --by seller
  shortlist profile try shop.slx --requests queries.npy --profile @home.json --against @home-4.json --json";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let target = Target::open(&args.target, Holding::Mapped)?;
    let schema = target.attributes()?;
    let (a, b) = (ProfileChoice::read(&args.profile)?, ProfileChoice::read(&args.against)?);
    use shortlist::attributes::AttributeType::{Bool, Keyword, Keywords};
    let attributes: Vec<String> = match &args.by {
        Some(names) => {
            if let Some(name) = names.iter().find(|name| schema.find(name).is_none()) {
                let there: Vec<&str> = schema.iter().map(|(name, _)| name).collect();
                return Err(anyhow!(
                    "--by {name}: there is no such attribute; there are {}",
                    there.join(", ")
                ));
            }
            names.clone()
        }
        None => {
            let kinds = schema.iter().filter(|(_, spec)| matches!(spec.kind, Keyword | Keywords | Bool));
            kinds.map(|(name, _)| name.to_owned()).collect()
        }
    };
    let options = RequestOptions {
        vectors: VectorOptions { column: None, dataset: Some("test".to_owned()) },
        ..RequestOptions::default()
    };
    let asked = Requests::open(&args.requests, &options)?.take_all()?;
    let now = now_or_clock(args.now);
    let show = Report::choose(args.json, false);
    let replay = |profile: &ProfileChoice| -> Result<Vec<Replayed>> {
        let progress = Progress::new(show, &format!("ask {}", profile.name()), asked.len() as u64);
        let prepare = |asked: &Asked, body: &mut Map<String, Value>| {
            prepare(args, profile, &attributes, asked.number, body)
        };
        let answers =
            ask_all(&|request| target.search(request, now), (&args.requests, &asked), &prepare, &progress)?;
        progress.finish();
        Ok(answers.iter().map(|answer| Replayed::of(answer, args.k.into())).collect())
    };
    let (of_a, of_b) = (replay(&a)?, replay(&b)?);
    let how = Resampling { seed: args.seed, ..Resampling::default() };
    let names: Vec<&str> = asked.iter().map(|one| one.name.as_str()).collect();
    let by: Vec<&str> = attributes.iter().map(String::as_str).collect();
    let all = args.by.is_some();
    let changes =
        Changes::between((a.name(), &of_a), (b.name(), &of_b), &names, (&by, all), args.k.into(), &how);
    if args.json {
        return output::json(&changes);
    }
    picture::changes(&changes)?;
    let most = changes.most_changed.iter().take(args.show);
    most.into_iter().try_for_each(|one| picture::side_by_side(one, &changes, &of_a, &of_b))
}

/// What each request has beside what was recorded.
fn prepare(
    args: &Args,
    profile: &ProfileChoice,
    attributes: &[String],
    number: u64,
    body: &mut Map<String, Value>,
) {
    profile.put_into(body);
    let limit = body.get("limit").and_then(Value::as_u64).unwrap_or(0).max(args.k.into());
    body.insert("limit".into(), json!(limit));
    if body.get("candidates").and_then(Value::as_u64).is_some_and(|candidates| candidates < limit) {
        body.insert("candidates".into(), json!(limit));
    }
    // How far a search comes in a time differs from run to run.
    body.remove("budget_ms");
    body.entry("seed").or_insert(json!(args.seed.wrapping_add(number)));
    body.insert("return".into(), json!({"attributes": attributes}));
    body.insert("explain".into(), json!(*profile != ProfileChoice::None));
}
