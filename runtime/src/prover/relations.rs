//! From equations to sumchecks, proving side: the vectors that the products of an equation sum over. Mirrors
//! `mlc_verifier::relations`.
//!
//! Where the verifier *pushes* a weighting forward onto a tensor's blocks, the prover *pulls* a tensor back onto the
//! explicit iteration axes: `pull(x_explicit) = Σ_{other axes} w · source[access(x)]`, one axis at a time.

use mlc_circuit::{Access, AxisMap, BlockLayout, Equation, Instance, Operand, Outer, Product, Source, WeightLayout};
use mlc_verifier::field::{M31, QM31, eq_table, m31};
use mlc_verifier::functional::{AxisWeights, Weighting, for_each_entry, split_point, total};
use mlc_verifier::relations::{ProductShape, Side, used_axes};
use num_traits::Zero;
use rayon::prelude::*;

use crate::backend::{Backend, IntegerOps, VectorOps};
use crate::weights::{IntWeights, Piece};

/// A dense tensor of extension elements with labelled axes.
struct Labelled {
    labels: Vec<usize>,
    sizes: Vec<usize>,
    data: Vec<QM31>,
}

impl Labelled {
    fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.sizes.len()];
        for a in (0..self.sizes.len().saturating_sub(1)).rev() {
            strides[a] = strides[a + 1] * self.sizes[a + 1];
        }
        strides
    }

    /// Offsets of all index combinations of the given axes, row-major.
    fn offsets(&self, axes: &[usize]) -> Vec<usize> {
        let strides = self.strides();
        let mut out = vec![0usize];
        for &a in axes {
            out = out
                .iter()
                .flat_map(|&o| (0..self.sizes[a]).map(move |i| (o, i)))
                .map(|(o, i)| o + i * strides[a])
                .collect();
        }
        out
    }

    /// Reorders the axes to `labels`.
    fn permute(self, labels: &[usize]) -> Vec<QM31> {
        if self.labels == labels {
            return self.data;
        }
        let axes: Vec<usize> = labels
            .iter()
            .filter_map(|l| self.labels.iter().position(|m| m == l))
            .collect();
        self.offsets(&axes).into_iter().map(|o| self.data[o]).collect()
    }
}

/// A tensor of either field.
enum Data<'v> {
    Base(&'v [M31]),
    Ext(Vec<QM31>),
}

/// `out[o, c, s] = Σ_y matrix(c, y) · source[o, y, s]` for a source of shape `[outer, rows, stride]`.
fn contract<B: VectorOps>(
    backend: &B,
    source: &Data<'_>,
    [outer, rows, stride]: [usize; 3],
    size: usize,
    matrix: &[(usize, usize, QM31)],
) -> Vec<QM31> {
    let mut out = Vec::with_capacity(outer * size * stride);
    match source {
        Data::Base(values) if stride > 1 => {
            for o in 0..outer {
                for c in 0..size {
                    let rows: Vec<(usize, QM31)> = matrix
                        .iter()
                        .filter(|e| e.0 == c)
                        .map(|&(_, y, w)| ((o * rows + y) * stride, w))
                        .collect();
                    out.extend(backend.combine_rows(values, &rows, stride));
                }
            }
        }
        Data::Base(values) => {
            out.resize(outer * size, QM31::zero());
            out.par_chunks_mut(size)
                .zip(values.par_chunks(rows))
                .for_each(|(out, row)| {
                    for &(c, y, w) in matrix {
                        out[c] += w * row[y];
                    }
                });
        }
        Data::Ext(values) => {
            out.resize(outer * size * stride, QM31::zero());
            out.par_chunks_mut(size * stride)
                .zip(values.par_chunks(rows * stride))
                .for_each(|(out, rows)| {
                    for &(c, y, w) in matrix {
                        let from = &rows[y * stride..(y + 1) * stride];
                        let to = &mut out[c * stride..(c + 1) * stride];
                        to.iter_mut().zip(from).for_each(|(t, &f)| *t += w * f);
                    }
                });
        }
    }
    out
}

