//! What a statement says in real numbers: shapes, values and labels of its outputs.

use mlc_circuit::{Circuit, Label};
use mlc_ir::{Data, Outputs, Tensor};
use mlc_runtime::calibrate::Agreement;
use serde_json::{Map, Value, json};

use crate::project::Manifest;

/// An output in real numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Output {
    /// Its name.
    pub(crate) name: String,
    /// Real values.
    pub(crate) tensor: Tensor<f64>,
    /// Shapes of the runs that are joined along the first axis, where they differ beyond it; else empty.
    pub(crate) parts: Vec<Vec<usize>>,
    /// Positions of the largest on the last axis, row by row, where the output is scores.
    pub(crate) labels: Option<Vec<usize>>,
    /// Whether its values are positions themselves, which the circuit finds.
    pub(crate) indices: bool,
    /// Names of the positions.
    pub(crate) names: Vec<String>,
}

/// The outputs of an entry from the integers of a verified statement.
pub(crate) fn outputs(
    circuit: &Circuit,
    entry: usize,
    dims: &[u32],
    values: &[Vec<i32>],
    manifest: Option<&Manifest>,
) -> Vec<Output> {
    let declared = circuit.entries.get(entry).map_or(&[][..], |e| &e.outputs);
    let one = |(output, values): (&mlc_circuit::PublicOutput, &Vec<i32>)| {
        let shape = output.axes.iter().map(|l| l.at(dims).unwrap_or(0)).collect();
        let data = values.iter().map(|q| f64::from(*q) * output.scale).collect();
        let table = manifest
            .and_then(|m| m.outputs.get(&output.name))
            .cloned()
            .unwrap_or_default();
        let tensor = Tensor { shape, data };
        // Labels come from the integers, so that ties are exact.
        let labels = match output.label {
            Label::Index(_) => Some(values.iter().map(|&a| usize::try_from(a).unwrap_or(0)).collect()),
            Label::ArgMax => Some(argmax(&tensor.shape, values)),
            Label::None => table.scores.then(|| argmax(&tensor.shape, values)),
        };
        Output {
            name: output.name.clone(),
            indices: matches!(output.label, Label::Index(_)),
            labels,
            names: table.names,
            tensor,
            parts: Vec::new(),
        }
    };
    declared.iter().zip(values).map(one).collect()
}

/// Positions of the largest on the last axis; ties to the lowest.
pub(crate) fn argmax<T: PartialOrd>(shape: &[usize], values: &[T]) -> Vec<usize> {
    let row = shape.last().copied().unwrap_or(1).max(1);
    let best = |row: &[T]| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    values.chunks(row).map(best).collect()
}

impl Output {
    /// The values as nested lists.
    pub(crate) fn json(&self) -> Value {
        let nested = self.nested();
        match self.indices {
            true => whole(nested),
            false => nested,
        }
    }

    fn nested(&self) -> Value {
        if self.parts.is_empty() {
            return nest(&self.tensor.shape, &self.tensor.data);
        }
        let mut rest = &self.tensor.data[..];
        let mut rows = Vec::new();
        for shape in &self.parts {
            let (part, after) = rest.split_at(shape.iter().product::<usize>().min(rest.len()));
            rest = after;
            match nest(shape, part) {
                Value::Array(more) => rows.extend(more),
                one => rows.push(one),
            }
        }
        Value::Array(rows)
    }

    /// The label: one, or a list of one per row.
    pub(crate) fn label(&self) -> Value {
        let name = |at: &usize| match self.names.get(*at) {
            Some(name) => json!(name),
            None => json!(at),
        };
        match self.labels.as_deref() {
            None => Value::Null,
            Some([only]) => name(only),
            Some(many) => many.iter().map(name).collect(),
        }
    }

    /// A short form of the values.
    pub(crate) fn summary(&self) -> String {
        let digits = if self.indices { 0 } else { 3 };
        let shown = self.tensor.data.iter().take(12).map(|v| format!("{v:.digits$}"));
        let shown: Vec<String> = shown.collect();
        let more = self.tensor.data.len().saturating_sub(12);
        let more = if more > 0 {
            format!(" … {more} more")
        } else {
            String::new()
        };
        let shape = match self.parts.as_slice() {
            [] => format!("{:?}", self.tensor.shape),
            parts => {
                let shapes: Vec<String> = parts.iter().map(|shape| format!("{shape:?}")).collect();
                shapes.join(" ")
            }
        };
        format!("{}{shape} = {}{more}", self.name, shown.join(" "))
    }
}

/// Numbers of nested lists as integers.
fn whole(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(whole).collect(),
        Value::Number(n) => n.as_f64().map_or(Value::Null, |v| json!(v as i64)),
        other => other,
    }
}

/// Row-major values as nested lists.
pub(crate) fn nest(shape: &[usize], data: &[f64]) -> Value {
    match shape {
        [] => data.first().map_or(Value::Null, |v| json!(v)),
        [_] => json!(data),
        [n, rest @ ..] => {
            let step = (data.len() / n.max(&1)).max(1);
            data.chunks(step).map(|part| nest(rest, part)).collect()
        }
    }
}

