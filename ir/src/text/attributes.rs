//! Attributes of operations, both ways: what [`attributes`] writes, [`operation`] reads.

use std::collections::BTreeMap;

use super::float::hex;
use super::print::{floats, ints};
use super::string::{quote, sigil};
use super::term::Term;
use crate::graph::Region;
use crate::op::{
    BinaryOp, Conv2d, Einsum, Literal, MaxDistance, Op, Pool, PoolKind, ReduceKind, Repeat, Requant, Rope, RopeLayout,
};
use crate::recipe::Template;
use crate::shape::Shape;
use crate::types::{Elem, Type};

/// Names and values, in the order of printing.
pub(super) fn attributes(op: &Op) -> Vec<(&'static str, String)> {
    match op {
        Op::Weight(name) => vec![("name", sigil('@', name))],
        Op::Const(Literal::Real(tensor)) => vec![("value", floats(tensor))],
        Op::Const(Literal::Integers { data, .. }) => vec![("value", ints(data))],
        Op::Iota { len, start, vocab } => {
            vec![
                ("len", len.to_string()),
                ("start", start.to_string()),
                ("vocab", vocab.to_string()),
            ]
        }
        Op::CausalMask {
            rows,
            cols,
            offset,
            window,
        } => {
            let mut list = vec![
                ("rows", rows.to_string()),
                ("cols", cols.to_string()),
                ("offset", offset.to_string()),
            ];
            list.extend(window.map(|w| ("window", w.to_string())));
            list
        }
        Op::Table { name, formula } => vec![("name", quote(name)), ("formula", format!("fn {formula}"))],
        Op::Requant(requant) => {
            let table = quote(&requant.table.to_string());
            let mut list = vec![
                ("shift", requant.shift.to_string()),
                ("table", table),
                ("scale", hex(requant.scale)),
            ];
            list.extend(requant.partial.then(|| ("partial", "true".to_owned())));
            list
        }
        Op::MaxDistance(MaxDistance { table, scale }) => {
            vec![("table", quote(&table.to_string())), ("scale", hex(*scale))]
        }
        Op::Contract(einsum) => vec![("einsum", quote(&einsum.to_string()))],
        Op::Conv2d(Conv2d {
            stride,
            pad,
            dilation,
            groups,
        }) => vec![
            ("stride", format!("{stride:?}")),
            ("pad", format!("{pad:?}")),
            ("dilation", format!("{dilation:?}")),
            ("groups", groups.to_string()),
        ],
        Op::Pool(Pool {
            kind,
            window,
            stride,
            pad,
            count_include_pad,
        }) => vec![
            ("kind", pool_name(*kind).to_owned()),
            ("window", format!("{window:?}")),
            ("stride", format!("{stride:?}")),
            ("pad", format!("{pad:?}")),
            ("count_include_pad", count_include_pad.to_string()),
        ],
        Op::Reduce { kind, axes, keepdims } => {
            let kind = kind.name().to_owned();
            vec![
                ("kind", kind),
                ("axes", format!("{axes:?}")),
                ("keepdims", keepdims.to_string()),
            ]
        }
        Op::BatchNorm { eps } | Op::RmsNorm { eps } | Op::LayerNorm { eps } => vec![("eps", hex(*eps))],
        Op::Rope(Rope {
            axis,
            start,
            rotary,
            layout,
            freq,
            scale,
            bits,
        }) => vec![
            ("axis", axis.to_string()),
            ("start", start.to_string()),
            ("rotary", rotary.to_string()),
            ("layout", layout_name(*layout).to_owned()),
            ("freq", format!("fn {freq}")),
            ("scale", hex(*scale)),
            ("bits", bits.to_string()),
        ],
        Op::Reshape(shape) | Op::Broadcast(shape) => vec![("shape", shape.to_string())],
        Op::Transpose(perm) => vec![("perm", format!("{perm:?}"))],
        Op::Concat { axis } => vec![("axis", axis.to_string())],
        Op::Slice { axis, start, end, step } => vec![
            ("axis", axis.to_string()),
            ("start", start.to_string()),
            ("end", end.to_string()),
            ("step", step.to_string()),
        ],
        Op::Pad { lo, hi, value } => {
            vec![
                ("lo", format!("{lo:?}")),
                ("hi", format!("{hi:?}")),
                ("value", hex(*value)),
            ]
        }
        Op::StateRead(name) | Op::StateAppend(name) => vec![("name", sigil('@', name))],
        Op::Repeat(repeat) => vec![
            ("index", repeat.index.clone()),
            ("count", repeat.count.to_string()),
            ("carried", repeat.carried.to_string()),
        ],
        Op::Binary(_) | Op::Softmax | Op::Embedding | Op::Where | Op::ArgMax => Vec::new(),
    }
}

