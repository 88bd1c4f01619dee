//! `explain` drawn: each result as a sum, a line for each part, with bars to one scale for the whole answer.
//!
//! ```text
//!  2. rug                               0.8132   up 1 of place 3 by score
//!     similarity        u 0.980 x 1      +0.980  ████████████████████
//!     sales (linear)    19 x 0.05        +0.150  ███
//!     rule own-brand    x 1.2            +0.226  ████▌
//!     rule bury-returns -0.2             -0.200  ▒▒▒▒
//! ```

use anyhow::Result;
use serde_json::Value;

use super::show::{list, text};
use crate::output;

/// Columns of the longest bar.
const BAR: usize = 24;

/// A part of a score: what it is, how it came about, and what it did.
struct Part {
    what: String,
    how: String,
    change: f64,
}

/// Prints what `explain` says of each result, and `why` of items that are not among them.
pub fn print(answer: &Value) -> Result<()> {
    output::line(drawn(answer))
}

fn drawn(answer: &Value) -> String {
    let results: Vec<(String, &Value, &Value)> = list(&answer["results"])
        .iter()
        .enumerate()
        .map(|(place, hit)| {
            (format!("{:>2}. {}", place + 1, text(&hit["id"])), &hit["score"], &hit["explain"])
        })
        .chain(
            list(&answer["why"]).iter().map(|one| (format!(" -  {}", text(&one["id"])), &one["score"], one)),
        )
        .collect();
    let parts: Vec<Vec<Part>> = results.iter().map(|(_, _, explain)| parts(explain)).collect();
    let all = || parts.iter().flatten();
    let width = |of: &dyn Fn(&Part) -> usize| all().map(of).max().unwrap_or(0);
    let (what, how) = (width(&|part| part.what.chars().count()), width(&|part| part.how.chars().count()));
    let largest = all().map(|part| part.change.abs()).fold(0.0, f64::max);
    let mut lines = Vec::new();
    for ((name, score, explain), parts) in results.iter().zip(&parts) {
        let title = format!("{name:<width$}", width = what + how + 5);
        let score = score.as_f64().map_or(String::new(), |score| format!("{score:>8.4}"));
        lines.push(String::new());
        lines.push(format!("{title} {score}   {}", place(explain)).trim_end().to_owned());
        for part in parts {
            let Part { what: name, how: sum, change } = part;
            let bar = bar(*change, largest);
            lines.push(format!("    {name:<what$}  {sum:<how$} {change:>+8.4}  {bar}").trim_end().to_owned());
        }
        lines.extend(because(explain).into_iter().map(|line| format!("    {line}")));
    }
    lines.join("\n")
}

fn parts(explain: &Value) -> Vec<Part> {
    if !explain["score"].is_number() {
        return Vec::new();
    }
    let similarity = &explain["similarity"];
    let mut parts = vec![Part {
        what: "similarity".to_owned(),
        how: format!("u {} x {}", short(&explain["u"]), short(&similarity["weight"])),
        change: similarity["contribution"].as_f64().unwrap_or(0.0),
    }];
    for term in list(&explain["terms"]) {
        let missing = if term["missing"] == true { "missing: " } else { "" };
        parts.push(Part {
            what: format!("{} ({})", text(&term["attribute"]), text(&term["kind"])),
            how: format!("{missing}{} x {}", short(&term["value"]), short(&term["weight"])),
            change: term["contribution"].as_f64().unwrap_or(0.0),
        });
    }
    for rule in list(&explain["rules"]) {
        let how = match (&rule["multiply"], &rule["add"]) {
            (Value::Number(factor), _) => format!("score x {factor}"),
            (_, Value::Number(addend)) => format!("score + {addend}").replace("+ -", "- "),
            _ => String::new(),
        };
        let change = rule["change"].as_f64().unwrap_or(0.0);
        parts.push(Part { what: format!("rule {}", text(&rule["name"])), how, change });
    }
    parts
}

/// Where a result stands and why not where its score would put it.
fn place(explain: &Value) -> String {
    if explain.is_null() {
        return "ranked by similarity alone".to_owned();
    }
    let position = &explain["position"];
    let by_score = position["by_score"].as_u64().unwrap_or(0);
    let mut said = match position["final"].as_u64() {
        None => return format!("not on the list; place {by_score} by score"),
        Some(place) if place == by_score => "as by score".to_owned(),
        Some(place) if place < by_score => format!("up {} from place {by_score} by score", by_score - place),
        Some(place) => format!("down {} from place {by_score} by score", place - by_score),
    };
    let moved = &explain["diversity"];
    for (field, words) in
        [("held_back_by", "held back by limit"), ("held_back_above", "better ones held back:")]
    {
        if !moved[field].is_null() {
            said.push_str(&format!(", {words} {}", text(&moved[field])));
        }
    }
    if let (Some(cosine), false) = (moved["max_similarity"].as_f64(), moved["to"].is_null()) {
        said.push_str(&format!(", {cosine:.2} like {}", text(&moved["to"])));
    }
    if let Value::String(rule) = &explain["pinned"] {
        said.push_str(&format!(", pinned by {rule}"));
    }
    if !explain["explored"].is_null() {
        said.push_str(&format!(", explored ({})", text(&explain["explored"]["policy"])));
    }
    said
}

