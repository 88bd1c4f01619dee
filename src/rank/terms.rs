//! The terms of a score: attribute values, decays and affinities, as a profile writes them.

use serde_json::Value as Json;

use super::ProfileError;
use super::gate::Names;
use super::read::{Fields, number, shown};
use crate::attributes::{AttributeType, parse_time};

/// One addend of the score: `weight` times its value, `missing` standing in for the value an item lacks.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) source: Source,
    pub(super) weight: f64,
    pub(super) missing: f64,
    /// Its place in the profile.
    pub(super) pointer: String,
}

#[derive(Debug)]
pub(super) enum Source {
    Attribute { field: Field, transform: Transform },
    Decay { field: Field, decay: Decay },
    Affinity { field: Field, ordinal: usize, weights: Weights },
}

/// What a term reads of an item.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    kind: AttributeType,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Column(usize),
    InsertedAt,
    Seq,
    Impressions,
    Clicks,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Transform {
    Linear,
    /// ln(1 + x), negative x as 0.
    Log1p,
    /// The square root, of negative x 0.
    Sqrt,
    Clamp {
        low: f64,
        high: f64,
    },
    /// From 0 at the pool's least to 1 at its greatest.
    Normalise,
}

#[derive(Debug)]
pub(super) struct Decay {
    shape: Shape,
    pub(super) origin: Origin,
    scale: f64,
    offset: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Exp,
    Gauss,
    Linear,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Origin {
    Now,
    At(f64),
}

#[derive(Debug)]
pub(super) enum Weights {
    Literal(Vec<(String, f64)>),
    /// A name of the request's context.
    Context(String),
}

/// What items have beside their attributes.
const BUILT_IN: [&str; 4] = ["_clicks", "_impressions", "_inserted_at", "_seq"];

impl Term {
    pub(super) fn parse(fields: &Fields<'_>, names: &Names<'_>) -> Result<Self, ProfileError> {
        let given = ["attribute", "decay", "affinity"].map(|kind| fields.get(kind).is_some());
        let source = match given {
            [true, false, false] => {
                fields.allow(&["attribute", "transform", "min", "max", "weight", "missing"])?;
                Source::Attribute {
                    field: Field::numeric(fields, names)?,
                    transform: Transform::parse(fields)?,
                }
            }
            [false, true, false] => {
                fields.allow(&["decay", "weight", "missing"])?;
                let inner = Fields::new(fields.need("decay")?, fields.at("decay"))?;
                let field = Field::numeric(&inner, names)?;
                Source::Decay { decay: Decay::parse(&inner, &field)?, field }
            }
            [false, false, true] => {
                fields.allow(&["affinity", "weight", "missing"])?;
                affinity(&Fields::new(fields.need("affinity")?, fields.at("affinity"))?, names)?
            }
            _ => return Err(fields.fail_here("a term has exactly one of attribute, decay and affinity")),
        };
        Ok(Term {
            source,
            weight: fields.number("weight")?.unwrap_or(1.0),
            missing: fields.number("missing")?.unwrap_or(0.0),
            pointer: fields.pointer().to_owned(),
        })
    }
}

impl Source {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Source::Attribute { .. } => "attribute",
            Source::Decay { .. } => "decay",
            Source::Affinity { .. } => "affinity",
        }
    }

    pub(super) fn attribute(&self) -> &str {
        match self {
            Source::Attribute { field, .. }
            | Source::Decay { field, .. }
            | Source::Affinity { field, .. } => &field.name,
        }
    }
}

impl Field {
    /// Reads `attribute`.
    fn parse(fields: &Fields<'_>, names: &Names<'_>) -> Result<Self, ProfileError> {
        let name = fields.need_text("attribute")?;
        let (kind, place) = match name {
            "_inserted_at" => (AttributeType::Time, Place::InsertedAt),
            "_seq" => (AttributeType::Int, Place::Seq),
            "_impressions" => (AttributeType::Int, Place::Impressions),
            "_clicks" => (AttributeType::Int, Place::Clicks),
            _ => match names.schema.find(name) {
                Some((ordinal, spec)) => (spec.kind, Place::Column(ordinal)),
                None => return Err(fields.fail("attribute", names.schema.unknown(name, &BUILT_IN))),
            },
        };
        Ok(Field { name: name.to_owned(), kind, place })
    }

