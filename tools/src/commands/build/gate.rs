//! The publish gate: what a finished file is judged by before it goes to its place.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use shortlist::eval::{SelfRecall, self_recall};
use shortlist::index::BuildReport;

use super::Args;
use crate::commands::{Holding, open_index};
use crate::input::grouped;
use crate::output;
use crate::progress::{Progress, Report};

/// Items whose neighbours are compared with exact search, and how many neighbours of each.
const SAMPLE: usize = 200;
const K: usize = 100;

/// The gate's findings.
#[derive(Debug, Serialize)]
pub struct Gate {
    /// Items.
    pub items: u32,
    /// Distinct vectors.
    pub nodes: u32,
    /// Items that repeat another's vector.
    pub duplicates: u32,
    /// Nodes that no search can reach, before and after repair.
    pub unreachable_before: usize,
    /// After it.
    pub unreachable: usize,
    /// Smallest, mean and largest length of the vectors.
    pub norms: [f64; 3],
    /// Recall on a sample of the items, self-matches left out.
    pub recall: SelfRecall,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Opens the finished file and judges it.
pub fn judge(path: &Path, args: &Args, report: &BuildReport, show: Report) -> Result<Gate> {
    let index = open_index(path, Holding::Mapped)?;
    let progress = Progress::new(show, "publish gate", SAMPLE.min(index.items() as usize) as u64);
    let ef = index.schema().default_ef.max(K + 1);
    let recall = self_recall(&index, (SAMPLE, K, ef), args.seed, &|done| progress.inc(done))?;
    progress.finish();
    Ok(Gate {
        items: index.items(),
        nodes: index.nodes(),
        duplicates: index.items().saturating_sub(index.nodes()),
        unreachable_before: report.reach.unreachable,
        unreachable: report.reach.left,
        norms: [report.norms.min, report.norms.mean, report.norms.max],
        recall,
        file_bytes: index.file_len(),
    })
}

impl Gate {
    /// Fails when there is nothing, something cannot be found, or less is found than demanded.
    pub fn check(&self, least: Option<f64>, may_be_empty: bool) -> Result<()> {
        if self.items == 0 && !may_be_empty {
            bail!(
                "publish gate: the input has no items; nothing was written (an empty index: --allow-empty)"
            );
        }
        if self.unreachable > 0 {
            bail!(
                "publish gate: {} nodes cannot be reached; nothing was written",
                grouped(self.unreachable as u128)
            );
        }
        let SelfRecall { recall, k, sample, .. } = self.recall;
        match least {
            Some(least) if recall < least => bail!(
                "publish gate: recall@{k} is {recall:.4} on a sample of {sample} items, below --min-recall {least}; nothing was written"
            ),
            _ => Ok(()),
        }
    }

    /// Prints the findings.
    pub fn print(&self, least: Option<f64>) -> Result<()> {
        let SelfRecall { sample, k, ef, recall, worst } = self.recall;
        let [smallest, mean, largest] = self.norms;
        let share = f64::from(self.duplicates) * 100.0 / f64::from(self.items.max(1));
        let demanded =
            least.map_or_else(|| "no --min-recall".to_string(), |least| format!("at least {least}"));
        output::line("publish gate:")?;
        output::line(format!(
            "  reachability  {} of {} nodes ({} were not, and were linked)",
            grouped(u128::from(self.nodes) - self.unreachable as u128),
            grouped(self.nodes.into()),
            grouped(self.unreachable_before as u128)
        ))?;
        output::line(format!(
            "  duplicates    {} items repeat another's vector ({share:.2} %)",
            grouped(self.duplicates.into())
        ))?;
        output::line(format!("  norms         {smallest:.4} to {largest:.4}, mean {mean:.4}"))?;
        output::line(format!(
            "  recall@{k:<6} {recall:.4} at ef {ef} on {sample} items, self-matches left out, worst {worst:.2} ({demanded})"
        ))
    }
}
