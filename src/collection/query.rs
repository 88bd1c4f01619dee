//! From the query document to checked vectors: which vectors to search by, and which items not to return.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use half::f16;

use super::request::{QueryDocument, Strategy, WeightedItem, WeightedVector};
use super::{SearchError, SearchLimits};
use crate::attributes::ItemFacts;
use crate::index::{Query, QueryError, Schema, View};
use crate::vector::Metric;

/// A query vector with the weight of its similarity.
#[derive(Debug)]
pub(super) struct Weighted {
    pub query: Query,
    /// Positive.
    pub weight: f32,
}

/// What to search by.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// A search for each; more than one are united by the best weighted similarity.
    pub positives: Vec<Weighted>,
    /// The best weighted similarity to these is taken off. They need no search of their own.
    pub negatives: Vec<Weighted>,
    /// Items that the query names: never results.
    pub own: Vec<u32>,
    /// Ids among `items` that are not there.
    pub skipped: Vec<String>,
}

impl Resolved {
    fn of(query: Query) -> Self {
        Resolved { positives: vec![Weighted { query, weight: 1.0 }], ..Resolved::default() }
    }

    /// Whether similarities are a combination of several, not the similarity to one vector.
    pub fn is_combined(&self) -> bool {
        self.positives.len() + self.negatives.len() > 1
    }
}

/// Reads the query document against an index.
pub(super) fn resolve(
    view: &View<'_>,
    query: &QueryDocument,
    limits: &SearchLimits,
) -> Result<Resolved, SearchError> {
    let form = the_form(query)?;
    check_embedding(view.schema(), query)?;
    if query.strategy.is_some() && form != "items" {
        return Err(SearchError::invalid(
            "/query/strategy",
            format!("strategy goes with `items`, the query is `{form}`"),
        ));
    }
    match (&query.item, &query.items, &query.vectors) {
        (Some(id), _, _) => one_item(view, id),
        (_, Some(items), _) => match query.strategy.unwrap_or(Strategy::Average) {
            Strategy::Average => average(view, items),
            Strategy::Best => best_of_items(view, items, limits),
        },
        (_, _, Some(vectors)) => best_of_vectors(view, vectors),
        _ => {
            let forms = Forms { vector: &query.vector, f32: &query.vector_f32, f16: &query.vector_f16 };
            let (vector, pointer) = forms.read("/query")?;
            Ok(Resolved::of(checked(view, &vector, &pointer)?))
        }
    }
}

