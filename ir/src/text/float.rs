//! Floats as exact hexadecimal (`0x1.8p1` is 3), so that text carries every bit.
//!
//! One canonical form per value: the mantissa has one leading digit (1, or 0 for zero and subnormals) and no trailing
//! zeros. `nan` is canonical (payloads are not kept); infinities are `inf` and `-inf`.

const MANTISSA_BITS: u32 = 52;
const EXPONENT_BIAS: i64 = 1023;

/// The canonical text of `value`.
pub fn hex(value: f64) -> String {
    let bits = value.to_bits();
    let sign = if bits >> 63 == 1 { "-" } else { "" };
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return format!("{sign}inf");
    }
    let exponent = ((bits >> MANTISSA_BITS) & 0x7ff) as i64;
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    if exponent == 0 && mantissa == 0 {
        return format!("{sign}0x0p0");
    }
    let (lead, exponent) = if exponent == 0 {
        (0, 1 - EXPONENT_BIAS)
    } else {
        (1, exponent - EXPONENT_BIAS)
    };
    let digits = format!("{mantissa:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}0x{lead}{point}{digits}p{exponent}")
}

/// The value of a canonical text; `None` for any other text (one value, one spelling).
pub fn parse_hex(text: &str) -> Option<f64> {
    let value = match text {
        "nan" => f64::NAN,
        "inf" => f64::INFINITY,
        "-inf" => f64::NEG_INFINITY,
        _ => parse_finite(text)?,
    };
    (hex(value) == text).then_some(value)
}

fn parse_finite(text: &str) -> Option<f64> {
    let (sign, body) = match text.strip_prefix('-') {
        Some(rest) => (1u64 << 63, rest),
        None => (0, text),
    };
    let (mantissa, exponent) = body.strip_prefix("0x")?.split_once('p')?;
    let exponent: i64 = exponent.parse().ok()?;
    let (lead, digits) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if digits.len() > 13 {
        return None;
    }
    let fraction = if digits.is_empty() {
        0
    } else {
        u64::from_str_radix(digits, 16).ok()? << (4 * (13 - digits.len()))
    };
    let biased = match lead {
        "1" => u64::try_from(exponent.checked_add(EXPONENT_BIAS)?)
            .ok()
            .filter(|e| (1..=2046).contains(e))?,
        "0" => 0,
        _ => return None,
    };
    Some(f64::from_bits(sign | (biased << MANTISSA_BITS) | fraction))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        assert_eq!(hex(3.0), "0x1.8p1");
        assert_eq!(hex(-0.1), "-0x1.999999999999ap-4");
        assert_eq!(hex(0.0), "0x0p0");
        assert_eq!(hex(-0.0), "-0x0p0");
        assert_eq!(hex(f64::from_bits(1)), "0x0.0000000000001p-1022");
        assert_eq!(parse_hex("0x1.80p1"), None);
        assert_eq!(parse_hex("0x1p9999999999999999999"), None);
    }

    proptest! {
        #[test]
        fn round_trip(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let back = parse_hex(&hex(value));
            prop_assert!(back.is_some_and(|b| b.to_bits() == bits || (b.is_nan() && value.is_nan())));
        }
    }
}
