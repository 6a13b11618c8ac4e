//! Greedy generation: that the later tokens of a statement follow from its own logits.
//!
//! A causal language model takes tokens `t_0 … t_{n-1}` and gives integer logits `l_0 … l_{n-1}` over its vocabulary, all of
//! them public, or of each the index of the greatest, which an equation finds. After a prompt of `p` tokens a generation is greedy when `t_i = argmax l_{i-1}` for `p ≤ i < n`; its last
//! token, which the model has not read, is `argmax l_{n-1}`. Ties go to the lowest index.
//!
//! Nothing here reads a proof: what is said holds of the model only where the statement has been verified
//! (`crate::key::LoadedKey::verify_file`). See docs/protocol/generation.md.

use alloc::vec::Vec;

use mlc_circuit::{Circuit, InputKind, Label, Len, PublicInput, PublicOutput};

use crate::statement::Statement;

/// Why a statement is no greedy generation after a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// The entry does not map tokens to logits.
    #[error(
        "the entry is none of a language model, with tokens[1, n] as its one input, and logits[1, n, vocabulary] or the index of each row's greatest as its one output: {0}"
    )]
    Entry(&'static str),
    /// The numbers of tokens and logits do not belong together.
    #[error("{logits} logits over a vocabulary of {vocab} do not belong to {tokens} tokens")]
    Shape {
        /// Number of tokens.
        tokens: usize,
        /// Number of logits, over all positions.
        logits: usize,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// The prompt is empty, or longer than the statement.
    #[error("a prompt of {prompt} tokens cannot begin a statement of {tokens}")]
    Length {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the statement.
        tokens: usize,
    },
    /// The statement begins otherwise.
    #[error("the proof is for another prompt: the token at position {position} is {found}, the prompt has {expected}")]
    OtherPrompt {
        /// Position of the first difference, from 0.
        position: usize,
        /// In the statement.
        found: i32,
        /// In the prompt.
        expected: u32,
    },
    /// A token is not the one that the model chose.
    #[error(
        "the generation is not greedy: the token at position {position} is {found}, the greatest logit before it is that of {expected}"
    )]
    NotGreedy {
        /// Position of the first such token, from 0.
        position: usize,
        /// In the statement.
        found: i32,
        /// Position of the greatest logit.
        expected: u32,
    },
}

/// Index of the greatest logit, the lowest of several; `None` where there are none.
pub fn argmax(logits: &[i32]) -> Option<u32> {
    let best = (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
    u32::try_from(best).ok().filter(|_| !logits.is_empty())
}

/// The greedy continuation of the first `prompt` of `tokens`, where the other tokens are its beginning: one token more than
/// there are after the prompt, hence at least one. `logits` are row-major, `vocab` for each token.
pub fn greedy(tokens: &[i32], logits: &[i32], vocab: usize, prompt: usize) -> Result<Vec<u32>, GenerationError> {
    let shape = GenerationError::Shape {
        tokens: tokens.len(),
        logits: logits.len(),
        vocab,
    };
    if vocab == 0 || tokens.len().checked_mul(vocab) != Some(logits.len()) {
        return Err(shape);
    }
    let next = logits.chunks_exact(vocab).map(argmax).collect::<Option<Vec<u32>>>();
    follow(tokens, &next.ok_or(shape)?, prompt)
}

/// [`greedy`] where what follows each token is known, `next[i]` behind `tokens[i]`.
fn follow(tokens: &[i32], next: &[u32], prompt: usize) -> Result<Vec<u32>, GenerationError> {
    if prompt == 0 || prompt > tokens.len() {
        let tokens = tokens.len();
        return Err(GenerationError::Length { prompt, tokens });
    }
    let mut out = Vec::new();
    for (i, &expected) in next.iter().enumerate().skip(prompt - 1) {
        if let Some(&found) = tokens.get(i + 1)
            && i64::from(found) != i64::from(expected)
        {
            let position = i + 1;
            return Err(GenerationError::NotGreedy {
                position,
                found,
                expected,
            });
        }
        out.push(expected);
    }
    Ok(out)
}

/// What an entry is that maps `n` tokens to `n` rows of logits, `n` being a run-time dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanguageEntry {
    /// Number of tokens there are: an input is in `0..vocab`, and a row of logits has as many.
    pub vocab: usize,
    /// Whether its output is the index of each row's greatest logit, and not the logits.
    pub found: bool,
    /// The most tokens that the model reads.
    pub context: u32,
}

