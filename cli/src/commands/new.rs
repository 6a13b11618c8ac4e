use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::error::CliError;
use crate::files;
use crate::random::Rng;
use crate::ui::Ui;

/// Arguments of `mlc new`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlc new hello
  mlc prove hello")]
pub(crate) struct New {
    /// The directory to create; its name is the model's
    #[arg(value_name = "NAME")]
    name: PathBuf,
}

const MANIFEST: &str = "\
[model]
source = \"model.mlc\"
weights = \"model.safetensors\"

[quantise]
data = [\"samples.json\"]

[run]
input = \"input.json\"

[outputs.scores]
scores = true
";

/// Layers of the model: name, outputs, inputs.
const LAYERS: [(&str, usize, usize); 2] = [("fc1", 16, 8), ("fc2", 4, 16)];

impl New {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let name = self
            .name
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let model = model_name(&name)
            .ok_or_else(|| CliError::Usage(format!("`{name}` is no name for a project: it needs a letter")))?;
        if self.name.exists() {
            return Err(CliError::Usage(format!("`{}` exists already", self.name.display())));
        }
        files::create_dir(&self.name)?;
        // A project is complete or not there.
        if let Err(error) = fill(&self.name, &model) {
            let _ = std::fs::remove_dir_all(&self.name);
            return Err(error);
        }
        ui.result(
            || json!({ "project": self.name, "model": model }),
            || format!("created {0}\ntry: mlc prove {0}", self.name.display()),
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn fill(root: &Path, model: &str) -> Result<(), CliError> {
    let source = format!(
        "//! A small classifier: two linear layers with a relu between.\n\n\
         import std.activation.{{relu}}\nimport std.linear.{{linear}}\n\n\
         model {model} {{\n    dim batch: runtime max 16\n\n    \
         entry main(@range(-1, 1) x: public real[batch, 8]) -> (scores: public real[batch, 4]) {{\n        \
         let h = relu(linear(x, 16, \"fc1\"))\n        linear(h, 4, \"fc2\")\n    }}\n}}\n"
    );
    files::write_atomic(&root.join("model.mlc"), source.as_bytes())?;
    files::write_atomic(&root.join("model.safetensors"), &weights()?)?;
    let mut rng = Rng::new(7);
    let mut row = || -> Vec<f64> { (0..8).map(|_| (rng.uniform() * 1e3).round() / 1e3).collect() };
    files::write_atomic(&root.join("input.json"), (json!([row()]).to_string() + "\n").as_bytes())?;
    let samples: Vec<Vec<f64>> = (0..16).map(|_| row()).collect();
    files::write_atomic(
        &root.join("samples.json"),
        (json!(samples).to_string() + "\n").as_bytes(),
    )?;
    files::write_atomic(&root.join(".gitignore"), b"/.mlc/\n")?;
    files::write_atomic(&root.join("mlc.toml"), MANIFEST.as_bytes())
}

/// Generated weights of the usual size: uniform within 1/sqrt(inputs).
fn weights() -> Result<Vec<u8>, CliError> {
    let mut rng = Rng::new(1);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, out, input) in LAYERS {
        let most = 1.0 / (input as f64).sqrt();
        let mut values = |n: usize| {
            (0..n)
                .flat_map(|_| ((rng.uniform() * most) as f32).to_le_bytes())
                .collect()
        };
        tensors.push((format!("{name}.weight"), vec![out, input], values(out * input)));
        tensors.push((format!("{name}.bias"), vec![out], values(out)));
    }
    let mut views = Vec::new();
    for (name, shape, bytes) in &tensors {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        views.push((name.as_str(), view.map_err(CliError::refused)?));
    }
    safetensors::serialize(views, None).map_err(CliError::refused)
}

/// `my-model` as `MyModel`; `None` where the name has no letter to begin with.
fn model_name(name: &str) -> Option<String> {
    let start = name.find(|c: char| c.is_ascii_alphabetic())?;
    let words = name[start..]
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| !w.is_empty());
    let capital = |w: &str| w[..1].to_ascii_uppercase() + &w[1..];
    Some(words.map(capital).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_model_names() {
        assert_eq!(model_name("my-first_model").as_deref(), Some("MyFirstModel"));
        assert_eq!(model_name("2nd").as_deref(), Some("Nd"));
        assert_eq!(model_name("42"), None);
    }
}
