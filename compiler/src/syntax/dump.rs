//! The canonical text of an AST, for `--emit ast` and snapshots.
//!
//! One node a line, children indented, no spans: two sources that differ only in layout give the same text.

use super::ast::*;
use std::fmt::Write as _;

/// The canonical text of a module.
pub fn dump(module: &Module) -> String {
    let mut d = Dump {
        out: String::new(),
        depth: 0,
    };
    for item in &module.items {
        d.item(item);
    }
    d.out
}

struct Dump {
    out: String,
    depth: usize,
}

impl Dump {
    fn line(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.out, "{:indent$}{}", "", text.as_ref(), indent = self.depth * 2);
    }

    fn nest(&mut self, text: impl AsRef<str>, children: impl FnOnce(&mut Self)) {
        self.line(text);
        self.depth += 1;
        children(self);
        self.depth -= 1;
    }

    fn head(&mut self, docs: &[String], annotations: &[Annotation]) {
        for doc in docs {
            self.line(format!("doc {doc:?}"));
        }
        self.annotations(annotations);
    }

    fn annotations(&mut self, annotations: &[Annotation]) {
        for a in annotations {
            self.line(format!("annotation {}({})", a.name.text, args(&a.args)));
        }
    }

    fn item(&mut self, item: &Item) {
        self.head(&item.docs, &item.annotations);
        match &item.kind {
            ItemKind::Import(i) => {
                let path: Vec<&str> = i.path.iter().map(|p| p.text.as_str()).collect();
                let names = i.names.as_ref().map(|names| {
                    let name = |n: &ImportName| match &n.alias {
                        Some(alias) => format!("{} as {}", n.name.text, alias.text),
                        None => n.name.text.clone(),
                    };
                    format!(" {{{}}}", names.iter().map(name).collect::<Vec<_>>().join(", "))
                });
                self.line(format!("import {}{}", path.join("."), names.unwrap_or_default()));
            }
            ItemKind::Model(m) => self.nest(format!("model {}", m.name.text), |d| {
                for member in &m.members {
                    d.member(member);
                }
            }),
            ItemKind::Callable(c) => self.callable(c),
            ItemKind::Table(t) => self.nest(format!("table {} variable {}", t.name.text, t.variable.text), |d| {
                t.params.iter().for_each(|p| d.param(p));
                d.line(format!("formula {}", expr(&t.formula)));
            }),
            ItemKind::Let(l) => self.let_binding(l),
            ItemKind::Error(name) => self.line(format!("error {}", name.as_ref().map_or("", |n| &n.text))),
        }
    }

    fn callable(&mut self, c: &Callable) {
        let sort = if c.is_block { "block" } else { "fn" };
        self.nest(format!("{sort} {}", c.name.text), |d| {
            for g in &c.generics {
                d.line(format!("generic {}{}", if g.rest { ".." } else { "" }, g.name.text));
            }
            c.params.iter().for_each(|p| d.param(p));
            match &c.result {
                ResultType::One(t) => d.line(format!("result {}", ty(t))),
                ResultType::Many(fields) => fields.iter().for_each(|f| d.field(f)),
            }
            c.constraints.iter().for_each(|e| d.line(format!("where {}", expr(e))));
            d.body(&c.body);
        });
    }

    fn member(&mut self, member: &Member) {
        self.head(&member.docs, &member.annotations);
        match &member.kind {
            MemberKind::Config(c) => {
                let key = c.key.as_ref().map(|k| format!(" from {}", expr(k))).unwrap_or_default();
                let default = c
                    .default
                    .as_ref()
                    .map(|e| format!(" = {}", expr(e)))
                    .unwrap_or_default();
                self.line(format!("config {}: {}{key}{default}", c.name.text, ty(&c.ty)));
            }
            MemberKind::Dim(d) => {
                let min = d.min.as_ref().map(|e| format!(" min {}", expr(e))).unwrap_or_default();
                let before = d
                    .before
                    .as_ref()
                    .map(|n| format!(" before {}", n.text))
                    .unwrap_or_default();
                self.line(format!("dim {}{min} max {}{before}", d.name.text, expr(&d.max)));
            }
            MemberKind::Let(l) => self.let_binding(l),
            MemberKind::Weight(w) => self.weight(w),
            MemberKind::State(s) => self.state(s),
            MemberKind::Where(list) => list.iter().for_each(|e| self.line(format!("where {}", expr(e)))),
            MemberKind::Entry(e) => self.nest(format!("entry {}", e.name.text), |d| {
                e.params.iter().for_each(|p| d.param(p));
                e.results.iter().for_each(|f| d.field(f));
                d.body(&e.body);
            }),
            MemberKind::Error(name) => self.line(format!("error {}", name.as_ref().map_or("", |n| &n.text))),
        }
    }

    fn param(&mut self, p: &Param) {
        self.annotations(&p.annotations);
        let default = p
            .default
            .as_ref()
            .map(|e| format!(" = {}", expr(e)))
            .unwrap_or_default();
        self.line(format!(
            "param {}: {}{}{default}",
            p.name.text,
            visibility(p.visibility),
            ty(&p.ty)
        ));
    }

    fn field(&mut self, f: &Field) {
        self.annotations(&f.annotations);
        self.line(format!(
            "result {}: {}{}",
            f.name.text,
            visibility(f.visibility),
            ty(&f.ty)
        ));
    }

    fn let_binding(&mut self, l: &Let) {
        let declared = l.ty.as_ref().map(|t| format!(": {}", ty(t))).unwrap_or_default();
        self.line(format!(
            "let {}{declared} = {}",
            names(&l.names, l.tuple),
            expr(&l.value)
        ));
    }

    fn weight(&mut self, w: &Weight) {
        let (seen, declared) = (visibility(w.visibility), ty(&w.ty));
        self.line(format!(
            "weight {}: {seen}{declared} from {}",
            w.name.text,
            expr(&w.source)
        ));
    }

    fn state(&mut self, s: &State) {
        let source = s
            .source
            .as_ref()
            .map(|e| format!(" from {}", expr(e)))
            .unwrap_or_default();
        let grows = s
            .grows
            .as_ref()
            .map(|e| format!(" grows {}", expr(e)))
            .unwrap_or_default();
        self.line(format!("state {}: {}{grows}{source}", s.name.text, ty(&s.ty)));
    }

    fn body(&mut self, body: &Body) {
        for s in &body.statements {
            self.annotations(&s.annotations);
            match &s.kind {
                StatementKind::Let(l) => self.let_binding(l),
                StatementKind::Weight(w) => self.weight(w),
                StatementKind::State(s) => self.state(s),
                StatementKind::Where(list) => list.iter().for_each(|e| self.line(format!("where {}", expr(e)))),
                StatementKind::Repeat(r) => {
                    let (start, end) = (expr(&r.start), expr(&r.end));
                    let head = format!("repeat {} in {start}..{end} carrying ", r.index.text);
                    self.nest(head + &names(&r.carried, r.carried.len() != 1), |d| d.body(&r.body));
                }
                StatementKind::Error(list) => self.line(format!("error {}", names(list, true))),
            }
        }
        if let Some(result) = &body.result {
            self.line(format!("value {}", expr(result)));
        }
    }
}

