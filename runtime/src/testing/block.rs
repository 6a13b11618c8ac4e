//! Whole transformer blocks, small, in the form that compiled ones have: docs/protocol/transformers.md, line by line.
//!
//! Embedding by token; a repetition of blocks, each of a norm, grouped-query attention over turned queries and keys with
//! a causal softmax that is normalised after the product with the values, another norm, and a gated feed-forward; the
//! residual stream is virtual (`Before`); a last norm, and a head that is the embedding or a matrix of its own. Tables
//! are those of the functions named, at scales that keep most values away from 0 and from saturation. They come from
//! additions, products, quotients and square roots of `f64` alone, which are the same on every platform.

use mlc_circuit::{
    Access, AxisMap, Equation, Label, Left, Len, Operand, Outer, Product, Read, Reads, SiteRef, Source, Table,
};

use super::attention::causal;
use super::{Act, Activation, Builder, Case, Rng, plain};

/// How a row is normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// `x / rms(x)`.
    Rms,
    /// `(x - mean(x)) / rms(x - mean(x))`.
    Layer,
    /// The same in two passes, of which the first finds the size of a row and the second normalises.
    TwoPass,
}

/// The activation of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · sigmoid(1.702 · x)`.
    Gelu,
}

/// Shapes of a stack of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// How many blocks.
    pub blocks: usize,
    /// Tokens given.
    pub tokens: u32,
    /// Tokens at most, up to 32.
    pub most: u32,
    /// Length of a row of the residual stream.
    pub width: usize,
    /// Heads of keys and values.
    pub key_heads: usize,
    /// Heads of queries for each of these.
    pub queries: usize,
    /// Length of a head's row.
    pub head_width: usize,
    /// Its first coordinates that turn: even, at least 2.
    pub rotary: usize,
    /// Whether pairs are neighbours, instead of one from each half of what turns.
    pub interleaved: bool,
    /// Norms before attention, before the feed-forward, and before the head.
    pub norms: [Norm; 3],
    /// Length of a row within the feed-forward.
    pub hidden: usize,
    /// Its activation.
    pub gate: Gate,
    /// Tokens that there are. The embedding has one row more, which no token selects and no logit reads.
    pub vocabulary: usize,
    /// Whether the head is the embedding.
    pub tied: bool,
}

impl Block {
    /// Three blocks as of Llama: RMSNorm, half of each head turned in halves, SiLU, and the embedding as head. The norm
    /// before the feed-forward subtracts a mean.
    pub fn rms() -> Self {
        Self {
            blocks: 3,
            tokens: 3,
            most: 5,
            width: 6,
            key_heads: 2,
            queries: 2,
            head_width: 5,
            rotary: 4,
            interleaved: false,
            norms: [Norm::Rms, Norm::Layer, Norm::Rms],
            hidden: 7,
            gate: Gate::Silu,
            vocabulary: 7,
            tied: true,
        }
    }

    /// Two blocks of LayerNorm in one and two passes, whole heads turned in neighbouring pairs, GELU, and a head of its
    /// own.
    pub fn layer() -> Self {
        Self {
            blocks: 2,
            tokens: 4,
            most: 4,
            width: 10,
            key_heads: 3,
            queries: 2,
            head_width: 4,
            rotary: 4,
            interleaved: true,
            norms: [Norm::Layer, Norm::TwoPass, Norm::Layer],
            hidden: 5,
            gate: Gate::Gelu,
            vocabulary: 5,
            tied: false,
        }
    }

    /// The arbitrary shapes of a seed.
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let most = rng.len(1, 9);
        let head_width = rng.len(2, 7);
        let norms = [Norm::Rms, Norm::Layer, Norm::TwoPass];
        Self {
            blocks: rng.len(1, 4),
            tokens: rng.len(1, most) as u32,
            most: most as u32,
            width: rng.len(3, 12),
            key_heads: rng.len(1, 3),
            queries: rng.len(1, 3),
            head_width,
            rotary: 2 * rng.len(1, head_width / 2),
            interleaved: rng.once_in(2),
            norms: [(); 3].map(|()| rng.pick(&norms)),
            hidden: rng.len(1, 9),
            gate: rng.pick(&[Gate::Silu, Gate::Gelu]),
            vocabulary: rng.len(2, 11),
            tied: rng.once_in(2),
        }
    }
}

