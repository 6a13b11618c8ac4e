//! Greedy generation from tiny random language models: made, proved as a chain of segments, and verified against prompts.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{family, mlc_in};
use mlc_verifier::chain::ChainFile;
use mlc_verifier::proof_file::ProofFile;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A tokenizer of whole words: token `i` is the word `wi`.
fn tokenizer() -> Value {
    let vocab: serde_json::Map<String, Value> = (0..41).map(|i| (format!("w{i}"), json!(i))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"}
    })
}

const PROMPT: &str = "w5 w30 w17";
const PROMPT_IDS: [u64; 3] = [5, 30, 17];

/// A model with a tokenizer, at most 12 tokens, and no token that ends a text.
fn model(name: &str) -> TempDir {
    let dir = family(name);
    let root = dir.path();
    std::fs::write(root.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    for (file, ids) in [
        ("a.json", json!([7, 30, 22, 11, 12, 0, 2, 19])),
        ("b.json", json!([5, 30, 17, 40, 1, 3])),
    ] {
        std::fs::write(root.join(file), json!({ "ids": [ids] }).to_string()).unwrap();
    }
    let settings = "[quantise]\ndata = ['a.json', 'b.json']\n[config]\ncontext = 12\n";
    std::fs::write(root.join("mlc.toml"), settings).unwrap();
    ends_with(root, Value::Null);
    dir
}

/// Sets the token that ends a text.
fn ends_with(dir: &Path, token: Value) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["eos_token_id"] = token;
    std::fs::write(path, config.to_string()).unwrap();
}

fn generate(dir: &Path, tokens: &str, more: &[&str]) -> common::Ran {
    let args = ["generate", ".", "--prompt", PROMPT, "--tokens", tokens];
    mlc_in(dir, &[&args[..], more].concat())
}

