//! The report of a proof: its JSON keys are an interface, its text is for people.

use mlc_runtime::calibrate::Agreement;
use serde_json::{Map, Value, json};

use crate::output::{Output, agreement_json, json_of, label_of};
use crate::ui::{bytes, seconds};

/// What a proof came to.
#[derive(Debug)]
pub(crate) struct Report {
    /// Outputs of the verified statement.
    pub(crate) outputs: Vec<Output>,
    pub(crate) compile_s: f64,
    pub(crate) setup_s: f64,
    pub(crate) execute_s: f64,
    pub(crate) prove_s: f64,
    pub(crate) verify_s: f64,
    pub(crate) proof_bytes: u64,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) committed_cells: u64,
    pub(crate) lookups: u64,
    pub(crate) security_bits: f64,
    /// With the f32 model, where the outputs are real numbers.
    pub(crate) agreement: Option<Agreement>,
}

impl Report {
    /// With the keys that scripts rely on.
    pub(crate) fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("output".into(), json_of(&self.outputs));
        all.insert("label".into(), label_of(&self.outputs));
        all.extend(self.figures());
        Value::Object(all)
    }

    /// [`json`](Self::json) without the outputs: what the proof cost.
    pub(crate) fn figures(&self) -> Map<String, Value> {
        let figures = json!({
            "compile_s": self.compile_s,
            "setup_s": self.setup_s,
            "execute_s": self.execute_s,
            "prove_s": self.prove_s,
            "verify_s": self.verify_s,
            "proof_bytes": self.proof_bytes,
            "peak_rss_bytes": self.peak_rss_bytes,
            "committed_cells": self.committed_cells,
            "lookups": self.lookups,
            "security_bits": self.security_bits,
            "agreement": agreement_json(self.agreement.as_ref()),
        });
        figures.as_object().cloned().unwrap_or_default()
    }

    /// A few lines.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for output in &self.outputs {
            out += &format!("output     {}\n", output.summary());
        }
        match label_of(&self.outputs) {
            Value::Null => {}
            Value::String(label) => out += &format!("label      {label}\n"),
            label => out += &format!("label      {label}\n"),
        }
        out + &self.figures_text()
    }

    /// [`text`](Self::text) without the outputs.
    pub(crate) fn figures_text(&self) -> String {
        let mut out = format!(
            "time       compile {}, setup {}, execute {}, prove {}, verify {}\n",
            seconds(self.compile_s),
            seconds(self.setup_s),
            seconds(self.execute_s),
            seconds(self.prove_s),
            seconds(self.verify_s)
        );
        out += &format!(
            "proof      {}, {:.1} bits of security, {} committed cells, {} lookups\n",
            bytes(self.proof_bytes),
            self.security_bits,
            self.committed_cells,
            self.lookups
        );
        out += &format!("memory     {} at the peak\n", bytes(self.peak_rss_bytes));
        if let Some(a) = &self.agreement {
            out += &format!(
                "agreement  cosine {:.6} with the f32 model, max error {:.4}, top-1 {:.0} %\n",
                a.cosine,
                a.max_abs_error,
                a.top1 * 100.0
            );
        }
        out
    }
}

/// Greatest resident memory of this process so far; 0 where the system does not say.
pub(crate) fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
