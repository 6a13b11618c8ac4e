//! From equations to claims: what a random output point leaves to be shown about sources and weights.
//!
//! At the output point ρ (docs/protocol/relations.md) an equation `left = constant + Σ reads + Σ products` becomes
//! one field equation. Its linear reads are one functional of the sources. Each product
//! `Σ_{s, k} eq(ρ_s, s) · A(s, k) · B(s, k)`, with the output axes outside `shared` already bound to ρ inside A and
//! B, is a sumcheck over the shared axes s and the flattened contraction index k; at its end A and B are functionals
//! again. Prover and verifier derive all of them here.

use alloc::{sync::Arc, vec::Vec};

use mlc_circuit::{
    Access, BlockLayout, Equation, Instance, Len, Operand, Outer, Product, Read, Source, WeightLayout, bits_for,
};
use num_traits::{One, Zero};

use crate::commitment::Functional;
use crate::field::{QM31, dot, dot_integers, eq_points, eq_table, m31, pow2, qm31};
use crate::functional::{AxisWeights, Weighting, dense, prefix_mass, push, split_point};
use crate::statement::Statement;

/// One term of a claim: `coefficient · Σ_x w(x) · source[access(x)]`.
pub struct ClaimTerm<'c> {
    /// Factor.
    pub coefficient: i32,
    /// The tensor read.
    pub source: Source,
    /// From iterations to cells.
    pub access: &'c Access,
    /// Weights of the iterations.
    pub weighting: Weighting,
}

/// A linear functional of the sources.
pub struct ReadClaim<'c> {
    /// Its terms.
    pub terms: Vec<ClaimTerm<'c>>,
}

impl ReadClaim<'_> {
    /// Whether some term reads a lookup (else the verifier computes the value itself).
    pub fn looked_up(&self) -> bool {
        self.terms.iter().any(|t| matches!(t.source, Source::Lookup { .. }))
    }

    /// The part of the value that comes from public inputs and constants.
    pub fn public_part(&self, instance: &Instance<'_>, statement: &Statement) -> QM31 {
        let mut acc = QM31::zero();
        for t in &self.terms {
            let values = match t.source {
                Source::Input(i) => &statement.inputs[i as usize],
                Source::Below(o) => {
                    acc += below(&t.weighting, &statement.outputs[o as usize]) * m31(t.coefficient.into());
                    continue;
                }
                Source::Constant(k) => &instance.circuit.constants[k as usize].values,
                Source::Lookup { .. } => continue,
            };
            let weights = dense(t.access, &t.weighting, &instance.source_shape(t.source));
            acc += dot_integers(&weights, values) * m31(t.coefficient.into());
        }
        acc
    }
}

/// `Σ_{x, j} w(x, j) · [j < a(x)]` for weights that are `eq` at a point on every axis, j the last: the sum over j has a closed
/// form.
fn below(weighting: &Weighting, values: &[i32]) -> QM31 {
    let Some((last, rows)) = weighting.axes.split_last() else {
        return QM31::zero();
    };
    let mut weights = weighting.core.to_vec();
    for axis in rows {
        let table = axis.weights();
        weights = weights
            .iter()
            .flat_map(|&w| table.iter().map(move |&t| w * t))
            .collect();
    }
    let before = |a: i32| last.before(usize::try_from(a).unwrap_or(0));
    values
        .iter()
        .zip(weights)
        .fold(QM31::zero(), |acc, (&a, w)| acc + w * before(a))
}

/// The values of the statement that select rows.
fn selecting<'s>(outer: &Outer, statement: &'s Statement) -> &'s [i32] {
    match outer {
        Outer::Axis { .. } => &[],
        Outer::Selected { input, .. } => &statement.inputs[*input as usize],
        Outer::Found { output, .. } => &statement.outputs[*output as usize],
    }
}

/// Variables of the output point that an equation uses.
pub fn output_bits(instance: &Instance<'_>, equation: &Equation) -> usize {
    instance.out(equation).iter().map(|&n| bits_for(n)).sum()
}

/// Variables of the shared output point: the most that any equation uses.
pub fn point_bits(instance: &Instance<'_>) -> usize {
    instance
        .entry
        .equations
        .iter()
        .map(|e| output_bits(instance, e))
        .max()
        .unwrap_or(0)
}

/// `Σ_x eq(ρ, x)` over an equation's true output range.
pub fn output_mass(instance: &Instance<'_>, equation: &Equation, rho: &[QM31]) -> QM31 {
    let out = instance.out(equation);
    split_point(rho, &out)
        .iter()
        .zip(&out)
        .fold(QM31::one(), |a, (p, &n)| a * prefix_mass(p, n))
}