/// A table over a measured range: `2^bits` steps of `2^shift`, around 0 or from 0 on.
#[derive(Debug, Clone, Copy)]
struct Measured {
    bits: u32,
    shift: u32,
    signed: bool,
}

/// `base^n`, where `n` may be negative.
fn power(base: f64, n: i64) -> f64 {
    let positive = (0..n.unsigned_abs()).fold(1.0, |p, _| p * base);
    if n < 0 { 1.0 / positive } else { positive }
}

/// Rounded and clamped to `[-max, max]`.
fn clamped(v: f64, max: i32) -> i32 {
    (v.round() as i32).clamp(-max, max)
}

/// What roots are multiplied with: a row with it is as good as of this root mean square.
const ROOT: f64 = 2048.0;

/// The inverse root of the mean of `width` squares.
fn inverse_root(sum: i64, width: usize) -> i32 {
    let mean = sum.max(0) as f64 / width as f64;
    clamped(ROOT / (mean + 1.0).sqrt(), 511)
}

/// `f(Σ reads + Σ products)` for tables over all of the proved bounds, or over a measured range.
impl Builder {
    /// `f` of the rounded value, over its bounds.
    fn lookup(
        &mut self,
        name: &str,
        out: &[Len],
        (reads, products): (Vec<Reads>, Vec<Product>),
        f: impl Fn(i64) -> i32,
    ) -> Act {
        let (t, bits, zero) = self.digits(name, out, reads, products);
        let step = match self.entry().equations.last().map(|q| &q.left) {
            Some(Left::Cells(cells)) => cells.last().map_or(1, |c| c.0),
            _ => 1,
        };
        let table = self.table(Table {
            name: name.into(),
            log_rows: bits as u8,
            columns: vec![(0..1 << bits).map(|i| f((i - i64::from(zero)) * step)).collect()],
        });
        self.entry().segments[usize::from(t)].table = Some(table);
        looked_up(t, 0, out)
    }

    /// Several functions of the rounded value, within a measured range.
    fn measured(
        &mut self,
        name: &str,
        out: &[Len],
        (reads, products): (Vec<Reads>, Vec<Product>),
        range: Measured,
        functions: &[&dyn Fn(i64) -> i32],
    ) -> Vec<Act> {
        let Measured { bits, shift, signed } = range;
        let zero = if signed { 1i64 << (bits - 1) } else { 0 };
        let column = |f: &&dyn Fn(i64) -> i32| (0..1 << bits).map(|i| f((i - zero) << shift)).collect();
        let table = self.table(Table {
            name: name.into(),
            log_rows: bits as u8,
            columns: functions.iter().map(column).collect(),
        });
        let t = self.segment(format!("{name}.t"), out, Some(table), false);
        let e = Equation {
            name: name.into(),
            out: out.to_vec(),
            left: Left::Cells(Vec::new()),
            partial: true,
            constant: (zero << shift) + ((1 << shift) >> 1),
            reads,
            products,
        };
        self.equate(e, t, shift);
        (0..functions.len() as u8).map(|c| looked_up(t, c, out)).collect()
    }

