//! Lowering: quantised IR to a [`mlc_circuit::Circuit`].
//!
//! A value stays symbolic ([`lin::Lin`]) until a requantisation commits it or an output writes it out; views, sums, biases
//! and windows cost nothing, and every equation of the circuit is one cut point.
//!
//! | file | what |
//! |---|---|
//! | [`axes`] | iteration axes by name, separable reads, substitution |
//! | [`lin`] | a value as constant + reads + products |
//! | [`view`] | reshape, slice, padding, broadcast as substitutions |
//! | [`linear`] | contractions, convolutions, products |
//! | [`weight`] | weights as operands, their recipes |
//! | [`builder`] | an entry's cells, equations, steps |
//! | [`greatest`] | the index of a greatest score |
//! | [`maximum`] | maxima of indices |
//! | [`rope`] | rotary embeddings as products with constants |
//! | [`repeat`] | repeated regions, residual streams |
//! | [`emit`] | symbolic equations written out |
//! | [`finish`] | tables fitted to proved bounds |
//! | [`predict`] | what the circuit costs |

mod axes;
mod builder;
mod emit;
mod error;
mod finish;
mod greatest;
mod lin;
mod linear;
mod maximum;
mod op;
mod predict;
mod repeat;
mod rope;
mod state;
mod view;
mod weight;

use std::collections::BTreeMap;

use mlc_circuit as c;
use mlc_circuit::Len;
use mlc_ir::{Dim, Elem, Entry, IntType, Module, Shape, Span, Stage, Type, ValueId, Visibility};

use builder::EntryBuilder;
use emit::Shared;
use lin::Lin;
use weight::WeightView;

pub use emit::WeightRecipe;
pub use error::LowerError;
pub use predict::{Cost, predict};

/// A circuit with what setup needs to fill its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowered {
    /// The circuit family; [`mlc_circuit::check::check`] accepts it.
    pub circuit: c::Circuit,
    /// One recipe per weight of the circuit, in order.
    pub weights: Vec<WeightRecipe>,
}

/// Choices that change the circuit but not the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerOptions {
    /// Greatest number of bits of one remainder digit; more dropped bits take several digits.
    pub limb_bits: u32,
}

impl Default for LowerOptions {
    /// Digits of at most 12 bits.
    fn default() -> Self {
        LowerOptions { limb_bits: 12 }
    }
}

/// A value while an entry is lowered.
#[derive(Debug, Clone)]
enum Val {
    Lin(Lin),
    Weight(WeightView),
    /// The position of the maximum of a value: a label of an output, or an output of its own, but no tensor.
    ArgMax(ValueId),
    /// Indices of rows: a public input, or positions.
    Index(Index),
}

/// Indices while an entry is lowered.
#[derive(Debug, Clone)]
struct Index {
    /// Axes of the dimensions.
    dims: Vec<Vec<axes::Ax>>,
    /// The public input; positions from an offset, along the only dimension, where there is none.
    input: Option<u16>,
    offset: Len,
}

/// Lowers a module of the quantised stage.
pub fn lower(module: &Module, options: &LowerOptions) -> Result<Lowered, LowerError> {
    if module.stage != Stage::Quantised {
        return Err(LowerError::Stage(module.name.clone()));
    }
    let dims = module
        .dims
        .iter()
        .map(|(name, range)| c::RuntimeDim {
            before: range
                .before
                .as_ref()
                .and_then(|tokens| u16::try_from(module.dims.get_index_of(tokens)?).ok()),
            name: name.clone(),
            max: u32::try_from(range.max).unwrap_or(u32::MAX),
        })
        .collect::<Vec<_>>();
    let mut shared = Shared::default();
    let mut entries = Vec::new();
    for (name, entry) in &module.entries {
        let mut lowering = EntryLowering {
            module,
            entry,
            b: EntryBuilder {
                limb_bits: options.limb_bits,
                dims: dims.clone(),
                ..EntryBuilder::default()
            },
            shared: &mut shared,
            vals: BTreeMap::new(),
        };
        lowering.run()?;
        let b = lowering.b;
        entries.push(b.finish(name, &dims, &mut shared)?);
    }
    let mut circuit = c::Circuit {
        name: module.name.clone(),
        dims,
        tables: shared.tables,
        weights: shared.weights,
        constants: shared.constants,
        entries,
    };
    circuit.range_unchecked_lookups();
    c::check::check(&circuit)?;
    Ok(Lowered {
        circuit,
        weights: shared.recipes,
    })
}

struct EntryLowering<'m> {
    module: &'m Module,
    entry: &'m Entry,
    b: EntryBuilder,
    shared: &'m mut Shared,
    vals: BTreeMap<ValueId, Val>,
}

/// Names a layer in an error.
struct Place {
    layer: String,
    op: &'static str,
    span: Option<Span>,
}

