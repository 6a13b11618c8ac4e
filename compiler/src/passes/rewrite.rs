//! Walking every node of a module and replacing some: what most passes share.

use std::collections::BTreeMap;

use mlc_ir::{
    Entry, InferError, Module, Node, Op, Operand, Origin, Origins, Region, Scope, Span, StackAxis, ValueId, Weight,
    infer,
};

use super::PassError;

/// What becomes of a node.
pub(crate) enum Rewrite {
    /// It stays, perhaps changed (its results keep their types).
    Keep(Node),
    /// Its result is another value.
    Replace(ValueId),
}

/// One entry while its nodes are rewritten, in order.
pub(crate) struct Rewriter<'m> {
    pub(crate) module: &'m mut Module,
    pub(crate) entry: Entry,
    /// Its name.
    pub(crate) entry_name: String,
    /// The defining node of every value seen so far, as rewritten (repeats without their bodies).
    pub(crate) definitions: BTreeMap<ValueId, Node>,
    /// Number of uses before the pass.
    pub(crate) uses: BTreeMap<ValueId, usize>,
    /// Enclosing regions.
    pub(crate) stack: Vec<StackAxis>,
    replaced: BTreeMap<ValueId, ValueId>,
    origins: Origins,
    /// Number of values before the pass.
    known: usize,
    /// Nodes made so far of every open region, the innermost last.
    made: Vec<Vec<Node>>,
}

