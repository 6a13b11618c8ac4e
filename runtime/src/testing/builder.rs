//! Builds circuits layer by layer: offsets, shifts and table sizes follow from the bounds of each right side.

use mlc_circuit::{
    Access, AxisMap, Circuit, Constant, Entry, Equation, FormSource, FormTerm, InputKind, Label, Left, Len, Operand,
    Outer, Product, PublicInput, PublicOutput, Read, Reads, RuntimeDim, Segment, SiteRef, Source, Step, Table,
    VirtualSite, Weight, check,
};

use super::Rng;
use crate::weights::IntWeights;

/// A tensor that later layers read.
#[derive(Debug, Clone)]
pub struct Act {
    /// Where it lies.
    pub source: Source,
    /// Its axes.
    pub axes: Vec<Len>,
}

impl Act {
    /// `coefficient · self[access(x)]`.
    pub fn read(&self, coefficient: i32, access: Access) -> Read {
        Read {
            coefficient,
            source: self.source,
            access,
        }
    }

    /// The read at the first iteration axes.
    pub fn whole(&self) -> Read {
        self.read(1, Access::identity(self.axes.len()))
    }
}

/// The function of a requantisation's table, of the index around its zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Clamped to `[-max, max]`.
    Clamp(i32),
    /// Clamped to `[0, max]`.
    Relu(i32),
    /// Arbitrary values in `[-max, max]`.
    Random(i32),
}

/// A circuit under construction, its weights with it.
#[derive(Debug, Clone)]
pub struct Builder {
    circuit: Circuit,
    weights: Vec<Vec<i16>>,
    /// Steps of the repetition that is open.
    repeat: Option<(u32, Vec<Step>)>,
    /// Bits of the tables of requantised values, at most 16.
    pub table_bits: u32,
    /// The source of everything that is arbitrary.
    pub rng: Rng,
}

impl Builder {
    /// An empty circuit of one entry `main`.
    pub fn new(name: &str, seed: u64) -> Self {
        let entry = Entry {
            name: "main".into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            segments: Vec::new(),
            sites: Vec::new(),
            equations: Vec::new(),
            steps: Vec::new(),
        };
        let circuit = Circuit {
            name: name.into(),
            dims: Vec::new(),
            tables: Vec::new(),
            weights: Vec::new(),
            constants: Vec::new(),
            entries: vec![entry],
        };
        Self {
            circuit,
            weights: Vec::new(),
            repeat: None,
            table_bits: 8,
            rng: Rng::new(seed),
        }
    }

    pub(super) fn entry(&mut self) -> &mut Entry {
        &mut self.circuit.entries[0]
    }

    /// A run-time dimension.
    pub fn dim(&mut self, name: &str, max: u32) -> Len {
        self.circuit.dims.push(RuntimeDim::new(name, max));
        Len::dim(self.circuit.dims.len() as u16 - 1)
    }

    /// The run-time dimension of what earlier links of a chain have appended, before dimension `tokens`.
    pub fn past(&mut self, tokens: &Len, max: u32) -> Len {
        let mut past = RuntimeDim::new("past", max);
        past.before = tokens.per_dim.first().map(|d| d.0);
        self.circuit.dims.push(past);
        Len::dim(self.circuit.dims.len() as u16 - 1)
    }

    /// Makes a requantised tensor one that grows along `axis`; it is then read at indices from the first link's on.
    pub fn grow(&mut self, act: &Act, axis: u8) {
        if let Source::Lookup {
            site: SiteRef::Segment(s),
            ..
        } = act.source
        {
            let segment = &mut self.entry().segments[usize::from(s)];
            segment.grows = Some(axis);
            segment.ranged = true;
        }
    }

    /// Adds a table, or finds an equal one.
    pub fn table(&mut self, table: Table) -> u16 {
        if let Some(i) = self.circuit.tables.iter().position(|t| *t == table) {
            return i as u16;
        }
        self.circuit.tables.push(table);
        self.circuit.tables.len() as u16 - 1
    }

    pub(super) fn table_mut(&mut self, table: u16) -> &mut Table {
        &mut self.circuit.tables[usize::from(table)]
    }

    pub(super) fn segment(&mut self, name: String, axes: &[Len], table: Option<u16>, ranged: bool) -> u16 {
        let axes = axes.to_vec();
        self.entry().segments.push(Segment {
            grows: None,
            name,
            axes,
            table,
            ranged,
        });
        self.entry().segments.len() as u16 - 1
    }

    pub(super) fn step(&mut self, step: Step) {
        match &mut self.repeat {
            Some((_, steps)) => steps.push(step),
            None => self.entry().steps.push(step),
        }
    }

