//! The abstract syntax of a `.mlc` file.
//!
//! Every node has the span of the text it came from. Where the parser had to recover, it leaves an `Error` node and has
//! already reported why: later stages take such nodes silently, so that one mistake gives one diagnostic. An expression
//! knows its height, which the parser bounds by [`MAX_HEIGHT`], so that recursion over a tree is safe.

use super::Span;

/// The greatest height of an expression tree.
pub const MAX_HEIGHT: u32 = 160;

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    /// The name.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// A whole file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Module {
    /// `//!` lines, without the marks.
    pub docs: Vec<String>,
    /// Declarations in order.
    pub items: Vec<Item>,
}

/// A declaration at the top of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// `///` lines, without the marks.
    pub docs: Vec<String>,
    /// `@…` before it.
    pub annotations: Vec<Annotation>,
    /// What it declares.
    pub kind: ItemKind,
    /// From keyword to end.
    pub span: Span,
}

/// What an [`Item`] declares.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `import std.activation.{relu}`
    Import(Import),
    /// `model Name { … }`
    Model(Model),
    /// `block name(…) -> … { … }` or `fn name(…) -> … = …`
    Callable(Callable),
    /// `table relu(x) = max(x, 0)`
    Table(Table),
    /// `let pi = 3.14`
    Let(Let),
    /// Not parsed; the name, where one was seen, counts as declared.
    Error(Option<Ident>),
}

/// An import of a module, or of names from one.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// `std.activation`
    pub path: Vec<Ident>,
    /// The names in braces; `None` imports the module itself under its last name.
    pub names: Option<Vec<ImportName>>,
}

/// One imported name, `gelu` or `gelu as activation`.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportName {
    /// The name in the module.
    pub name: Ident,
    /// The name here.
    pub alias: Option<Ident>,
}

/// `model Name { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its name.
    pub name: Ident,
    /// What it declares, in order.
    pub members: Vec<Member>,
}

/// One declaration inside a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// `///` lines.
    pub docs: Vec<String>,
    /// `@…` before it.
    pub annotations: Vec<Annotation>,
    /// What it declares.
    pub kind: MemberKind,
    /// From keyword to end.
    pub span: Span,
}

/// What a [`Member`] declares.
#[derive(Clone, Debug, PartialEq)]
pub enum MemberKind {
    /// `config hidden: dim from "hidden_size" = 32`
    Config(ConfigDecl),
    /// `dim batch: runtime max 64`
    Dim(DimDecl),
    /// `let d = hidden / heads`
    Let(Let),
    /// A weight that all entries share.
    Weight(Weight),
    /// A state that entries read and append to.
    State(State),
    /// `where hidden % heads == 0`
    Where(Vec<Expr>),
    /// `entry main(…) -> (…) { … }`
    Entry(Entry),
    /// Not parsed.
    Error(Option<Ident>),
}

/// `config name: kind from "key" = default`
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigDecl {
    /// The name in this model.
    pub name: Ident,
    /// Its kind.
    pub ty: Type,
    /// Keys of config.json to take it from, joined by `or`; the name itself where absent.
    pub key: Option<Expr>,
    /// The value where no configuration gives one.
    pub default: Option<Expr>,
}

/// `dim name: runtime max bound`
#[derive(Clone, Debug, PartialEq)]
pub struct DimDecl {
    /// Its name, which the statement shows.
    pub name: Ident,
    /// The declared minimum; 1 where absent.
    pub min: Option<Expr>,
    /// The declared maximum.
    pub max: Expr,
    /// For what states hold: the dimension of what a run appends to them.
    pub before: Option<Ident>,
}

/// `entry name(inputs) -> (outputs) { body }`
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: Ident,
    /// Inputs.
    pub params: Vec<Param>,
    /// Outputs.
    pub results: Vec<Field>,
    /// What it computes.
    pub body: Body,
}

/// `block` or `fn`.
#[derive(Clone, Debug, PartialEq)]
pub struct Callable {
    /// Whether it may own weights and state.
    pub is_block: bool,
    /// Its name.
    pub name: Ident,
    /// Dimensions inferred from the arguments' shapes.
    pub generics: Vec<Generic>,
    /// Parameters.
    pub params: Vec<Param>,
    /// What it gives.
    pub result: ResultType,
    /// Constraints on dimensions.
    pub constraints: Vec<Expr>,
    /// What it computes.
    pub body: Body,
}

/// A generic dimension `d`, or a generic run of dimensions `..lead`.
#[derive(Clone, Debug, PartialEq)]
pub struct Generic {
    /// Whether it stands for any number of dimensions.
    pub rest: bool,
    /// Its name.
    pub name: Ident,
}

/// `table name(x, slope: real = 0.01) = formula`
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: Ident,
    /// The variable.
    pub variable: Ident,
    /// Compile-time parameters.
    pub params: Vec<Param>,
    /// The function's value at the variable.
    pub formula: Expr,
}

/// A parameter of a block, a function, a table or an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// `@…` before it.
    pub annotations: Vec<Annotation>,
    /// Its name.
    pub name: Ident,
    /// Only on entry inputs.
    pub visibility: Option<Visibility>,
    /// Its type.
    pub ty: Type,
    /// The value where no argument is given.
    pub default: Option<Expr>,
}

/// What a block or function gives.
#[derive(Clone, Debug, PartialEq)]
pub enum ResultType {
    /// One value.
    One(Type),
    /// Several named values.
    Many(Vec<Field>),
}

/// One named value of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// `@…` before it.
    pub annotations: Vec<Annotation>,
    /// Its name.
    pub name: Ident,
    /// Only on entry outputs.
    pub visibility: Option<Visibility>,
    /// Its type.
    pub ty: Type,
}

