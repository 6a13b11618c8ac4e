//! What a model is calibrated on.
//!
//! The files that mlc.toml or the source names; else, of a model that reads tokens, the built-in texts where its tokenizer.json
//! lies beside it, and else sequences of tokens from a fixed seed, which are no language but have every layer compute
//! something. A model of real inputs has to be told: there is nothing to guess what images or features look like.

use std::collections::BTreeMap;

use mlc_ir::{Elem, Module, TensorF32};
use mlc_runtime::inputs::InputFile;

use crate::error::CliError;
use crate::input::{self, Bound, Declared};
use crate::model::Model;
use crate::pipeline;
use crate::project::{MANIFEST, Project};
use crate::prompt::{self, Prompts, TOKENIZER};
use crate::random::Rng;

/// Lengths of the random sequences, as far as the model takes them.
const LENGTHS: [i64; 8] = [32, 24, 16, 16, 8, 8, 4, 4];

/// Where samples are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Files that are named.
    Named,
    /// The built-in texts.
    Texts,
    /// A seed.
    Tokens,
    /// There are none.
    Nothing,
}

/// Sample inputs of a model's entry.
pub(crate) struct Samples {
    /// In order, cut to what one run takes.
    pub(crate) runs: Vec<Bound>,
    pub(crate) origin: Origin,
}

impl Samples {
    /// What a model is calibrated on.
    pub(crate) fn of(project: &Project, model: &Model) -> Result<Self, CliError> {
        let mut runs = Vec::new();
        for path in &model.calibration {
            runs.extend(pipeline::read_input(project, model, path)?);
        }
        if !model.calibration.is_empty() {
            let origin = Origin::Named;
            return Ok(Samples { runs, origin });
        }
        let (module, entry) = (&model.module, &model.entry);
        if prompt::reads_tokens(module, entry) && project.root.join(TOKENIZER).is_file() {
            // None of them fits where the tokenizer is that of a larger vocabulary.
            runs = Prompts::open(&project.root, model)?.samples();
            if !runs.is_empty() {
                let origin = Origin::Texts;
                return Ok(Samples { runs, origin });
            }
        }
        runs = tokens(module, entry)?;
        let origin = match runs.is_empty() {
            true => Origin::Nothing,
            false => Origin::Tokens,
        };
        Ok(Samples { runs, origin })
    }

    /// Everything that a plan follows from, in bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let count = |out: &mut Vec<u8>, n: usize| out.extend((n as u64).to_le_bytes());
        for run in &self.runs {
            count(&mut out, run.dims.len());
            for (name, length) in &run.dims {
                count(&mut out, name.len());
                out.extend(name.bytes());
                out.extend(length.to_le_bytes());
            }
            for tensor in &run.tensors {
                count(&mut out, tensor.shape.len());
                tensor.shape.iter().for_each(|n| count(&mut out, *n));
                tensor.data.iter().for_each(|v| out.extend(v.to_le_bytes()));
            }
        }
        out
    }

    /// What a user has to know of where the scales are from.
    pub(crate) fn note(&self, model: &Model) -> Option<String> {
        let name = &model.module.name;
        let mend =
            format!("name sample inputs with `data` under [quantise] in {MANIFEST}, or with `mlc calibrate --data`");
        match self.origin {
            Origin::Named | Origin::Texts => None,
            Origin::Tokens => Some(format!(
                "note: {name} is calibrated on {} random sequences of tokens: it has no {TOKENIZER} beside it that fits, and no \
                 sample inputs; for closer scales, {mend}",
                self.runs.len()
            )),
            Origin::Nothing => Some(format!(
                "warning: the scales of {name} are not calibrated: they follow from bounds alone, and may be far too wide; {mend}"
            )),
        }
    }
}

