//! One random step.

use super::world::World;
use super::{beside, copies, ends, writes};

type Step = fn(&mut World);

/// Every kind of step, and how often it comes.
const STEPS: [(&str, u64, Step); 17] = [
    ("put", 16, writes::put),
    ("patch", 8, writes::patch),
    ("delete items", 7, writes::delete),
    ("checkpoint", 5, writes::checkpoint),
    ("search", 4, writes::search),
    ("export", 6, copies::export),
    ("publish", 6, copies::publish),
    ("publish files", 3, copies::publish_files),
    ("import", 3, copies::import),
    ("backup", 3, copies::back_up),
    ("restore", 4, copies::restore),
    ("make", 4, ends::make),
    ("delete", 2, ends::remove),
    ("make beside a build", 2, ends::make_beside_a_build),
    ("restart", 7, ends::restart),
    ("intrude", 2, ends::intrude),
    ("beside a writer", 6, beside::one),
];

/// Does one; its name.
pub fn one(world: &mut World) -> &'static str {
    if world.kept.is_empty() {
        ends::make(world);
    }
    let all: u64 = STEPS.iter().map(|(_, often, _)| often).sum();
    let mut drawn = world.random.below(all);
    for (name, often, step) in STEPS {
        if drawn < often {
            step(world);
            return name;
        }
        drawn -= often;
    }
    unreachable!("what was drawn is below the sum")
}