    /// The rows `c` (over `rows ++ [width]`) normalised, at about 16 in root mean square.
    fn norm(&mut self, name: &str, kind: Norm, c: &[Read], rows: &[Len], width: usize) -> Act {
        let mut c = c.to_vec();
        if kind != Norm::Rms {
            let sum = |read: &Read| Reads {
                reduce: vec![Len::fixed(width)],
                read: read.clone(),
            };
            let sums = c.iter().map(sum).collect();
            let mean = |sum: i64| (sum as f64 / width as f64).round() as i32;
            let mean = self.lookup(&format!("{name}.mean"), rows, (sums, vec![]), mean);
            c.push(mean.read(-1, Access::identity(rows.len())));
        }
        if kind != Norm::TwoPass {
            let range = Measured {
                bits: 8,
                shift: 9,
                signed: false,
            };
            return self.pass(name, (&c, vec![]), &c, rows, width, range).0;
        }
        // Only the first pass's squares are of clamped values: its root need not be that of the row, as the second
        // pass normalises what it gives.
        let mut out = rows.to_vec();
        out.push(Len::fixed(width));
        let whole = c.iter().cloned().map(plain).collect();
        let small = self.lookup(&format!("{name}.clamped"), &out, (whole, vec![]), |v| {
            v.clamp(-31, 31) as i32
        });
        let range = Measured {
            bits: 8,
            shift: 9,
            signed: false,
        };
        let (first, eps) = self.pass(
            &format!("{name}.first"),
            (&[small.whole()], vec![]),
            &c,
            rows,
            width,
            range,
        );
        let range = Measured { shift: 7, ..range };
        let first = [first.whole()];
        self.pass(name, (&first, vec![plain(eps.whole())]), &first, rows, width, range)
            .0
    }

    /// `c · T(Σ square² + more)`, with the inverse root as T; and, from the table's second column, what an `eps` of 1 in
    /// the mean of squares is in a second pass over it.
    fn pass(
        &mut self,
        name: &str,
        (square, more): (&[Read], Vec<Reads>),
        c: &[Read],
        rows: &[Len],
        width: usize,
        range: Measured,
    ) -> (Act, Act) {
        let shared: Vec<u8> = (0..rows.len() as u8).collect();
        let squares = Product {
            coefficient: 1,
            shared: shared.clone(),
            group: vec![Len::fixed(width)],
            a: Operand::Reads(square.to_vec()),
            b: Operand::Reads(square.to_vec()),
        };
        let root = |s: i64| inverse_root(s, width);
        let eps = |s: i64| {
            let r = f64::from(inverse_root(s, width)) / 128.0;
            (width as f64 * r * r).round() as i32
        };
        let sum = format!("{name}.squares");
        let mut found = self
            .measured(&sum, rows, (more, vec![squares]), range, &[&root, &eps])
            .into_iter();
        let mut next = || found.next().unwrap_or_else(|| unreachable!("two columns"));
        let (root, eps) = (next(), next());
        let scaled = Product {
            coefficient: 1,
            shared,
            group: Vec::new(),
            a: Operand::Reads(c.to_vec()),
            b: Operand::Reads(vec![root.whole()]),
        };
        let mut out = rows.to_vec();
        out.push(Len::fixed(width));
        let range = Measured {
            bits: 9,
            shift: 8,
            signed: true,
        };
        let unit = |v: i64| (v >> 7).clamp(-63, 63) as i32;
        let mut y = self.measured(name, &out, (vec![], vec![scaled]), range, &[&unit]);
        (y.remove(0), eps)
    }

    /// `x` turned by position, the last axis but one.
    fn turned(&mut self, name: &str, x: &Act, angles: &[Act; 3], distance: usize) -> Act {
        let rank = x.axes.len() as u8;
        let (position, coordinate) = (rank - 2, rank - 1);
        let product = |(angle, part): (&Act, i32)| {
            let mut partner = Access::identity(rank.into());
            partner.axes[usize::from(coordinate)] = AxisMap::Affine {
                offset: part * distance as i32,
                parts: vec![(coordinate, 1)],
            };
            Product {
                coefficient: 1,
                shared: vec![position, coordinate],
                group: Vec::new(),
                a: Operand::Reads(vec![x.read(1, partner)]),
                b: Operand::Reads(vec![angle.read(1, Access::axes(&[position, coordinate]))]),
            }
        };
        let products = angles.iter().zip([0, 1, -1]).map(product).collect();
        self.requant(name, &x.axes, vec![], products, Activation::Clamp(15))
    }

