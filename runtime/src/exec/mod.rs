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
use mlc_circuit::{InputKind, Instance, Left, SiteRef, Step};

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

/// Runs an instance. `inputs` has one row-major tensor per input of the entry (public and private alike), in the
/// integers of the statement.
pub fn execute(instance: &Instance, weights: &IntWeights, inputs: &[Vec<i32>]) -> Result<Execution, ExecError> {
    run(instance, weights, inputs, &mut fast::Fast::new(instance))
}

/// [`execute`] by the plain loops of the reference evaluator: slow, for tests.
pub fn execute_reference(
    instance: &Instance,
    weights: &IntWeights,
    inputs: &[Vec<i32>],
) -> Result<Execution, ExecError> {
    run(instance, weights, inputs, &mut reference::Reference)
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
    by: &mut impl Evaluator,
) -> Result<Execution, ExecError> {
    let mut state = State::new(instance, weights, inputs)?;
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
            let right = by.right(state, q, slice)?;
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
