//! Arrays of numpy: a magic, a version, a header that is a Python dictionary, the elements.
//!
//! Source: numpy's `numpy.lib.format`, versions 1 to 3.

use mlc_ir::TensorF32;

use super::InputError;

fn fail<T>(why: impl Into<String>) -> Result<T, InputError> {
    Err(InputError::Npy(why.into()))
}

/// The text after `'key':` in the header.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, InputError> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let after = quoted.iter().find_map(|q| header.split_once(q.as_str()));
    match after.and_then(|(_, rest)| rest.trim_start().strip_prefix(':')) {
        Some(rest) => Ok(rest.trim_start()),
        None => fail(format!("its header has no '{key}'")),
    }
}

fn elements(kind: &str, bytes: &[u8]) -> Result<Vec<f32>, InputError> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Option<Vec<f32>> {
        let (items, rest) = bytes.as_chunks::<N>();
        rest.is_empty().then(|| items.iter().map(|b| f(*b)).collect())
    }
    let values = match kind {
        "<f2" => each(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        "<f4" => each(bytes, f32::from_le_bytes),
        "<f8" => each(bytes, |b| f64::from_le_bytes(b) as f32),
        "|u1" => each(bytes, |b: [u8; 1]| b[0].into()),
        "|i1" => each(bytes, |b: [u8; 1]| (b[0] as i8).into()),
        "<i2" => each(bytes, |b| i16::from_le_bytes(b).into()),
        "<u2" => each(bytes, |b| u16::from_le_bytes(b).into()),
        "<i4" => each(bytes, |b| i32::from_le_bytes(b) as f32),
        "<i8" => each(bytes, |b| i64::from_le_bytes(b) as f32),
        other => {
            return fail(format!(
                "elements of type '{other}'; little-endian floats and integers are read"
            ));
        }
    };
    match values {
        Some(v) => Ok(v),
        None => fail("its length is no multiple of its element's"),
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<TensorF32, InputError> {
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
        return fail("it does not begin with \\x93NUMPY");
    };
    let (len, rest) = match rest {
        [1, _, a, b, rest @ ..] => (u32::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]), rest),
        [v, ..] if !(1..=3).contains(v) => return fail(format!("version {v}")),
        _ => return fail("it is truncated"),
    };
    let Some((header, body)) = rest.split_at_checked(len as usize) else {
        return fail("it is truncated");
    };
    let Ok(header) = std::str::from_utf8(header) else {
        return fail("its header is not text");
    };
    let descr = field(header, "descr")?;
    let Some(kind) = descr.get(1..).and_then(|d| d.split(['\'', '"']).next()) else {
        return fail("its element type is not a string");
    };
    let fortran = field(header, "fortran_order")?.starts_with("True");
    let inner = field(header, "shape")?
        .strip_prefix('(')
        .and_then(|s| s.split_once(')'));
    let Some((inner, _)) = inner else {
        return fail("its shape is no tuple");
    };
    let axes = inner.split(',').map(str::trim).filter(|s| !s.is_empty());
    let Ok(shape) = axes.map(str::parse::<usize>).collect::<Result<Vec<_>, _>>() else {
        return fail(format!("its shape is ({inner})"));
    };
    let data = elements(kind, body)?;
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    if count != Some(data.len()) {
        return fail(format!("it has {} elements, its shape is {shape:?}", data.len()));
    }
    let data = if fortran { from_columns(&shape, &data) } else { data };
    Ok(TensorF32 { shape, data })
}

/// Row-major elements of a column-major array.
fn from_columns(shape: &[usize], data: &[f32]) -> Vec<f32> {
    let mut at = vec![0usize];
    let mut stride = 1;
    let mut strides = Vec::new();
    for &n in shape {
        strides.push(stride);
        stride *= n;
    }
    for (&n, &s) in shape.iter().zip(&strides) {
        at = at.iter().flat_map(|&p| (0..n).map(move |x| p + x * s)).collect();
    }
    at.into_iter().map(|p| data[p]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn arrays_of_numpy() {
        let body: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let c = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", &body);
        let t = parse(&c).unwrap();
        assert_eq!((t.shape, t.data), (vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        let f = file("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n", &body);
        assert_eq!(parse(&f).unwrap().data, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        let one = file("{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }", &[255, 3]);
        assert_eq!(parse(&one).unwrap().data, [-1.0, 3.0]);
        let scalar = file(
            "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
            &0.5f64.to_le_bytes(),
        );
        assert_eq!(parse(&scalar).unwrap(), TensorF32::scalar(0.5));
    }

    #[test]
    fn others_are_refused() {
        let error = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
        assert!(error(b"").contains("begin"));
        assert!(error(b"\x93NUMPY\x09\x00").contains("version 9"));
        assert!(error(b"\x93NUMPY\x01\x00\xff\xff{").contains("truncated"));
        let header = "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }";
        assert!(error(&file(header, &[0; 4])).contains("'>f4'"));
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        assert!(error(&file(header, &[0; 4])).contains("1 elements"));
        assert!(error(&file(header, &[0; 5])).contains("multiple"));
        assert!(error(&file("{'descr': [('a', '<f4')], 'shape': (1,)}", &[0; 4])).contains("fortran_order"));
        let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }";
        assert!(error(&file(huge, &[])).contains("0 elements"));
    }
}
