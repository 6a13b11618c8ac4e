//! Range analysis: the bounds of every integer, as tight as inference proves them.
//!
//! **Invariant**: afterwards every type holds exactly the inferred bounds (carried values of regions keep theirs, which
//! hold in every iteration), and every bound is below 2^30, so that nothing wraps in M31. A bound that is not is refused
//! with its layer and the setting that mends it.

use mlc_ir::{Elem, INT_LIMIT, Module, Op, Operand, Origin, Origins, Region, Scope, StackAxis, Stage, infer};

use super::PassError;
use crate::plan::QuantPlan;

/// What to change where a bound is too large.
pub(crate) fn mend(plan: &QuantPlan) -> String {
    let c = &plan.config;
    format!(
        "calibrate the weights' column sums, or lower `weight_bits` (now {}) or `activation_bits` (now {})",
        c.weight_bits, c.activation_bits
    )
}

/// Recomputes all bounds and refuses those that could overflow.
pub fn range_analysis(mut module: Module, plan: &QuantPlan) -> Result<Module, PassError> {
    if module.stage != Stage::Quantised {
        return Err(PassError::Stage {
            pass: "range-analysis",
            expected: Stage::Quantised,
        });
    }
    let names: Vec<String> = module.entries.keys().cloned().collect();
    for name in names {
        let Some(mut entry) = module.entries.get(&name).cloned() else {
            continue;
        };
        let mut types = Types {
            module: &module,
            entry: &mut entry,
            stack: Vec::new(),
            origins: Origins::new(),
            plan,
        };
        let body = types.entry.body.clone();
        types.region(&body)?;
        module.entries.insert(name, entry);
    }
    Ok(module)
}

struct Types<'a> {
    module: &'a Module,
    entry: &'a mut mlc_ir::Entry,
    stack: Vec<StackAxis>,
    origins: Origins,
    plan: &'a QuantPlan,
}

impl Types<'_> {
    fn region(&mut self, region: &Region) -> Result<(), PassError> {
        for node in &region.nodes {
            if let Op::Repeat(repeat) = &node.op {
                self.stack.push(StackAxis {
                    index: repeat.index.clone(),
                    count: repeat.count,
                });
                self.region(&repeat.body)?;
                self.stack.pop();
            }
            let operands: Vec<Operand<'_>> = node
                .operands
                .iter()
                .map(|id| Operand {
                    id: *id,
                    ty: self.entry.ty(*id),
                })
                .collect();
            let scope = Scope {
                module: self.module,
                values: &self.entry.values,
                stack: &self.stack,
                origins: &self.origins,
            };
            let layer = |i: usize| node.results.get(i).map_or("", |id| &self.entry.value(*id).name);
            let types = infer(scope, &node.op, &operands).map_err(|kind| mlc_ir::InferError {
                op: node.op.name(),
                value: layer(0).to_owned(),
                span: node.span.clone(),
                kind: Box::new(kind),
            })?;
            for (i, ty) in types.iter().enumerate() {
                if let Elem::Int(int) = ty.elem
                    && int.max_abs() >= INT_LIMIT
                {
                    return Err(PassError::Overflow {
                        layer: layer(i).to_owned(),
                        bound: int.max_abs(),
                        mend: mend(self.plan),
                        span: node.span.clone(),
                    });
                }
            }
            for (id, ty) in node.results.iter().zip(types) {
                self.entry.values[id.index()].ty = ty;
            }
            if let (Some(origin), Some(id)) = (Origin::of(&node.op, &node.operands), node.results.first()) {
                self.origins.insert(*id, origin);
            }
        }
        Ok(())
    }
}
