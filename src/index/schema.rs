//! What a collection is made for: the schema document of the HTTP API, checked.

use serde_json::{Map, Value as Json, json};

use crate::attributes::AttributeSchema;
use crate::vector::{Element, Metric};

/// What an index was made for; the API's schema document.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// Numbers in a vector, 1 to [`Schema::MAX_DIMENSION`].
    pub dimension: usize,
    /// How vectors compare.
    pub metric: Metric,
    /// How vectors are stored.
    pub element: Element,
    /// The tower that made the vectors, if named; at most 128 bytes.
    pub embedding: Option<String>,
    /// Attributes of items.
    pub attributes: AttributeSchema,
    /// Graph parameters.
    pub hnsw: Hnsw,
    /// ef of a search that names none.
    pub default_ef: usize,
}

/// Graph parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hnsw {
    /// Links a node on upper levels, 2 to 256; level 0 has twice as many.
    pub m: usize,
    /// Pool width while building, 1 to 10,000.
    pub ef_construction: usize,
}

impl Default for Hnsw {
    fn default() -> Self {
        Hnsw { m: 20, ef_construction: 200 }
    }
}

impl Schema {
    /// Largest dimension.
    pub const MAX_DIMENSION: usize = 4096;
    /// Longest name of an embedding, in bytes.
    pub const MAX_EMBEDDING: usize = 128;
    /// ef of a search that names none, unless the schema says otherwise.
    pub const DEFAULT_EF: usize = 200;

    /// A schema with the defaults: f32 elements, no attributes.
    pub fn new(dimension: usize, metric: Metric) -> Schema {
        Schema {
            dimension,
            metric,
            element: Element::F32,
            embedding: None,
            attributes: AttributeSchema::default(),
            hnsw: Hnsw::default(),
            default_ef: Schema::DEFAULT_EF,
        }
    }

    /// Reads the API's schema document; the error names the field, the value and the limit.
    pub fn from_json(json: &Json) -> Result<Schema, String> {
        let fields = object(
            json,
            "the schema",
            &["dimension", "metric", "element", "embedding", "attributes", "hnsw", "settings"],
        )?;
        let dimension = fields.get("dimension").ok_or("dimension is missing")?;
        let metric = fields.get("metric").ok_or("metric is missing")?;
        let mut schema = Schema::new(
            whole(dimension, "dimension", 1, Schema::MAX_DIMENSION)?,
            text(metric, "metric")?.parse()?,
        );
        if let Some(element) = fields.get("element") {
            schema.element = text(element, "element")?.parse()?;
        }
        if let Some(embedding) = fields.get("embedding").filter(|embedding| !embedding.is_null()) {
            schema.embedding = Some(text(embedding, "embedding")?.to_owned());
        }
        if let Some(attributes) = fields.get("attributes") {
            schema.attributes = AttributeSchema::from_json(attributes)?;
        }
        if let Some(hnsw) = fields.get("hnsw") {
            let hnsw = object(hnsw, "hnsw", &["m", "ef_construction"])?;
            set(&mut schema.hnsw.m, hnsw, "m", 2, 256)?;
            set(&mut schema.hnsw.ef_construction, hnsw, "ef_construction", 1, 10_000)?;
        }
        if let Some(settings) = fields.get("settings") {
            let settings = object(settings, "settings", &["ef"])?;
            set(&mut schema.default_ef, settings, "ef", 1, super::Index::MAX_EF)?;
        }
        schema.check()?;
        Ok(schema)
    }

