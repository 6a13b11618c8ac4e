//! Committed trees: what an opening reads from one, and the tree in memory.

use mlc_verifier::commitment::TreeShape;
use mlc_verifier::commitment::merkle::siblings;
use mlc_verifier::field::M31;
use mlc_verifier::transcript::{Hash, encode_base};

use crate::backend::code::Code;

/// Read access to a committed tree, wherever its codewords and nodes are kept.
pub trait TreeStore: Sync {
    /// The committed shape.
    fn shape(&self) -> TreeShape;

    /// Appends the cells of codeword column `position` as 4-byte little-endian integers.
    fn append_column(&self, position: usize, out: &mut Vec<u8>);

    /// Node `index` of the layer that is `layer` above the leaves.
    fn node(&self, layer: u32, index: usize) -> Hash;

    /// The root.
    fn root(&self) -> Hash {
        self.node(self.shape().log_domain(), 0)
    }

    /// The columns at sorted distinct positions, one after the other.
    fn columns(&self, positions: &[usize]) -> Vec<u8> {
        let mut out = Vec::with_capacity(positions.len() * self.shape().leaf_bytes());
        for &q in positions {
            self.append_column(q, &mut out);
        }
        out
    }

    /// The canonical multi-proof of sorted distinct positions.
    fn path(&self, positions: &[usize]) -> Vec<u8> {
        siblings(positions, self.shape().log_domain())
            .into_iter()
            .flat_map(|(layer, index)| self.node(layer, index))
            .collect()
    }
}

/// A committed matrix with codewords and nodes in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    shape: TreeShape,
    code: Vec<M31>,
    layers: Vec<Vec<Hash>>,
}

impl Committed {
    /// The codewords, column-major: `rows` cells for each position.
    pub fn codewords(&self) -> &[M31] {
        &self.code
    }

    /// The layers of the tree, leaves first.
    pub fn layers(&self) -> &[Vec<Hash>] {
        &self.layers
    }
}

impl TreeStore for Committed {
    fn shape(&self) -> TreeShape {
        self.shape
    }

    fn append_column(&self, position: usize, out: &mut Vec<u8>) {
        let rows = self.shape.rows;
        out.extend(encode_base(&self.code[position * rows..(position + 1) * rows]));
    }

    fn node(&self, layer: u32, index: usize) -> Hash {
        self.layers[layer as usize][index]
    }
}

/// Commits to a matrix: `cells[j · rows + i]` is row i of message column j; columns behind the end of `cells` are
/// zero. `cells` holds whole columns, at most `2^log_cols` of them.
pub fn commit<B: Code>(backend: &B, cells: &B::Base, shape: TreeShape) -> Committed {
    let (code, leaves) = backend.encode_and_hash(cells, &shape);
    hash_up(backend, shape, code, leaves)
}

/// As [`commit`], but the codewords go to `sink` piece by piece, in order; returns the layers of the tree, leaves first.
pub fn commit_to<B: Code, E>(
    backend: &B,
    cells: &B::Base,
    shape: TreeShape,
    mut sink: impl FnMut(&[M31]) -> Result<(), E>,
) -> Result<Vec<Vec<Hash>>, E> {
    let mut leaves = Vec::with_capacity(shape.domain());
    for block in 0..1 << shape.log_inv_rate {
        let (code, own) = backend.encode_block(cells, &shape, block);
        sink(&code)?;
        leaves.extend(own);
    }
    Ok(layers(backend, shape, leaves))
}

/// The layers over leaves.
fn layers<B: Code>(backend: &B, shape: TreeShape, leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut layers = vec![leaves];
    for layer in 0..shape.log_domain() as usize {
        let parents = backend.hash_layer(&layers[layer]);
        layers.push(parents);
    }
    layers
}

/// The tree over given columns, one leaf each.
fn hash_up<B: Code>(backend: &B, shape: TreeShape, code: Vec<M31>, leaves: Vec<Hash>) -> Committed {
    let layers = layers(backend, shape, leaves);
    Committed { shape, code, layers }
}

/// Commits to words that need not be codewords: what a cheating prover may do.
#[cfg(test)]
pub(super) fn commit_words<B: Code>(backend: &B, words: Vec<M31>, shape: TreeShape) -> Committed {
    let leaves = backend.hash_columns(&words, shape.rows);
    hash_up(backend, shape, words, leaves)
}
