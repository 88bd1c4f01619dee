//! Types of attributes from their values, for inputs that come without a schema.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::schema::{check_name, list_cell};
use super::{AttributeSchema, AttributeSpec, AttributeType, parse_time};

/// Infers attribute types from all rows: feed every item's JSON attributes, then take the schema.
/// `00123` stays a keyword; ints widen to float; RFC 3339 strings become time; "true"/"false" from CSV bool; lists of strings keywords.
///
/// Values of several types make a keyword, or keywords when one of them is a list; read such rows with
/// [`AttributeSpec::parse_inferred`]. Names that no attribute can hold are in [`Inference::ignored`].
#[derive(Debug, Default)]
pub struct Inference {
    seen: BTreeMap<String, Seen>,
}

/// Kinds of values a name has had.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    text: bool,
    list: bool,
    int: bool,
    /// A whole number in text that f64 does not hold exactly.
    wide: bool,
    float: bool,
    bool: bool,
    time: bool,
    nested: bool,
}

impl Inference {
    /// Looks at one value (JSON inputs are typed; from CSV all values come as strings with `untyped` true).
    pub fn see(&mut self, name: &str, value: &Json, untyped: bool) {
        if !self.seen.contains_key(name) {
            self.seen.insert(name.to_owned(), Seen::default());
        }
        let Some(seen) = self.seen.get_mut(name) else { return };
        match value {
            Json::String(text) if untyped => seen.cell(text),
            other => seen.typed(other),
        }
    }

    /// Names seen so far that the schema will not have, with the reason.
    pub fn ignored(&self) -> impl Iterator<Item = (&str, String)> {
        let mut kept = 0;
        self.seen.iter().filter_map(move |(name, seen)| {
            let reason = reason(name, seen).or_else(|| {
                kept += 1;
                let most = AttributeSchema::MAX_ATTRIBUTES;
                (kept > most)
                    .then(|| format!("a schema has at most {most} attributes; --schema chooses which"))
            })?;
            Some((name.as_str(), reason))
        })
    }

    /// The narrowest schema that holds everything seen, without the [`Inference::ignored`] names.
    pub fn finish(self) -> AttributeSchema {
        let mut schema = AttributeSchema::default();
        for (name, seen) in &self.seen {
            let kind = if reason(name, seen).is_none() { seen.kind() } else { None };
            if let Some(kind) = kind {
                // The name was checked; names past the most a schema may have are left out.
                let _ = schema.insert(name, AttributeSpec::new(kind));
            }
        }
        schema
    }
}

fn reason(name: &str, seen: &Seen) -> Option<String> {
    if let Err(reason) = check_name(name) {
        return Some(reason);
    }
    if seen.nested {
        return Some("it holds objects, or lists of other things than strings".to_owned());
    }
    seen.kind().is_none().then(|| "no item has a value".to_owned())
}

impl Seen {
    fn typed(&mut self, value: &Json) {
        match value {
            Json::Null => {}
            Json::Bool(_) => self.bool = true,
            Json::Number(number) => match number.as_i64() {
                Some(whole) if whole != i64::MIN => self.int = true,
                _ => self.float = true,
            },
            Json::String(text) => match parse_time(text) {
                Ok(_) => self.time = true,
                Err(_) => self.text = true,
            },
            Json::Array(list) if list.is_empty() => {}
            Json::Array(list) if list.iter().all(Json::is_string) => self.list = true,
            Json::Array(_) | Json::Object(_) => self.nested = true,
        }
    }

    fn cell(&mut self, text: &str) {
        match text {
            "" => {}
            "true" | "false" => self.bool = true,
            _ if reprints(text) => {
                self.int = true;
                self.wide |= text.parse::<i64>().is_ok_and(|whole| whole.unsigned_abs() > 1 << 53);
            }
            _ if is_decimal(text) => self.float = true,
            _ if list_cell(text).is_some() => self.list = true,
            _ if parse_time(text).is_ok() => self.time = true,
            _ => self.text = true,
        }
    }

    fn kind(&self) -> Option<AttributeType> {
        let Seen { text, list, int, wide, float, bool, time, nested: _ } = *self;
        let number = int || float;
        match u8::from(number) + u8::from(bool) + u8::from(time) + u8::from(text) + u8::from(list) {
            0 => None,
            _ if list => Some(AttributeType::Keywords),
            1 if bool => Some(AttributeType::Bool),
            1 if time => Some(AttributeType::Time),
            1 if int && !float => Some(AttributeType::Int),
            1 if float && !wide => Some(AttributeType::Float),
            _ => Some(AttributeType::Keyword),
        }
    }
}

