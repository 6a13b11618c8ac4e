//! Quantise: the real stage to the quantised stage, by the plan.
//!
//! **Invariant**: every value of the result stands, at its scale, for the real value of the same name, up to rounding and
//! saturation at the plan's range; every bound is proved by inference, so no input within its declared range overflows.
//!
//! - Scales are powers of two, so that requantisations differ in how many bits they drop and share their tables.
//! - Activations are symmetric signed integers, at the scale of their group ([`scales`]): greatest |range| over
//!   `2^(bits-1) - 1`.
//! - A product is exact, at the product of the scales; it is an *accumulator* until a lookup makes it an activation. A
//!   function of it is that lookup itself ([`table`]): requantisation, function and clamp together.
//! - Weights of products have `weight_bits`; a bias is an integer of at most 16 bits at the accumulator's scale, times a
//!   power of two where it would not fit.
//! - Outputs stay accumulators.

mod norm;
mod operands;
mod ops;
mod precision;
mod residual;
mod scales;
mod softmax;
pub(crate) mod table;

use std::collections::{BTreeMap, BTreeSet};

use mlc_ir::{
    Elem, Entry, Formula, GraphBuilder, IntType, Literal, Module, Node, Op, Recipe, Region, Requant, Shape, Span,
    Stage, Template, Type, ValueId,
};

use super::PassError;
use crate::plan::{QuantPlan, ValueRange, default_ranges};
use precision::Precision;
use scales::Scale;
use table::Target;

/// The least power of two that is no less; of 0 it is 0.
pub(crate) fn power_above(v: f64) -> f64 {
    let (mantissa, exponent) = libm::frexp(v);
    if mantissa == 0.5 || v <= 0.0 {
        return v.max(0.0);
    }
    libm::ldexp(1.0, exponent)
}

/// The module in the quantised stage.
pub fn quantise(module: &Module, plan: &QuantPlan) -> Result<Module, PassError> {
    if module.stage != Stage::Real {
        return Err(PassError::Stage {
            pass: "quantise",
            expected: Stage::Real,
        });
    }
    let mut out = Module::new(module.name.clone(), Stage::Quantised);
    out.dims = module.dims.clone();
    let weight_bits = Precision::weights(module, plan);
    // A weight of several entries is one weight, at a scale that suits all of them.
    let mut weight_floors = BTreeMap::new();
    let mut measured = Vec::with_capacity(module.entries.len());
    for (name, entry) in &module.entries {
        let ranges = default_ranges(module, name, entry, plan);
        let fixed = fixed(&entry.body);
        let precision = Precision::new(module, name, entry, plan, &ranges, &fixed);
        let bits = plan.config.activation_bits;
        let scales = scales::scales(entry, &ranges, &|id| fixed.contains(&id), &precision, bits);
        let names = precision::weight_names(entry);
        scales::weight_floors(&names, &precision, &scales, plan, &mut weight_floors);
        let renormalised = precision
            .squared
            .iter()
            .filter(|s| s.renormalises())
            .map(|s| s.id)
            .collect();
        measured.push((ranges, scales, renormalised));
    }
    for ((name, entry), (ranges, scales, renormalised)) in module.entries.iter().zip(measured) {
        let mut quantiser = Quantiser {
            module,
            entry,
            entry_name: name,
            plan,
            ranges,
            scales,
            g: out.entry(name.clone()),
            map: BTreeMap::new(),
            activations: BTreeMap::new(),
            accumulators: BTreeSet::new(),
            looked_up: BTreeSet::new(),
            squared: BTreeMap::new(),
            renormalised,
            inverse_roots: BTreeMap::new(),
            weight_bits: &weight_bits,
            weight_floors: &weight_floors,
        };
        quantiser.run()?;
        quantiser.g.finish();
    }
    Ok(out)
}

/// Weights, constants, and views of them.
fn fixed(region: &Region) -> BTreeSet<ValueId> {
    let mut out = BTreeSet::new();
    for node in region.all_nodes() {
        let view = matches!(
            node.op,
            Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. } | Op::Broadcast(_)
        );
        let source = matches!(node.op, Op::Weight(_) | Op::Const(_));
        if source || (view && out.contains(&node.operands[0])) {
            out.extend(&node.results);
        }
    }
    out
}

/// A value while an entry is quantised.
#[derive(Debug, Clone)]
enum Q {
    /// Of the new entry.
    Value(ValueId),
    /// A weight, quantised when its use is known.
    Weight(FixedTensor),
    /// A constant of equal elements.
    Scalar(f64),
    /// A softmax that nothing has read yet: its numerators, and the inverse of their sum per row.
    Shares {
        /// `exp` of the distance to the row's maximum.
        numerators: ValueId,
        /// Length 1 on the last axis.
        inverse: ValueId,
    },
}

