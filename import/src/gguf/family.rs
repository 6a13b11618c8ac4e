//! What a GGUF file calls things, in the names of the HuggingFace model that it was made of.
//!
//! `general.architecture` names a family; its sizes become the keys that config.json would have, and its tensors their names.
//! Two things lie otherwise than they did: the rows of the queries and keys of `llama`, which are interleaved for its kind of rotary
//! embedding, and the matrices of `gpt2`, which are transposed. [`Turn`] says how a tensor is turned back.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::GgufError;
use super::read::{Described, Header, Meta};

/// Architectures with a mapping: their names and the `model_type` each one becomes are the same.
pub(super) const KNOWN: [&str; 4] = ["gpt2", "llama", "qwen2", "qwen3"];

/// How the elements of a tensor are put back into the order of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// They are in order.
    None,
    /// Of each of so many heads, row `2·j + s` was row `s·width/2 + j`.
    Heads(usize),
    /// A matrix whose axes were exchanged.
    Transposed,
}

/// Tensors outside of blocks, and those of block `l` (behind `blk.{l}.`), without `.weight` or `.bias`.
struct Names {
    outside: &'static [(&'static str, &'static str)],
    block: &'static str,
    inside: &'static [(&'static str, &'static str)],
}

const LLAMA: Names = Names {
    outside: &[
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("output", "lm_head"),
    ],
    block: "model.layers",
    inside: &[
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
};

const GPT2: Names = Names {
    outside: &[
        ("token_embd", "wte"),
        ("position_embd", "wpe"),
        ("output_norm", "ln_f"),
        ("output", "lm_head"),
    ],
    block: "h",
    inside: &[
        ("attn_norm", "ln_1"),
        ("attn_qkv", "attn.c_attn"),
        ("attn_output", "attn.c_proj"),
        ("ffn_norm", "ln_2"),
        ("ffn_up", "mlp.c_fc"),
        ("ffn_down", "mlp.c_proj"),
    ],
};

/// Names of the original, each with what it is called in the file and how it is turned back.
pub(super) type Placed = BTreeMap<String, (String, Turn)>;

/// A file in the terms of config.json.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) architecture: String,
    pub(super) config: Value,
    pub(super) placed: Placed,
}

struct Keys<'a> {
    header: &'a Header,
    architecture: &'a str,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Meta> {
        self.header.meta.get(&format!("{}.{key}", self.architecture))
    }

    fn wrong(&self, key: &str, why: &str) -> GgufError {
        GgufError::Key {
            key: format!("{}.{key}", self.architecture),
            why: why.to_owned(),
        }
    }

    /// A size, where there is one.
    fn size(&self, key: &str) -> Result<Option<u64>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Meta::Integer(n)) if (0..=i128::from(u32::MAX)).contains(n) => Ok(Some(*n as u64)),
            Some(Meta::Array(_)) => Err(self.wrong(key, "differs from layer to layer, which no family computes")),
            Some(_) => Err(self.wrong(key, "is no size")),
        }
    }

    fn must(&self, key: &str) -> Result<u64, GgufError> {
        self.size(key)?.ok_or_else(|| self.wrong(key, "is missing"))
    }

    fn real(&self, key: &str) -> Result<Option<f64>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Meta::Real(x)) if x.is_finite() => Ok(Some(*x)),
            Some(Meta::Integer(n)) => Ok(Some(*n as f64)),
            Some(_) => Err(self.wrong(key, "is no number")),
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Meta::Text(text)) => Some(text),
            _ => None,
        }
    }
}

