//! Asking many requests on all cores, and what comes back.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::input::Asked;
use crate::progress::Progress;

/// Asks all by `search`, each after `prepare`; answers in the order of the requests. An error names file and place.
pub fn ask_all(
    search: &(dyn Fn(Value) -> Result<Value> + Sync),
    (path, asked): (&Path, &[Asked]),
    prepare: &(dyn Fn(&Asked, &mut Map<String, Value>) + Sync),
    progress: &Progress,
) -> Result<Vec<Value>> {
    let one = |asked: &Asked| {
        let mut body = asked.body.clone();
        prepare(asked, &mut body);
        let answer = search(Value::Object(body));
        progress.inc(1);
        answer.with_context(|| format!("{}: {}", path.display(), asked.place))
    };
    asked.par_iter().map(one).collect()
}

/// Adds an id to those that a request excludes.
pub fn exclude(request: &mut Map<String, Value>, id: &str) {
    let exclude = request.entry("exclude").or_insert_with(|| json!({}));
    if exclude.is_null() {
        *exclude = json!({});
    }
    // What is neither an object nor a list is for the search to refuse.
    if let Some(fields) = exclude.as_object_mut()
        && let Value::Array(ids) = fields.entry("ids").or_insert_with(|| json!([]))
    {
        ids.push(json!(id));
    }
}

/// An answer's results; of groups those of the first, then of the second, and so on.
pub fn results(answer: &Value) -> Vec<&Value> {
    let one = std::slice::from_ref(answer);
    let lists = answer["groups"].as_array().map_or(one, Vec::as_slice).iter();
    lists.filter_map(|list| list["results"].as_array()).flatten().collect()
}

/// Fails when two requests have one name, where names must tell requests apart.
pub fn check_names(path: &Path, asked: &[Asked]) -> Result<()> {
    let mut seen = std::collections::HashMap::new();
    for one in asked {
        if let Some(before) = seen.insert(&one.name, &one.place) {
            bail!("{}: {}: the name {:?} is that of {before} already", path.display(), one.place, one.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_one_list() {
        let answer =
            json!({"results": [], "groups": [{"results": [1, 2]}, {"results": []}, {"results": [3]}]});
        assert_eq!(results(&answer), [&json!(1), &json!(2), &json!(3)]);
        assert_eq!(results(&json!({"results": [4]})), [&json!(4)]);
    }

    #[test]
    fn an_id_joins_those_excluded() {
        for (before, after) in [
            (json!({}), json!({"exclude": {"ids": ["x"]}})),
            (json!({"exclude": null}), json!({"exclude": {"ids": ["x"]}})),
            (json!({"exclude": {"ids": ["a"]}}), json!({"exclude": {"ids": ["a", "x"]}})),
            (json!({"exclude": 7}), json!({"exclude": 7})),
        ] {
            let mut request = before.as_object().cloned().unwrap_or_default();
            exclude(&mut request, "x");
            assert_eq!(Value::Object(request), after);
        }
    }
}