/// Sequences of tokens from a seed, for an entry that takes indices, and masks, which hide nothing; else none.
fn tokens(module: &Module, entry: &str) -> Result<Vec<Bound>, CliError> {
    let elems = elements(module, entry);
    let known = |e: &Elem| matches!(e, Elem::Index(_) | Elem::Mask);
    if !elems.iter().all(known) || elems.iter().all(|e| *e == Elem::Mask) {
        return Ok(Vec::new());
    }
    let declared = input::declared(module, entry);
    let mut rng = Rng::new(20);
    LENGTHS
        .iter()
        .map(|length| {
            let dims = lengths(module, &declared, *length);
            let named = declared.iter().zip(&elems).map(|(input, elem)| {
                let shape: Vec<usize> = input.axes.iter().map(|a| a.length(&dims)).collect();
                let element = |_| match elem {
                    Elem::Index(below) => (rng.next() % (*below).max(1)) as f32,
                    _ => 1.0,
                };
                let data = (0..shape.iter().product()).map(element).collect();
                (input.name.clone(), TensorF32 { shape, data })
            });
            let named: BTreeMap<String, TensorF32> = named.collect();
            input::bind(&declared, InputFile::Named(named), "random tokens")
        })
        .collect()
}

/// What the elements of each input are.
fn elements(module: &Module, entry: &str) -> Vec<Elem> {
    let entry = &module.entries[entry];
    entry.body.params.iter().map(|id| entry.ty(*id).elem).collect()
}

/// A sequence has `length` or the most that there may be; of what stands before the sequence, a batch, there is one.
fn lengths(module: &Module, declared: &[Declared], length: i64) -> BTreeMap<String, i64> {
    let mut dims = BTreeMap::new();
    for input in declared {
        let last = input.axes.len().saturating_sub(1);
        for (i, axis) in input.axes.iter().enumerate() {
            for name in axis.dims() {
                let wanted = if i == last { length } else { 1 };
                let bound = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                let (least, most) = module
                    .dims
                    .get(name)
                    .map_or((1, i64::MAX), |d| (bound(d.min), bound(d.max)));
                dims.entry(name.to_owned())
                    .or_insert(wanted.min(most).max(least).max(1));
            }
        }
    }
    dims
}

#[cfg(test)]
mod tests {
    use mlc_compiler::{Config, MemoryHost, check};

    use super::*;

    fn module(input: &str) -> Module {
        let source = format!(
            "model M {{\n    dim n: runtime max 12\n    entry main({input}) -> (y: public real[1, n, 4]) {{\n        \
             weight rows: real[9, 4] from \"w\"\n        gather_rows(rows, ids)\n    }}\n}}\n"
        );
        let checked = check(&MemoryHost::single("m.mlc", &source), "m.mlc", &Config::default());
        checked.module.unwrap_or_else(|| panic!("{:?}", checked.diagnostics))
    }

    #[test]
    fn random_tokens_are_of_the_vocabulary_and_the_same_every_time() {
        let m = module("ids: public index(9)[1, n]");
        let (a, b) = (tokens(&m, "main").unwrap(), tokens(&m, "main").unwrap());
        assert_eq!(a, b);
        let lengths: Vec<i64> = a.iter().map(|run| run.dims["n"]).collect();
        assert_eq!(lengths, [12, 12, 12, 12, 8, 8, 4, 4]);
        assert_eq!(a[5].tensors[0].shape, [1, 8]);
        assert!(a.iter().all(|run| run.tensors[0].data.iter().all(|v| *v < 9.0)));
        assert_ne!(a[0].tensors[0].data, a[1].tensors[0].data);
    }

    #[test]
    fn what_real_inputs_are_is_not_guessed() {
        let m = module("ids: public index(9)[1, n], x: public real[1, n]");
        assert!(tokens(&m, "main").unwrap().is_empty());
    }

    #[test]
    fn samples_differ_where_their_bytes_do() {
        let m = module("ids: public index(9)[1, n]");
        let runs = tokens(&m, "main").unwrap();
        let origin = Origin::Tokens;
        let all = Samples {
            runs: runs.clone(),
            origin,
        };
        let fewer = Samples {
            runs: runs[1..].to_vec(),
            origin,
        };
        assert_ne!(all.bytes(), fewer.bytes());
    }
}
