//! What each group of items gets of the exposure, beside its share of the catalogue.

use anyhow::{Result, anyhow};
use serde::Serialize;
use shortlist::attributes::ItemFacts;
use shortlist::eval::{self, Estimate, Groups, Resampling, attention, distance, exposure, shares};

use super::Args;
use super::side::Side;

/// Groups that are shown, those with the largest shares.
const SHOWN: usize = 12;

/// The audit by one attribute.
#[derive(Debug, Serialize)]
pub struct Audit {
    pub attribute: String,
    /// How far A's exposure is from the catalogue's division, 0 to 1: the share that would have to move.
    pub distance_a: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance_b: Option<f64>,
    /// Groups in all.
    pub groups: usize,
    /// The largest.
    pub largest: Vec<Group>,
}

/// One group.
#[derive(Debug, Serialize)]
pub struct Group {
    pub name: String,
    /// Of A's catalogue.
    pub catalogue: f64,
    pub a: Estimate,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b: Option<Estimate>,
}

/// A side's items in groups, and the groups' shares of its exposure.
struct Division {
    of: Vec<Vec<u32>>,
    shares: Vec<f64>,
}

/// Audits by an attribute, as A's catalogue has it.
pub fn audit(args: &Args, attribute: &str, a: &Side, b: Option<&Side>, how: &Resampling) -> Result<Audit> {
    let groups = groups_of(attribute, a)?;
    let count = groups.names.len();
    let weights = vec![1.0; groups.of.len()];
    let catalogue = shares(&weights, &groups.of, count);
    let of_a = Division::of(a, groups.of.clone(), count);
    let of_b = b.map(|b| Division::of(b, as_in(a, &groups, b), count));
    let mut order: Vec<usize> = (0..count).collect();
    let largest = |group: &usize| {
        let of_b = of_b.as_ref().map_or(0.0, |of_b| of_b.shares[*group]);
        catalogue[*group].max(of_a.shares[*group]).max(of_b)
    };
    order.sort_by(|x, y| {
        largest(y).total_cmp(&largest(x)).then_with(|| groups.names[*x].cmp(&groups.names[*y]))
    });
    if count <= SHOWN {
        order.sort_unstable();
    }
    let estimate = |side: &Side, division: &Division, group| division.estimate(side, group, args.k, how);
    let group = |&group: &usize| Group {
        name: groups.names[group].clone(),
        catalogue: catalogue[group],
        a: estimate(a, &of_a, group),
        b: b.zip(of_b.as_ref()).map(|(b, of_b)| estimate(b, of_b, group)),
    };
    Ok(Audit {
        attribute: attribute.to_owned(),
        distance_a: distance(&catalogue, &of_a.shares),
        distance_b: of_b.as_ref().map(|of_b| distance(&catalogue, &of_b.shares)),
        groups: count,
        largest: order.iter().take(SHOWN).map(group).collect(),
    })
}

fn groups_of(attribute: &str, side: &Side) -> Result<Groups> {
    let names = || {
        let schema = &side.index().schema().attributes;
        schema.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    };
    let missing = || anyhow!("--by {attribute}: {} has no such attribute; there are {}", side.name, names());
    Groups::by(&side.view(), attribute).ok_or_else(missing)
}

/// The groups of B's items: those that A's items of the same ids are in, none for items that A has not.
fn as_in(a: &Side, groups: &Groups, b: &Side) -> Vec<Vec<u32>> {
    let (of_a, of_b) = (a.view(), b.view());
    let mut of = vec![Vec::new(); of_b.items() as usize];
    for slot in of_b.all().iter() {
        if let Some(same) = of_a.find(of_b.id(slot)) {
            of[slot as usize] = groups.of[same as usize].clone();
        }
    }
    of
}

impl Division {
    fn of(side: &Side, of: Vec<Vec<u32>>, count: usize) -> Division {
        let weights = exposure(side.lists.iter().map(Vec::as_slice));
        Division { shares: shares(&weights, &of, count), of }
    }

    /// A group's share of the exposure with its interval over queries.
    fn estimate(&self, side: &Side, group: usize, k: usize, how: &Resampling) -> Estimate {
        let part = |list: &Vec<u32>| {
            let places = list.iter().take(k).enumerate().map(|(place, &slot)| {
                let of = &self.of[slot as usize];
                let within = of.contains(&(group as u32));
                if within { attention(place) / of.len() as f64 } else { 0.0 }
            });
            places.sum::<f64>()
        };
        let whole = |list: &Vec<u32>| {
            let grouped = list.iter().enumerate().filter(|(_, slot)| !self.of[**slot as usize].is_empty());
            grouped.map(|(place, _)| attention(place)).sum::<f64>()
        };
        let parts: Vec<f64> = side.lists.iter().map(part).collect();
        let wholes: Vec<f64> = side.lists.iter().map(whole).collect();
        let none = Estimate { value: 0.0, low: 0.0, high: 0.0 };
        eval::ratio(&parts, &wholes, how).unwrap_or(none)
    }
}
