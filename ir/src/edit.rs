//! What every pass does to an entry: replacing uses, dropping what is unused, numbering anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Entry, Node, Region, Value, ValueId};
use crate::op::Op;

impl Region {
    /// Applies `f` to every use of a value: operands and results, those of nested regions too.
    pub fn map_uses(&mut self, f: &mut dyn FnMut(ValueId) -> ValueId) {
        for node in &mut self.nodes {
            for id in &mut node.operands {
                *id = f(*id);
            }
            if let Op::Repeat(repeat) = &mut node.op {
                repeat.body.map_uses(f);
            }
        }
        for id in &mut self.results {
            *id = f(*id);
        }
    }
}

impl Entry {
    /// A value that nothing defines yet, called `name` or, where that is taken, `name_0`, `name_1`, …
    pub fn new_value(&mut self, name: &str, ty: crate::Type) -> ValueId {
        let taken: BTreeSet<&str> = self.values.iter().map(|v| v.name.as_str()).collect();
        let candidates = std::iter::once(name.to_owned()).chain((0u64..).map(|i| format!("{name}_{i}")));
        let name = candidates
            .into_iter()
            .find(|n| !taken.contains(n.as_str()))
            .unwrap_or_default();
        self.values.push(Value { name, ty });
        ValueId((self.values.len() - 1) as u32)
    }

    /// Replaces every use of a key of `replacements` by its value, following chains.
    pub fn replace_uses(&mut self, replacements: &BTreeMap<ValueId, ValueId>) {
        self.body.map_uses(&mut |mut id| {
            // A chain has no cycle in SSA; the bound guards against a map that is none.
            for _ in 0..=replacements.len() {
                match replacements.get(&id) {
                    Some(next) => id = *next,
                    None => break,
                }
            }
            id
        });
    }

    /// Removes nodes whose results nothing uses and that have no effect. Inputs stay.
    pub fn remove_dead(&mut self) {
        let mut used: BTreeSet<ValueId> = self.body.results.iter().copied().collect();
        remove_dead(&mut self.body, &mut used);
        self.compact();
    }

    /// Numbers values in the order of their definition, as parsing the text would, and forgets those that nothing
    /// defines.
    pub fn compact(&mut self) {
        let mut order = Vec::new();
        definitions(&self.body, &mut order);
        let number: BTreeMap<ValueId, ValueId> = order
            .iter()
            .enumerate()
            .map(|(i, id)| (*id, ValueId(i as u32)))
            .collect();
        let anew = |id: ValueId| number.get(&id).copied().unwrap_or(id);
        self.body.map_uses(&mut |id| anew(id));
        map_definitions(&mut self.body, &anew);
        self.values = order
            .iter()
            .filter_map(|id| self.values.get(id.index()).cloned())
            .collect();
    }
}

/// Goes backwards: by the time a node is seen, every use of its results is known.
fn remove_dead(region: &mut Region, used: &mut BTreeSet<ValueId>) {
    let mut kept: Vec<Node> = Vec::new();
    for mut node in std::mem::take(&mut region.nodes).into_iter().rev() {
        if !node.op.has_effect() && !node.results.iter().any(|id| used.contains(id)) {
            continue;
        }
        if let Op::Repeat(repeat) = &mut node.op {
            used.extend(&repeat.body.results);
            remove_dead(&mut repeat.body, used);
        }
        used.extend(&node.operands);
        kept.push(node);
    }
    kept.reverse();
    region.nodes = kept;
}

fn definitions(region: &Region, out: &mut Vec<ValueId>) {
    out.extend(&region.params);
    for node in &region.nodes {
        if let Op::Repeat(repeat) = &node.op {
            definitions(&repeat.body, out);
        }
        out.extend(&node.results);
    }
}

fn map_definitions(region: &mut Region, f: &dyn Fn(ValueId) -> ValueId) {
    region.params.iter_mut().for_each(|id| *id = f(*id));
    for node in &mut region.nodes {
        if let Op::Repeat(repeat) = &mut node.op {
            map_definitions(&mut repeat.body, f);
        }
        node.results.iter_mut().for_each(|id| *id = f(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Module;

    const TEXT: &str = r#"module "m" real

entry "e" {
  input %x: real[2] public "x"
  %dead: real[2] = softmax(%x)
  %r: real[2] = repeat(%x) {index = l, count = 2, carried = 1} do (%c: real[2]) {
    %deader: real[2] = softmax(%c)
    %deadest: real[2] = add(%deader, %c)
    %d: real[2] = add(%c, %x)
    yield (%d)
  }
  %y: real[2] = softmax(%r)
  output %y public "y"
}
"#;

    #[test]
    fn dead_nodes_go_in_regions_too() {
        let mut module: Module = TEXT.parse().unwrap();
        module.entries[0].remove_dead();
        let text = module.to_string();
        assert!(!text.contains("dead"), "{text}");
        assert_eq!(text.parse(), Ok(module));
    }

    #[test]
    fn uses_are_replaced_along_chains() {
        let mut module: Module = TEXT.parse().unwrap();
        let entry = &mut module.entries[0];
        let [x, r, y] = ["x", "r", "y"].map(|n| entry.find(n).unwrap());
        entry.replace_uses(&BTreeMap::from([(y, r), (r, x)]));
        entry.remove_dead();
        assert_eq!(entry.body.results, [x]);
        assert!(entry.body.nodes.is_empty());
        assert_eq!(entry.values.len(), 1);
    }

    #[test]
    fn new_values_have_new_names() {
        let mut module: Module = TEXT.parse().unwrap();
        let entry = &mut module.entries[0];
        let ty = entry.values[0].ty.clone();
        let ids = [0, 1].map(|_| entry.new_value("x", ty.clone()));
        assert_eq!(ids.map(|id| entry.value(id).name.clone()), ["x_0", "x_1"]);
    }
}
