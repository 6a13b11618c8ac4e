//! The artefact that `mlc compile` writes and that most commands take as MODEL: a circuit with all that setup, execution
//! and proofs need of the model, but the weights.
//!
//! Layout: magic, version (4 bytes, little-endian), the postcard encoding of [`Body`], and Blake2s of everything before.
//! It holds no path, no time and no environment: the same source, settings and plan give the same bytes. Weights are read
//! at setup through the recipes; a circuit's bounds are proved there, so a wrong weight file cannot void one.
//!
//! Invariants: what [`Artefact::decode`] gives has passed the checks that a key's circuit passes, and encodes to the same
//! bytes again.

use blake2::{Blake2s256, Digest};
use mlc_circuit::{Circuit, check, format};
use mlc_ir::{Module, Shape, Stage, Type, Visibility, Weight};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::lower::WeightRecipe;

/// First bytes of an artefact.
pub const MAGIC: &[u8; 8] = b"mlc-artf";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Extension of the files.
pub const EXTENSION: &str = "circuit";
/// Bytes of the checksum at the end.
const CHECKSUM: usize = 32;

/// A compiled model.
#[derive(Debug, Clone, PartialEq)]
pub struct Artefact {
    /// The model in real numbers, which the f32 track runs.
    pub module: Module,
    /// The circuit family.
    pub circuit: Circuit,
    /// How its weights are computed.
    pub recipes: Vec<WeightRecipe>,
    /// Name of the entry that was compiled for.
    pub entry: String,
    /// Name of the weight file, without its directory.
    pub weights: Option<String>,
}

/// What is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    /// The circuit, in its own format.
    circuit: Vec<u8>,
    /// The model, as textual IR of the real stage.
    module: String,
    /// The recipes, as the weights `w0`, `w1`, … of a module of the quantised stage without entries.
    recipes: String,
    /// Scale of each weight, as the bits of an `f64`.
    scales: Vec<u64>,
    entry: String,
    weights: Option<String>,
}

/// Why bytes are not an artefact.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArtefactError {
    /// The magic is missing.
    #[error("not a compiled circuit of mlc")]
    Magic,
    /// Another version.
    #[error("compiled circuit of version {0}, this build reads version {VERSION}; run `mlc compile` again")]
    Version(u32),
    /// Bytes are missing, too many, or altered.
    #[error("the compiled circuit is truncated or corrupted; run `mlc compile` again")]
    Corrupted,
    /// The circuit in it is of another version or breaks a rule that soundness rests on.
    #[error("the compiled circuit is refused: {0}; run `mlc compile` again")]
    Refused(String),
}

/// Magic, version and checksum around the bytes of a body, whatever they are.
pub fn seal(body: &[u8]) -> Vec<u8> {
    let mut out = [&MAGIC[..], &VERSION.to_le_bytes(), body].concat();
    let checksum = Blake2s256::digest(&out);
    out.extend_from_slice(&checksum);
    out
}

impl Artefact {
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let body = Body {
            circuit: format::encode(&self.circuit),
            module: self.module.to_string(),
            recipes: recipes_text(&self.circuit, &self.recipes),
            scales: self.recipes.iter().map(|r| r.scale.to_bits()).collect(),
            entry: self.entry.clone(),
            weights: self.weights.clone(),
        };
        // Serialising owned bytes, strings and integers to memory cannot fail.
        seal(&postcard::to_allocvec(&body).unwrap_or_default())
    }

    /// Decodes an artefact and checks its circuit.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArtefactError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(ArtefactError::Magic)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(ArtefactError::Corrupted)?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(ArtefactError::Version(version));
        }
        let length = rest.len().checked_sub(CHECKSUM).ok_or(ArtefactError::Corrupted)?;
        let (checked, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
        if Blake2s256::digest(checked)[..] != *checksum {
            return Err(ArtefactError::Corrupted);
        }
        let (body, over) = postcard::take_from_bytes::<Body>(&rest[..length]).map_err(|_| ArtefactError::Corrupted)?;
        if !over.is_empty() {
            return Err(ArtefactError::Corrupted);
        }
        let refused = |why: &dyn std::fmt::Display| ArtefactError::Refused(why.to_string());
        let circuit = format::decode(&body.circuit).map_err(|e| refused(&e))?;
        check::check(&circuit).map_err(|e| refused(&e))?;
        let module: Module = body.module.parse().map_err(|e| refused(&e))?;
        mlc_ir::verify(&module).map_err(|all| refused(&Joined(&all)))?;
        let weights: Module = body.recipes.parse().map_err(|e| refused(&e))?;
        let recipes = recipes(&circuit, weights, &body.scales).ok_or(ArtefactError::Corrupted)?;
        if module.stage != Stage::Real || circuit.entry(&body.entry).is_none() {
            return Err(ArtefactError::Corrupted);
        }
        if circuit.entries.iter().any(|e| !module.entries.contains_key(&e.name)) {
            return Err(ArtefactError::Corrupted);
        }
        let artefact = Artefact {
            module,
            circuit,
            recipes,
            entry: body.entry,
            weights: body.weights,
        };
        match artefact.encode() == bytes {
            true => Ok(artefact),
            false => Err(ArtefactError::Corrupted),
        }
    }
}

struct Joined<'a, E>(&'a [E]);

impl<E: std::fmt::Display> std::fmt::Display for Joined<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join("; "))
    }
}

