//! The quantisation plan: what `calibrate` measures and the compiler reads.
//!
//! A plan is a small versioned text (TOML, keys sorted, so that equal plans have equal bytes). It holds the range of every
//! activation and two magnitudes of every weight, in real units, rounded upward to 8 significant bits, and the bit widths.
//! Source, configuration and plan give the circuit, without the weights.
//!
//! Names are those of the *prepared* module ([`crate::prepare`], which divides channels by the plan's factors): values as `entry.value`, weights by name.

mod channels;
mod defaults;
mod hints;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use channels::{CHANNEL_LIMIT, Channels};
pub use defaults::default_ranges;
pub use wanted::{Wanted, WantedWeight, wanted};

/// Version of the text.
pub const VERSION: u32 = 1;

/// Bit widths and sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantConfig {
    /// Bits of activations, sign included: 2 to 16. Integers lie within ±(2^(bits-1) - 1).
    pub activation_bits: u32,
    /// Bits of weights of products, sign included: 2 to 16.
    pub weight_bits: u32,
    /// Greatest number of index bits of a table: 4 to 16. Fewer make small proofs, more make finer functions.
    pub table_bits: u32,
    /// Bits of the measured scores of a softmax, sign included: 4 to 14. Fewer where bounds or masks leave less room in the
    /// table.
    pub softmax_bits: u32,
    /// Bits of residual streams between norms, of what norms read and of what their gains multiply: 2 to 16. As many of
    /// them are used as sums of squares leave room for.
    #[serde(default = "residual_bits")]
    pub residual_bits: u32,
    /// Range of inputs for which the plan has none.
    pub input_range: [f64; 2],
}

fn residual_bits() -> u32 {
    14
}

impl Default for QuantConfig {
    /// 8-bit activations and weights, 14-bit residual streams, tables as large as their precision needs, inputs in
    /// [-1, 1].
    fn default() -> Self {
        QuantConfig {
            activation_bits: 8,
            weight_bits: 8,
            table_bits: 16,
            softmax_bits: 10,
            residual_bits: residual_bits(),
            input_range: [-1.0, 1.0],
        }
    }
}

/// Range of a value, over all samples and all iterations of its regions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueRange {
    /// Least.
    pub lo: f64,
    /// Greatest.
    pub hi: f64,
}

/// Magnitudes of a weight, over all iterations of its regions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightStats {
    /// Greatest |w|.
    pub max_abs: f64,
    /// Greatest Σ |w| over `axes`, whatever the other axes; absent where the weight is in no product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column_sum: Option<f64>,
    /// The axes summed for `column_sum`, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub axes: Vec<usize>,
}

/// The plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantPlan {
    /// Version of the text.
    pub version: u32,
    /// The agreement with the real model for which the widths were chosen; then they stand before the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<f64>,
    /// What was measured when the widths were chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Reached>,
    /// Bit widths.
    #[serde(default)]
    pub config: QuantConfig,
    /// Ranges by `entry.value`.
    #[serde(default)]
    pub values: BTreeMap<String, ValueRange>,
    /// Magnitudes by weight.
    #[serde(default)]
    pub weights: BTreeMap<String, WeightStats>,
    /// Factors of channels by `entry.value`, the value being the first that they divide; ranges and magnitudes are those of
    /// the divided values and of the weights that have taken the factors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, Channels>,
    /// What the source asks for by name.
    #[serde(default, skip_serializing_if = "Asked::is_empty")]
    pub asked: Asked,
}

/// What a search for a quality found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// The least cosine of an output with the real model's, over the samples.
    pub cosine: f64,
    /// Committed cells of the first sample.
    pub committed_cells: u64,
    /// Values, as `entry.value`, that are wider than the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wider: Vec<String>,
}

/// What annotations ask of single values and weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Bits of activations by `entry.value`: 2 to 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub value_bits: BTreeMap<String, u32>,
    /// Bits of weights by name: 2 to 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weight_bits: BTreeMap<String, u32>,
    /// Inputs, as `entry.input`, that are clamped rather than refused outside of their range.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clamp: BTreeSet<String>,
}

impl Asked {
    fn is_empty(&self) -> bool {
        *self == Asked::default()
    }
}

impl Default for QuantPlan {
    /// Nothing measured, default widths.
    fn default() -> Self {
        QuantPlan {
            version: VERSION,
            quality: None,
            reached: None,
            config: QuantConfig::default(),
            values: BTreeMap::new(),
            weights: BTreeMap::new(),
            channels: BTreeMap::new(),
            asked: Asked::default(),
        }
    }
}

