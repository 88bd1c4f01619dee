//! The `shortlist` program: one file a command.

mod commands;
mod forest;
mod input;
mod output;
mod plot;
mod progress;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Candidates for recommenders: from a file of embeddings to ranked candidates over HTTP.
#[derive(Debug, Parser)]
#[command(
    name = "shortlist",
    version,
    max_term_width = 110,
    long_about = "Candidates for recommenders: from a file of embeddings to ranked candidates over HTTP.\n\n\
        `build` makes an index file from vectors and items, `serve` answers searches over a directory of them, \
        `query` asks one, `bench` measures recall and latency, `eval` judges the answers, \
        `batch` answers many queries into a file, `profile` tries a ranking on recorded requests, `inspect` shows what a file holds, and `demo` does \
        all of it once, on real data.",
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Start here:
  shortlist demo
  shortlist build --vectors vectors.npy --items items.jsonl --metric cosine --out data/shop
  shortlist serve --data data
  shortlist query http://127.0.0.1:7700/shop --item some-id

`shortlist <command> --help` explains each with examples.";

#[derive(Debug, Subcommand)]
enum Command {
    Build(commands::build::Args),
    Serve(commands::serve::Args),
    Query(commands::query::Args),
    Bench(commands::bench::Args),
    Eval(commands::eval::Args),
    Batch(commands::batch::Args),
    Profile(commands::profile::Args),
    Inspect(commands::inspect::Args),
    Import(commands::import::Args),
    Export(commands::export::Args),
    Backup(commands::backup::Args),
    Restore(commands::restore::Args),
    Log(commands::log::Args),
    Demo(commands::demo::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Build(args) => commands::build::run(&args),
        Command::Serve(args) => commands::serve::run(&args),
        Command::Query(args) => commands::query::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Batch(args) => commands::batch::run(&args),
        Command::Profile(args) => commands::profile::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Backup(args) => commands::backup::run(&args),
        Command::Restore(args) => commands::restore::run(&args),
        Command::Log(args) => commands::log::run(&args),
        Command::Demo(args) => commands::demo::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", output::reasons(&error));
            ExitCode::FAILURE
        }
    }
}