/// `Σ over the local parts of w · source[access(x)]`, row-major over the core indices of the iteration axes.
pub fn pull<B: VectorOps>(
    backend: &B,
    access: &Access,
    weighting: &Weighting,
    source: &[M31],
    shape: &[usize],
) -> Vec<QM31> {
    const SOURCE: usize = 1 << 16;
    let mut labels: Vec<usize> = (0..shape.len()).map(|k| SOURCE + k).collect();
    let mut sizes = shape.to_vec();
    let mut data = Data::Base(source);
    // The axes that shrink most come first: what follows is then small.
    let cores = |k: usize| -> usize {
        let used = access.axes[k].iters();
        used.iter().map(|&i| weighting.axes[i as usize].core()).product()
    };
    let mut order: Vec<usize> = (0..shape.len()).collect();
    order.sort_by(|&a, &b| (cores(a) * shape[b]).cmp(&(cores(b) * shape[a])));
    for k in order {
        let (map, n) = (&access.axes[k], shape[k]);
        let used: Vec<usize> = map.iters().iter().map(|&i| i as usize).collect();
        let Some(axis) = labels.iter().position(|&l| l == SOURCE + k) else {
            continue;
        };
        let weights: Vec<&AxisWeights> = used.iter().map(|&i| &weighting.axes[i]).collect();
        let cores: Vec<usize> = weights.iter().map(|w| w.core()).collect();
        // An axis that is one explicit iteration axis is only renamed.
        let renamed =
            matches!(weights[..], [w] if w.is_explicit() && w.len == n) && *map == AxisMap::iter(used[0] as u8);
        if !renamed {
            let mut matrix = Vec::new();
            for_each_entry(map, &weights, &AxisWeights::explicit(n), |c, y, w| {
                matrix.push((c, y, w))
            });
            let stride: usize = sizes[axis + 1..].iter().product();
            let outer: usize = sizes[..axis].iter().product();
            let size = cores.iter().product();
            data = Data::Ext(contract(backend, &data, [outer, n, stride], size, &matrix));
        }
        labels.splice(axis..=axis, used);
        sizes.splice(axis..=axis, cores);
    }
    let mut t = Labelled {
        labels,
        sizes,
        data: match data {
            Data::Base(values) => values.iter().map(|&x| x.into()).collect(),
            Data::Ext(values) => values,
        },
    };
    // Iteration axes that no coordinate uses: the value is repeated, weighted, where the gate allows.
    for (i, axis) in weighting.axes.iter().enumerate() {
        if access.uses(i as u8) {
            continue;
        }
        t.data = total(axis, access.gate(i as u8))
            .iter()
            .flat_map(|&w| t.data.iter().map(move |&d| w * d))
            .collect();
        t.labels.insert(0, i);
        t.sizes.insert(0, axis.core());
    }
    t.permute(&(0..weighting.axes.len()).collect::<Vec<_>>())
}

/// What a read sees: the row-major values and shape of its source.
pub trait Sources {
    /// Values of a source tensor.
    fn values(&self, source: mlc_circuit::Source) -> (&[M31], &[usize]);
    /// Indices of an output that an equation finds.
    fn found(&self, output: u16) -> &[i32];
    /// Integers of a weight, row-major over `outer ++ [contraction]`.
    fn weight(&self, weight: u16) -> &[i16];
    /// The weights, which may be in a file.
    fn weights(&self) -> &IntWeights;
    /// The piece of the weights that is worked on after those of this factor.
    fn then(&self) -> Option<Piece>;
}