fn pool_name(kind: PoolKind) -> &'static str {
    match kind {
        PoolKind::Max => "max",
        PoolKind::Avg => "avg",
    }
}

fn layout_name(layout: RopeLayout) -> &'static str {
    match layout {
        RopeLayout::Half => "half",
        RopeLayout::Interleaved => "interleaved",
    }
}

/// What was written of one operation.
pub(super) struct Written {
    pub(super) attributes: BTreeMap<String, Term>,
    pub(super) results: Vec<Type>,
    pub(super) body: Option<Region>,
}

impl Written {
    fn take<T>(&mut self, name: &str, read: impl FnOnce(Term) -> Result<T, String>) -> Result<T, String> {
        let term = self
            .attributes
            .remove(name)
            .ok_or_else(|| format!("attribute `{name}` is missing"))?;
        read(term).map_err(|why| format!("attribute `{name}`: {why}"))
    }

    fn word<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Result<T, String> {
        self.take(name, |term| {
            let word = term.word()?;
            let choice = choices.iter().find(|(text, _)| *text == word);
            choice
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("`{word}` is not one of its values"))
        })
    }

    fn truth(&mut self, name: &str) -> Result<bool, String> {
        self.word(name, &[("true", true), ("false", false)])
    }

    fn elem(&self) -> Result<Elem, String> {
        self.results
            .first()
            .map(|ty| ty.elem)
            .ok_or_else(|| "it defines a value".to_owned())
    }
}

/// The operation `name` with what was written of it; an attribute or body too many is an error.
pub(super) fn operation(name: &str, mut w: Written) -> Result<Op, String> {
    let op = read(name, &mut w)?;
    if let Some(extra) = w.attributes.keys().next() {
        return Err(format!("`{name}` has no attribute `{extra}`"));
    }
    if w.body.is_some() {
        return Err(format!("`{name}` has no body"));
    }
    Ok(op)
}