fn names(list: &[Ident], tuple: bool) -> String {
    let joined = list.iter().map(|n| n.text.as_str()).collect::<Vec<_>>().join(", ");
    if tuple { format!("({joined})") } else { joined }
}

fn visibility(v: Option<Visibility>) -> &'static str {
    match v {
        Some(Visibility::Public) => "public ",
        Some(Visibility::Private) => "private ",
        Some(Visibility::Committed) => "committed ",
        None => "",
    }
}

fn ty(t: &Type) -> String {
    let text = match &t.kind {
        TypeKind::Dim => "dim".into(),
        TypeKind::Int => "int".into(),
        TypeKind::Real => "real".into(),
        TypeKind::Bool => "bool".into(),
        TypeKind::String => "string".into(),
        TypeKind::Table => "table".into(),
        TypeKind::Error => "error".into(),
        TypeKind::Tensor { element, shape } => {
            let element = match element {
                Element::Real => "real".into(),
                Element::Index(bound) => format!("index({})", expr(bound)),
                Element::Mask => "mask".into(),
            };
            format!("{element}{}", shape_items(shape))
        }
    };
    text + if t.optional { "?" } else { "" }
}

fn shape_items(items: &[ShapeItem]) -> String {
    let item = |i: &ShapeItem| match i {
        ShapeItem::Dim(e) => expr(e),
        ShapeItem::Rest(name) => format!("..{}", name.text),
    };
    format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(", "))
}

