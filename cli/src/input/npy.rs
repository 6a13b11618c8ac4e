//! NumPy's `.npy`: versions 1 to 3, C or Fortran order, little-endian numbers.

use mlc_ir::Tensor;

/// The tensor of a file.
pub(crate) fn parse(bytes: &[u8]) -> Result<Tensor<f64>, String> {
    let (header, data) = split(bytes).ok_or("not an .npy file")?;
    let descr = quoted(header, "descr").ok_or("the header of the .npy file has no `descr`")?;
    let shape = shape(header).ok_or("the header of the .npy file has no `shape`")?;
    let fortran = header
        .split_once("'fortran_order':")
        .is_some_and(|(_, rest)| rest.trim_start().starts_with("True"));
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).ok_or("the shape overflows")?;
    let (size, read) = element(descr).ok_or_else(|| format!("elements of type {descr} are not read"))?;
    if count.checked_mul(size) != Some(data.len()) {
        return Err(format!(
            "truncated: the shape {shape:?} of {descr} needs {} bytes, there are {}",
            count.saturating_mul(size),
            data.len()
        ));
    }
    let data: Vec<f64> = data.chunks_exact(size).map(read).collect();
    let data = if fortran { row_major(&shape, &data) } else { data };
    Tensor::new(shape, data).ok_or_else(|| "the shape does not fit".to_owned())
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = if version[0] == 1 {
        let (n, rest) = rest.split_first_chunk::<2>()?;
        (usize::from(u16::from_le_bytes(*n)), rest)
    } else {
        let (n, rest) = rest.split_first_chunk::<4>()?;
        (u32::from_le_bytes(*n) as usize, rest)
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

fn quoted<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}':"))?;
    rest.split('\'').nth(1)
}

fn shape(header: &str) -> Option<Vec<usize>> {
    let (_, rest) = header.split_once("'shape':")?;
    let (_, rest) = rest.split_once('(')?;
    let (inside, _) = rest.split_once(')')?;
    inside.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().ok()).collect()
}

type Element = (usize, fn(&[u8]) -> f64);

/// Size and reader of a type such as `<f4`.
fn element(descr: &str) -> Option<Element> {
    macro_rules! number {
        ($t:ty) => {
            (size_of::<$t>(), |b| {
                let mut bytes = [0; size_of::<$t>()];
                bytes.copy_from_slice(b);
                <$t>::from_le_bytes(bytes) as f64
            })
        };
    }
    Some(match descr {
        "<f4" => number!(f32),
        "<f8" => number!(f64),
        "<f2" => (2, |b| half::f16::from_le_bytes([b[0], b[1]]).to_f64()),
        "|u1" | "|b1" => number!(u8),
        "|i1" => number!(i8),
        "<i2" => number!(i16),
        "<u2" => number!(u16),
        "<i4" => number!(i32),
        "<u4" => number!(u32),
        "<i8" => number!(i64),
        "<u8" => number!(u64),
        _ => return None,
    })
}

/// Column-major elements in row-major order.
fn row_major(shape: &[usize], data: &[f64]) -> Vec<f64> {
    let mut index = vec![0usize; shape.len()];
    let mut out = Vec::with_capacity(data.len());
    for _ in 0..data.len() {
        let at = index.iter().zip(shape).rev().fold(0, |at, (i, n)| at * n + i);
        out.push(data[at]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }

    #[test]
    fn types_orders_and_truncation() {
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }";
        assert_eq!(parse(&file(header, &[1, 2, 3, 4, 5, 6])).unwrap().shape, [2, 3]);
        assert!(parse(&file(header, &[1, 2, 3])).unwrap_err().contains("truncated"));
        let columns = header.replace("False", "True");
        assert_eq!(parse(&file(&columns, &[1, 4, 2, 5, 3, 6])).unwrap().data, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let float = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }";
        assert_eq!(parse(&file(float, &1.5f32.to_le_bytes())).unwrap().data, [1.5]);
        assert!(parse(b"PK").is_err());
        assert!(parse(&file(&float.replace("<f4", "<c8"), &[])).is_err());
    }
}