/// The one form of query that is given.
fn the_form(query: &QueryDocument) -> Result<&'static str, SearchError> {
    let given: Vec<&str> = [
        ("vector", query.vector.is_some()),
        ("vector_f32", query.vector_f32.is_some()),
        ("vector_f16", query.vector_f16.is_some()),
        ("item", query.item.is_some()),
        ("items", query.items.is_some()),
        ("vectors", query.vectors.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect();
    match given[..] {
        ["vector"] => Ok("vector"),
        ["vector_f32"] => Ok("vector_f32"),
        ["vector_f16"] => Ok("vector_f16"),
        ["item"] => Ok("item"),
        ["items"] => Ok("items"),
        ["vectors"] => Ok("vectors"),
        _ => {
            let given = if given.is_empty() { "none".to_owned() } else { given.join(" and ") };
            let reason = format!(
                "exactly one of vector, vector_f32, vector_f16, item, items, vectors is needed, given: {given}"
            );
            Err(SearchError::invalid("/query", reason))
        }
    }
}

fn check_embedding(schema: &Schema, query: &QueryDocument) -> Result<(), SearchError> {
    match &query.embedding {
        Some(given) if schema.embedding.as_ref() != Some(given) => {
            Err(SearchError::Embedding { given: given.clone(), expected: schema.embedding.clone() })
        }
        _ => Ok(()),
    }
}

fn checked(view: &View<'_>, vector: &[f32], pointer: &str) -> Result<Query, SearchError> {
    view.query(vector).map_err(|source| SearchError::Vector { pointer: pointer.to_owned(), source })
}

fn one_item(view: &View<'_>, id: &str) -> Result<Resolved, SearchError> {
    let Some(item) = view.find(id) else {
        return Err(SearchError::UnknownItems {
            pointer: "/query/item".to_owned(),
            ids: vec![id.to_owned()],
        });
    };
    let mut vector = Vec::new();
    view.vector(item, &mut vector);
    Ok(Resolved { own: vec![item], ..Resolved::of(checked(view, &vector, "/query/item")?) })
}

/// Items of a query that are there, with weights; the ids of the others.
struct Known {
    items: Vec<(u32, f32)>,
    skipped: Vec<String>,
}

fn known_items(view: &View<'_>, items: &[WeightedItem]) -> Result<Known, SearchError> {
    let mut known = Vec::with_capacity(items.len());
    let mut skipped = Vec::new();
    for (at, item) in items.iter().enumerate() {
        check_weight(item.weight, || format!("/query/items/{at}/weight"))?;
        match view.find(&item.id) {
            Some(slot) => known.push((slot, item.weight)),
            None => skipped.push(item.id.clone()),
        }
    }
    if items.is_empty() {
        return Err(SearchError::invalid("/query/items", "items is empty, at least one is needed"));
    }
    if known.is_empty() {
        return Err(SearchError::UnknownItems { pointer: "/query/items".to_owned(), ids: skipped });
    }
    Ok(Known { items: known, skipped })
}

fn check_weight(weight: f32, pointer: impl Fn() -> String) -> Result<(), SearchError> {
    if weight.is_finite() && weight != 0.0 {
        return Ok(());
    }
    Err(SearchError::invalid(pointer(), format!("weight is {weight}, it must be finite and not 0")))
}

fn average(view: &View<'_>, items: &[WeightedItem]) -> Result<Resolved, SearchError> {
    let Known { items: known, skipped } = known_items(view, items)?;
    let mut vectors = Vec::with_capacity(known.len());
    for (item, weight) in &known {
        let mut vector = Vec::new();
        view.vector(*item, &mut vector);
        vectors.push((vector, *weight));
    }
    let vector = weighted_average(&vectors, view.schema().metric)
        .map_err(|reason| SearchError::invalid("/query/items", reason))?;
    let own = known.into_iter().map(|(item, _)| item).collect();
    Ok(Resolved { own, skipped, ..Resolved::of(checked(view, &vector, "/query/items")?) })
}

/// Cosine sums directions (a stored length means nothing there); dot divides by the sum of |w|, l2 by the sum of w.
fn weighted_average(vectors: &[(Vec<f32>, f32)], metric: Metric) -> Result<Vec<f32>, String> {
    let divisor = match metric {
        Metric::Cosine => 1.0,
        Metric::Dot => vectors.iter().map(|(_, weight)| f64::from(weight.abs())).sum(),
        Metric::L2 => vectors.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>(),
    };
    if divisor <= 0.0 {
        return Err(format!("the weights sum to {divisor}, under l2 the sum must be positive"));
    }
    let mut sum = vec![0.0_f64; vectors.first().map_or(0, |(vector, _)| vector.len())];
    for (vector, weight) in vectors {
        let length = match metric {
            Metric::Cosine => vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt(),
            Metric::Dot | Metric::L2 => 1.0,
        };
        let factor = f64::from(*weight) / (length * divisor);
        for (total, &number) in sum.iter_mut().zip(vector) {
            *total += factor * f64::from(number);
        }
    }
    if metric == Metric::Cosine && is_rounding(&sum, vectors) {
        return Err(QueryError::Zero.to_string() + "; the items cancel each other out");
    }
    Ok(sum.into_iter().map(|number| number as f32).collect())
}

/// Whether a sum of directions is nothing but what rounding left of opposites.
fn is_rounding(sum: &[f64], vectors: &[(Vec<f32>, f32)]) -> bool {
    let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    let weights: f64 = vectors.iter().map(|(_, weight)| f64::from(weight.abs())).sum();
    length <= weights * 1e-9
}

fn best_of_items(
    view: &View<'_>,
    items: &[WeightedItem],
    limits: &SearchLimits,
) -> Result<Resolved, SearchError> {
    let Known { items: known, skipped } = known_items(view, items)?;
    if known.len() > limits.query_vectors {
        return Err(SearchError::OutOfRange {
            pointer: "/query/items".to_owned(),
            name: "items of strategy `best`",
            value: known.len() as u64,
            least: 1,
            limit: limits.query_vectors as u64,
            setting: "limits.query_vectors",
        });
    }
    let mut resolved = Resolved { skipped, ..Resolved::default() };
    let mut vector = Vec::new();
    for (item, weight) in known {
        view.vector(item, &mut vector);
        add(&mut resolved, checked(view, &vector, "/query/items")?, weight);
        resolved.own.push(item);
    }
    needs_a_positive(resolved, "/query/items")
}

fn best_of_vectors(view: &View<'_>, vectors: &[WeightedVector]) -> Result<Resolved, SearchError> {
    let mut resolved = Resolved::default();
    for (at, given) in vectors.iter().enumerate() {
        let pointer = format!("/query/vectors/{at}");
        check_weight(given.weight, || format!("{pointer}/weight"))?;
        let forms = Forms { vector: &given.vector, f32: &given.vector_f32, f16: &given.vector_f16 };
        let (vector, pointer) = forms.read(&pointer)?;
        add(&mut resolved, checked(view, &vector, &pointer)?, given.weight);
    }
    needs_a_positive(resolved, "/query/vectors")
}

fn add(resolved: &mut Resolved, query: Query, weight: f32) {
    let side = if weight > 0.0 { &mut resolved.positives } else { &mut resolved.negatives };
    side.push(Weighted { query, weight: weight.abs() });
}

fn needs_a_positive(resolved: Resolved, pointer: &str) -> Result<Resolved, SearchError> {
    if resolved.positives.is_empty() {
        return Err(SearchError::invalid(pointer, "no weight is positive: there is nothing to search for"));
    }
    Ok(resolved)
}

/// The three ways to write a vector.
pub(super) struct Forms<'a> {
    pub vector: &'a Option<Vec<f32>>,
    pub f32: &'a Option<String>,
    pub f16: &'a Option<String>,
}

