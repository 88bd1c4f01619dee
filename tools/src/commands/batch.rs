//! `shortlist batch`: candidates for many queries into a file, offline; an interrupted run goes on where it was.
//!
//! The work is cut into parts of `--part` queries. A part is answered, written to `OUT.parts/N.tmp`, synced and renamed,
//! so a part that is there is whole. When all are there they are put together in `OUT.tmp`, which is synced and renamed to
//! `OUT`, and the directory goes. `OUT.parts/job.json` says what the parts are of: another job is refused, not mixed in.

mod job;
mod write;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use shortlist::index::Index;
use shortlist::rank::Profile;

use self::job::Job;
use self::write::{Format, Row};
use super::number::whole;
use super::query::client::Cause;
use super::replay::results;
use super::target::{ProfileChoice, Target, now_argument, now_or_clock};
use super::{Holding, time};
use crate::input::{Asked, RequestOptions, Requests, VectorOptions, grouped};
use crate::output;
use crate::progress::{Progress, Report, seconds};

/// Between two tries of a server that does not answer.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Candidates for many queries into a file, offline.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Candidates for many queries into a file, offline.\n\n\
        Queries are vectors in any format that build reads, or .jsonl(.gz) of searches of the HTTP API, one a line, each \
        with an `id` that names it if you like (without: its number, from 0). --limit, --ef and --exact count where a \
        request does not say; --profile ranks all of them.\n\n\
        OUT has a row for each query, in their order. As .parquet: query (string), items (list of strings), scores (list of \
        doubles), similarities (list of floats, null where no vector was compared), error (string, null unless --keep-going). As .jsonl: \
        {\"query\", \"items\": [{\"id\", \"score\", \"similarity\"}]}, or {\"query\", \"error\"}.\n\n\
        The run can be stopped at any time: what is done is kept in OUT.parts, and the same command goes on from there, to \
        the same result over an index file. Another command, another index or other queries are refused there; delete \
        OUT.parts to begin anew.",
    after_help = EXAMPLES
)]
pub struct Args {
    /// An index file, or http://HOST:PORT/COLLECTION
    #[arg(value_name = "INDEX|URL")]
    pub target: String,
    /// Queries: vectors, or .jsonl of search requests
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// Where the candidates go: .parquet or .jsonl
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Rank by a profile: a document from a file, a stored one's name, or none [default: what each request says]
    #[arg(long, value_name = "@FILE|NAME|none")]
    pub profile: Option<String>,
    /// Results of each query
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole(1..=Index::MAX_EF))]
    pub limit: usize,
    /// Width of the search [default: the collection's]
    #[arg(long, value_name = "N", value_parser = whole(1..=Index::MAX_EF))]
    pub ef: Option<usize>,
    /// Compare with every matching item instead of walking the graph
    #[arg(long)]
    pub exact: bool,
    /// A name for each row of vectors: .jsonl, .jsonl.gz, .csv, .parquet [default: the row's number]
    #[arg(long, value_name = "FILE")]
    pub query_names: Option<PathBuf>,
    /// The field of that file which holds the name
    #[arg(long, value_name = "FIELD", default_value = "id")]
    pub name_field: String,
    /// Queries of a part: what is lost at most when the run is stopped
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub part: u32,
    /// Queries that are answered at the same time; 0 for one a core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub threads: u16,
    /// Write what refused a query into its row and go on, instead of stopping there
    #[arg(long)]
    pub keep_going: bool,
    /// Ask again for so long when a server does not answer; then the run stops, and can go on later
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub patience: Duration,
    /// What `now` means to an index file, RFC 3339 [default: the clock when the job first began]
    #[arg(long, value_name = "TIME", value_parser = now_argument)]
    pub now: Option<i64>,
    /// Each query without a seed gets this plus its number
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0..=u64::MAX))]
    pub seed: u64,
    /// The list column of a .parquet file that holds the queries
    #[arg(long, value_name = "COLUMN")]
    pub vector_column: Option<String>,
    /// The dataset of a .hdf5 file that holds the queries
    #[arg(long, value_name = "NAME", default_value = "test")]
    pub dataset: String,
    /// Print a report as JSON
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  shortlist batch shop.slx --queries users.npy --profile @home.json --limit 200 --out candidates.parquet
  shortlist batch shop.slx --queries users.parquet --query-names users.parquet --name-field user --out candidates.parquet
  shortlist batch http://127.0.0.1:7700/shop --queries requests.jsonl --threads 8 --keep-going --out candidates.jsonl";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    let format = Format::of(&args.out)?;
    let target = Target::open(&args.target, Holding::Mapped)?;
    if args.now.is_some() && matches!(target, Target::Server(_)) {
        bail!("--now is for index files: a server has its own clock");
    }
    let profile = args.profile.as_deref().map(ProfileChoice::read).transpose()?;
    // A collection that is not there, a wrong key or a wrong profile ends the run here, not in every row.
    let schema = target.attributes()?;
    if let Some(ProfileChoice::Document(file, document)) = &profile {
        Profile::parse(document, &schema)
            .map_err(|error| anyhow!("{file}: {} (at {:?})", error.reason, error.pointer))?;
    }
    let job = Job::open(args, &target, profile.as_ref(), now_or_clock(args.now))?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(args.threads.into());
    let pool = threads.build().context("--threads")?;
    let show = Report::choose(args.json, false);
    let work = Work { args, target: &target, profile: profile.as_ref(), job: &job, format };
    let (done, resumed) = pool.install(|| work.parts(show))?;
    let totals = job.join(&args.out, format, done)?;
    if args.json {
        return output::json(&json!({
            "out": args.out, "queries": totals.queries, "items": totals.items, "refused": totals.refused,
            "resumed": resumed, "seconds": begun.elapsed().as_secs_f64(),
        }));
    }
    let count = |count: u64| grouped(count.into());
    output::line(format!(
        "{} queries, {} candidates, {} refused: wrote {} in {}{}",
        count(totals.queries),
        count(totals.items),
        count(totals.refused),
        args.out.display(),
        seconds(begun.elapsed()),
        if resumed > 0 { format!("; {} queries were done before", count(resumed)) } else { String::new() }
    ))
}