impl LanguageEntry {
    /// Entry `entry` of a circuit, where it is one: public tokens are its one input, logits its one output, or which is the
    /// greatest.
    pub fn of(circuit: &Circuit, entry: usize) -> Result<Self, GenerationError> {
        let entry = circuit
            .entries
            .get(entry)
            .ok_or(GenerationError::Entry("there is no such entry"))?;
        let ([input], [output]) = (&entry.inputs[..], &entry.outputs[..]) else {
            return Err(GenerationError::Entry("it has several inputs or outputs"));
        };
        Self::of_ports(circuit, input, output).map_err(GenerationError::Entry)
    }

    fn of_ports(circuit: &Circuit, input: &PublicInput, output: &PublicOutput) -> Result<Self, &'static str> {
        if input.kind != InputKind::Public {
            return Err("its input is private");
        }
        let (tokens, positions, vocab, found) = match (rows(&input.axes), rows(&output.axes), &output.label) {
            ([tokens], [positions], Label::Index(vocab)) => (tokens, positions, Len::fixed(*vocab as usize), true),
            ([tokens], [positions, vocab], Label::None | Label::ArgMax) => (tokens, positions, vocab.clone(), false),
            _ => return Err("its input or output has other axes"),
        };
        if tokens != positions || tokens.constant != 0 {
            return Err("positions of input and output differ, or their number is fixed");
        }
        let &[(dim, 1)] = &tokens.per_dim[..] else {
            return Err("the number of tokens is no run-time dimension");
        };
        let most = |dim: u16| circuit.dims.get(usize::from(dim)).map(|d| d.max);
        let mut context = most(dim).ok_or("there is no such dimension")?;
        if let Some(chain) = circuit.chain_dims() {
            if chain.tokens != dim {
                return Err("its tokens are not what a cache grows by");
            }
            context = context.min(most(chain.past).unwrap_or(context));
        }
        let below = i64::from(input.hi) + 1;
        if input.lo != 0 || input.scale != 1.0 || !vocab.per_dim.is_empty() || i64::from(vocab.constant) != below {
            return Err("its input is no index into the last axis of its output");
        }
        Ok(LanguageEntry {
            vocab: vocab.constant as usize,
            found,
            context,
        })
    }
}

/// Axes without those of length 1 before them.
fn rows(axes: &[Len]) -> &[Len] {
    let one = Len::fixed(1);
    let first = axes.iter().position(|a| *a != one).unwrap_or(axes.len());
    &axes[first..]
}

