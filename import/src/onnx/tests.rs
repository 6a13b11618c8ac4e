//! Files of few nodes that ask for exponentially much: each is refused, or imported, at once.

use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_proto::DataType, tensor_shape_proto, type_proto,
};

use super::{Imported, Options, import_model};
use crate::error::{ImportError, ImportErrors};

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|d| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(*d)),
        ..Default::default()
    });
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

fn with_int(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.to_owned(),
        i: value,
        ..Default::default()
    });
    node
}

fn ints(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        float_data: values.to_vec(),
        ..Default::default()
    }
}

fn import(graph: GraphProto) -> Result<Imported, ImportErrors> {
    let model = ModelProto {
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        ..Default::default()
    };
    import_model(model, None, &Options::default())
}

/// `op` of the value before with itself, `steps` times, from `first`; the last value is called `end`.
fn doubled(op: &str, first: &str, steps: usize) -> Vec<NodeProto> {
    let mut nodes = Vec::new();
    let mut before = first.to_owned();
    for i in 0..steps {
        let after = if i + 1 == steps {
            "end".to_owned()
        } else {
            format!("v{i}")
        };
        nodes.push(with_int(node(op, &[&before, &before], &after), "axis", 0));
        before = after;
    }
    nodes
}

fn refused(graph: GraphProto) -> String {
    let errors = import(graph).unwrap_err();
    assert!(matches!(errors.errors(), [ImportError::Unsupported { .. }]), "{errors}");
    errors.to_string()
}

#[test]
fn formulas_stay_small() {
    let mut graph = GraphProto {
        node: doubled("Mul", "x", 80),
        input: vec![value("x", &[2, 3])],
        output: vec![value("end", &[2, 3])],
        ..Default::default()
    };
    graph.node.iter_mut().for_each(|n| n.attribute.clear());
    let imported = import(graph).unwrap();
    assert_eq!(mlc_ir::verify(&imported.module), Ok(()));
}

#[test]
fn recipes_stay_small() {
    for op in ["Concat", "Add"] {
        let mut nodes = doubled(op, "w", 80);
        nodes.push(node("Relu", &["end"], "y"));
        let error = refused(GraphProto {
            node: nodes,
            initializer: vec![floats("w", &[2], &[1.0, 2.0])],
            output: vec![value("y", &[2])],
            ..Default::default()
        });
        assert!(error.contains("in this many steps"), "{error}");
    }
}

#[test]
fn lists_of_integers_stay_small() {
    let mut nodes = doubled("Concat", "shape", 60);
    nodes.push(node("Reshape", &["x", "end"], "y"));
    let error = refused(GraphProto {
        node: nodes,
        initializer: vec![ints("shape", &[1, 2])],
        input: vec![value("x", &[2])],
        output: vec![value("y", &[2])],
        ..Default::default()
    });
    assert!(error.contains("computed integers"), "{error}");
}

#[test]
fn a_reversal_of_a_huge_axis_is_refused() {
    let error = refused(GraphProto {
        node: vec![node("Slice", &["x", "starts", "ends", "axes", "steps"], "y")],
        initializer: vec![
            ints("starts", &[-1]),
            ints("ends", &[i64::MIN]),
            ints("axes", &[1]),
            ints("steps", &[-1]),
        ],
        input: vec![value("x", &[1, 1 << 60])],
        output: vec![value("y", &[1, 1 << 60])],
        ..Default::default()
    });
    assert!(error.contains("reversed slice"), "{error}");
}

#[test]
fn a_number_computed_from_an_outer_product_is_refused() {
    // One element of a 4096 x 4096 product, as a bound of Clip.
    let many = vec![1.0; 4096];
    let error = refused(GraphProto {
        node: vec![
            node("Mul", &["column", "row"], "outer"),
            node("Slice", &["outer", "zero", "one", "axes"], "corner"),
            node("Clip", &["x", "corner"], "y"),
        ],
        initializer: vec![
            floats("column", &[4096, 1], &many),
            floats("row", &[1, 4096], &many),
            ints("zero", &[0, 0]),
            ints("one", &[1, 1]),
            ints("axes", &[0, 1]),
        ],
        input: vec![value("x", &[2])],
        output: vec![value("y", &[2])],
        ..Default::default()
    });
    assert!(error.contains("`min`"), "{error}");
}
