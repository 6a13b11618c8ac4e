//! Verifies an opening: docs/protocol/commitment.md, "Opening".
//!
//! Level by level: the folded vector arrives (as a root, or in clear), then the columns of the trees it was folded
//! from are opened at drawn positions, each of which is a claim on the vector. All claims on a committed vector are
//! batched into one sumcheck; its challenges fold the rows of the vector's matrix into the next vector.

use alloc::vec;
use alloc::vec::Vec;

use num_traits::{One, Zero};

use super::blake2s::hash_leaf;
use super::code::{Domain, encode_at};
use super::functional::{Claim, EqPoint, Functional, Position};
use super::merkle;
use super::plan::{Plan, PlannedTree};
use super::shape::TreeShape;
use crate::field::{M31, QM31, dot, dot_base, eq_index, eq_table};
use crate::sumcheck;
use crate::transcript::{Channel, Hash, ReadError};

/// A level-0 tree with what is claimed about its folded vector.
pub struct OpenTree<'a> {
    /// The committed root, already absorbed.
    pub root: Hash,
    /// The committed shape.
    pub shape: TreeShape,
    /// One coefficient for each row, derived from challenges drawn after the root: the folded vector is
    /// `v[j] = Σ_row row_coeffs[row] · M[row][j]`. They must be the (truncated) table of `eq` at a point.
    pub row_coeffs: Vec<QM31>,
    /// What is claimed about the vector, which has `2^shape.log_cols` entries.
    pub claims: Vec<Claim<'a>>,
}

/// Why an opening is refused. Levels count from 0: at level 0 the trees of the caller are opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The proof's bytes could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The trees handed over are not those that were planned (an error of the caller, not of the proof).
    #[error("tree {tree} is not of the planned shape")]
    Shape {
        /// The first such tree.
        tree: usize,
    },
    /// Opened columns and authentication path do not lead to the root.
    #[error("level {level}, tree {tree}: the opened columns are not those that were committed")]
    Authentication {
        /// The level at which the tree is opened.
        level: usize,
        /// The tree among those opened at this level.
        tree: usize,
    },
    /// The batched claims do not hold of the committed vector.
    #[error("level {level}: the folded vector does not satisfy its claims")]
    Evaluation {
        /// The level of the vector.
        level: usize,
    },
    /// A claim does not hold of the vector sent in clear.
    #[error("the clear vector does not satisfy claim {claim} of level {level}")]
    ClearClaim {
        /// The level of the vector.
        level: usize,
        /// The claim: the caller's (tree by tree) or the previous level's first, then the opened columns.
        claim: usize,
    },
}

/// A functional on an aligned block of a vector, and the value it must give.
struct BlockClaim<'a> {
    offset: usize,
    log_len: u32,
    part: Part<'a>,
    value: QM31,
}

enum Part<'a> {
    Given(&'a dyn Functional),
    Point(EqPoint),
    Position(Position),
}

impl BlockClaim<'_> {
    fn functional(&self) -> &dyn Functional {
        match &self.part {
            Part::Given(f) => *f,
            Part::Point(f) => f,
            Part::Position(f) => f,
        }
    }

    /// The multilinear extension over the variables of the whole vector.
    fn eval(&self, z: &[QM31]) -> QM31 {
        let (high, low) = z.split_at(z.len() - self.log_len as usize);
        eq_index(high, self.offset >> self.log_len) * self.functional().eval(low)
    }

    fn holds(&self, v: &[QM31]) -> bool {
        let block = &v[self.offset..self.offset + (1 << self.log_len)];
        let inner = match &self.part {
            Part::Position(p) => encode_at(&p.0, block),
            _ => dot(&self.functional().coefficients(self.log_len), block),
        };
        inner == self.value
    }
}

/// Where the columns of a tree are checked against, and how they are folded.
struct Source {
    root: Hash,
    /// One coefficient for each base row, or for each extension row (four base rows).
    fold: Fold,
    planned: PlannedTree,
}

enum Fold {
    Base(Vec<QM31>),
    Ext(Vec<QM31>),
}

impl Fold {
    fn column(&self, column: &[M31]) -> QM31 {
        match self {
            Fold::Base(c) => dot_base(c, column),
            Fold::Ext(c) => c.iter().zip(column.chunks_exact(4)).fold(QM31::zero(), |a, (&c, x)| {
                a + c * QM31::from_m31(x[0], x[1], x[2], x[3])
            }),
        }
    }
}

