//! What verifying an instance costs: keys are untrusted, and a small one may describe much work.
//!
//! The verifier evaluates functionals of tensors axis by axis (`functional::push` in the verifier). Lookups and committed
//! cells cost their blocks, public sources their cells, and a claim holds a table per axis from the moment it is made
//! until it is proved. Each step, and the sum over the entry, is bounded.

use alloc::vec::Vec;

use crate::instance::too_large;
use crate::{
    Access, AxisMap, Equation, FormSource, Instance, InstanceError, Left, Operand, Outer, Product, Read, SiteRef,
    Source,
};

/// Most work that one coordinate of an access, or one pass of a functional's core over blocks, may cost a verifier.
const MAX_WORK: usize = 1 << 27;
/// Most that a verifier may spend on all of an entry, per [`Cost`].
const MAX_TOTAL: usize = 1 << 30;

/// What a verifier spends, summed over an entry.
#[derive(Clone, Copy)]
enum Cost {
    /// Work on public sources (inputs, constants, masks): by cells.
    Public,
    /// Work on lookups and committed cells: by blocks.
    Lookup,
    /// Bytes that claims hold from the moment they are made until lookups or opening.
    Held,
}

/// Adds costs up.
#[derive(Default)]
struct Costs {
    totals: [usize; 3],
}

impl Costs {
    fn spend(&mut self, name: &str, cost: Cost, amount: usize) -> Result<(), InstanceError> {
        let total = &mut self.totals[cost as usize];
        *total = total.saturating_add(amount);
        let each = if matches!(cost, Cost::Held) {
            MAX_TOTAL
        } else {
            MAX_WORK
        };
        if amount > each || *total > MAX_TOTAL {
            Err(too_large(name))
        } else {
            Ok(())
        }
    }
}

/// Bytes of a table of extension elements.
fn table_bytes(entries: usize) -> usize {
    entries.saturating_mul(16)
}

/// The most that one step costs of pushing a weighting with core lengths `cores` through an access, to a tensor with
/// core lengths `to`: as `functional::push` of the verifier does it, one coordinate after another.
fn push_work(access: &Access, lens: &[usize], cores: &[usize], shape: &[usize], to: &[usize]) -> usize {
    let mut size = cores.iter().copied().fold(1, usize::saturating_mul);
    let mut most = size;
    for (i, (&n, &core)) in lens.iter().zip(cores).enumerate() {
        if !access.uses(i as u8) {
            most = most.max(n);
            size = size.checked_div(core).unwrap_or(0);
        }
    }
    for (m, (&n, &core)) in access.axes.iter().zip(shape.iter().zip(to)) {
        let over = |of: &[usize]| m.iters().iter().map(|&i| of[i as usize]).fold(1, usize::saturating_mul);
        let own = match m {
            AxisMap::Before { .. } => over(lens).saturating_mul(n),
            AxisMap::Affine { .. } | AxisMap::From { .. } => over(lens),
        };
        let rest = size.checked_div(over(cores)).unwrap_or(0);
        size = rest.saturating_mul(core);
        most = most.max(rest.saturating_mul(own)).max(size);
    }
    most
}

fn odd(shape: &[usize]) -> Vec<usize> {
    shape.iter().map(|n| n >> n.trailing_zeros()).collect()
}

/// Blocks of a tensor.
fn blocks(shape: &[usize]) -> usize {
    odd(shape).into_iter().fold(1, usize::saturating_mul)
}

