use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use mlc_circuit::chain::MAX_LINKS;
use mlc_runtime::backend::cpu::Cpu;
use mlc_verifier::generation::{LanguageEntry, continuation};
use mlc_verifier::key::LoadedKey;
use mlc_verifier::proof_file::ProofFile;
use mlc_verifier::statement::Statement;
use serde_json::{Map, Value, json};

use super::{ModelArgs, compiled, prove};
use crate::cost::{self, Cost};
use crate::error::CliError;
use crate::files;
use crate::greedy::{Greedy, Growing, ends};
use crate::memory;
use crate::output::doubt;
use crate::pipeline::{self, Compiled, Residence};
use crate::progress::Progress;
use crate::prompt::{self, Prompts};
use crate::report::Report;
use crate::session::{How, ProvedChain, Session};
use crate::ui::{Ui, bytes, pretty, seconds};

/// Arguments of `mlc generate`.
#[derive(Debug, Args)]
#[command(after_help = "\
The next token is always the one of the greatest integer logit, the lowest of several. With --prove
the prompt and each --segment tokens after it are proved, keys and values carried over from proof to
proof, and whoever verifies the chain with `mlc verify --prompt` sees that every token follows from
the logits before it. A text of one segment is the smallest proof; shorter segments are proved in
less memory. A model that keeps no keys and values is proved at once.

Example:
  mlc generate path/to/model --prompt \"Once upon a time\" --tokens 16
  mlc generate path/to/model --prompt \"Once upon a time\" --tokens 16 --prove -o story.proof
  mlc verify path/to/model --proof story.proof --prompt \"Once upon a time\"")]
pub(crate) struct Generate {
    #[command(flatten)]
    model: ModelArgs,
    /// The text to continue, which the model's tokenizer.json makes tokens of
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Stop after so many tokens, or earlier after the `eos_token_id` of config.json
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Prove the text, verify the proof, and report
    #[arg(long)]
    prove: bool,
    /// Tokens of one proof of the chain
    #[arg(long, value_name = "N", requires = "prove", default_value_t = 32,
        value_parser = clap::value_parser!(u32).range(1..))]
    segment: u32,
    /// Write the proof here
    #[arg(long, short, value_name = "FILE", requires = "prove")]
    output: Option<PathBuf>,
    /// Write the report here, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Take at most so much memory (`8GiB`, `500MB`): weights that do not fit stay in their file. The proofs are the same
    #[arg(long, value_name = "SIZE", requires = "prove", value_parser = prove::size)]
    memory: Option<u64>,
    /// Keep what is done of the proofs in this directory, and go on from what a killed run left there
    #[arg(long, value_name = "DIR", requires = "prove")]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    sampling: Sampling,
}

/// What other programs choose tokens at random by, so that it is refused with its reason.
#[derive(Debug, Args)]
struct Sampling {
    #[arg(long, hide = true, num_args = 0..=1, allow_hyphen_values = true)]
    temperature: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1, allow_hyphen_values = true)]
    top_k: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1, allow_hyphen_values = true)]
    top_p: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1, allow_hyphen_values = true)]
    do_sample: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1, allow_hyphen_values = true)]
    seed: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1, allow_hyphen_values = true)]
    num_beams: Option<Option<String>>,
}