/// Why a text is no plan.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PlanError {
    /// It does not parse.
    #[error("not a quantisation plan: {0}")]
    Syntax(String),
    /// Another version.
    #[error("quantisation plan version {found}, this build reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// A setting or statistic out of range.
    #[error("quantisation plan: {what} is {found}, it must be {expected}")]
    Value {
        /// Which.
        what: String,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl QuantPlan {
    /// Reads the text.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let plan: QuantPlan = toml::from_str(text).map_err(|e| PlanError::Syntax(e.message().to_owned()))?;
        plan.validate()?;
        Ok(plan)
    }

    /// The text; `parse(to_text(p)) == p`.
    pub fn to_text(&self) -> Result<String, PlanError> {
        toml::to_string_pretty(self).map_err(|e| PlanError::Syntax(e.to_string()))
    }

    /// Checks version, widths and statistics.
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.version != VERSION {
            return Err(PlanError::Version { found: self.version });
        }
        let bad = |what: &str, found: String, expected| {
            Err(PlanError::Value {
                what: what.to_owned(),
                found,
                expected,
            })
        };
        let c = &self.config;
        if !(2..=16).contains(&c.activation_bits) {
            return bad("activation_bits", c.activation_bits.to_string(), "2 to 16");
        }
        if !(2..=16).contains(&c.weight_bits) {
            return bad("weight_bits", c.weight_bits.to_string(), "2 to 16");
        }
        if !(4..=16).contains(&c.table_bits) {
            return bad("table_bits", c.table_bits.to_string(), "4 to 16");
        }
        if !(4..=14).contains(&c.softmax_bits) {
            return bad("softmax_bits", c.softmax_bits.to_string(), "4 to 14");
        }
        if !(2..=16).contains(&c.residual_bits) {
            return bad("residual_bits", c.residual_bits.to_string(), "2 to 16");
        }
        for (name, bits) in self.asked.value_bits.iter().chain(&self.asked.weight_bits) {
            if !(2..=16).contains(bits) {
                return bad(name, format!("{bits} bits"), "2 to 16 bits");
            }
        }
        for (name, factors) in &self.channels {
            if let Some(c) = factors.wrong() {
                return bad(
                    name,
                    format!("`{c}`"),
                    "`0`, `a` to `o` or `A` to `O` for every channel",
                );
            }
        }
        if self.quality.is_some_and(|q| !(0.0..=1.0).contains(&q)) {
            return bad("quality", format!("{:?}", self.quality), "a cosine, 0 to 1");
        }
        let is_range = |lo: f64, hi: f64| lo.is_finite() && hi.is_finite() && lo <= hi;
        if !is_range(c.input_range[0], c.input_range[1]) {
            return bad("input_range", format!("{:?}", c.input_range), "a finite interval");
        }
        for (name, r) in &self.values {
            if !is_range(r.lo, r.hi) {
                return bad(name, format!("[{}, {}]", r.lo, r.hi), "a finite interval");
            }
        }
        for (name, w) in &self.weights {
            let ok = |v: f64| v.is_finite() && v >= 0.0;
            if !ok(w.max_abs) || !w.column_sum.is_none_or(ok) {
                return bad(
                    name,
                    format!("{} / {:?}", w.max_abs, w.column_sum),
                    "finite and not negative",
                );
            }
        }
        Ok(())
    }

    /// Statistics of a weight: measured, or |w| ≤ 1.
    pub(crate) fn weight(&self, name: &str) -> WeightStats {
        let assumed = || WeightStats {
            max_abs: 1.0,
            column_sum: None,
            axes: Vec::new(),
        };
        self.weights.get(name).cloned().unwrap_or_else(assumed)
    }
}

/// `value` rounded away from zero to 8 significant bits: so statistics are stable and never too small.
pub fn round_up(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let (_, exponent) = libm::frexp(value);
    let unit = libm::ldexp(1.0, exponent - 8);
    let magnitude = libm::ceil(libm::fabs(value) / unit) * unit;
    libm::copysign(magnitude, value)
}

/// A measured range as the plan holds it: both ends outward.
pub fn round_range(lo: f64, hi: f64) -> ValueRange {
    let outward = |v: f64, away: bool| {
        if away {
            return round_up(v);
        }
        // Towards zero is outward for the inner end: 8 significant bits, truncated.
        let (_, exponent) = libm::frexp(v);
        let unit = libm::ldexp(1.0, exponent - 8);
        if v == 0.0 { 0.0 } else { libm::trunc(v / unit) * unit }
    };
    ValueRange {
        lo: outward(lo, lo < 0.0),
        hi: outward(hi, hi > 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_round_outward_to_eight_bits() {
        assert_eq!(round_up(1.0), 1.0);
        assert_eq!(round_up(1.001), 1.0078125);
        assert_eq!(round_up(-300.5), -302.0);
        assert_eq!(
            round_range(0.1234, 7.77),
            ValueRange {
                lo: 0.123046875,
                hi: 7.78125
            }
        );
        assert_eq!(round_range(-3.33, -0.501), ValueRange { lo: -3.34375, hi: -0.5 });
    }

    #[test]
    fn the_text_is_stable_and_versioned() {
        let mut plan = QuantPlan::default();
        plan.values.insert("main.fc".into(), ValueRange { lo: -1.5, hi: 2.25 });
        plan.weights.insert(
            "fc".into(),
            WeightStats {
                max_abs: 0.5,
                column_sum: Some(12.0),
                axes: vec![1],
            },
        );
        plan.channels.insert("main.fc".into(), Channels::new(&[vec![-1, 0, 2]]));
        plan.quality = Some(0.99);
        plan.reached = Some(Reached {
            cosine: 0.995,
            committed_cells: 1000,
            wider: vec!["main.fc".into()],
        });
        let text = plan.to_text().unwrap();
        assert_eq!(QuantPlan::parse(&text).unwrap(), plan);
        assert_eq!(QuantPlan::parse(&text).unwrap().to_text().unwrap(), text);
        let other = text.replace("version = 1", "version = 9");
        assert_eq!(QuantPlan::parse(&other), Err(PlanError::Version { found: 9 }));
        assert!(QuantPlan::parse("version = 1\n[config]\nactivation_bits = 40\n").is_err());
        assert!(QuantPlan::parse("nonsense").is_err());
        let error = QuantPlan::parse(&text.replace("A0b", "A0z")).unwrap_err();
        assert!(error.to_string().contains("main.fc is `z`"), "{error}");
    }
}
