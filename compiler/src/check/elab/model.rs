//! The model: its configuration, dimensions and constants, then its entries one after the other.

use super::value::{Text, Value};
use super::{Elab, Env, Eval, Shared};
use crate::check::config::Config;
use crate::check::modules::Program;
use crate::check::quant::QuantHint;
use crate::check::report::{Reported, Reports};
use crate::check::start_of;
use crate::diagnostics::{Code, Diagnostic, did_you_mean};
use crate::syntax::SourceMap;
use crate::syntax::ast::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Graph, quantisation hints, calibration files, configs of the greatest lengths.
type Elaborated = (mlc_ir::Module, Vec<QuantHint>, Vec<String>, BTreeMap<String, String>);

/// Elaborates the one model of the main file. The graph is only of use where nothing was reported.
pub(in crate::check) fn elaborate(
    program: &Program,
    config: &Config,
    sources: &SourceMap,
    reports: &mut Reports,
) -> Option<Elaborated> {
    let main = program.modules.first()?;
    let mut models = main.ast.items.iter().filter_map(|item| match &item.kind {
        ItemKind::Model(model) => Some((item, model)),
        _ => None,
    });
    let Some((item, model)) = models.next() else {
        if main.ast.items.iter().all(|i| !matches!(i.kind, ItemKind::Error(_))) {
            let message = "this file declares no model";
            let help = "a model is `model Name { entry main(…) -> (…) { … } }`; blocks alone can be imported";
            reports.add(Diagnostic::error(Code::E0601, start_of(main.file), message).help(help));
        }
        return None;
    };
    if let Some((_, second)) = models.next() {
        let diagnostic = Diagnostic::error(Code::E0601, second.name.span, "this file declares more than one model")
            .label("another model")
            .also(model.name.span, "the first one")
            .help("keep one model in a file, and give it several entries");
        reports.add(diagnostic);
    }
    unknown_config(model, config, reports);

    let files: Vec<Arc<str>> = sources.files().iter().map(|f| Arc::from(f.name.as_str())).collect();
    let mut module = mlc_ir::Module::new(model.name.text.clone(), mlc_ir::Stage::Real);
    let mut shared = Shared::default();
    let entries = model.members.iter().filter_map(|m| match &m.kind {
        MemberKind::Entry(entry) if config.entry.as_ref().is_none_or(|n| *n == entry.name.text) => Some((m, entry)),
        _ => None,
    });
    let entries: Vec<(&Member, &Entry)> = entries.collect();
    if entries.is_empty() && model.members.iter().all(|m| !matches!(m.kind, MemberKind::Error(_))) {
        let diagnostic = Diagnostic::error(Code::E0602, model.name.span, "this model has no entry")
            .label("nothing to run")
            .help("add `entry main(x: real[…]) -> (y: real[…]) { … }`");
        reports.add(diagnostic);
    }
    // A model without entries still has its members checked.
    let runs: Vec<Option<(&Member, &Entry)>> = if entries.is_empty() {
        vec![None]
    } else {
        entries.into_iter().map(Some).collect()
    };
    for run in runs {
        let name = run.map_or("main", |(_, e)| e.name.text.as_str()).to_string();
        let mut elab = Elab {
            program,
            config,
            reports: &mut *reports,
            shared: &mut shared,
            g: module.entry(name.clone()),
            files: &files,
            calls: Vec::new(),
            nesting: 0,
            indices: Vec::new(),
            names: Vec::new(),
            hints: Vec::new(),
            appended: BTreeMap::new(),
        };
        let mut env = Env::new(0);
        elab.model_annotations(&mut env, &item.annotations);
        elab.members(&mut env, model);
        let Some((member, entry)) = run else { continue };
        if elab.entry(&mut env, member, entry).is_ok() && !elab.reports.any_error() {
            let (names, hints) = (std::mem::take(&mut elab.names), std::mem::take(&mut elab.hints));
            elab.g.finish();
            if let Some(entry) = module.entries.get_mut(&name) {
                super::entry::name_values(entry, names);
                super::entry::name_hints(&name, entry, hints, &mut shared.quant);
            }
        }
    }
    (!module.entries.is_empty()).then(|| (module, shared.quant, shared.calibration, limits(model)))
}

