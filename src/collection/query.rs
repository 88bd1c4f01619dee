//! From the query document to checked vectors: which vectors to search by, and which items not to return.

use std::collections::HashSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use half::f16;
use serde_json::Value;

use super::order::Order;
use super::request::{QueryDocument, SourceDocument, Strategy, WeightedItem, WeightedVector};
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

/// What to search by: one query, or several that are blended.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub parts: Vec<Part>,
    /// Items that the query names: never results.
    pub own: Vec<u32>,
    /// Ids that are not there.
    pub skipped: Vec<String>,
}

/// One of the queries.
#[derive(Debug)]
pub(super) struct Part {
    /// Empty when the query has no `sources`.
    pub name: String,
    pub source: Source,
    /// Its own, and where in the request it stands.
    pub filter: Option<(Value, String)>,
    pub share: f64,
}

/// Where candidates come from.
#[derive(Debug)]
pub(super) enum Source {
    Vectors(Resolved),
    /// A given list.
    List(Vec<u32>),
    Order(Order),
}

impl Prepared {
    /// The queries that compare vectors.
    pub fn vectors(&self) -> impl Iterator<Item = &Resolved> {
        self.parts.iter().filter_map(|part| match &part.source {
            Source::Vectors(resolved) => Some(resolved),
            _ => None,
        })
    }
}

/// Vectors to search by.
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

    /// The similarity of an item: to the vector, or the best weighted one to a positive minus the best to a negative.
    pub fn similarity(&self, view: &View<'_>, item: u32) -> f32 {
        if let ([only], []) = (&self.positives[..], &self.negatives[..]) {
            return view.similarity(&only.query, item);
        }
        let best = |side: &[Weighted]| {
            let weighed = side.iter().map(|one| weigh(view.similarity(&one.query, item), one.weight));
            weighed.fold(f32::NEG_INFINITY, f32::max)
        };
        let similarity = best(&self.positives);
        if self.negatives.is_empty() {
            return similarity;
        }
        (similarity - best(&self.negatives)).clamp(f32::MIN, f32::MAX)
    }

    /// Whether similarities are a combination of several, not the similarity to one vector.
    pub fn is_combined(&self) -> bool {
        self.positives.len() + self.negatives.len() > 1
    }
}

/// Reads a query document, at pointer `at` of the request, against an index.
pub(super) fn resolve(
    view: &View<'_>,
    query: &QueryDocument,
    at: &str,
    limits: &SearchLimits,
) -> Result<Prepared, SearchError> {
    let form = the_form(query, at)?;
    check_embedding(view.schema(), query)?;
    if query.strategy.is_some() && form != "items" {
        return Err(SearchError::invalid(
            format!("{at}/strategy"),
            format!("strategy goes with `items`, the query is `{form}`"),
        ));
    }
    if let Some(sources) = &query.sources {
        return blend(view, sources, at, limits);
    }
    let mut prepared = Prepared::default();
    let source = if let Some(ids) = &query.ids {
        Source::List(listed(view, ids, at, &mut prepared.skipped)?)
    } else if let Some(order) = &query.order_by {
        Source::Order(Order::parse(order, view.schema(), &format!("{at}/order_by"))?)
    } else {
        let mut resolved = resolve_vectors(view, query, at, limits)?;
        prepared.own = std::mem::take(&mut resolved.own);
        prepared.skipped = std::mem::take(&mut resolved.skipped);
        Source::Vectors(resolved)
    };
    prepared.parts.push(Part { name: String::new(), source, filter: None, share: 1.0 });
    Ok(prepared)
}

fn resolve_vectors(
    view: &View<'_>,
    query: &QueryDocument,
    at: &str,
    limits: &SearchLimits,
) -> Result<Resolved, SearchError> {
    match (&query.item, &query.items, &query.vectors) {
        (Some(id), _, _) => one_item(view, id, at),
        (_, Some(items), _) => match query.strategy.unwrap_or(Strategy::Average) {
            Strategy::Average => average(view, items, at),
            Strategy::Best => best_of_items(view, items, at, limits),
        },
        (_, _, Some(vectors)) => best_of_vectors(view, vectors, at),
        _ => {
            let forms = Forms { vector: &query.vector, f32: &query.vector_f32, f16: &query.vector_f16 };
            let (vector, pointer) = forms.read(at)?;
            Ok(Resolved::of(checked(view, &vector, &pointer)?))
        }
    }
}

/// The items of a list that are there, each once.
fn listed(
    view: &View<'_>,
    ids: &[String],
    at: &str,
    skipped: &mut Vec<String>,
) -> Result<Vec<u32>, SearchError> {
    let mut seen = HashSet::with_capacity(ids.len());
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        match view.find(id) {
            Some(item) if seen.insert(item) => items.push(item),
            Some(_) => {}
            None => skipped.push(id.clone()),
        }
    }
    if items.is_empty() {
        let pointer = format!("{at}/ids");
        return Err(SearchError::UnknownItems { pointer, ids: std::mem::take(skipped) });
    }
    Ok(items)
}

