//! Functionals of the committed cells: what the claims of moves 2 and 6 say about witness and pushforward cells.

use alloc::vec::Vec;

use mlc_circuit::{Access, ChannelKind, Equation, FormSource, FormTerm, Instance, Left, SiteRef, bits_for};
use num_traits::{One, Zero};

use crate::field::{QM31, dot, dot_integers, eq_index, eq_points, eq_table, m31, powers, qm31};
use crate::functional::{self, AxisWeights, Weighting, mass, shifted_joint_mass, split_point};
use crate::relations::ReadClaim;

/// The challenges of move 5 and the point where the fraction tree ended.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    /// Evaluation point of the fractions.
    pub alpha: QM31,
    /// Separates tables.
    pub eta: QM31,
    /// Separates the channels of a table.
    pub theta: QM31,
}

/// A table's tag in the fingerprint `α - key - η · tag`: 1 + its index.
pub fn tag(table: u16) -> QM31 {
    qm31(i64::from(table) + 1)
}

/// The basis 1, i, u, iu of the extension over the base field.
pub fn basis() -> [QM31; 4] {
    core::array::from_fn(|j| {
        let mut limbs = [0; 4];
        limbs[j] = 1;
        QM31::from_u32_unchecked(limbs[0], limbs[1], limbs[2], limbs[3])
    })
}

/// `Σ coefficient · cell(ρ)` of an equation's left side, as a functional of the cells of one vector, at `z`.
pub fn left_cells(instance: &Instance<'_>, vector: usize, equation: &Equation, rho: &[QM31], z: &[QM31]) -> QM31 {
    let Left::Cells(cells) = &equation.left else {
        return QM31::zero();
    };
    let own = |s: u16| instance.vector_of[usize::from(s)] == vector;
    if !cells.iter().any(|(_, s)| own(*s)) {
        return QM31::zero();
    }
    let out = instance.out(equation);
    let axes = split_point(rho, &out)
        .iter()
        .zip(&out)
        .map(|(p, &n)| AxisWeights::point(p, n))
        .collect();
    let weighting = Weighting::product(axes);
    let identity = Access::identity(out.len());
    let cells = cells.iter().filter(|(_, s)| own(*s));
    cells.fold(QM31::zero(), |acc, (k, s)| {
        acc + functional::evaluate(&identity, &weighting, &instance.segments[*s as usize], z) * m31(*k)
    })
}

/// What public masks add to the keys at ζ: `Σ_leaves eq(ζ, leaf) · Σ factor · mask(leaf)`.
pub fn mask_keys(instance: &Instance<'_>, inputs: &[Vec<i32>], zeta: &[QM31]) -> QM31 {
    let mut acc = QM31::zero();
    for s in &instance.sites {
        let SiteRef::Virtual(v) = s.site else { continue };
        let masks = instance.entry.sites[v as usize].masks();
        if masks.is_empty() {
            continue;
        }
        let weighting = Weighting::layout(&s.layout, zeta);
        for t in masks {
            let value = match &t.source {
                // Committed terms are a claim on the witness: see `keys`.
                FormSource::Segment(_) => continue,
                FormSource::Input(i) => dot_integers(
                    &functional::dense(&t.access, &weighting, &instance.inputs[*i as usize]),
                    &inputs[*i as usize],
                ),
                FormSource::Causal(m) => {
                    // Instances have all lengths within bounds.
                    functional::causal(m, m.offset.at(&instance.dims).unwrap_or(0), &weighting)
                }
            };
            acc += value * m31(t.coefficient.into());
        }
    }
    acc
}

/// The functional `Σ_leaves eq(ζ, leaf) · key(leaf)` of the cells of one vector, at `z`: keys of looked-up cells, and of
/// virtual sites through the committed terms of their linear forms.
pub fn keys(instance: &Instance<'_>, vector: usize, zeta: &[QM31], z: &[QM31]) -> QM31 {
    let own = |s: u16| instance.vector_of[usize::from(s)] == vector;
    let mut acc = QM31::zero();
    for s in &instance.sites {
        match s.site {
            SiteRef::Segment(id) if own(id) => {
                acc += shifted_joint_mass((&s.layout, zeta), (&instance.segments[usize::from(id)], z));
            }
            SiteRef::Segment(_) => {}
            SiteRef::Virtual(v) => {
                let index = &instance.entry.sites[v as usize].index;
                if !index.iter().filter_map(FormTerm::segment).any(own) {
                    continue;
                }
                let weighting = Weighting::layout(&s.layout, zeta);
                for t in index {
                    let Some(segment) = t.segment().filter(|&s| own(s)) else {
                        continue;
                    };
                    let target = &instance.segments[segment as usize];
                    acc += functional::evaluate(&t.access, &weighting, target, z) * m31(t.coefficient.into());
                }
            }
        }
    }
    acc
}

/// The denominator of the fraction tree at ζ, given the keys' functional of the witness.
pub fn denominator(instance: &Instance<'_>, f: &Fingerprint, zeta: &[QM31], keys: QM31) -> QM31 {
    let mut padding = QM31::one();
    let mut acc = -keys;
    for s in &instance.sites {
        let m = mass(&s.layout, zeta);
        acc += m * (f.alpha - f.eta * tag(s.table));
        padding -= m;
    }
    for &(table, offset) in &instance.tables {
        let b = usize::from(instance.table(table).log_rows);
        let m = functional::block_weight(zeta, offset, b);
        let low = &zeta[zeta.len() - b..];
        // Σ_v eq(low, v) · v
        let value = low.iter().fold(QM31::zero(), |a, &r| a + a + r);
        acc += m * (f.alpha - f.eta * tag(table) - value);
        padding -= m;
    }
    acc + padding
}

