//! A flat vector of base elements with its commitment.

use mlc_verifier::commitment::{Claim, EqPoint, TreeShape};
use mlc_verifier::field::{M31, QM31, eq_table};
use mlc_verifier::transcript::Hash;
use num_traits::Zero;

use super::commitment::{self, OpenTree, TreeStore};
use crate::backend::Backend;

/// A vector committed as the matrix with entry (row, col) = `cells[row · 2^log_cols + col]`.
pub struct CommittedVector<B: Backend> {
    /// The vector.
    pub cells: Vec<M31>,
    tree: commitment::Committed,
    matrix: B::Base,
}

impl<B: Backend> CommittedVector<B> {
    /// Commits.
    pub fn new(backend: &B, cells: Vec<M31>, shape: TreeShape) -> Self {
        let _span = tracing::info_span!("commit", cells = cells.len()).entered();
        let (rows, cols) = (shape.rows, shape.cols());
        let mut matrix = vec![M31::zero(); rows * cols];
        for (row, part) in cells.chunks(cols).enumerate() {
            for (col, &c) in part.iter().enumerate() {
                matrix[col * rows + row] = c;
            }
        }
        let matrix = backend.base(matrix);
        let tree = commitment::commit(backend, &matrix, shape);
        Self { cells, tree, matrix }
    }

    /// The root.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The functional of the folded vector that stands for evaluation at `point`.
    pub fn functional(&self, point: &[QM31]) -> EqPoint {
        EqPoint(point[point.len() - self.tree.shape().log_cols as usize..].to_vec())
    }

    /// Opens at `point`; `functional` is [`Self::functional`] of it.
    pub fn open<'t>(&'t self, backend: &B, point: &[QM31], functional: &'t EqPoint, value: QM31) -> OpenTree<'t, B> {
        let shape = self.tree.shape();
        let coeffs = eq_table(&point[..point.len() - shape.log_cols as usize], shape.rows);
        OpenTree {
            tree: &self.tree,
            folded: backend.fold_rows(&self.matrix, &coeffs),
            claims: vec![Claim { functional, value }],
        }
    }
}