    fn numeric(fields: &Fields<'_>, names: &Names<'_>) -> Result<Self, ProfileError> {
        let field = Field::parse(fields, names)?;
        match field.kind {
            AttributeType::Keyword | AttributeType::Keywords => {
                let reason =
                    format!("{:?} has no numbers: allowed are int, float, bool and time", field.name);
                Err(fields.fail("attribute", reason))
            }
            _ => Ok(field),
        }
    }
}

impl Transform {
    fn parse(fields: &Fields<'_>) -> Result<Self, ProfileError> {
        let name = fields.text("transform")?.unwrap_or("linear");
        let (low, high) = (fields.number("min")?, fields.number("max")?);
        let bounds = ["min", "max"].into_iter().find(|key| fields.get(key).is_some());
        if let Some(key) = bounds.filter(|_| name != "clamp") {
            return Err(fields.fail(key, format!("{key} goes with the transform clamp, not with {name}")));
        }
        match name {
            "linear" => Ok(Transform::Linear),
            "log1p" => Ok(Transform::Log1p),
            "sqrt" => Ok(Transform::Sqrt),
            "normalise" => Ok(Transform::Normalise),
            "clamp" if bounds.is_none() => Err(fields.fail_here("clamp needs min, max or both")),
            "clamp" => {
                let (low, high) = (low.unwrap_or(f64::MIN), high.unwrap_or(f64::MAX));
                match low <= high {
                    true => Ok(Transform::Clamp { low, high }),
                    false => Err(fields.fail("min", format!("min is {low}, above max, {high}"))),
                }
            }
            other => {
                let reason = format!("{other:?} is not one of linear, log1p, sqrt, clamp, normalise");
                Err(fields.fail("transform", reason))
            }
        }
    }

    /// The transformed value; `range` is the pool's least and greatest. Finite for finite numbers.
    pub(super) fn apply(self, number: f64, range: (f64, f64)) -> f64 {
        match self {
            Transform::Linear => number,
            Transform::Log1p => number.max(0.0).ln_1p(),
            Transform::Sqrt => number.max(0.0).sqrt(),
            Transform::Clamp { low, high } => number.clamp(low, high),
            Transform::Normalise => scaled(number, range),
        }
    }
}

/// From 0 at the low end of the range to 1 at its high end; 1 when the range is a point.
pub(super) fn scaled(number: f64, (low, high): (f64, f64)) -> f64 {
    // Quarters, so that no difference overflows.
    let (above, width) = (number / 4.0 - low / 4.0, high / 4.0 - low / 4.0);
    if width > 0.0 { (above / width).clamp(0.0, 1.0) } else { 1.0 }
}

impl Decay {
    fn parse(fields: &Fields<'_>, field: &Field) -> Result<Self, ProfileError> {
        fields.allow(&["attribute", "shape", "origin", "scale", "offset"])?;
        let shape = match fields.need_text("shape")? {
            "exp" => Shape::Exp,
            "gauss" => Shape::Gauss,
            "linear" => Shape::Linear,
            other => return Err(fields.fail("shape", format!("{other:?} is not one of exp, gauss, linear"))),
        };
        let (origin, scale, offset) = match field.kind {
            AttributeType::Time => {
                let origin = match fields.text("origin")? {
                    None | Some("now") => Origin::Now,
                    Some(text) => {
                        let time = parse_time(text);
                        let reason = |reason| fields.fail("origin", format!("{reason}; now works too"));
                        Origin::At(time.map_err(reason)? as f64)
                    }
                };
                let millis = |key| Ok(fields.duration(key)?.map(|millis| millis as f64));
                (origin, millis("scale")?, millis("offset")?)
            }
            AttributeType::Int | AttributeType::Float => {
                fields.need("origin")?;
                let origin = Origin::At(fields.number("origin")?.unwrap_or_default());
                (origin, fields.number("scale")?, fields.number("offset")?)
            }
            _ => return Err(fields.fail("attribute", format!("{:?} is no int, float or time", field.name))),
        };
        let scale = scale.ok_or_else(|| fields.fail_here("scale is missing"))?;
        let offset = offset.unwrap_or(0.0);
        if scale <= 0.0 {
            return Err(fields.fail("scale", format!("scale is {scale}, it must be above 0")));
        }
        if offset < 0.0 {
            return Err(fields.fail("offset", format!("offset is {offset}, the least is 0")));
        }
        Ok(Decay { shape, origin, scale, offset })
    }

