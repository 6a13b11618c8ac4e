//! Random circuits: layers of every kind over odd shapes, with arbitrary tables.

use mlc_circuit::{Access, AxisMap, Gate, Label, Len, Operand, Outer, Product, Read, Reads, Source};

use super::attention::{Mask, causal, show_first};
use super::examples::{max_pool, residual_stream};
use super::{Act, Activation, Builder, Case, Conv, plain};

/// Lengths with every odd part that layouts meet: 1, 3, 5·2^k, 17, powers of two.
const LENS: [usize; 10] = [1, 2, 3, 4, 5, 8, 10, 16, 17, 20];

/// The random case of a seed: a few thousand cells at most.
pub fn random(seed: u64) -> Case {
    let mut b = Builder::new(&format!("random {seed}"), seed);
    b.table_bits = b.rng.len(3, 9) as u32;
    let max = b.rng.len(1, 5) as u32;
    let fixed = b.rng.once_in(4);
    let batch = if fixed {
        Len::fixed(b.rng.len(1, 3))
    } else {
        b.dim("batch", max)
    };
    let kind = b.rng.len(0, 8);
    match kind {
        0 | 1 => mlp(&mut b, batch),
        2 | 3 => image(&mut b, batch),
        4 => residual(&mut b, batch),
        5 => products(&mut b, batch),
        _ => attention(&mut b, batch),
    }
    let value = b.rng.len(1, max as usize) as u32;
    let dims = if fixed { vec![] } else { vec![value] };
    let mut case = Case::new(b, &dims);
    show_first(&mut case);
    case
}

fn input(b: &mut Builder, name: &str, axes: &[Len]) -> Act {
    let lo = b.rng.pick(&[-128, 0, -7, 3]);
    if b.rng.once_in(2) {
        let bits = b.rng.len(1, 8) as u8;
        return b.private_input(name, axes, lo, bits);
    }
    let span = b.rng.len(0, 300) as i32;
    b.input(name, axes, lo, lo + span)
}

fn activation(b: &mut Builder) -> Activation {
    let max = b.rng.pick(&[1, 7, 127, 127, 255, 3000]);
    b.rng
        .pick(&[Activation::Clamp(max), Activation::Relu(max), Activation::Random(max)])
}

fn bits(b: &mut Builder) -> u8 {
    b.rng.pick(&[2, 4, 8, 8, 11])
}

/// A fully connected layer over the last `rank` axes, with or without a bias.
fn dense(b: &mut Builder, name: &str, x: &Act, rank: usize, n: usize) -> (Vec<Len>, Vec<Product>) {
    let wide = bits(b);
    let (out, product) = b.linear(name, x, rank, n, wide);
    let mut products = vec![product];
    if b.rng.once_in(2) {
        products.push(b.bias(&format!("{name}.bias"), out.len() - 1, n, 10));
    }
    (out, products)
}

fn logits(b: &mut Builder, x: &Act) {
    let n = b.rng.pick(&LENS);
    let (out, mut products) = dense(b, "logits", x, x.axes.len() - 1, n);
    if b.rng.once_in(3) {
        products[0].coefficient = -3;
    }
    if b.rng.once_in(3) {
        products.truncate(1);
        return b.greatest("next", &out, products);
    }
    b.output("logits", &out, vec![], products, Label::ArgMax);
}

fn mlp(b: &mut Builder, batch: Len) {
    let k = b.rng.pick(&LENS);
    let mut x = input(b, "x", &[batch, Len::fixed(k)]);
    for layer in 0..b.rng.len(0, 2) {
        let (name, n) = (format!("fc{layer}"), b.rng.pick(&LENS));
        let (out, products) = dense(b, &name, &x, 1, n);
        // Now and then a skip connection from the layer's own input, shifted by one and strided.
        let mut reads = Vec::new();
        if b.rng.once_in(2) {
            let shift = b.rng.range(-3, 3) as i32;
            let stride = b.rng.len(1, 3) as i32;
            let parts = vec![(1, stride)];
            let axes = vec![AxisMap::iter(0), AxisMap::Affine { offset: shift, parts }];
            reads.push(plain(x.read(b.rng.pick(&[1, -1, 5]), Access { axes, gates: vec![] })));
        }
        let f = activation(b);
        x = b.requant(&name, &out, reads, products, f);
    }
    logits(b, &x);
}

