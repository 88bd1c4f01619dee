//! The figures of an evaluation, and how two sides compare.

use std::collections::HashMap;

use anyhow::{Result, bail};
use serde::Serialize;
use shortlist::attributes::ItemFacts;
use shortlist::eval::{
    self, Equivalence, Estimate, Grades, Resampling, coverage, evenness, exposure, gini,
    intra_list_diversity, ndcg_at, novelty, precision_at, recall_at, reciprocal_rank_at,
};

use super::Args;
use super::audit::{Audit, audit};
use super::side::Side;
use crate::forest::Bar;
use crate::input::{Asked, Judgments};

/// What is printed.
#[derive(Debug, Serialize)]
pub struct Report {
    pub k: usize,
    pub queries: usize,
    /// Queries with at least one right item: what relevance is measured on.
    pub judged: usize,
    /// Right items that A's index does not have; no list can hold them, and recall counts them.
    pub missing_items: usize,
    pub a: Who,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<Who>,
    pub measures: Vec<Measure>,
    pub catalogue: Vec<CatalogueMeasure>,
    pub audits: Vec<Audit>,
    pub method: Method,
}

/// One side.
#[derive(Debug, Serialize)]
pub struct Who {
    pub name: String,
    /// UUID of the index.
    pub build: String,
    pub items: usize,
    /// Share of the exact nearest that the walk finds, without a profile: not relevance.
    pub index_recall: f64,
    pub index_recall_queries: usize,
    /// Lists shorter than k.
    pub short_lists: usize,
}

/// How intervals and tests were made.
#[derive(Debug, Serialize)]
pub struct Method {
    pub interval: &'static str,
    pub confidence: f64,
    pub rounds: usize,
    pub seed: u64,
    pub margin: f64,
    /// A verdict needs so many queries.
    pub least_queries: usize,
}

/// A mean over queries.
#[derive(Debug, Serialize)]
pub struct Measure {
    pub name: String,
    /// Queries that have a value on every side.
    pub queries: usize,
    pub a: Estimate,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// B against A, query by query.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub b: Estimate,
    /// B - A.
    pub difference: Estimate,
    /// For measures from 0 to 1, of enough queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equivalence: Option<Equivalence>,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Equivalent,
    Higher,
    Lower,
    Undecided,
    /// No interval of so few means anything.
    #[serde(rename = "too few queries to say")]
    TooFew,
}

/// Queries that a verdict needs.
pub const LEAST_QUERIES: usize = 10;

/// A figure of all lists together, which has no interval over queries.
#[derive(Debug, Serialize)]
pub struct CatalogueMeasure {
    pub name: &'static str,
    pub a: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<f64>,
    /// Chance of such a difference if A and B were the same, by swapping their lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
}

impl Report {
    /// Measures one side, or two.
    pub fn of(
        args: &Args,
        (asked, judgments): (&[Asked], &Judgments),
        a: &Side,
        b: Option<&Side>,
        how: &Resampling,
    ) -> Result<Report> {
        let truth = Truth::of(asked, judgments);
        let of_a = values(args, &truth, a)?;
        let of_b = b.map(|b| values(args, &truth, b)).transpose()?;
        let mut measures = Vec::new();
        for (place, (name, of_a)) in of_a.iter().enumerate() {
            let other = of_b.as_ref().map(|of_b| of_b[place].1.as_slice());
            let margin = (name != "novelty").then_some(args.margin);
            measures.extend(measure(name, of_a, other, margin, how));
        }
        let audits = args.by.iter().map(|attribute| audit(args, attribute, a, b, how));
        let view = a.view();
        let missing = asked.iter().filter_map(|one| judgments.get(&one.name)).flatten();
        let missing = missing.filter(|(item, grade)| **grade > 0.0 && view.find(item).is_none());
        Ok(Report {
            k: args.k,
            queries: asked.len(),
            judged: truth.grades.iter().filter(|grades| grades.values().any(|grade| *grade > 0.0)).count(),
            missing_items: missing.count(),
            a: who(a),
            b: b.map(who),
            measures,
            catalogue: catalogue(a, b, how),
            audits: audits.collect::<Result<_>>()?,
            method: Method {
                interval: "bootstrap over queries, percentile",
                confidence: how.confidence,
                rounds: how.rounds,
                seed: how.seed,
                margin: args.margin,
                least_queries: LEAST_QUERIES,
            },
        })
    }