/// A weight or constant before quantisation, with the views applied to it.
#[derive(Debug, Clone)]
struct FixedTensor {
    name: String,
    recipe: Recipe,
    shape: Shape,
    visibility: mlc_ir::Visibility,
    max_abs: f64,
    /// Measured sum of magnitudes over axes of the unviewed tensor.
    column_sum: Option<(Vec<usize>, f64)>,
    views: Vec<Op>,
}

struct Quantiser<'a, 'm> {
    module: &'a Module,
    entry: &'a Entry,
    entry_name: &'a str,
    plan: &'a QuantPlan,
    ranges: BTreeMap<ValueId, ValueRange>,
    scales: Vec<Scale>,
    g: GraphBuilder<'m>,
    map: BTreeMap<ValueId, Q>,
    /// Requantised forms of values of the new entry.
    activations: BTreeMap<ValueId, ValueId>,
    /// Values of the new entry that are sums of products or of many terms: no factors before they are requantised.
    accumulators: BTreeSet<ValueId>,
    /// Values of the new entry that are results of a lookup.
    looked_up: BTreeSet<ValueId>,
    /// Real values that were committed anew to be squared.
    squared: BTreeMap<ValueId, ValueId>,
    /// Real values whose norm takes two passes.
    renormalised: BTreeSet<ValueId>,
    /// Inverse roots of sums of squares, and views of them, as real values.
    inverse_roots: BTreeMap<ValueId, norm::InverseRoot>,
    /// Bits of weights that have others than the plan's.
    weight_bits: &'a BTreeMap<String, u32>,
    /// Least scales of weights, for the bounds of their products.
    weight_floors: &'a BTreeMap<String, f64>,
}

/// Names a layer in an error.
#[derive(Clone)]
struct Place {
    layer: String,
    op: &'static str,
    span: Option<Span>,
}

impl Place {
    fn fail(&self, why: impl Into<String>) -> PassError {
        PassError::Unsupported {
            layer: self.layer.clone(),
            op: self.op,
            why: why.into(),
            span: self.span.clone(),
        }
    }
}

impl Quantiser<'_, '_> {
    fn run(&mut self) -> Result<(), PassError> {
        let entry = self.entry;
        for (port, id) in entry.inputs.iter().zip(&entry.body.params) {
            let ty = entry.ty(*id);
            let ty = match ty.elem {
                Elem::Real => {
                    // Exactly what is declared: what is outside is refused, not clamped.
                    let (r, scale) = (self.range(*id), self.scales[id.index()].scale);
                    let (lo, hi) = (libm::rint(r.lo / scale) as i64, libm::rint(r.hi / scale) as i64);
                    Type::int(scale, lo, hi.max(lo + 1), ty.shape.clone())
                }
                _ => ty.clone(),
            };
            let input = self.g.input(&port.name, port.visibility, ty);
            self.map.insert(*id, Q::Value(input));
        }
        for node in &entry.body.nodes {
            self.node(node)?;
        }
        for (port, id) in entry.outputs.iter().zip(&entry.body.results) {
            let place = Place {
                layer: port.name.clone(),
                op: "output",
                span: None,
            };
            let value = self.value(*id, &place)?;
            self.g.output(&port.name, value, port.visibility);
        }
        Ok(())
    }

    fn name(&self, id: ValueId) -> &str {
        &self.entry.value(id).name
    }

    fn place(&self, node: &Node) -> Place {
        let layer = node.results.first().map_or(node.op.name(), |id| self.name(*id));
        Place {
            layer: layer.to_owned(),
            op: node.op.name(),
            span: node.span.clone(),
        }
    }

    fn range(&self, id: ValueId) -> ValueRange {
        let r = self.ranges.get(&id).copied();
        r.unwrap_or(ValueRange { lo: -1.0, hi: 1.0 })
    }

    /// Scale and range of the activation that stands for the real value `id`: ranges end at powers of two, so that those
    /// of many values are one.
    fn target(&self, id: ValueId) -> Target {
        let Scale { scale, greatest } = self.scales[id.index()];
        let r = self.range(id);
        let hi = power_above(r.lo.abs().max(r.hi.abs()) / scale).clamp(2.0, greatest as f64 + 1.0) as i64 - 1;
        Target {
            scale,
            lo: if r.lo < 0.0 { -hi } else { 0 },
            hi,
        }
    }

    fn int(&self, value: ValueId, place: &Place) -> Result<IntType, PassError> {
        let int = self.g.ty(value).elem.int();
        int.ok_or_else(|| place.fail("an operand that is neither real nor an integer"))
    }

    /// The quantised value of `id`; weights become integers at 8 bits.
    fn value(&mut self, id: ValueId, place: &Place) -> Result<ValueId, PassError> {
        match self.map.get(&id).cloned() {
            Some(Q::Value(v)) => Ok(v),
            Some(Q::Weight(w)) => self.weight(&w, &[], place),
            Some(Q::Shares { numerators, inverse }) => {
                let name = self.name(id).to_owned();
                let product = self.g.named(name).mul(numerators, inverse)?;
                self.accumulators.insert(product);
                self.map.insert(id, Q::Value(product));
                Ok(product)
            }
            Some(Q::Scalar(v)) => {
                let scale = if v == 0.0 { 1.0 } else { libm::fabs(v) };
                self.constant(if v < 0.0 { -1 } else { i64::from(v > 0.0) }, scale)
            }
            None => Err(place.fail("an operand without value")),
        }
    }