    /// 1 up to `offset` away from the origin, 0.5 at `scale` beyond that, towards 0 further away.
    pub(super) fn at(&self, number: f64, origin: f64) -> f64 {
        let distance = ((number - origin).abs() - self.offset).max(0.0) / self.scale;
        match self.shape {
            Shape::Exp => (-distance).exp2(),
            Shape::Gauss => (-distance * distance).exp2(),
            Shape::Linear => (1.0 - distance / 2.0).max(0.0),
        }
    }
}

fn affinity(fields: &Fields<'_>, names: &Names<'_>) -> Result<Source, ProfileError> {
    fields.allow(&["attribute", "weights"])?;
    let field = Field::parse(fields, names)?;
    let (Place::Column(ordinal), AttributeType::Keyword | AttributeType::Keywords) =
        (field.place, field.kind)
    else {
        let reason = format!("{:?} has no keywords: allowed are keyword and keywords", field.name);
        return Err(fields.fail("attribute", reason));
    };
    let json = fields.need("weights")?;
    let reference =
        json.as_object().filter(|object| object.len() == 1).and_then(|object| object.get("context"));
    let weights = match reference.and_then(Json::as_str) {
        Some(name) if names.context.has_weights(name) => Weights::Context(name.to_owned()),
        Some(name) => {
            let reason = format!("{name:?} is not declared in the profile's context as weights");
            return Err(fields.fail("weights", reason));
        }
        None => {
            let weights = read_weights(json).map_err(|reason| fields.fail("weights", reason))?;
            let owned = |(keyword, weight): (&str, f64)| (keyword.to_owned(), weight);
            Weights::Literal(weights.into_iter().map(owned).collect())
        }
    };
    Ok(Source::Affinity { field, ordinal, weights })
}

/// Most weights of one affinity.
pub(super) const MAX_WEIGHTS: usize = 10_000;

/// Reads an object of keywords and finite numbers.
pub(super) fn read_weights(json: &Json) -> Result<Vec<(&str, f64)>, String> {
    let Json::Object(fields) = json else {
        return Err(format!("expected an object of keywords and numbers, not {}", shown(json)));
    };
    if fields.len() > MAX_WEIGHTS {
        return Err(format!("{} weights given; the limit is {MAX_WEIGHTS}", fields.len()));
    }
    let weight = |(keyword, weight)| match number(weight) {
        Ok(weight) => Ok((String::as_str(keyword), weight)),
        Err(reason) => Err(format!("{keyword:?}: {reason}")),
    };
    fields.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decay(shape: Shape) -> Decay {
        Decay { shape, origin: Origin::At(0.0), scale: 10.0, offset: 2.0 }
    }

    #[test]
    fn decay_is_one_within_the_offset_and_a_half_at_scale() {
        for shape in [Shape::Exp, Shape::Gauss, Shape::Linear] {
            let decay = decay(shape);
            for (number, value) in [(0.0, 1.0), (2.0, 1.0), (-2.0, 1.0), (12.0, 0.5), (-12.0, 0.5)] {
                assert_eq!(decay.at(number, 0.0), value, "{shape:?} at {number}");
            }
            assert!(decay.at(22.0, 0.0) < 0.5);
        }
        assert_eq!(decay(Shape::Exp).at(22.0, 0.0), 0.25);
        assert_eq!(decay(Shape::Gauss).at(22.0, 0.0), 0.0625);
        assert_eq!(decay(Shape::Linear).at(22.0, 0.0), 0.0);
    }

    proptest! {
        #[test]
        fn values_are_finite(number: f64, origin: f64, low: f64, high: f64, scale in 1e-300..1e300f64) {
            prop_assume!([number, origin, low, high].iter().all(|number| number.is_finite()));
            let range = (low.min(high), low.max(high));
            let clamp = Transform::Clamp { low: range.0, high: range.1 };
            for transform in [Transform::Linear, Transform::Log1p, Transform::Sqrt, clamp, Transform::Normalise] {
                prop_assert!(transform.apply(number, range).is_finite(), "{transform:?}");
            }
            for shape in [Shape::Exp, Shape::Gauss, Shape::Linear] {
                let value = Decay { shape, origin: Origin::At(origin), scale, offset: 0.0 }.at(number, origin);
                prop_assert!((0.0..=1.0).contains(&value), "{shape:?} {value}");
            }
        }
    }
}