/// The multilinear extension, axis by axis, of a row-major integer tensor at a point cut by [`split_point`].
pub fn evaluate_tensor(values: &[i32], shape: &[usize], point: &[QM31]) -> QM31 {
    let points = split_point(point, shape);
    let mut axes = points.iter().zip(shape).rev();
    let Some((p, &n)) = axes.next() else {
        return dot_integers(&[QM31::one()], values);
    };
    // The innermost axis first: a sum of integers for each row.
    let table = eq_table(p, n);
    let mut sums: Vec<QM31> = values.chunks_exact(n).map(|row| dot_integers(&table, row)).collect();
    for (p, &n) in axes {
        let table = eq_table(p, n);
        sums = sums.chunks_exact(n).map(|row| dot(row, &table)).collect();
    }
    sums.first().copied().unwrap_or(QM31::zero())
}

/// The claim of an equation's linear reads at ρ; `None` without reads.
pub fn linear_claim<'c>(instance: &Instance<'c>, equation: &'c Equation, rho: &[QM31]) -> Option<ReadClaim<'c>> {
    let out = instance.out(equation);
    let points = split_point(rho, &out);
    if equation.reads.is_empty() {
        return None;
    }
    let output: Vec<AxisWeights> = points
        .iter()
        .zip(&out)
        .map(|(p, &n)| AxisWeights::point(p, n))
        .collect();
    let terms = equation
        .reads
        .iter()
        .map(|r| {
            let reduce = instance.lens(&r.reduce);
            let axes = output
                .iter()
                .cloned()
                .chain(reduce.iter().map(|&n| AxisWeights::ones(n)));
            term(&r.read, Weighting::product(axes.collect()))
        })
        .collect();
    Some(ReadClaim { terms })
}

fn term(read: &Read, weighting: Weighting) -> ClaimTerm<'_> {
    ClaimTerm {
        coefficient: read.coefficient,
        source: read.source,
        access: &read.access,
        weighting,
    }
}

/// The shape of a product's sumcheck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductShape {
    /// Lengths of the shared axes, outermost first.
    pub shared: Vec<usize>,
    /// Lengths of the contracted axes, before flattening.
    pub group: Vec<usize>,
}

impl ProductShape {
    /// Of a product at an instance's dimensions.
    pub fn new(instance: &Instance<'_>, equation: &Equation, product: &Product) -> Self {
        let out = instance.out(equation);
        let lens = |axes: &[Len]| instance.lens(axes);
        Self {
            shared: product.shared.iter().map(|&s| out[s as usize]).collect(),
            group: lens(&product.group),
        }
    }

    /// Length of the flattened contraction axis.
    pub fn contraction(&self) -> usize {
        self.group.iter().product()
    }

    /// Variables of the shared axes.
    pub fn shared_bits(&self) -> usize {
        self.shared.iter().map(|&n| bits_for(n)).sum()
    }

    /// Variables of the sumcheck.
    pub fn bits(&self) -> usize {
        self.shared_bits() + bits_for(self.contraction())
    }
}

/// Rounds of the batch of products: enough for each, and for the weights' row variables.
pub fn product_rounds(instance: &Instance<'_>, weights: &WeightLayout) -> usize {
    let products = instance
        .entry
        .equations
        .iter()
        .flat_map(|e| e.products.iter().map(move |p| ProductShape::new(instance, e, p).bits()));
    products
        .chain([if weights.columns.is_empty() {
            0
        } else {
            weights.row_bits as usize
        }])
        .max()
        .unwrap_or(0)
}

/// Degree of the batch: 3 where some product has shared axes, else 2.
pub fn product_degree(instance: &Instance<'_>) -> usize {
    if instance
        .entry
        .equations
        .iter()
        .any(|e| e.products.iter().any(|p| !p.shared.is_empty()))
    {
        3
    } else {
        2
    }
}

/// Which factor of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// The operand.
    pub fn of<'p>(&self, product: &'p Product) -> &'p Operand {
        match self {
            Self::A => &product.a,
            Self::B => &product.b,
        }
    }
}

/// Which output axes a factor uses.
pub fn used_axes(operand: &Operand, product: &Product, outputs: usize) -> Vec<bool> {
    let mut used = alloc::vec![false; outputs];
    match operand {
        Operand::One => {}
        Operand::Reads(reads) => {
            for r in reads {
                for (i, u) in used.iter_mut().enumerate() {
                    *u |= r.access.uses(i as u8) || r.access.gate(i as u8).is_some();
                }
            }
        }
        Operand::Weight { outer, .. } => {
            let axes = outer.iter().flat_map(Outer::axes);
            axes.for_each(|&i| used[i as usize] = true);
            if product.group.is_empty()
                && let Some(&last) = product.shared.last()
            {
                used[last as usize] = true;
            }
        }
    }
    used
}

