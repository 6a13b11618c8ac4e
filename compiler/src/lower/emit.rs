//! Symbolic equations written out: iteration axes become positions, weights and tables become indices.
//!
//! Positions of an equation: its output axes in order, then the summed axes. A product keeps those output axes in its
//! sumcheck (`shared`) that both factors use.

use mlc_circuit as c;
use mlc_ir::{Recipe, StackAxis};

use super::axes::{Ax, Axes, Map, Read, Tensor};
use super::lin::{Factor, Select, Term, WeightUse};

/// How the integers of a circuit weight are computed.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightRecipe {
    /// Index of the weight in [`mlc_circuit::Circuit::weights`].
    pub weight: usize,
    /// Evaluated under every binding of `stack` (outermost first, one after another) it gives the integers in row-major
    /// order of `[outer.., row_len]`.
    pub recipe: Recipe,
    /// Repeat regions over which the weight is stacked, outermost first.
    pub stack: Vec<StackAxis>,
    /// The integer `q` stands for `q · scale`.
    pub scale: f64,
    /// Bits of the integers, as in the circuit.
    pub bits: u8,
}

/// What all entries share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    pub(crate) tables: Vec<c::Table>,
    pub(crate) weights: Vec<c::Weight>,
    pub(crate) constants: Vec<c::Constant>,
    pub(crate) recipes: Vec<WeightRecipe>,
}

impl Shared {
    /// The table with these contents.
    pub(crate) fn table(&mut self, table: c::Table) -> u16 {
        let same = |t: &c::Table| t.log_rows == table.log_rows && t.columns == table.columns;
        let at = self.tables.iter().position(same).unwrap_or_else(|| {
            self.tables.push(table);
            self.tables.len() - 1
        });
        at as u16
    }

    /// The constant of these integers.
    pub(crate) fn constant(&mut self, constant: c::Constant) -> u16 {
        let same = |k: &c::Constant| k.axes == constant.axes && k.values == constant.values;
        let at = self.constants.iter().position(same).unwrap_or_else(|| {
            self.constants.push(constant);
            self.constants.len() - 1
        });
        at as u16
    }

    /// The weight of these integers, laid out as `used` wants them.
    fn weight(&mut self, used: &WeightUse, axes: &Axes) -> u16 {
        let fixed = |ax: &Ax| axes.fixed(*ax).unwrap_or(0);
        let stack: Vec<StackAxis> = used.stack.iter().map(|s| s.0.clone()).collect();
        let outer = used.outer.iter().map(|select| match select {
            Select::Axis(ax) => fixed(ax),
            Select::From { len, .. } | Select::Input { len, .. } | Select::Found { len, .. } => *len,
        });
        let outer: Vec<u32> = used.stack.iter().map(|s| fixed(&s.1)).chain(outer).collect();
        let known = self.weights.iter().zip(&self.recipes).position(|(w, r)| {
            w.outer == outer
                && w.row_len == used.row_len
                && w.bits == used.bits
                && r.recipe == used.recipe
                && r.stack == stack
        });
        if let Some(at) = known {
            self.weights[at].column_sum = self.weights[at].column_sum.min(used.column_sum);
            return at as u16;
        }
        let at = self.weights.len();
        self.weights.push(c::Weight {
            name: used.name.clone(),
            outer,
            row_len: used.row_len,
            bits: used.bits,
            column_sum: used.column_sum,
        });
        self.recipes.push(WeightRecipe {
            weight: at,
            recipe: used.recipe.clone(),
            stack,
            scale: used.scale,
            bits: used.bits,
        });
        at as u16
    }
}

/// An equation over symbolic axes.
#[derive(Debug, Clone)]
pub(crate) struct Equation {
    pub(crate) name: String,
    pub(crate) out: Vec<Ax>,
    pub(crate) left: c::Left,
    pub(crate) constant: i64,
    /// The cells need not represent all that the bounds allow.
    pub(crate) partial: bool,
    pub(crate) terms: Vec<Term>,
}

/// A term that does not fit the circuit's form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Misfit(pub(crate) &'static str);

type Written<T> = Result<T, Misfit>;

fn position(iterations: &[Ax], ax: Ax) -> Written<u8> {
    let at = iterations.iter().position(|a| *a == ax);
    at.and_then(|i| u8::try_from(i).ok())
        .ok_or(Misfit("an axis that the equation does not iterate"))
}

fn int32(value: i64) -> Written<i32> {
    i32::try_from(value).map_err(|_| Misfit("a coefficient beyond 32 bits"))
}