/// Several queries. One whose items are all unknown has no candidates; when that is so of all, it is an error.
fn blend(
    view: &View<'_>,
    sources: &[SourceDocument],
    at: &str,
    limits: &SearchLimits,
) -> Result<Prepared, SearchError> {
    let mut prepared = Prepared::default();
    let mut unknown = None;
    for (place, source) in sources.iter().enumerate() {
        let at = format!("{at}/sources/{place}");
        if !source.share.is_finite() || source.share <= 0.0 || source.share > 1e9 {
            let reason = format!("share is {}, it must be above 0 and at most 1e9", source.share);
            return Err(SearchError::invalid(format!("{at}/share"), reason));
        }
        if source.name.is_empty() || sources[..place].iter().any(|other| other.name == source.name) {
            let reason = format!("{:?}: names of sources are not empty and unique", source.name);
            return Err(SearchError::invalid(format!("{at}/name"), reason));
        }
        if source.query.sources.is_some() {
            return Err(SearchError::invalid(format!("{at}/query/sources"), "a source has no sources"));
        }
        match resolve(view, &source.query, &format!("{at}/query"), limits) {
            Ok(mut one) => {
                prepared.own.append(&mut one.own);
                prepared.skipped.append(&mut one.skipped);
                let filter = source.filter.clone().map(|filter| (filter, format!("{at}/filter")));
                let named = |part: Part| Part {
                    name: source.name.clone(),
                    filter: filter.clone(),
                    share: source.share,
                    ..part
                };
                prepared.parts.extend(one.parts.into_iter().map(named));
            }
            Err(SearchError::UnknownItems { pointer, ids }) => {
                prepared.skipped.extend(ids.iter().cloned());
                unknown = Some(SearchError::UnknownItems { pointer, ids });
            }
            Err(error) => return Err(error),
        }
    }
    match unknown {
        _ if sources.is_empty() => Err(SearchError::NoQuery { pointer: format!("{at}/sources") }),
        Some(error) if prepared.parts.is_empty() => Err(error),
        _ => Ok(prepared),
    }
}

/// The one form of query that is given.
fn the_form(query: &QueryDocument, at: &str) -> Result<&'static str, SearchError> {
    match query.forms()[..] {
        [one] => Ok(one),
        [] => Err(SearchError::NoQuery { pointer: at.to_owned() }),
        ref several => {
            let reason = format!("exactly one form of query is allowed, given: {}", several.join(" and "));
            Err(SearchError::invalid(at, reason))
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

fn one_item(view: &View<'_>, id: &str, at: &str) -> Result<Resolved, SearchError> {
    let pointer = format!("{at}/item");
    let Some(item) = view.find(id) else {
        return Err(SearchError::UnknownItems { pointer, ids: vec![id.to_owned()] });
    };
    let mut vector = Vec::new();
    view.vector(item, &mut vector);
    Ok(Resolved { own: vec![item], ..Resolved::of(checked(view, &vector, &pointer)?) })
}

/// Items of a query that are there, with weights; the ids of the others.
struct Known {
    items: Vec<(u32, f32)>,
    skipped: Vec<String>,
}

fn known_items(view: &View<'_>, items: &[WeightedItem], pointer: &str) -> Result<Known, SearchError> {
    let mut known = Vec::with_capacity(items.len());
    let mut skipped = Vec::new();
    for (at, item) in items.iter().enumerate() {
        check_weight(item.weight, || format!("{pointer}/{at}/weight"))?;
        match view.find(&item.id) {
            Some(slot) => known.push((slot, item.weight)),
            None => skipped.push(item.id.clone()),
        }
    }
    if items.is_empty() {
        return Err(SearchError::invalid(pointer, "items is empty, at least one is needed"));
    }
    if known.is_empty() {
        return Err(SearchError::UnknownItems { pointer: pointer.to_owned(), ids: skipped });
    }
    Ok(Known { items: known, skipped })
}

fn check_weight(weight: f32, pointer: impl Fn() -> String) -> Result<(), SearchError> {
    if weight.is_finite() && weight != 0.0 {
        return Ok(());
    }
    Err(SearchError::invalid(pointer(), format!("weight is {weight}, it must be finite and not 0")))
}

fn average(view: &View<'_>, items: &[WeightedItem], at: &str) -> Result<Resolved, SearchError> {
    let pointer = format!("{at}/items");
    let Known { items: known, skipped } = known_items(view, items, &pointer)?;
    let mut vectors = Vec::with_capacity(known.len());
    for (item, weight) in &known {
        let mut vector = Vec::new();
        view.vector(*item, &mut vector);
        vectors.push((vector, *weight));
    }
    let vector = weighted_average(&vectors, view.schema().metric)
        .map_err(|reason| SearchError::invalid(pointer.as_str(), reason))?;
    let own = known.into_iter().map(|(item, _)| item).collect();
    Ok(Resolved { own, skipped, ..Resolved::of(checked(view, &vector, &pointer)?) })
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
    at: &str,
    limits: &SearchLimits,
) -> Result<Resolved, SearchError> {
    let pointer = format!("{at}/items");
    let Known { items: known, skipped } = known_items(view, items, &pointer)?;
    if known.len() > limits.query_vectors {
        return Err(SearchError::OutOfRange {
            pointer,
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
        add(&mut resolved, checked(view, &vector, &pointer)?, weight);
        resolved.own.push(item);
    }
    needs_a_positive(resolved, &pointer)
}

fn best_of_vectors(view: &View<'_>, vectors: &[WeightedVector], at: &str) -> Result<Resolved, SearchError> {
    let mut resolved = Resolved::default();
    let list = format!("{at}/vectors");
    for (place, given) in vectors.iter().enumerate() {
        let pointer = format!("{list}/{place}");
        check_weight(given.weight, || format!("{pointer}/weight"))?;
        let forms = Forms { vector: &given.vector, f32: &given.vector_f32, f16: &given.vector_f16 };
        let (vector, pointer) = forms.read(&pointer)?;
        add(&mut resolved, checked(view, &vector, &pointer)?, given.weight);
    }
    needs_a_positive(resolved, &list)
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
        assert!(the_form(&query, "/query").unwrap_err().to_string().contains("vector and item"));
        assert!(the_form(&QueryDocument::default(), "").unwrap_err().to_string().contains("order_by"));
    }
}
