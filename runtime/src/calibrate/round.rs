//! Outward rounding to 8 significant bits, exact on every platform.

use super::Range;

/// The multiple of `2^(exponent of v - 7)` next to `v`, away from zero or towards it.
fn round(v: f64, away: bool) -> f64 {
    // Zero, subnormal and non-finite numbers stay: no statistic is that small.
    if !v.is_normal() {
        return v;
    }
    // The 45 low bits of the mantissa are dropped; a carry into the exponent is the next power of two.
    let bits = v.to_bits();
    let low = (1u64 << 45) - 1;
    let up = away && bits & low != 0;
    f64::from_bits((bits & !low) + if up { low + 1 } else { 0 })
}

/// The least number of 8 significant bits that is not below `v`.
pub fn round_up(v: f64) -> f64 {
    round(v, v > 0.0)
}

/// The greatest number of 8 significant bits that is not above `v`.
pub fn round_down(v: f64) -> f64 {
    round(v, v < 0.0)
}

/// Both ends outward.
pub fn round_range(r: Range) -> Range {
    Range {
        lo: round_down(r.lo),
        hi: round_up(r.hi),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_hand() {
        assert_eq!(round_up(1.001), 1.0078125);
        assert_eq!(round_down(1.001), 1.0);
        assert_eq!(round_down(-300.5), -302.0);
        assert_eq!(round_up(-300.5), -300.0);
        assert_eq!(round_up(255.5), 256.0);
        assert_eq!(round_up(0.0), 0.0);
    }

    proptest! {
        #[test]
        fn outward_idempotent_and_close(v in -1e30f64..1e30) {
            let (lo, hi) = (round_down(v), round_up(v));
            prop_assert!(lo <= v && v <= hi && hi - lo <= v.abs() / 127.0);
            prop_assert_eq!((round_down(lo), round_up(hi)), (lo, hi));
        }
    }
}