    pub(super) fn equation(&mut self, e: Equation) {
        let q = self.entry().equations.len() as u16;
        self.entry().equations.push(e);
        self.step(Step::Equation(q));
    }

    /// What follows runs `count` times, at the indices of the first axes.
    pub fn begin_repeat(&mut self, count: u32) {
        self.repeat = Some((count, Vec::new()));
    }

    /// Ends the open repetition.
    pub fn end_repeat(&mut self) {
        if let Some((count, steps)) = self.repeat.take() {
            self.entry().steps.push(Step::Repeat { count, steps });
        }
    }

    /// A public input in `[lo, hi]`.
    pub fn input(&mut self, name: &str, axes: &[Len], lo: i32, hi: i32) -> Act {
        let kind = InputKind::Public;
        Act {
            source: Source::Input(self.push_input(name, axes, lo, hi, kind)),
            axes: axes.to_vec(),
        }
    }

    /// A private input of `2^bits` values from `lo`.
    pub fn private_input(&mut self, name: &str, axes: &[Len], lo: i32, bits: u8) -> Act {
        let hi = lo + (1 << bits) - 1;
        let table = self.table(Table {
            name: format!("values {lo} to {hi}"),
            log_rows: bits,
            columns: vec![(lo..=hi).collect()],
        });
        let segment = self.segment(name.into(), axes, Some(table), true);
        self.push_input(name, axes, lo, hi, InputKind::Private { segment });
        Act {
            source: Source::Lookup {
                site: SiteRef::Segment(segment),
                column: 0,
            },
            axes: axes.to_vec(),
        }
    }

    fn push_input(&mut self, name: &str, axes: &[Len], lo: i32, hi: i32, kind: InputKind) -> u16 {
        let input = PublicInput {
            name: name.into(),
            axes: axes.to_vec(),
            scale: 1.0 / 64.0,
            lo,
            hi,
            kind,
            clamp: false,
        };
        self.entry().inputs.push(input);
        self.entry().inputs.len() as u16 - 1
    }

    /// A public constant with arbitrary values in `[-max, max]`.
    pub fn constant(&mut self, name: &str, axes: &[usize], max: i32) -> Act {
        let len: usize = axes.iter().product();
        let values = (0..len).map(|_| self.rng.range(-i64::from(max), max.into()) as i32);
        let values = values.collect();
        self.constant_of(name, axes, values)
    }

    /// A public constant with the given values, row-major.
    pub fn constant_of(&mut self, name: &str, axes: &[usize], values: Vec<i32>) -> Act {
        self.circuit.constants.push(Constant {
            name: name.into(),
            axes: axes.iter().map(|&n| n as u32).collect(),
            values,
        });
        Act {
            source: Source::Constant(self.circuit.constants.len() as u16 - 1),
            axes: axes.iter().map(|&n| Len::fixed(n)).collect(),
        }
    }

    /// A weight with arbitrary values of `bits` bits; its column bound is the largest sum of magnitudes.
    pub fn weight(&mut self, name: &str, outer: &[usize], row_len: usize, bits: u8) -> u16 {
        let max = (1i64 << (bits - 1)) - 1;
        let len = outer.iter().product::<usize>() * row_len;
        let values: Vec<i16> = (0..len).map(|_| self.rng.range(-max, max) as i16).collect();
        let sum = |row: &[i16]| row.iter().map(|v| u64::from(v.unsigned_abs())).sum();
        self.circuit.weights.push(Weight {
            name: name.into(),
            outer: outer.iter().map(|&n| n as u32).collect(),
            row_len: row_len as u32,
            bits,
            column_sum: values.chunks_exact(row_len).map(sum).max().unwrap_or(0),
        });
        self.weights.push(values);
        self.weights.len() as u16 - 1
    }

    /// `constant + Σ reads + Σ products = t·2^s + r` for the given `t`; `r` is split where it has more than 16 bits.
    pub(super) fn equate(&mut self, mut e: Equation, t: u16, shift: u32) {
        let (mut cells, mut at) = (Vec::new(), 0);
        while at < shift {
            let bits = (shift - at).min(16);
            let range = self.table(Table::range(bits as u8));
            let limb = self.segment(format!("{}.r{}", e.name, cells.len()), &e.out, Some(range), true);
            cells.push((1i64 << at, limb));
            at += bits;
        }
        cells.push((1i64 << shift, t));
        e.left = Left::Cells(cells);
        self.equation(e);
    }

