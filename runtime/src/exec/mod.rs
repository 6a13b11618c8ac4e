//! Execution of a circuit on integers: the witness and the outputs.
//!
//! [`execute`] walks `entry.steps` and computes every committed cell, every virtual lookup index and every output. Two
//! evaluators give the right sides of equations and the sources of maxima, and agree on every integer:
//! - `reference`: the definition written down, one output at a time, in `i64`; the oracle;
//! - `fast`: strided walks, and products as blocked integer matrix products (`gemm/`) in `i32`. Every right side lies
//!   in (-2^30, 2^30) by the circuit's range analysis, so arithmetic modulo 2^32 is exact, whatever partial sums do.
//!   Where the analysis does not hold for an equation, the reference computes it.
//!
//! The circuit must have passed [`mlc_circuit::check::check`]: indices are not checked again.
//!
//! Nothing here is in a proof: the schedule is the machine's, the integers are the circuit's.

mod error;
mod fast;
mod gemm;
mod reference;
mod state;
mod walk;

#[cfg(test)]
mod tests;

pub use error::ExecError;
use mlc_circuit::{CellTree, Circuit, InputKind, Instance, Left, Len, Product, SiteRef, Step, chain};

use crate::schedule::journal::Kept;
use crate::weights::IntWeights;
use state::State;

/// All integers of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// Per segment of the entry, its cells, row-major.
    pub segments: Vec<Vec<i32>>,
    /// Per virtual site of the entry, the lookup indices, row-major.
    pub virtual_sites: Vec<Vec<i32>>,
    /// Per output of the entry, its values, row-major.
    pub outputs: Vec<Vec<i32>>,
}

impl Kept for Execution {
    fn write(&self, out: &mut Vec<u8>) {
        self.segments.write(out);
        self.virtual_sites.write(out);
        self.outputs.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            segments: Vec::read(bytes)?,
            virtual_sites: Vec::read(bytes)?,
            outputs: Vec::read(bytes)?,
        })
    }
}

/// What one link of a chain appends to the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Number of indices on the growing axes.
    pub len: u32,
    /// Per growing segment of the entry, in its order, the cells of this link, row-major.
    pub cells: Vec<Vec<i32>>,
}

impl Appended {
    /// Several links' as that of one, whose integers are the same: what a chain of proofs cut otherwise would append. `None`
    /// where the parts are not those of one entry.
    pub fn joined(circuit: &Circuit, entry: usize, dims: &[u32], parts: &[Self]) -> Option<Self> {
        let entry = circuit.entries.get(entry)?;
        let growing = entry.segments.iter().filter_map(|s| Some((s, usize::from(s.grows?))));
        let mut cells = Vec::new();
        for (i, (segment, axis)) in growing.enumerate() {
            let (before, behind) = (&segment.axes[..axis], &segment.axes[axis + 1..]);
            let (blocks, inner) = (chain::size(before, dims)?, chain::size(behind, dims)?);
            let own = parts
                .iter()
                .map(|p| Some((p.len as usize * inner, p.cells.get(i)?.as_slice())));
            cells.push(chain::join(blocks, &own.collect::<Option<Vec<_>>>()?)?);
        }
        let len = parts.iter().map(|p| p.len).sum();
        Some(Self { len, cells })
    }
}

impl Execution {
    /// Whether it has the shapes of an instance.
    pub fn fits(&self, instance: &Instance) -> bool {
        let lens = |of: &[Vec<i32>]| of.iter().map(Vec::len).collect::<Vec<_>>();
        let size = |axes: &[Len]| instance.lens(axes).iter().product::<usize>();
        lens(&self.segments) == instance.segments.iter().map(|l| l.len()).collect::<Vec<_>>()
            && lens(&self.virtual_sites) == instance.entry.sites.iter().map(|s| size(&s.axes)).collect::<Vec<_>>()
            && lens(&self.outputs)
                == instance
                    .outputs
                    .iter()
                    .map(|o| o.iter().product())
                    .collect::<Vec<usize>>()
    }

    /// What this run has appended; `None` for an entry without a cache.
    pub fn appended(&self, instance: &Instance) -> Option<Appended> {
        let dims = instance.circuit.chain_dims().filter(|_| instance.entry.grows())?;
        let ids = instance.segments_of(CellTree::Appended);
        Some(Appended {
            len: instance.dims[usize::from(dims.tokens)],
            cells: ids.map(|id| self.segments[id].clone()).collect(),
        })
    }
}

/// Runs an instance. `inputs` has one row-major tensor per input of the entry (public and private alike), in the
/// integers of the statement.
pub fn execute(instance: &Instance, weights: &IntWeights, inputs: &[Vec<i32>]) -> Result<Execution, ExecError> {
    execute_after(instance, weights, inputs, &[])
}

