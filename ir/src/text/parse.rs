//! Parsing: `pest` reads the grammar, this file makes the module.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use pest::Parser as _;
use pest::iterators::{Pair, Pairs};
use pest_derive::Parser;
use thiserror::Error;

use super::MAX_NESTING;
use super::attributes::{Written, operation};
use super::dim::dim_name;
use super::float::parse_hex;
use super::string::unquote;
use super::term::Term;
use crate::formula::{Binary, Formula, Unary};
use crate::graph::{AbsSum, DimRange, Entry, Module, Node, Port, Region, StackAxis, State, Value, ValueId, Weight};
use crate::shape::Shape;
use crate::table::{MAX_TABLE_BITS, Table};
use crate::tensor::Tensor;
use crate::types::{Elem, IntType, Span, Stage, Type, Visibility};

#[derive(Parser)]
#[grammar = "text/ir.pest"]
struct Grammar;

/// Why a text is no module.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {why}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong there.
    pub why: String,
}

type Parsed<T> = Result<T, ParseError>;
type Syntax<'a> = Pair<'a, Rule>;

fn error(pair: &Syntax<'_>, why: impl Into<String>) -> ParseError {
    let (line, column) = pair.line_col();
    ParseError {
        line,
        column,
        why: why.into(),
    }
}

impl FromStr for Module {
    type Err = ParseError;

    fn from_str(text: &str) -> Parsed<Module> {
        check_nesting(text)?;
        let mut pairs = Grammar::parse(Rule::file, text).map_err(syntax)?;
        let mut module = Module::new("", Stage::Real);
        for pair in pairs.next().into_iter().flat_map(Pair::into_inner) {
            item(&mut module, pair)?;
        }
        Ok(module)
    }
}

fn syntax(error: pest::error::Error<Rule>) -> ParseError {
    let (line, column) = match error.line_col {
        pest::error::LineColLocation::Pos(at) | pest::error::LineColLocation::Span(at, _) => at,
    };
    let error = error.renamed_rules(|rule| described(*rule));
    ParseError {
        line,
        column,
        why: error.variant.message().into_owned(),
    }
}

/// What the grammar calls a rule, in words.
fn described(rule: Rule) -> String {
    match rule {
        Rule::EOI => "the end".to_owned(),
        Rule::header => "`module \"name\" stage`".to_owned(),
        Rule::stage => "`real` or `quantised`".to_owned(),
        Rule::visibility => "`public`, `private` or `committed`".to_owned(),
        Rule::ty => "a type".to_owned(),
        Rule::elem => "an element type".to_owned(),
        Rule::typed => "`%name: type`".to_owned(),
        Rule::local => "`%name`".to_owned(),
        Rule::symbol => "`@name`".to_owned(),
        Rule::attrs => "`{attributes}`".to_owned(),
        Rule::span => "`at \"file\":start..end`".to_owned(),
        Rule::loop_index => "`index < count`".to_owned(),
        Rule::op => "an operation".to_owned(),
        Rule::ident => "a word".to_owned(),
        Rule::uint | Rule::int => "a number".to_owned(),
        other => format!("{other:?}").replace("_decl", " declaration").replace('_', " "),
    }
}

/// Refuses texts whose brackets nest so deeply that recursive descent could overflow the stack.
fn check_nesting(text: &str) -> Parsed<()> {
    let bytes = text.as_bytes();
    let (mut depth, mut line, mut line_start, mut i) = (0usize, 1, 0, 0);
    while i < bytes.len() {
        match bytes[i] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'\n' => (line, line_start) = (line + 1, i + 1),
            b'/' if bytes.get(i + 1) == Some(&b'/') => i = end_of_comment(bytes, i) - 1,
            b'"' => i = end_of_string(bytes, i),
            _ => {}
        }
        if depth > MAX_NESTING {
            let why = format!("brackets nest deeper than {MAX_NESTING}");
            return Err(ParseError {
                line,
                column: i - line_start + 1,
                why,
            });
        }
        i += 1;
    }
    Ok(())
}