/// The `config` that is the greatest length of a run-time dimension, by the dimension's name.
fn limits(model: &Model) -> BTreeMap<String, String> {
    let members = || model.members.iter().map(|m| &m.kind);
    let is_config = |name: &str| members().any(|m| matches!(m, MemberKind::Config(c) if c.name.text == name));
    members()
        .filter_map(|m| match m {
            MemberKind::Dim(d) => match &d.max.kind {
                ExprKind::Name(max) if is_config(max) => Some((d.name.text.clone(), max.clone())),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

/// Values set by name for configs that do not exist.
fn unknown_config(model: &Model, config: &Config, reports: &mut Reports) {
    let known: BTreeSet<&str> = model
        .members
        .iter()
        .filter_map(|m| match &m.kind {
            MemberKind::Config(c) => Some(c.name.text.as_str()),
            _ => None,
        })
        .collect();
    for key in config.values.keys().filter(|k| !known.contains(k.as_str())) {
        let near = did_you_mean(key, known.iter().copied());
        let help = near.map_or_else(
            || format!("it declares {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
            |n| format!("did you mean `{n}`?"),
        );
        let message = format!("`{}` declares no config `{key}`", model.name.text);
        let mut diagnostic = Diagnostic::error(Code::E0407, model.name.span, message).label("in this model");
        if near.is_some() || !known.is_empty() {
            diagnostic = diagnostic.help(help);
        }
        reports.add(diagnostic);
    }
}

impl Elab<'_, '_> {
    fn members(&mut self, env: &mut Env, model: &Model) {
        for member in &model.members {
            match &member.kind {
                MemberKind::Config(c) => {
                    let value = self.config_value(env, c).unwrap_or(Value::Error);
                    env.bind(&c.name.text, value);
                }
                MemberKind::Dim(d) => {
                    let value = self.runtime_dim(env, d).unwrap_or(Value::Error);
                    env.bind(&d.name.text, value);
                }
                MemberKind::Let(l) => self.let_statement(env, l, &member.annotations),
                MemberKind::Weight(w) => self.weight_statement(env, w, &member.annotations),
                MemberKind::State(s) => self.state_statement(env, s),
                MemberKind::Where(list) => self.constraints(env, list, None),
                MemberKind::Entry(_) => {}
                MemberKind::Error(name) => name.iter().for_each(|n| env.bind(&n.text, Value::Error)),
            }
        }
    }

    fn runtime_dim(&mut self, env: &mut Env, d: &DimDecl) -> Eval<Value> {
        let mut bound = |e: &Expr| {
            let value = self.constant_dim(env, e)?;
            u64::try_from(value).or_else(|_| self.error(Code::E0406, e.span, "a dimension is not negative", "here"))
        };
        let min = d.min.as_ref().map_or(Ok(1), &mut bound)?;
        let max = bound(&d.max)?;
        if max < min || max > 1 << 30 {
            let message = format!("the greatest value {max} is not between {min} and 2^30");
            return self.error(Code::E0406, d.max.span, message, "out of range");
        }
        match &d.before {
            None => self.g.module_mut().declare_dim(d.name.text.clone(), min, max),
            Some(tokens) => {
                let known = self.g.module().dims.get(&tokens.text).cloned();
                // Members are read again for every entry.
                let other = |(name, r): (&String, &mlc_ir::DimRange)| *name != d.name.text && r.before.is_some();
                let taken = self.g.module().dims.iter().any(other);
                if min != 0 || taken || known.is_none_or(|t| t.before.is_some() || t.min > max) {
                    let diagnostic = Diagnostic::error(Code::E0604, tokens.span, "this cannot be what states hold before")
                        .label("must be another run-time dimension, declared before this one")
                        .help("one dimension is what earlier runs have appended: `dim past: runtime min 0 max context before tokens`");
                    return Err(self.report(diagnostic));
                }
                self.g.module_mut().declare_past(d.name.text.clone(), max, &tokens.text);
            }
        }
        Ok(Value::Dim(mlc_ir::Dim::runtime(d.name.text.clone())))
    }

    fn config_value(&mut self, env: &mut Env, c: &ConfigDecl) -> Eval<Value> {
        let mut given = self.config.values.get(&c.name.text);
        if given.is_none() {
            let mut keys = vec![c.name.text.clone()];
            if let Some(key) = &c.key {
                keys = Vec::new();
                self.config_keys(env, key, &mut keys)?;
            }
            if let Some(key) = keys.iter().find(|k| self.config.in_file(k).is_some()) {
                given = self.config.in_file(key);
                self.shared.keys.insert(c.name.text.clone(), key.clone());
            }
        }
        let Some(given) = given else {
            if let Some(default) = &c.default {
                let value = self.expr(env, default)?;
                return self.convert(env, value, &c.ty, default.span);
            }
            if c.ty.optional {
                return Ok(Value::None);
            }
            let name = &c.name.text;
            let diagnostic = Diagnostic::error(Code::E0401, c.name.span, format!("config `{name}` has no value"))
                .label("no value and no default")
                .help(format!("set `{name}` in config.json, or give it a default: `= …`"));
            return Err(self.report(diagnostic));
        };
        let shown = given.to_string();
        let value = match given {
            serde_json::Value::Null => Value::None,
            serde_json::Value::Bool(b) => Value::Bool(*b),
            serde_json::Value::String(s) => Value::Str(Text::plain(s)),
            serde_json::Value::Number(n) => match n.as_i64() {
                Some(i) => Value::int(i),
                None => Value::Real(n.as_f64().unwrap_or(f64::NAN)),
            },
            _ => Value::Error,
        };
        if matches!((&value, c.ty.optional, &c.default), (Value::None, false, Some(_))) {
            // `null` in a config.json says "as by default".
            let default = c.default.as_ref().map(|d| self.expr(env, d));
            return default.unwrap_or(Err(Reported));
        }
        match self.fits(&value, &c.ty) {
            Some(value) => Ok(value),
            None => {
                let wanted = self.describe_type(&c.ty);
                let message = format!("config `{}` is {shown}, but it is declared as {wanted}", c.name.text);
                self.error(Code::E0402, c.ty.span, message, format!("must be {wanted}"))
            }
        }
    }

    /// The keys of `from "a" or "b"`.
    fn config_keys(&mut self, env: &mut Env, key: &Expr, keys: &mut Vec<String>) -> Eval<()> {
        if let ExprKind::Binary(BinaryOp::Or, a, b) = &key.kind {
            self.config_keys(env, a, keys)?;
            return self.config_keys(env, b, keys);
        }
        match self.expr(env, key)? {
            Value::Str(text) => keys.extend(text.as_plain()),
            Value::Error => return Err(Reported),
            other => {
                let message = format!("a key of config.json is a string, not {}", other.sort());
                return self.error(Code::E0301, key.span, message, "must be a string");
            }
        }
        Ok(())
    }
}
