//! `shortlist eval`: how good the answers are, by people's judgments and for the catalogue; two profiles or indexes
//! compared.

mod audit;
mod report;
mod show;
mod side;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use shortlist::eval::Resampling;

use self::report::Report;
use self::side::Side;
use super::number::whole;
use super::target::{ProfileChoice, now_argument, now_or_clock};
use super::{Holding, open_index, replay};
use crate::input::{RequestOptions, Requests, VectorOptions, read_judgments};
use crate::output;
use crate::progress;

/// Judge an index's answers, and compare two profiles or two indexes.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Judge an index's answers, and compare two profiles or two indexes.\n\n\
        Each query is asked, and its first K results are measured. By people's judgments: relevance recall@K, precision@K, \
        NDCG@K and MRR@K, over the queries that have a right item. For users: intra-list diversity (1 - cosine), and with \
        --popularity novelty in bits. For the catalogue: coverage, evenness of the exposure (entropy) and Gini. With --by, \
        what each value of an attribute gets of the exposure beside its share of the catalogue: an audit of fairness. The \
        index's own recall against exact search is reported apart: it is about the walk, not about relevance.\n\n\
        Figures have bootstrap intervals over the queries (percentile, seeded). With --against, B is compared with A query \
        by query: the difference and its interval, and a test of equivalence: B is 'equivalent' when the 90 % interval of \
        the difference lies within the margin (two one-sided tests at 5 %), else 'higher' or 'lower' when the 95 % interval \
        leaves out 0, else 'undecided'. Below 10 queries there are 'too few queries to say'.\n\n\
        Queries are vectors in any format that build reads, or .jsonl(.gz) of searches of the HTTP API, one a line, each \
        with an `id` that judgments name (without: its number, from 0). Judgments are .jsonl(.gz): {\"query\": ID, \"item\": ID, \
        \"grade\": 0..30} (grade 1 unless given), or {\"id\": QUERY, \"related\": [ITEM, ..]}.",
    after_help = EXAMPLES
)]
pub struct Args {
    /// The index file
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// Queries: vectors, or .jsonl of search requests
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// Judgments: .jsonl, .jsonl.gz
    #[arg(long, value_name = "FILE")]
    pub judgments: PathBuf,
    /// Rank by a profile: a document from a file, or none
    #[arg(long, value_name = "@FILE|none", default_value = "none")]
    pub profile: String,
    /// Compare with another profile, or with another index
    #[arg(long, value_name = "@FILE|none|INDEX")]
    pub against: Option<String>,
    /// Results of a query that count
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = whole(1..=1000_usize))]
    pub k: usize,
    /// Audit the exposure by these attributes; numbers and times by quarters of the catalogue; _inserted_at too
    #[arg(long, value_name = "ATTR", value_delimiter = ',')]
    pub by: Vec<String>,
    /// The attribute that says how popular an item is, for novelty
    #[arg(long, value_name = "ATTR")]
    pub popularity: Option<String>,
    /// Differences up to this do not matter: the margin of the equivalence test, for measures from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, value_parser = margin)]
    pub margin: f64,
    /// A name for each row of vectors: .jsonl, .jsonl.gz, .csv, .parquet [default: the row's number]
    #[arg(long, value_name = "FILE")]
    pub query_names: Option<PathBuf>,
    /// The field of that file which holds the name
    #[arg(long, value_name = "FIELD", default_value = "id")]
    pub name_field: String,
    /// Leave out of each query's results the item that the query is named after
    #[arg(long)]
    pub leave_out_own: bool,
    /// Rounds of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub rounds: u32,
    /// Seed of the bootstrap; each query without one gets this plus its number
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = whole(0..=u64::MAX))]
    pub seed: u64,
    /// What `now` means, RFC 3339, for answers that repeat [default: the clock]
    #[arg(long, value_name = "TIME", value_parser = now_argument)]
    pub now: Option<i64>,
    /// The list column of a .parquet file that holds the queries
    #[arg(long, value_name = "COLUMN")]
    pub vector_column: Option<String>,
    /// The dataset of a .hdf5 file that holds the queries
    #[arg(long, value_name = "NAME", default_value = "test")]
    pub dataset: String,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Draw the measures and their differences as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  How good are the answers, and who is seen?
    shortlist eval shop.slx --queries requests.jsonl --judgments qrels.jsonl --by category,seller
  Does the new profile cost relevance?
    shortlist eval shop.slx --queries requests.jsonl --judgments qrels.jsonl --profile none --against @home.json --plot home.svg
  Is a smaller index as good?
    shortlist eval shop.slx --queries requests.jsonl --judgments qrels.jsonl --against small.slx
  Vectors that have names in another file, each the text of an item, which itself is no answer:
    shortlist eval debian.slx --queries queries.npy --query-names queries.jsonl.gz --name-field item --leave-out-own \\
      --judgments related.jsonl.gz --by section --popularity rdeps";

