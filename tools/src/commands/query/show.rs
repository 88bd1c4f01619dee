//! An answer of the API for people.

use anyhow::Result;
use serde_json::Value;

use crate::input::grouped;
use crate::output;
use crate::table::{Align, Table};

/// Prints the results with these attributes, and how they were found.
pub fn answer(answer: &Value, attributes: &[String]) -> Result<()> {
    let results = list(&answer["results"]);
    let mut titles =
        vec![("", Align::Right), ("id", Align::Left), ("score", Align::Right), ("similarity", Align::Right)];
    let held = |name: &&String| results.iter().any(|result| !result["attributes"][name.as_str()].is_null());
    let attributes: Vec<&String> = attributes.iter().filter(held).collect();
    titles.extend(attributes.iter().map(|name| (name.as_str(), align(results, name))));
    let mut table = Table::new(titles);
    for (place, result) in results.iter().enumerate() {
        let mut cells = vec![
            (place + 1).to_string(),
            text(&result["id"]),
            number(&result["score"]),
            number(&result["similarity"]),
        ];
        cells.extend(attributes.iter().map(|name| text(&result["attributes"][name.as_str()])));
        table.row(cells);
    }
    if table.is_empty() {
        output::line("no results")?;
    } else {
        output::table(&table)?;
    }
    output::line(plan(answer))?;
    for (field, said) in [("profile", "ranked by"), ("fallback", "fallback served:")] {
        if !answer[field].is_null() {
            output::line(format!("{said} {}", text(&answer[field])))?;
        }
    }
    for shortfall in list(&answer["shortfalls"]) {
        let name = text(&shortfall["name"]);
        output::line(format!(
            "short: {name}: {} of {}: {}",
            shortfall["got"],
            shortfall["wanted"],
            text(&shortfall["reason"])
        ))?;
    }
    Ok(())
}

/// `graph walk, ...` as a line.
fn plan(answer: &Value) -> String {
    let plan = &answer["plan"];
    let count = |value: &Value| grouped(value.as_u64().unwrap_or(0).into());
    format!(
        "plan {}: {} items match, ef {}, {} nodes visited, {} µs",
        text(&plan["kind"]),
        count(&plan["matching"]),
        count(&plan["ef"]),
        count(&plan["visited"]),
        count(&answer["took_us"])
    )
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Numbers stand right.
fn align(results: &[Value], name: &str) -> Align {
    let values = results.iter().map(|result| &result["attributes"][name]);
    if values.filter(|value| !value.is_null()).all(Value::is_number) { Align::Right } else { Align::Left }
}

pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// Four places, or as many digits as a small number needs.
fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number == 0.0 || number.abs() >= 0.001 => format!("{number:.4}"),
        Some(number) => format!("{number:.3e}"),
        None => String::new(),
    }
}