    /// A constant integer.
    fn constant(&mut self, value: i64, scale: f64) -> Result<ValueId, PassError> {
        let elem = Elem::Int(IntType {
            scale,
            lo: value,
            hi: value,
        });
        let data = mlc_ir::Tensor::scalar(value).into();
        Ok(self.g.push(Op::Const(Literal::Integers { elem, data }), &[])?)
    }

    /// `value` in a form that may be a factor: itself, or requantised to the target of the real value `id`.
    fn factor(&mut self, id: ValueId, place: &Place) -> Result<ValueId, PassError> {
        let value = self.value(id, place)?;
        if self.accumulators.contains(&value) {
            return self.activation(id, value, place);
        }
        Ok(value)
    }

    /// `value` at exactly the scale of the real value `id`.
    fn at_scale(&mut self, id: ValueId, place: &Place) -> Result<ValueId, PassError> {
        let value = self.value(id, place)?;
        if !self.accumulators.contains(&value) && self.int(value, place)?.scale == self.scales[id.index()].scale {
            return Ok(value);
        }
        self.activation(id, value, place)
    }

    fn activation(&mut self, id: ValueId, value: ValueId, place: &Place) -> Result<ValueId, PassError> {
        if let Some(known) = self.activations.get(&value) {
            return Ok(*known);
        }
        let name = format!("{}.q", self.name(id));
        let target = self.target(id);
        let out = self.requantise(value, self.measured(id), None, target, &name, "clamp", place)?;
        self.activations.insert(value, out);
        Ok(out)
    }

    /// Greatest magnitude that calibration saw of a real value.
    fn measured(&self, id: ValueId) -> Option<f64> {
        let key = format!("{}.{}", self.entry_name, self.name(id));
        let r = self.plan.values.get(&key)?;
        Some(r.lo.abs().max(r.hi.abs())).filter(|m| *m > 0.0)
    }

    /// One lookup of `value`, of which `measured` is the greatest magnitude that was seen; `hint` names the table.
    #[allow(clippy::too_many_arguments)] // a value with what is known of it, a function with its range, and two names
    fn requantise(
        &mut self,
        value: ValueId,
        measured: Option<f64>,
        f: Option<&Formula>,
        to: Target,
        name: &str,
        hint: &str,
        place: &Place,
    ) -> Result<ValueId, PassError> {
        let bits = self.plan.config.table_bits;
        self.requantise_in(value, measured, f, to, name, hint, bits, place)
    }

    /// As [`Self::requantise`], with a table of at most `bits` index bits.
    #[allow(clippy::too_many_arguments)] // as above
    fn requantise_in(
        &mut self,
        value: ValueId,
        measured: Option<f64>,
        f: Option<&Formula>,
        to: Target,
        name: &str,
        hint: &str,
        bits: u32,
        place: &Place,
    ) -> Result<ValueId, PassError> {
        let int = self.int(value, place)?;
        self.bounded(value, place)?;
        let made = table::requantise(int, measured, f, to, bits.min(self.plan.config.table_bits));
        let made = made.ok_or_else(|| place.fail("its function is not finite on the range of its argument"))?;
        let name_of_table = self.table(made.table, hint);
        self.g.named(name);
        let requant = Requant {
            shift: made.shift,
            table: Template::literal(name_of_table),
            scale: to.scale,
            partial: made.partial,
        };
        let out = self.g.requant(requant, value)?;
        self.looked_up.insert(out);
        Ok(out)
    }

    /// The name of a table with these contents.
    fn table(&mut self, table: mlc_ir::Table, hint: &str) -> String {
        let tables = &mut self.g.module_mut().tables;
        if let Some((name, _)) = tables.iter().find(|(_, t)| ***t == table) {
            return name.clone();
        }
        let mut n = 0;
        let mut name = hint.to_owned();
        while tables.contains_key(&name) {
            n += 1;
            name = format!("{hint}_{n}");
        }
        tables.insert(name.clone(), table.into());
        name
    }

    /// Refuses accumulators that could wrap.
    fn bounded(&self, value: ValueId, place: &Place) -> Result<(), PassError> {
        let int = self.int(value, place)?;
        // The offset and the rounding of a requantisation need as much again.
        if int.max_abs() < mlc_ir::INT_LIMIT / 2 {
            return Ok(());
        }
        Err(PassError::Overflow {
            layer: place.layer.clone(),
            bound: int.max_abs(),
            mend: super::range_analysis::mend(self.plan),
            span: place.span.clone(),
        })
    }
}