    /// Checks what was set by hand.
    pub fn check(&self) -> Result<(), String> {
        let range = |name: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(format!("{name} is {value}, allowed is {low} to {high}"))
            }
        };
        range("dimension", self.dimension, 1, Schema::MAX_DIMENSION)?;
        range("hnsw.m", self.hnsw.m, 2, 256)?;
        range("hnsw.ef_construction", self.hnsw.ef_construction, 1, 10_000)?;
        range("settings.ef", self.default_ef, 1, super::Index::MAX_EF)?;
        let embedding = self.embedding.as_ref().map_or(1, String::len);
        range("the length of embedding in bytes", embedding, 1, Schema::MAX_EMBEDDING)
    }

    /// Writes the API's schema document.
    pub fn to_json(&self) -> Json {
        let mut json = json!({
            "dimension": self.dimension,
            "metric": self.metric,
            "element": self.element,
            "attributes": self.attributes.to_json(),
            "hnsw": {"m": self.hnsw.m, "ef_construction": self.hnsw.ef_construction},
            "settings": {"ef": self.default_ef},
        });
        if let Some(embedding) = &self.embedding {
            json["embedding"] = json!(embedding);
        }
        json
    }
}

fn object<'a>(json: &'a Json, name: &str, known: &[&str]) -> Result<&'a Map<String, Json>, String> {
    let object = json.as_object().ok_or_else(|| format!("{name} is not an object: {json}"))?;
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(object),
        Some(key) => Err(format!("{name} has an unknown field {key:?}; known are {}", known.join(", "))),
    }
}

fn text<'a>(json: &'a Json, name: &str) -> Result<&'a str, String> {
    json.as_str().ok_or_else(|| format!("{name} is not a string: {json}"))
}

fn whole(json: &Json, name: &str, low: usize, high: usize) -> Result<usize, String> {
    let value = json.as_u64().filter(|value| (low as u64..=high as u64).contains(value));
    value.map(|value| value as usize).ok_or_else(|| format!("{name} is {json}, allowed is {low} to {high}"))
}

fn set(
    field: &mut usize,
    from: &Map<String, Json>,
    name: &str,
    low: usize,
    high: usize,
) -> Result<(), String> {
    if let Some(value) = from.get(name) {
        *field = whole(value, name, low, high)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_survives_the_round_trip() {
        let json = json!({"dimension": 384, "metric": "cosine", "element": "f16", "embedding": "minilm",
            "attributes": {"section": "keyword", "price": {"type": "float", "default": 0.5}},
            "hnsw": {"m": 16, "ef_construction": 200}, "settings": {"ef": 150}});
        let schema = Schema::from_json(&json).expect("valid");
        assert_eq!(Schema::from_json(&schema.to_json()), Ok(schema));
    }

    #[test]
    fn the_documentation_has_every_field_and_its_example_is_taken() {
        let page = include_str!("../../docs/api.md");
        let (_, section) = page.split_once("\n## Schema\n").expect("a section");
        let (_, example) = section.split_once("```json\n").expect("an example");
        let (example, _) = example.split_once("```").expect("its end");
        let schema = Schema::from_json(&serde_json::from_str(example).expect("JSON")).expect("valid");
        for (name, value) in schema.to_json().as_object().expect("an object") {
            let names = match (name.as_str(), value.as_object()) {
                ("hnsw" | "settings", Some(inner)) => {
                    inner.keys().map(|key| format!("{name}.{key}")).collect()
                }
                _ => vec![name.clone()],
            };
            for name in names {
                assert!(section.contains(&format!("\n| `{name}` |")), "docs/api.md lacks {name}");
            }
        }
    }

    #[test]
    fn errors_name_field_value_and_limit() {
        let cases = [
            (json!({"metric": "l2"}), "dimension is missing"),
            (json!({"dimension": 0, "metric": "l2"}), "dimension is 0, allowed is 1 to 4096"),
            (json!({"dimension": 4, "metric": "hamming"}), "metric \"hamming\" is not one of"),
            (json!({"dimension": 4, "metric": "l2", "hnsw": {"m": 1}}), "m is 1, allowed is 2 to 256"),
            (json!({"dimension": 4, "metric": "l2", "hnws": {}}), "unknown field \"hnws\""),
            (json!({"dimension": 4, "metric": "l2", "embedding": ""}), "embedding in bytes is 0"),
        ];
        for (json, want) in cases {
            let error = Schema::from_json(&json).expect_err("invalid");
            assert!(error.contains(want), "{error:?} does not contain {want:?}");
        }
    }
}
