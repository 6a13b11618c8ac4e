//! Random graphs of integers. Whatever comes close to the limit is requantised.

use super::Maker;
use crate::graph::{AbsSum, ValueId, Weight};
use crate::op::{BinaryOp, MaxDistance, Op, ReduceKind, Requant, Rope, RopeLayout};
use crate::recipe::Template;
use crate::shape::{Dim, Shape};
use crate::table::{Table, requant_input};
use crate::types::{Elem, IntType, Type, Visibility};

/// Values beyond this are requantised before anything else uses them.
const COMFORT: i64 = 1 << 14;

impl Maker<'_> {
    pub(super) fn quantised(&mut self) {
        let int = Elem::Int(IntType {
            scale: 0.125,
            lo: -128,
            hi: 127,
        });
        self.input("x", int);
        self.input("y", int);
        self.input("keep", Elem::Mask);
        for _ in 0..3 + self.rng.below(16) {
            match self.rng.below(8) {
                0 => self.repeat_quantised(),
                1 | 2 => self.weight_quantised(),
                3 => drop(self.softmax_quantised()),
                _ => self.one_quantised(),
            }
        }
        for name in ["a", "b"] {
            let value = self.pick();
            self.g.output(name, value, Visibility::Public);
        }
    }

    /// Keeps a value in the pool only where its bounds are comfortable; else its requantised form. Returns what is kept.
    fn settle(&mut self, id: Option<ValueId>) -> Option<ValueId> {
        let id = id?;
        match self.g.ty(id).elem.int() {
            Some(int) if int.max_abs() > COMFORT => {
                self.pool.retain(|v| *v != id);
                let narrow = IntType {
                    scale: 0.125,
                    lo: -100,
                    hi: 90,
                };
                self.requantise(id, narrow)
            }
            _ => Some(id),
        }
    }

    /// A clamp to the target's bounds, through a table that covers the index.
    fn requantise(&mut self, id: ValueId, to: IntType) -> Option<ValueId> {
        let int = self.g.ty(id).elem.int()?;
        let shift = (0..30).find(|s| requant_input(int.hi, *s) - requant_input(int.lo, *s) < 1 << 8)?;
        let bias = -requant_input(int.lo, shift);
        let table = Table::tabulate(8, bias, |v| v.clamp(to.lo, to.hi) as i32)?;
        let name = format!("clamp {bias} {} {}", to.lo, to.hi);
        self.g.module_mut().tables.insert(name.clone(), table.into());
        let requant = Requant {
            shift,
            table: Template::literal(name),
            scale: to.scale,
            partial: false,
        };
        self.try_push(Op::Requant(requant), &[id])
    }

    fn one_quantised(&mut self) {
        let x = self.pick();
        let rank = self.g.ty(x).shape.rank();
        let axis = self.rng.below(rank as u64) as usize;
        let op = match self.rng.below(11) {
            0..3 => {
                let ops = [
                    BinaryOp::Add,
                    BinaryOp::Sub,
                    BinaryOp::Mul,
                    BinaryOp::Max,
                    BinaryOp::Min,
                ];
                let (op, y) = (ops[self.rng.below(5) as usize], self.pick());
                let made = self.try_push(Op::Binary(op), &[x, y]);
                self.settle(made);
                return;
            }
            3 => {
                let kinds = [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max];
                Op::Reduce {
                    kind: kinds[self.rng.below(3) as usize],
                    axes: vec![axis],
                    keepdims: true,
                }
            }
            4 => self.pool_op(),
            5 => Op::ArgMax,
            6 => Op::Pad {
                lo: vec![0; rank],
                hi: vec![1; rank],
                value: 5.0,
            },
            7 => Op::Concat { axis },
            8 => {
                let (m, y) = (self.pick(), self.pick());
                let made = self.try_push(Op::Where, &[m, x, y]);
                self.settle(made);
                return;
            }
            9 => {
                self.requantise(
                    x,
                    IntType {
                        scale: 0.125,
                        lo: 1,
                        hi: 60,
                    },
                );
                return;
            }
            _ => Op::Rope(Rope {
                axis,
                start: Dim::fixed(1),
                rotary: 2,
                layout: RopeLayout::Half,
                freq: crate::Formula::x() + 0.3,
                scale: 1.0,
                bits: 6,
            }),
        };
        let made = self.try_push(op, &[x]);
        self.settle(made);
    }

    /// Softmax of a row, and a mean of other values with its shares.
    fn softmax_quantised(&mut self) -> Option<()> {
        let x = self.pick();
        let ty = self.g.ty(x).clone();
        let (int, rank) = (ty.elem.int()?, ty.shape.rank());
        let last = rank.checked_sub(1)?;
        let row = |kind| Op::Reduce {
            kind,
            axes: vec![last],
            keepdims: true,
        };
        let most = int.hi.saturating_sub(int.lo);
        if let Some(bits) = (1..=12).find(|bits| most < 1 << bits) {
            let table = Table::tabulate(bits, 0, |v| 100 >> (v / 8).min(20))?;
            let name = format!("distance {bits}");
            self.g.module_mut().tables.insert(name.clone(), table.into());
            let lookup = MaxDistance {
                table: Template::literal(name),
                scale: 0.25,
            };
            self.try_push(Op::MaxDistance(lookup), &[x]);
        }
        let greatest = self.try_push(row(ReduceKind::Max), &[x])?;
        let distance = self.try_push(Op::Binary(BinaryOp::Sub), &[greatest, x])?;
        self.settle(Some(distance));
        let shift = (0..30).find(|s| requant_input(int.hi - int.lo, *s) < 1 << 6)?;
        let table = Table::tabulate(6, 0, |v| 256 >> (v / 4))?;
        self.g.module_mut().tables.insert("shares".into(), table.into());
        let requant = Requant {
            shift,
            table: Template::literal("shares"),
            scale: 0.5,
            partial: false,
        };
        let shares = self.try_push(Op::Requant(requant), &[distance])?;
        let sum = self.try_push(row(ReduceKind::Sum), &[shares])?;
        let inverse = IntType {
            scale: 0.125,
            lo: 1,
            hi: 127,
        };
        let inverse = self.requantise(sum, inverse)?;
        let softmax = self.try_push(Op::Binary(BinaryOp::Mul), &[shares, inverse]);
        self.settle(softmax);
        let labels = &"abcd"[..rank];
        let (rows, summed) = labels.split_at(last);
        let einsum = crate::Einsum::parse(&format!("{labels},z{summed}->{rows}z")).ok()?;
        let values = self.pick();
        let mixed = self.try_push(Op::Contract(einsum), &[shares, values])?;
        let mixed = self.settle(Some(mixed))?;
        let mean = self.try_push(Op::Binary(BinaryOp::Mul), &[mixed, inverse]);
        self.settle(mean);
        Some(())
    }

    fn weight_quantised(&mut self) {
        let x = self.pick();
        let Some((op, shape)) = self.weighted(x) else {
            return;
        };
        let recipe = self.recipe(&shape).quantise(0.0625, -31, 31);
        // Every weight is at most 31: this bound is true, and often better than the product of the widths.
        let axes: Vec<usize> = (1..shape.len()).collect();
        let bound = 31 * shape[1..].iter().product::<u64>() as i64;
        let ty = Type::int(0.0625, -31, 31, Shape::new(shape.iter().map(|d| *d as i64)));
        let weight = Weight {
            ty,
            abs_sum: Some(AbsSum { axes, bound }),
            ..Weight::real(Shape::scalar(), recipe)
        };
        let name = format!("weight.{}", self.weights);
        if let Ok(w) = self.g.weight(&name, weight) {
            let made = self.try_push(op, &[x, w]);
            self.settle(made);
        }
    }

    fn repeat_quantised(&mut self) {
        let x = self.pick();
        let Elem::Int(carried) = self.g.ty(x).elem else {
            return;
        };
        if !self.g.stack().is_empty() {
            return;
        }
        let Ok(params) = self.g.begin_repeat("l", 1 + self.rng.below(3), &[x], &[]) else {
            return;
        };
        let outer = self.pool.clone();
        self.pool.push(params[0]);
        for _ in 0..2 {
            self.weight_quantised();
            self.one_quantised();
        }
        let shape = self.g.ty(x).shape.clone();
        let same: Vec<ValueId> = self
            .pool
            .iter()
            .copied()
            .filter(|v| self.g.ty(*v).shape == shape)
            .collect();
        let last = same.last().copied().unwrap_or(params[0]);
        let narrow = IntType {
            scale: carried.scale,
            lo: carried.lo.max(-(1 << 20)),
            hi: carried.hi.min(1 << 20),
        };
        let next = if narrow.lo <= narrow.hi {
            self.requantise(last, narrow)
        } else {
            None
        };
        self.pool = outer;
        if let Ok(results) = self.g.end_repeat(&[next.unwrap_or(params[0])]) {
            self.pool.extend(results);
        }
    }
}