/// The whole of a job.
struct Work<'a> {
    args: &'a Args,
    target: &'a Target,
    profile: Option<&'a ProfileChoice>,
    job: &'a Job,
    format: Format,
}

impl Work<'_> {
    /// Makes all parts that are not there; their number, and how many queries were done before.
    fn parts(&self, show: Report) -> Result<(u64, u64)> {
        let args = self.args;
        let options = RequestOptions {
            vectors: VectorOptions {
                column: args.vector_column.clone(),
                dataset: Some(args.dataset.clone()),
            },
            names: args.query_names.clone(),
            name_field: args.name_field.clone(),
        };
        let mut requests = Requests::open(&args.queries, &options)?;
        let progress = Progress::new(show, "answer", requests.count().unwrap_or(0));
        let (mut part, mut first, mut resumed) = (0, 0, 0);
        loop {
            let asked = requests.take(args.part as usize)?;
            if asked.is_empty() {
                break;
            }
            if self.job.has(part, self.format) {
                resumed += asked.len() as u64;
                progress.inc(asked.len() as u64);
            } else {
                let rows = self.answer(&asked, first, &progress)?;
                self.job.write(part, self.format, &rows)?;
            }
            first += asked.len() as u64;
            part += 1;
        }
        if part == 0 {
            bail!("{}: holds no queries", args.queries.display());
        }
        progress.finish();
        Ok((part, resumed))
    }

    fn answer(&self, asked: &[Asked], first: u64, progress: &Progress) -> Result<Vec<Row>> {
        let one = |(place, asked): (usize, &Asked)| {
            let request = self.request(asked, first + place as u64);
            let answer = self.patiently(&Value::Object(request));
            progress.inc(1);
            match answer {
                Ok(answer) => row(&asked.name, &answer),
                Err(error) if self.args.keep_going && self.target.cause(&error) == Cause::Request => {
                    Ok(Row {
                        query: asked.name.clone(),
                        error: Some(output::reasons(&error)),
                        ..Row::default()
                    })
                }
                Err(error) => Err(error.context(format!("{}: {}", self.args.queries.display(), asked.place))),
            }
        };
        asked.par_iter().enumerate().map(one).collect()
    }

    /// Asks again, in longer and longer intervals, as long as an outage may be over soon.
    fn patiently(&self, request: &Value) -> Result<Value> {
        let (since, patience) = (Instant::now(), self.args.patience);
        let mut pause = SHORTEST_PAUSE;
        loop {
            let answer = self.target.search(request.clone(), self.job.now());
            let Err(error) = answer else { return answer };
            let left = patience.saturating_sub(since.elapsed());
            if self.target.cause(&error) != Cause::Outage {
                return Err(error);
            }
            if left.is_zero() {
                let told =
                    format!("no answer within --patience {patience:?}; the same command goes on from here");
                return Err(error.context(told));
            }
            std::thread::sleep(pause.min(left));
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// The request with what the command line adds.
    fn request(&self, asked: &Asked, number: u64) -> Map<String, Value> {
        let mut body = asked.body.clone();
        body.entry("limit").or_insert_with(|| json!(self.args.limit));
        body.entry("seed").or_insert_with(|| json!(self.args.seed.wrapping_add(number)));
        if let Some(ef) = self.args.ef {
            body.entry("ef").or_insert_with(|| json!(ef));
        }
        if self.args.exact {
            body.entry("exact").or_insert(json!(true));
        }
        if let Some(profile) = self.profile {
            profile.put_into(&mut body);
        }
        // What results carry besides is not written.
        body.remove("return");
        body.remove("explain");
        // How far a search comes in a time differs from run to run.
        body.remove("budget_ms");
        body
    }
}

fn row(query: &str, answer: &Value) -> Result<Row> {
    let mut row = Row { query: query.to_owned(), ..Row::default() };
    for result in results(answer) {
        let malformed = || anyhow!("the answer's result {result} has no id and score");
        row.items.push(result["id"].as_str().ok_or_else(malformed)?.to_owned());
        row.scores.push(result["score"].as_f64().ok_or_else(malformed)?);
        row.similarities.push(result["similarity"].as_f64().map(|similarity| similarity as f32));
    }
    Ok(row)
}

/// The name of a file with something behind it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    path.with_file_name(name)
}