fn margin(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| format!("{text:?} is not a number above 0 and at most 1"))
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let show = progress::Report::choose(args.json, false);
    let now = now_or_clock(args.now);
    let index = open_index(&args.index, Holding::Mapped)?;
    let profile = ProfileChoice::read(&args.profile)?;
    let other = Other::read(args)?;
    let options = RequestOptions {
        vectors: VectorOptions { column: args.vector_column.clone(), dataset: Some(args.dataset.clone()) },
        names: args.query_names.clone(),
        name_field: args.name_field.clone(),
    };
    let asked = Requests::open(&args.queries, &options)?.take_all()?;
    replay::check_names(&args.queries, &asked)?;
    let judgments = read_judgments(&args.judgments)?;
    if !asked.iter().any(|one| judgments.contains_key(&one.name)) {
        let (judged, named) = (judgments.keys().next(), asked.first().map(|one| &one.name));
        bail!(
            "{}: names none of the queries: its first is {:?}, the first of {} is {:?}",
            args.judgments.display(),
            judged.map_or("", String::as_str),
            args.queries.display(),
            named.map_or("", String::as_str)
        );
    }
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let ask = side::Asking { args, asked: &asked, now, show };
    let (a, b) = match &other {
        Other::None => (Side::ask(name(&args.index), index, &profile, &ask)?, None),
        Other::Profile(other) => {
            let again = open_index(&args.index, Holding::Mapped)?;
            let a = Side::ask(profile.name(), index, &profile, &ask)?;
            (a, Some(Side::ask(other.name(), again, other, &ask)?))
        }
        Other::Index(path) => {
            let a = Side::ask(name(&args.index), index, &profile, &ask)?;
            let second = open_index(path, Holding::Mapped)?;
            (a, Some(Side::ask(name(path), second, &profile, &ask)?))
        }
    };
    let how = Resampling { rounds: args.rounds as usize, seed: args.seed, ..Resampling::default() };
    let report = Report::of(args, (&asked, &judgments), &a, b.as_ref(), &how)?;
    if let Some(path) = &args.plot {
        crate::forest::draw(path, &report.title(), &report.bars(), args.margin)
            .with_context(|| format!("--plot {}", path.display()))?;
    }
    if args.json { output::json(&report) } else { show::report(&report) }
}

/// What A is compared with.
enum Other {
    None,
    Profile(ProfileChoice),
    Index(PathBuf),
}

impl Other {
    fn read(args: &Args) -> Result<Other> {
        let Some(given) = &args.against else { return Ok(Other::None) };
        if given == "none" || given.starts_with('@') {
            return Ok(Other::Profile(ProfileChoice::read(given)?));
        }
        if !Path::new(given).exists() {
            bail!("--against {given}: there is no such index; a profile's document is given as @FILE");
        }
        Ok(Other::Index(PathBuf::from(given)))
    }
}
