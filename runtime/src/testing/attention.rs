//! Layers of transformers: embeddings by tokens and positions, products with constants, masked softmax.

use mlc_circuit::{
    Access, AxisMap, Causal, Equation, FormSource, FormTerm, Label, Left, Len, Operand, Outer, Product, Read, Reads,
    SiteRef, Source, Step, Table, VirtualSite,
};

use super::{Act, Activation, Builder, Case, plain};

/// What hides positions of a row.
#[derive(Debug, Clone)]
pub enum Mask {
    /// Keys after the query, and those before a window.
    Causal(Causal),
    /// A public input of 0 and 1, read by an access.
    Input(u16, Access),
}

impl Builder {
    /// `weight[selected rows]` at output axes `.. ++ [last]`, where `last` is the contraction axis.
    pub fn rows(&self, weight: u16, outer: Vec<Outer>, last: u8) -> Product {
        Product {
            coefficient: 1,
            shared: vec![last],
            group: Vec::new(),
            a: Operand::One,
            b: Operand::Weight { weight, outer },
        }
    }

    /// Arbitrary values of `maximum - t` where visible and 0 where hidden, for `t = Σ reads + Σ products`, requantised;
    /// the maximum is over the last axis.
    pub fn masked_softmax(
        &mut self,
        name: &str,
        axes: &[Len],
        (reads, products): (Vec<Reads>, Vec<Product>),
        masks: &[Mask],
        max: i32,
    ) -> Act {
        let (t, bits, _) = self.digits(name, axes, reads, products);
        let leading = &axes[..axes.len() - 1];
        let range = self.table(Table::range(bits as u8));
        let maximum = self.segment(format!("{name}.max"), leading, Some(range), true);
        let limit = 1usize << bits;
        let rows = (limit * (1 + 2 * masks.len())).next_power_of_two();
        let column = |f: &mut dyn FnMut(usize) -> i32| (0..rows).map(|i| if i < limit { f(i) } else { 0 }).collect();
        let indicator = column(&mut |i| i32::from(i == 0));
        let rng = &mut self.rng;
        let weights = column(&mut |_| rng.range(0, max.into()) as i32);
        let table = self.table(Table {
            name: format!("{name}.weights"),
            log_rows: rows.ilog2() as u8,
            columns: vec![indicator, weights],
        });
        let term = |coefficient, source, access| FormTerm {
            coefficient,
            source,
            access,
        };
        let mut index = vec![
            term(1, FormSource::Segment(maximum), Access::identity(leading.len())),
            term(-1, FormSource::Segment(t), Access::identity(axes.len())),
        ];
        index.extend(masks.iter().map(|m| match m {
            Mask::Causal(c) => term(2 * limit as i32, FormSource::Causal(c.clone()), Access::identity(0)),
            Mask::Input(i, access) => term(2 * limit as i32, FormSource::Input(*i), access.clone()),
        }));
        self.entry().sites.push(VirtualSite {
            name: format!("{name}.difference"),
            axes: axes.to_vec(),
            table,
            index,
            ranged: false,
        });
        let site = self.entry().sites.len() as u16 - 1;
        self.step(Step::Max { site });
        let site = SiteRef::Virtual(site);
        // At most 2^5 positions in a row: the longest axis of a test.
        let range = self.table(Table::range(5));
        let n = self.segment(format!("{name}.attained"), leading, Some(range), true);
        self.equation(Equation {
            name: format!("{name}.attained"),
            out: leading.to_vec(),
            left: Left::Cells(vec![(1, n)]),
            partial: false,
            constant: -1,
            reads: vec![Reads {
                reduce: axes[leading.len()..].to_vec(),
                read: Read {
                    coefficient: 1,
                    source: Source::Lookup { site, column: 0 },
                    access: Access::identity(axes.len()),
                },
            }],
            products: Vec::new(),
        });
        Act {
            source: Source::Lookup { site, column: 1 },
            axes: axes.to_vec(),
        }
    }
}

/// A causal mask over the last two of `rank` axes.
pub(super) fn causal(rank: usize, offset: usize, window: Option<u32>) -> Mask {
    Mask::Causal(Causal {
        row: rank as u8 - 2,
        col: rank as u8 - 1,
        offset: Len::fixed(offset),
        window,
    })
}

