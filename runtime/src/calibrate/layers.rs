//! How far every value of the integer program is from the value of the real one that it stands for.
//!
//! The quantised stage keeps the names of the real stage: the value `x` stands for `x`, and `x.q` is its requantised form.
//! Both programs run side by side on the same input, each on its own values, so the error of a layer contains what the
//! layers before it did; the first layer of a block whose error jumps is the one to look at.

use std::collections::BTreeMap;

use mlc_ir::interp::{self, Data, Inputs};
use mlc_ir::{Bindings, Elem, Module, Op, Tensor, WeightSource};

use super::{Agreement, CalibrateError};

/// Error of one value in one iteration of the regions around it.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerError {
    /// Its name.
    pub name: String,
    /// Indices of the regions around it, outermost first.
    pub block: Vec<i64>,
    /// `10·log10(Σ x² / Σ (q·scale - x)²)`, in decibels; infinite where they are the same.
    pub sqnr_db: f64,
    /// Cosine of the two tensors, 1 where both are 0.
    pub cosine: f64,
    /// Share of elements at an end of their type, of values that a lookup can saturate.
    pub saturated: f64,
}

/// The real and the integer program of one model.
#[derive(Debug, Clone, Copy)]
pub struct Tracks<'a> {
    /// As it was quantised.
    pub real: &'a Module,
    /// The integers, and the real numbers that they stand for.
    pub quantised: &'a Module,
}

/// Errors of all values of an entry that have a real counterpart, in the order of computation. `integers` is the same
/// input as `inputs`, quantised.
pub fn layer_errors(
    tracks: Tracks<'_>,
    entry: &str,
    weights: &(dyn WeightSource + Sync),
    inputs: &Inputs,
    integers: &Inputs,
) -> Result<Vec<LayerError>, CalibrateError> {
    let sample = |error| CalibrateError::Sample { sample: 0, error };
    let mut reference: BTreeMap<(String, Bindings), Tensor<f32>> = BTreeMap::new();
    let known = tracks.real.entries.get(entry);
    interp::run_observed(tracks.real, entry, weights, inputs, &mut |o| {
        if let (Some(entry), Data::Real(tensor)) = (known, o.data) {
            let name = entry.value(o.value).name.clone();
            reference.insert((name, o.bindings.clone()), tensor.clone());
        }
    })
    .map_err(sample)?;

    let known = tracks.quantised.entries.get(entry);
    let nodes = known.map(|e| e.all_nodes()).unwrap_or_default();
    let mut looked_up = vec![false; known.map_or(0, |e| e.values.len())];
    for node in nodes.iter().filter(|n| matches!(n.op, Op::Requant(_))) {
        node.results.iter().for_each(|id| looked_up[id.index()] = true);
    }
    let mut out = Vec::new();
    interp::run_observed(tracks.quantised, entry, weights, integers, &mut |o| {
        let (Some(entry), Data::Ints(tensor)) = (known, o.data) else {
            return;
        };
        let value = entry.value(o.value);
        let Elem::Int(int) = value.ty.elem else { return };
        let name = value.name.strip_suffix(".q").unwrap_or(&value.name);
        let key = (name.to_owned(), o.bindings.clone());
        let Some(real) = reference.get(&key).filter(|r| r.shape == tensor.shape) else {
            return;
        };
        let real: Vec<f64> = real.data.iter().map(|v| f64::from(*v)).collect();
        let ours: Vec<f64> = tensor.data.iter().map(|q| *q as f64 * int.scale).collect();
        let (signal, noise) = real
            .iter()
            .zip(&ours)
            .fold((0.0, 0.0), |(s, n), (x, y)| (s + x * x, n + (x - y) * (x - y)));
        let Some(agreement) = Agreement::of(&real, &ours, real.len().max(1)) else {
            return;
        };
        let ends = tensor.data.iter().filter(|q| **q == int.lo || **q == int.hi).count();
        let dims = &tracks.quantised.dims;
        let regions = o.bindings.iter().filter(|(name, _)| !dims.contains_key(*name));
        out.push(LayerError {
            name: value.name.clone(),
            block: regions.map(|(_, i)| *i).collect(),
            sqnr_db: 10.0 * (signal / noise).log10(),
            cosine: agreement.cosine,
            saturated: if looked_up[o.value.index()] {
                ends as f64 / tensor.data.len() as f64
            } else {
                0.0
            },
        });
    })
    .map_err(sample)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use mlc_ir::{GraphBuilder, IntType, Requant, Stage, Table, Template, TensorF32, Type, Visibility};

    use super::*;

    /// `y = x + x`, then half of it, which is looked up in steps of 1/2 and saturates at 1.
    fn tracks() -> (Module, Module) {
        let mut real = Module::new("m", Stage::Real);
        let mut g: GraphBuilder = real.entry("main");
        let x = g.input("x", Visibility::Public, Type::real(mlc_ir::Shape::new([3i64])));
        let y = g.named("y").add(x, x).unwrap();
        g.output("y", y, Visibility::Public);
        g.finish();
        let mut quantised = Module::new("m", Stage::Quantised);
        let int = IntType {
            scale: 0.25,
            lo: -8,
            hi: 8,
        };
        let mut g: GraphBuilder = quantised.entry("main");
        let x = g.input(
            "x",
            Visibility::Public,
            Type::int(int.scale, int.lo, int.hi, mlc_ir::Shape::new([3i64])),
        );
        let y = g.named("y").add(x, x).unwrap();
        let table = Table::tabulate(5, 16, |t| t.clamp(-4, 4) as i32).unwrap();
        g.module_mut().tables.insert("t".into(), table.into());
        let requant = Requant {
            shift: 0,
            table: Template::literal("t"),
            scale: 0.25,
            partial: true,
        };
        let y = g.named("y.q").requant(requant, y).unwrap();
        g.output("y", y, Visibility::Public);
        g.finish();
        (real, quantised)
    }

    #[test]
    fn errors_and_saturation_of_each_value() {
        let (real, quantised) = tracks();
        let values = |data: Data| Inputs {
            values: BTreeMap::from([("x".to_owned(), data)]),
            ..Inputs::default()
        };
        let x = vec![0.25f32, -0.5, 1.5];
        let inputs = values(Data::Real(TensorF32::new(vec![3], x).unwrap()));
        let integers = values(Data::Ints(Tensor {
            shape: vec![3],
            data: vec![1, -2, 6],
        }));
        let tracks = Tracks {
            real: &real,
            quantised: &quantised,
        };
        let weights: BTreeMap<String, TensorF32> = BTreeMap::new();
        let errors = layer_errors(tracks, "main", &weights, &inputs, &integers).unwrap();
        let names: Vec<&str> = errors.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["x", "y", "y.q"]);
        assert!(errors[1].sqnr_db.is_infinite() && errors[1].saturated == 0.0);
        // 0.5, -1, 3 became 0.5, -1, 1: 10.25 to 4; the last two are at an end of the type.
        assert!((errors[2].sqnr_db - 10.0 * (10.25f64 / 4.0).log10()).abs() < 1e-9);
        assert_eq!(errors[2].saturated, 2.0 / 3.0);
    }
}