/// The vector of one factor over (shared axes, flattened contraction), the other output axes bound to ρ; `None` for
/// the constant 1.
pub fn factor<B: IntegerOps + VectorOps>(
    backend: &B,
    instance: &Instance<'_>,
    equation: &Equation,
    product: &Product,
    side: Side,
    rho: &[QM31],
    sources: &dyn Sources,
) -> Option<Vec<QM31>> {
    let out = instance.out(equation);
    let points = split_point(rho, &out);
    let shape = ProductShape::new(instance, equation, product);
    let operand = side.of(product);
    let used = used_axes(operand, product, out.len());
    let shared = |i: usize| product.shared.contains(&(i as u8));
    let axis = |i: usize| {
        if shared(i) {
            AxisWeights::explicit(out[i])
        } else if used[i] {
            AxisWeights::point(points[i], out[i])
        } else {
            AxisWeights::unit()
        }
    };
    let ones = |axes: &[AxisWeights]| vec![QM31::from(M31::from(1)); axes.iter().map(AxisWeights::core).product()];
    match operand {
        Operand::One => None,
        Operand::Reads(reads) => {
            let axes: Vec<AxisWeights> = (0..out.len())
                .map(axis)
                .chain(shape.group.iter().map(|&n| AxisWeights::explicit(n)))
                .collect();
            let weighting = Weighting {
                core: ones(&axes).into(),
                axes,
            };
            let mut acc: Vec<QM31> = Vec::new();
            for r in reads {
                let (values, tensor) = sources.values(r.source);
                let k = m31(r.coefficient.into());
                let part = pull(backend, &r.access, &weighting, values, tensor);
                if acc.is_empty() {
                    acc = part.into_iter().map(|v| v * k).collect();
                } else {
                    acc.iter_mut().zip(part).for_each(|(a, v)| *a += v * k);
                }
            }
            Some(acc)
        }
        Operand::Weight { weight, outer } => Some(weight_factor(
            backend, product, &shape, outer, &out, &points, instance, *weight, sources,
        )),
    }
}

/// Integers that are resident for each row that is read alone: of a page, the system maps its neighbours.
const ALONE: usize = 1 << 15;

/// A weight over (shared axes, contraction): the outer axes that are not shared are folded at ρ. Only rows that are
/// selected are read.
#[allow(clippy::too_many_arguments)]
fn weight_factor<B: IntegerOps>(
    backend: &B,
    product: &Product,
    shape: &ProductShape,
    outer: &[Outer],
    out: &[usize],
    points: &[&[QM31]],
    instance: &Instance<'_>,
    weight: u16,
    sources: &dyn Sources,
) -> Vec<QM31> {
    let values = sources.weight(weight);
    let row_is_shared = product.group.is_empty();
    let row = if row_is_shared {
        shape.shared.last().copied().unwrap_or(1)
    } else {
        shape.contraction()
    };
    // Rows that are selected, each with its position among the shared blocks and its weight.
    let one = QM31::from(M31::from(1));
    let mut targets: Vec<(usize, usize, QM31)> = vec![(0, 0, one)];
    let shared_lens = if row_is_shared {
        &shape.shared[..shape.shared.len() - 1]
    } else {
        &shape.shared[..]
    };
    let mut strides = vec![1usize; shared_lens.len()];
    for a in (0..shared_lens.len().saturating_sub(1)).rev() {
        strides[a] = strides[a + 1] * shared_lens[a + 1];
    }
    for (o, &len) in outer.iter().zip(&instance.circuit.weights[weight as usize].outer) {
        // Per combination of the output axes used: position among the shared blocks, weight.
        let mut adds: Vec<(usize, QM31)> = vec![(0, one)];
        for &i in o.axes() {
            let n = out[i as usize];
            let own: Vec<(usize, QM31)> = match product.shared.iter().position(|&s| s == i) {
                Some(k) => (0..n).map(|x| (x * strides[k], one)).collect(),
                None => eq_table(points[i as usize], n).into_iter().map(|e| (0, e)).collect(),
            };
            adds = adds
                .iter()
                .flat_map(|&(p, w)| own.iter().map(move |&(q, e)| (p + q, w * e)))
                .collect();
        }
        let index: Vec<usize> = match o {
            Outer::Axis { offset, .. } => {
                let from = offset.at(&instance.dims).unwrap_or(0);
                (from..from + adds.len()).collect()
            }
            Outer::Selected { input, .. } => {
                let (tokens, _) = sources.values(Source::Input(*input));
                tokens.iter().map(|&v| v.0 as usize).collect()
            }
            Outer::Found { output, .. } => sources.found(*output).iter().map(|&v| v as usize).collect(),
        };
        let len = len as usize;
        targets = targets
            .iter()
            .flat_map(|&(r, p, w)| {
                let own = index.iter().zip(&adds);
                own.map(move |(&i, &(q, e))| (r * len + i, p + q, w * e))
            })
            .collect();
    }
    let blocks: usize = shared_lens.iter().product();
    let mut rows: Vec<Vec<(usize, QM31)>> = vec![Vec::new(); blocks];
    for (r, block, e) in targets {
        rows[block].push((r, e));
    }
    let weights = sources.weights();
    let selected = outer.iter().any(|o| !matches!(o, Outer::Axis { .. }));
    let most = weights.tile(if selected { row.max(ALONE) } else { row });
    // Of every block, rows that are worked on together.
    let tiles: Vec<(usize, &[(usize, QM31)])> = (rows.iter().enumerate())
        .flat_map(|(block, rows)| rows.chunks(most.min(rows.len().max(1))).map(move |tile| (block, tile)))
        .collect();
    let pieces = tiles.iter().map(|(_, tile)| {
        let behind_each_other = tile.windows(2).all(|t| t[1].0 == t[0].0 + 1);
        let part = match tile.first() {
            Some(&(first, _)) if behind_each_other => first * row..(first + tile.len()) * row,
            // Nothing is read ahead of rows here and there.
            _ => 0..0,
        };
        Piece {
            weight: weight.into(),
            part,
        }
    });
    let mut acc = vec![QM31::zero(); blocks * row];
    for (&(block, tile), piece) in tiles.iter().zip(weights.pieces(pieces, sources.then())) {
        let part = backend.fold_integers(values, row, tile);
        let sum = &mut acc[block * row..(block + 1) * row];
        sum.iter_mut().zip(part).for_each(|(sum, v)| *sum += v);
        if piece.part.is_empty() {
            weights.release(&weights.whole(weight.into()));
        }
    }
    // Shared axes that the weight does not use repeat it.
    let unused: Vec<usize> = (0..shared_lens.len())
        .filter(|&k| !outer.iter().any(|o| o.axes().contains(&product.shared[k])))
        .collect();
    if !unused.is_empty() {
        let source = acc.clone();
        for b in 0..blocks {
            let mut from = b;
            for &k in &unused {
                from -= (b / strides[k] % shared_lens[k]) * strides[k];
            }
            acc[b * row..(b + 1) * row].copy_from_slice(&source[from * row..(from + 1) * row]);
        }
    }
    acc
}