impl Sampling {
    fn refuse(&self) -> Result<(), CliError> {
        let given = [
            ("--temperature", self.temperature.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--do-sample", self.do_sample.is_some()),
            ("--seed", self.seed.is_some()),
            ("--num-beams", self.num_beams.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(CliError::Usage(format!(
                "`{name}` is of sampling or of beams, and only greedy decoding can be proved: the next token is always that of the \
                 greatest logit; leave it out"
            ))),
            None => Ok(()),
        }
    }
}

impl Generate {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        self.sampling.refuse()?;
        for path in self.output.iter().chain(&self.report) {
            files::will_write(path)?;
        }
        if self.memory.is_some() {
            memory::give_back();
        }
        let project = self.model.project()?;
        let progress = Progress::new(ui, if self.prove { 2 } else { 1 });
        let (opened, compile_s) = progress.stage("compile", || compiled(&project, ui, true));
        let (model, compiled) = opened?;
        let entry = LanguageEntry::of(&compiled.circuit, compiled.entry).map_err(|e| {
            CliError::refused(format!(
                "entry `{}` of {} gives no text: {e}; `mlc run` and `mlc prove` take its `--prompt`, `--entry NAME` names another",
                model.entry, model.module.name
            ))
        })?;
        let prompts = Prompts::open(&project.root, &model)?;
        let prompt = prompts.text.tokens(&self.prompt)?;
        prompts.bind_tokens(&prompt)?;
        fits(prompt.len(), self.tokens, entry.context).map_err(|why| {
            CliError::refused(why + &prompt::raised(&model, prompt.len() as u64 + u64::from(self.tokens)))
        })?;
        let ends = ends(&project.root)?;
        if self.prove && compiled.circuit.entries[compiled.entry].grows() {
            segments(self.tokens, self.segment)?;
        }

        let mut residence = Residence::InMemory;
        // The weights in integers are part of the key.
        let (key, setup_s) = match self.prove {
            true => {
                // What is announced is the first proof, over the prompt, where there is a cache.
                let grows = compiled.circuit.entries[compiled.entry].grows();
                let more = if grows { 0 } else { self.tokens as usize - 1 };
                let most = vec![0; prompt.len() + more];
                let dims = prompts.bind_tokens(&most)?.dims_of(&compiled.circuit);
                prove::announce(ui, &project, &model, &compiled, &dims)?;
                if let Some(budget) = self.memory {
                    let cost = match grows {
                        true => self.largest_link(&prompts, &prompt, &compiled)?,
                        false => cost::predict(&compiled.circuit, compiled.entry, &dims)?,
                    };
                    residence = prove::within(budget, &project, &model, &compiled, &cost)?;
                }
                let (key, setup_s) = progress.stage("setup", || {
                    pipeline::proving_key_with(&Cpu, &project, &model, &compiled, residence)
                });
                let key = key?;
                if residence == Residence::InFile {
                    memory::drop_program();
                }
                (Some(key), setup_s)
            }
            false => (None, 0.0),
        };
        let quantised = match key {
            Some(_) => None,
            None => Some(pipeline::integers(&model, &compiled)?),
        };
        drop(progress);
        let Some(weights) = key.as_ref().map(|k| &k.integers).or(quantised.as_ref()) else {
            return Err(CliError::refused("the model has no weights"));
        };

        let greedy = Greedy {
            compiled: &compiled,
            weights,
            prompts: &prompts,
            entry,
            ends,
        };
        let start = Instant::now();
        let mut growing = Growing::new(&prompts.text, ui);
        growing.show(&prompt)?;
        let new = greedy.generate(&prompt, self.tokens, |ids| growing.show(ids))?;
        let all = [&prompt[..], &new].concat();
        growing.end(&all)?;
        let generated = Generated {
            prompt: &self.prompt,
            text: prompts.text.after(&prompt, &new)?,
            prompt_ids: &prompt,
            ids: &new,
            seconds: start.elapsed().as_secs_f64(),
        };

        let mut out = generated.json();
        let (mut text, mut proof) = (generated.summary(), None);
        if let Some(key) = &key {
            let session = Session {
                model: &model,
                compiled: &compiled,
                key,
                manifest: &project.manifest,
                compile_s,
                setup_s,
            };
            // The last token is not read by the model: it is the argmax behind the proved sequence.
            let read = &all[..all.len() - 1];
            let bound = prompts.bind_tokens(read)?;
            let how = How {
                runs: 1,
                checkpoint: self.checkpoint.as_deref(),
                // The f32 model has all of its weights in memory.
                compare: residence == Residence::InMemory,
            };
            let (report, bytes, resumed) = if compiled.circuit.entries[compiled.entry].grows() {
                let mut parts = vec![prompts.bind_tokens(&prompt)?];
                for ids in read[prompt.len()..].chunks(self.segment as usize) {
                    parts.push(prompts.bind_tokens(ids)?);
                }
                let progress = Progress::new(ui, parts.len() as u64 + 1);
                let chain = session.prove_chain(&progress, &bound, &parts, &how)?;
                follows(&key.loaded, &chain.statement, &prompt, &new)?;
                out.insert("segments".to_owned(), segments_json(&chain));
                text += &segments_text(&chain);
                let resumed = match chain.resumed {
                    0 => None,
                    n => Some(format!("{n} of {} segments", parts.len())),
                };
                (chain.report, chain.bytes, resumed)
            } else {
                let (report, bytes, stages) = session.prove_from(&Progress::new(ui, 2), &bound, &how)?;
                let file = ProofFile::decode(&bytes).map_err(CliError::refused)?;
                follows(&key.loaded, &file.statement, &prompt, &new)?;
                let resumed = (!stages.is_empty()).then(|| stages.join(", "));
                (report, bytes, resumed)
            };
            if let Some(resumed) = resumed {
                ui.note(&format!("resumed with {resumed} from the checkpoint"));
            }
            doubt(report.agreement.as_ref()).iter().for_each(|line| ui.note(line));
            out.extend(report.figures());
            text += &self.proved(&report, &key.key.fingerprint_hex());
            proof = Some(bytes);
        }
        let out = Value::Object(out);
        let report = pretty(&out) + "\n";
        let proof = self.output.as_deref().zip(proof.as_deref());
        let written = self.report.as_deref().map(|path| (path, report.as_bytes()));
        files::write_together(&proof.into_iter().chain(written).collect::<Vec<(&Path, &[u8])>>())?;
        ui.result(|| out, || text);
        Ok(ExitCode::SUCCESS)
    }

    /// The cost of the link that takes the most memory, where all tokens are made.
    fn largest_link(&self, prompts: &Prompts<'_>, prompt: &[u32], compiled: &Compiled) -> Result<Cost, CliError> {
        let (mut links, mut left) = (Vec::new(), self.tokens as usize - 1);
        let mut len = prompt.len();
        let mut largest: Option<Cost> = None;
        while len > 0 {
            let dims = prompts
                .bind_tokens(&prompt.repeat(len)[..len])?
                .dims_of(&compiled.circuit);
            let cost = cost::predict_link(&compiled.circuit, compiled.entry, &dims, &links)?;
            largest = Some(match largest {
                Some(l) => l.at_most(cost),
                None => cost,
            });
            links.push(len as u32);
            len = left.min(self.segment as usize);
            left -= len;
        }
        largest.ok_or_else(|| CliError::refused("the prompt has no tokens"))
    }

    fn proved(&self, report: &Report, fingerprint: &str) -> String {
        let written = self.output.as_ref().map(|p| format!("written    {}\n", p.display()));
        format!(
            "{}key        {fingerprint}\n{}",
            report.figures_text(),
            written.unwrap_or_default()
        )
    }
}

/// A text with its tokens.
struct Generated<'a> {
    prompt: &'a str,
    text: String,
    prompt_ids: &'a [u32],
    ids: &'a [u32],
    seconds: f64,
}

