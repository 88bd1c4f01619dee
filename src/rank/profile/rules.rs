//! Rules: what they act on, when, and what they do.

use std::collections::BTreeSet;

use super::Profile;
use crate::attributes::Filter;
use crate::rank::ProfileError;
use crate::rank::gate::{Gate, Located, Names};
use crate::rank::read::Fields;

#[derive(Debug)]
pub(in crate::rank) struct Rule {
    pub(in crate::rank) name: String,
    pub(in crate::rank) gate: Gate,
    pub(in crate::rank) effect: Effect,
}

#[derive(Debug)]
pub(in crate::rank) enum Effect {
    /// By a number above 0.
    Multiply {
        when: Located,
        factor: f64,
    },
    Add {
        when: Located,
        addend: f64,
    },
    Drop {
        when: Located,
    },
    /// An item's place in the list, from 1.
    Pin {
        id: String,
        position: usize,
    },
}

/// A `drop` rule of a request.
#[derive(Debug, Clone, Copy)]
pub struct ActiveDrop<'a> {
    /// The rule's name.
    pub name: &'a str,
    /// Where its filter stands in the profile.
    pub pointer: &'a str,
    /// What it drops.
    pub filter: &'a Filter,
}

/// A pin of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ActivePin<'a> {
    /// The rule's name.
    pub name: &'a str,
    /// The item's id.
    pub id: &'a str,
    /// Its place in the list, from 1.
    pub position: usize,
}

/// Reads the profile's `rules`.
pub(super) fn parse(fields: &Fields<'_>, names: &Names<'_>) -> Result<Vec<Rule>, ProfileError> {
    let mut taken = BTreeSet::new();
    let rules = fields.objects("rules", Profile::MAX_RULES)?;
    rules.iter().map(|rule| Rule::parse(rule, names, &mut taken)).collect()
}

impl Rule {
    fn parse<'a>(
        fields: &Fields<'a>,
        names: &Names<'_>,
        taken: &mut BTreeSet<&'a str>,
    ) -> Result<Self, ProfileError> {
        fields.allow(&[&["name", "when", "multiply", "add", "drop", "pin"], &Gate::FIELDS[..]].concat())?;
        let name = fields.unique_name(taken)?;
        let effect = Effect::parse(fields, names)?;
        Ok(Rule { name, gate: Gate::parse(fields, names)?, effect })
    }

    pub(super) fn as_drop(&self) -> Option<ActiveDrop<'_>> {
        let Effect::Drop { when } = &self.effect else { return None };
        Some(ActiveDrop { name: &self.name, pointer: when.pointer(), filter: when.filter() })
    }

    pub(super) fn as_pin(&self) -> Option<ActivePin<'_>> {
        let Effect::Pin { id, position } = &self.effect else { return None };
        Some(ActivePin { name: &self.name, id, position: *position })
    }
}

impl Effect {
    fn parse(fields: &Fields<'_>, names: &Names<'_>) -> Result<Self, ProfileError> {
        if let Some(pin) = fields.object("pin")? {
            if let Some(key) =
                ["when", "multiply", "add", "drop"].into_iter().find(|key| fields.get(key).is_some())
            {
                return Err(fields.fail(key, format!("a pin names its item and has no {key}")));
            }
            return Effect::parse_pin(&pin);
        }
        fields.need("when")?;
        let Some(when) = Located::items(fields, "when", names)? else {
            return Err(fields.fail_here("when is missing"));
        };
        match (fields.number("multiply")?, fields.number("add")?, fields.flag("drop")?) {
            (Some(factor), None, None) if factor > 0.0 => Ok(Effect::Multiply { when, factor }),
            (Some(factor), None, None) => {
                Err(fields.fail("multiply", format!("multiply is {factor}, it must be above 0")))
            }
            (None, Some(addend), None) => Ok(Effect::Add { when, addend }),
            (None, None, Some(true)) => Ok(Effect::Drop { when }),
            (None, None, Some(false)) => {
                Err(fields
                    .fail("drop", "drop can only be true; to switch a rule off write \"enabled\": false"))
            }
            _ => Err(fields.fail_here("a rule has exactly one of multiply, add, drop and pin")),
        }
    }

    fn parse_pin(fields: &Fields<'_>) -> Result<Self, ProfileError> {
        fields.allow(&["id", "position"])?;
        let id = fields.need_text("id")?;
        if id.is_empty() || id.len() > 512 {
            return Err(fields.fail("id", format!("an id has 1 to 512 bytes, this one has {}", id.len())));
        }
        fields.need("position")?;
        let position = fields.whole("position", 1, Profile::MAX_POSITION)?.unwrap_or(1);
        Ok(Effect::Pin { id: id.to_owned(), position })
    }

    /// What it acts on; a pin names its item.
    pub(in crate::rank) fn when(&self) -> Option<&Located> {
        match self {
            Effect::Multiply { when, .. } | Effect::Add { when, .. } | Effect::Drop { when } => Some(when),
            Effect::Pin { .. } => None,
        }
    }
}