impl Family {
    /// What the header of a file says. `same` tells whether two tensors have the same elements.
    pub(super) fn of(header: &Header, same: impl Fn(&Described, &Described) -> bool) -> Result<Self, GgufError> {
        let architecture = match header.meta.get("general.architecture") {
            Some(Meta::Text(text)) => text.clone(),
            _ => return Err(GgufError::NoArchitecture),
        };
        if !KNOWN.contains(&architecture.as_str()) {
            return Err(GgufError::Architecture(architecture));
        }
        if header.tensors.contains_key("rope_freqs.weight") {
            return Err(GgufError::ScaledRotary);
        }
        let keys = Keys {
            header,
            architecture: &architecture,
        };
        let embedding = header.tensors.get("token_embd.weight");
        let Some([vocabulary, _]) = embedding.map(|t| t.shape.as_slice()) else {
            return Err(GgufError::Tensor {
                name: "token_embd.weight".to_owned(),
                why: "a matrix of that name was expected".to_owned(),
            });
        };
        // Some files repeat the embedding as the head.
        let tied = match (embedding, header.tensors.get("output.weight")) {
            (Some(embedding), Some(head)) => same(embedding, head),
            _ => true,
        };
        let mut config = Map::new();
        config.insert("model_type".to_owned(), json!(architecture));
        config.insert("vocab_size".to_owned(), json!(vocabulary));
        config.insert("tie_word_embeddings".to_owned(), json!(tied));
        let heads = keys.must("attention.head_count")?;
        let kv_heads = keys.size("attention.head_count_kv")?.unwrap_or(heads);
        let gpt2 = architecture == "gpt2";
        match gpt2 {
            true => gpt2_config(&keys, &mut config)?,
            false => llama_config(&keys, &mut config, heads, kv_heads)?,
        }
        let turn = |file: &str| match (architecture.as_str(), file.rsplit('.').nth(1)) {
            ("llama", Some("attn_q")) => Turn::Heads(heads as usize),
            ("llama", Some("attn_k")) => Turn::Heads(kv_heads as usize),
            ("gpt2", Some("attn_qkv" | "attn_output" | "ffn_up" | "ffn_down")) if file.ends_with(".weight") => {
                Turn::Transposed
            }
            _ => Turn::None,
        };
        let names = if gpt2 { &GPT2 } else { &LLAMA };
        let mut placed = Placed::new();
        for (file, tensor) in &header.tensors {
            let turn = turn(file);
            fits(file, tensor, turn)?;
            // What has no name of the original keeps its own, so that it is left over and named.
            let name = names.original(file).unwrap_or_else(|| file.clone());
            if let Some((other, _)) = placed.insert(name, (file.clone(), turn)) {
                return Err(GgufError::Tensor {
                    name: file.clone(),
                    why: format!("it stands for the same tensor as `{other}`"),
                });
            }
        }
        Ok(Family {
            config: Value::Object(config),
            placed,
            architecture,
        })
    }
}

