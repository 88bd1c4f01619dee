//! `shortlist demo`: the whole house once, on the real data of the repository.

mod scenes;
mod shop;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use shortlist::arena::Mode;
use shortlist::collection::Catalogue;
use shortlist::eval::{self, Setting};
use shortlist::index::Index;
use shortlist::server::{self, ServerConfig};
use shortlist::vector::Metric;

use super::query::client::Client;
use super::serve::{runtime, stop_signal};
use super::{Holding, bench, build, check_dimension, open_index, read_queries};
use crate::input::{ItemOptions, ItemReader, VectorOptions, grouped, read_neighbors};
use crate::output;
use crate::progress::Report;

const SAMPLE: &str = "datasets/debian-sample";
const NAME: &str = "packages";
const K: usize = 100;

/// Build, measure, serve and query real data, to see how it all fits together.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Build, measure, serve and query real data, to see how it all fits together.\n\n\
        The data are 6,000 packages of Debian, each with the embedding of its description, and short texts to search \
        by. The demo builds an index in a temporary directory, checks its recall against exact neighbours, serves it on a \
        free port of this machine, asks three questions over HTTP, prints what came back and curl lines to go on with, and \
        serves until Ctrl-C. Run it where the repository's datasets/ is.",
    after_help = "Examples:\n  shortlist demo\n  shortlist demo --exit\n  shortlist demo --write shop    # docs/ranking.md goes on from there"
)]
pub struct Args {
    /// End after the questions instead of serving until Ctrl-C
    #[arg(long)]
    pub exit: bool,
    /// Only write the sample, told as a shop, into a directory: items, index, recorded requests, judgments
    #[arg(long, value_name = "DIR", conflicts_with = "exit")]
    pub write: Option<PathBuf>,
    /// The directory of the sample
    #[arg(long, value_name = "DIR", default_value = SAMPLE)]
    pub dataset: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    check_sample(&args.dataset)?;
    if let Some(out) = &args.write {
        return shop::write(&args.dataset, out);
    }
    let data = DataDirectory::new()?;
    heading("1. Build an index from vectors and items")?;
    let built = build_sample(&args.dataset, &data.path)?;
    let path = PathBuf::from(built.written["path"].as_str().unwrap_or_default());
    heading("2. Measure it against exact neighbours, one thread, in this process")?;
    let index = open_index(&path, Holding::Mapped)?;
    let queries = read_queries(&args.dataset.join("queries.npy"), &VectorOptions::default(), None)?;
    measure(&args.dataset, &index, &queries)?;
    drop(index);
    let texts = texts(&args.dataset)?;
    runtime()?.block_on(serve(args, &data.path, queries, texts))
}

fn heading(text: &str) -> Result<()> {
    output::line(format!("\n{text}\n"))
}

fn check_sample(directory: &Path) -> Result<()> {
    for file in [
        "vectors.npy",
        "items.jsonl.gz",
        "queries.npy",
        "queries.jsonl.gz",
        "neighbors.npy",
        "related.jsonl.gz",
    ] {
        if !directory.join(file).is_file() {
            bail!(
                "{}: not found; run the demo in the repository's root, or name the sample's directory with --dataset",
                directory.join(file).display()
            );
        }
    }
    Ok(())
}

fn build_sample(sample: &Path, data: &Path) -> Result<build::Built> {
    let (vectors, items) = (sample.join("vectors.npy"), sample.join("items.jsonl.gz"));
    output::line(format!(
        "$ shortlist build --vectors {} --items {} --metric cosine --out DATA/{NAME}",
        vectors.display(),
        items.display()
    ))?;
    let args = build::Args::of(vectors, items, Metric::Cosine, data.join(NAME));
    let built = build::build(&args, Report::choose(false, false))?;
    build::print(&args, &built)?;
    Ok(built)
}

fn measure(sample: &Path, index: &Index, queries: &[Vec<f32>]) -> Result<()> {
    check_dimension(&sample.join("queries.npy"), queries, index)?;
    let path = sample.join("neighbors.npy");
    let neighbors = read_neighbors(&path)?;
    let lists = (0..neighbors.rows).map(|row| neighbors.row(row));
    let truth = eval::from_rows(index, queries, lists, K).with_context(|| path.display().to_string())?;
    let mut table = bench::table();
    for ef in [100, 200, 400] {
        bench::row(&mut table, &eval::measure(index, queries, &truth, Setting { k: K, ef, threads: 1 })?);
    }
    output::line(format!("{} queries, recall@{K} (ties count as found)", grouped(truth.len() as u128)))?;
    output::table(&table)
}

/// The package and the text of each query.
fn texts(sample: &Path) -> Result<Vec<(String, String)>> {
    let options = ItemOptions { id_field: "item".to_string(), ..ItemOptions::default() };
    let mut texts = Vec::new();
    for query in ItemReader::open(&sample.join("queries.jsonl.gz"), &options)? {
        let query = query?;
        let text = query.attributes.get("text").and_then(Value::as_str).unwrap_or(&query.id).to_owned();
        texts.push((query.id, text));
    }
    Ok(texts)
}

async fn serve(args: &Args, data: &Path, queries: Vec<Vec<f32>>, texts: Vec<(String, String)>) -> Result<()> {
    let config =
        ServerConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..ServerConfig::default() };
    let catalogue = Arc::new(Catalogue::open(data, Mode::Mapped)?);
    let listener = server::bind(&config).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(config, catalogue, listener, async {
        // An error is the sender gone, which is a reason to stop as well.
        let _ = stopped.await;
    }));
    heading(&format!("3. Serve it, and ask over HTTP (http://{address}, collection {NAME})"))?;
    let asked = tokio::task::spawn_blocking(move || -> Result<()> {
        let client =
            Client::parse(&format!("http://{address}/{NAME}"))?.context("the server's address is no URL")?;
        scenes::ask(&client, &queries, &texts)
    });
    let asked = tokio::select! {
        asked = asked => asked.context("the questions")?,
        () = stop_signal() => Ok(()),
    };
    if asked.is_ok() && !args.exit {
        heading("4. Go on yourself, in another terminal; Ctrl-C here ends the demo")?;
        scenes::curl(&address.to_string(), NAME)?;
        stop_signal().await;
    }
    drop(stop);
    serving.await.context("the server")??;
    asked
}

/// A directory of this run alone; removed with what is in it at the end.
struct DataDirectory {
    path: PathBuf,
}

impl DataDirectory {
    fn new() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("shortlist-demo-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("note: {} is left: {error}", self.path.display());
        }
    }
}