    fn unsigned(&self, name: &str, out: &[Len], reads: Vec<Reads>, products: Vec<Product>) -> (Equation, i64, i64) {
        let e = Equation {
            name: name.into(),
            out: out.to_vec(),
            left: Left::Cells(Vec::new()),
            partial: false,
            constant: 0,
            reads,
            products,
        };
        let bounds = check::bounds::right(&self.circuit, &self.circuit.entries[0], &e);
        (e, bounds.lo as i64, bounds.hi as i64)
    }

    /// A new `t` of about `table_bits` bits, without table, that is the right side shifted; its bits, and the index
    /// that stands for 0.
    pub(super) fn digits(
        &mut self,
        name: &str,
        out: &[Len],
        reads: Vec<Reads>,
        products: Vec<Product>,
    ) -> (u16, u32, i32) {
        let (mut e, lo, hi) = self.unsigned(name, out, reads, products);
        let bits_of = |n: i64| (i64::BITS - n.leading_zeros()).max(1);
        let shift = bits_of(hi - lo).saturating_sub(self.table_bits);
        let half = (1i64 << shift) / 2;
        let zero = (half - lo) >> shift;
        e.constant = (zero << shift) + half;
        let bits = bits_of((hi + e.constant) >> shift);
        let t = self.segment(format!("{name}.t"), out, None, false);
        self.equate(e, t, shift);
        (t, bits, zero as i32)
    }

    /// A tensor that is read before it is defined: the output of a repeated block.
    pub fn declare(&mut self, name: &str, axes: &[Len], f: Activation) -> Act {
        let bits = self.table_bits;
        let table = self.activation(f, bits, 1 << (bits - 1));
        let t = self.segment(format!("{name}.t"), axes, Some(table), true);
        Act {
            source: Source::Lookup {
                site: SiteRef::Segment(t),
                column: 0,
            },
            axes: axes.to_vec(),
        }
    }

    /// Defines a declared tensor as `f(Σ reads + Σ products)`, requantised; `table_bits` must be as it was.
    pub fn define(&mut self, name: &str, act: &Act, reads: Vec<Reads>, products: Vec<Product>) {
        let Source::Lookup {
            site: SiteRef::Segment(t),
            ..
        } = act.source
        else {
            return;
        };
        let (mut e, lo, hi) = self.unsigned(name, &act.axes, reads, products);
        let bits = self.table_bits;
        let mut shift = 0;
        loop {
            e.constant = (1i64 << (bits - 1 + shift)) + (1i64 << shift) / 2;
            if lo + e.constant >= 0 && hi + e.constant < 1i64 << (bits + shift) {
                break;
            }
            shift += 1;
        }
        self.equate(e, t, shift);
    }

    fn activation(&mut self, f: Activation, bits: u32, zero: i32) -> u16 {
        let rng = &mut self.rng;
        let column: Vec<i32> = (0..1i32 << bits)
            .map(|t| match f {
                Activation::Clamp(max) => (t - zero).clamp(-max, max),
                Activation::Relu(max) => (t - zero).clamp(0, max),
                Activation::Random(max) => rng.range(-i64::from(max), max.into()) as i32,
            })
            .collect();
        self.table(Table {
            name: format!("{f:?} from {zero}"),
            log_rows: bits as u8,
            columns: vec![column],
        })
    }

    /// `f(Σ reads + Σ products)`, requantised.
    pub fn requant(
        &mut self,
        name: &str,
        out: &[Len],
        reads: Vec<Reads>,
        products: Vec<Product>,
        f: Activation,
    ) -> Act {
        let (t, bits, zero) = self.digits(name, out, reads, products);
        let table = self.activation(f, bits, zero);
        self.entry().segments[t as usize].table = Some(table);
        Act {
            source: Source::Lookup {
                site: SiteRef::Segment(t),
                column: 0,
            },
            axes: out.to_vec(),
        }
    }