impl Place {
    fn fail(&self, why: impl Into<String>) -> LowerError {
        LowerError::Unsupported {
            layer: self.layer.clone(),
            op: self.op,
            why: why.into(),
            span: self.span.clone(),
        }
    }
}

impl EntryLowering<'_> {
    fn run(&mut self) -> Result<(), LowerError> {
        let entry = self.entry;
        for (port, id) in entry.inputs.iter().zip(&entry.body.params) {
            let place = Place {
                layer: port.name.clone(),
                op: "input",
                span: None,
            };
            let ty = entry.ty(*id);
            let value = match ty.elem {
                Elem::Index(vocab) => Val::Index(self.indices(&port.name, port.visibility, ty, vocab, &place)?),
                _ => Val::Lin(self.input(&port.name, port.visibility, ty, &place)?),
            };
            self.vals.insert(*id, value);
        }
        for node in &entry.body.nodes {
            self.node(node)?;
        }
        self.outputs()
    }

    /// The length of a dimension as the circuit writes it.
    fn len(&self, dim: &Dim, place: &Place) -> Result<Len, LowerError> {
        let small = |v: i64| u32::try_from(v).ok();
        let mut per_dim = Vec::new();
        for (name, coefficient) in dim.terms() {
            let index = self.module.dims.get_index_of(name).and_then(|i| u16::try_from(i).ok());
            let (Some(index), Some(coefficient)) = (index, small(coefficient)) else {
                return Err(place.fail(format!("the length {dim} is not a sum of run-time dimensions")));
            };
            per_dim.push((index, coefficient));
        }
        let constant = small(dim.constant())
            .ok_or_else(|| place.fail(format!("the length {dim} has a negative or too large constant part")))?;
        per_dim.sort_unstable();
        Ok(Len { constant, per_dim })
    }

    fn shape(&self, shape: &Shape, place: &Place) -> Result<Vec<Len>, LowerError> {
        shape.0.iter().map(|d| self.len(d, place)).collect()
    }

    fn input(&mut self, name: &str, visibility: Visibility, ty: &Type, place: &Place) -> Result<Lin, LowerError> {
        let int = match ty.elem {
            // Circuits count what is hidden.
            Elem::Mask => IntType {
                scale: 1.0,
                lo: 0,
                hi: 1,
            },
            elem => elem
                .int()
                .ok_or_else(|| place.fail("an input that is neither quantised nor a number"))?,
        };
        let lens = self.shape(&ty.shape, place)?;
        let index = self.b.inputs.len() as u16;
        let (tensor, kind) = match visibility {
            Visibility::Private | Visibility::Committed if ty.elem == Elem::Mask => {
                return Err(place.fail("a mask is in the statement; make it public"));
            }
            Visibility::Public => (c::Source::Input(index), c::InputKind::Public),
            Visibility::Private | Visibility::Committed => {
                let table = maximum::identity(int).ok_or_else(|| {
                    place.fail("a private input of more than 16 bits; make it public, or use fewer bits")
                })?;
                let id = self.shared.table(c::Table {
                    name: format!("id{}", table.bits()),
                    log_rows: table.bits() as u8,
                    columns: vec![table.values().to_vec()],
                });
                self.b.segments.push(c::Segment {
                    grows: None,
                    name: name.to_owned(),
                    axes: lens.clone(),
                    table: Some(id),
                    ranged: false,
                });
                let segment = (self.b.segments.len() - 1) as u16;
                let source = c::Source::Lookup {
                    site: c::SiteRef::Segment(segment),
                    column: 0,
                };
                (source, c::InputKind::Private { segment })
            }
        };
        let bound = |v: i64| i32::try_from(v).map_err(|_| place.fail("an input range beyond 32 bits"));
        self.b.inputs.push(c::PublicInput {
            name: name.to_owned(),
            axes: lens.clone(),
            scale: int.scale,
            lo: bound(int.lo)?,
            hi: bound(int.hi)?,
            kind,
            clamp: false,
        });
        Ok(Lin::of_tensor(
            axes::Tensor::Source(tensor),
            &lens,
            &[],
            &mut self.b.axes,
        ))
    }

    /// An input of indices. Axes of length 1 are none of the statement's: an index is selected by axes of the equation.
    fn indices(
        &mut self,
        name: &str,
        visibility: Visibility,
        ty: &Type,
        vocab: u64,
        place: &Place,
    ) -> Result<Index, LowerError> {
        if visibility != Visibility::Public {
            return Err(
                place.fail("tokens select rows of a weight, which the verifier does by itself; make them public")
            );
        }
        let last = i32::try_from(vocab).ok().and_then(|v| v.checked_sub(1));
        let hi = last.ok_or_else(|| place.fail("indices beyond 31 bits"))?;
        let lens = self.shape(&ty.shape, place)?;
        let mut dims = Vec::new();
        for len in &lens {
            dims.push(if *len == Len::fixed(1) {
                Vec::new()
            } else {
                vec![self.b.axes.fresh(len.clone())]
            });
        }
        self.b.inputs.push(c::PublicInput {
            name: name.to_owned(),
            axes: lens.into_iter().filter(|len| *len != Len::fixed(1)).collect(),
            scale: 1.0,
            lo: 0,
            hi,
            kind: c::InputKind::Public,
            clamp: false,
        });
        Ok(Index {
            dims,
            input: Some((self.b.inputs.len() - 1) as u16),
            offset: Len::fixed(0),
        })
    }

    fn outputs(&mut self) -> Result<(), LowerError> {
        let entry = self.entry;
        let ports: Vec<_> = entry.outputs.iter().zip(entry.body.results.iter().copied()).collect();
        // Scores whose label is also an output are reported with it; a label of scores that are no output is one itself.
        let scored = |id: ValueId, vals: &BTreeMap<ValueId, Val>| match vals.get(&id) {
            Some(Val::ArgMax(x)) => Some(*x),
            _ => None,
        };
        let shown = || ports.iter().filter(|(port, _)| port.visibility == Visibility::Public);
        let labelled: Vec<ValueId> = shown().filter_map(|(_, id)| scored(*id, &self.vals)).collect();
        let direct: Vec<ValueId> = shown().map(|(_, id)| *id).collect();
        for &(port, id) in &ports {
            let place = Place {
                layer: port.name.clone(),
                op: "output",
                span: None,
            };
            match port.visibility {
                Visibility::Public => {}
                Visibility::Private => continue,
                Visibility::Committed => return Err(place.fail("outputs are public or private")),
            }
            match scored(id, &self.vals) {
                Some(x) if direct.contains(&x) => {}
                Some(x) => self.greatest(&port.name, x, &place)?,
                None => {
                    let label = if labelled.contains(&id) {
                        c::Label::ArgMax
                    } else {
                        c::Label::None
                    };
                    self.output(&port.name, id, label, &place)?;
                }
            }
        }
        Ok(())
    }

    fn output(&mut self, name: &str, id: ValueId, label: c::Label, place: &Place) -> Result<(), LowerError> {
        let ty = self.entry.ty(id).clone();
        let int = ty.elem.int().ok_or_else(|| place.fail("an output that is no number"))?;
        let value = self.lin(id, place)?;
        if label == c::Label::ArgMax && value.dims.last().is_some_and(|g| g.len() > 1) {
            return Err(place.fail("the scores of a label are flattened from several axes; apply a linear layer first"));
        }
        // A dimension of length 1 is an axis of the statement all the same.
        let mut out = Vec::new();
        for group in &value.dims {
            if group.is_empty() {
                out.push(self.b.axes.fresh(Len::fixed(1)));
            }
            out.extend(group);
        }
        let axes = out.iter().map(|a| self.b.axes.len(*a).clone()).collect();
        self.b.outputs.push(c::PublicOutput {
            name: name.to_owned(),
            axes,
            scale: int.scale,
            label,
        });
        let index = (self.b.outputs.len() - 1) as u16;
        self.b.equation(emit::Equation {
            name: name.to_owned(),
            out,
            left: c::Left::Output(index),
            partial: false,
            constant: value.constant,
            terms: value.terms,
        });
        Ok(())
    }

    /// The value `id` as a symbolic right side; weights become reads of themselves.
    fn lin(&mut self, id: ValueId, place: &Place) -> Result<Lin, LowerError> {
        match self.vals.get(&id) {
            Some(Val::Lin(lin)) => Ok(lin.clone()),
            Some(Val::Weight(view)) => {
                let view = view.clone();
                let stack = self.stack_axes(&view, place)?;
                Ok(linear::weight_value(&view, stack, &mut self.b.axes))
            }
            Some(Val::Index(_)) => Err(place.fail("indices select rows of a weight, and are no numbers")),
            Some(Val::ArgMax(_)) => {
                Err(place.fail("the position of a maximum is an output, and no number to compute with"))
            }
            None => Err(place.fail("an operand without value")),
        }
    }

    /// The axes of the regions over which a weight is stacked.
    fn stack_axes(&self, view: &WeightView, place: &Place) -> Result<Vec<axes::Ax>, LowerError> {
        view.stack
            .iter()
            .map(|axis| {
                self.b
                    .region
                    .as_ref()
                    .filter(|r| r.stack == *axis)
                    .map(|r| r.ax)
                    .ok_or_else(|| place.fail(format!("the weight '{}' is used outside of its region", view.name)))
            })
            .collect()
    }
}

#[cfg(test)]
mod eval;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transformer_tests;