/// The access of maps under the given iteration axes.
pub(crate) fn access(maps: &[Map], gates: &[(Ax, u32)], iterations: &[Ax]) -> Written<c::Access> {
    let parts = |parts: &[(Ax, i64)]| {
        let part = |(ax, k): &(Ax, i64)| Ok((position(iterations, *ax)?, int32(*k)?));
        parts.iter().map(part).collect::<Written<Vec<_>>>()
    };
    let map = |m: &Map| {
        Ok(match m {
            Map::Before(ax) => c::AxisMap::Before {
                iter: position(iterations, *ax)?,
            },
            Map::Affine(affine) => c::AxisMap::Affine {
                offset: int32(affine.offset)?,
                parts: parts(&affine.parts)?,
            },
            Map::From(dim, affine) => c::AxisMap::From {
                dim: *dim,
                offset: int32(affine.offset)?,
                parts: parts(&affine.parts)?,
            },
        })
    };
    let gate = |g: &(Ax, u32)| {
        Ok(c::Gate {
            iter: position(iterations, g.0)?,
            at: g.1,
        })
    };
    Ok(c::Access {
        axes: maps.iter().map(map).collect::<Written<_>>()?,
        gates: gates.iter().map(gate).collect::<Written<_>>()?,
    })
}

fn read(read: &Read, factor: i64, iterations: &[Ax]) -> Written<c::Read> {
    let Tensor::Source(source) = read.tensor else {
        return Err(Misfit("a mask, or a carried value that was not resolved, as a number"));
    };
    Ok(c::Read {
        coefficient: int32(read.coefficient.saturating_mul(factor))?,
        source,
        access: access(&read.maps, &read.gates, iterations)?,
    })
}

fn positions(iterations: &[Ax], axes: &[Ax]) -> Written<Vec<u8>> {
    axes.iter().map(|ax| position(iterations, *ax)).collect()
}

fn select(select: &Select, iterations: &[Ax]) -> Written<c::Outer> {
    Ok(match select {
        Select::Axis(ax) => c::Outer::axis(position(iterations, *ax)?),
        Select::From { ax, offset, .. } => c::Outer::Axis {
            axis: position(iterations, *ax)?,
            offset: offset.clone(),
        },
        Select::Input { input, axes, .. } => c::Outer::Selected {
            input: *input,
            axes: positions(iterations, axes)?,
        },
        Select::Found { output, axes, .. } => c::Outer::Found {
            output: *output,
            axes: positions(iterations, axes)?,
        },
    })
}

fn operand(factor: &Factor, iterations: &[Ax], axes: &Axes, shared: &mut Shared) -> Written<c::Operand> {
    Ok(match factor {
        Factor::One => c::Operand::One,
        Factor::Reads(reads) => {
            c::Operand::Reads(reads.iter().map(|r| read(r, 1, iterations)).collect::<Written<_>>()?)
        }
        Factor::Weight(used) => c::Operand::Weight {
            weight: shared.weight(used, axes),
            outer: used
                .stack
                .iter()
                .map(|s| position(iterations, s.1).map(c::Outer::axis))
                .chain(used.outer.iter().map(|s| select(s, iterations)))
                .collect::<Written<_>>()?,
        },
    })
}

impl Equation {
    /// The equation of the circuit.
    pub(crate) fn write(&self, axes: &Axes, shared: &mut Shared) -> Written<c::Equation> {
        let lens = |list: &[Ax]| list.iter().map(|a| axes.len(*a).clone()).collect::<Vec<_>>();
        let (mut reads, mut products) = (Vec::new(), Vec::new());
        for term in &self.terms {
            match term {
                Term::Read { read: r, reduce } => {
                    let iterations: Vec<Ax> = self.out.iter().chain(reduce).copied().collect();
                    reads.push(c::Reads {
                        reduce: lens(reduce),
                        read: read(r, 1, &iterations)?,
                    });
                }
                Term::Product {
                    coefficient,
                    group,
                    a,
                    b,
                } => {
                    let iterations: Vec<Ax> = self.out.iter().chain(group).copied().collect();
                    let row = |f: &Factor| match f {
                        Factor::Weight(w) => w.row,
                        _ => None,
                    };
                    let row = row(a).or(row(b));
                    let shared_axes: Vec<u8> = (0u8..)
                        .zip(&self.out)
                        .filter(|(_, ax)| (a.uses(**ax) && b.uses(**ax)) || row == Some(**ax))
                        .map(|p| p.0)
                        .collect();
                    if let Some(row) = row
                        && shared_axes.last() != Some(&position(&self.out, row)?)
                    {
                        return Err(Misfit(
                            "a weight without contraction, whose last axis is not the last one of the product",
                        ));
                    }
                    products.push(c::Product {
                        coefficient: int32(*coefficient)?,
                        shared: shared_axes,
                        group: lens(group),
                        a: operand(a, &iterations, axes, shared)?,
                        b: operand(b, &iterations, axes, shared)?,
                    });
                }
            }
        }
        Ok(c::Equation {
            name: self.name.clone(),
            out: lens(&self.out),
            left: self.left.clone(),
            constant: self.constant,
            partial: self.partial,
            reads,
            products,
        })
    }
}