    /// Cosines, negated sines of a pair's first coordinate, sines of its second, at 2^6; and the distance in a pair.
    fn angles(&mut self, shape: &Block) -> ([Act; 3], usize) {
        let pairs = shape.rotary / 2;
        let distance = if shape.interleaved { 1 } else { pairs };
        let pair = |j: usize| match j {
            _ if j >= shape.rotary => None,
            _ if shape.interleaved => Some((j / 2, j.is_multiple_of(2))),
            _ => Some((j % pairs, j < pairs)),
        };
        // The turn of pair i from one position to the next has the tangent 1 / (i + 2) at its half.
        let turn = |p: usize, i: usize| {
            let t = 1.0 / (i + 2) as f64;
            let (c, s) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
            (0..p).fold((1.0, 0.0), |(x, y), _| (x * c - y * s, x * s + y * c))
        };
        let value = |part: usize, p: usize, j: usize| match (part, pair(j)) {
            (0, None) => 1.0,
            (0, Some((i, _))) => turn(p, i).0,
            (1, Some((i, true))) => -turn(p, i).1,
            (2, Some((i, false))) => turn(p, i).1,
            _ => 0.0,
        };
        let axes = [shape.most as usize, shape.head_width];
        let mut part = 0;
        let constants = ["cos", "-sin", "sin"].map(|name| {
            let places = (0..axes[0]).flat_map(|p| (0..axes[1]).map(move |j| (p, j)));
            let values = places.map(|(p, j)| clamped(64.0 * value(part, p, j), 64)).collect();
            part += 1;
            self.constant_of(name, &axes, values)
        });
        (constants, distance)
    }

