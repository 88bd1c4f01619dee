//! An evaluation for people: tables.

use anyhow::Result;
use shortlist::eval::Estimate;

use super::audit::Audit;
use super::report::{Report, Verdict, Who};
use crate::input::grouped;
use crate::output;
use crate::table::{Align, Table};

/// Widest bar of a share, in letters.
const BAR: f64 = 24.0;

/// Prints all of it.
pub fn report(report: &Report) -> Result<()> {
    let count = |count: usize| grouped(count as u128);
    output::line(format!(
        "{} queries, the first {} results of each; {} have a right item",
        count(report.queries),
        report.k,
        count(report.judged)
    ))?;
    who("A", &report.a)?;
    if let Some(b) = &report.b {
        who("B", b)?;
    }
    if report.missing_items > 0 {
        output::line(format!("note: {} right items are not in A's index", count(report.missing_items)))?;
    }
    output::line("")?;
    measures(report)?;
    output::line("")?;
    catalogue(report)?;
    for audit in &report.audits {
        output::line("")?;
        self::audit(report, audit)?;
    }
    let method = &report.method;
    output::line(format!(
        "\n[low, high]: {:.0} % intervals, {}, {} rounds, seed {}",
        method.confidence * 100.0,
        method.interval,
        grouped(method.rounds as u128),
        method.seed
    ))?;
    if report.b.is_some() {
        output::line(format!(
            "equivalent: the {:.0} % interval of B - A lies within ±{}; p: by swapping lists of A and B",
            (2.0 * method.confidence - 1.0) * 100.0,
            method.margin
        ))?;
    }
    Ok(())
}

fn who(letter: &str, who: &Who) -> Result<()> {
    output::line(format!(
        "{letter}: {}, {} items; index recall against exact search {:.4} ({} queries, no profile); {} short lists",
        who.name,
        grouped(who.items as u128),
        who.index_recall,
        grouped(who.index_recall_queries as u128),
        grouped(who.short_lists as u128)
    ))
}

fn measures(report: &Report) -> Result<()> {
    let mut titles = vec![("per query", Align::Left), ("queries", Align::Right), ("A", Align::Left)];
    if report.b.is_some() {
        titles.extend([("B", Align::Left), ("B - A", Align::Left), ("", Align::Left)]);
    }
    let mut table = Table::new(titles);
    for measure in &report.measures {
        let mut cells =
            vec![measure.name.clone(), grouped(measure.queries as u128), estimate(&measure.a, false)];
        if let Some(found) = &measure.comparison {
            cells.extend([estimate(&found.b, false), estimate(&found.difference, true)]);
            cells.push(verdict(found.verdict).to_owned());
        }
        table.row(cells);
    }
    output::table(&table)
}

fn catalogue(report: &Report) -> Result<()> {
    let mut titles = vec![("all lists", Align::Left), ("A", Align::Right)];
    if report.b.is_some() {
        titles.extend([("B", Align::Right), ("p", Align::Right)]);
    }
    let mut table = Table::new(titles);
    for measure in &report.catalogue {
        let mut cells = vec![measure.name.to_owned(), format!("{:.4}", measure.a)];
        cells.extend(measure.b.map(|b| format!("{b:.4}")));
        cells.extend(measure.p.map(|p| format!("{p:.4}")));
        table.row(cells);
    }
    output::table(&table)
}

fn audit(report: &Report, audit: &Audit) -> Result<()> {
    let far = |name: &str, distance: f64| format!("{name} {distance:.4}");
    let mut distances = vec![far("A", audit.distance_a)];
    distances.extend(audit.distance_b.map(|distance| far("B", distance)));
    output::line(format!(
        "exposure by {}: distance from the catalogue {} (0 is the same division, 1 has nothing in common)",
        audit.attribute,
        distances.join(", ")
    ))?;
    let mut titles =
        vec![(audit.attribute.as_str(), Align::Left), ("catalogue", Align::Right), ("A", Align::Left)];
    if report.b.is_some() {
        titles.push(("B", Align::Left));
    }
    titles.push(("catalogue ░, exposure █", Align::Left));
    let mut table = Table::new(titles);
    let shares = audit.largest.iter().map(|group| group.catalogue.max(group.a.value));
    let most = shares.fold(1e-9, f64::max);
    for group in &audit.largest {
        let mut cells = vec![group.name.clone(), percent(group.catalogue), percents(&group.a)];
        cells.extend(group.b.as_ref().map(percents));
        let shown = group.b.as_ref().unwrap_or(&group.a);
        cells.push(bars(group.catalogue / most, shown.value / most));
        table.row(cells);
    }
    output::table(&table)?;
    if audit.groups > audit.largest.len() {
        output::line(format!("and {} more", grouped((audit.groups - audit.largest.len()) as u128)))?;
    }
    Ok(())
}

/// Two shares as one bar: what both have, then what only the exposure has, or only the catalogue.
fn bars(catalogue: f64, exposure: f64) -> String {
    let letters = |share: f64| (share.min(1.0) * BAR).round() as usize;
    let (catalogue, exposure) = (letters(catalogue), letters(exposure));
    format!("{}{}", "█".repeat(exposure), "░".repeat(catalogue.saturating_sub(exposure)))
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Equivalent => "equivalent",
        Verdict::Higher => "higher",
        Verdict::Lower => "lower",
        Verdict::Undecided => "undecided",
        Verdict::TooFew => "too few queries to say",
    }
}

fn estimate(found: &Estimate, signed: bool) -> String {
    let Estimate { value, low, high } = found;
    if signed {
        format!("{value:+.4} [{low:+.4}, {high:+.4}]")
    } else {
        format!("{value:.4} [{low:.4}, {high:.4}]")
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn percents(found: &Estimate) -> String {
    format!("{:.1} % [{:.1}, {:.1}]", found.value * 100.0, found.low * 100.0, found.high * 100.0)
}