/// The looked-up side of the numerator at ζ: every claim's weights on its lookups, and 1 for each ranged one.
pub fn numerator(
    instance: &Instance<'_>,
    f: &Fingerprint,
    zeta: &[QM31],
    claims: &[ReadClaim<'_>],
    gammas: &[QM31],
) -> QM31 {
    let thetas = powers(f.theta, 16);
    let mut acc = QM31::zero();
    for (claim, &gamma) in claims.iter().zip(gammas) {
        for t in &claim.terms {
            let mlc_circuit::Source::Lookup { site, column } = t.source else {
                continue;
            };
            let Some(shape) = instance.site(site) else { continue };
            let Some(channel) = instance.channel(shape.table, ChannelKind::Column(column)) else {
                continue;
            };
            let weights = functional::evaluate(t.access, &t.weighting, &shape.layout, zeta);
            acc += gamma * thetas[channel.theta as usize] * weights * m31(t.coefficient.into());
        }
    }
    for s in instance.sites.iter().filter(|s| s.ranged) {
        if let Some(channel) = instance.channel(s.table, ChannelKind::Multiplicity) {
            acc += thetas[channel.theta as usize] * mass(&s.layout, zeta);
        }
    }
    acc
}

/// The functional `Σ_{tables, channels} θ^channel Σ_v eq(ζ, leaf of v) · channel[v]` of the pushforward cells, at `z`.
pub fn table_numerators(instance: &Instance<'_>, f: &Fingerprint, zeta: &[QM31], z: &[QM31]) -> QM31 {
    let thetas = powers(f.theta, 16);
    let mut acc = QM31::zero();
    for c in &instance.channels {
        let Some(&(_, offset)) = instance.tables.iter().find(|t| t.0 == c.table) else {
            continue;
        };
        let b = usize::from(instance.table(c.table).log_rows);
        let rows = functional::block_weight(zeta, offset, b) * eq_points(&zeta[zeta.len() - b..], &z[z.len() - b..]);
        let limbs = match c.kind {
            ChannelKind::Multiplicity => eq_index(&z[..z.len() - b], c.cells_offset >> b),
            ChannelKind::Column(_) => limbs(z, b, c.cells_offset),
        };
        acc += thetas[c.theta as usize] * rows * limbs;
    }
    acc
}

/// The functional `Σ_pos eq(ξ, pos) · column[pos]` over the space of column channels, on the pushforward cells, at `z`.
pub fn column_values(instance: &Instance<'_>, xi: &[QM31], z: &[QM31]) -> QM31 {
    let mut acc = QM31::zero();
    for c in instance.channels.iter().filter(|c| c.kind != ChannelKind::Multiplicity) {
        let b = usize::from(instance.table(c.table).log_rows);
        let rows = functional::block_weight(xi, c.column_offset, b) * eq_points(&xi[xi.len() - b..], &z[z.len() - b..]);
        acc += rows * limbs(z, b, c.cells_offset);
    }
    acc
}

/// `a ·` the table numerators at ζ plus `b ·` the column values at ξ, as a functional of the channel cells, at `z`.
pub fn channel_functional(
    instance: &Instance<'_>,
    end: &crate::lookups::LookupEnd,
    (a, b): (QM31, QM31),
    z: &[QM31],
) -> QM31 {
    let at_zeta = a * table_numerators(instance, &end.fingerprint, &end.zeta, z);
    if instance.column_cells == 0 {
        at_zeta
    } else {
        at_zeta + b * column_values(instance, &end.xi, z)
    }
}

/// `Σ_j e_j · eq(high z, block + j)` for the four coordinate vectors of an extension vector.
fn limbs(z: &[QM31], b: usize, cells_offset: usize) -> QM31 {
    basis().iter().enumerate().fold(QM31::zero(), |a, (j, &e)| {
        a + e * eq_index(&z[..z.len() - b], (cells_offset >> b) + j)
    })
}

/// The public tables' extension over the space of column channels, at ξ.
pub fn table_values(instance: &Instance<'_>, xi: &[QM31]) -> QM31 {
    // Tables of all lengths use the last variables of ξ: one table of `eq` serves their rows, piece by piece.
    const PIECE: usize = 8;
    let (rest, low) = xi.split_at(xi.len() - xi.len().min(PIECE));
    let piece = eq_table(low, 1 << low.len());
    let mut acc = QM31::zero();
    for c in &instance.channels {
        let ChannelKind::Column(column) = c.kind else { continue };
        let table = instance.table(c.table);
        let values = &table.columns[usize::from(column)];
        let b = usize::from(table.log_rows);
        let at = if b < low.len() {
            dot_integers(&eq_table(&low[low.len() - b..], table.rows()), values)
        } else {
            let pieces = eq_table(&rest[rest.len() - (b - low.len())..], values.len() >> low.len());
            let sums: Vec<QM31> = (values.chunks_exact(piece.len()))
                .map(|v| dot_integers(&piece, v))
                .collect();
            dot(&pieces, &sums)
        };
        acc += functional::block_weight(xi, c.column_offset, b) * at;
    }
    acc
}

/// Variables of the leaf space.
pub fn leaf_bits(instance: &Instance<'_>) -> usize {
    bits_for(instance.leaves)
}

/// The powers of γ that batch `n` source claims.
pub fn claim_powers(gamma: QM31, n: usize) -> Vec<QM31> {
    powers(gamma, n)
}