/// Position of the line's end.
fn end_of_comment(bytes: &[u8], from: usize) -> usize {
    bytes[from..]
        .iter()
        .position(|b| *b == b'\n')
        .map_or(bytes.len(), |n| from + n)
}

/// Position of the closing quote.
fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut i = from + 1;
    while i < bytes.len() && bytes[i] != b'"' {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    i
}

/// The children of a node, taken in the order of the grammar.
struct Children<'a> {
    pairs: Pairs<'a, Rule>,
    parent: Syntax<'a>,
}

impl<'a> Children<'a> {
    fn of(pair: Syntax<'a>) -> Self {
        Children {
            pairs: pair.clone().into_inner(),
            parent: pair,
        }
    }

    fn next(&mut self) -> Parsed<Syntax<'a>> {
        self.pairs
            .next()
            .ok_or_else(|| error(&self.parent, "this is incomplete"))
    }

    fn next_if(&mut self, rule: Rule) -> Option<Syntax<'a>> {
        (self.pairs.peek()?.as_rule() == rule)
            .then(|| self.pairs.next())
            .flatten()
    }

    fn while_is(&mut self, rule: Rule) -> Vec<Syntax<'a>> {
        std::iter::from_fn(|| self.next_if(rule)).collect()
    }
}

fn number<N: FromStr>(pair: &Syntax<'_>) -> Parsed<N> {
    pair.as_str()
        .parse()
        .map_err(|_| error(pair, "this number is out of range"))
}

fn float(pair: &Syntax<'_>) -> Parsed<f64> {
    parse_hex(pair.as_str()).ok_or_else(|| error(pair, "this is not the canonical form of a float"))
}

fn string(pair: &Syntax<'_>) -> Parsed<String> {
    let chars = pair.clone().into_inner().next().map_or("", |p| p.as_str());
    unquote(chars).ok_or_else(|| error(pair, "an escape is no character"))
}

/// The name of a local or symbol.
fn name(pair: Syntax<'_>) -> Parsed<String> {
    let inner = Children::of(pair).next()?;
    match inner.as_rule() {
        Rule::string => string(&inner),
        _ => Ok(inner.as_str().to_owned()),
    }
}

fn visibility(pair: &Syntax<'_>) -> Visibility {
    match pair.as_str() {
        "public" => Visibility::Public,
        "private" => Visibility::Private,
        _ => Visibility::Committed,
    }
}

fn item(module: &mut Module, pair: Syntax<'_>) -> Parsed<()> {
    let rule = pair.as_rule();
    let mut c = Children::of(pair.clone());
    let fresh = match rule {
        Rule::header => {
            module.name = string(&c.next()?)?;
            if c.next()?.as_str() == "quantised" {
                module.stage = Stage::Quantised;
            }
            true
        }
        Rule::dim_decl => {
            let name = c.next()?;
            let (min, max) = (number(&c.next()?)?, number(&c.next()?)?);
            let before = c.next_if(Rule::ident).map(|tokens| tokens.as_str().to_owned());
            dim_name(name.as_str()).ok_or_else(|| error(&name, "this word is no name of a dimension"))?;
            module
                .dims
                .insert(name.as_str().to_owned(), DimRange { min, max, before })
                .is_none()
        }
        Rule::weight_decl => {
            let (name, ty, visibility) = (name(c.next()?)?, ty(c.next()?)?, visibility(&c.next()?));
            let stack = over(c.next_if(Rule::over))?;
            let call = c.next()?;
            let recipe = term(call.clone())?.recipe().map_err(|why| error(&call, why))?;
            let abs_sum = c.next_if(Rule::abs_sum).map(abs_sum).transpose()?;
            module
                .weights
                .insert(
                    name,
                    Weight {
                        ty,
                        stack,
                        visibility,
                        recipe,
                        abs_sum,
                    },
                )
                .is_none()
        }
        Rule::table_decl => {
            let (name, table) = table(c)?;
            module.tables.insert(name, Arc::new(table)).is_none()
        }
        Rule::state_decl => {
            let (name, ty, visibility) = (name(c.next()?)?, ty(c.next()?)?, visibility(&c.next()?));
            let stack = over(c.next_if(Rule::over))?;
            let axis = number(&c.next()?)?;
            module
                .states
                .insert(
                    name,
                    State {
                        ty,
                        stack,
                        axis,
                        visibility,
                    },
                )
                .is_none()
        }
        Rule::entry => {
            let name = string(&c.next()?)?;
            module.entries.insert(name, EntryReader::default().read(c)?).is_none()
        }
        _ => true,
    };
    if fresh {
        Ok(())
    } else {
        Err(error(&pair, "this name is declared twice"))
    }
}

