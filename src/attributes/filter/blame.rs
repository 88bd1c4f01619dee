//! Which tests of a filter keep an item out.

use super::eval::Scope;
use super::{Columns, Filter, FilterContext, FilterError, ItemFacts, Node};
use crate::deadline::Deadline;

impl Filter {
    /// None when the item matches; else the JSON pointers, into the filter, of the tests that keep it out: all that fail of
    /// an `all`, every one of an `any`, those that hold of a `none`. Empty when no test is to blame (`"any": []`).
    pub fn blame(
        &self,
        item: u32,
        columns: &Columns,
        facts: &dyn ItemFacts,
        context: &FilterContext,
    ) -> Result<Option<Vec<String>>, FilterError> {
        let bound = self.bind(context)?;
        let never = Deadline::never();
        let scope = Scope::new(columns, facts, context, &never);
        if item >= facts.items() {
            return Ok(Some(Vec::new()));
        }
        if scope.holds(&bound.root, item)? {
            return Ok(None);
        }
        let mut pointers = Vec::new();
        collect(&bound.root, &scope, item, &mut pointers)?;
        Ok(Some(pointers))
    }
}

/// Adds the tests that make a node what it is for this item.
fn collect(node: &Node, scope: &Scope<'_>, item: u32, pointers: &mut Vec<String>) -> Result<(), FilterError> {
    match node {
        Node::Leaf(leaf) => pointers.push(leaf.pointer.clone()),
        Node::Not(part) => collect(part, scope, item, pointers)?,
        Node::All(parts) | Node::Any(parts) => {
            let holds = scope.holds(node, item)?;
            // An `all` that holds and an `any` that does not are so because of every part.
            let every = matches!(node, Node::All(_)) == holds;
            for part in parts {
                if every || scope.holds(part, item)? == holds {
                    collect(part, scope, item, pointers)?;
                }
            }
        }
    }
    Ok(())
}