/// The factor that output axes outside both operands contribute: `Π_a Σ_x eq(ρ_a, x)`.
pub fn free_mass(instance: &Instance<'_>, equation: &Equation, product: &Product, rho: &[QM31]) -> QM31 {
    let out = instance.out(equation);
    let points = split_point(rho, &out);
    let (a, b) = (
        used_axes(&product.a, product, out.len()),
        used_axes(&product.b, product, out.len()),
    );
    (0..out.len())
        .filter(|&i| !a[i] && !b[i] && !product.shared.contains(&(i as u8)))
        .fold(QM31::one(), |acc, i| acc * prefix_mass(points[i], out[i]))
}

/// A product at the end of its sumcheck: ρ, and τ (its own last challenges).
pub struct BoundProduct<'i, 'c> {
    /// The instance.
    pub instance: &'i Instance<'c>,
    /// The equation.
    pub equation: &'c Equation,
    /// The product.
    pub product: &'c Product,
    /// The output point.
    pub rho: &'i [QM31],
    /// The product's own challenges.
    pub tau: &'i [QM31],
}

impl<'c> BoundProduct<'_, 'c> {
    fn shape(&self) -> ProductShape {
        ProductShape::new(self.instance, self.equation, self.product)
    }

    /// Challenges of the shared axes, in order, then of the contraction.
    fn tau_parts(&self) -> (Vec<&[QM31]>, &[QM31]) {
        let shape = self.shape();
        (split_point(self.tau, &shape.shared), &self.tau[shape.shared_bits()..])
    }

    /// The point of an output axis inside an operand.
    fn axis_point(&self, axis: usize) -> &[QM31] {
        match self.product.shared.iter().position(|&s| s as usize == axis) {
            Some(k) => self.tau_parts_at(k),
            None => split_point(self.rho, &self.instance.out(self.equation))[axis],
        }
    }

    fn tau_parts_at(&self, k: usize) -> &[QM31] {
        let shape = self.shape();
        let start: usize = shape.shared[..k].iter().map(|&n| bits_for(n)).sum();
        &self.tau[start..start + bits_for(shape.shared[k])]
    }

    /// `eq(ρ_shared, τ_shared)`.
    pub fn shared_eq(&self) -> QM31 {
        let out = self.instance.out(self.equation);
        let points = split_point(self.rho, &out);
        let (tau, _) = self.tau_parts();
        self.product
            .shared
            .iter()
            .zip(tau)
            .fold(QM31::one(), |acc, (&s, t)| acc * eq_points(points[s as usize], t))
    }

    /// The claim about a factor that is read; `None` for other factors.
    pub fn operand_claim(&self, side: Side) -> Option<ReadClaim<'c>> {
        let operand = side.of(self.product);
        let Operand::Reads(reads) = operand else { return None };
        let out = self.instance.out(self.equation);
        let shape = self.shape();
        let used = used_axes(operand, self.product, out.len());
        let (_, kappa) = self.tau_parts();
        let mut axes = Vec::with_capacity(out.len() + shape.group.len());
        for (i, &n) in out.iter().enumerate() {
            let bound = used[i] || self.product.shared.contains(&(i as u8));
            axes.push(if bound {
                AxisWeights::point(self.axis_point(i), n)
            } else {
                AxisWeights::unit()
            });
        }
        let mut core: Arc<[QM31]> = [QM31::one()].into();
        match shape.group[..] {
            [] => {}
            [n] => axes.push(AxisWeights::point(kappa, n)),
            // Where only the first length is no power of two, the axes are cuts of the flattened index' bits.
            [_, ref inner @ ..] if inner.iter().all(|n| n.is_power_of_two()) => {
                let points = split_point(kappa, &shape.group);
                axes.extend(points.iter().zip(&shape.group).map(|(p, &n)| AxisWeights::point(p, n)));
            }
            _ => {
                axes.extend(shape.group.iter().map(|&n| AxisWeights::explicit(n)));
                core = eq_table(kappa, shape.contraction()).into();
            }
        }
        let weighting = Weighting { axes, core };
        Some(ReadClaim {
            terms: reads.iter().map(|r| term(r, weighting.clone())).collect(),
        })
    }

    /// The weights on a weight's outer axis of length `n`: the sum of `eq(point, x)` over the output indices x that
    /// select each of its indices.
    fn outer_weights(&self, outer: &Outer, n: usize, statement: &Statement) -> AxisWeights {
        let out = self.instance.out(self.equation);
        let point = |axis: u8| self.axis_point(axis as usize);
        let table = |axis: u8| eq_table(point(axis), out[axis as usize]);
        match outer {
            Outer::Axis { axis, offset } => {
                let from = offset.at(&self.instance.dims).unwrap_or(n);
                if from == 0 && out[*axis as usize] == n {
                    return AxisWeights::point(point(*axis), n);
                }
                AxisWeights::sparse((from..n).zip(table(*axis)).collect(), n)
            }
            Outer::Selected { axes, .. } | Outer::Found { axes, .. } => {
                let mut points = alloc::vec![QM31::one()];
                for &a in axes {
                    let table = table(a);
                    points = points.iter().flat_map(|&p| table.iter().map(move |&t| p * t)).collect();
                }
                // The statement's values lie in their range, and that within the axis.
                let selected = selecting(outer, statement).iter().zip(points);
                let entries = selected.filter_map(|(&v, e)| Some((usize::try_from(v).ok().filter(|&v| v < n)?, e)));
                AxisWeights::sparse(entries.collect(), n)
            }
        }
    }

    /// The claim about a factor that is a weight, given the row challenges common to all weights (the last of the
    /// batch); `None` for other factors.
    pub fn weight_claim(&self, side: Side, layout: &WeightLayout, statement: &Statement) -> Option<WeightClaim> {
        let Operand::Weight { weight, outer } = side.of(self.product) else {
            return None;
        };
        let (shared, kappa) = self.tau_parts();
        let row_point = if self.product.group.is_empty() {
            shared.last().copied().unwrap_or(&[])
        } else {
            kappa
        };
        let row_bits = layout.row_bits as usize;
        let columns = &layout.columns[*weight as usize];
        let high = row_point.len().saturating_sub(row_bits);
        let mut axes: Vec<AxisWeights> = outer
            .iter()
            .zip(&columns.shape)
            .map(|(o, &n)| self.outer_weights(o, n, statement))
            .collect();
        axes.push(AxisWeights::point(
            &row_point[..high],
            columns.shape.last().copied().unwrap_or(1),
        ));
        Some(WeightClaim {
            weighting: Weighting::product(axes),
            layout: columns.clone(),
            own_row_bits: row_point.len().min(row_bits),
            log_columns: layout.log_columns(),
        })
    }
}

