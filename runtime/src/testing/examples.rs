//! Hand-built circuits, one per shape of network.

use mlc_circuit::{Access, AxisMap, Label, Len, Operand, Outer, Product, Read, Reads};

use super::{Act, Activation, Builder, Case, Conv, plain};

/// `logits = W2 · relu(W1 · x + b1) + b2` with a run-time batch of `batch` rows, `k` features, `hidden` units, and
/// `classes` outputs.
pub fn linear_relu(batch: u32, k: usize, hidden: usize, classes: usize) -> Case {
    let mut b = Builder::new("linear relu", 1);
    let rows = b.dim("batch", 2 * batch);
    let x = b.input("x", &[rows, Len::fixed(k)], -128, 127);
    let (out, product) = b.linear("fc1", &x, 1, hidden, 8);
    let bias = b.bias("fc1.bias", 1, hidden, 12);
    let h = b.requant("fc1", &out, vec![], vec![product, bias], Activation::Relu(127));
    let (out, product) = b.linear("fc2", &h, 1, classes, 8);
    let bias = b.bias("fc2.bias", 1, classes, 12);
    b.output("logits", &out, vec![], vec![product, bias], Label::ArgMax);
    Case::new(b, &[batch])
}

/// The label of the greatest of `classes` scores `W · x + b`, of `rows` rows or of a single one without an axis; a bias is a
/// contraction over one position, and each second product has its weight first. The scores are not in the statement.
pub fn greatest_label(rows: Option<u32>, k: usize, classes: usize) -> Case {
    let mut b = Builder::new("greatest label", 6);
    let lead: Vec<Len> = rows.map(|n| b.dim("batch", 2 * n)).into_iter().collect();
    let x = b.input("x", &[lead.clone(), vec![Len::fixed(k)]].concat(), -8, 7);
    let (out, product) = b.linear("fc", &x, 1, classes, 5);
    let bias = b.weight("bias", &[classes], 1, 7);
    let bias = Product {
        coefficient: 3,
        shared: Vec::new(),
        group: vec![Len::fixed(1)],
        a: Operand::Weight {
            weight: bias,
            outer: vec![Outer::axis(lead.len() as u8)],
        },
        b: Operand::One,
    };
    b.output("echo", &x.axes, vec![plain(x.whole())], vec![], Label::None);
    b.greatest("label", &out, vec![product, bias]);
    b.output("again", &x.axes, vec![plain(x.whole())], vec![], Label::None);
    Case::new(b, rows.as_slice())
}

/// A private image `[batch, channels, side, side]`, a padded 3x3 convolution to `filters` channels, 2x2 max pooling
/// of stride 2, relu, and a linear layer.
pub fn conv_max_pool(batch: u32, channels: usize, side: usize, filters: usize) -> Case {
    let mut b = Builder::new("conv max pool", 2);
    let rows = b.dim("batch", 2 * batch);
    let image = [rows, Len::fixed(channels), Len::fixed(side), Len::fixed(side)];
    let x = b.private_input("image", &image, 0, 8);
    let conv = Conv {
        pad: 1,
        ..Conv::new(filters, 3)
    };
    let (source, product) = b.conv("conv", &x, conv, 8);
    let bias = b.bias("conv.bias", 1, filters, 12);
    let x = max_pool(&mut b, "conv", &source, vec![product, bias], 2, 2, 0);
    let (out, product) = b.linear("fc", &x, 3, 10, 8);
    b.output("logits", &out, vec![], vec![product], Label::ArgMax);
    Case::new(b, &[batch])
}

/// Requantises `source = [.., h, w]` and takes the maximum over square windows, then relu.
pub(super) fn max_pool(
    b: &mut Builder,
    name: &str,
    source: &[Len],
    products: Vec<Product>,
    window: usize,
    stride: usize,
    pad: usize,
) -> Act {
    let r = source.len();
    let mut leading = source.to_vec();
    for l in &mut leading[r - 2..] {
        *l = Len::fixed((l.constant as usize + 2 * pad - window) / stride + 1);
    }
    let mut access = Access::identity(r);
    for (i, map) in access.axes[r - 2..].iter_mut().enumerate() {
        *map = AxisMap::Affine {
            offset: -(pad as i32),
            parts: vec![((r - 2 + i) as u8, stride as i32), ((r + i) as u8, 1)],
        };
    }
    b.requant_max(
        name,
        source,
        (vec![], products),
        &leading,
        &[window, window],
        access,
        Activation::Relu(127),
    )
}

/// `blocks` residual blocks `h += W2 · relu(W1 · h)` of width `d` over `batch` rows, with distinct weights, as one
/// repetition; the stream is virtual, `h(l) = x + Σ_{m<l} o(m)`.
pub fn residual_blocks(batch: usize, d: usize, blocks: usize) -> Case {
    let mut b = Builder::new("residual blocks", 3);
    b.table_bits = 10;
    let rows = Len::fixed(batch);
    let x = b.input("x", &[rows.clone(), Len::fixed(d)], -128, 127);
    let out = residual_stream(&mut b, &x, blocks, 8);
    let sum = Reads {
        reduce: vec![Len::fixed(blocks)],
        read: out.read(1, Access::axes(&[2, 0, 1])),
    };
    b.output("y", &x.axes, vec![plain(x.whole()), sum], vec![], Label::None);
    Case::new(b, &[])
}

/// The blocks' outputs `o[l, batch, d]` of [`residual_blocks`] on `x[batch, d]`.
pub(super) fn residual_stream(b: &mut Builder, x: &Act, blocks: usize, bits: u8) -> Act {
    let (rows, width) = (x.axes[0].clone(), x.axes[1].clone());
    let d = width.constant as usize;
    let axes = [Len::fixed(blocks), rows, width];
    let up = b.weight("up", &[blocks, d], d, bits);
    let down = b.weight("down", &[blocks, d], d, bits);
    let layer = |reads: Vec<Read>, weight| Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![Len::fixed(d)],
        a: Operand::Reads(reads),
        b: Operand::Weight {
            weight,
            outer: vec![Outer::axis(0), Outer::axis(2)],
        },
    };
    let o = b.declare("o", &axes, Activation::Clamp(127));
    let before = Access {
        axes: vec![AxisMap::Before { iter: 0 }, AxisMap::iter(1), AxisMap::iter(3)],
        gates: Vec::new(),
    };
    let stream = vec![x.read(1, Access::axes(&[1, 3])), o.read(1, before)];
    b.begin_repeat(blocks as u32);
    let h = b.requant("up", &axes, vec![], vec![layer(stream, up)], Activation::Relu(127));
    let h = h.read(1, Access::axes(&[0, 1, 3]));
    b.define("o", &o, vec![], vec![layer(vec![h], down)]);
    b.end_repeat();
    o
}
