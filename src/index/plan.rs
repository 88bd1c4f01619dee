//! How to search: by the number of nodes that may be found, what each way would cost.
//!
//! Costs are in distances of a walk, which are what a plain search spends its time on. The constants were read off
//! `cargo bench --bench filters`, which prints the cost of each plan by selectivity; see docs/benchmarks.md.

use serde::Serialize;

/// How a search was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlanKind {
    /// Walk of the graph; everything may be returned.
    Graph,
    /// The same walk; what the filter rejects is left out as it is found: nearly all match.
    LateFilteredGraph,
    /// Walk of the graph, passing through items that the filter rejects.
    FilteredGraph,
    /// Walk from one matching item to the next, over those between that the filter rejects.
    TwoHopGraph,
    /// Codes of all that match are compared, the nearest by code exactly: few match, or they lie far away.
    Scan,
    /// Comparison with every matching item, because the caller asked.
    Exact,
    /// No vector was compared: nothing matches.
    None,
}

/// A scan goes along codes in memory's order: it compares so many in the time that a walk compares one.
const SCAN_SPEED: f64 = 4.0;
/// From this share on, filtering late costs the least.
const LATE_FROM: f64 = 0.95;
/// New distances for each node that a walk has to pass.
const WALK: f64 = 12.0;
/// The same for a walk by hops, with the rows that it looks through where one in twenty passes.
const HOPS: f64 = 55.0;
/// Below this share a walk may hop; see `graph::filtered`.
const HOPS_BELOW: f64 = 0.25;

/// What a plan is made by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// Nodes that may be found, and all.
    pub nodes: usize,
    pub all: usize,
    /// Whether nothing is filtered or excluded.
    pub open: bool,
    pub exact: bool,
    pub ef: usize,
}

impl Situation {
    /// Share of the nodes that may be found.
    pub fn share(&self) -> f64 {
        self.nodes as f64 / self.all.max(1) as f64
    }

    /// What a scan costs, in distances of a walk.
    pub fn scan_cost(&self) -> f64 {
        self.nodes as f64 / SCAN_SPEED
    }

    /// The plan to begin with.
    pub fn plan(&self) -> PlanKind {
        if self.nodes == 0 {
            PlanKind::None
        } else if self.exact {
            PlanKind::Exact
        } else if self.open {
            PlanKind::Graph
        } else if self.nodes <= self.ef || self.scan_cost() <= self.walk_cost() {
            PlanKind::Scan
        } else if self.share() >= LATE_FROM {
            PlanKind::LateFilteredGraph
        } else {
            PlanKind::FilteredGraph
        }
    }

    fn walk_cost(&self) -> f64 {
        let nodes = if self.share() < HOPS_BELOW { HOPS } else { WALK / self.share() };
        self.ef as f64 * nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(share: f64, all: usize, ef: usize) -> PlanKind {
        let nodes = (share * all as f64) as usize;
        Situation { nodes, all, open: false, exact: false, ef }.plan()
    }

    #[test]
    fn plans_follow_the_count_and_the_share() {
        let million = 1_000_000;
        for (share, expected) in [
            (0.0, PlanKind::None),
            (0.000_001, PlanKind::Scan),
            (0.01, PlanKind::Scan),
            (0.04, PlanKind::Scan),
            (0.1, PlanKind::FilteredGraph),
            (0.9, PlanKind::FilteredGraph),
            (0.95, PlanKind::LateFilteredGraph),
            (1.0, PlanKind::LateFilteredGraph),
        ] {
            assert_eq!(plan(share, million, 200), expected, "{share}");
        }
        // A wide search passes many nodes, so scans pay for longer; of few nodes all are scanned.
        assert_eq!(plan(0.1, million, 1000), PlanKind::Scan);
        assert_eq!(plan(1.0, 2_000, 200), PlanKind::Scan);
        let open = Situation { nodes: 10, all: 10, open: true, exact: false, ef: 200 };
        assert_eq!(open.plan(), PlanKind::Graph);
        assert_eq!(Situation { exact: true, ..open }.plan(), PlanKind::Exact);
        assert_eq!(Situation { nodes: 0, ..open }.plan(), PlanKind::None);
    }

    #[test]
    fn from_scans_to_walks_and_hardly_back() {
        for all in [10_000, 100_000, 10_000_000] {
            let scans: Vec<bool> = (1..=100)
                .map(|percent| plan(f64::from(percent) / 100.0, all, 200) == PlanKind::Scan)
                .collect();
            // Once, at the share where hops end and a walk through all nodes costs more for a while.
            let back = scans.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            assert!(back <= 1, "{all}: {scans:?}");
        }
    }
}