    /// A title for the plot.
    pub fn title(&self) -> String {
        match &self.b {
            Some(b) => {
                format!("{} against {}, {} queries, k = {}", b.name, self.a.name, self.queries, self.k)
            }
            None => format!("{}, {} queries, k = {}", self.a.name, self.queries, self.k),
        }
    }

    /// What the plot shows: the measures from 0 to 1.
    pub fn bars(&self) -> Vec<Bar> {
        let shares = self.measures.iter().filter(|measure| measure.name != "novelty");
        let bar = |measure: &Measure| Bar {
            name: measure.name.clone(),
            a: (self.a.name.clone(), measure.a),
            b: measure.comparison.as_ref().zip(self.b.as_ref()).map(|(found, b)| (b.name.clone(), found.b)),
            difference: measure.comparison.as_ref().map(|found| found.difference),
        };
        shares.map(bar).collect()
    }
}

fn who(side: &Side) -> Who {
    Who {
        name: side.name.clone(),
        build: side.index().build().to_owned(),
        items: side.view().count() as usize,
        index_recall: side.index_recall.0,
        index_recall_queries: side.index_recall.1,
        short_lists: side.short,
    }
}

/// Judgments by the queries' order, items as numbers that both sides share.
struct Truth {
    numbers: HashMap<String, u32>,
    grades: Vec<Grades>,
}

impl Truth {
    fn of(asked: &[Asked], judgments: &Judgments) -> Truth {
        let mut numbers = HashMap::new();
        let mut number = |item: &String| {
            let next = numbers.len() as u32;
            *numbers.entry(item.clone()).or_insert(next)
        };
        let grades = asked.iter().map(|one| {
            let judged = judgments.get(&one.name).into_iter().flatten();
            judged.map(|(item, grade)| (number(item), *grade)).collect()
        });
        let grades = grades.collect();
        Truth { numbers, grades }
    }
}

/// Of one measure, a value for each query; `None` where it says nothing.
type Values = Vec<Option<f64>>;

/// All measures of a side.
fn values(args: &Args, truth: &Truth, side: &Side) -> Result<Vec<(String, Values)>> {
    let k = args.k;
    // Items that nobody judged need no number of their own: none is right.
    let unjudged = truth.numbers.len() as u32;
    let lists: Vec<Vec<u32>> = (0..side.lists.len())
        .map(|query| {
            let number = |(place, id): (usize, &str)| {
                truth.numbers.get(id).copied().unwrap_or(unjudged + place as u32)
            };
            side.ids(query).enumerate().map(number).collect()
        })
        .collect();
    type Relevance = fn(&[u32], &Grades, usize) -> Option<f64>;
    let relevance: [(&str, Relevance); 4] = [
        ("relevance recall", recall_at),
        ("precision", precision_at),
        ("NDCG", ndcg_at),
        ("MRR", reciprocal_rank_at),
    ];
    let mut all: Vec<(String, Values)> = Vec::new();
    for (name, of) in relevance {
        let values = lists.iter().zip(&truth.grades).map(|(list, grades)| of(list, grades, k));
        all.push((format!("{name}@{k}"), values.collect()));
    }
    let view = side.view();
    let vectors = |list: &Vec<u32>| -> Vec<Vec<f32>> {
        let vector = |&slot: &u32| {
            let mut vector = Vec::new();
            view.vector(slot, &mut vector);
            vector
        };
        list.iter().map(vector).collect()
    };
    let diversity = side.lists.iter().map(|list| intra_list_diversity(&vectors(list)));
    all.push(("intra-list diversity".to_owned(), diversity.collect()));
    if let Some(attribute) = &args.popularity {
        all.push(("novelty".to_owned(), novelties(side, attribute)?));
    }
    Ok(all)
}

