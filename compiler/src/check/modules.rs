//! Loading: the main file and everything it imports, each file once, and what each file's names mean.

use super::report::{Reported, Reports};
use super::stdlib::STDLIB;
use super::{Host, decode};
use crate::diagnostics::{Code, Diagnostic, did_you_mean};
use crate::syntax::ast::{Ident, Import, Item, ItemKind, Module};
use crate::syntax::{FileId, SourceMap, Span, parse};
use std::collections::BTreeMap;

/// Index of a module in a [`Program`].
pub(super) type ModuleId = usize;

/// All modules of a compilation; the main file is the first.
pub(super) struct Program {
    pub(super) modules: Vec<Loaded>,
}

/// One loaded file.
pub(super) struct Loaded {
    pub(super) file: FileId,
    pub(super) ast: Module,
    /// What a name at the top of this file means.
    pub(super) scope: BTreeMap<String, Def>,
}

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Def {
    /// An item, by module and position.
    Item(ModuleId, usize),
    /// A whole module.
    Module(ModuleId),
    /// Something that failed and was reported.
    Error,
}

impl Program {
    pub(super) fn item(&self, module: ModuleId, item: usize) -> &Item {
        &self.modules[module].ast.items[item]
    }
}

struct Loader<'a> {
    host: &'a dyn Host,
    /// Directory of the main file, with a final `/`, or empty.
    base: String,
    sources: &'a mut SourceMap,
    reports: &'a mut Reports,
    modules: Vec<Option<Loaded>>,
    by_path: BTreeMap<String, ModuleId>,
    depth: usize,
}

/// Loads the main file and its imports; `None` where the main file cannot be read at all.
pub(super) fn load(host: &dyn Host, main: &str, sources: &mut SourceMap, reports: &mut Reports) -> Option<Program> {
    let base = main.rfind('/').map_or(String::new(), |at| main[..=at].to_string());
    let (modules, by_path) = (Vec::new(), BTreeMap::new());
    let mut loader = Loader {
        host,
        base,
        sources,
        reports,
        modules,
        by_path,
        depth: 0,
    };
    let bytes = match host.read(main) {
        Ok(bytes) => bytes,
        Err(why) => {
            let file = loader.sources.add(main, "");
            let message = format!("cannot read `{main}`: {why}");
            loader
                .reports
                .add(Diagnostic::error(Code::E0005, super::start_of(file), message));
            return None;
        }
    };
    loader.add(main.to_string(), main, bytes).ok()?;
    Some(Program {
        modules: loader.modules.into_iter().flatten().collect(),
    })
}

