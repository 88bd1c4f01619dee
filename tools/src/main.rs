//! The `shortlist` program: one file a command.

mod commands;
mod forest;
mod input;
mod output;
mod plot;
mod progress;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

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

/// Numbers below 0 are values, which their options refuse by name; clap alone would take them for options that are not there.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let number = |arg: clap::Arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    command.mut_args(number).mut_subcommands(with_negative_numbers)
}

fn main() -> ExitCode {
    let given = with_negative_numbers(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&given).unwrap_or_else(|error| error.exit());
    let outcome = match cli.command {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What options that take a number call their value.
    const NUMBERS: [&str; 10] = ["N", "K", "EF", "BYTES", "MIB", "SECONDS", "SHARE", "SEQ", "ROW", "AT"];

    /// Every option that takes a number, behind the names of its command.
    fn numbers(command: &clap::Command, names: &[String]) -> Vec<Vec<String>> {
        let is_number = |option: &&clap::Arg| {
            let values = option.get_value_names().unwrap_or_default();
            values.iter().any(|value| NUMBERS.contains(&value.as_str()))
        };
        let with = |name: String| [names, &[name]].concat();
        let flags = command.get_arguments().filter(is_number).filter_map(clap::Arg::get_long);
        let own = flags.map(|flag| with(format!("--{flag}")));
        let below = command.get_subcommands().flat_map(|sub| numbers(sub, &with(sub.get_name().to_owned())));
        own.chain(below).collect()
    }

    #[test]
    fn every_number_below_0_is_refused_by_its_option() {
        let commands = with_negative_numbers(Cli::command());
        commands.clone().debug_assert();
        let all = numbers(&commands, &["shortlist".to_owned()]);
        assert!(all.len() > 40, "only {all:?}: does this test still find them?");
        for given in all {
            let flag = given.last().cloned().unwrap_or_default();
            let call = given.iter().map(String::as_str).chain(["-5"]);
            let error = commands.clone().try_get_matches_from(call).expect_err("refused").to_string();
            let is_named = error.contains(&format!("invalid value '-5' for '{flag} <"));
            let (_, reason) =
                error.lines().next().and_then(|line| line.split_once(">': ")).unwrap_or_default();
            let has_limit = reason.contains(|c: char| c.is_ascii_digit() && c != '5');
            assert!(is_named && has_limit, "{given:?}: {error}");
        }
    }
}