/// Novelty of each list, by an attribute that says how popular an item is; missing counts as 0.
fn novelties(side: &Side, attribute: &str) -> Result<Values> {
    let view = side.view();
    let Some((ordinal, spec)) = view.schema().attributes.find(attribute) else {
        bail!("--popularity {attribute}: {} has no such attribute", side.name);
    };
    use shortlist::attributes::AttributeType::{Float, Int};
    if !matches!(spec.kind, Int | Float) {
        bail!("--popularity {attribute}: is of type {}, a number is needed", spec.kind);
    }
    let popularity = |slot: u32| view.columns().number(ordinal, slot).unwrap_or(0.0).max(0.0);
    let total: f64 = view.all().iter().map(popularity).sum();
    let of = |list: &Vec<u32>| {
        let counts: Vec<f64> = list.iter().map(|&slot| popularity(slot)).collect();
        novelty(&counts, total, view.count() as usize)
    };
    Ok(side.lists.iter().map(of).collect())
}

/// One measure over the queries for which every side has a value; `None` when there are none.
fn measure(
    name: &str,
    a: &[Option<f64>],
    b: Option<&[Option<f64>]>,
    margin: Option<f64>,
    how: &Resampling,
) -> Option<Measure> {
    let Some(b) = b else {
        let values: Vec<f64> = a.iter().copied().flatten().collect();
        let a = eval::mean(&values, how)?;
        return Some(Measure { name: name.to_owned(), queries: values.len(), a, comparison: None });
    };
    let pairs: (Vec<f64>, Vec<f64>) = a.iter().zip(b).filter_map(|(a, b)| Some(((*a)?, (*b)?))).unzip();
    let differences: Vec<f64> = pairs.0.iter().zip(&pairs.1).map(|(a, b)| b - a).collect();
    let difference = eval::mean(&differences, how)?;
    let enough = differences.len() >= LEAST_QUERIES;
    let margin = margin.filter(|_| enough);
    let equivalence = margin.and_then(|margin| eval::equivalence(&differences, margin, how));
    let comparison = Comparison {
        b: eval::mean(&pairs.1, how)?,
        verdict: if enough { verdict(&difference, equivalence.as_ref()) } else { Verdict::TooFew },
        difference,
        equivalence,
    };
    let a = eval::mean(&pairs.0, how)?;
    Some(Measure { name: name.to_owned(), queries: differences.len(), a, comparison: Some(comparison) })
}

fn verdict(difference: &Estimate, equivalence: Option<&Equivalence>) -> Verdict {
    match difference {
        _ if equivalence.is_some_and(|found| found.equivalent) => Verdict::Equivalent,
        Estimate { low, .. } if *low > 0.0 => Verdict::Higher,
        Estimate { high, .. } if *high < 0.0 => Verdict::Lower,
        _ => Verdict::Undecided,
    }
}

/// Coverage, evenness and Gini, with a test by swapping.
fn catalogue(a: &Side, b: Option<&Side>, how: &Resampling) -> Vec<CatalogueMeasure> {
    type Of = fn(&[f64], usize) -> f64;
    let measures: [(&str, Of); 3] =
        [("coverage", coverage), ("exposure evenness", evenness), ("exposure Gini", gini)];
    let items = |side: &Side| side.view().count() as usize;
    let (items_a, items_b) = (items(a), b.map_or(0, items));
    let shared = b.map(|b| shared_numbers(a, b));
    let one = |(name, of): (&'static str, Of)| {
        let value = |side: &Side, items| of(&exposure(side.lists.iter().map(Vec::as_slice)), items);
        let p = shared.as_ref().map(|(lists_a, lists_b)| {
            eval::swap_test(lists_a.len(), how, &|swapped: &[bool]| {
                let pick = |turned: bool| {
                    let lists = lists_a.iter().zip(lists_b).zip(swapped);
                    exposure(lists.map(move |((a, b), swap)| if *swap == turned { b } else { a }.as_slice()))
                };
                of(&pick(false), items_b) - of(&pick(true), items_a)
            })
        });
        CatalogueMeasure { name, a: value(a, items_a), b: b.map(|b| value(b, items_b)), p }
    };
    measures.into_iter().map(one).collect()
}