/// Recipes as the weights of a module: the textual IR is their one written form.
fn recipes_text(circuit: &Circuit, recipes: &[WeightRecipe]) -> String {
    let mut module = Module::new(circuit.name.clone(), Stage::Quantised);
    for r in recipes {
        let weight = Weight {
            ty: Type::real(Shape::default()),
            stack: r.stack.clone(),
            visibility: Visibility::Committed,
            recipe: r.recipe.clone(),
            abs_sum: None,
        };
        module.weights.insert(format!("w{}", r.weight), weight);
    }
    module.to_string()
}

/// One recipe for every weight of the circuit; `None` where they do not fit together.
fn recipes(circuit: &Circuit, mut module: Module, scales: &[u64]) -> Option<Vec<WeightRecipe>> {
    let count = circuit.weights.len();
    if module.weights.len() != count || scales.len() != count {
        return None;
    }
    let mut out = Vec::with_capacity(count);
    for (index, (weight, scale)) in circuit.weights.iter().zip(scales).enumerate() {
        let stored = module.weights.swap_remove(&format!("w{index}"))?;
        out.push(WeightRecipe {
            weight: index,
            recipe: stored.recipe,
            stack: stored.stack,
            scale: f64::from_bits(*scale),
            bits: weight.bits,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{QuantPlan, WeightStats, wanted};
    use crate::{CompileOptions, Config, MemoryHost, check as check_source, compile, prepare};

    const SOURCE: &str = "import std.activation.{relu}\nimport std.linear.{linear}\nmodel M {\n    dim batch: runtime max 4\n    \
        entry main(@range(-1, 1) x: public real[batch, 4]) -> (y: public real[batch, 2]) {\n        \
        linear(relu(linear(x, 3, \"a\")), 2, \"b\")\n    }\n}\n";

    fn artefact() -> Artefact {
        let host = MemoryHost([("m.mlc".to_owned(), SOURCE.as_bytes().to_vec())].into());
        let module = check_source(&host, "m.mlc", &Config::default()).module.unwrap();
        let mut plan = QuantPlan::default();
        for weight in wanted(&prepare(module.clone(), &QuantPlan::default(), &mut |_, _| {}).unwrap()).weights {
            let stats = WeightStats {
                max_abs: 1.0,
                column_sum: (!weight.axes.is_empty()).then_some(4.0),
                axes: weight.axes,
            };
            plan.weights.insert(weight.name, stats);
        }
        let compiled = compile(module.clone(), &plan, &CompileOptions::default()).unwrap();
        Artefact {
            module,
            circuit: compiled.circuit,
            recipes: compiled.weights,
            entry: "main".into(),
            weights: Some("m.safetensors".into()),
        }
    }

    /// The bytes with `change` made and a checksum that fits.
    fn resealed(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = bytes[..bytes.len() - CHECKSUM].to_vec();
        change(&mut out);
        let checksum = Blake2s256::digest(&out);
        out.extend_from_slice(&checksum);
        out
    }

    #[test]
    fn decoded_is_what_was_encoded() {
        let (artefact, bytes) = (artefact(), artefact().encode());
        assert_eq!(Artefact::decode(&bytes).unwrap(), artefact);
        assert_eq!(artefact.encode(), bytes);
    }

    #[test]
    fn other_files_are_refused_by_what_they_are() {
        let bytes = artefact().encode();
        assert_eq!(Artefact::decode(b"{}"), Err(ArtefactError::Magic));
        assert_eq!(
            Artefact::decode(&format::encode(&artefact().circuit)),
            Err(ArtefactError::Magic)
        );
        assert_eq!(Artefact::decode(&bytes[..10]), Err(ArtefactError::Corrupted));
        let newer = resealed(&bytes, |b| b[8] = 2);
        assert_eq!(Artefact::decode(&newer), Err(ArtefactError::Version(2)));
        let longer = resealed(&bytes, |b| b.push(0));
        assert_eq!(Artefact::decode(&longer), Err(ArtefactError::Corrupted));
    }

    #[test]
    fn a_circuit_that_breaks_a_rule_is_refused() {
        let mut lies = artefact();
        // A bound that the weight's bits cannot have.
        lies.circuit.weights[0].bits = 40;
        assert!(matches!(
            Artefact::decode(&lies.encode()),
            Err(ArtefactError::Refused(_))
        ));
        let mut lies = artefact();
        lies.recipes.pop();
        assert_eq!(Artefact::decode(&lies.encode()), Err(ArtefactError::Corrupted));
        let mut lies = artefact();
        lies.entry = "other".into();
        assert_eq!(Artefact::decode(&lies.encode()), Err(ArtefactError::Corrupted));
    }

    proptest! {
        #[test]
        fn damage_is_noticed(at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<bool>()) {
            let mut bytes = artefact().encode();
            let at = at.index(bytes.len());
            match cut {
                true => bytes.truncate(at),
                false => bytes[at] ^= flip,
            }
            prop_assert!(Artefact::decode(&bytes).is_err());
        }

        /// Under a checksum that fits, too: an error or the canonical bytes, never a panic.
        #[test]
        fn forged_damage_is_survived(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let bytes = artefact().encode();
            let forged = resealed(&bytes, |b| {
                let at = at.index(b.len());
                b[at] ^= flip;
            });
            if let Ok(a) = Artefact::decode(&forged) {
                prop_assert_eq!(a.encode(), forged);
            }
        }
    }
}