fn over(pair: Option<Syntax<'_>>) -> Parsed<Vec<StackAxis>> {
    let axes = pair.into_iter().flat_map(Pair::into_inner);
    axes.map(|axis| {
        let mut c = Children::of(axis);
        Ok(StackAxis {
            index: c.next()?.as_str().to_owned(),
            count: number(&c.next()?)?,
        })
    })
    .collect()
}

fn abs_sum(pair: Syntax<'_>) -> Parsed<AbsSum> {
    let mut c = Children::of(pair);
    let axes = c.next()?;
    let axes = term(axes.clone())?.number_list().map_err(|why| error(&axes, why))?;
    Ok(AbsSum {
        axes,
        bound: number(&c.next()?)?,
    })
}

fn table(mut c: Children<'_>) -> Parsed<(String, Table)> {
    let name = name(c.next()?)?;
    let (bits, bias, hash) = (number(&c.next()?)?, number(&c.next()?)?, c.next()?);
    let mut values: Vec<i32> = Vec::new();
    for run in c.while_is(Rule::run) {
        let mut parts = Children::of(run.clone());
        let first: i32 = number(&parts.next()?)?;
        let more = parts.pairs.next();
        let room = (1usize << MAX_TABLE_BITS) - values.len().min(1 << MAX_TABLE_BITS);
        let too_many = || error(&run, "a table has at most 2^16 values");
        match more.map(|m| (m.as_rule(), m.into_inner().next())) {
            Some((Rule::repeated, Some(count))) => {
                let count: usize = number(&count)?;
                if count > room {
                    return Err(too_many());
                }
                values.extend(std::iter::repeat_n(first, count));
            }
            Some((_, Some(last))) => {
                let last: i32 = number(&last)?;
                if i64::from(last) - i64::from(first) >= room as i64 {
                    return Err(too_many());
                }
                values.extend(first..=last);
            }
            _ => values.push(first),
        }
    }
    let found = values.len();
    let table = Table::new(bits, bias, values);
    let table = table.ok_or_else(|| error(&c.parent, format!("{found} values are not 2^{bits}, or too many")))?;
    if string(&hash)? != table.hash_text() {
        return Err(error(
            &hash,
            format!("the content hash of these values is {}", table.hash_text()),
        ));
    }
    Ok((name, table))
}

fn ty(pair: Syntax<'_>) -> Parsed<Type> {
    let mut c = Children::of(pair);
    let elem = Children::of(c.next()?).next()?;
    let mut e = Children::of(elem.clone());
    let elem = match elem.as_rule() {
        Rule::real => Elem::Real,
        Rule::mask => Elem::Mask,
        Rule::index => Elem::Index(number(&e.next()?)?),
        _ => Elem::Int(IntType {
            scale: float(&e.next()?)?,
            lo: number(&e.next()?)?,
            hi: number(&e.next()?)?,
        }),
    };
    let dims = c.next()?;
    let shape = term(dims.clone())?.dims().map_err(|why| error(&dims, why))?;
    Ok(Type {
        elem,
        shape: Shape(shape),
    })
}