/// Whether the text is exactly how its whole number prints: not `00123`, `+5` or `-0`.
fn reprints(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|whole| whole != i64::MIN && whole.to_string() == text)
}

/// A JSON number with a fraction or an exponent. Digits alone that `reprints` refused are an id, not a number.
fn is_decimal(text: &str) -> bool {
    let marked = text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    let begins = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    marked && begins && serde_json::from_str::<f64>(text).is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn infer(values: &[Json], untyped: bool) -> Option<AttributeType> {
        let mut inference = Inference::default();
        for value in values {
            inference.see("a", value, untyped);
        }
        inference.finish().find("a").map(|(_, spec)| spec.kind)
    }

    #[test]
    fn typed_values() {
        use AttributeType::*;
        for (values, kind) in [
            (vec![json!(1), json!(null), json!(2)], Some(Int)),
            (vec![json!(1), json!(2.5)], Some(Float)),
            (vec![json!(u64::MAX)], Some(Float)),
            (vec![json!("00123"), json!("5")], Some(Keyword)),
            (vec![json!(true)], Some(Bool)),
            (vec![json!("true")], Some(Keyword)),
            (vec![json!("2026-01-01T00:00:00Z")], Some(Time)),
            (vec![json!("2026-01-01T00:00:00Z"), json!("soon")], Some(Keyword)),
            (vec![json!(["a"]), json!([])], Some(Keywords)),
            (vec![json!("a"), json!(["a", "b"])], Some(Keywords)),
            (vec![json!(1), json!("a")], Some(Keyword)),
            (vec![json!(1), json!(true)], Some(Keyword)),
            (vec![json!({"b": 1}), json!("a")], None),
            (vec![json!([1, 2])], None),
            (vec![json!(null), json!([])], None),
        ] {
            assert_eq!(infer(&values, false), kind, "{values:?}");
            let spec = kind.map(AttributeSpec::new);
            for value in &values {
                assert!(
                    spec.as_ref().is_none_or(|spec| spec.parse_inferred(value).is_ok()),
                    "{value} as {kind:?}"
                );
            }
        }
    }

    #[test]
    fn cells() {
        use AttributeType::*;
        for (cells, kind) in [
            (vec!["1", "", "-20"], Some(Int)),
            (vec!["1", "00123"], Some(Keyword)),
            (vec!["1", "+5"], Some(Keyword)),
            (vec!["123456789012345678901234"], Some(Keyword)),
            (vec!["1", "2.50", "1e3"], Some(Float)),
            (vec!["9007199254740993", "0.5"], Some(Keyword)),
            (vec!["1.5", "nan"], Some(Keyword)),
            (vec!["001.5"], Some(Keyword)),
            (vec!["true", "", "false"], Some(Bool)),
            (vec!["True"], Some(Keyword)),
            (vec!["2026-01-01T00:00:00+01:00"], Some(Time)),
            (vec!["2026-01-01"], Some(Keyword)),
            (vec![r#"["a","b"]"#, "c"], Some(Keywords)),
            (vec!["", ""], None),
        ] {
            let values: Vec<_> = cells.iter().map(|cell| json!(cell)).collect();
            assert_eq!(infer(&values, true), kind, "{cells:?}");
            let spec = kind.map(AttributeSpec::new);
            for cell in cells {
                assert!(
                    spec.as_ref().is_none_or(|spec| spec.parse_untyped(cell).is_ok()),
                    "{cell} as {kind:?}"
                );
            }
        }
    }

    #[test]
    fn what_a_schema_has_no_place_for_is_reported() {
        let mut inference = Inference::default();
        (0..AttributeSchema::MAX_ATTRIBUTES + 2)
            .for_each(|at| inference.see(&format!("a{at:05}"), &json!(1), false));
        inference.see("_own", &json!(1), false);
        let ignored: Vec<_> = inference.ignored().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(ignored, ["_own", "a01024", "a01025"]);
        assert_eq!(inference.finish().len(), AttributeSchema::MAX_ATTRIBUTES);
    }

    #[test]
    fn what_cannot_be_an_attribute_is_reported() {
        let mut inference = Inference::default();
        for (name, value) in
            [("good", json!(1)), ("nested", json!({"b": 1})), ("_own", json!(1)), ("void", json!(null))]
        {
            inference.see(name, &value, false);
        }
        let ignored: Vec<_> = inference.ignored().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(ignored, ["_own", "nested", "void"]);
        assert_eq!(inference.finish().to_json(), json!({"good": "int"}));
    }
}
