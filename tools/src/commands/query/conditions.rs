//! Conditions of the command line, such as `size_kib<500`, as filters.

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};
use shortlist::attributes::{AttributeSchema, AttributeType};

/// Longer operators before those they begin with.
const OPERATORS: [(&str, &str); 6] =
    [("<=", "lte"), (">=", "gte"), ("!=", "not_in"), ("<", "lt"), (">", "gt"), ("=", "")];

/// The filter of a condition, its value typed by the schema.
pub fn parse(condition: &str, schema: &AttributeSchema) -> Result<Value> {
    let place = condition.find(['=', '<', '>', '!']);
    let (name, rest) = condition.split_at(place.unwrap_or(condition.len()));
    let found = OPERATORS.into_iter().find_map(|(sign, word)| Some((word, rest.strip_prefix(sign)?)));
    let Some((operator, text)) = found.filter(|_| !name.trim().is_empty()) else {
        bail!("--where {condition:?}: expected ATTR=VALUE, or one of != < <= > >= between them");
    };
    let (name, text) = (name.trim(), text.trim());
    let kind = kind(name, schema).map_err(|reason| anyhow!("--where {condition:?}: {reason}"))?;
    let value = typed(kind, text).ok_or_else(|| {
        anyhow!("--where {condition:?}: {name} is of type {kind}, {text:?} is no value of it")
    })?;
    Ok(match operator {
        "" => json!({name: value}),
        "not_in" => json!({name: {"not_in": [value]}}),
        operator => json!({name: {operator: value}}),
    })
}

fn kind(name: &str, schema: &AttributeSchema) -> Result<AttributeType, String> {
    match (schema.find(name), name) {
        (Some((_, spec)), _) => Ok(spec.kind),
        (None, "_id") => Ok(AttributeType::Keyword),
        (None, "_inserted_at") => Ok(AttributeType::Time),
        (None, "_seq") => Ok(AttributeType::Int),
        (None, _) if schema.is_empty() => Err(format!("unknown attribute {name:?}; the items have none")),
        (None, _) => {
            let names: Vec<&str> = schema.iter().map(|(name, _)| name).collect();
            Err(format!("unknown attribute {name:?}; there are {}", names.join(", ")))
        }
    }
}

fn typed(kind: AttributeType, text: &str) -> Option<Value> {
    match kind {
        AttributeType::Keyword | AttributeType::Keywords | AttributeType::Time => Some(json!(text)),
        AttributeType::Int => match text.parse::<i64>() {
            Ok(number) => Some(json!(number)),
            Err(_) => {
                text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| json!(number))
            }
        },
        AttributeType::Float => {
            text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| json!(number))
        }
        AttributeType::Bool => text.parse::<bool>().ok().map(|flag| json!(flag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> AttributeSchema {
        let types =
            json!({"section": "keyword", "size_kib": "int", "free": "bool", "at": "time", "price": "float"});
        AttributeSchema::from_json(&types).expect("schema")
    }

    #[test]
    fn values_have_the_attributes_type() {
        for (condition, filter) in [
            ("section=games", json!({"section": "games"})),
            ("section=a=b", json!({"section": "a=b"})),
            ("section!=games", json!({"section": {"not_in": ["games"]}})),
            ("size_kib<500", json!({"size_kib": {"lt": 500}})),
            ("size_kib >= 500", json!({"size_kib": {"gte": 500}})),
            ("price<=1e3", json!({"price": {"lte": 1000.0}})),
            ("free=true", json!({"free": true})),
            ("at>now-7d", json!({"at": {"gt": "now-7d"}})),
            ("_id=0ad", json!({"_id": "0ad"})),
        ] {
            assert_eq!(parse(condition, &schema()).expect(condition), filter);
        }
    }

    #[test]
    fn errors_name_condition_attribute_and_value() {
        for (condition, parts) in [
            ("section", vec!["expected ATTR=VALUE"]),
            ("=games", vec!["expected ATTR=VALUE"]),
            ("colour=red", vec!["\"colour\"", "section"]),
            ("size_kib=big", vec!["size_kib", "int", "\"big\""]),
            ("free=yes", vec!["free", "bool", "\"yes\""]),
        ] {
            let error = parse(condition, &schema()).expect_err(condition).to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