fn read(name: &str, w: &mut Written) -> Result<Op, String> {
    Ok(match name {
        "weight" => Op::Weight(w.take("name", Term::symbol)?),
        "const" => Op::Const(match w.elem()? {
            Elem::Real => Literal::Real(w.take("value", Term::floats)?.into()),
            elem => Literal::Integers {
                elem,
                data: w.take("value", Term::ints)?.into(),
            },
        }),
        "iota" => Op::Iota {
            len: w.take("len", Term::dim)?,
            start: w.take("start", Term::dim)?,
            vocab: w.take("vocab", Term::number)?,
        },
        "causal_mask" => Op::CausalMask {
            rows: w.take("rows", Term::dim)?,
            cols: w.take("cols", Term::dim)?,
            offset: w.take("offset", Term::dim)?,
            window: match w.attributes.contains_key("window") {
                true => Some(w.take("window", Term::number)?),
                false => None,
            },
        },
        "add" => Op::Binary(BinaryOp::Add),
        "sub" => Op::Binary(BinaryOp::Sub),
        "mul" => Op::Binary(BinaryOp::Mul),
        "div" => Op::Binary(BinaryOp::Div),
        "max" => Op::Binary(BinaryOp::Max),
        "min" => Op::Binary(BinaryOp::Min),
        "and" => Op::Binary(BinaryOp::And),
        "table" => Op::Table {
            name: w.take("name", Term::string)?,
            formula: w.take("formula", Term::formula)?,
        },
        "requant" => Op::Requant(Requant {
            shift: w.take("shift", Term::number)?,
            table: Template::parse(&w.take("table", Term::string)?).map_err(|e| e.to_string())?,
            scale: w.take("scale", Term::float)?,
            partial: w.attributes.contains_key("partial") && w.truth("partial")?,
        }),
        "max_distance" => Op::MaxDistance(MaxDistance {
            table: Template::parse(&w.take("table", Term::string)?).map_err(|e| e.to_string())?,
            scale: w.take("scale", Term::float)?,
        }),
        "contract" => Op::Contract(Einsum::parse(&w.take("einsum", Term::string)?).map_err(|e| e.to_string())?),
        "conv2d" => Op::Conv2d(Conv2d {
            stride: w.take("stride", Term::numbers)?,
            pad: w.take("pad", Term::numbers)?,
            dilation: w.take("dilation", Term::numbers)?,
            groups: w.take("groups", Term::number)?,
        }),
        "pool" => Op::Pool(Pool {
            kind: w.word("kind", &[("max", PoolKind::Max), ("avg", PoolKind::Avg)])?,
            window: w.take("window", Term::numbers)?,
            stride: w.take("stride", Term::numbers)?,
            pad: w.take("pad", Term::numbers)?,
            count_include_pad: w.truth("count_include_pad")?,
        }),
        "reduce" => Op::Reduce {
            kind: w.word(
                "kind",
                &[
                    ("sum", ReduceKind::Sum),
                    ("mean", ReduceKind::Mean),
                    ("max", ReduceKind::Max),
                ],
            )?,
            axes: w.take("axes", Term::number_list)?,
            keepdims: w.truth("keepdims")?,
        },
        "batch_norm" => Op::BatchNorm {
            eps: w.take("eps", Term::float)?,
        },
        "rms_norm" => Op::RmsNorm {
            eps: w.take("eps", Term::float)?,
        },
        "layer_norm" => Op::LayerNorm {
            eps: w.take("eps", Term::float)?,
        },
        "softmax" => Op::Softmax,
        "rope" => Op::Rope(Rope {
            axis: w.take("axis", Term::number)?,
            start: w.take("start", Term::dim)?,
            rotary: w.take("rotary", Term::number)?,
            layout: w.word(
                "layout",
                &[("half", RopeLayout::Half), ("interleaved", RopeLayout::Interleaved)],
            )?,
            freq: w.take("freq", Term::formula)?,
            scale: w.take("scale", Term::float)?,
            bits: w.take("bits", Term::number)?,
        }),
        "embedding" => Op::Embedding,
        "where" => Op::Where,
        "argmax" => Op::ArgMax,
        "reshape" => Op::Reshape(Shape(w.take("shape", Term::dims)?)),
        "broadcast" => Op::Broadcast(Shape(w.take("shape", Term::dims)?)),
        "transpose" => Op::Transpose(w.take("perm", Term::number_list)?),
        "concat" => Op::Concat {
            axis: w.take("axis", Term::number)?,
        },
        "slice" => Op::Slice {
            axis: w.take("axis", Term::number)?,
            start: w.take("start", Term::dim)?,
            end: w.take("end", Term::dim)?,
            step: w.take("step", Term::number)?,
        },
        "pad" => Op::Pad {
            lo: w.take("lo", Term::number_list)?,
            hi: w.take("hi", Term::number_list)?,
            value: w.take("value", Term::float)?,
        },
        "state_read" => Op::StateRead(w.take("name", Term::symbol)?),
        "state_append" => Op::StateAppend(w.take("name", Term::symbol)?),
        "repeat" => Op::Repeat(Box::new(Repeat {
            index: w.take("index", Term::word)?,
            count: w.take("count", Term::number)?,
            carried: w.take("carried", Term::number)?,
            body: w.body.take().ok_or("a repeat region has a body")?,
        })),
        _ => return Err(format!("there is no operation `{name}`")),
    })
}