impl<'a> Forms<'a> {
    /// The vector and the pointer to where it stands.
    pub(super) fn read(self, at: &str) -> Result<(std::borrow::Cow<'a, [f32]>, String), SearchError> {
        match (self.vector, self.f32, self.f16) {
            (Some(vector), None, None) => Ok((vector.as_slice().into(), format!("{at}/vector"))),
            (None, Some(text), None) => {
                let pointer = format!("{at}/vector_f32");
                let bytes = decode(text, 4, &pointer)?;
                let numbers = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                Ok((numbers.collect::<Vec<_>>().into(), pointer))
            }
            (None, None, Some(text)) => {
                let pointer = format!("{at}/vector_f16");
                let bytes = decode(text, 2, &pointer)?;
                let numbers =
                    bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32());
                Ok((numbers.collect::<Vec<_>>().into(), pointer))
            }
            _ => Err(SearchError::invalid(at, "exactly one of vector, vector_f32, vector_f16 is needed")),
        }
    }
}

fn decode(text: &str, size: usize, pointer: &str) -> Result<Vec<u8>, SearchError> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| {
        SearchError::invalid(pointer, format!("not base64 (standard alphabet, padded): {error}"))
    })?;
    if bytes.len() % size != 0 {
        let reason = format!("{} bytes, not a multiple of {size}", bytes.len());
        return Err(SearchError::invalid(pointer, reason));
    }
    Ok(bytes)
}

/// A heavier weight never demotes: it multiplies what is positive and divides what is negative.
pub(super) fn weigh(similarity: f32, weight: f32) -> f32 {
    let weighed = if similarity >= 0.0 { similarity * weight } else { similarity / weight };
    weighed.clamp(f32::MIN, f32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_follow_the_metric() {
        let vectors = vec![(vec![3.0, 0.0], 1.0), (vec![0.0, 4.0], 1.0)];
        assert_eq!(weighted_average(&vectors, Metric::Cosine).unwrap(), [1.0, 1.0]);
        assert_eq!(weighted_average(&vectors, Metric::Dot).unwrap(), [1.5, 2.0]);
        let away = vec![(vec![3.0, 0.0], 2.0), (vec![0.0, 4.0], -1.0)];
        assert_eq!(weighted_average(&away, Metric::Dot).unwrap(), [2.0, -4.0 / 3.0]);
        assert_eq!(weighted_average(&away, Metric::L2).unwrap(), [6.0, -4.0]);
        let none = vec![(vec![1.0], 1.0), (vec![2.0], -1.0)];
        assert!(weighted_average(&none, Metric::L2).unwrap_err().contains("sum to 0"));
        assert!(weighted_average(&none, Metric::Cosine).unwrap_err().contains("cancel"));
    }

    #[test]
    fn a_heavier_weight_never_demotes() {
        for similarity in [-3.0, -0.5, 0.0, 0.5, 3.0] {
            assert!(weigh(similarity, 2.0) >= weigh(similarity, 1.0));
            assert_eq!(weigh(similarity, 1.0), similarity);
        }
        assert!(weigh(f32::MAX, 2.0).is_finite());
    }

    #[test]
    fn vectors_come_in_three_forms() {
        let numbers = [1.0_f32, -2.5];
        let f32s: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let f16s: Vec<u8> = numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        let (f32s, f16s) = (Some(BASE64_STANDARD.encode(f32s)), Some(BASE64_STANDARD.encode(f16s)));
        let read = |f32, f16| {
            Forms { vector: &None, f32, f16 }.read("/query").map(|(vector, _)| vector.into_owned())
        };
        assert_eq!(read(&f32s, &None).unwrap(), numbers);
        assert_eq!(read(&None, &f16s).unwrap(), numbers);
        assert_eq!(read(&f32s, &f16s).unwrap_err().pointer(), "/query");
        let (odd, bad) = (Some("AAA=".to_owned()), Some("!".to_owned()));
        assert_eq!(read(&odd, &None).unwrap_err().pointer(), "/query/vector_f32");
        assert!(read(&bad, &None).unwrap_err().to_string().contains("base64"));
    }

    #[test]
    fn one_form_only() {
        let query =
            QueryDocument { item: Some("a".into()), vector: Some(vec![1.0]), ..QueryDocument::default() };
        assert!(the_form(&query).unwrap_err().to_string().contains("vector and item"));
        assert!(the_form(&QueryDocument::default()).unwrap_err().to_string().contains("none"));
    }
}
