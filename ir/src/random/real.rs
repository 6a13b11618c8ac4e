//! Random graphs of real numbers.

use super::Maker;
use crate::formula::{Binary, Formula, Unary};
use crate::graph::{ValueId, Weight};
use crate::op::{BinaryOp, Conv2d, Einsum, Op, Pool, PoolKind, ReduceKind, Rope, RopeLayout};
use crate::shape::{Dim, Shape};
use crate::types::{Elem, Visibility};

impl Maker<'_> {
    pub(super) fn real(&mut self) {
        self.input("x", Elem::Real);
        self.input("y", Elem::Real);
        self.input("ids", Elem::Index(5));
        self.input("keep", Elem::Mask);
        for _ in 0..3 + self.rng.below(20) {
            match self.rng.below(12) {
                0 => self.repeat_real(),
                1 | 2 => self.with_weight(),
                _ => self.one_real(),
            }
        }
        for name in ["a", "b"] {
            let value = self.pick();
            self.g.output(name, value, Visibility::Public);
        }
    }

    /// One operation on values of the pool.
    fn one_real(&mut self) {
        let x = self.pick();
        let dims = self.g.ty(x).shape.0.clone();
        let rank = dims.len() as u64;
        let axis = self.rng.below(rank) as usize;
        let op = match self.rng.below(16) {
            0..3 => {
                let ops = [
                    BinaryOp::Add,
                    BinaryOp::Sub,
                    BinaryOp::Mul,
                    BinaryOp::Max,
                    BinaryOp::Min,
                    BinaryOp::And,
                ];
                let op = ops[self.rng.below(6) as usize];
                let y = self.pick();
                self.try_push(Op::Binary(op), &[x, y]);
                return;
            }
            3 => Op::Table {
                name: "f".into(),
                formula: self.formula(3),
            },
            4 => {
                let keepdims = self.rng.below(2) == 0;
                let kinds = [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max];
                Op::Reduce {
                    kind: kinds[self.rng.below(3) as usize],
                    axes: vec![axis],
                    keepdims,
                }
            }
            5 => {
                let mut perm: Vec<usize> = (0..dims.len()).collect();
                perm.rotate_left(axis);
                Op::Transpose(perm)
            }
            6 => {
                let mut shape = dims;
                shape.insert(axis, Dim::fixed(1));
                Op::Reshape(Shape(shape))
            }
            7 => {
                let y = self.pick();
                self.try_push(Op::Concat { axis }, &[x, y]);
                return;
            }
            8 => {
                let end = dims.get(axis).cloned().unwrap_or_default();
                Op::Slice {
                    axis,
                    start: end.plus_const(-1),
                    end,
                    step: 1,
                }
            }
            9 => Op::Pad {
                lo: vec![1; dims.len()],
                hi: vec![0; dims.len()],
                value: -0.5,
            },
            10 => Op::Softmax,
            11 => Op::RmsNorm { eps: 1e-5 },
            12 => Op::LayerNorm { eps: 1e-5 },
            13 => self.pool_op(),
            14 => Op::ArgMax,
            _ => Op::Rope(Rope {
                axis,
                start: Dim::runtime("tokens"),
                rotary: 2,
                layout: [RopeLayout::Half, RopeLayout::Interleaved][self.rng.below(2) as usize],
                freq: Formula::from(100.0).pow(-Formula::x()),
                scale: 1.0,
                bits: self.rng.below(4) as u32,
            }),
        };
        self.try_push(op, &[x]);
    }

    pub(super) fn pool_op(&mut self) -> Op {
        let kind = [PoolKind::Max, PoolKind::Avg][self.rng.below(2) as usize];
        let stride = 1 + self.rng.below(2);
        Op::Pool(Pool {
            kind,
            window: [2, 2],
            stride: [stride, 1],
            pad: [0, 1, 1, 0],
            count_include_pad: true,
        })
    }

    fn with_weight(&mut self) {
        let x = self.pick();
        let Some((op, shape)) = self.weighted(x) else {
            return;
        };
        let recipe = self.recipe(&shape);
        let weight = Weight::real(Shape::new(shape.iter().map(|d| *d as i64)), recipe);
        let name = format!("weight {}", self.weights);
        if let Ok(w) = self.g.weight(&name, weight) {
            let operands = if op == Op::Embedding { [w, x] } else { [x, w] };
            self.try_push(op, &operands);
        }
    }

    /// An operation that takes `x` and a weight of the shape returned.
    pub(super) fn weighted(&mut self, x: ValueId) -> Option<(Op, Vec<u64>)> {
        let ty = self.g.ty(x);
        if let Elem::Index(vocab) = ty.elem {
            return Some((Op::Embedding, vec![vocab, 3]));
        }
        let rank = ty.shape.rank();
        let width = u64::try_from(ty.shape.0.last()?.as_const()?).ok()?;
        if rank == 4 && self.rng.below(2) == 0 {
            let channels = u64::try_from(ty.shape.0[1].as_const()?).ok()?;
            let conv = Conv2d {
                pad: [1, 0, 0, 1],
                ..Conv2d::default()
            };
            return Some((Op::Conv2d(conv), vec![3, channels, 2, 3]));
        }
        let labels = "abcd".get(..rank)?;
        let free = &labels[..rank - 1];
        let einsum = Einsum::parse(&format!("{labels},z{}->{free}z", &labels[rank - 1..])).ok()?;
        Some((Op::Contract(einsum), vec![4, width]))
    }

    /// A residual region with weights of its own, collecting one value per iteration.
    fn repeat_real(&mut self) {
        let x = self.pick();
        if self.g.ty(x).elem != Elem::Real || !self.g.stack().is_empty() {
            return;
        }
        let Ok(params) = self.g.begin_repeat("l", 1 + self.rng.below(3), &[x], &[]) else {
            return;
        };
        let outer = self.pool.clone();
        self.pool.push(params[0]);
        for _ in 0..3 {
            self.with_weight();
            self.one_real();
        }
        let ty = self.g.ty(x).clone();
        let collected = *self.pool.last().unwrap_or(&x);
        let same: Vec<ValueId> = self.pool.iter().copied().filter(|v| *self.g.ty(*v) == ty).collect();
        let next = same.last().copied().unwrap_or(params[0]);
        self.pool = outer;
        if let Ok(results) = self.g.end_repeat(&[next, collected]) {
            self.pool.extend(results);
        }
    }

    /// A formula of bounded depth that is finite for every finite argument of moderate size.
    pub(super) fn formula(&mut self, depth: u64) -> Formula {
        if depth == 0 {
            return if self.rng.below(2) == 0 {
                Formula::x()
            } else {
                Formula::from(f64::from(self.rng.real()))
            };
        }
        let a = self.formula(depth - 1);
        let unary = [
            Unary::Neg,
            Unary::Tanh,
            Unary::Erf,
            Unary::Sin,
            Unary::Cos,
            Unary::Abs,
            Unary::Floor,
            Unary::Round,
        ];
        let binary = [
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Min,
            Binary::Max,
            Binary::Lt,
            Binary::Le,
            Binary::Eq,
        ];
        match self.rng.below(3) {
            0 => Formula::unary(unary[self.rng.below(8) as usize], a),
            1 => Formula::binary(binary[self.rng.below(8) as usize], a, self.formula(depth - 1)),
            _ => Formula::select(a, self.formula(depth - 1), self.formula(depth - 1)),
        }
    }
}
