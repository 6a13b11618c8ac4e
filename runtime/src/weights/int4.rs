//! Linear layers whose weights are packed to four bits with a scale for each group of inputs: the layouts in which GPTQ
//! and AWQ checkpoints store them, read as the tensor `X.weight` (`[outputs, inputs]`) that the layer would have unpacked.
//!
//! With `s` the scale and `z` the zero point of the group `g(k)` of input `k`, weight `(n, k)` is `s[g(k), n] · (q[k, n] - z[g(k), n])`,
//! exact in `f32` (a half of 11 bits times an integer of 6). Eight numbers share an `I32`, the first in the lowest bits:
//!
//! | tensor | GPTQ | AWQ ("gemm") |
//! |---|---|---|
//! | `X.qweight` | `[inputs / 8, outputs]`: eight inputs of one output | `[inputs, outputs / 8]`: outputs 0, 2, 4, 6, 1, 3, 5, 7 of one input |
//! | `X.qzeros` | `[groups, outputs / 8]`, in order; less one, but for `checkpoint_format` `gptq_v2` | the same, in the order of `qweight` |
//! | `X.scales` | `[groups, outputs]` | the same |
//! | `X.g_idx` | `[inputs]`: the group of each input | none: `k / group_size` |
//!
//! GPTQ: Frantar et al., <https://arxiv.org/abs/2210.17323>; AWQ: Lin et al., <https://arxiv.org/abs/2306.00978>; the
//! layouts are those of AutoGPTQ and GPTQModel, and of AutoAWQ.

use safetensors::Dtype;
use serde_json::Value;

use super::files::floats;

/// Key of `config.json`, and of a safetensors file's own metadata, that says how weights are packed.
pub const QUANTIZATION: &str = "quantization_config";

/// Numbers in one `I32`.
const PER_WORD: usize = 8;
/// The outputs whose numbers lie in a word, lowest bits first.
const IN_ORDER: [usize; PER_WORD] = [0, 1, 2, 3, 4, 5, 6, 7];
const AWQ_ORDER: [usize; PER_WORD] = [0, 2, 4, 6, 1, 3, 5, 7];
/// One in each number of a word.
const ONES: u32 = 0x1111_1111;

/// Why a `quantization_config` is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackingError {
    /// It is not an object with a `quant_method`.
    #[error("`{QUANTIZATION}` does not name its `quant_method`")]
    NoMethod,
    /// A method without a reader.
    #[error(
        "weights packed by `{0}` are not read: known are gptq and awq with 4 bits; save the model unpacked, as float16 or bfloat16"
    )]
    Method(String),
    /// A variant of a known method without a reader.
    #[error("`{QUANTIZATION}` of {method} has {key} = {found}; {read} is read")]
    Variant {
        /// The method.
        method: &'static str,
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be read.
        read: &'static str,
    },
}

/// How the linear layers of a checkpoint are packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    layout: Layout,
    /// Inputs of one group; `None` where all are one.
    group: Option<usize>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `less_one`: stored zero points are one less than what they stand for.
    Gptq {
        less_one: bool,
    },
    Awq,
}

