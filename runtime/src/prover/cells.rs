//! Dense functionals of the committed cells, proving side. Mirrors `mlc_verifier::cells`.

use mlc_circuit::{Access, BlockLayout, ChannelKind, Equation, Instance, Left, SiteRef};
use mlc_verifier::cells::{Fingerprint, basis, tag};
use mlc_verifier::field::{M31, QM31, eq_table, m31, powers};
use mlc_verifier::functional::{AxisWeights, Weighting, dense, split_point};
use num_traits::Zero;

/// Adds `scale · Σ coefficient · eq(ρ, ·)` of an equation's left side to the witness functional.
pub fn add_left(instance: &Instance<'_>, equation: &Equation, rho: &[QM31], scale: QM31, phi: &mut [QM31]) {
    let Left::Cells(cells) = &equation.left else { return };
    let weights = output_weights(instance, equation, rho);
    for (k, s) in cells {
        let factor = scale * m31(*k);
        for (p, &w) in instance.segments[*s as usize].positions().into_iter().zip(&weights) {
            phi[p] += factor * w;
        }
    }
}

/// `eq(ρ, ·)` over an equation's true output range, row-major.
pub fn output_weights(instance: &Instance<'_>, equation: &Equation, rho: &[QM31]) -> Vec<QM31> {
    let out = instance.out(equation);
    let axes = split_point(rho, &out)
        .iter()
        .zip(&out)
        .map(|(p, &n)| AxisWeights::point(p, n))
        .collect();
    dense(&Access::identity(out.len()), &Weighting::product(axes), &out)
}

/// Adds `scale ·` the keys' functional (see the verifier's `keys`) to the witness functional; `eq_zeta` is the table
/// of `eq(ζ, ·)` over all leaves.
pub fn add_keys(instance: &Instance<'_>, zeta: &[QM31], eq_zeta: &[QM31], scale: QM31, phi: &mut [QM31]) {
    for s in &instance.sites {
        match s.site {
            SiteRef::Segment(_) => {
                for p in s.layout.positions() {
                    phi[p] += scale * eq_zeta[p];
                }
            }
            SiteRef::Virtual(v) => {
                let weighting = Weighting::layout(&s.layout, zeta);
                for t in &instance.entry.sites[v as usize].index {
                    let Some(segment) = t.segment() else { continue };
                    let target: &BlockLayout = &instance.segments[segment as usize];
                    let factor = scale * m31(t.coefficient.into());
                    let weights = dense(&t.access, &weighting, &target.shape);
                    for (p, w) in target.positions().into_iter().zip(weights) {
                        phi[p] += factor * w;
                    }
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
    eq_zeta: &[QM31],
    xi: &[QM31],
    (a, b): (QM31, QM31),
    psi: &mut [QM31],
) {
    let thetas = powers(f.theta, 16);
    let eq_xi = eq_table(xi, instance.column_cells);
    for c in &instance.channels {
        let rows = instance.table(c.table).rows();
        let Some(&(_, offset)) = instance.tables.iter().find(|t| t.0 == c.table) else {
            continue;
        };
        let zeta = &eq_zeta[offset..offset + rows];
        let factor = a * thetas[c.theta as usize];
        match c.kind {
            ChannelKind::Multiplicity => {
                for (p, &e) in psi[c.cells_offset..].iter_mut().zip(zeta) {
                    *p += factor * e;
                }
            }
            ChannelKind::Column(_) => {
                let xi = &eq_xi[c.column_offset..c.column_offset + rows];
                for (j, &limb) in basis().iter().enumerate() {
                    let (fz, fx) = (factor * limb, b * limb);
                    for ((p, &z), &x) in psi[c.cells_offset + j * rows..].iter_mut().zip(zeta).zip(xi) {
                        *p += fz * z + fx * x;
                    }
                }
            }
        }
    }
}

/// The leaves' denominators `α - key - η · tag`; gaps are the padding 1.
pub fn denominators(instance: &Instance<'_>, f: &Fingerprint, keys: impl Fn(SiteRef) -> Vec<M31>) -> Vec<QM31> {
    let mut out = vec![QM31::from(M31::from(1)); instance.leaves];
    for s in &instance.sites {
        let base = f.alpha - f.eta * tag(s.table);
        for (p, key) in s.layout.positions().into_iter().zip(keys(s.site)) {
            out[p] = base - key;
        }
    }
    for &(table, offset) in &instance.tables {
        let mut value = f.alpha - f.eta * tag(table);
        for d in &mut out[offset..offset + instance.table(table).rows()] {
            *d = value;
            value -= M31::from(1);
        }
    }
    out
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
