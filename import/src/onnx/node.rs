//! A node as its translation sees it: attributes with types and defaults.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

use crate::error::{NodeError, malformed};

/// One node of the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'g> {
    pub(crate) proto: &'g NodeProto,
    /// Version of the standard operator set.
    pub(crate) opset: i64,
}

impl<'g> Node<'g> {
    /// Number of outputs that are not left out at the end.
    pub(crate) fn outputs(&self) -> usize {
        self.proto.output.len()
    }

    /// True where output `i` has a name.
    pub(crate) fn wants(&self, i: usize) -> bool {
        self.proto.output.get(i).is_some_and(|o| !o.is_empty())
    }

    fn find(&self, name: &str, kind: AttributeType) -> Result<Option<&'g AttributeProto>, NodeError> {
        let Some(attribute) = self.proto.attribute.iter().find(|a| a.name == name) else {
            return Ok(None);
        };
        // Files of version 1 leave the type out.
        if attribute.r#type != 0 && attribute.r#type != kind as i32 {
            return malformed(format!(
                "attribute `{name}` is of another type than {}",
                kind.as_str_name()
            ));
        }
        Ok(Some(attribute))
    }

    /// True where the attribute is given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.proto.attribute.iter().any(|a| a.name == name)
    }

    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>, NodeError> {
        Ok(self.find(name, AttributeType::Int)?.map(|a| a.i))
    }

    pub(crate) fn int_or(&self, name: &str, default: i64) -> Result<i64, NodeError> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, NodeError> {
        Ok(self.int(name)?.map_or(default, |v| v != 0))
    }

    pub(crate) fn float(&self, name: &str) -> Result<Option<f64>, NodeError> {
        let value = self.find(name, AttributeType::Float)?.map(|a| f64::from(a.f));
        match value {
            Some(v) if !v.is_finite() => malformed(format!("attribute `{name}` is {v}")),
            value => Ok(value),
        }
    }

    pub(crate) fn float_or(&self, name: &str, default: f32) -> Result<f64, NodeError> {
        Ok(self.float(name)?.unwrap_or(f64::from(default)))
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<&'g [i64]>, NodeError> {
        Ok(self.find(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    pub(crate) fn floats(&self, name: &str) -> Result<Option<&'g [f32]>, NodeError> {
        Ok(self.find(name, AttributeType::Floats)?.map(|a| a.floats.as_slice()))
    }

    pub(crate) fn string(&self, name: &str) -> Result<Option<&'g str>, NodeError> {
        let Some(attribute) = self.find(name, AttributeType::String)? else {
            return Ok(None);
        };
        match std::str::from_utf8(&attribute.s) {
            Ok(text) => Ok(Some(text)),
            Err(_) => malformed(format!("attribute `{name}` is not UTF-8")),
        }
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<Option<&'g TensorProto>, NodeError> {
        Ok(self.find(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }

    /// A list of non-negative numbers of a given length.
    pub(crate) fn sizes<const N: usize>(&self, name: &str, default: u64) -> Result<[u64; N], NodeError> {
        let Some(values) = self.ints(name)? else {
            return Ok([default; N]);
        };
        if values.len() != N {
            return malformed(format!("attribute `{name}` has {} numbers, {N} expected", values.len()));
        }
        let mut out = [0; N];
        for (to, from) in out.iter_mut().zip(values) {
            *to = u64::try_from(*from).or_else(|_| malformed(format!("attribute `{name}` holds {from}")))?;
        }
        Ok(out)
    }
}

/// `axis` counted from 0, where negative ones count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, NodeError> {
    let from_start = if axis < 0 {
        axis.saturating_add(rank as i64)
    } else {
        axis
    };
    match usize::try_from(from_start) {
        Ok(a) if a < rank => Ok(a),
        _ => malformed(format!("axis {axis} does not exist in a tensor of {rank} axes")),
    }
}

/// Several axes, in the order given.
pub(crate) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, NodeError> {
    let mut out = Vec::new();
    for a in list {
        let a = axis(*a, rank)?;
        if out.contains(&a) {
            return malformed(format!("axis {a} is named twice"));
        }
        out.push(a);
    }
    Ok(out)
}
