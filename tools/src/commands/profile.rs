//! `shortlist profile`: a ranking's document, checked and tried on recorded requests before it goes live.

mod changes;
mod check;
mod picture;
mod try_out;

use anyhow::Result;

/// Check a profile, or try it on recorded requests.
#[derive(Debug, clap::Args)]
#[command(long_about = "Check a profile, or try it on recorded requests.\n\n\
        A profile is a ranking recipe: filter, score, rules, diversity (docs/ranking.md). `check` says whether a document \
        is one, against a schema, and where it is not; `try` replays requests through two profiles and shows what would move.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Try(try_out::Args),
    Check(check::Args),
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Try(args) => try_out::run(args),
        Command::Check(args) => check::run(args),
    }
}
