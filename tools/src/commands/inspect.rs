//! `shortlist inspect`: what an index file holds, and whether every byte of it is right.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use shortlist::attributes::format_time;
use shortlist::graph::{Degrees, reach};
use shortlist::index::Index;

use super::{Holding, open_index};
use crate::input::grouped;
use crate::output;
use crate::progress::{Progress, Report, seconds};
use crate::table::{Align, Table};

/// Cells of the longest bar of the histogram.
const BAR: usize = 40;

/// Show what an index file holds: schema, counts, sections, links, lineage.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Show what an index file holds: schema, counts, sections and their sizes, how the nodes are linked, which \
        of them a search can reach, duplicates, norms, and where the data came from.\n\n\
        With --verify every byte is compared with its checksum first (padding too), and then every number with what it \
        may be: links to nodes that exist, items on their nodes, finite vectors. A damaged file is an error that names \
        the place.",
    after_help = "Examples:\n  shortlist inspect shop.slx\n  shortlist inspect --verify --json data/shop/index-*.slx"
)]
pub struct Args {
    /// The index file
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// Check every byte and every number
    #[arg(long)]
    pub verify: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What only a walk over the whole graph tells.
struct Links {
    degrees: Degrees,
    unreachable: usize,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let show = Report::choose(args.json, false);
    let index =
        if args.verify { verify(&args.index, show)? } else { open_index(&args.index, Holding::Mapped)? };
    let unreachable = if index.nodes() == 0 { 0 } else { reach(index.graph()).len() };
    let links = Links { degrees: Degrees::of(index.graph()), unreachable };
    if args.json {
        return output::json(&document(&index, &links, args.verify));
    }
    print_facts(&index)?;
    print_sections(&index)?;
    print_links(&index, &links)?;
    print_lineage(index.lineage())?;
    if args.verify {
        output::line(format!(
            "\nverified: all {} bytes are as they were written",
            grouped(index.file_len().into())
        ))?;
    }
    Ok(())
}

fn verify(path: &Path, show: Report) -> Result<Index> {
    let path = &super::index_file(path)?;
    let blocks = std::fs::metadata(path).map_or(0, |metadata| metadata.len() / shortlist::file::BLOCK);
    let progress = Progress::new(show, "verify blocks", blocks);
    let index = Index::verify(path, &|done, _| progress.set(done))?;
    let took = progress.finish();
    if show == Report::Bar {
        eprintln!("verified in {}", seconds(took));
    }
    Ok(index)
}

fn document(index: &Index, links: &Links, verified: bool) -> Value {
    let facts = &index.file().header().facts;
    let sections: Vec<Value> = index.file().sections().iter().map(|section| {
        json!({"name": section.name, "instance": section.instance, "count": section.count, "bytes": section.length, "offset": section.offset})
    }).collect();
    json!({
        "schema": index.schema().to_json(),
        "items": index.items(),
        "nodes": index.nodes(),
        "duplicates": index.items() - index.nodes(),
        "file_bytes": index.file_len(),
        "build": index.build(),
        "collection": uuid(&facts.collection),
        "covers": facts.covers,
        "created_at": format_time(facts.created_at),
        "sections": sections,
        "degrees": links.degrees,
        "unreachable": links.unreachable,
        "growth": index.graph().growth(),
        "report": index.report(),
        "lineage": index.lineage(),
        "verified": verified,
    })
}

/// How the number of nodes grows with the distance, if an ef is a mean by it.
fn growth(index: &Index) -> String {
    match index.graph().growth() {
        growth if growth > 0.0 => {
            format!(" on average (nodes grow with the distance to the power of {growth:.1})")
        }
        _ => String::new(),
    }
}

fn print_facts(index: &Index) -> Result<()> {
    let schema = index.schema();
    let facts = &index.file().header().facts;
    let duplicates = index.items() - index.nodes();
    let norms = &index.report()["norms"];
    let largest = index.report()["largest_family"].as_u64().unwrap_or(0);
    let embedding = schema.embedding.as_deref().unwrap_or("not named");
    let attributes: Vec<String> =
        schema.attributes.iter().map(|(name, spec)| format!("{name} {}", spec.kind)).collect();
    let attributes = if attributes.is_empty() { "none".to_string() } else { attributes.join(", ") };
    let per_vector = index.file_len() as f64 / f64::from(index.items().max(1));
    let rows = [
        ("items", format!("{} on {} nodes", grouped(index.items().into()), grouped(index.nodes().into()))),
        (
            "duplicates",
            format!(
                "{} items repeat a vector; the largest family is {largest} strong",
                grouped(duplicates.into())
            ),
        ),
        (
            "vectors",
            format!("{} x {}, {}, embedding {embedding}", schema.dimension, schema.element, schema.metric),
        ),
        ("codes", index.report()["code"].as_str().unwrap_or("unknown").to_string()),
        (
            "norms",
            format!(
                "{} to {}, mean {}",
                number(&norms["min"]),
                number(&norms["max"]),
                number(&norms["mean"])
            ),
        ),
        ("attributes", attributes),
        (
            "graph",
            format!(
                "m {}, ef_construction {}; searches use ef {}{}",
                schema.hnsw.m,
                schema.hnsw.ef_construction,
                schema.default_ef,
                growth(index)
            ),
        ),
        ("build", format!("{}, {}", index.build(), format_time(facts.created_at))),
        ("collection", format!("{}, covers sequence {}", uuid(&facts.collection), facts.covers)),
        ("file", format!("{}, {per_vector:.0} bytes an item", output::bytes(index.file_len()))),
    ];
    rows.iter().try_for_each(|(name, text)| output::line(format!("{name:<12}{text}")))
}

fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "?".to_string(), |value| format!("{value:.4}"))
}