/// A functional of the weights' folded vector: `eq` at the outer point and the high part of the contraction point, on
/// one weight's columns.
pub struct WeightClaim {
    weighting: Weighting,
    layout: BlockLayout,
    /// Row variables that the weight has; the others index rows that are zero.
    own_row_bits: usize,
    log_columns: u32,
}

impl WeightClaim {
    /// What the folded vector gives where the weight's extension is `value`: rows beyond the weight's own carry the
    /// factor `Π (1 - r)` of the common row challenges.
    pub fn folded_value(&self, value: QM31, row_point: &[QM31]) -> QM31 {
        let unused = row_point.len() - self.own_row_bits;
        row_point[..unused].iter().fold(value, |a, &r| a * (QM31::one() - r))
    }
}

impl Functional for WeightClaim {
    fn eval(&self, z: &[QM31]) -> QM31 {
        crate::functional::evaluate(
            &Access::identity(self.layout.shape.len()),
            &self.weighting,
            &self.layout,
            z,
        )
    }

    fn accumulate(&self, scale: QM31, out: &mut [QM31]) {
        debug_assert_eq!(out.len(), 1 << self.log_columns);
        // Positions are sums, and the weights products, over the axes: the last one is done by itself, so that nothing is as
        // long as the columns.
        let adds = self.layout.steps();
        let weights = |axis: usize| {
            let to = [AxisWeights::explicit(self.layout.shape[axis])];
            let own = Weighting::product(alloc::vec![self.weighting.axes[axis].clone()]);
            push(&Access::identity(1), &own, &to)
        };
        let rank = adds.len();
        let mut outer = alloc::vec![(self.layout.offset, scale)];
        for (axis, adds) in adds.iter().enumerate().take(rank.saturating_sub(1)) {
            let weights = weights(axis);
            let next = outer
                .iter()
                .flat_map(|&(p, f)| adds.iter().zip(&weights).map(move |(&a, &w)| (p + a, f * w)));
            outer = next.collect();
        }
        let last = weights(rank - 1);
        for (p, f) in outer {
            for (&a, &w) in adds[rank - 1].iter().zip(&last) {
                out[p + a] += f * w;
            }
        }
    }
}

/// `coefficient · 2^bits`: the factor of a product in the batch. Aligned at the last variable, a product over `bits`
/// of `n` variables sums to `2^(n - bits)` times itself; with this factor all products weigh `2^n`.
pub fn alignment(coefficient: i32, bits: usize) -> QM31 {
    qm31(coefficient.into()) * pow2(bits as u32)
}