/// The greedy continuation of `prompt` that a statement holds (one that has been verified, or what a verified chain says as a
/// whole, [`crate::chain::joined`]): its tokens begin with the prompt, and every later one, and the last of the continuation,
/// which is no token of the statement, is the one of the greatest logit before it.
pub fn continuation(circuit: &Circuit, statement: &Statement, prompt: &[u32]) -> Result<Vec<u32>, GenerationError> {
    let entry = LanguageEntry::of(circuit, statement.entry as usize)?;
    let ([tokens], [output]) = (&statement.inputs[..], &statement.outputs[..]) else {
        return Err(GenerationError::Entry("the statement is of another entry"));
    };
    if prompt.is_empty() || prompt.len() > tokens.len() {
        let (prompt, tokens) = (prompt.len(), tokens.len());
        return Err(GenerationError::Length { prompt, tokens });
    }
    let differs = |(found, expected): (&i32, &u32)| i64::from(*found) != i64::from(*expected);
    if let Some(position) = tokens.iter().zip(prompt).position(differs) {
        return Err(GenerationError::OtherPrompt {
            position,
            found: tokens[position],
            expected: prompt[position],
        });
    }
    if !entry.found {
        return greedy(tokens, output, entry.vocab, prompt.len());
    }
    let next = output
        .iter()
        .map(|&a| u32::try_from(a).ok())
        .collect::<Option<Vec<u32>>>();
    match next {
        Some(next) if next.len() == tokens.len() => follow(tokens, &next, prompt.len()),
        _ => Err(GenerationError::Entry("the statement is of another entry")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use mlc_circuit::{Entry, RuntimeDim};
    use proptest::prelude::*;

    /// Tokens 2 0, then greedy 1 2; logits over three.
    const TOKENS: [i32; 4] = [2, 0, 1, 2];
    const LOGITS: [i32; 12] = [0, 0, 0, -5, 9, 9, 1, 2, 3, 7, -7, 7];

    fn circuit() -> Circuit {
        let n = Len::dim(0);
        let input = PublicInput {
            name: "ids".into(),
            axes: vec![Len::fixed(1), n.clone()],
            scale: 1.0,
            lo: 0,
            hi: 2,
            kind: InputKind::Public,
            clamp: false,
        };
        let output = PublicOutput {
            name: "logits".into(),
            axes: vec![Len::fixed(1), n, Len::fixed(3)],
            scale: 0.25,
            label: Label::ArgMax,
        };
        Circuit {
            name: "m".into(),
            dims: vec![RuntimeDim::new("tokens", 8)],
            tables: vec![],
            weights: vec![],
            constants: vec![],
            entries: vec![Entry {
                name: "main".into(),
                inputs: vec![input],
                outputs: vec![output],
                segments: vec![],
                sites: vec![],
                equations: vec![],
                steps: vec![],
            }],
        }
    }

    fn statement(tokens: &[i32], logits: &[i32]) -> Statement {
        Statement {
            entry: 0,
            dims: vec![tokens.len() as u32],
            inputs: vec![tokens.to_vec()],
            outputs: vec![logits.to_vec()],
            cache: None,
        }
    }

    #[test]
    fn the_continuation_of_every_prompt_is_found() {
        // Ties: 1 before 2 after the second token, 0 before 2 after the last.
        assert_eq!(greedy(&TOKENS, &LOGITS, 3, 2).unwrap(), [1, 2, 0]);
        assert_eq!(greedy(&TOKENS, &LOGITS, 3, 3).unwrap(), [2, 0]);
        assert_eq!(greedy(&TOKENS, &LOGITS, 3, 4).unwrap(), [0]);
        // The second token is 0, which is the argmax of three equal logits.
        assert_eq!(greedy(&TOKENS, &LOGITS, 3, 1).unwrap(), [0, 1, 2, 0]);
    }

    #[test]
    fn a_token_that_is_not_greedy_is_named() {
        let mut tokens = TOKENS;
        tokens[2] = 2; // as great a logit, and not the lowest index
        let (position, found, expected) = (2, 2, 1);
        let error = GenerationError::NotGreedy {
            position,
            found,
            expected,
        };
        assert_eq!(greedy(&tokens, &LOGITS, 3, 2), Err(error));
        assert_eq!(
            error.to_string(),
            "the generation is not greedy: the token at position 2 is 2, the greatest logit before it is that of 1"
        );
        // In the prompt it may be anything.
        assert_eq!(greedy(&tokens, &LOGITS, 3, 3).unwrap(), [2, 0]);
        tokens[3] = -1;
        assert!(matches!(
            greedy(&tokens, &LOGITS, 3, 3),
            Err(GenerationError::NotGreedy { position: 3, .. })
        ));
    }

    #[test]
    fn shapes_have_to_agree() {
        for (count, vocab) in [(11, 3), (12, 4), (12, 0), (0, 0), (0, usize::MAX)] {
            assert!(matches!(
                greedy(&TOKENS, &LOGITS[..count], vocab, 2),
                Err(GenerationError::Shape { .. })
            ));
        }
        for prompt in [0, 5, usize::MAX] {
            let error = GenerationError::Length { prompt, tokens: 4 };
            assert_eq!(greedy(&TOKENS, &LOGITS, 3, prompt), Err(error));
        }
        assert!(greedy(&[], &[], 3, 0).is_err());
    }

    #[test]
    fn a_statement_begins_with_its_prompt() {
        let (circuit, statement) = (circuit(), statement(&TOKENS, &LOGITS));
        let of = |prompt: &[u32]| continuation(&circuit, &statement, prompt);
        assert_eq!(of(&[2, 0]).unwrap(), [1, 2, 0]);
        assert_eq!(of(&[2, 0, 1, 2]).unwrap(), [0]);
        assert!(matches!(
            of(&[2, 1]),
            Err(GenerationError::OtherPrompt {
                position: 1,
                found: 0,
                expected: 1
            })
        ));
        assert!(matches!(of(&[]), Err(GenerationError::Length { .. })));
        assert!(matches!(of(&[2, 0, 1, 2, 0]), Err(GenerationError::Length { .. })));
        assert!(matches!(of(&[u32::MAX]), Err(GenerationError::OtherPrompt { .. })));
    }

    #[test]
    fn entries_that_are_no_language_model_are_refused() {
        let good = circuit();
        let entry = LanguageEntry {
            vocab: 3,
            found: false,
            context: 8,
        };
        assert_eq!(LanguageEntry::of(&good, 0), Ok(entry));
        let spoil: [fn(&mut Circuit); 9] = [
            |c| c.entries[0].inputs[0].kind = InputKind::Private { segment: 0 },
            |c| c.entries[0].inputs[0].hi = 3,
            |c| c.entries[0].inputs[0].hi = i32::MAX,
            |c| c.entries[0].inputs[0].lo = -1,
            |c| c.entries[0].inputs[0].scale = 0.5,
            |c| c.entries[0].inputs[0].axes[1] = Len::fixed(4),
            |c| c.entries[0].outputs[0].axes[1] = Len::fixed(4),
            |c| c.entries[0].outputs.clear(),
            |c| c.dims.clear(),
        ];
        for change in spoil {
            let mut circuit = good.clone();
            change(&mut circuit);
            assert!(matches!(
                continuation(&circuit, &statement(&TOKENS, &LOGITS), &[2]),
                Err(GenerationError::Entry(_))
            ));
        }
        assert!(LanguageEntry::of(&good, 1).is_err());
        let mut other = statement(&TOKENS, &LOGITS);
        other.inputs.clear();
        assert!(continuation(&good, &other, &[2]).is_err());
    }

    #[test]
    fn a_continuation_may_be_found_by_the_circuit() {
        let mut circuit = circuit();
        let output = &mut circuit.entries[0].outputs[0];
        (output.label, output.axes) = (Label::Index(3), vec![Len::dim(0)]);
        let entry = LanguageEntry {
            vocab: 3,
            found: true,
            context: 8,
        };
        assert_eq!(LanguageEntry::of(&circuit, 0), Ok(entry));
        let of =
            |tokens: &[i32], next: &[i32], prompt: &[u32]| continuation(&circuit, &statement(tokens, next), prompt);
        // As the logits have it.
        let next = [0, 1, 2, 0];
        assert_eq!(of(&TOKENS, &next, &[2, 0]).unwrap(), [1, 2, 0]);
        assert_eq!(of(&TOKENS, &next, &[2]).unwrap(), [0, 1, 2, 0]);
        let (position, found, expected) = (2, 1, 2);
        let error = GenerationError::NotGreedy {
            position,
            found,
            expected,
        };
        assert_eq!(of(&TOKENS, &[0, 2, 2, 0], &[2, 0]), Err(error));
        for next in [&[0, 1, 2][..], &[0, 1, 2, 0, 0], &[0, -1, 2, 0], &[]] {
            assert!(matches!(of(&TOKENS, next, &[2, 0]), Err(GenerationError::Entry(_))));
        }
        circuit.entries[0].outputs[0].label = Label::Index(4);
        assert!(LanguageEntry::of(&circuit, 0).is_err());
        circuit.entries[0].outputs[0].label = Label::None;
        assert!(LanguageEntry::of(&circuit, 0).is_err());
        // Indices of rows of indices are no logits.
        let output = &mut circuit.entries[0].outputs[0];
        (output.label, output.axes) = (Label::Index(3), vec![Len::dim(0), Len::fixed(3)]);
        assert!(LanguageEntry::of(&circuit, 0).is_err());
    }

    proptest! {
        #[test]
        fn any_shapes_give_an_answer(
            tokens in proptest::collection::vec(-2i32..4, 0..6),
            logits in proptest::collection::vec(-2i32..3, 0..20),
            vocab in 0usize..5,
            prompt in proptest::collection::vec(0u32..4, 0..7),
        ) {
            if let Ok(found) = greedy(&tokens, &logits, vocab, prompt.len()) {
                prop_assert_eq!(found.len(), tokens.len() - prompt.len() + 1);
                for (token, next) in tokens[prompt.len()..].iter().zip(&found) {
                    prop_assert_eq!(i64::from(*token), i64::from(*next));
                }
            }
            let _ = continuation(&circuit(), &statement(&tokens, &logits), &prompt);
        }
    }
}
