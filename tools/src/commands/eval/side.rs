//! One of the two that are compared: an index with a profile, its lists, and its walk's recall.

use anyhow::Result;
use serde_json::{Map, Value, json};
use shortlist::attributes::ItemFacts;
use shortlist::eval::recall_by_similarity;
use shortlist::index::{Index, View};

use super::Args;
use crate::commands::replay::{ask_all, exclude, results};
use crate::commands::target::{ProfileChoice, search_file};
use crate::input::Asked;
use crate::progress::{Progress, Report};

/// The index's own recall is measured on at most so many queries: each is compared with every item.
const EXACT_QUERIES: usize = 200;

/// What both sides are asked.
pub struct Asking<'a> {
    pub args: &'a Args,
    pub asked: &'a [Asked],
    pub now: i64,
    pub show: Report,
}

/// See the module's page.
pub struct Side {
    /// What tables call it.
    pub name: String,
    index: Index,
    now: i64,
    /// Of each query the first k results, as item slots.
    pub lists: Vec<Vec<u32>>,
    /// Mean share of the exact nearest that the walk found, without a profile, and of how many queries.
    pub index_recall: (f64, usize),
    /// Lists that are shorter than k.
    pub short: usize,
}

impl Side {
    /// Asks all queries.
    pub fn ask(name: String, index: Index, profile: &ProfileChoice, asking: &Asking<'_>) -> Result<Side> {
        let search = |request| search_file(&index, request, asking.now);
        let queries = (asking.args.queries.as_path(), asking.asked);
        let prepare = |asked: &Asked, body: &mut Map<String, Value>| {
            profile.put_into(body);
            plain(asking.args, asked, body);
        };
        let progress = Progress::new(asking.show, &format!("ask {name}"), asking.asked.len() as u64);
        let answers = ask_all(&search, queries, &prepare, &progress)?;
        progress.finish();
        let index_recall = index_recall(&index, asking)?;
        let mut side = Side { name, index, now: asking.now, lists: Vec::new(), index_recall, short: 0 };
        let view = side.view();
        let lists: Vec<Vec<u32>> = answers.iter().map(|answer| slots(&view, answer).0).collect();
        drop(view);
        side.short = lists.iter().filter(|list| list.len() < asking.args.k).count();
        side.lists = lists;
        Ok(side)
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Its items.
    pub fn view(&self) -> View<'_> {
        self.index().view(self.now)
    }

    /// Ids of a list.
    pub fn ids(&self, query: usize) -> impl Iterator<Item = &str> {
        self.lists[query].iter().map(|&slot| self.index().id(slot))
    }
}

/// What every request has: the limit, no more than ids back, all the time that it needs, and perhaps without its own item.
fn plain(args: &Args, asked: &Asked, body: &mut Map<String, Value>) {
    body.insert("limit".into(), json!(args.k));
    body.remove("return");
    body.remove("explain");
    body.remove("budget_ms");
    // Each query draws its own: with one seed for all they would explore alike.
    body.entry("seed").or_insert(json!(args.seed.wrapping_add(asked.number)));
    if body.get("candidates").and_then(Value::as_u64).is_some_and(|candidates| candidates < args.k as u64) {
        body.remove("candidates");
    }
    if args.leave_out_own {
        exclude(body, &asked.name);
    }
}

/// Slots and similarities of an answer's results.
fn slots(view: &View<'_>, answer: &Value) -> (Vec<u32>, Vec<f32>) {
    let found = results(answer).into_iter().filter_map(|result| {
        let slot = view.find(result["id"].as_str()?)?;
        Some((slot, result["similarity"].as_f64()? as f32))
    });
    found.unzip()
}

/// Walk against exact search, both without a profile, over queries spread evenly through the file.
fn index_recall(index: &Index, asking: &Asking<'_>) -> Result<(f64, usize)> {
    let step = asking.asked.len().div_ceil(EXACT_QUERIES).max(1);
    let some: Vec<Asked> = asking.asked.iter().step_by(step).cloned().collect();
    let progress = Progress::new(asking.show, "index recall", 2 * some.len() as u64);
    let search = |request| search_file(index, request, asking.now);
    let ask = |exact: bool| {
        let prepare = |asked: &Asked, body: &mut Map<String, Value>| {
            ProfileChoice::None.put_into(body);
            plain(asking.args, asked, body);
            body.insert("exact".into(), json!(exact));
        };
        ask_all(&search, (&asking.args.queries, &some), &prepare, &progress)
    };
    let (found, truth) = (ask(false)?, ask(true)?);
    progress.finish();
    let view = index.view(asking.now);
    let pairs = |answer: &Value| {
        let (slots, similarities) = slots(&view, answer);
        slots.into_iter().zip(similarities)
    };
    let recalls =
        found.iter().zip(&truth).map(|(found, truth)| recall_by_similarity(pairs(found), pairs(truth)));
    Ok((recalls.sum::<f64>() / some.len() as f64, some.len()))
}