/// The committed cells of the weights, column-major: `cells[column · rows + row]`.
pub fn weight_cells(layout: &WeightLayout, row_lens: &[usize], weights: &IntWeights) -> Vec<M31> {
    let rows = 1usize << layout.row_bits;
    let mut cells = vec![M31::zero(); layout.used_columns * rows];
    for (w, (&row_len, values)) in row_lens.iter().zip(weights.iter()).enumerate() {
        let positions = layout.column_positions(w);
        for (&position, part) in positions.iter().zip(columns(values, row_len, rows)) {
            let at = position * rows;
            fill(&mut cells[at..at + rows], part);
        }
    }
    cells
}

/// The parts of a weight that are columns of the committed matrix, in the order of their positions; the last part of a
/// contraction axis may be shorter.
fn columns(values: &[i16], row_len: usize, rows: usize) -> impl Iterator<Item = &[i16]> {
    values.chunks_exact(row_len).flat_map(move |w_row| w_row.chunks(rows))
}

fn fill(column: &mut [M31], part: &[i16]) {
    for (c, &v) in column.iter_mut().zip(part) {
        *c = m31(v.into());
    }
}

/// `Σ_row coeffs[row] · cells[column · rows + row]` of [`weight_cells`], a piece at a time: the matrix is never in memory. A piece
/// is read while the one before it is folded, and released behind it.
pub fn fold_weights<B: Backend>(
    backend: &B,
    layout: &WeightLayout,
    row_lens: &[usize],
    weights: &IntWeights,
    coeffs: &[QM31],
) -> Vec<QM31> {
    let rows = 1usize << layout.row_bits;
    let mut out = vec![QM31::zero(); layout.used_columns];
    let steps: Vec<Vec<Vec<usize>>> = layout.columns.iter().map(BlockLayout::steps).collect();
    let pieces = row_lens.iter().enumerate().flat_map(|(weight, &row_len)| {
        let (len, piece) = (
            weights.tensor(weight).len(),
            weights.tile(row_len).saturating_mul(row_len),
        );
        (0..len).step_by(piece).map(move |start| Piece {
            weight,
            part: start..start.saturating_add(piece).min(len),
        })
    });
    for Piece { weight, part } in weights.pieces(pieces, None) {
        let row_len = row_lens[weight];
        // Columns of one row of the weight.
        let high = row_len.div_ceil(rows);
        let first = part.start / row_len * high;
        let parts: Vec<&[i16]> = columns(&weights.tensor(weight)[part], row_len, rows).collect();
        let mut cells = vec![M31::zero(); parts.len() * rows];
        (cells.par_chunks_exact_mut(rows).zip(&parts))
            .with_min_len((COLUMN_CELLS / rows).max(1))
            .for_each(|(column, part)| fill(column, part));
        let folded = backend.host_ext(&backend.fold_rows(&backend.base(cells), coeffs));
        for (column, value) in folded.into_iter().enumerate() {
            out[position(&steps[weight], &layout.columns[weight], first + column)] = value;
        }
    }
    out
}

