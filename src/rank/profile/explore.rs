//! Explore slots: how many, where, for whom, and how they are drawn.

use crate::attributes::{AttributeType, ItemFacts};
use crate::rank::ProfileError;
use crate::rank::gate::{Gate, Names};
use crate::rank::read::{Fields, error, shown};

use super::Profile;

/// How an explore slot is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Each newcomer alike.
    Uniform,
    /// The greatest of one Beta number for each (Thompson sampling).
    Thompson,
    /// The greatest upper confidence bound (UCB1): not random.
    Ucb,
}

/// Newcomers of a request: what to retrieve for [`super::super::RankInput::newcomers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveExplore {
    /// At most so many.
    pub candidates: usize,
    /// Slots to fill.
    pub slots: usize,
    /// Inserted at most so many milliseconds ago.
    pub max_age: Option<i64>,
    /// Shown fewer times than this.
    pub max_impressions: Option<u64>,
}

#[derive(Debug)]
pub(in crate::rank) struct Explore {
    pub(in crate::rank) gate: Gate,
    /// From 1, ascending.
    pub(in crate::rank) positions: Vec<usize>,
    pub(in crate::rank) policy: Policy,
    /// What counts as a trial and as a success.
    pub(in crate::rank) trials: Counter,
    pub(in crate::rank) successes: Counter,
    newcomers: ActiveExplore,
}

/// A count that items have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::rank) enum Counter {
    Impressions,
    Clicks,
    Column(usize),
}

impl ActiveExplore {
    /// Whether an item is a newcomer at `now`, in milliseconds since the epoch.
    pub fn is_newcomer(&self, item: u32, facts: &dyn ItemFacts, now: i64) -> bool {
        let age = now.saturating_sub(facts.inserted_at(item));
        self.max_age.is_none_or(|most| age <= most)
            && self.max_impressions.is_none_or(|most| facts.impressions(item) < most)
    }
}

impl Explore {
    const FIELDS: [&'static str; 7] =
        ["slots", "positions", "max_age", "max_impressions", "policy", "candidates", "counters"];

    pub(super) fn parse(fields: &Fields<'_>, names: &Names<'_>) -> Result<Self, ProfileError> {
        fields.allow(&[&Explore::FIELDS[..], &Gate::FIELDS[..]].concat())?;
        let positions = parse_positions(fields)?;
        let policy = match fields.text("policy")?.unwrap_or("uniform") {
            "uniform" => Policy::Uniform,
            "thompson" => Policy::Thompson,
            "ucb" => Policy::Ucb,
            other => {
                return Err(fields.fail("policy", format!("{other:?} is not one of uniform, thompson, ucb")));
            }
        };
        let (trials, successes) = parse_counters(fields, names, policy)?;
        let max_age = fields.duration("max_age")?;
        let max_impressions = fields.whole("max_impressions", 1, usize::MAX)?.map(|most| most as u64);
        if max_age.is_none() && max_impressions.is_none() {
            return Err(fields.fail_here("who is new? Give max_age, max_impressions or both"));
        }
        let candidates = fields.whole("candidates", 1, Profile::MAX_NEWCOMERS)?.unwrap_or(200);
        let newcomers = ActiveExplore { candidates, slots: positions.len(), max_age, max_impressions };
        Ok(Explore { gate: Gate::parse(fields, names)?, positions, policy, trials, successes, newcomers })
    }

    pub(in crate::rank) fn newcomers(&self) -> ActiveExplore {
        self.newcomers
    }
}

/// `positions`, as many as `slots` if both are given.
fn parse_positions(fields: &Fields<'_>) -> Result<Vec<usize>, ProfileError> {
    fields.need("positions")?;
    let mut positions = Vec::new();
    for (pointer, json) in fields.list("positions", Profile::MAX_SLOTS)? {
        let most = Profile::MAX_POSITION;
        let position = json.as_u64().and_then(|position| usize::try_from(position).ok());
        let Some(position) = position.filter(|position| (1..=most).contains(position)) else {
            return Err(error(pointer, format!("expected a position from 1 to {most}, not {}", shown(json))));
        };
        if positions.contains(&position) {
            return Err(error(pointer, format!("position {position} is named twice")));
        }
        positions.push(position);
    }
    if positions.is_empty() {
        return Err(fields.fail("positions", "positions is empty: name at least one"));
    }
    if let Some(slots) = fields.whole("slots", 1, Profile::MAX_SLOTS)?
        && slots != positions.len()
    {
        let reason = format!("slots is {slots}, but {} positions are named", positions.len());
        return Err(fields.fail("slots", reason));
    }
    positions.sort_unstable();
    Ok(positions)
}

/// `counters`: trials and successes, impressions and clicks unless said.
fn parse_counters(
    fields: &Fields<'_>,
    names: &Names<'_>,
    policy: Policy,
) -> Result<(Counter, Counter), ProfileError> {
    let Some(counters) = fields.object("counters")? else {
        return Ok((Counter::Impressions, Counter::Clicks));
    };
    if policy == Policy::Uniform {
        return Err(fields.fail("counters", "counters go with thompson and ucb; uniform looks at none"));
    }
    counters.allow(&["trials", "successes"])?;
    let counter = |key: &str, usual: Counter| match counters.text(key)? {
        None => Ok(usual),
        Some("_impressions") => Ok(Counter::Impressions),
        Some("_clicks") => Ok(Counter::Clicks),
        Some(name) => match names.schema.find(name) {
            Some((ordinal, spec)) if spec.kind == AttributeType::Int => Ok(Counter::Column(ordinal)),
            Some(_) => Err(counters.fail(key, format!("{name:?} is no int: counters are whole numbers"))),
            None => Err(counters.fail(key, names.unknown(name))),
        },
    };
    Ok((counter("trials", Counter::Impressions)?, counter("successes", Counter::Clicks)?))
}