fn image(b: &mut Builder, batch: Len) {
    let (c, h, w) = (b.rng.pick(&[1, 2, 3, 4, 6]), b.rng.len(3, 9), b.rng.len(3, 9));
    let mut x = input(b, "image", &[batch, Len::fixed(c), Len::fixed(h), Len::fixed(w)]);
    let groups = if c > 1 && b.rng.once_in(3) {
        c / (1 + (c + 1) % 2)
    } else {
        1
    };
    let conv = Conv {
        channels: groups * b.rng.len(1, 3),
        kernel: b.rng.len(1, 3),
        stride: b.rng.len(1, 2),
        pad: b.rng.len(0, 2),
        dilation: 1,
        groups,
    };
    let conv = Conv {
        dilation: if conv.kernel == 2 { 2 } else { 1 },
        ..conv
    };
    let wide = bits(b);
    let (out, product) = b.conv("conv", &x, conv, wide);
    let side = out[out.len() - 2..].iter().map(|l| l.constant).min().unwrap_or(1) as usize;
    if b.rng.once_in(3) {
        let f = activation(b);
        x = b.requant("conv", &out, vec![], vec![product], f);
    } else {
        let window = b.rng.len(1, side.min(3));
        let (stride, pad) = (b.rng.len(1, 2), b.rng.len(0, window - 1));
        x = max_pool(b, "conv", &out, vec![product], window, stride, pad);
    }
    if b.rng.once_in(3) {
        // Average over the image: a reduction.
        let r = x.axes.len();
        let kept = x.axes[..r - 2].to_vec();
        let sum = Reads {
            reduce: x.axes[r - 2..].to_vec(),
            read: x.whole(),
        };
        let f = activation(b);
        x = b.requant("mean", &kept, vec![sum], vec![], f);
    }
    logits(b, &x);
}

fn residual(b: &mut Builder, batch: Len) {
    let (d, blocks) = (b.rng.pick(&[1, 3, 4, 5, 8, 10]), b.rng.pick(&[1, 2, 3, 4, 6]));
    let x = input(b, "x", &[batch, Len::fixed(d)]);
    if b.rng.once_in(2) {
        let out = residual_stream(b, &x, blocks, 6);
        let sum = Reads {
            reduce: vec![Len::fixed(blocks)],
            read: out.read(1, Access::axes(&[2, 0, 1])),
        };
        b.output("y", &x.axes, vec![plain(x.whole()), sum], vec![], Label::None);
    } else {
        chain(b, &x, d, blocks);
    }
}

/// Blocks that each read the block before, the first one the input.
fn chain(b: &mut Builder, x: &Act, d: usize, blocks: usize) {
    let axes = [Len::fixed(blocks), x.axes[0].clone(), Len::fixed(d)];
    let weight = b.weight("chain", &[blocks, d], d, 6);
    let f = activation(b);
    let o = b.declare("chain", &axes, f);
    let first = Access {
        axes: vec![AxisMap::iter(1), AxisMap::iter(3)],
        gates: vec![Gate { iter: 0, at: 0 }],
    };
    let mut previous = Access::axes(&[0, 1, 3]);
    previous.axes[0] = AxisMap::Affine {
        offset: -1,
        parts: vec![(0, 1)],
    };
    let product = Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![Len::fixed(d)],
        a: Operand::Weight {
            weight,
            outer: vec![Outer::axis(0), Outer::axis(2)],
        },
        b: Operand::Reads(vec![x.read(1, first), o.read(1, previous)]),
    };
    b.begin_repeat(blocks as u32);
    b.define("chain", &o, vec![], vec![product]);
    b.end_repeat();
    let mut last = Access::axes(&[0, 0, 1]);
    last.axes[0] = AxisMap::constant(blocks as i32 - 1);
    b.output("y", &x.axes, vec![plain(o.read(1, last))], vec![], Label::None);
}