/// Verifies that the claims of `trees`, which are those that `plan` was made for in the same order, hold of the
/// committed matrices.
pub fn verify_opening(channel: &mut Channel<'_>, plan: &Plan, trees: &[OpenTree<'_>]) -> Result<(), OpeningError> {
    check_shapes(plan, trees)?;
    let mut sources: Vec<Source> = trees
        .iter()
        .zip(&plan.trees)
        .map(|(t, &planned)| Source {
            root: t.root,
            fold: Fold::Base(t.row_coeffs.clone()),
            planned,
        })
        .collect();
    let mut claims: Vec<BlockClaim<'_>> = Vec::new();
    for (t, planned) in trees.iter().zip(&plan.trees) {
        claims.extend(t.claims.iter().map(|c| BlockClaim {
            offset: planned.offset,
            log_len: t.shape.log_cols,
            part: Part::Given(c.functional),
            value: c.value,
        }));
    }

    for (level, l) in plan.levels.iter().enumerate() {
        let root = channel.recv_hash()?;
        open_columns(channel, level, &sources, &mut claims)?;
        channel.recv_nonce("opening batch", plan.batch_pow_bits(claims.len()))?;
        let delta = channel.transcript().draw();
        let mut power = QM31::one();
        let mut sum = QM31::zero();
        let mut weights = Vec::with_capacity(claims.len());
        for c in &claims {
            sum += power * c.value;
            weights.push(power);
            power *= delta;
        }
        let reduced = sumcheck::verify(channel, sum, l.log_len as usize, 2, l.round_pow_bits)?;
        let value = channel.recv_ext(1)?[0];
        let z = &reduced.point;
        let functional = claims
            .iter()
            .zip(weights)
            .fold(QM31::zero(), |acc, (c, w)| acc + w * c.eval(z));
        if value * functional != reduced.value {
            return Err(OpeningError::Evaluation { level });
        }
        let (row, col) = z.split_at(l.log_rows() as usize);
        sources = vec![Source {
            root,
            fold: Fold::Ext(eq_table(row, l.rows)),
            planned: PlannedTree {
                shape: l.shape,
                queries: l.queries,
                offset: 0,
            },
        }];
        claims = vec![BlockClaim {
            offset: 0,
            log_len: l.shape.log_cols,
            part: Part::Point(EqPoint(col.to_vec())),
            value,
        }];
    }

    let level = plan.levels.len();
    let clear = channel.recv_ext(plan.clear_len())?;
    open_columns(channel, level, &sources, &mut claims)?;
    match claims.iter().position(|c| !c.holds(&clear)) {
        Some(claim) => Err(OpeningError::ClearClaim { level, claim }),
        None => Ok(()),
    }
}

fn check_shapes(plan: &Plan, trees: &[OpenTree<'_>]) -> Result<(), OpeningError> {
    if trees.len() != plan.trees.len() {
        let tree = trees.len().min(plan.trees.len());
        return Err(OpeningError::Shape { tree });
    }
    match trees
        .iter()
        .zip(&plan.trees)
        .position(|(t, p)| t.shape != p.shape || t.row_coeffs.len() != t.shape.rows)
    {
        Some(tree) => Err(OpeningError::Shape { tree }),
        None => Ok(()),
    }
}

/// Draws the positions of each tree, authenticates its columns and adds one claim for each.
fn open_columns(
    channel: &mut Channel<'_>,
    level: usize,
    sources: &[Source],
    claims: &mut Vec<BlockClaim<'_>>,
) -> Result<(), OpeningError> {
    for (tree, s) in sources.iter().enumerate() {
        let PlannedTree { shape, queries, offset } = &s.planned;
        channel.recv_nonce("opening positions", queries.pow_bits)?;
        let positions = queries.positions(shape, channel.transcript());
        let columns = channel.take_base(positions.len() * shape.rows)?;
        let leaves: Vec<Hash> = columns.chunks_exact(shape.rows).map(hash_leaf).collect();
        let depth = shape.log_domain();
        let path: Vec<Hash> = channel
            .take_bytes(32 * merkle::siblings(&positions, depth).len())?
            .chunks_exact(32)
            .map(|c| core::array::from_fn(|i| c[i]))
            .collect();
        if merkle::root_of(&positions, &leaves, &path, depth) != Some(s.root) {
            return Err(OpeningError::Authentication { level, tree });
        }
        let domain = Domain::new(depth);
        claims.extend(
            positions
                .iter()
                .zip(columns.chunks_exact(shape.rows))
                .map(|(&q, column)| BlockClaim {
                    offset: *offset,
                    log_len: shape.log_cols,
                    part: Part::Position(Position::new(&domain, q, shape.log_cols)),
                    value: s.fold.column(column),
                }),
        );
    }
    Ok(())
}
