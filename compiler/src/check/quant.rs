//! What annotations ask of quantisation. The compiler's front-end only records it; the quantise pass reads it.

/// What a [`QuantHint`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuantTarget {
    /// The whole model.
    Model,
    /// The weight of this name in the graph.
    Weight(String),
    /// The value of this name in an entry of the graph.
    Value {
        /// The entry.
        entry: String,
        /// The value.
        value: String,
    },
}

/// How many scales a tensor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleKind {
    /// One.
    PerTensor,
    /// One for each output channel.
    PerChannel,
}

/// One `@quant(…)` or `@range(…)`. What is `None` is left to the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantHint {
    /// What it is about.
    pub target: QuantTarget,
    /// Bits of the target itself (2 to 16).
    pub bits: Option<u32>,
    /// Bits of all activations (on a model).
    pub activations: Option<u32>,
    /// Bits of all weights (on a model).
    pub weights: Option<u32>,
    /// Scales.
    pub scale: Option<ScaleKind>,
    /// Whether values out of range are clamped rather than refused (inputs).
    pub clamp: Option<bool>,
    /// Declared least and greatest value.
    pub range: Option<(f64, f64)>,
}

impl QuantHint {
    /// A hint that asks nothing.
    pub fn new(target: QuantTarget) -> Self {
        let (bits, activations, weights, scale, clamp, range) = (None, None, None, None, None, None);
        QuantHint {
            target,
            bits,
            activations,
            weights,
            scale,
            clamp,
            range,
        }
    }
}