/// Who sees a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// In the statement.
    Public,
    /// Only the prover's.
    Private,
    /// Only the prover's, but bound by a commitment.
    Committed,
}

/// A type as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// What it is.
    pub kind: TypeKind,
    /// Whether `none` is allowed (`?`).
    pub optional: bool,
    /// Where it stands.
    pub span: Span,
}

/// What a [`Type`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeKind {
    /// A natural number with exact arithmetic.
    Dim,
    /// An integer.
    Int,
    /// A real number.
    Real,
    /// `true` or `false`.
    Bool,
    /// A string.
    String,
    /// An elementwise function.
    Table,
    /// A tensor.
    Tensor {
        /// What its elements are.
        element: Element,
        /// Its shape.
        shape: Vec<ShapeItem>,
    },
    /// Not parsed.
    Error,
}

/// What a tensor's elements are.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// Real numbers.
    Real,
    /// Naturals below a bound: tokens, classes.
    Index(Expr),
    /// Allowed or not.
    Mask,
}

/// One part of a shape.
#[derive(Clone, Debug, PartialEq)]
pub enum ShapeItem {
    /// A dimension.
    Dim(Expr),
    /// `..lead`: a run of dimensions.
    Rest(Ident),
}

/// `{ statements; value }`
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// Statements in order.
    pub statements: Vec<Statement>,
    /// The value, the last expression.
    pub result: Option<Box<Expr>>,
    /// With braces.
    pub span: Span,
}

/// One statement of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// `@…` before it.
    pub annotations: Vec<Annotation>,
    /// What it does.
    pub kind: StatementKind,
    /// From keyword to end.
    pub span: Span,
}

/// What a [`Statement`] does.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// `let y = …`
    Let(Let),
    /// `weight w: real[…] from "…"`
    Weight(Weight),
    /// `state keys: real[…] from "…"`
    State(State),
    /// `where a == b`
    Where(Vec<Expr>),
    /// `repeat l in 0..n carrying x { … }`
    Repeat(Repeat),
    /// Not parsed; the names count as declared.
    Error(Vec<Ident>),
}

/// `let pattern: type = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// One name, or several for a tuple.
    pub names: Vec<Ident>,
    /// Whether the names stood in parentheses.
    pub tuple: bool,
    /// The declared type.
    pub ty: Option<Type>,
    /// The value.
    pub value: Expr,
}

/// `weight name: committed real[…] from "…"`
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Its name.
    pub name: Ident,
    /// `committed` where absent.
    pub visibility: Option<Visibility>,
    /// A tensor type.
    pub ty: Type,
    /// Where its values come from.
    pub source: Expr,
}

/// `state name: real[…] from "…"`
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Its name.
    pub name: Ident,
    /// A tensor type.
    pub ty: Type,
    /// The dimension along which it grows.
    pub grows: Option<Expr>,
    /// The state's name in the statement, a template.
    pub source: Option<Expr>,
}

/// `repeat index in start..end carrying names { body }`
#[derive(Clone, Debug, PartialEq)]
pub struct Repeat {
    /// The index.
    pub index: Ident,
    /// The first.
    pub start: Expr,
    /// One past the last.
    pub end: Expr,
    /// What is carried from one turn to the next.
    pub carried: Vec<Ident>,
    /// Gives the carried values' next values.
    pub body: Body,
}

/// `@name(argument, key = argument)`
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Its name.
    pub name: Ident,
    /// Its arguments.
    pub args: Vec<Arg>,
    /// With the `@`.
    pub span: Span,
}

/// An argument, with its name where given.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// The parameter's name.
    pub name: Option<Ident>,
    /// The value.
    pub value: Expr,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
    /// Height of the tree below and with this node, at most [`MAX_HEIGHT`].
    pub height: u32,
}

/// What an [`Expr`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `64`
    Int(i64),
    /// `0.5`
    Real(f64),
    /// `"h.{l}.weight"`
    Str(Vec<StrPiece>),
    /// `true`
    Bool(bool),
    /// `none`
    None,
    /// `x`
    Name(String),
    /// `norm.rms_norm`, `"w".T`
    Field(Box<Expr>, Ident),
    /// `linear(x, out = 10)`
    Call(Box<Expr>, Vec<Arg>),
    /// `x[.., 0..4]`
    Index(Box<Expr>, Vec<IndexItem>),
    /// `-x`
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `if c { a } else { b }`
    If(Box<Expr>, Body, Option<Body>),
    /// `match act { "gelu" => …, _ => … }`
    Match(Box<Expr>, Vec<Arm>),
    /// `[batch, 64]`
    List(Vec<ShapeItem>),
    /// `(a, b)` or `(logits = a)`
    Tuple(Vec<Arg>),
    /// Not parsed.
    Error,
}

/// A piece of a string.
#[derive(Clone, Debug, PartialEq)]
pub enum StrPiece {
    /// Text.
    Text(String),
    /// `{expression}`
    Hole(Expr),
}

/// One part of an index.
#[derive(Clone, Debug, PartialEq)]
pub enum IndexItem {
    /// `:` — the whole axis.
    Full(Span),
    /// `..` — all axes not mentioned.
    Rest(Span),
    /// One position; the axis goes.
    At(Expr),
    /// `a..b`, either end open.
    Range(Option<Expr>, Option<Expr>, Span),
}

/// One arm of a `match`.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// Literals, any of which fits; none for `_`.
    pub patterns: Vec<Expr>,
    /// The value.
    pub value: Expr,
    /// The whole arm.
    pub span: Span,
}

/// An operator before its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum UnaryOp {
    Neg,
    Not,
}

/// An operator between its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}

impl BinaryOp {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
        }
    }
}