impl Generated<'_> {
    fn json(&self) -> Map<String, Value> {
        Map::from_iter([
            ("prompt".to_owned(), json!(self.prompt)),
            ("text".to_owned(), json!(self.text)),
            ("tokens".to_owned(), json!(self.ids.len())),
            ("prompt_ids".to_owned(), json!(self.prompt_ids)),
            ("ids".to_owned(), json!(self.ids)),
            ("generate_s".to_owned(), json!(self.seconds)),
        ])
    }

    fn summary(&self) -> String {
        format!(
            "tokens     {} after a prompt of {}, in {}\n",
            self.ids.len(),
            self.prompt_ids.len(),
            seconds(self.seconds)
        )
    }
}

/// Refuses a chain of more links than one has.
fn segments(tokens: u32, segment: u32) -> Result<(), CliError> {
    // One more for the prompt; the last token is not read.
    let links = 1 + (tokens - 1).div_ceil(segment) as usize;
    if links <= MAX_LINKS + 1 {
        return Ok(());
    }
    Err(CliError::refused(format!(
        "{tokens} tokens by {segment} are a chain of {links} proofs, and the most are {}: give `--segment {}`",
        MAX_LINKS + 1,
        (tokens - 1).div_ceil(MAX_LINKS as u32)
    )))
}

/// Refuses a text that the model cannot read to its end.
fn fits(prompt: usize, tokens: u32, context: u32) -> Result<(), String> {
    let left = u64::from(context).saturating_sub(prompt as u64);
    if u64::from(tokens) <= left {
        return Ok(());
    }
    Err(format!(
        "the prompt has {prompt} tokens, {tokens} more pass the context of {context}; at most {left}"
    ))
}

/// What each segment cost.
fn segments_json(chain: &ProvedChain) -> Value {
    let each = chain.links.iter().map(|l| {
        json!({
            "tokens": l.tokens,
            "prove_s": l.prove_s,
            "verify_s": l.verify_s,
            "proof_bytes": l.proof_bytes,
        })
    });
    each.collect()
}

/// A line for each segment.
fn segments_text(chain: &ProvedChain) -> String {
    let each = chain.links.iter().map(|l| {
        format!(
            "segment    {} tokens, prove {}, verify {}, proof {}\n",
            l.tokens,
            seconds(l.prove_s),
            seconds(l.verify_s),
            bytes(l.proof_bytes)
        )
    });
    each.collect()
}

/// Checks that the tokens follow from a statement, which has been verified.
fn follows(key: &LoadedKey, statement: &Statement, prompt: &[u32], new: &[u32]) -> Result<(), CliError> {
    match continuation(&key.circuit, statement, prompt) {
        Ok(found) if found == new => Ok(()),
        Ok(_) => Err(CliError::refused(
            "the last token is not that of the greatest logit over the whole sequence: the model is not causal",
        )),
        Err(e) => Err(CliError::refused(format!(
            "{e}: the model is not causal, so its text cannot be proved at once"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_and_text_share_the_context() {
        assert!(fits(3, 5, 8).is_ok());
        let error = fits(3, 6, 8).unwrap_err();
        assert_eq!(
            error,
            "the prompt has 3 tokens, 6 more pass the context of 8; at most 5"
        );
        assert!(fits(9, 1, 8).unwrap_err().ends_with("at most 0"));
    }

    #[test]
    fn a_chain_has_as_many_proofs_as_there_may_be() {
        assert!(segments(257, 1).is_ok());
        let error = segments(258, 1).unwrap_err().to_string();
        assert_eq!(
            error,
            "258 tokens by 1 are a chain of 258 proofs, and the most are 257: give `--segment 2`"
        );
        assert!(segments(258, 2).is_ok());
    }
}