/// Both sides' lists with one numbering of ids.
fn shared_numbers(a: &Side, b: &Side) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut numbered = |side: &Side| -> Vec<Vec<u32>> {
        let mut list = |query| {
            let number = |id: &str| {
                let next = numbers.len() as u32;
                *numbers.entry(id.to_owned()).or_insert(next)
            };
            side.ids(query).map(number).collect()
        };
        (0..side.lists.len()).map(&mut list).collect()
    };
    let of_a = numbered(a);
    (of_a, numbered(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_ask_for_the_margin_first() {
        let how = Resampling { rounds: 500, ..Resampling::default() };
        let of = |by: f64, spread: f64, margin| {
            let a: Vec<Option<f64>> = (0..100).map(|_| Some(0.5)).collect();
            let noise = |query: i32| if query % 2 == 0 { spread } else { -spread };
            let b: Vec<Option<f64>> = (0..100).map(|query| Some(0.5 + by + noise(query))).collect();
            let found = measure("m", &a, Some(&b), margin, &how).expect("a measure");
            found.comparison.expect("compared").verdict
        };
        assert_eq!(of(0.001, 0.01, Some(0.02)), Verdict::Equivalent);
        assert_eq!(of(0.1, 0.01, Some(0.02)), Verdict::Higher);
        assert_eq!(of(-0.1, 0.01, Some(0.02)), Verdict::Lower);
        assert_eq!(of(0.0, 0.5, Some(0.02)), Verdict::Undecided);
        assert_eq!(of(0.001, 0.0001, None), Verdict::Higher);
    }

    #[test]
    fn a_verdict_needs_ten_queries() {
        let how = Resampling { rounds: 200, ..Resampling::default() };
        let of = |queries: usize, by: f64| {
            let (a, b) = (vec![Some(0.5); queries], vec![Some(0.5 + by); queries]);
            measure("m", &a, Some(&b), Some(0.02), &how).expect("a measure").comparison.expect("compared")
        };
        for by in [-0.1, 0.0, 0.1] {
            for queries in [1, LEAST_QUERIES - 1] {
                let found = of(queries, by);
                assert_eq!(found.verdict, Verdict::TooFew, "{queries} queries, {by}");
                assert!(found.equivalence.is_none());
            }
        }
        let verdicts = [-0.1, 0.0, 0.1].map(|by| of(LEAST_QUERIES, by).verdict);
        assert_eq!(verdicts, [Verdict::Lower, Verdict::Equivalent, Verdict::Higher]);
        let json = serde_json::to_value(of(1, 0.1)).expect("JSON");
        assert_eq!(json["verdict"], "too few queries to say");
    }

    #[test]
    fn only_queries_with_a_value_on_both_sides_are_compared() {
        let how = Resampling { rounds: 100, ..Resampling::default() };
        let (a, b) = ([Some(0.2), None, Some(0.4)], [Some(0.3), Some(0.9), None]);
        let found = measure("m", &a, Some(&b), None, &how).expect("a measure");
        assert_eq!((found.queries, found.a.value), (1, 0.2));
        assert!(measure("m", &[None], None, None, &how).is_none());
        assert_eq!(measure("m", &a, None, None, &how).map(|found| found.queries), Some(2));
    }
}