/// A value: attribute, argument, list or call.
fn term(pair: Syntax<'_>) -> Parsed<Term> {
    let all = |pairs: Pairs<'_, Rule>| pairs.map(term).collect::<Parsed<Vec<Term>>>();
    Ok(match pair.as_rule() {
        Rule::value => term(Children::of(pair).next()?)?,
        Rule::float => Term::Float(float(&pair)?),
        Rule::string => Term::String(string(&pair)?),
        Rule::symbol => Term::Symbol(name(pair)?),
        Rule::list => Term::List(all(pair.into_inner())?),
        Rule::func => Term::Formula(formula(Children::of(pair).next()?)?),
        Rule::call => {
            let mut c = Children::of(pair);
            let name = c.next()?.as_str().to_owned();
            Term::Call(name, all(c.pairs)?)
        }
        Rule::floats => Term::Floats(tensor(pair, |p| {
            let value = float(p)?;
            let narrow = value as f32;
            let exact = value.is_nan() || f64::from(narrow).to_bits() == value.to_bits();
            exact.then_some(narrow).ok_or_else(|| error(p, "this is not an f32"))
        })?),
        Rule::ints => Term::Ints(tensor(pair, number)?),
        _ => Term::Text(pair.as_str().to_owned()),
    })
}

fn tensor<T>(pair: Syntax<'_>, read: impl Fn(&Syntax<'_>) -> Parsed<T>) -> Parsed<Tensor<T>> {
    let mut c = Children::of(pair.clone());
    let shape = term(c.next()?)?.number_list().map_err(|why| error(&pair, why))?;
    let data = c.pairs.map(|p| read(&p)).collect::<Parsed<Vec<T>>>()?;
    Tensor::new(shape, data).ok_or_else(|| error(&pair, "the number of elements is not the product of the axes"))
}

fn formula(pair: Syntax<'_>) -> Parsed<Formula> {
    let inner = Children::of(pair).next()?;
    match inner.as_rule() {
        Rule::float => Ok(Formula::Const(float(&inner)?)),
        Rule::var => {
            let digits = &inner.as_str()[1..];
            let canonical = digits.is_empty() || !digits.starts_with('0');
            let number = if digits.is_empty() {
                Some(0)
            } else {
                digits.parse().ok()
            };
            number
                .filter(|_| canonical)
                .map(Formula::Var)
                .ok_or_else(|| error(&inner, "variables are x, x1, x2, …"))
        }
        _ => applied(inner),
    }
}

fn applied(pair: Syntax<'_>) -> Parsed<Formula> {
    let mut c = Children::of(pair.clone());
    let name = c.next()?.as_str();
    let arguments = c.pairs.map(formula).collect::<Parsed<Vec<Formula>>>()?;
    let found = arguments.len();
    let made = if let (Some(op), Ok([a])) = (Unary::from_name(name), <[Formula; 1]>::try_from(arguments.clone())) {
        Some(Formula::unary(op, a))
    } else if let (Some(op), Ok([a, b])) = (Binary::from_name(name), <[Formula; 2]>::try_from(arguments.clone())) {
        Some(Formula::binary(op, a, b))
    } else if let ("select", Ok([c, a, b])) = (name, <[Formula; 3]>::try_from(arguments)) {
        Some(Formula::select(c, a, b))
    } else {
        None
    };
    made.ok_or_else(|| error(&pair, format!("there is no function `{name}` of {found} arguments")))
}

/// Reads one entry, giving values their numbers in the order in which a builder would.
#[derive(Default)]
struct EntryReader {
    entry: Entry,
    names: BTreeMap<String, ValueId>,
}

