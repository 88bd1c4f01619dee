//! A catalogue's items in groups, by one attribute: each value a group; numbers and times in quarters of the catalogue.

use crate::attributes::{AttributeType, ItemFacts, Value, format_time};
use crate::index::View;

/// Items that have no value.
const NONE: &str = "(none)";

/// Groups of the items of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// What each group is called.
    pub names: Vec<String>,
    /// For each item slot the groups that it is in; none for slots that are not in the view.
    pub of: Vec<Vec<u32>>,
}

impl Groups {
    /// By an attribute, or by `_inserted_at`: keywords and bools by value, an item of several values in several groups;
    /// numbers and times by the quarter of the catalogue that they fall into. Items without a value are a group of
    /// their own. `None` when there is no such attribute.
    pub fn by(view: &View<'_>, attribute: &str) -> Option<Groups> {
        let slots: Vec<u32> = view.all().iter().collect();
        let mut groups = Groups { names: Vec::new(), of: vec![Vec::new(); view.items() as usize] };
        if attribute == "_inserted_at" {
            let times = slots.iter().map(|&slot| (slot, Some(view.inserted_at(slot) as f64)));
            groups.add_quarters(&times.collect::<Vec<_>>(), &|time| format_time(time as i64));
            return Some(groups);
        }
        let (ordinal, spec) = view.schema().attributes.find(attribute)?;
        let columns = view.columns();
        match spec.kind {
            AttributeType::Int | AttributeType::Float | AttributeType::Time => {
                let number = |&slot: &u32| (slot, columns.number(ordinal, slot));
                let is_time = spec.kind == AttributeType::Time;
                let shown =
                    |number: f64| if is_time { format_time(number as i64) } else { number.to_string() };
                groups.add_quarters(&slots.iter().map(number).collect::<Vec<_>>(), &shown);
            }
            AttributeType::Keyword | AttributeType::Keywords | AttributeType::Bool => {
                let value = |&slot: &u32| (slot, columns.get(ordinal, slot));
                groups.add_values(slots.iter().map(value));
            }
        }
        Some(groups)
    }

    fn add_values(&mut self, values: impl Iterator<Item = (u32, Option<Value>)>) {
        let mut numbers = std::collections::HashMap::new();
        for (slot, value) in values {
            let names = match value {
                Some(Value::Keyword(text)) => vec![text],
                Some(Value::Keywords(list)) => list,
                Some(Value::Bool(flag)) => vec![flag.to_string()],
                _ => vec![NONE.to_owned()],
            };
            for name in names {
                let next = self.names.len() as u32;
                let group = *numbers.entry(name.clone()).or_insert(next);
                if group == next {
                    self.names.push(name);
                }
                if !self.of[slot as usize].contains(&group) {
                    self.of[slot as usize].push(group);
                }
            }
        }
    }

    /// Quarters, cut at values of the catalogue, so that equal values are together; fewer when many are equal.
    fn add_quarters(&mut self, values: &[(u32, Option<f64>)], shown: &dyn Fn(f64) -> String) {
        let mut sorted: Vec<f64> = values.iter().filter_map(|(_, value)| *value).collect();
        sorted.sort_by(f64::total_cmp);
        let Some(&greatest) = sorted.last() else {
            self.names.push(NONE.to_owned());
            return values.iter().for_each(|(slot, _)| self.of[*slot as usize].push(0));
        };
        let mut cuts: Vec<f64> =
            (1..4).map(|quarter| sorted[(sorted.len() * quarter / 4).max(1) - 1]).collect();
        cuts.push(greatest);
        cuts.dedup();
        let mut least = sorted[0];
        for &cut in &cuts {
            self.names.push(if least == cut {
                shown(cut)
            } else {
                format!("{} to {}", shown(least), shown(cut))
            });
            let next = sorted.partition_point(|value| *value <= cut);
            least = sorted.get(next).copied().unwrap_or(cut);
        }
        let none = cuts.len() as u32;
        if sorted.len() < values.len() {
            self.names.push(NONE.to_owned());
        }
        for (slot, value) in values {
            let group = value.map_or(none, |value| cuts.partition_point(|cut| *cut < value) as u32);
            self.of[*slot as usize].push(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quarters(values: &[Option<f64>]) -> (Vec<String>, Vec<u32>) {
        let values: Vec<(u32, Option<f64>)> = (0..).zip(values.iter().copied()).collect();
        let mut groups = Groups { names: Vec::new(), of: vec![Vec::new(); values.len()] };
        groups.add_quarters(&values, &|number| number.to_string());
        let of = groups.of.into_iter().map(|of| of[0]).collect();
        (groups.names, of)
    }

    #[test]
    fn numbers_fall_into_quarters() {
        let values: Vec<Option<f64>> = [5, 1, 7, 3, 8, 2, 6, 4].map(|number| Some(f64::from(number))).into();
        let (names, of) = quarters(&values);
        assert_eq!(names, ["1 to 2", "3 to 4", "5 to 6", "7 to 8"]);
        assert_eq!(of, [2, 0, 3, 1, 3, 0, 2, 1]);
    }

    #[test]
    fn equal_numbers_stay_together_and_missing_ones_are_a_group() {
        let (names, of) = quarters(&[Some(0.0), Some(0.0), Some(0.0), Some(9.0), None]);
        assert_eq!(names, ["0", "9", NONE]);
        assert_eq!(of, [0, 0, 0, 1, 2]);
        assert_eq!(quarters(&[None, None]), (vec![NONE.to_owned()], vec![0, 0]));
        assert_eq!(quarters(&[Some(4.5)]), (vec!["4.5".to_owned()], vec![0]));
        assert_eq!(quarters(&[]).1, [0; 0]);
    }

    #[test]
    fn values_are_groups_and_several_values_are_several() {
        let mut groups = Groups { names: Vec::new(), of: vec![Vec::new(); 4] };
        let list = |of: &[&str]| Some(Value::Keywords(of.iter().map(|text| text.to_string()).collect()));
        groups.add_values(
            [(0, list(&["a", "b"])), (1, None), (2, list(&["b", "b"])), (3, Some(Value::Bool(true)))]
                .into_iter(),
        );
        assert_eq!(groups.names, ["a", "b", NONE, "true"]);
        assert_eq!(groups.of, [vec![0, 1], vec![2], vec![1], vec![3]]);
    }
}