impl Packing {
    /// What `config.json` says; `None` where it does not speak of packed weights.
    pub fn of_config(config: &Value) -> Result<Option<Self>, PackingError> {
        match config.get(QUANTIZATION) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Self::of(value).map(Some),
        }
    }

    /// What a `quantization_config` says.
    pub fn of(value: &Value) -> Result<Self, PackingError> {
        let method = value.get("quant_method").and_then(Value::as_str);
        let layout = match method.ok_or(PackingError::NoMethod)? {
            "gptq" => Self::gptq(value)?,
            "awq" => Self::awq(value)?,
            other => return Err(PackingError::Method(other.to_owned())),
        };
        let group = value.get("group_size").or(value.get("q_group_size"));
        Ok(Packing {
            layout,
            group: group.and_then(Value::as_u64).map(|n| n as usize),
            text: value.to_string(),
        })
    }

    fn gptq(value: &Value) -> Result<Layout, PackingError> {
        let variant = |key, read| refuse("gptq", value, key, read);
        if value.get("bits").and_then(Value::as_u64) != Some(4) {
            return Err(variant("bits", "4"));
        }
        if value.get("is_marlin_format").and_then(Value::as_bool) == Some(true) {
            return Err(variant("is_marlin_format", "false"));
        }
        // Settings of single layers, which may have other bits.
        if value
            .get("dynamic")
            .is_some_and(|d| d.as_object().is_none_or(|d| !d.is_empty()) && !d.is_null())
        {
            return Err(variant("dynamic", "one setting for all layers"));
        }
        match value.get("checkpoint_format").map(Value::as_str) {
            None | Some(Some("gptq")) => Ok(Layout::Gptq { less_one: true }),
            Some(Some("gptq_v2")) => Ok(Layout::Gptq { less_one: false }),
            Some(_) => Err(variant("checkpoint_format", "gptq or gptq_v2")),
        }
    }

    fn awq(value: &Value) -> Result<Layout, PackingError> {
        let variant = |key, read| refuse("awq", value, key, read);
        let (bits, name) = match value.get("bits") {
            Some(bits) => (bits.as_u64(), "bits"),
            None => (value.get("w_bit").and_then(Value::as_u64), "w_bit"),
        };
        if bits != Some(4) {
            return Err(variant(name, "4"));
        }
        let version = value.get("version").map_or(Some("gemm"), Value::as_str);
        if !version.is_some_and(|v| v.eq_ignore_ascii_case("gemm")) {
            return Err(variant("version", "gemm"));
        }
        if value.get("zero_point").and_then(Value::as_bool) == Some(false) {
            return Err(variant("zero_point", "true"));
        }
        Ok(Layout::Awq)
    }

    /// The `quantization_config` as JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The method's name.
    fn method(&self) -> &'static str {
        match self.layout {
            Layout::Gptq { .. } => "gptq",
            Layout::Awq => "awq",
        }
    }

    /// Shape `[outputs, inputs]` of the layer, and its groups, from what its tensors are; an error says what does not fit.
    pub(super) fn layer(&self, parts: &Parts<'_>) -> Result<Layer, String> {
        let [a, b] = matrix("qweight", &parts.qweight, &[Dtype::I32])?;
        let (inputs, outputs) = match self.layout {
            Layout::Gptq { .. } => (a.checked_mul(PER_WORD), Some(b)),
            Layout::Awq => (Some(a), b.checked_mul(PER_WORD)),
        };
        let (Some(inputs), Some(outputs)) = (inputs, outputs) else {
            return Err("its shape is beyond all bounds".to_owned());
        };
        let [groups, columns] = matrix("scales", &parts.scales, &[Dtype::F16, Dtype::BF16, Dtype::F32])?;
        if columns != outputs || groups == 0 {
            return Err(format!(
                "qweight has {outputs} outputs, and scales the shape [{groups}, {columns}]"
            ));
        }
        let zeros = matrix("qzeros", &parts.qzeros, &[Dtype::I32])?;
        if zeros[0] != groups || zeros[1].checked_mul(PER_WORD) != Some(outputs) {
            return Err(format!(
                "scales has the shape [{groups}, {outputs}], and qzeros {zeros:?}, not [{groups}, {}]",
                outputs / PER_WORD
            ));
        }
        let group = match &parts.g_idx {
            Some(part) => indices(part, inputs, groups)?,
            None => {
                let size = self.group.unwrap_or(inputs).max(1);
                if inputs.div_ceil(size) != groups {
                    return Err(format!(
                        "{inputs} inputs in groups of {size} (`group_size` of {}) are not the {groups} groups of scales",
                        self.method()
                    ));
                }
                (0..inputs).map(|k| k / size).collect()
            }
        };
        Ok(Layer {
            layout: self.layout,
            outputs,
            group,
        })
    }
}

fn refuse(method: &'static str, value: &Value, key: &'static str, read: &'static str) -> PackingError {
    PackingError::Variant {
        method,
        key,
        found: value.get(key).map_or_else(|| "nothing".to_owned(), Value::to_string),
        read,
    }
}

/// One tensor as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) dtype: Dtype,
    pub(super) shape: &'a [usize],
    pub(super) bytes: &'a [u8],
}

/// The tensors of one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) qweight: Part<'a>,
    pub(super) qzeros: Part<'a>,
    pub(super) scales: Part<'a>,
    pub(super) g_idx: Option<Part<'a>>,
}

/// A layer whose tensors fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    layout: Layout,
    outputs: usize,
    /// The group of each input, below the number of rows of `scales`.
    group: Vec<usize>,
}

fn matrix(name: &str, part: &Part<'_>, dtypes: &[Dtype]) -> Result<[usize; 2], String> {
    match part.shape {
        [a, b] if dtypes.contains(&part.dtype) => Ok([*a, *b]),
        shape => Err(format!(
            "{name} has elements {:?} and the shape {shape:?}; a matrix of {dtypes:?} was expected",
            part.dtype
        )),
    }
}

/// `g_idx`.
fn indices(part: &Part<'_>, inputs: usize, groups: usize) -> Result<Vec<usize>, String> {
    if part.dtype != Dtype::I32 || part.shape != [inputs] {
        return Err(format!(
            "g_idx has elements {:?} and the shape {:?}; I32 and [{inputs}] were expected",
            part.dtype, part.shape
        ));
    }
    let words = part.bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b));
    words
        .enumerate()
        .map(|(k, g)| match usize::try_from(g) {
            Ok(g) if g < groups => Ok(g),
            _ => Err(format!(
                "g_idx puts input {k} into group {g}, and there are {groups} groups"
            )),
        })
        .collect()
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b))
}

fn nibble(word: u32, i: usize) -> i8 {
    ((word >> (4 * i)) & 15) as i8
}

