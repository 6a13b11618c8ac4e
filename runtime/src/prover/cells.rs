//! Dense functionals of the committed cells, proving side. Mirrors `mlc_verifier::cells`.

use mlc_circuit::{BlockLayout, ChannelKind, Equation, Instance, Left, SiteRef};
use mlc_verifier::cells::{Fingerprint, basis};
use mlc_verifier::field::{QM31, eq_table, m31, powers};
use mlc_verifier::functional::{Weighting, eq_range, split_point};
use num_traits::{One, Zero};

use super::tensor::{Order, Weights};
use crate::backend::{Backend, VectorOps};

/// Variables of the inner factor of an `eq(point, ·)` over a flat vector.
const INNER_BITS: usize = 10;

/// Adds `scale · Σ coefficient · eq(ρ, ·)` of an equation's left side to the functionals of the vectors of cells.
pub fn add_left<B: Backend>(
    backend: &B,
    instance: &Instance<'_>,
    equation: &Equation,
    rho: &[QM31],
    scale: QM31,
    phi: &mut [B::Ext],
) {
    let Left::Cells(cells) = &equation.left else { return };
    let weights = output_weights(instance, equation, rho);
    for (k, s) in cells {
        let layout = &instance.segments[*s as usize];
        let phi = &mut phi[instance.vector_of[*s as usize]];
        weights.add_to(backend, scale * m31(*k), &Order::of(layout), phi, layout.offset);
    }
}

/// The value of an equation's left side at ρ; `cells` are the cells of each vector by position.
pub fn left_value<B: Backend>(
    backend: &B,
    instance: &Instance<'_>,
    equation: &Equation,
    rho: &[QM31],
    cells: &[B::Base],
) -> QM31 {
    let Left::Cells(digits) = &equation.left else {
        return QM31::zero();
    };
    let weights = output_weights(instance, equation, rho);
    digits.iter().fold(QM31::zero(), |sum, (k, s)| {
        let layout = &instance.segments[*s as usize];
        let cells = &cells[instance.vector_of[*s as usize]];
        sum + weights.apply(backend, &Order::of(layout), cells, layout.offset) * m31(*k)
    })
}

/// `eq(ρ, ·)` over an equation's true output range.
fn output_weights(instance: &Instance<'_>, equation: &Equation, rho: &[QM31]) -> Weights {
    let out = instance.out(equation);
    Weights::Product {
        scale: QM31::one(),
        axes: split_point(rho, &out)
            .iter()
            .zip(&out)
            .map(|(p, &n)| eq_table(p, n))
            .collect(),
    }
}

/// Adds `scale · eq(point, position)`, by the positions of a layout, to as many cells from `at` on.
fn add_eq<B: VectorOps>(backend: &B, layout: &BlockLayout, point: &[QM31], scale: QM31, out: &mut B::Ext, at: usize) {
    let low = (layout.block_bits() as usize).min(INNER_BITS);
    let (high_point, low_point) = point.split_at(point.len() - low);
    let mut outer = eq_range(high_point, layout.offset >> low, layout.len() >> low);
    outer.iter_mut().for_each(|o| *o *= scale);
    backend.add_outer(out, at, &outer, &backend.ext(eq_table(low_point, 1 << low)));
}

/// `Σ_position eq(point, position) · values[position]`.
pub fn inner_eq<B: VectorOps>(backend: &B, point: &[QM31], values: &B::Base) -> QM31 {
    let low = point.len().min(INNER_BITS);
    let (high_point, low_point) = point.split_at(point.len() - low);
    let len = backend.base_len(values);
    let (whole, rest) = (len >> low, len % (1 << low));
    let mut outer = eq_table(high_point, whole + usize::from(rest > 0));
    let inner = eq_table(low_point, 1 << low);
    let last = outer.split_off(whole);
    let mut sum = QM31::zero();
    if rest > 0 {
        sum += backend.inner_product(values, whole << low, &last, &backend.ext(inner[..rest].to_vec()));
    }
    if whole > 0 {
        sum += backend.inner_product(values, 0, &outer, &backend.ext(inner));
    }
    sum
}

/// Adds `scale ·` the keys' functional (see the verifier's `keys`) to the functionals of the vectors of cells.
pub fn add_keys<B: Backend>(backend: &B, instance: &Instance<'_>, zeta: &[QM31], scale: QM31, phi: &mut [B::Ext]) {
    for s in &instance.sites {
        match s.site {
            SiteRef::Segment(id) => {
                let id = usize::from(id);
                let at = instance.segments[id].offset;
                add_eq(backend, &s.layout, zeta, scale, &mut phi[instance.vector_of[id]], at);
            }
            SiteRef::Virtual(v) => {
                let weighting = Weighting::layout(&s.layout, zeta);
                for t in &instance.entry.sites[v as usize].index {
                    let Some(segment) = t.segment() else { continue };
                    let target = &instance.segments[segment as usize];
                    let weights = Weights::new(&t.access, &weighting, &target.shape);
                    let factor = scale * m31(t.coefficient.into());
                    let phi = &mut phi[instance.vector_of[segment as usize]];
                    weights.add_to(backend, factor, &Order::of(target), phi, target.offset);
                }
            }
        }
    }
}

/// Adds `a ·` the table numerators' functional at ζ and `b ·` the column values' functional at ξ to the functional of
/// the pushforward cells.
pub fn add_channels(
    instance: &Instance<'_>,
    f: &Fingerprint,
    zeta: &[QM31],
    xi: &[QM31],
    (a, b): (QM31, QM31),
    psi: &mut [QM31],
) {
    let thetas = powers(f.theta, 16);
    let eq_xi = eq_table(xi, instance.column_cells);
    for &(table, offset) in &instance.tables {
        let rows = instance.table(table).rows();
        let zeta = eq_range(zeta, offset, rows);
        for c in instance.channels.iter().filter(|c| c.table == table) {
            let factor = a * thetas[c.theta as usize];
            match c.kind {
                ChannelKind::Multiplicity => {
                    for (p, &e) in psi[c.cells_offset..].iter_mut().zip(&zeta) {
                        *p += factor * e;
                    }
                }
                ChannelKind::Column(_) => {
                    let xi = &eq_xi[c.column_offset..c.column_offset + rows];
                    for (j, &limb) in basis().iter().enumerate() {
                        let (fz, fx) = (factor * limb, b * limb);
                        for ((p, &z), &x) in psi[c.cells_offset + j * rows..].iter_mut().zip(&zeta).zip(xi) {
                            *p += fz * z + fx * x;
                        }
                    }
                }
            }
        }
    }
}

/// What the channels contribute at the tables' leaves: `Σ_channels θ^channel · channel[v]`, per table in the order of
/// `instance.tables`.
pub fn table_leaves(instance: &Instance<'_>, f: &Fingerprint, channels: &[Vec<QM31>]) -> Vec<Vec<QM31>> {
    let thetas = powers(f.theta, 16);
    instance
        .tables
        .iter()
        .map(|&(table, _)| {
            let mut acc = vec![QM31::zero(); instance.table(table).rows()];
            for (c, values) in instance.channels.iter().zip(channels).filter(|(c, _)| c.table == table) {
                let theta = thetas[c.theta as usize];
                acc.iter_mut().zip(values).for_each(|(a, &v)| *a += theta * v);
            }
            acc
        })
        .collect()
}