    /// `f(max over windows of Σ reads + Σ products)`, requantised before the maximum. `source` are the axes of the
    /// right side, `leading` those of the maximum, `window` the compared axes; `access` goes from
    /// `leading ++ window` to `source`.
    #[allow(clippy::too_many_arguments)]
    pub fn requant_max(
        &mut self,
        name: &str,
        source: &[Len],
        (reads, products): (Vec<Reads>, Vec<Product>),
        leading: &[Len],
        window: &[usize],
        access: Access,
        f: Activation,
    ) -> Act {
        let (t, bits, zero) = self.digits(name, source, reads, products);
        let table = self.activation(f, bits, zero);
        let maximum = self.segment(format!("{name}.max"), leading, Some(table), true);
        let mut axes = leading.to_vec();
        axes.extend(window.iter().map(|&n| Len::fixed(n)));
        let differences = self.table(Table {
            name: format!("difference{bits}"),
            log_rows: bits as u8,
            columns: vec![(0..1i32 << bits).map(|i| i32::from(i == 0)).collect()],
        });
        self.entry().sites.push(VirtualSite {
            name: format!("{name}.difference"),
            axes: axes.clone(),
            table: differences,
            index: vec![
                FormTerm {
                    coefficient: 1,
                    source: FormSource::Segment(maximum),
                    access: Access::identity(leading.len()),
                },
                FormTerm {
                    coefficient: -1,
                    source: FormSource::Segment(t),
                    access,
                },
            ],
            ranged: true,
        });
        let site = self.entry().sites.len() as u16 - 1;
        self.step(Step::Max { site });
        // The maximum is attained: n = -1 + Σ [difference = 0] is not negative.
        let most = window.iter().product::<usize>() - 1;
        let count = most.max(1).ilog2() as u8 + 1;
        let range = self.table(Table::range(count));
        let n = self.segment(format!("{name}.attained"), leading, Some(range), true);
        self.equation(Equation {
            name: format!("{name}.attained"),
            out: leading.to_vec(),
            left: Left::Cells(vec![(1, n)]),
            partial: false,
            constant: -1,
            reads: vec![Reads {
                reduce: window.iter().map(|&n| Len::fixed(n)).collect(),
                read: Read {
                    coefficient: 1,
                    source: Source::Lookup {
                        site: SiteRef::Virtual(site),
                        column: 0,
                    },
                    access: Access::identity(axes.len()),
                },
            }],
            products: Vec::new(),
        });
        Act {
            source: Source::Lookup {
                site: SiteRef::Segment(maximum),
                column: 0,
            },
            axes: leading.to_vec(),
        }
    }

    /// A public output `Σ reads + Σ products`.
    pub fn output(&mut self, name: &str, out: &[Len], reads: Vec<Reads>, products: Vec<Product>, label: Label) {
        self.entry().outputs.push(PublicOutput {
            name: name.into(),
            axes: out.to_vec(),
            scale: 1.0 / 4096.0,
            label,
        });
        let o = self.entry().outputs.len() as u16 - 1;
        self.equation(Equation {
            name: name.into(),
            out: out.to_vec(),
            left: Left::Output(o),
            partial: false,
            constant: 0,
            reads,
            products,
        });
    }

    /// A public output of the index, along the last of `out`, of the greatest `Σ products`, each a contraction with a weight
    /// of which that axis is an outer one.
    pub fn greatest(&mut self, name: &str, out: &[Len], products: Vec<Product>) {
        let last = out.len() - 1;
        let rows: Vec<u8> = (0..last as u8).collect();
        self.entry().outputs.push(PublicOutput {
            name: name.into(),
            axes: out[..last].to_vec(),
            scale: 1.0,
            label: Label::Index(out[last].constant),
        });
        let output = self.entry().outputs.len() as u16 - 1;
        let found = |p: &Product| {
            let mut p = p.clone();
            let uses = |o: &Operand, axis| match o {
                Operand::Reads(reads) => reads.iter().any(|r| r.access.uses(axis)),
                Operand::One | Operand::Weight { .. } => false,
            };
            p.shared = rows
                .iter()
                .copied()
                .filter(|&axis| uses(&p.a, axis) || uses(&p.b, axis))
                .collect();
            for o in [&mut p.a, &mut p.b] {
                if let Operand::Weight { outer, .. } = o {
                    let axes = rows.clone();
                    let j = outer.iter_mut().filter(|o| **o == Outer::axis(last as u8));
                    j.for_each(|o| {
                        *o = Outer::Found {
                            output,
                            axes: axes.clone(),
                        }
                    });
                }
            }
            p
        };
        let greatest: Vec<Product> = products.iter().map(found).collect();
        let compared = products.into_iter().map(|p| Product {
            coefficient: -p.coefficient,
            ..p
        });
        let below = Read {
            coefficient: -1,
            source: Source::Below(output),
            access: Access::identity(out.len()),
        };
        let products = compared.chain(greatest).collect();
        let (mut e, _, hi) = self.unsigned(name, out, vec![plain(below)], products);
        let bits = (i64::BITS - hi.leading_zeros()).max(2);
        let low = bits.div_ceil(2);
        let [lo, hi] = [low, bits - low].map(|bits| {
            let table = self.table(Table::range(bits as u8));
            self.segment(format!("{name}.d"), out, Some(table), true)
        });
        e.left = Left::Cells(vec![(1, lo), (1 << low, hi)]);
        e.partial = true;
        self.equation(e);
    }

