//! `TensorProto` to stored bytes: every layout of the format, lengths checked before anything is allocated.

use std::path::Path;

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

use crate::error::TensorError;
use crate::initialisers::{DType, Data, Stored, below};

/// Reads a tensor; `folder` is where external data may be.
pub(super) fn read(mut proto: TensorProto, folder: Option<&Path>) -> Result<Stored, TensorError> {
    let dtype = dtype(proto.data_type)?;
    let mut shape = Vec::with_capacity(proto.dims.len());
    for (axis, length) in proto.dims.iter().enumerate() {
        let length = u64::try_from(*length).map_err(|_| TensorError::Axis { axis, length: *length })?;
        shape.push(length);
    }
    let data = if proto.data_location == Some(DataLocation::External as i32) {
        external(&proto, dtype, &shape, folder)?
    } else {
        Data::Here(bytes(&mut proto, dtype, &shape)?)
    };
    let stored = Stored { dtype, shape, data }.finite_mask();
    stored.check_finite()?;
    Ok(stored)
}

/// The element type of that number in the format.
pub(super) fn dtype(number: i32) -> Result<DType, TensorError> {
    let Ok(kind) = DataType::try_from(number) else {
        return Err(TensorError::Type(format!("number {number}")));
    };
    Ok(match kind {
        DataType::Float => DType::F32,
        DataType::Double => DType::F64,
        DataType::Float16 => DType::F16,
        DataType::Bfloat16 => DType::BF16,
        DataType::Int8 => DType::I8,
        DataType::Uint8 => DType::U8,
        DataType::Int16 => DType::I16,
        DataType::Uint16 => DType::U16,
        DataType::Int32 => DType::I32,
        DataType::Uint32 => DType::U32,
        DataType::Int64 => DType::I64,
        DataType::Uint64 => DType::U64,
        DataType::Bool => DType::Bool,
        other => return Err(TensorError::Type(other.as_str_name().to_lowercase())),
    })
}

fn check_length(shape: &[u64], size: usize, found: usize) -> Result<(), TensorError> {
    let needed = Stored::numel(shape).and_then(|n| n.checked_mul(size as u64));
    if needed == Some(found as u64) {
        return Ok(());
    }
    Err(TensorError::Length {
        shape: shape.to_vec(),
        needed,
        found: found as u64,
    })
}

/// The bytes of a tensor that is in the model's file.
fn bytes(proto: &mut TensorProto, dtype: DType, shape: &[u64]) -> Result<Vec<u8>, TensorError> {
    if !proto.raw_data.is_empty() {
        check_length(shape, dtype.size(), proto.raw_data.len())?;
        return Ok(std::mem::take(&mut proto.raw_data));
    }
    // Small types are kept in `int32_data`, one element per number.
    let narrow = |size: usize| {
        let low = |v: &i32| v.to_le_bytes().into_iter().take(size);
        (proto.int32_data.len(), proto.int32_data.iter().flat_map(low).collect())
    };
    let (found, bytes): (usize, Vec<u8>) = match dtype {
        DType::F32 => (
            proto.float_data.len(),
            proto.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        DType::F64 => (
            proto.double_data.len(),
            proto.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        DType::I64 => (
            proto.int64_data.len(),
            proto.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        DType::U64 | DType::U32 => {
            let low = |v: &u64| v.to_le_bytes().into_iter().take(dtype.size());
            (
                proto.uint64_data.len(),
                proto.uint64_data.iter().flat_map(low).collect(),
            )
        }
        _ => narrow(dtype.size()),
    };
    check_length(shape, 1, found)?;
    Ok(bytes)
}

/// Where the bytes of a tensor outside of the model's file are, checked against that file's length.
fn external(proto: &TensorProto, dtype: DType, shape: &[u64], folder: Option<&Path>) -> Result<Data, TensorError> {
    let entry = |key: &str| {
        proto
            .external_data
            .iter()
            .find(|e| e.key == key)
            .map(|e| e.value.as_str())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| TensorError::Description(format!("`{key}` is `{text}`"))),
    };
    let location = entry("location").ok_or_else(|| TensorError::Description("it has no `location`".to_owned()))?;
    let folder = folder.ok_or_else(|| TensorError::NoFolder(location.to_owned()))?;
    let path = below(folder, location)?;
    let fail = |e: std::io::Error| TensorError::External {
        location: location.to_owned(),
        why: e.to_string(),
    };
    // A link may lead out of the folder although the path does not.
    let real = path.canonicalize().map_err(fail)?;
    if !real.starts_with(folder.canonicalize().map_err(fail)?) {
        return Err(TensorError::Outside(location.to_owned()));
    }
    let metadata = std::fs::metadata(&real).map_err(fail)?;
    let offset = number("offset")?.unwrap_or(0);
    let available = metadata.len().saturating_sub(offset);
    let needed = Stored::numel(shape).and_then(|n| n.checked_mul(dtype.size() as u64));
    let found = number("length")?.unwrap_or(needed.unwrap_or(u64::MAX));
    if needed != Some(found) || found > available {
        return Err(TensorError::Length {
            shape: shape.to_vec(),
            needed,
            found: found.min(available),
        });
    }
    Ok(Data::File { path: real, offset })
}