/// [`execute`] for a link of a chain: `earlier` is what the links before it have appended, in their order.
pub fn execute_after(
    instance: &Instance,
    weights: &IntWeights,
    inputs: &[Vec<i32>],
    earlier: &[Appended],
) -> Result<Execution, ExecError> {
    run(instance, weights, inputs, earlier, &mut fast::Fast::new(instance))
}

/// [`execute`] by the plain loops of the reference evaluator: slow, for tests.
pub fn execute_reference(
    instance: &Instance,
    weights: &IntWeights,
    inputs: &[Vec<i32>],
    earlier: &[Appended],
) -> Result<Execution, ExecError> {
    run(instance, weights, inputs, earlier, &mut reference::Reference)
}

/// What evaluates right sides. `slice` is the index on the first axis inside a repetition: only that part of the
/// output is computed, row-major over the other axes.
trait Evaluator {
    /// The right side of equation `q`.
    fn right(&mut self, state: &State, q: usize, slice: Option<usize>) -> Result<Vec<i32>, ExecError>;

    /// The source of the maximum at virtual site `site`, read at every lookup.
    fn compared(&mut self, state: &State, site: usize, slice: Option<usize>) -> Vec<i32>;

    /// How many masks hide each lookup of a masked virtual site; `None` for a site without masks.
    fn hidden(&mut self, state: &State, site: usize, slice: Option<usize>) -> Option<Vec<i32>>;

    /// Called after keys of `site` have been computed: all of them, or those at `slice`.
    fn written(&mut self, _state: &State, _site: SiteRef, _slice: Option<usize>) {}
}

fn run(
    instance: &Instance,
    weights: &IntWeights,
    inputs: &[Vec<i32>],
    earlier: &[Appended],
    by: &mut impl Evaluator,
) -> Result<Execution, ExecError> {
    let mut state = State::new(instance, weights, inputs, earlier)?;
    for link in 0..instance.links.len() as u16 {
        for id in instance.segments_of(CellTree::Earlier(link)) {
            by.written(&state, SiteRef::Segment(id as u16), None);
        }
    }
    for input in &instance.entry.inputs {
        if let InputKind::Private { segment } = input.kind {
            by.written(&state, SiteRef::Segment(segment), None);
        }
    }
    for step in &instance.entry.steps {
        match step {
            Step::Repeat { count, steps } => {
                for l in 0..*count {
                    for s in steps {
                        one(&mut state, s, Some((l as usize, *count)), by)?;
                    }
                }
            }
            s => one(&mut state, s, None, by)?,
        }
    }
    Ok(state.finish())
}

fn one(state: &mut State, step: &Step, repeat: Option<(usize, u32)>, by: &mut impl Evaluator) -> Result<(), ExecError> {
    let slice = repeat.map(|r| r.0);
    match step {
        Step::Equation(q) => {
            let q = *q as usize;
            let e = &state.instance.entry.equations[q];
            check_repeat(&e.name, repeat, || state.instance.out(e))?;
            let mut right = by.right(state, q, slice)?;
            if let Some(output) = e.finds() {
                state.find(q, output, &mut right);
            }
            for weight in e.products.iter().filter_map(Product::weight) {
                let weights = state.weights;
                weights.release(&weights.whole(weight.into()));
            }
            state.write(q, slice, right)?;
            if let Left::Cells(cells) = &e.left {
                for &(_, s) in cells {
                    by.written(state, SiteRef::Segment(s), slice);
                }
            }
            Ok(())
        }
        Step::Max { site } => {
            let site = *site as usize;
            let s = &state.instance.entry.sites[site];
            check_repeat(&s.name, repeat, || state.instance.lens(&s.axes))?;
            let compared = by.compared(state, site, slice);
            let hidden = by.hidden(state, site, slice);
            state.write_max(site, slice, compared, hidden)?;
            if let Some([maximum, _]) = s.compared() {
                by.written(state, SiteRef::Segment(maximum), slice);
            }
            by.written(state, SiteRef::Virtual(site as u16), slice);
            Ok(())
        }
        // The circuit's checks exclude nested repetitions.
        Step::Repeat { .. } => Ok(()),
    }
}

fn check_repeat(name: &str, repeat: Option<(usize, u32)>, shape: impl FnOnce() -> Vec<usize>) -> Result<(), ExecError> {
    let Some((_, count)) = repeat else { return Ok(()) };
    let len = shape().first().copied();
    if len == Some(count as usize) {
        return Ok(());
    }
    Err(ExecError::Repeat {
        name: name.into(),
        count,
        len,
    })
}