impl EntryReader {
    fn read(mut self, mut c: Children<'_>) -> Parsed<Entry> {
        for input in c.while_is(Rule::input) {
            let mut c = Children::of(input);
            let id = self.define(c.next()?)?;
            let port = Port {
                visibility: visibility(&c.next()?),
                name: string(&c.next()?)?,
            };
            self.entry.inputs.push(port);
            self.entry.body.params.push(id);
        }
        for node in c.while_is(Rule::node) {
            let node = self.node(node)?;
            self.entry.body.nodes.push(node);
        }
        for output in c.while_is(Rule::output) {
            let mut c = Children::of(output);
            let id = self.local(c.next()?)?;
            let port = Port {
                visibility: visibility(&c.next()?),
                name: string(&c.next()?)?,
            };
            self.entry.outputs.push(port);
            self.entry.body.results.push(id);
        }
        Ok(self.entry)
    }

    /// Defines a value written with its type.
    fn define(&mut self, pair: Syntax<'_>) -> Parsed<ValueId> {
        let mut c = Children::of(pair.clone());
        let (name, ty) = (name(c.next()?)?, ty(c.next()?)?);
        let id = ValueId(u32::try_from(self.entry.values.len()).map_err(|_| error(&pair, "too many values"))?);
        if self.names.insert(name.clone(), id).is_some() {
            return Err(error(&pair, format!("`%{name}` is defined twice")));
        }
        self.entry.values.push(Value { name, ty });
        Ok(id)
    }

    fn local(&self, pair: Syntax<'_>) -> Parsed<ValueId> {
        let name = name(pair.clone())?;
        self.names
            .get(&name)
            .copied()
            .ok_or_else(|| error(&pair, format!("`%{name}` is not defined before this")))
    }

    fn locals(&self, pair: Syntax<'_>) -> Parsed<Vec<ValueId>> {
        pair.into_inner().map(|p| self.local(p)).collect()
    }

    fn node(&mut self, pair: Syntax<'_>) -> Parsed<Node> {
        let mut c = Children::of(pair.clone());
        let results: Vec<Syntax<'_>> = c
            .next_if(Rule::results)
            .into_iter()
            .flat_map(Pair::into_inner)
            .collect();
        let name = c.next()?.as_str();
        let operands = self.locals(c.next()?)?;
        let mut attributes = BTreeMap::new();
        for attr in c.next_if(Rule::attrs).into_iter().flat_map(Pair::into_inner) {
            let mut a = Children::of(attr.clone());
            let key = a.next()?.as_str().to_owned();
            if attributes.insert(key, term(a.next()?)?).is_some() {
                return Err(error(&attr, "this attribute is given twice"));
            }
        }
        let body = c.next_if(Rule::body).map(|b| self.body(b)).transpose()?;
        let results = results
            .into_iter()
            .map(|r| self.define(r))
            .collect::<Parsed<Vec<ValueId>>>()?;
        let types = results.iter().map(|id| self.entry.ty(*id).clone()).collect();
        let op = operation(
            name,
            Written {
                attributes,
                results: types,
                body,
            },
        )
        .map_err(|why| error(&pair, why))?;
        let span = c.next_if(Rule::span).map(span).transpose()?;
        Ok(Node {
            op,
            operands,
            results,
            span,
        })
    }

    fn body(&mut self, pair: Syntax<'_>) -> Parsed<Region> {
        let mut c = Children::of(pair);
        let params = c
            .next()?
            .into_inner()
            .map(|p| self.define(p))
            .collect::<Parsed<Vec<ValueId>>>()?;
        let nodes = c
            .while_is(Rule::node)
            .into_iter()
            .map(|n| self.node(n))
            .collect::<Parsed<Vec<Node>>>()?;
        let operands = Children::of(c.next()?).next()?;
        Ok(Region {
            params,
            nodes,
            results: self.locals(operands)?,
        })
    }
}

fn span(pair: Syntax<'_>) -> Parsed<Span> {
    let mut c = Children::of(pair);
    Ok(Span {
        file: string(&c.next()?)?.into(),
        start: number(&c.next()?)?,
        end: number(&c.next()?)?,
    })
}