fn ids(report: &Value) -> Vec<u64> {
    report["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap())
        .collect()
}

fn words(ids: &[u64]) -> String {
    ids.iter().map(|id| format!("w{id}")).collect::<Vec<_>>().join(" ")
}

fn write_ids(dir: &Path, file: &str, ids: &[u64]) {
    std::fs::write(dir.join(file), json!({ "ids": [ids] }).to_string()).unwrap();
}

/// The greatest logit of the last position, by `mlc run`.
fn next(dir: &Path, tokens: &[u64]) -> u64 {
    write_ids(dir, "run.json", tokens);
    let args = ["run", ".", "--input", "run.json", "--output-format", "json"];
    let ran = mlc_in(dir, &args).with(0).json();
    ran["label"].as_array().unwrap().last().unwrap().as_u64().unwrap()
}

/// Proves a generation of six tokens; gives them.
fn proved(dir: &Path) -> Vec<u64> {
    let args = ["--prove", "-o", "p.proof", "--report", "r.json"];
    let ran = generate(dir, "6", &args).with(0);
    let report: Value = serde_json::from_slice(&std::fs::read(dir.join("r.json")).unwrap()).unwrap();
    let new = ids(&report);
    assert_eq!(new.len(), 6);
    assert_eq!(report["tokens"], 6);
    assert_eq!(report["prompt"], PROMPT);
    assert_eq!(report["prompt_ids"], json!(PROMPT_IDS));
    assert_eq!(report["text"], format!(" {}", words(&new)));
    assert!(report["security_bits"].as_f64().unwrap() >= 100.0);
    let bytes = std::fs::metadata(dir.join("p.proof")).unwrap().len();
    assert_eq!(report["proof_bytes"], bytes);
    assert!(ran.out.starts_with(&format!("{PROMPT} {}\n", words(&new))), "{ran:?}");
    assert!(ran.out.contains("bits of security"), "{ran:?}");
    new
}

#[test]
fn a_text_is_proved_without_its_logits() {
    for name in ["llama", "gpt2"] {
        let dir = model(name);
        let root = dir.path();
        let prove = ["--prove", "--segment", "2", "--report"];
        let shown = generate(root, "6", &[&prove[..], &["shown.json", "-o", "shown.proof"]].concat());
        shown.with(0);
        let hide = ["hidden.json", "-o", "hidden.proof", "--hide", "logits"];
        generate(root, "6", &[&prove[..], &hide].concat()).with(0);
        let report = |file: &str| serde_json::from_slice::<Value>(&std::fs::read(root.join(file)).unwrap()).unwrap();
        let new = ids(&report("shown.json"));
        assert_eq!(ids(&report("hidden.json")), new, "{name}");

        // The statements have one index a position, and the same text follows from them.
        let chain = ChainFile::decode(&std::fs::read(root.join("hidden.proof")).unwrap()).unwrap();
        let tokens: Vec<usize> = chain.links.iter().map(|l| l.statement.inputs[0].len()).collect();
        assert_eq!(tokens, [3, 2, 2, 1]);
        for link in &chain.links {
            assert_eq!(link.statement.outputs.len(), 1);
            assert_eq!(link.statement.outputs[0].len(), link.statement.inputs[0].len());
        }
        let verify = |proof: &str, more: &[&str]| {
            let args = [
                "verify",
                ".",
                "--proof",
                proof,
                "--prompt",
                PROMPT,
                "--output-format",
                "json",
            ];
            mlc_in(root, &[&args[..], more].concat())
        };
        let verified = verify("hidden.proof", &["--hide", "logits"]).with(0).json();
        assert_eq!(ids(&verified), new);
        assert_eq!(ids(&verify("shown.proof", &[]).with(0).json()), new);
        // The key says what is public.
        verify("hidden.proof", &[]).with(1);
        verify("shown.proof", &["--hide", "logits"]).with(1);

        // Another token in the statement.
        for (link, position) in [(0, 2), (1, 0), (3, 0)] {
            let mut lie = chain.clone();
            let found = &mut lie.links[link].statement.outputs[0][position];
            *found = (*found + 1) % 41;
            std::fs::write(root.join("lie.proof"), lie.encode()).unwrap();
            let ran = verify("lie.proof", &["--hide", "logits"]).with(1);
            // By the products, or by a nonce that is no longer one.
            assert!(ran.out.contains(&format!("rejected: link {link}: ")), "{ran:?}");
        }
        let run = ["run", ".", "--prompt", PROMPT, "--hide"];
        mlc_in(root, &[&run[..], &["scores"]].concat())
            .with(2)
            .says_all(&["no output 'scores' to hide", "logits, next"]);
        mlc_in(root, &[&run[..], &["logits", "--hide", "next"]].concat())
            .with(2)
            .says("every output of the entry 'main' is private");
        // In the settings.
        let settings = std::fs::read_to_string(root.join("mlc.toml")).unwrap();
        std::fs::write(root.join("mlc.toml"), settings + "[outputs.logits]\nprivate = true\n").unwrap();
        assert_eq!(ids(&verify("hidden.proof", &[]).with(0).json()), new);
    }
}

#[test]
fn a_text_is_proved_and_verified_against_its_prompt() {
    for name in ["llama", "gpt2"] {
        let dir = model(name);
        let root = dir.path();
        let new = proved(root);
        let all = [&PROMPT_IDS[..], &new].concat();

        // Token by token, by the command that runs the model once.
        for i in 0..new.len() {
            assert_eq!(next(root, &all[..PROMPT_IDS.len() + i]), new[i], "{name}, token {i}");
        }

        // The model's key and tokenizer, and then those of the verifier alone.
        let json = ["--output-format", "json"];
        let verify = ["verify", ".", "--proof", "p.proof", "--prompt"];
        let verified = mlc_in(root, &[&verify[..], &[PROMPT], &json].concat()).with(0).json();
        assert_eq!(ids(&verified), new);
        mlc_in(root, &["setup", ".", "-o", "key"]).with(0);
        let verify = ["verify", "--key", "key", "--proof", "p.proof"];
        let check = |prompt: &str| {
            let prompt = ["--prompt", prompt, "--tokenizer", "tokenizer.json"];
            mlc_in(root, &[&verify[..], &prompt].concat())
        };
        let ran = check(PROMPT).with(0);
        assert!(ran.out.contains(&format!("text        {}\n", words(&new))), "{ran:?}");
        mlc_in(root, &verify).with(0);

        // A prompt is as long as it is said to be: what follows it must be greedy, whatever else the prover read.
        let shorter = words(&all[..4]);
        let ran = check(&shorter).with(0);
        assert!(ran.out.contains(&words(&new[1..])), "{ran:?}");
        for (prompt, says) in [
            (
                "w5 w31 w17",
                "rejected: the proof is for another prompt: the token at position 1 is 30",
            ),
            ("w6", "the token at position 0 is 5, the prompt has 6"),
            (&words(&all), "a prompt of 9 tokens cannot begin a statement of 8"),
        ] {
            check(prompt).with(1).says(says);
        }
        mlc_in(root, &[&verify[..], &["--prompt", PROMPT]].concat())
            .with(2)
            .says("--tokenizer FILE");
        mlc_in(
            root,
            &[&verify[..], &["--prompt", PROMPT, "--tokenizer", "none.json"]].concat(),
        )
        .with(2)
        .says("none.json");
        mlc_in(
            root,
            &[&verify[..], &["--prompt", ""], &["--tokenizer", "tokenizer.json"]].concat(),
        )
        .with(1)
        .says("no tokens");

        not_greedy(root, &all);
    }
}

/// A sound proof of tokens of which the last is not the model's choice.
fn not_greedy(root: &Path, all: &[u64]) {
    let mut tokens = all[..8].to_vec();
    let chosen = tokens[7];
    tokens[7] = (chosen + 1) % 41;
    write_ids(root, "bad.json", &tokens);
    mlc_in(root, &["prove", ".", "--input", "bad.json", "-o", "bad.proof"]).with(0);
    let verify = ["verify", "--key", "key", "--proof", "bad.proof"];
    mlc_in(root, &verify).with(0);
    let prompt = ["--prompt", PROMPT, "--tokenizer", "tokenizer.json"];
    mlc_in(root, &[&verify[..], &prompt].concat()).with(1).says(&format!(
        "rejected: the generation is not greedy: the token at position 7 is {}, the greatest logit before it is that of \
         {chosen}",
        tokens[7]
    ));
    let json = ["--output-format", "json"];
    let refused = mlc_in(root, &[&verify[..], &prompt, &json].concat()).with(1).json();
    assert_eq!(refused["accepted"], false);
    assert!(refused["reason"].as_str().unwrap().contains("position 7"), "{refused}");
    // As a prompt it may be anything.
    let whole = words(&tokens);
    mlc_in(
        root,
        &[&verify[..], &["--prompt", &whole, "--tokenizer", "tokenizer.json"]].concat(),
    )
    .with(0);
}

#[test]
fn a_text_ends_with_the_token_that_ends_texts() {
    let dir = model("llama");
    let root = dir.path();
    let json = ["--output-format", "json"];
    let new = ids(&generate(root, "6", &json).with(0).json());
    let end = new[2];
    let first = new.iter().position(|id| *id == end).unwrap();
    for token in [json!(end), json!([40, end])] {
        ends_with(root, token);
        let ended = ids(&generate(root, "6", &json).with(0).json());
        assert!(
            ended.len() <= first + 1 && new.starts_with(&ended),
            "{ended:?} of {new:?}"
        );
        assert!(ended.ends_with(&[end]) || ended.ends_with(&[40]), "{ended:?}");
    }
    ends_with(root, json!("</s>"));
    generate(root, "6", &json).with(2);
    generate(root, "6", &[]).with(2).says("eos_token_id");
}

#[test]
fn what_cannot_be_generated_is_refused() {
    let dir = model("llama");
    let root = dir.path();
    generate(root, "10", &["--prove"])
        .with(1)
        .says("the prompt has 3 tokens, 10 more pass the context of 12; at most 9; `--set context=13` raises that");
    generate(root, "0", &[]).with(2);
    for option in [
        &["--temperature", "0.7"][..],
        &["--temperature=-1"],
        &["--top-k", "5"],
        &["--top-p", "0.9"],
        &["--do-sample"],
        &["--seed", "3"],
        &["--num-beams", "4"],
    ] {
        generate(root, "2", option)
            .with(2)
            .says("only greedy decoding can be proved");
    }
    // A proof is written where one is made.
    generate(root, "2", &["-o", "p.proof"]).with(2).says("--prove");
    generate(root, "2", &["--prove", "-o", "none/p.proof"])
        .with(2)
        .says("there is no directory");
    let long = "w1 ".repeat(13);
    mlc_in(root, &["generate", ".", "--prompt", &long, "--tokens", "1"])
        .with(1)
        .says("the prompt has 13 tokens, and the model takes at most 12");
    std::fs::remove_file(root.join("tokenizer.json")).unwrap();
    generate(root, "2", &[]).with(2).says("has no tokenizer.json");
    // A sentence encoder has no logits.
    let dir = model("bert");
    generate(dir.path(), "2", &[]).with(1).says_all(&[
        "none of a language model",
        "entry `main` of Bert",
        "`mlc prove`",
    ]);
}

/// However a text is cut, it is the same text, and its chain verifies; a chain that was tampered with does not.
#[test]
fn a_text_is_proved_in_segments() {
    for name in ["llama", "mistral", "gpt2", "qwen2", "qwen3_yarn"] {
        let dir = model(name);
        let root = dir.path();
        let mut texts = Vec::new();
        for (segment, tokens) in [
            ("1", &[3, 1, 1, 1, 1, 1][..]),
            ("2", &[3, 2, 2, 1]),
            ("5", &[3, 5]),
            ("32", &[3, 5]),
        ] {
            let args = [
                "--prove",
                "--segment",
                segment,
                "-o",
                "p.proof",
                "--output-format",
                "json",
            ];
            let report = generate(root, "6", &args).with(0).json();
            let proved: Vec<u64> = (report["segments"].as_array().unwrap().iter())
                .map(|s| s["tokens"].as_u64().unwrap())
                .collect();
            assert_eq!(proved, tokens, "{name}, segments of {segment}");
            let verify = [
                "verify",
                ".",
                "--proof",
                "p.proof",
                "--prompt",
                PROMPT,
                "--output-format",
                "json",
            ];
            let verified = mlc_in(root, &verify).with(0).json();
            assert_eq!(verified["segments"], tokens.len());
            assert_eq!(ids(&verified), ids(&report));
            texts.push(ids(&report));
        }
        assert!(texts.windows(2).all(|w| w[0] == w[1]), "{name}: {texts:?}");

        // The whole is what `run` says of all tokens at once.
        let all = [&PROMPT_IDS[..], &texts[0]].concat();
        write_ids(root, "all.json", &all[..all.len() - 1]);
        let verify = ["verify", ".", "--proof", "p.proof", "--input", "all.json"];
        mlc_in(root, &verify)
            .with(0)
            .out
            .contains("segments   2")
            .then_some(())
            .unwrap();
        let run = ["run", ".", "--input", "all.json", "--output-format", "json"];
        let logits = mlc_in(root, &run).with(0).json()["output"].clone();
        std::fs::write(root.join("logits.json"), logits.to_string()).unwrap();
        mlc_in(root, &["verify", ".", "--proof", "p.proof", "--output", "logits.json"]).with(0);
        write_ids(root, "all.json", &all[..all.len() - 2]);
        mlc_in(root, &verify).with(1).says("the proof is for tokens = ");
    }
}

#[test]
fn segments_of_several_chains_are_no_chain() {
    let dir = model("llama");
    let root = dir.path();
    let chain = |prompt: &str, file: &str| {
        let args = [
            "generate",
            ".",
            "--prompt",
            prompt,
            "--tokens",
            "4",
            "--prove",
            "--segment",
            "2",
            "-o",
            file,
        ];
        mlc_in(root, &args).with(0);
        ChainFile::decode(&std::fs::read(root.join(file)).unwrap()).unwrap()
    };
    let (one, other) = (chain(PROMPT, "one.proof"), chain("w1 w2 w3", "other.proof"));
    let refused = |change: &dyn Fn(&mut ChainFile), says: &str| {
        let mut file = one.clone();
        change(&mut file);
        std::fs::write(root.join("bad.proof"), file.encode()).unwrap();
        mlc_in(root, &["verify", ".", "--proof", "bad.proof"])
            .with(1)
            .says(says);
    };
    refused(&|f| f.links.swap(1, 2), "link 1 carries on another cache");
    refused(
        &|f| f.links[1] = other.links[1].clone(),
        "link 1 carries on another cache",
    );
    refused(
        &|f| f.links[0] = other.links[0].clone(),
        "link 1 carries on another cache",
    );
    refused(&|f| drop(f.links.remove(0)), "link 0 carries on another cache");
    refused(&|f| f.links[2].proof[100] ^= 1, "link 2: ");
    refused(&|f| f.links[1].statement.inputs[0][0] ^= 1, "link 1: ");
    refused(&|f| f.key[5] ^= 1, "this chain is for key");
    // A file that is cut off, and a link as a proof of its own.
    let bytes = one.encode();
    std::fs::write(root.join("cut.proof"), &bytes[..bytes.len() / 2]).unwrap();
    mlc_in(root, &["verify", ".", "--proof", "cut.proof"])
        .with(2)
        .says("corrupted");
    let link = one.links[1].clone();
    let alone = ProofFile {
        key: one.key,
        statement: link.statement,
        proof: link.proof,
    };
    std::fs::write(root.join("link.proof"), alone.encode()).unwrap();
    mlc_in(root, &["verify", ".", "--proof", "link.proof"])
        .with(1)
        .says("this is link 1 of a chain");
    // A chain has no JSON form yet, and says so.
    mlc_in(root, &["export", "--proof", "one.proof"]).with(2).says("chain");
}

/// `last = true` gives the logits of the last position alone, which are those that all positions have there.
#[test]
fn logits_of_the_last_position_are_the_last_logits() {
    for name in ["llama", "gpt2", "qwen2", "qwen3"] {
        let dir = model(name);
        let root = dir.path();
        write_ids(root, "x.json", &[5, 30, 17, 2]);
        let run = ["run", ".", "--input", "x.json", "--output-format", "json"];
        let all = mlc_in(root, &run).with(0).json();
        let last = mlc_in(root, &[&run[..], &["--set", "last=true"]].concat())
            .with(0)
            .json();
        let rows = |report: &Value| report["output"]["logits"][0].as_array().cloned().unwrap_or_default();
        assert_eq!((rows(&all).len(), rows(&last).len()), (4, 1), "{name}: {last}");
        let values = |row: &Value| -> Vec<f64> {
            let row = row.as_array().unwrap().iter();
            row.map(|v| v.as_f64().unwrap()).collect()
        };
        // Precision is chosen for what is computed, so the integers may differ a little.
        for (a, b) in values(&rows(&all)[3]).iter().zip(values(&rows(&last)[0])) {
            assert!((a - b).abs() < 0.02, "{name}: {a} and {b}");
        }
        let prove = [
            "prove",
            ".",
            "--input",
            "x.json",
            "--set",
            "last=true",
            "-o",
            "last.proof",
        ];
        mlc_in(root, &prove).with(0);
        let verify = [
            "verify",
            ".",
            "--set",
            "last=true",
            "--proof",
            "last.proof",
            "--input",
            "x.json",
        ];
        mlc_in(root, &verify).with(0);
    }
}
