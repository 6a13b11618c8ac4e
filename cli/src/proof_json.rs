//! A proof file as JSON (docs/proof-format.md): everything that its bytes hold, and, where a key explains them, what the
//! numbers mean.
//!
//! Invariant: [`to_json`] then [`from_json`] gives the same proof file. Only `format`, `version`, `proof_version`, `key`,
//! `statement` and `proof` are read back; what a key added is for people, and is ignored.

use mlc_circuit::{Circuit, InputKind};
use mlc_verifier::key::{LoadedKey, hex};
use mlc_verifier::proof_file::{ProofFile, VERSION as PROOF_VERSION};
use mlc_verifier::statement::{Cache, Piece, Statement};
use mlc_verifier::transcript::{Hash, Kind, Message};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::cache::hex as hex_bytes;
use crate::output::{nest, outputs};
use crate::project::Manifest;

/// Name of the format.
const FORMAT: &str = "mlc-proof";
/// Version of the JSON form.
pub(crate) const VERSION: u32 = 1;

/// The JSON form.
pub(crate) fn to_json(file: &ProofFile) -> Map<String, Value> {
    let Statement {
        entry,
        dims,
        inputs,
        outputs,
        cache,
    } = &file.statement;
    let cache = cache.as_ref().map(|c| {
        let piece = |p: &Piece| json!({ "len": p.len, "root": hex(&p.root) });
        json!({ "read": c.read.iter().map(piece).collect::<Vec<_>>(), "appended": hex(&c.appended) })
    });
    let value = json!({
        "format": FORMAT,
        "version": VERSION,
        "proof_version": PROOF_VERSION,
        "key": hex(&file.key),
        "statement": { "entry": entry, "dims": dims, "inputs": inputs, "outputs": outputs, "cache": cache },
        "proof": hex_bytes(&file.proof),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What the key of an accepted proof says about its statement: names, shapes, real values; labels, where settings say which
/// outputs are scores.
pub(crate) fn meaning(key: &LoadedKey, statement: &Statement, manifest: Option<&Manifest>) -> Value {
    let circuit: &Circuit = &key.circuit;
    let at = statement.entry as usize;
    let Some(entry) = circuit.entries.get(at) else {
        return Value::Null;
    };
    let dims: Map<String, Value> = circuit
        .dims
        .iter()
        .zip(&statement.dims)
        .map(|(d, n)| (d.name.clone(), json!(n)))
        .collect();
    let input = |(input, values): (&mlc_circuit::PublicInput, &Vec<i32>)| {
        let public = input.kind == InputKind::Public;
        let shape: Vec<usize> = input.axes.iter().map(|l| l.at(&statement.dims).unwrap_or(0)).collect();
        let real: Vec<f64> = values.iter().map(|q| f64::from(*q) * input.scale).collect();
        json!({
            "name": input.name,
            "visibility": if public { "public" } else { "private" },
            "shape": shape,
            "scale": input.scale,
            "values": public.then(|| nest(&shape, &real)),
        })
    };
    let shown = outputs(circuit, at, &statement.dims, &statement.outputs, manifest);
    let output = |(declared, o): (&mlc_circuit::PublicOutput, &crate::output::Output)| {
        json!({
            "name": o.name,
            "shape": o.tensor.shape,
            "scale": declared.scale,
            "values": o.json(),
            "label": o.label(),
        })
    };
    json!({
        "model": circuit.name,
        "entry": entry.name,
        "dims": dims,
        "inputs": entry.inputs.iter().zip(&statement.inputs).map(input).collect::<Vec<_>>(),
        "outputs": entry.outputs.iter().zip(&shown).map(output).collect::<Vec<_>>(),
    })
}

/// The messages of a proof, in order.
pub(crate) fn messages(proof: &[u8], list: &[Message]) -> Value {
    let one = |m: &Message| {
        let bytes = proof.get(m.at..m.at + m.len).unwrap_or_default();
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
            .collect();
        let hashes = || bytes.chunks(32).map(hex_bytes).collect::<Vec<_>>();
        let (kind, value) = match m.kind {
            Kind::Base => ("base", json!(words)),
            Kind::Extension => ("extension", words.chunks(4).map(|c| json!(c)).collect()),
            Kind::Hash => ("hash", json!(hex_bytes(bytes))),
            Kind::Nonce(_) => ("nonce", json!(hex_bytes(bytes))),
            Kind::Columns => ("columns", json!(words)),
            Kind::Paths => ("paths", json!(hashes())),
        };
        let mut out = json!({ "move": m.step, "at": m.at, "kind": kind, "value": value });
        if let (Kind::Nonce(before), Some(map)) = (m.kind, out.as_object_mut()) {
            map.insert("before".to_owned(), before.into());
        }
        out
    };
    list.iter().map(one).collect()
}

/// What is read back. Other members are allowed: an export with a key has them.
#[derive(Deserialize)]
struct Stored {
    format: String,
    version: u32,
    proof_version: u32,
    key: String,
    statement: StoredStatement,
    proof: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredStatement {
    entry: u32,
    dims: Vec<u32>,
    inputs: Vec<Vec<i32>>,
    outputs: Vec<Vec<i32>>,
    cache: Option<StoredCache>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCache {
    read: Vec<StoredPiece>,
    appended: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPiece {
    len: u32,
    root: String,
}

/// The proof file of a JSON form.
pub(crate) fn from_json(bytes: &[u8]) -> Result<ProofFile, String> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|e| format!("not the JSON form of a proof: {e}"))?;
    if stored.format != FORMAT {
        return Err(format!("its `format` is `{}`, not `{FORMAT}`", stored.format));
    }
    if stored.version != VERSION {
        return Err(format!(
            "JSON version {}, this build reads version {VERSION}",
            stored.version
        ));
    }
    if stored.proof_version != PROOF_VERSION {
        return Err(format!(
            "proof version {}, this build reads version {PROOF_VERSION}",
            stored.proof_version
        ));
    }
    let key = hash("key", &stored.key)?;
    let proof = unhex(&stored.proof).ok_or("`proof` is not an even number of lower-case hexadecimal digits")?;
    let StoredStatement {
        entry,
        dims,
        inputs,
        outputs,
        cache,
    } = stored.statement;
    let cache = match cache {
        None => None,
        Some(c) => {
            let read = c.read.iter().map(|p| {
                let root = hash("root", &p.root)?;
                Ok(Piece { len: p.len, root })
            });
            Some(Cache {
                read: read.collect::<Result<_, String>>()?,
                appended: hash("appended", &c.appended)?,
            })
        }
    };
    Ok(ProofFile {
        key,
        statement: Statement {
            entry,
            dims,
            inputs,
            outputs,
            cache,
        },
        proof,
    })
}

/// A hash of hexadecimal digits, under the name of its field.
fn hash(field: &str, text: &str) -> Result<Hash, String> {
    let bytes = unhex(text).and_then(|k| k.try_into().ok());
    bytes.ok_or_else(|| format!("`{field}` is not 64 hexadecimal digits"))
}

/// Bytes of lower-case hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> ProofFile {
        ProofFile {
            key: [0x1f; 32],
            statement: Statement {
                entry: 1,
                dims: vec![2],
                inputs: vec![vec![], vec![i32::MIN, -1, i32::MAX]],
                outputs: vec![vec![7]],
                cache: Some(Cache {
                    read: vec![Piece {
                        len: 3,
                        root: [0xa0; 32],
                    }],
                    appended: [9; 32],
                }),
            },
            proof: (0..=255).collect(),
        }
    }

    fn text(change: impl Fn(&mut Map<String, Value>)) -> Vec<u8> {
        let mut map = to_json(&file());
        change(&mut map);
        Value::Object(map).to_string().into_bytes()
    }

    #[test]
    fn json_and_back_is_the_identity() {
        assert_eq!(from_json(&text(|_| {})), Ok(file()));
        // What a key adds is not read.
        assert_eq!(
            from_json(&text(|m| drop(m.insert("messages".into(), json!([1]))))),
            Ok(file())
        );
    }

    #[test]
    fn other_json_is_refused_with_the_reason() {
        let refused =
            |name: &str, value: Value| from_json(&text(|m| drop(m.insert(name.into(), value.clone())))).unwrap_err();
        assert!(refused("format", json!("proof")).contains("`format`"));
        assert!(refused("version", json!(2)).contains("JSON version 2"));
        assert!(refused("proof_version", json!(1)).contains("proof version 1"));
        assert!(refused("key", json!("1f")).contains("64"));
        assert!(refused("key", json!("1F".repeat(32))).contains("64"));
        assert!(refused("proof", json!("abc")).contains("hexadecimal"));
        assert!(refused("proof", json!("zz")).contains("hexadecimal"));
        assert!(refused("statement", json!({ "entry": 0, "dims": [] })).contains("inputs"));
        assert!(from_json(b"{}").unwrap_err().contains("not the JSON form"));
        assert!(from_json(b"[").unwrap_err().contains("not the JSON form"));
    }
}