impl Layer {
    /// `[outputs, inputs]`.
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.outputs, self.group.len()]
    }

    /// The weights, row-major over `[outputs, inputs]`. `parts` are those that [`Packing::layer`] was given.
    pub(super) fn unpack(&self, parts: &Parts<'_>) -> Vec<f32> {
        let (outputs, inputs) = (self.outputs, self.group.len());
        let (order, less_one) = match self.layout {
            Layout::Gptq { less_one } => (IN_ORDER, less_one),
            Layout::Awq => (AWQ_ORDER, false),
        };
        // Row-major over [groups, outputs], as the scales are.
        let mut zeros = vec![0i8; parts.scales.shape.iter().product()];
        for (word, zeros) in words(parts.qzeros.bytes).zip(zeros.as_chunks_mut::<PER_WORD>().0) {
            // The one is added to the packed word, carries and all, as it was subtracted by who wrote it.
            let word = if less_one { word.wrapping_add(ONES) } else { word };
            order.iter().enumerate().for_each(|(i, n)| zeros[*n] = nibble(word, i));
        }
        // Of one of the three types that were let in.
        let scales = floats(parts.scales.dtype, parts.scales.bytes).unwrap_or_default();
        let mut out = vec![0.0; outputs * inputs];
        let mut put = |k: usize, n: usize, q: i8| {
            let at = self.group[k] * outputs + n;
            out[n * inputs + k] = scales[at] * f32::from(q - zeros[at]);
        };
        for (at, word) in words(parts.qweight.bytes).enumerate() {
            for (i, place) in order.iter().enumerate() {
                let q = nibble(word, i);
                match self.layout {
                    Layout::Gptq { .. } => put(at / outputs * PER_WORD + place, at % outputs, q),
                    Layout::Awq => {
                        let per_row = outputs / PER_WORD;
                        put(at / per_row, at % per_row * PER_WORD + place, q);
                    }
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    fn part<'a>(dtype: Dtype, shape: &'a [usize], bytes: &'a [u8]) -> Part<'a> {
        Part { dtype, shape, bytes }
    }

    fn gptq(format: &str) -> Packing {
        let value = json!({"quant_method": "gptq", "bits": 4, "group_size": 4, "checkpoint_format": format});
        Packing::of(&value).unwrap()
    }

    /// Eight inputs in two groups, eight outputs; output `n` has the numbers `n, n + 1, …`.
    #[test]
    fn inputs_of_gptq_share_words() {
        let number = |k: usize, n: usize| ((k + n) % 16) as u32;
        let qweight: Vec<u32> = (0..8).map(|n| (0..8).map(|k| number(k, n) << (4 * k)).sum()).collect();
        // Zero points 0..8 of the first group and 8..16 of the second.
        let zeros = [0x7654_3210u32, 0xfedc_ba98];
        let scales: Vec<u8> = (0..16).flat_map(|i| (1.0f32 + i as f32).to_le_bytes()).collect();
        let less: Vec<u32> = zeros.iter().map(|z| z.wrapping_sub(ONES)).collect();
        for (format, zeros) in [("gptq", bytes(&less)), ("gptq_v2", bytes(&zeros))] {
            let words = bytes(&qweight);
            let parts = Parts {
                qweight: part(Dtype::I32, &[1, 8], &words),
                qzeros: part(Dtype::I32, &[2, 1], &zeros),
                scales: part(Dtype::F32, &[2, 8], &scales),
                g_idx: None,
            };
            let layer = gptq(format).layer(&parts).unwrap();
            assert_eq!(layer.shape(), [8, 8]);
            let got = layer.unpack(&parts);
            for n in 0..8 {
                for k in 0..8 {
                    let (group, q) = (k / 4, number(k, n) as f32);
                    let zero = (8 * group + n) as f32;
                    assert_eq!(got[n * 8 + k], (1.0 + zero) * (q - zero), "{format} {n} {k}");
                }
            }
        }
    }

    #[test]
    fn outputs_of_awq_share_words_in_their_order() {
        let packing = Packing::of(&json!({"quant_method": "awq", "bits": 4, "group_size": -1})).unwrap();
        // One input; the numbers of outputs 0, 1, 2, … are 1, 2, 3, …
        let words = bytes(&[0x8642_7531]);
        let zeros = bytes(&[0]);
        let scales: Vec<u8> = [1.0f32; 8].iter().flat_map(|s| s.to_le_bytes()).collect();
        let parts = Parts {
            qweight: part(Dtype::I32, &[1, 1], &words),
            qzeros: part(Dtype::I32, &[1, 1], &zeros),
            scales: part(Dtype::F32, &[1, 8], &scales),
            g_idx: None,
        };
        let layer = packing.layer(&parts).unwrap();
        assert_eq!(layer.unpack(&parts), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    }

    #[test]
    fn what_is_not_packed_has_no_packing() {
        assert_eq!(Packing::of_config(&json!({})), Ok(None));
        assert_eq!(Packing::of_config(&json!({"quantization_config": null})), Ok(None));
        assert_eq!(
            Packing::of_config(&json!({"quantization_config": 4})),
            Err(PackingError::NoMethod)
        );
    }
}