/// Fewest cells that one task fills.
const COLUMN_CELLS: usize = 1 << 15;

/// The position of the column at row-major `at`; `steps` are those of the layout.
fn position(steps: &[Vec<usize>], layout: &BlockLayout, at: usize) -> usize {
    let mut at = at;
    steps.iter().rev().fold(layout.offset, |position, axis| {
        let x = at % axis.len();
        at /= axis.len();
        position + axis[x]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use mlc_circuit::Gate;
    use mlc_verifier::field::{bits_for, qm31};
    use mlc_verifier::functional::dense;

    fn point(n: usize, seed: u32) -> Vec<QM31> {
        (0..n as u32)
            .map(|i| QM31::from_u32_unchecked(seed * 7 + i, 3 * i + seed, 11 + seed * i, i * i + 5))
            .collect()
    }

    /// Pulling back and pushing forward are adjoint: Σ_core c · pull = Σ_cells dense(c) · cell.
    #[test]
    fn pull_is_adjoint_to_push() {
        type Case = (Access, Vec<usize>, Vec<usize>, Vec<bool>);
        let cases: Vec<Case> = vec![
            (
                Access {
                    axes: vec![
                        AxisMap::iter(0),
                        AxisMap::iter(3),
                        AxisMap::Affine {
                            offset: -1,
                            parts: vec![(1, 2), (4, 1)],
                        },
                        AxisMap::Affine {
                            offset: -1,
                            parts: vec![(2, 1), (5, 2)],
                        },
                    ],
                    gates: vec![],
                },
                vec![3, 5, 6, 2, 3, 2],
                vec![3, 2, 10, 7],
                vec![false, false, false, true, true, true],
            ),
            (
                Access {
                    axes: vec![AxisMap::Before { iter: 0 }, AxisMap::iter(1)],
                    gates: vec![Gate { iter: 2, at: 1 }],
                },
                vec![6, 4, 3],
                vec![6, 4],
                vec![true, false, false],
            ),
            (
                Access {
                    axes: vec![AxisMap::iter(2), AxisMap::iter(0)],
                    gates: vec![],
                },
                vec![4, 5, 3],
                vec![3, 4],
                vec![true, true, true],
            ),
        ];
        for (access, lens, shape, explicit) in cases {
            let axes: Vec<AxisWeights> = lens
                .iter()
                .zip(&explicit)
                .enumerate()
                .map(|(i, (&n, &e))| {
                    if e {
                        AxisWeights::explicit(n)
                    } else {
                        AxisWeights::point(&point(bits_for(n), i as u32), n)
                    }
                })
                .collect();
            let cores: usize = axes.iter().map(AxisWeights::core).product();
            let core: Vec<QM31> = (0..cores).map(|i| qm31(i as i64 * i as i64 + 3)).collect();
            let source: Vec<M31> = (0..shape.iter().product::<usize>() as i64)
                .map(|i| m31(i * 37 % 101 - 50))
                .collect();
            let ones = Weighting {
                core: vec![qm31(1); cores].into(),
                axes: axes.clone(),
            };
            let pulled = pull(&Cpu, &access, &ones, &source, &shape);
            let left = pulled.iter().zip(&core).fold(QM31::zero(), |a, (&p, &c)| a + p * c);
            let weights = dense(
                &access,
                &Weighting {
                    axes,
                    core: core.into(),
                },
                &shape,
            );
            let right = weights.iter().zip(&source).fold(QM31::zero(), |a, (&w, &x)| a + w * x);
            assert_eq!(left, right);
        }
    }
}
