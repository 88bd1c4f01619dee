//! The demo's questions: each text has its embedding among the sample's queries.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::commands::query::{client::Client, show};
use crate::output;

/// A question and what is asked beside it.
struct Scene {
    /// The package whose synopsis is the text.
    item: &'static str,
    /// What the person reads.
    about: &'static str,
    /// Fields of the search beside the query.
    fields: Value,
}

fn scenes() -> [Scene; 3] {
    [
        Scene { item: "pptp-linux", about: "nearest by meaning, nothing else", fields: json!({}) },
        Scene {
            item: "node-bunyan",
            about: "only sections python, perl and ruby, below 2,000 KiB",
            fields: json!({"filter": small_scripts()}),
        },
        Scene {
            item: "mew-beta",
            about: "what much depends on counts more, and at most 2 of a section",
            fields: json!({"rank": popular_and_varied()}),
        },
    ]
}

fn small_scripts() -> Value {
    json!({"all": [{"section": {"in": ["python", "perl", "ruby"]}}, {"size_kib": {"lt": 2000}}]})
}

fn popular_and_varied() -> Value {
    json!({
        "score": {"similarity": 1.0, "terms": [{"attribute": "rdeps", "transform": "log1p", "weight": 0.02, "missing": 0}]},
        "diversity": {"limits": [{"name": "section", "attribute": "section", "max": 2}]}
    })
}

/// Asks all questions and prints the answers.
pub fn ask(client: &Client, queries: &[Vec<f32>], texts: &[(String, String)]) -> Result<()> {
    let shown = ["section", "rdeps", "size_kib", "source"].map(str::to_owned);
    for (number, scene) in scenes().into_iter().enumerate() {
        let found = texts.iter().position(|(item, _)| item == scene.item);
        let place = found.unwrap_or(number);
        let (Some((_, text)), Some(vector)) = (texts.get(place), queries.get(place)) else {
            bail!("the sample has {} texts and {} queries, too few for the demo", texts.len(), queries.len());
        };
        let mut search = json!({"query": {"vector": vector}, "limit": 8, "return": {"attributes": shown}});
        for (name, value) in scene.fields.as_object().into_iter().flatten() {
            search[name] = value.clone();
        }
        let answer = client.search(&search)?;
        output::line(format!("\"{text}\"\n({})\n", scene.about))?;
        show::answer(&answer, &shown)?;
        output::line("")?;
    }
    Ok(())
}

/// Prints lines to paste into a shell.
pub fn curl(address: &str, name: &str) -> Result<()> {
    let collection = format!("http://{address}/v1/collections/{name}");
    let searches = [
        json!({"query": {"item": "pptp-linux"}, "limit": 5, "return": {"attributes": ["section", "tags"]}}),
        json!({"query": {"item": "node-bunyan"}, "limit": 5, "filter": small_scripts()}),
        json!({"query": {"items": [{"id": "mew-beta"}, {"id": "lwatch", "weight": 0.5}]}, "limit": 5,
            "rank": popular_and_varied(), "explain": true}),
    ];
    for search in searches {
        output::line(format!(
            "curl -s {collection}/search -H 'content-type: application/json' -d '{search}'\n"
        ))?;
    }
    output::line(format!("curl -s {collection}/items/pptp-linux"))?;
    output::line(format!("curl -s {collection}/stats"))?;
    output::line(format!(
        "shortlist query http://{address}/{name} --item pptp-linux --where 'size_kib<5000'"
    ))?;
    output::line(format!("\nhttp://{address}/docs describes the API."))
}