    /// What attention adds to the stream, from normalised rows `y` of `[blocks, tokens, width]`.
    fn attention(&mut self, shape: &Block, y: &Act, (angles, distance): (&[Act; 3], usize)) -> Product {
        let [blocks, length, width] = [0, 1, 2].map(|i| y.axes[i].clone());
        let (l, k, g, h) = (shape.blocks, shape.key_heads, shape.queries, shape.head_width);
        let [keys, queries, head] = [k, g, h].map(Len::fixed);
        // Weights have the axes of their output but that of tokens, and the stream's row.
        let project = |b: &mut Self, name: &str, axes: &[Len], token: u8, outer: &[usize]| {
            let weight = b.weight(name, outer, shape.width, 6);
            let rank = axes.len() as u8;
            let product = Product {
                coefficient: 1,
                shared: vec![0],
                group: vec![width.clone()],
                a: Operand::Reads(vec![y.read(1, Access::axes(&[0, token, rank]))]),
                b: Operand::Weight {
                    weight,
                    outer: (0..rank).filter(|a| *a != token).map(Outer::axis).collect(),
                },
            };
            b.requant(name, axes, vec![], vec![product], Activation::Clamp(31))
        };
        let by_key = [blocks.clone(), keys.clone(), length.clone(), head.clone()];
        let by_query = [blocks, keys.clone(), queries.clone(), length.clone(), head.clone()];
        let q = project(self, "q", &by_query, 3, &[l, k, g, h]);
        let key = project(self, "k", &by_key, 2, &[l, k, h]);
        let v = project(self, "v", &by_key, 2, &[l, k, h]);
        let q = self.turned("queries", &q, angles, distance);
        let key = self.turned("keys", &key, angles, distance);

        let mut square = by_query.to_vec();
        square[4] = length.clone();
        let scores = Product {
            coefficient: 1,
            shared: vec![0, 1],
            group: vec![head.clone()],
            a: Operand::Reads(vec![q.read(1, Access::axes(&[0, 1, 2, 3, 5]))]),
            b: Operand::Reads(vec![key.read(1, Access::axes(&[0, 1, 4, 5]))]),
        };
        let bits = std::mem::replace(&mut self.table_bits, 6);
        let e = self.masked_softmax("scores", &square, (vec![], vec![scores]), &[causal(5, 0, None)], 64);
        self.table_bits = bits;
        if let Source::Lookup {
            site: SiteRef::Virtual(site),
            column,
        } = e.source
        {
            let site = &self.entry().sites[usize::from(site)];
            let (table, limit) = (site.table, site.index[2].coefficient / 2);
            let weights = &mut self.table_mut(table).columns[usize::from(column)];
            for (i, w) in (0..i64::from(limit)).zip(weights) {
                *w = clamped(64.0 * power(0.6, i), 64);
            }
        }
        let sum = Reads {
            reduce: vec![length.clone()],
            read: e.whole(),
        };
        let inverse = |sum: i64| clamped(8128.0 / sum.max(1) as f64, 127);
        let inverse = self.lookup("reciprocals", &square[..4], (vec![sum], vec![]), inverse);
        let mix = Product {
            coefficient: 1,
            shared: vec![0, 1],
            group: vec![length],
            a: Operand::Reads(vec![e.read(1, Access::axes(&[0, 1, 2, 3, 5]))]),
            b: Operand::Reads(vec![v.read(1, Access::axes(&[0, 1, 5, 4]))]),
        };
        let bits = std::mem::replace(&mut self.table_bits, 9);
        let mix = self.requant("mix", &by_query, vec![], vec![mix], Activation::Clamp(511));
        self.table_bits = bits;
        let normalised = Product {
            coefficient: 1,
            shared: vec![0, 1, 2, 3],
            group: Vec::new(),
            a: Operand::Reads(vec![mix.whole()]),
            b: Operand::Reads(vec![inverse.whole()]),
        };
        let bits = std::mem::replace(&mut self.table_bits, 10);
        let heads = self.requant("heads", &by_query, vec![], vec![normalised], Activation::Clamp(31));
        self.table_bits = bits;
        let weight = self.weight("o", &[l, shape.width], k * g * h, 6);
        Product {
            coefficient: 1,
            shared: vec![0],
            group: vec![keys, queries, head],
            a: Operand::Reads(vec![heads.read(1, Access::axes(&[0, 3, 4, 1, 5]))]),
            b: Operand::Weight {
                weight,
                outer: vec![Outer::axis(0), Outer::axis(2)],
            },
        }
    }

    /// What the feed-forward adds to the stream.
    fn feed_forward(&mut self, shape: &Block, y: &Act) -> Product {
        let layer = |b: &mut Self, name: &str, x: &Act, from: usize, to: usize| Product {
            coefficient: 1,
            shared: vec![0],
            group: vec![Len::fixed(from)],
            a: Operand::Reads(vec![x.read(1, Access::axes(&[0, 1, 3]))]),
            b: Operand::Weight {
                weight: b.weight(name, &[shape.blocks, to], from, 6),
                outer: vec![Outer::axis(0), Outer::axis(2)],
            },
        };
        let mut axes = y.axes.clone();
        axes[2] = Len::fixed(shape.hidden);
        // Gates are in units of 2^-9, what they let through in units of 1/8.
        let slope = match shape.gate {
            Gate::Silu => 1.0,
            Gate::Gelu => 1.702,
        };
        // e^(-slope / 8), to the fourth order.
        let x = slope / 8.0;
        let base = 1.0 - x + x * x / 2.0 - x * x * x / 6.0 + x * x * x * x / 24.0;
        let f = |v: i64| {
            let eighths = (v as f64 / 64.0).round();
            clamped(eighths / (1.0 + power(base, eighths as i64)), 31)
        };
        let product = layer(self, "gate", y, shape.width, shape.hidden);
        let gate = self.lookup("gate", &axes, (vec![], vec![product]), f);
        let product = layer(self, "up", y, shape.width, shape.hidden);
        let up = self.requant("up", &axes, vec![], vec![product], Activation::Clamp(31));
        let product = Product {
            coefficient: 1,
            shared: vec![0, 1, 2],
            group: Vec::new(),
            a: Operand::Reads(vec![gate.whole()]),
            b: Operand::Reads(vec![up.whole()]),
        };
        let gated = self.requant("gated", &axes, vec![], vec![product], Activation::Clamp(31));
        layer(self, "down", &gated, shape.hidden, shape.width)
    }
}

