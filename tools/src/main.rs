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

    /// Calls `look` with every command and its names.
    fn each(command: &clap::Command, names: &[String], look: &mut impl FnMut(&clap::Command, &[String])) {
        look(command, names);
        for below in command.get_subcommands() {
            each(below, &[names, &[below.get_name().to_owned()]].concat(), look);
        }
    }

    #[test]
    fn every_number_below_0_is_refused_by_its_option() {
        let mut seen = 0;
        let commands = with_negative_numbers(Cli::command());
        commands.clone().debug_assert();
        each(&commands, &["shortlist".to_owned()], &mut |command, names| {
            for option in command.get_arguments().filter(|option| option.get_action().takes_values()) {
                let is_number = |name: &clap::builder::Str| {
                    ["N", "K", "EF", "BYTES", "MIB", "SECONDS", "SHARE", "SEQ", "ROW", "AT"]
                        .contains(&name.as_str())
                };
                let Some(flag) = option
                    .get_long()
                    .filter(|_| option.get_value_names().is_some_and(|names| names.iter().any(is_number)))
                else {
                    continue;
                };
                seen += 1;
                let flag = format!("--{flag}");
                let given = names.iter().cloned().chain([flag.clone(), "-5".to_owned()]);
                let error = commands.clone().try_get_matches_from(given).expect_err("refused").to_string();
                let is_named = error.contains("invalid value '-5'") && error.contains(&format!("'{flag} <"));
                // Of how many, or how much.
                let limit = error.lines().next().unwrap_or_default().split_once(">': ");
                let limit = limit
                    .is_some_and(|(_, reason)| reason.contains(|c: char| c.is_ascii_digit() && c != '5'));
                assert!(is_named && limit, "{names:?}: {error}");
            }
        });
        assert!(seen > 40, "only {seen} options seen: does this test still find them?");
    }
}