    /// `y[.., j] = Σ over x's last `rank` axes of x · w[j, ..]`, for output axes `x.axes[..] ++ [n]`. The axes of `x`
    /// that are contracted must be fixed.
    pub fn linear(&mut self, name: &str, x: &Act, rank: usize, n: usize, bits: u8) -> (Vec<Len>, Product) {
        let keep = x.axes.len() - rank;
        let row_len = x.axes[keep..].iter().map(|l| l.constant as usize).product();
        let weight = self.weight(name, &[n], row_len, bits);
        let mut out = x.axes[..keep].to_vec();
        out.push(Len::fixed(n));
        let iters: Vec<u8> = (0..x.axes.len() as u8)
            .map(|i| if i < keep as u8 { i } else { i + 1 })
            .collect();
        let product = Product {
            coefficient: 1,
            shared: Vec::new(),
            group: x.axes[keep..].to_vec(),
            a: Operand::Reads(vec![x.read(1, Access::axes(&iters))]),
            b: Operand::Weight {
                weight,
                outer: vec![Outer::axis(keep as u8)],
            },
        };
        (out, product)
    }

    /// `+ w[j]` along output axis `axis` of length `n`.
    pub fn bias(&mut self, name: &str, axis: usize, n: usize, bits: u8) -> Product {
        let weight = self.weight(name, &[], n, bits);
        Product {
            coefficient: 1,
            shared: vec![axis as u8],
            group: Vec::new(),
            a: Operand::One,
            b: Operand::Weight {
                weight,
                outer: Vec::new(),
            },
        }
    }

    /// A convolution of `x[n, c, h, w]` to output axes `[n, g, o, oh, ow]` (without `g` for one group).
    pub fn conv(&mut self, name: &str, x: &Act, conv: Conv, bits: u8) -> (Vec<Len>, Product) {
        let len = |axis: usize| x.axes[axis].constant as usize;
        let (oh, ow) = (conv.out_len(len(2)), conv.out_len(len(3)));
        let (g, k) = (conv.groups, conv.kernel);
        let cg = len(1) / g;
        let mut out = vec![x.axes[0].clone()];
        let mut outer = vec![g, conv.channels / g];
        if g == 1 {
            outer.remove(0);
        }
        out.extend(outer.iter().map(|&n| Len::fixed(n)));
        out.extend([oh, ow].map(Len::fixed));
        let weight = self.weight(name, &outer, cg * k * k, bits);
        // Iterations: out.., c, kh, kw.
        let r = out.len() as u8;
        let mut channel = vec![(r, 1)];
        if g > 1 {
            channel.insert(0, (1, cg as i32));
        }
        let spatial = |o: u8, k: u8| AxisMap::Affine {
            offset: -(conv.pad as i32),
            parts: vec![(o, conv.stride as i32), (k, conv.dilation as i32)],
        };
        let access = Access {
            axes: vec![
                AxisMap::iter(0),
                AxisMap::Affine {
                    offset: 0,
                    parts: channel,
                },
                spatial(r - 2, r + 1),
                spatial(r - 1, r + 2),
            ],
            gates: Vec::new(),
        };
        let product = Product {
            coefficient: 1,
            shared: if g > 1 { vec![1] } else { Vec::new() },
            group: [cg, k, k].map(Len::fixed).to_vec(),
            a: Operand::Reads(vec![x.read(1, access)]),
            b: Operand::Weight {
                weight,
                outer: (1..=outer.len() as u8).map(Outer::axis).collect(),
            },
        };
        (out, product)
    }

    /// The circuit and its weights.
    pub fn finish(mut self) -> (Circuit, IntWeights) {
        self.circuit.range_unchecked_lookups();
        (self.circuit, IntWeights::unchecked(self.weights))
    }
}

/// A square convolution.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    /// Output channels.
    pub channels: usize,
    /// Side of the window.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Zeros added on each side.
    pub pad: usize,
    /// Distance between taps.
    pub dilation: usize,
    /// Number of independent groups of channels.
    pub groups: usize,
}

impl Conv {
    /// Stride 1, no padding, no dilation, one group.
    pub fn new(channels: usize, kernel: usize) -> Self {
        Self {
            channels,
            kernel,
            stride: 1,
            pad: 0,
            dilation: 1,
            groups: 1,
        }
    }

    /// Length of an output axis.
    pub fn out_len(&self, len: usize) -> usize {
        (len + 2 * self.pad - self.dilation * (self.kernel - 1) - 1) / self.stride + 1
    }
}

/// A read without reduction.
pub fn plain(read: Read) -> Reads {
    Reads {
        reduce: Vec::new(),
        read,
    }
}