/// Rewrites every entry by `f`, which sees each node with its operands already replaced; then drops what is unused.
pub(crate) fn rewrite(
    module: &mut Module,
    f: &mut dyn FnMut(&mut Rewriter<'_>, Node) -> Result<Rewrite, PassError>,
) -> Result<(), PassError> {
    let names: Vec<String> = module.entries.keys().cloned().collect();
    for name in names {
        let Some(entry) = module.entries.get(&name).cloned() else {
            continue;
        };
        let uses = uses(&entry.body);
        let mut rewriter = Rewriter {
            known: entry.values.len(),
            module,
            entry,
            entry_name: name.clone(),
            definitions: BTreeMap::new(),
            uses,
            stack: Vec::new(),
            replaced: BTreeMap::new(),
            origins: Origins::new(),
            made: Vec::new(),
        };
        let mut body = std::mem::take(&mut rewriter.entry.body);
        rewriter.region(&mut body, f)?;
        let mut entry = rewriter.entry;
        entry.body = body;
        entry.remove_dead();
        module.entries.insert(name, entry);
    }
    Ok(())
}

/// How often every value is used.
pub(crate) fn uses(region: &Region) -> BTreeMap<ValueId, usize> {
    let mut out = BTreeMap::new();
    let mut count = |ids: &[ValueId]| {
        for id in ids {
            *out.entry(*id).or_insert(0) += 1;
        }
    };
    count(&region.results);
    for node in region.all_nodes() {
        count(&node.operands);
        if let Op::Repeat(repeat) = &node.op {
            count(&repeat.body.results);
        }
    }
    out
}

impl Rewriter<'_> {
    fn region(
        &mut self,
        region: &mut Region,
        f: &mut dyn FnMut(&mut Self, Node) -> Result<Rewrite, PassError>,
    ) -> Result<(), PassError> {
        self.made.push(Vec::new());
        for mut node in std::mem::take(&mut region.nodes) {
            self.resolve(&mut node.operands);
            if let Op::Repeat(repeat) = &mut node.op {
                self.stack.push(StackAxis {
                    index: repeat.index.clone(),
                    count: repeat.count,
                });
                self.region(&mut repeat.body, f)?;
                self.stack.pop();
                self.made
                    .last_mut()
                    .into_iter()
                    .for_each(|made| made.push(node.clone()));
                continue;
            }
            let result = node.results.first().copied();
            match f(self, node)? {
                Rewrite::Keep(node) => self.push(node),
                Rewrite::Replace(by) => {
                    if let Some(result) = result {
                        // What stands for a value takes its name, where the pass has made it.
                        if by.index() >= self.known {
                            let name = std::mem::take(&mut self.entry.values[by.index()].name);
                            self.entry.values[by.index()].name =
                                std::mem::replace(&mut self.entry.values[result.index()].name, name);
                        }
                        self.replaced.insert(result, by);
                    }
                }
            }
        }
        self.resolve(&mut region.results);
        region.nodes = self.made.pop().unwrap_or_default();
        Ok(())
    }

    fn resolve(&self, ids: &mut [ValueId]) {
        for id in ids {
            while let Some(next) = self.replaced.get(id) {
                *id = *next;
            }
        }
    }

    fn push(&mut self, node: Node) {
        for id in &node.results {
            self.definitions.insert(*id, node.clone());
            if let Some(origin) = Origin::of(&node.op, &node.operands) {
                self.origins.insert(*id, origin);
            }
        }
        if let Some(made) = self.made.last_mut() {
            made.push(node);
        }
    }

    /// True where a node of this region, or of one around it, defines `id`.
    pub(crate) fn visible(&self, id: ValueId) -> bool {
        self.made.iter().flatten().any(|n| n.results.contains(&id))
    }

    /// The node that defines `id`, where it is no parameter and no result of a region.
    pub(crate) fn definition(&self, id: ValueId) -> Option<&Node> {
        self.definitions.get(&id)
    }

    /// True where nothing but one operand or result uses `id`.
    pub(crate) fn used_once(&self, id: ValueId) -> bool {
        self.uses.get(&id) == Some(&1)
    }

    /// Adds a node before the one being rewritten.
    pub(crate) fn emit(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: &str,
        span: Option<Span>,
    ) -> Result<ValueId, PassError> {
        let scope = Scope {
            module: self.module,
            values: &self.entry.values,
            stack: &self.stack,
            origins: &self.origins,
        };
        let views: Vec<Operand<'_>> = operands
            .iter()
            .map(|id| Operand {
                id: *id,
                ty: self.entry.ty(*id),
            })
            .collect();
        let types = infer(scope, &op, &views).map_err(|kind| InferError {
            op: op.name(),
            value: name.to_owned(),
            span: span.clone(),
            kind: Box::new(kind),
        })?;
        let results: Vec<ValueId> = types.into_iter().map(|ty| self.entry.new_value(name, ty)).collect();
        let first = results.first().copied();
        self.push(Node {
            op,
            operands: operands.to_vec(),
            results,
            span,
        });
        first.ok_or(PassError::Stage {
            pass: "rewrite",
            expected: self.module.stage,
        })
    }

    /// Declares a weight with a new name and uses it here.
    pub(crate) fn weight(&mut self, name: &str, mut weight: Weight, span: Option<Span>) -> Result<ValueId, PassError> {
        let used = weight.recipe.indices();
        weight.stack = self.stack.iter().filter(|a| used.contains(&a.index)).cloned().collect();
        let mut n = 0;
        let mut unique = name.to_owned();
        // An equal weight is the same weight: tied weights stay one commitment.
        while let Some(known) = self.module.weights.get(&unique) {
            if *known == weight {
                break;
            }
            n += 1;
            unique = format!("{name}.{n}");
        }
        self.module.weights.insert(unique.clone(), weight);
        self.emit(Op::Weight(unique.clone()), &[], &unique, span)
    }
}

/// Forgets weights, tables and states that no entry uses.
pub(crate) fn forget_unused(module: &mut Module) {
    let mut weights = std::collections::BTreeSet::new();
    let mut states = std::collections::BTreeSet::new();
    for entry in module.entries.values() {
        for node in entry.all_nodes() {
            match &node.op {
                Op::Weight(name) => drop(weights.insert(name.clone())),
                Op::StateRead(name) | Op::StateAppend(name) => drop(states.insert(name.clone())),
                _ => {}
            }
        }
    }
    module.weights.retain(|name, _| weights.contains(name));
    module.states.retain(|name, _| states.contains(name));
}