fn looked_up(segment: u16, column: u8, axes: &[Len]) -> Act {
    Act {
        source: Source::Lookup {
            site: SiteRef::Segment(segment),
            column,
        },
        axes: axes.to_vec(),
    }
}

/// The circuit of a shape, with arbitrary weights and tokens.
pub fn transformer_block(shape: &Block) -> Case {
    let mut b = Builder::new("transformer block", 17);
    let length = b.dim("tokens", shape.most);
    let (blocks, width) = (Len::fixed(shape.blocks), Len::fixed(shape.width));
    let ids = b.input("ids", std::slice::from_ref(&length), 0, shape.vocabulary as i32 - 1);
    let Source::Input(ids) = ids.source else {
        unreachable!("an input is a source of its kind")
    };
    let rows = [shape.vocabulary + 1];
    let embedding = b.weight("embedding", &rows, shape.width, 6);
    let head = match shape.tied {
        true => embedding,
        false => b.weight("head", &rows, shape.width, 6),
    };
    let selected = Outer::Selected {
        input: ids,
        axes: vec![0],
    };
    let embed = vec![b.rows(embedding, vec![selected], 1)];
    let x = b.requant(
        "embed",
        &[length.clone(), width.clone()],
        vec![],
        embed,
        Activation::Clamp(31),
    );
    let (angles, distance) = b.angles(shape);

    // H(l) = x + Σ_{m<l} (O(m) + D(m)).
    let axes = [blocks.clone(), length.clone(), width.clone()];
    let rows = [blocks.clone(), length.clone()];
    let o = b.declare("o", &axes, Activation::Clamp(31));
    let down = b.declare("down", &axes, Activation::Clamp(31));
    let mut before = Access::identity(3);
    before.axes[0] = AxisMap::Before { iter: 0 };
    let mut stream = vec![
        x.read(1, Access::axes(&[1, 2])),
        o.read(1, before.clone()),
        down.read(1, before),
    ];
    b.begin_repeat(shape.blocks as u32);
    let y = b.norm("attention norm", shape.norms[0], &stream, &rows, shape.width);
    let product = b.attention(shape, &y, (&angles, distance));
    b.define("o", &o, vec![], vec![product]);
    stream.push(o.whole());
    let y = b.norm("feed-forward norm", shape.norms[1], &stream, &rows, shape.width);
    let product = b.feed_forward(shape, &y);
    b.define("down", &down, vec![], vec![product]);
    b.end_repeat();

    let sum = |act: &Act| Reads {
        reduce: vec![blocks.clone()],
        read: act.read(1, Access::axes(&[2, 0, 1])),
    };
    let last = vec![plain(x.whole()), sum(&o), sum(&down)];
    let last = b.requant("last", &axes[1..], last, vec![], Activation::Clamp(511));
    let y = b.norm("final norm", shape.norms[2], &[last.whole()], &axes[1..2], shape.width);
    let out = [length, Len::fixed(shape.vocabulary)];
    let product = Product {
        coefficient: 1,
        shared: Vec::new(),
        group: vec![width],
        a: Operand::Reads(vec![y.read(1, Access::axes(&[0, 2]))]),
        b: Operand::Weight {
            weight: head,
            outer: vec![Outer::axis(1)],
        },
    };
    b.output("logits", &out, vec![], vec![product], Label::ArgMax);
    Case::new(b, &[shape.tokens])
}