fn print_sections(index: &Index) -> Result<()> {
    let mut table = Table::new([
        ("section", Align::Left),
        ("elements", Align::Right),
        ("size", Align::Right),
        ("share", Align::Right),
    ]);
    let whole = index.file_len().max(1) as f64;
    for section in index.file().sections() {
        let attribute = index.schema().attributes.get(section.instance as usize);
        let name = match attribute {
            Some((attribute, _)) if is_column(&section.name) => format!("{} {attribute}", section.name),
            _ => section.name.to_string(),
        };
        let share = format!("{:.1} %", section.length as f64 * 100.0 / whole);
        table.row([name, grouped(section.count.into()), output::bytes(section.length), share]);
    }
    output::line("")?;
    output::table(&table)
}

/// Sections whose instance is an attribute's ordinal.
fn is_column(name: &str) -> bool {
    name.starts_with("column") || name.starts_with("dictionary")
}

fn print_links(index: &Index, links: &Links) -> Result<()> {
    let nodes = index.nodes() as usize;
    let Links { degrees, unreachable } = links;
    let repaired = &index.report()["reach"]["unreachable"];
    output::line(format!(
        "\nreachable   {} of {} nodes ({repaired} were not when the build checked, and were linked)",
        grouped((nodes - unreachable) as u128),
        grouped(nodes as u128)
    ))?;
    let levels: Vec<String> = degrees.levels.iter().map(|count| grouped(*count as u128)).collect();
    output::line(format!("levels      {} (nodes whose highest level is 0, 1, ...)", levels.join(", ")))?;
    output::line(format!("links to    {} to {} a node", degrees.least_in, degrees.most_in))?;
    output::line("links from")?;
    histogram(&degrees.out).iter().try_for_each(output::line)
}

/// One line for each range of degrees, at most 16, with a bar as long as its share.
fn histogram(out: &[usize]) -> Vec<String> {
    let width = out.len().div_ceil(16).max(1);
    let counts: Vec<usize> = out.chunks(width).map(|counts| counts.iter().sum()).collect();
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let mut lines = Vec::new();
    for (place, &count) in counts.iter().enumerate() {
        let (first, last) = (place * width, ((place + 1) * width).min(out.len()) - 1);
        let range = if first == last { first.to_string() } else { format!("{first} to {last}") };
        let cells = if count == 0 { 0 } else { (count * BAR).div_ceil(most) };
        let line = format!("  {range:>10}  {:<BAR$} {}", "█".repeat(cells), grouped(count as u128));
        lines.push(line);
    }
    lines
}

fn print_lineage(lineage: &Value) -> Result<()> {
    output::line("\nlineage")?;
    match lineage.as_object() {
        Some(fields) => {
            fields.iter().try_for_each(|(name, value)| output::line(format!("  {name}: {value}")))
        }
        None => output::line("  none"),
    }
}

fn uuid(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histogram_has_a_line_a_range_and_shows_small_counts() {
        let mut out = vec![0; 49];
        (out[0], out[48], out[47]) = (1, 90_000, 10_000);
        let lines = histogram(&out);
        assert_eq!(lines.len(), 13);
        assert!(
            lines[0].contains("0 to 3") && lines[0].contains('█') && lines[0].ends_with(" 1"),
            "{}",
            lines[0]
        );
        assert!(lines[12].contains("48") && lines[12].contains(&"█".repeat(BAR)), "{}", lines[12]);
        assert!(histogram(&[]).is_empty());
    }

    #[test]
    fn uuids_are_written_as_usual() {
        assert_eq!(uuid(&[0xab; 16]), "abababab-abab-abab-abab-abababababab");
    }
}
