//! What moves, for people: tables, bars, and two lists side by side.

use anyhow::Result;
use shortlist::eval::Estimate;

use super::changes::{Changed, Changes, Count, Exposure, Replayed};
use crate::input::grouped;
use crate::output;
use crate::table::{Align, Table};

/// Letters on each side of a bar's middle.
const HALF_BAR: usize = 12;

/// Prints the figures.
pub fn changes(found: &Changes) -> Result<()> {
    let share = |count: usize| {
        format!("{} ({:.0} %)", grouped(count as u128), 100.0 * count as f64 / found.requests.max(1) as f64)
    };
    output::line(format!(
        "{} requests, the first {} results of each: A is {}, B is {}",
        grouped(found.requests as u128),
        found.k,
        found.a,
        found.b
    ))?;
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    table.row(["lists that change".to_owned(), share(found.changed_lists)]);
    table.row(["first results that change".to_owned(), share(found.changed_first)]);
    table.row(["results that are new in B".to_owned(), format!("{:.1} %", 100.0 * found.changed_results)]);
    table.row([format!("overlap@{}", found.k), estimate(&found.overlap)]);
    table.row(["rank-biased overlap (0.9)".to_owned(), estimate(&found.rank_biased_overlap)]);
    if let Some(places) = &found.mean_move {
        table.row(["places that results in both move".to_owned(), estimate(places)]);
    }
    if found.short != (0, 0) {
        let short = format!("A {}, B {}", grouped(found.short.0 as u128), grouped(found.short.1 as u128));
        table.row(["answers with a shortfall".to_owned(), short]);
    }
    output::table(&table)?;
    come_and_go(&found.entered, &found.left)?;
    found.exposure.iter().filter(|one| !one.largest.is_empty()).try_for_each(exposure)?;
    rules(found)
}

fn come_and_go(entered: &[Count], left: &[Count]) -> Result<()> {
    if entered.is_empty() && left.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let mut table = Table::new([
        ("enters most", Align::Left),
        ("lists", Align::Right),
        ("  leaves most", Align::Left),
        ("lists", Align::Right),
    ]);
    for place in 0..entered.len().max(left.len()) {
        let cells = |count: Option<&Count>| {
            count.map_or([String::new(), String::new()], |count| {
                [count.id.clone(), grouped(count.lists as u128)]
            })
        };
        let ([enters, often], [leaves, seldom]) = (cells(entered.get(place)), cells(left.get(place)));
        table.row([enters, often, format!("  {leaves}"), seldom]);
    }
    output::table(&table)
}

fn exposure(found: &Exposure) -> Result<()> {
    output::line(format!(
        "\nexposure by {}: {:.1} % moves; {} values, those that change most:",
        found.attribute,
        100.0 * found.moved,
        grouped(found.values as u128)
    ))?;
    let mut table = Table::new([
        (found.attribute.as_str(), Align::Left),
        ("A", Align::Right),
        ("B", Align::Right),
        ("B - A", Align::Right),
        ("less │ more", Align::Left),
    ]);
    let most = found.largest.iter().map(|share| (share.b - share.a).abs()).fold(1e-9, f64::max);
    for share in &found.largest {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        table.row([
            share.value.clone(),
            percent(share.a),
            percent(share.b),
            format!("{:+.1}", 100.0 * (share.b - share.a)),
            bar((share.b - share.a) / most),
        ]);
    }
    output::table(&table)
}

/// A bar to the left or to the right of a middle, of a share from -1 to 1.
fn bar(share: f64) -> String {
    let letters = (share.abs() * HALF_BAR as f64).round() as usize;
    let (left, right) = if share < 0.0 { (letters, 0) } else { (0, letters) };
    format!("{}{}│{}", " ".repeat(HALF_BAR - left), "█".repeat(left), "█".repeat(right))
}

fn rules(found: &Changes) -> Result<()> {
    if found.rules.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let count = |count: usize| grouped(count as u128);
    let mut table = Table::new([
        ("rule", Align::Left),
        ("A results", Align::Right),
        ("A lists", Align::Right),
        ("B results", Align::Right),
        ("B lists", Align::Right),
    ]);
    for rule in &found.rules {
        let counts = [rule.a_results, rule.a_lists, rule.b_results, rule.b_lists].map(count);
        table.row(std::iter::once(rule.rule.clone()).chain(counts));
    }
    output::table(&table)?;
    output::line("(results among the first that a rule touched; what a drop rule takes out is in no list)")
}

/// Two lists of one request, place by place, and where each of B's results was.
pub fn side_by_side(changed: &Changed, found: &Changes, of_a: &[Replayed], of_b: &[Replayed]) -> Result<()> {
    let (a, b) = (&of_a[changed.request], &of_b[changed.request]);
    output::line(format!(
        "\nrequest {} (rank-biased overlap {:.2})",
        changed.name, changed.rank_biased_overlap
    ))?;
    let mut table = Table::new([
        ("", Align::Right),
        (found.a.as_str(), Align::Left),
        ("", Align::Right),
        (found.b.as_str(), Align::Left),
        ("score", Align::Right),
        ("rules", Align::Left),
    ]);
    for place in 0..a.ids.len().max(b.ids.len()) {
        let before = a.ids.get(place).map_or(String::new(), |id| match b.ids.contains(id) {
            true => id.clone(),
            false => format!("{id} (out)"),
        });
        let mut cells = vec![(place + 1).to_string(), before];
        if let Some(id) = b.ids.get(place) {
            cells.push(arrow(a.ids.iter().position(|other| other == id), place));
            cells.push(id.clone());
            cells.push(format!("{:.4}", b.scores[place]));
            cells.push(b.rules[place].join(", "));
        }
        table.row(cells);
    }
    output::table(&table)
}

/// Where an item came from.
fn arrow(before: Option<usize>, place: usize) -> String {
    match before {
        None => "new".to_owned(),
        Some(before) if before > place => format!("↑{}", before - place),
        Some(before) if before < place => format!("↓{}", place - before),
        Some(_) => "=".to_owned(),
    }
}

fn estimate(found: &Estimate) -> String {
    format!("{:.3} [{:.3}, {:.3}]", found.value, found.low, found.high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_arrows_point_the_right_way() {
        assert_eq!(bar(0.0), format!("{}│", " ".repeat(12)));
        assert_eq!(bar(-1.0), format!("{}│", "█".repeat(12)));
        assert_eq!(bar(0.5), format!("{}│{}", " ".repeat(12), "█".repeat(6)));
        assert_eq!(
            [arrow(None, 0), arrow(Some(3), 1), arrow(Some(0), 2), arrow(Some(1), 1)],
            ["new", "↑2", "↓2", "="]
        );
    }
}