fn args(list: &[Arg]) -> String {
    let arg = |a: &Arg| match &a.name {
        Some(name) => format!("{} = {}", name.text, expr(&a.value)),
        None => expr(&a.value),
    };
    list.iter().map(arg).collect::<Vec<_>>().join(", ")
}

/// An expression on one line, every operator in parentheses; a body nested in it in braces.
fn expr(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Int(v) => v.to_string(),
        ExprKind::Real(v) => format!("{v:?}"),
        ExprKind::Bool(v) => v.to_string(),
        ExprKind::None => "none".into(),
        ExprKind::Name(name) => name.clone(),
        ExprKind::Error => "error".into(),
        ExprKind::Str(pieces) => {
            let piece = |p: &StrPiece| match p {
                StrPiece::Text(text) => text.escape_debug().to_string().replace('{', "\\{").replace('}', "\\}"),
                StrPiece::Hole(e) => format!("{{{}}}", expr(e)),
            };
            format!("\"{}\"", pieces.iter().map(piece).collect::<String>())
        }
        ExprKind::Field(base, name) => format!("{}.{}", expr(base), name.text),
        ExprKind::Call(callee, list) => format!("{}({})", expr(callee), args(list)),
        ExprKind::Index(base, items) => {
            let end = |e: &Option<Expr>| e.as_ref().map(expr).unwrap_or_default();
            let item = |i: &IndexItem| match i {
                IndexItem::Full(_) => ":".into(),
                IndexItem::Rest(_) => "..".into(),
                IndexItem::At(e) => expr(e),
                IndexItem::Range(a, b, _) => format!("{}..{}", end(a), end(b)),
            };
            format!(
                "{}[{}]",
                expr(base),
                items.iter().map(item).collect::<Vec<_>>().join(", ")
            )
        }
        ExprKind::Unary(UnaryOp::Neg, a) => format!("(-{})", expr(a)),
        ExprKind::Unary(UnaryOp::Not, a) => format!("(not {})", expr(a)),
        ExprKind::Binary(op, a, b) => format!("({} {} {})", expr(a), op.symbol(), expr(b)),
        ExprKind::If(condition, then, otherwise) => {
            let otherwise = otherwise
                .as_ref()
                .map(|b| format!(" else {}", inline(b)))
                .unwrap_or_default();
            format!("if {} {}{otherwise}", expr(condition), inline(then))
        }
        ExprKind::Match(subject, arms) => {
            let arm = |a: &Arm| {
                let patterns: Vec<String> = a.patterns.iter().map(expr).collect();
                let pattern = if patterns.is_empty() {
                    "_".into()
                } else {
                    patterns.join(" or ")
                };
                format!("{pattern} => {}", expr(&a.value))
            };
            format!(
                "match {} {{{}}}",
                expr(subject),
                arms.iter().map(arm).collect::<Vec<_>>().join(", ")
            )
        }
        ExprKind::List(items) => shape_items(items),
        ExprKind::Tuple(list) => format!("({})", args(list)),
    }
}

fn inline(body: &Body) -> String {
    let mut d = Dump {
        out: String::new(),
        depth: 0,
    };
    d.body(body);
    format!("{{ {} }}", d.out.trim_end().replace('\n', "; "))
}