impl Names {
    fn original(&self, file: &str) -> Option<String> {
        let (stem, kind) = file.rsplit_once('.')?;
        let find = |list: &[(&str, &'static str)], stem: &str| list.iter().find(|(a, _)| *a == stem).map(|(_, b)| *b);
        let Some(rest) = stem.strip_prefix("blk.") else {
            return Some(format!("{}.{kind}", find(self.outside, stem)?));
        };
        let (layer, stem) = rest.split_once('.')?;
        Some(format!("{}.{layer}.{}.{kind}", self.block, find(self.inside, stem)?))
    }
}

fn fits(name: &str, tensor: &Described, turn: Turn) -> Result<(), GgufError> {
    let fits = match turn {
        Turn::None => true,
        Turn::Transposed => tensor.shape.len() == 2,
        Turn::Heads(heads) => tensor
            .shape
            .first()
            .is_some_and(|rows| heads > 0 && rows.is_multiple_of(2 * heads)),
    };
    if fits {
        return Ok(());
    }
    Err(GgufError::Tensor {
        name: name.to_owned(),
        why: format!("its shape {:?} does not go with the metadata", tensor.shape),
    })
}

fn gpt2_config(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), GgufError> {
    for (key, from) in [
        ("n_embd", "embedding_length"),
        ("n_layer", "block_count"),
        ("n_head", "attention.head_count"),
        ("n_inner", "feed_forward_length"),
        ("n_positions", "context_length"),
    ] {
        config.insert(key.to_owned(), json!(keys.must(from)?));
    }
    if let Some(eps) = keys.real("attention.layer_norm_epsilon")? {
        config.insert("layer_norm_epsilon".to_owned(), json!(eps));
    }
    Ok(())
}

fn llama_config(keys: &Keys<'_>, config: &mut Map<String, Value>, heads: u64, kv_heads: u64) -> Result<(), GgufError> {
    let width = keys.must("embedding_length")?;
    for (key, from) in [
        ("num_hidden_layers", "block_count"),
        ("intermediate_size", "feed_forward_length"),
        ("max_position_embeddings", "context_length"),
    ] {
        config.insert(key.to_owned(), json!(keys.must(from)?));
    }
    config.insert("hidden_size".to_owned(), json!(width));
    config.insert("num_attention_heads".to_owned(), json!(heads));
    config.insert("num_key_value_heads".to_owned(), json!(kv_heads));
    let head = match keys.size("attention.key_length")? {
        Some(head) => {
            config.insert("head_dim".to_owned(), json!(head));
            head
        }
        None => width.checked_div(heads).unwrap_or(0),
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if keys.size(key)?.is_some_and(|n| n != head) {
            return Err(keys.wrong(
                key,
                &format!("is not {head}, the width of a head; no family computes that"),
            ));
        }
    }
    if let Some(eps) = keys.real("attention.layer_norm_rms_epsilon")? {
        config.insert("rms_norm_eps".to_owned(), json!(eps));
    }
    if let Some(theta) = keys.real("rope.freq_base")? {
        config.insert("rope_theta".to_owned(), json!(theta));
    }
    if let Some(scaling) = keys.text("rope.scaling.type").filter(|t| *t != "none") {
        let factor = keys.real("rope.scaling.factor")?.unwrap_or(1.0);
        config.insert(
            "rope_scaling".to_owned(),
            json!({ "rope_type": scaling, "factor": factor }),
        );
    }
    if let Some(window) = keys.size("attention.sliding_window")?.filter(|n| *n > 0) {
        config.insert("sliding_window".to_owned(), json!(window));
        config.insert("use_sliding_window".to_owned(), json!(true));
    }
    Ok(())
}

/// Puts the elements of a tensor back into the original's order; the shape is one that [`Family::of`] let in.
pub(super) fn turn_back(turn: Turn, shape: &mut [usize], data: Vec<f32>) -> Vec<f32> {
    match (turn, &mut *shape) {
        (Turn::Transposed, [rows, columns]) => {
            let turned = (0..*columns)
                .flat_map(|c| (0..*rows).map(move |r| (r, c)))
                .map(|(r, c)| data[r * *columns + c])
                .collect();
            std::mem::swap(rows, columns);
            turned
        }
        (Turn::Heads(heads), [rows, rest @ ..]) => {
            let (width, row) = (*rows / heads, rest.iter().product::<usize>());
            let mut out = Vec::with_capacity(data.len());
            for head in 0..heads {
                for at in 0..width {
                    let (s, j) = (at / (width / 2), at % (width / 2));
                    let from = head * width + 2 * j + s;
                    out.extend_from_slice(&data[from * row..(from + 1) * row]);
                }
            }
            out
        }
        _ => data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_original() {
        let name = |names: &Names, file: &str| names.original(file);
        assert_eq!(
            name(&LLAMA, "blk.12.attn_q.weight").as_deref(),
            Some("model.layers.12.self_attn.q_proj.weight")
        );
        assert_eq!(name(&LLAMA, "output_norm.weight").as_deref(), Some("model.norm.weight"));
        assert_eq!(name(&GPT2, "blk.0.ffn_up.bias").as_deref(), Some("h.0.mlp.c_fc.bias"));
        assert_eq!(name(&GPT2, "position_embd.weight").as_deref(), Some("wpe.weight"));
        for unknown in [
            "blk.0.ffn_gate_exps.weight",
            "rope_freqs.weight",
            "blk.",
            "weight",
            "blk.1.weight",
        ] {
            assert_eq!(name(&LLAMA, unknown), None, "{unknown}");
        }
    }

    #[test]
    fn what_was_turned_is_turned_back() {
        // Two heads of four rows of one element; the file has 0 2 1 3 of each.
        let mut shape = [8, 1];
        let file = [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0];
        let back = turn_back(Turn::Heads(2), &mut shape, file.to_vec());
        assert_eq!(back, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let mut shape = [2, 3];
        let back = turn_back(Turn::Transposed, &mut shape, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((shape, back), ([3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    }
}