/// One layer of attention over `batch` sequences of up to `most` tokens, `tokens` of them given: embeddings by token and
/// by position (from row `offset`), products with a constant, masked scores, weighted sums, and logits over the
/// vocabulary with the embedding as head. `hide` adds a mask in the statement.
pub fn tokens_to_logits(batch: usize, tokens: u32, most: u32, vocabulary: usize, width: usize, hide: bool) -> Case {
    let logits = |b: &mut Builder, out: &[Len], head| b.output("logits", out, vec![], vec![head], Label::ArgMax);
    language_model([batch, vocabulary, width], [tokens, most], hide, logits)
}

/// [`tokens_to_logits`] of which the statement has the index of the greatest logit alone.
pub fn tokens_to_next(batch: usize, tokens: u32, most: u32, vocabulary: usize, width: usize, hide: bool) -> Case {
    let next = |b: &mut Builder, out: &[Len], head| b.greatest("next", out, vec![head]);
    language_model([batch, vocabulary, width], [tokens, most], hide, next)
}

fn language_model(
    [batch, vocabulary, width]: [usize; 3],
    [tokens, most]: [u32; 2],
    hide: bool,
    output: impl FnOnce(&mut Builder, &[Len], Product),
) -> Case {
    let mut b = Builder::new("tokens to logits", 11);
    let rows = Len::fixed(batch);
    let length = b.dim("tokens", most);
    let sequence = [rows.clone(), length.clone()];
    let ids = b.input("ids", &sequence, 0, vocabulary as i32 - 1);
    let Source::Input(ids) = ids.source else {
        unreachable!("an input is a source of its kind")
    };
    let offset = 2;
    let embedding = b.weight("embedding", &[vocabulary], width, 6);
    let positions = b.weight("positions", &[most as usize + offset], width, 6);
    let selected = Outer::Selected {
        input: ids,
        axes: vec![0, 1],
    };
    let place = Outer::Axis {
        axis: 1,
        offset: Len::fixed(offset),
    };
    let axes = [rows.clone(), length.clone(), Len::fixed(width)];
    let embed = vec![b.rows(embedding, vec![selected], 2), b.rows(positions, vec![place], 2)];
    let x = b.requant("embed", &axes, vec![], embed, Activation::Clamp(31));
    // Products with a constant that is longer than the sequence, read from its second row.
    let angles = b.constant("angles", &[most as usize + 3, width], 15);
    let mut shifted = Access::axes(&[1, 2]);
    shifted.axes[0] = AxisMap::Affine {
        offset: 1,
        parts: vec![(1, 1)],
    };
    let turned = Product {
        coefficient: 1,
        shared: vec![1, 2],
        group: Vec::new(),
        a: Operand::Reads(vec![x.whole()]),
        b: Operand::Reads(vec![angles.read(1, shifted.clone())]),
    };
    let q = b.requant(
        "turn",
        &axes,
        vec![plain(angles.read(2, shifted))],
        vec![turned],
        Activation::Clamp(31),
    );
    let square = [rows.clone(), length.clone(), length.clone()];
    let scores = Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![Len::fixed(width)],
        a: Operand::Reads(vec![q.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Reads(vec![x.read(1, Access::axes(&[0, 2, 3]))]),
    };
    let mut masks = vec![causal(3, 0, None)];
    if hide {
        let mask = b.input("hidden", &sequence, 0, 1);
        if let Source::Input(mask) = mask.source {
            masks.push(Mask::Input(mask, Access::axes(&[0, 2])));
        }
    }
    let p = b.masked_softmax("scores", &square, (vec![], vec![scores]), &masks, 31);
    let weighted = Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![length],
        a: Operand::Reads(vec![p.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Reads(vec![x.read(1, Access::axes(&[0, 3, 2]))]),
    };
    let y = b.requant("mix", &axes, vec![], vec![weighted], Activation::Clamp(31));
    let mut out = sequence.to_vec();
    out.push(Len::fixed(vocabulary));
    let head = Product {
        coefficient: 1,
        shared: Vec::new(),
        group: vec![Len::fixed(width)],
        a: Operand::Reads(vec![y.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Weight {
            weight: embedding,
            outer: vec![Outer::axis(2)],
        },
    };
    output(&mut b, &out, head);
    let mut case = Case::new(b, &[tokens]);
    show_first(&mut case);
    case
}

/// One layer of attention with a cache, over `batch` sequences of up to `most` tokens in all, read link by link: embeddings by
/// token and position, turned queries and keys, a causal mask, weighted sums, logits and the greatest of them. Queries are those of a link, keys and
/// values those of all links so far. The dimensions are `tokens` and `past`; inputs are of the first link.
pub fn cached_attention(batch: usize, tokens: u32, most: u32, vocabulary: usize, width: usize) -> Case {
    let mut b = Builder::new("cached attention", 13);
    let rows = Len::fixed(batch);
    let length = b.dim("tokens", most);
    let past = b.past(&length, most);
    let whole = past.plus(&length).sorted();
    let sequence = [rows.clone(), length.clone()];
    let ids = b.input("ids", &sequence, 0, vocabulary as i32 - 1);
    let Source::Input(ids) = ids.source else {
        unreachable!("an input is a source of its kind")
    };
    let embedding = b.weight("embedding", &[vocabulary], width, 6);
    let positions = b.weight("positions", &[most as usize], width, 6);
    let selected = Outer::Selected {
        input: ids,
        axes: vec![0, 1],
    };
    let place = Outer::Axis {
        axis: 1,
        offset: past.clone(),
    };
    let axes = [rows.clone(), length.clone(), Len::fixed(width)];
    let embed = vec![b.rows(embedding, vec![selected], 2), b.rows(positions, vec![place], 2)];
    let x = b.requant("embed", &axes, vec![], embed, Activation::Clamp(31));
    let angles = b.constant("angles", &[most as usize + 1, width], 15);
    let mut from_past = Access::axes(&[1, 2]);
    from_past.axes[0] = AxisMap::From {
        dim: past.per_dim[0].0,
        offset: 1,
        parts: vec![(1, 1)],
    };
    let turned = Product {
        coefficient: 1,
        shared: vec![1, 2],
        group: Vec::new(),
        a: Operand::Reads(vec![x.whole()]),
        b: Operand::Reads(vec![angles.read(1, from_past)]),
    };
    let q = b.requant("queries", &axes, vec![], vec![turned.clone()], Activation::Clamp(31));
    let k = b.requant(
        "keys",
        &axes,
        vec![plain(x.whole())],
        vec![turned],
        Activation::Clamp(31),
    );
    b.grow(&k, 1);
    let v = b.requant("values", &axes, vec![plain(x.whole())], vec![], Activation::Clamp(15));
    b.grow(&v, 1);
    let square = [rows.clone(), length.clone(), whole.clone()];
    let scores = Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![Len::fixed(width)],
        a: Operand::Reads(vec![q.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Reads(vec![k.read(1, Access::axes(&[0, 2, 3]))]),
    };
    let mask = Mask::Causal(Causal {
        row: 1,
        col: 2,
        offset: past,
        window: None,
    });
    let p = b.masked_softmax("scores", &square, (vec![], vec![scores]), &[mask], 31);
    let weighted = Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![whole],
        a: Operand::Reads(vec![p.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Reads(vec![v.read(1, Access::axes(&[0, 3, 2]))]),
    };
    let y = b.requant("mix", &axes, vec![], vec![weighted], Activation::Clamp(31));
    let mut out = sequence.to_vec();
    out.push(Len::fixed(vocabulary));
    let head = Product {
        coefficient: 1,
        shared: Vec::new(),
        group: vec![Len::fixed(width)],
        a: Operand::Reads(vec![y.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Weight {
            weight: embedding,
            outer: vec![Outer::axis(2)],
        },
    };
    b.output("logits", &out, vec![], vec![head.clone()], Label::ArgMax);
    b.greatest("next", &out, vec![head]);
    Case::new(b, &[tokens, 0])
}

/// Makes every row of a masked maximum visible somewhere: the first key of inputs named "hidden", or, where they hide
/// query by query, the diagonal.
pub(super) fn show_first(case: &mut Case) {
    let dims = case.dims.clone();
    for (i, values) in case.circuit.entries[0].inputs.iter().zip(&mut case.inputs) {
        if i.name != "hidden" {
            continue;
        }
        let lens: Vec<usize> = i.axes.iter().map(|l| l.at(&dims).unwrap_or(1)).collect();
        let keys = lens.last().copied().unwrap_or(1);
        for (row, values) in values.chunks_exact_mut(keys).enumerate() {
            values[if lens.len() == 3 { row % lens[1] } else { 0 }] = 0;
        }
    }
}