impl Instance<'_> {
    /// Refuses instances whose functionals are too costly to evaluate: keys are untrusted. Lookups and segments cost
    /// their blocks, public sources their cells, claims the tables that they hold.
    pub(crate) fn check_cost(&self) -> Result<(), InstanceError> {
        let mut costs = Costs::default();
        for e in &self.entry.equations {
            self.read_cost(e, &mut costs)?;
            for p in &e.products {
                for operand in [&p.a, &p.b] {
                    self.operand_cost(e, p, operand, &mut costs)?;
                }
            }
        }
        // Every lookup and every cell is visited on its own a few times.
        for s in &self.sites {
            let name = match s.site {
                SiteRef::Segment(id) => &self.entry.segments[id as usize].name,
                SiteRef::Virtual(id) => &self.entry.sites[id as usize].name,
            };
            costs.spend(name, Cost::Lookup, blocks(&s.layout.shape))?;
        }
        for s in &self.entry.sites {
            let lens = self.lens(&s.axes);
            let cores = odd(&lens);
            for t in &s.index {
                let (cost, work) = match &t.source {
                    FormSource::Segment(segment) => {
                        let shape = &self.segments[*segment as usize].shape;
                        (Cost::Lookup, push_work(&t.access, &lens, &cores, shape, &odd(shape)))
                    }
                    FormSource::Input(i) => {
                        let shape = &self.inputs[*i as usize];
                        (Cost::Public, push_work(&t.access, &lens, &cores, shape, shape))
                    }
                    // One pass over the columns for every block of rows, one over the rows.
                    FormSource::Causal(m) => {
                        let (row, col) = (m.row as usize, m.col as usize);
                        let passes = cores[row].saturating_mul(lens[col]).max(lens[row]);
                        (Cost::Public, passes.max(blocks(&lens)))
                    }
                };
                costs.spend(&s.name, cost, work)?;
            }
        }
        Ok(())
    }

    /// The cost of an equation's linear reads and left side.
    fn read_cost(&self, e: &Equation, costs: &mut Costs) -> Result<(), InstanceError> {
        let out = self.out(e);
        let mut held = out.iter().copied().fold(0, usize::saturating_add);
        if let Left::Cells(cells) = &e.left {
            let each = held.saturating_add(blocks(&out));
            for _ in cells {
                costs.spend(&e.name, Cost::Lookup, each)?;
            }
        }
        let mut looked_up = false;
        for r in &e.reads {
            let lens = self.lens(&e.iterations(&r.reduce));
            self.one_read(&e.name, &r.read, &lens, &alloc::vec![1; lens.len()], costs)?;
            held = lens[out.len()..].iter().copied().fold(held, usize::saturating_add);
            looked_up |= matches!(r.read.source, Source::Lookup { .. });
        }
        let held = if looked_up { table_bytes(held) } else { 0 };
        costs.spend(&e.name, Cost::Held, held)
    }

    /// The cost of a factor of a product.
    fn operand_cost(&self, e: &Equation, p: &Product, o: &Operand, costs: &mut Costs) -> Result<(), InstanceError> {
        match o {
            Operand::One => Ok(()),
            Operand::Reads(reads) => {
                let outputs = e.out.len();
                let lens = self.lens(&e.iterations(&p.group));
                // A group of several axes is flattened: all core.
                let flat = p.group.len() > 1;
                let core = |i: usize| if flat && i >= outputs { lens[i] } else { 1 };
                let cores: Vec<usize> = (0..lens.len()).map(core).collect();
                for r in reads {
                    self.one_read(&e.name, r, &lens, &cores, costs)?;
                }
                // Output axes that the factor uses have a table, and the group has one, flattened or not.
                let used = |i: u8| {
                    p.shared.contains(&i) || (reads.iter()).any(|r| r.access.uses(i) || r.access.gate(i).is_some())
                };
                let own = (0u8..).zip(&lens[..outputs]).filter(|&(i, _)| used(i));
                let held = own.fold(0usize, |sum, (_, &n)| sum.saturating_add(n));
                let group = lens[outputs..].iter().copied().fold(1, usize::saturating_mul);
                let looked_up = reads.iter().any(|r| matches!(r.source, Source::Lookup { .. }));
                let held = if looked_up {
                    table_bytes(held.saturating_add(group))
                } else {
                    0
                };
                costs.spend(&e.name, Cost::Held, held)
            }
            Operand::Weight { weight, outer } => {
                // A table for each axis of the weight, whatever part of them is used.
                let axes = &self.circuit.weights[*weight as usize].outer;
                let held = axes.iter().fold(0usize, |sum, &n| sum.saturating_add(n as usize));
                costs.spend(&e.name, Cost::Held, table_bytes(held))?;
                for (o, &n) in outer.iter().zip(axes) {
                    let selecting = match o {
                        Outer::Axis { .. } => continue,
                        Outer::Selected { input, .. } => &self.inputs[*input as usize],
                        Outer::Found { output, .. } => &self.outputs[*output as usize],
                    };
                    let cells: usize = selecting.iter().product();
                    costs.spend(&e.name, Cost::Public, cells)?;
                    // Each selected row is kept with its index.
                    costs.spend(&e.name, Cost::Held, cells.min(n as usize).saturating_mul(24))?;
                }
                Ok(())
            }
        }
    }

    /// The work of one read whose iterations have these lengths and core lengths.
    fn one_read(
        &self,
        name: &str,
        r: &Read,
        lens: &[usize],
        cores: &[usize],
        costs: &mut Costs,
    ) -> Result<(), InstanceError> {
        let shape = self.source_shape(r.source);
        let (cost, to) = match r.source {
            // A table of the rows, and for each a product per bit of the last axis.
            Source::Below(output) => {
                let rows: usize = self.outputs[output as usize].iter().product();
                return costs.spend(name, Cost::Public, rows.saturating_mul(32));
            }
            Source::Lookup { .. } => (Cost::Lookup, odd(&shape)),
            Source::Input(_) | Source::Constant(_) => (Cost::Public, shape.clone()),
        };
        costs.spend(name, cost, push_work(&r.access, lens, cores, &shape, &to))
    }
}