/// Every output by name.
pub(crate) fn json_of(outputs: &[Output]) -> Value {
    Value::Object(
        outputs
            .iter()
            .map(|o| (o.name.clone(), o.json()))
            .collect::<Map<_, _>>(),
    )
}

/// The label of the first output that has one.
pub(crate) fn label_of(outputs: &[Output]) -> Value {
    outputs
        .iter()
        .find(|o| o.labels.is_some())
        .map_or(Value::Null, Output::label)
}

/// How near outputs are to those of the real track, by name; of several outputs, the worst. Positions count for the labels;
/// where there is nothing else, they are compared as the rows of 0 and one 1 that they stand for, whose cosine is the part that
/// agrees.
pub(crate) fn agreement(outputs: &[Output], real: &Outputs) -> Option<Agreement> {
    let numbers = outputs.iter().filter_map(|output| {
        let Some(Data::Real(other)) = real.values.get(&output.name) else {
            return None;
        };
        let reference: Vec<f64> = other.data.iter().map(|v| f64::from(*v)).collect();
        let row = output.tensor.shape.last().copied().unwrap_or(1);
        Agreement::of(&reference, &output.tensor.data, row)
    });
    let positions = outputs.iter().filter_map(|output| {
        let Some(Data::Ints(other)) = real.values.get(&output.name).filter(|_| output.indices) else {
            return None;
        };
        let mine = &output.tensor.data;
        let same = other.data.iter().zip(mine).filter(|(a, b)| **a as f64 == **b).count();
        (other.data.len() == mine.len()).then(|| same as f64 / mine.len().max(1) as f64)
    });
    let numbers = numbers.reduce(|a, b| Agreement {
        cosine: a.cosine.min(b.cosine),
        max_abs_error: a.max_abs_error.max(b.max_abs_error),
        top1: a.top1.min(b.top1),
    });
    match (numbers, positions.reduce(f64::min)) {
        (Some(a), Some(same)) => Some(Agreement {
            top1: a.top1.min(same),
            ..a
        }),
        (None, Some(same)) => Some(Agreement {
            cosine: same,
            max_abs_error: if same < 1.0 { 1.0 } else { 0.0 },
            top1: same,
        }),
        (numbers, None) => numbers,
    }
}

/// The cosine with the f32 model below which a user is warned.
const FAR: f64 = 0.9;

/// A warning, where outputs are far from those of the f32 model.
pub(crate) fn doubt(agreement: Option<&Agreement>) -> Option<String> {
    // One that is no number is far, too.
    let far = agreement.filter(|a| !a.cosine.ge(&FAR))?;
    Some(format!(
        "warning: the outputs are far from those of the f32 model (cosine {:.3}): `mlc run --layer-errors` names the values that \
         lose most; calibrate on inputs like this one, with `data` under [quantise] in mlc.toml or with `mlc calibrate --data`",
        far.cosine
    ))
}

/// An agreement as in reports; null where no output can be compared.
pub(crate) fn agreement_json(agreement: Option<&Agreement>) -> Value {
    match agreement {
        Some(a) => json!({ "cosine": a.cosine, "max_abs_error": a.max_abs_error, "top1": a.top1 }),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lowest() {
        assert_eq!(argmax(&[2, 3], &[1, 3, 3, 5, 0, 5]), [1, 0]);
    }

    #[test]
    fn only_outputs_that_are_far_are_doubted() {
        let of = |cosine| Agreement {
            cosine,
            max_abs_error: 1.0,
            top1: 1.0,
        };
        assert!(doubt(None).is_none() && doubt(Some(&of(0.9))).is_none());
        for cosine in [0.899, 0.0, -1.0, f64::NAN] {
            let text = doubt(Some(&of(cosine))).unwrap();
            assert!(text.contains("--layer-errors") && text.contains("[quantise]"), "{text}");
        }
    }

    #[test]
    fn runs_of_different_lengths_keep_their_shapes() {
        let output = Output {
            name: "y".into(),
            tensor: Tensor {
                shape: vec![2, 2, 2],
                data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            },
            parts: vec![vec![1, 2, 2], vec![1, 1, 2]],
            labels: None,
            indices: false,
            names: Vec::new(),
        };
        assert_eq!(output.json(), json!([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]]));
        assert!(output.summary().starts_with("y[1, 2, 2] [1, 1, 2] = 1.000"));
    }

    #[test]
    fn positions_are_integers() {
        let output = Output {
            name: "next".into(),
            tensor: Tensor {
                shape: vec![3],
                data: vec![1.0, 0.0, 20.0],
            },
            parts: Vec::new(),
            labels: None,
            indices: true,
            names: Vec::new(),
        };
        assert_eq!(output.json().to_string(), "[1,0,20]");
        assert_eq!(output.summary(), "next[3] = 1 0 20");
    }

    #[test]
    fn values_nest_by_shape() {
        assert_eq!(
            nest(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]),
            json!([[[1.0, 2.0]], [[3.0, 4.0]]])
        );
    }
}