/// What kept an item off the list, a line for each thing said.
fn because(explain: &Value) -> Vec<String> {
    let Value::Object(fields) = &explain["because"] else { return Vec::new() };
    let line = |(name, value): (&String, &Value)| format!("{}: {}", name.replace('_', " "), text(value));
    fields.iter().map(line).collect()
}

/// A bar to scale: full blocks and a last one in eighths; what takes away is shaded.
fn bar(change: f64, largest: f64) -> String {
    if largest <= 0.0 || !change.is_finite() {
        return String::new();
    }
    let eighths = (change.abs() / largest * (BAR * 8) as f64).round() as usize;
    if change < 0.0 {
        return "▒".repeat(eighths.div_ceil(8));
    }
    let last = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{last}", "█".repeat(eighths / 8))
}

/// A number in few digits, or any other value as text.
fn short(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number != 0.0 && number.abs() < 0.001 => format!("{number:.1e}"),
        Some(number) => {
            let text = format!("{number:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        None => text(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bars_are_to_scale() {
        assert_eq!(bar(1.0, 1.0), "█".repeat(BAR));
        assert_eq!(bar(0.5, 1.0), "█".repeat(BAR / 2));
        assert_eq!(bar(1.0 / (BAR * 8) as f64, 1.0), "▏");
        assert_eq!(bar(-0.5, 1.0), "▒".repeat(BAR / 2));
        assert_eq!((bar(0.0, 1.0), bar(1.0, 0.0), bar(f64::NAN, 1.0)), Default::default());
    }

    #[test]
    fn a_result_is_a_sum_and_a_place() {
        let explain = json!({"u": 0.98, "similarity": {"value": 0.96, "weight": 1.0, "contribution": 0.98},
            "terms": [{"index": 0, "kind": "linear", "attribute": "sales", "value": 3.0, "weight": 0.05, "contribution": 0.15},
                {"index": 1, "kind": "decay", "attribute": "at", "value": 0.0, "weight": 0.2, "contribution": 0.0, "missing": true}],
            "base": 1.13, "rules": [{"name": "own", "multiply": 1.2, "change": 0.226}, {"name": "bury", "add": -0.2, "change": -0.2}],
            "score": 1.156, "position": {"by_score": 3, "final": 1}, "diversity": {"gained": 2, "held_back_above": 2}});
        let why = json!({"id": "sofa", "u": 0.5, "similarity": {"weight": 1.0, "contribution": 0.5}, "score": 0.5,
            "position": {"by_score": 9, "final": null}, "because": {"kind": "limit", "displaced_by": ["rug", "lamp"]}});
        let answer = json!({"results": [{"id": "rug", "score": 1.156, "explain": explain}, {"id": "plain", "score": 0.5, "explain": null}], "why": [why]});
        let drawn = drawn(&answer);
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(
            lines[1].starts_with(" 1. rug") && lines[1].contains("1.1560   up 2 from place 3"),
            "{drawn}"
        );
        assert!(lines[2].contains("u 0.98 x 1") && lines[2].ends_with(&"█".repeat(BAR)), "{drawn}");
        assert!(lines[4].contains("missing: 0 x 0.2"), "{drawn}");
        assert!(lines[5].contains("rule own") && lines[5].contains("+0.2260"), "{drawn}");
        assert!(
            lines[6].contains("score - 0.2") && lines[6].contains("-0.2000") && lines[6].ends_with('▒'),
            "{drawn}"
        );
        let columns: Vec<usize> = lines[2..7].iter().map(|line| line.find(['+', '-']).unwrap_or(0)).collect();
        assert!(
            columns[..3].iter().all(|column| *column == columns[0]),
            "the numbers stand in one column: {drawn}"
        );
        assert!(
            drawn.contains("ranked by similarity alone") && drawn.contains("not on the list; place 9"),
            "{drawn}"
        );
        assert!(drawn.contains("displaced by: rug, lamp"), "{drawn}");
    }
}