/// Products of activations: elementwise, and contractions as in attention.
fn products(b: &mut Builder, batch: Len) {
    let (n, k) = (b.rng.pick(&LENS), b.rng.pick(&LENS));
    let axes = [batch, Len::fixed(n), Len::fixed(k)];
    let (x, y) = (input(b, "x", &axes), input(b, "y", &axes));
    let elementwise = Product {
        coefficient: 1,
        shared: vec![0, 1, 2],
        group: vec![],
        a: Operand::Reads(vec![x.whole()]),
        b: Operand::Reads(vec![y.whole(), x.read(-2, Access::identity(3))]),
    };
    let scale = b.weight("scale", &[], k, 6);
    let scaled = Product {
        coefficient: 2,
        shared: vec![2],
        group: vec![],
        a: Operand::Reads(vec![x.whole()]),
        b: Operand::Weight {
            weight: scale,
            outer: vec![],
        },
    };
    let f = activation(b);
    let z = b.requant("z", &axes, vec![plain(y.whole())], vec![elementwise, scaled], f);
    // s[b, i, j] = Σ_k z[b, i, k] · y[b, j, k].
    let mut square = axes.to_vec();
    square[2] = axes[1].clone();
    let scores = Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![Len::fixed(k)],
        a: Operand::Reads(vec![z.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Reads(vec![y.read(1, Access::axes(&[0, 2, 3]))]),
    };
    let f = activation(b);
    let s = b.requant("s", &square, vec![], vec![scores], f);
    // The running sum along the second axis.
    let before = Read {
        coefficient: 1,
        source: s.source,
        access: Access {
            axes: vec![AxisMap::iter(0), AxisMap::Before { iter: 1 }, AxisMap::iter(2)],
            gates: vec![],
        },
    };
    let f = activation(b);
    let x = b.requant("sums", &square, vec![plain(before)], vec![], f);
    logits(b, &x);
}

/// A transformer's pieces in arbitrary combination: rows selected by tokens and positions, constants, masked softmax.
fn attention(b: &mut Builder, batch: Len) {
    let (n, d) = (b.rng.pick(&LENS), b.rng.pick(&[1, 2, 3, 5, 8, 17]));
    let tokens = Len::fixed(n);
    let sequence = [batch.clone(), tokens.clone()];
    let axes = [batch.clone(), tokens.clone(), Len::fixed(d)];
    let vocabulary = b.rng.pick(&[1, 2, 3, 7, 16, 20]);
    let low = b.rng.len(0, vocabulary - 1);
    let ids = b.input("ids", &sequence, low as i32, vocabulary as i32 - 1);
    let Source::Input(ids) = ids.source else { return };
    let selected = |axes: &[u8]| Outer::Selected {
        input: ids,
        axes: axes.to_vec(),
    };
    let offset = b.rng.len(0, 3);
    let spare = b.rng.len(0, 3);
    let place = |axis: u8| Outer::Axis {
        axis,
        offset: Len::fixed(offset),
    };
    // Rows of one table by token, of another by token and position, in either order.
    let embedding = b.weight("embedding", &[vocabulary], d, 5);
    let positions = b.weight("positions", &[n + offset + spare], d, 5);
    let mut embed = vec![
        b.rows(embedding, vec![selected(&[0, 1])], 2),
        b.rows(positions, vec![place(1)], 2),
    ];
    if b.rng.once_in(2) {
        let classes = b.input("classes", std::slice::from_ref(&batch), 0, 2);
        if let Source::Input(input) = classes.source {
            let by_class = Outer::Selected { input, axes: vec![0] };
            let (outer, lens) = if b.rng.once_in(2) {
                (vec![by_class, place(1)], [3, n + offset])
            } else {
                (vec![place(1), by_class], [n + offset, 3])
            };
            let joint = b.weight("joint", &lens, d, 5);
            embed.push(b.rows(joint, outer, 2));
        }
    }
    let f = activation(b);
    let mut x = b.requant("embed", &axes, vec![], embed, f);

    // Constants: longer or shorter than what reads them, in reads and in products.
    let (long, shift) = (b.rng.len(1, n + 3), b.rng.range(-2, 2) as i32);
    let angles = b.constant("angles", &[long, d], 31);
    let mut access = Access::axes(&[1, 2]);
    access.axes[0] = AxisMap::Affine {
        offset: shift,
        parts: vec![(1, 1)],
    };
    let turned = Product {
        coefficient: 1,
        shared: vec![1, 2],
        group: vec![],
        a: Operand::Reads(vec![x.whole()]),
        b: Operand::Reads(vec![angles.read(1, access.clone())]),
    };
    // Tokens in a factor whose output axes are shared: elementwise with the embedding.
    let scaled = Product {
        coefficient: -1,
        shared: vec![0, 1, 2],
        group: vec![],
        a: Operand::Weight {
            weight: embedding,
            outer: vec![selected(&[0, 1])],
        },
        b: Operand::Reads(vec![x.whole()]),
    };
    let products = if b.rng.once_in(2) {
        vec![turned, scaled]
    } else {
        vec![turned]
    };
    let f = activation(b);
    let y = b.requant("turn", &axes, vec![plain(angles.read(-3, access))], products, f);

    if b.rng.once_in(3) {
        // Tokens in a contraction with shared output axes: s[b, t] = Σ_k y[b, t, k] · embedding[ids[b, t], k].
        let own = Product {
            coefficient: 1,
            shared: vec![0, 1],
            group: vec![Len::fixed(d)],
            a: Operand::Reads(vec![y.read(1, Access::axes(&[0, 1, 2]))]),
            b: Operand::Weight {
                weight: embedding,
                outer: vec![selected(&[0, 1])],
            },
        };
        b.output("own", &sequence, vec![], vec![own], Label::None);
    }

    let square = [batch.clone(), tokens.clone(), tokens.clone()];
    let scores = Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![Len::fixed(d)],
        a: Operand::Reads(vec![y.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Reads(vec![x.read(1, Access::axes(&[0, 2, 3]))]),
    };
    let mut masks = Vec::new();
    let hides_by_query = b.rng.once_in(2);
    if b.rng.once_in(2) {
        // Hidden keys, alike for all queries or not; what is outside is not hidden.
        let lens = if hides_by_query { &square[..] } else { &sequence[..] };
        let mask = b.input("hidden", lens, 0, 1);
        if let Source::Input(i) = mask.source {
            let axes: &[u8] = if hides_by_query { &[0, 1, 2] } else { &[0, 2] };
            masks.push(Mask::Input(i, Access::axes(axes)));
        }
    }
    if masks.is_empty() || b.rng.once_in(2) {
        // A window leaves the diagonal visible; without the diagonal, only no window leaves the first key.
        let ahead = b.rng.len(0, 2);
        let window = if masks.is_empty() || hides_by_query {
            b.rng.pick(&[None, Some(ahead as u32 + 1), Some(ahead as u32 + 3)])
        } else {
            None
        };
        masks.push(causal(3, ahead, window));
    }
    let bits = b.table_bits;
    b.table_bits = bits.min(7);
    let p = b.masked_softmax("scores", &square, (vec![], vec![scores]), &masks, 15);
    b.table_bits = bits;
    let mix = Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![tokens],
        a: Operand::Reads(vec![p.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Reads(vec![x.read(1, Access::axes(&[0, 3, 2]))]),
    };
    let f = activation(b);
    x = b.requant("mix", &axes, vec![], vec![mix], f);
    let mut out = sequence.to_vec();
    out.push(Len::fixed(vocabulary));
    let head = Product {
        coefficient: 1,
        shared: vec![],
        group: vec![Len::fixed(d)],
        a: Operand::Reads(vec![x.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Weight {
            weight: embedding,
            outer: vec![Outer::axis(2)],
        },
    };
    if b.rng.once_in(2) {
        // A sum of layers, which may be 0 for every score: all are equal then.
        let mut twice = head.clone();
        twice.coefficient = b.rng.pick(&[2, -1]);
        return b.greatest("next", &out, vec![head, twice]);
    }
    b.output("logits", &out, vec![], vec![head], Label::ArgMax);
}