impl Loader<'_> {
    fn add(&mut self, path: String, name: &str, bytes: Vec<u8>) -> Result<ModuleId, Reported> {
        let file = self.sources.add(name, "");
        let text = decode(bytes, file, name).map_err(|d| self.reports.add(d))?;
        self.sources.set_text(file, text.clone());
        let (ast, diagnostics) = parse(file, &text);
        for d in diagnostics {
            self.reports.add(d);
        }
        let id = self.modules.len();
        self.modules.push(None);
        self.by_path.insert(path, id);
        let mut scope: BTreeMap<String, Def> = BTreeMap::new();
        let mut places: BTreeMap<String, Span> = BTreeMap::new();
        for (position, item) in ast.items.iter().enumerate() {
            let declared: Vec<(Ident, Def)> = match &item.kind {
                ItemKind::Import(import) => self.import(id, import),
                ItemKind::Model(m) => vec![(m.name.clone(), Def::Item(id, position))],
                ItemKind::Callable(c) => vec![(c.name.clone(), Def::Item(id, position))],
                ItemKind::Table(t) => vec![(t.name.clone(), Def::Item(id, position))],
                ItemKind::Let(l) => l.names.iter().map(|n| (n.clone(), Def::Item(id, position))).collect(),
                ItemKind::Error(name) => name.iter().map(|n| (n.clone(), Def::Error)).collect(),
            };
            for (name, def) in declared {
                if let Some(first) = places.get(&name.text) {
                    self.reports.add(twice(&name, *first));
                    continue;
                }
                places.insert(name.text.clone(), name.span);
                scope.insert(name.text, def);
            }
        }
        self.modules[id] = Some(Loaded { file, ast, scope });
        Ok(id)
    }

    /// The names that an import declares. Whatever fails declares them all the same, as errors.
    fn import(&mut self, from: ModuleId, import: &Import) -> Vec<(Ident, Def)> {
        let module = self.module(from, import);
        let Some(names) = &import.names else {
            let Some(last) = import.path.last() else {
                return Vec::new();
            };
            return vec![(last.clone(), module.map_or(Def::Error, Def::Module))];
        };
        let mut declared = Vec::new();
        for name in names {
            let here = name.alias.as_ref().unwrap_or(&name.name).clone();
            let def = match module {
                Ok(id) => self.exported(id, &name.name),
                Err(Reported) => Def::Error,
            };
            declared.push((here, def));
        }
        declared
    }

    fn exported(&mut self, module: ModuleId, name: &Ident) -> Def {
        let Some(Some(loaded)) = self.modules.get(module) else {
            return Def::Error;
        };
        match loaded.scope.get(&name.text) {
            Some(def) => *def,
            None => {
                let near = did_you_mean(&name.text, loaded.scope.keys().map(String::as_str));
                let file = self.sources.get(loaded.file).map_or("?", |f| f.name.as_str());
                let message = format!("`{file}` declares no `{}`", name.text);
                let mut diagnostic = Diagnostic::error(Code::E0202, name.span, message).label("not declared there");
                diagnostic = diagnostic.maybe_help(near.map(|n| format!("did you mean `{n}`?")));
                self.reports.add(diagnostic);
                Def::Error
            }
        }
    }

    fn module(&mut self, from: ModuleId, import: &Import) -> Result<ModuleId, Reported> {
        let parts: Vec<&str> = import.path.iter().map(|p| p.text.as_str()).collect();
        let span = match (import.path.first(), import.path.last()) {
            (Some(first), Some(last)) => first.span.to(last.span),
            _ => return Err(Reported),
        };
        let unknown = |help: Option<String>, why: &str| {
            Diagnostic::error(
                Code::E0201,
                span,
                format!("there is no module `{}`{why}", parts.join(".")),
            )
            .label("not found")
            .maybe_help(help)
        };
        let (path, name, bytes) = if parts[0] == "std" {
            let inside = parts[1..].join("/");
            let path = format!("std/{inside}.mlc");
            match STDLIB.iter().find(|(name, _)| *name == inside) {
                Some((_, text)) => (path.clone(), path, Ok(text.as_bytes().to_vec())),
                None => {
                    let near = did_you_mean(&inside, STDLIB.iter().map(|(name, _)| *name));
                    let help = near.map_or_else(
                        || {
                            let all: Vec<&str> = STDLIB.iter().map(|(name, _)| *name).collect();
                            format!("the standard library has {}", all.join(", "))
                        },
                        |n| format!("did you mean `std.{n}`?"),
                    );
                    return Err(self.reports.add(unknown(Some(help), "")));
                }
            }
        } else {
            let path = format!("{}{}.mlc", self.base, parts.join("/"));
            let bytes = if self.by_path.contains_key(&path) {
                Ok(Vec::new())
            } else {
                self.host.read(&path)
            };
            (path.clone(), path, bytes)
        };
        if let Some(id) = self.by_path.get(&path).copied() {
            if self.modules[id].is_some() {
                return Ok(id);
            }
            let message = if id == from {
                "this module imports itself"
            } else {
                "these modules import each other"
            };
            let diagnostic = Diagnostic::error(Code::E0205, span, message)
                .label(format!("`{name}` is being loaded already"))
                .help("move what both need into a third module");
            return Err(self.reports.add(diagnostic));
        }
        let bytes = bytes.map_err(|why| {
            let help = format!("it would be the file `{path}`");
            self.reports.add(unknown(Some(help), &format!(": {why}")))
        })?;
        if self.depth >= 32 {
            return Err(self.reports.add(unknown(None, " within 32 levels of imports")));
        }
        self.depth += 1;
        let id = self.add(path, &name, bytes);
        self.depth -= 1;
        id
    }
}

/// `name` is declared again.
pub(super) fn twice(name: &Ident, first: Span) -> Diagnostic {
    Diagnostic::error(Code::E0204, name.span, format!("`{}` is declared twice", name.text))
        .label("declared again")
        .also(first, "first declared here")
        .help("give one of them another name")
}
