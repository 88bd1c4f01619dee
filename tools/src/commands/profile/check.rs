//! `shortlist profile check`: is a document a profile, for the attributes of a schema?

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use serde_json::json;
use shortlist::attributes::AttributeSchema;
use shortlist::rank::Profile;

use crate::commands::target::Target;
use crate::commands::{Holding, read_json};
use crate::output;

/// Check a profile document; the error points into it.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Check a profile document; the error points into it.\n\n\
        Attributes, and their types, are those of an index, of a server's collection, or of a schema document as `build \
        --schema-out` writes it.",
    after_help = "Examples:\n  shortlist profile check home.json --against shop.slx\n  \
        shortlist profile check home.json --against http://127.0.0.1:7700/shop\n  \
        shortlist profile check home.json --schema schema.json"
)]
#[command(group = clap::ArgGroup::new("for").required(true).args(["against", "schema"]))]
pub struct Args {
    /// The profile document
    #[arg(value_name = "FILE")]
    pub profile: PathBuf,
    /// An index file, or http://HOST:PORT/COLLECTION, that has the attributes
    #[arg(long, value_name = "INDEX|URL")]
    pub against: Option<String>,
    /// A schema document that has them
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Print the outcome as JSON: valid, and if not pointer and reason
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let schema = match (&args.against, &args.schema) {
        (Some(target), _) => Target::open(target, Holding::Mapped)?.attributes()?,
        (None, Some(path)) => attributes(path)?,
        (None, None) => bail!("give --against INDEX or --schema FILE"),
    };
    let document = read_json(&args.profile)?;
    let name = args.profile.display();
    match (Profile::parse(&document, &schema), args.json) {
        (Ok(_), true) => output::json(&json!({"valid": true})),
        (Ok(_), false) => output::line(format!("{name}: is a profile for these {} attributes", schema.len())),
        (Err(error), json) => {
            if json {
                output::json(&json!({"valid": false, "pointer": error.pointer, "reason": error.reason}))?;
            }
            Err(anyhow!("{name}: {} (at {:?})", error.reason, error.pointer))
        }
    }
}

/// The attributes of a schema document; without `attributes` the document is these themselves.
fn attributes(path: &Path) -> Result<AttributeSchema> {
    let document = read_json(path)?;
    let attributes = document.get("attributes").unwrap_or(&document);
    AttributeSchema::from_json(attributes).map_err(|reason| anyhow!("{}: {reason}", path.display()))
}
