//! Metrics in the Prometheus text format, through typed handles.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::collection::{Collection, WriteFigures};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    status: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    collection: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Writing {
    collection: String,
    figure: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleOf {
    collection: String,
    profile: String,
    rule: String,
}

/// All metrics of a server.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
    visited: Histogram,
    queue: Gauge,
    items: Family<Named, Gauge>,
    nodes: Family<Named, Gauge>,
    writing: Family<Writing, Gauge<f64, AtomicU64>>,
    rules: Family<RuleOf, Counter>,
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("shortlist");
        let requests = Family::default();
        registry.register("http_requests", "Requests answered, by route and status", requests.clone());
        let seconds: Family<Route, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_05, 2.0, 18)));
        registry.register(
            "http_request_seconds",
            "Time from the request's head to its answer",
            seconds.clone(),
        );
        let visited = Histogram::new(exponential_buckets(16.0, 2.0, 18));
        registry.register("search_visited", "Nodes whose distance a search computed", visited.clone());
        let queue = Gauge::default();
        registry.register("search_queue", "Searches that wait for a thread", queue.clone());
        let items = Family::default();
        registry.register("collection_items", "Items of a collection", items.clone());
        let nodes = Family::default();
        registry.register("collection_nodes", "Distinct vectors of a collection", nodes.clone());
        let writing = Family::default();
        let help = "Figures of a collection's log, checkpoints and sweeps, as in its stats";
        registry.register("collection_writes", help, writing.clone());
        let rules = Family::default();
        let help = "Items that a rule of a stored profile changed, dropped or pinned";
        registry.register("rule_items", help, rules.clone());
        registry.register(
            "build",
            "The running program",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        Metrics { registry, requests, seconds, visited, queue, items, nodes, writing, rules }
    }

    /// Counts an answer.
    pub fn answered(&self, route: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Answered { route, status: status.into() }).inc();
        self.seconds.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    /// Counts a search's work.
    pub fn searched(&self, visited: usize) {
        self.visited.observe(visited as f64);
    }

    /// Everything as text. What can be asked for is read now, not kept up to date.
    pub fn text(
        &self,
        waiting: usize,
        collections: &[std::sync::Arc<Collection>],
    ) -> Result<String, std::fmt::Error> {
        self.queue.set(waiting.try_into().unwrap_or(i64::MAX));
        self.items.clear();
        self.nodes.clear();
        self.writing.clear();
        self.rules.clear();
        for collection in collections {
            let name = Named { collection: collection.name().to_string() };
            self.items.get_or_create(&name).set(collection.index().items().into());
            self.nodes.get_or_create(&name).set(collection.index().nodes().into());
            for (profile, rule, count) in collection.rule_counts() {
                let label = RuleOf { collection: name.collection.clone(), profile, rule };
                self.rules.get_or_create(&label).inc_by(count);
            }
            self.set_writing(&name.collection, &collection.figures());
        }
        let mut text = String::with_capacity(16 << 10);
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn set_writing(&self, collection: &str, figures: &WriteFigures) {
        for (figure, value) in [
            ("covers", figures.covers as f64),
            ("uncovered_records", figures.uncovered as f64),
            ("log_bytes", figures.log_bytes as f64),
            ("log_segments", figures.log_segments as f64),
            ("waiting", figures.waiting as f64),
            ("dead_share", figures.dead_share),
            ("unswept_nodes", figures.unswept_nodes as f64),
            ("repaired_links", figures.repaired_links as f64),
            ("checkpoint_seconds", figures.checkpoint_seconds),
            ("replay_seconds", figures.replay_seconds),
            ("verify_seconds", figures.verify_seconds),
            ("warm_seconds", figures.warm_seconds),
            ("unread_blocks", figures.unread_blocks as f64),
        ] {
            let label = Writing { collection: collection.to_owned(), figure };
            self.writing.get_or_create(&label).set(value);
        }
    }
}
