//! Printing.

use std::fmt::{self, Write as _};

use super::attributes::attributes;
use super::float::hex;
use super::string::{quote, sigil};
use crate::graph::{Entry, Module, Node, Region, StackAxis, State, ValueId, Weight};
use crate::op::{Op, Repeat};
use crate::recipe::Recipe;
use crate::table::Table;
use crate::tensor::Tensor;

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "module {} {}", quote(&self.name), self.stage)?;
        section(f, &self.dims, |f, name, range| {
            write!(f, "dim {name}: {}..{}", range.min, range.max)?;
            if let Some(tokens) = &range.before {
                write!(f, " before {tokens}")?;
            }
            writeln!(f)
        })?;
        section(f, &self.weights, print_weight)?;
        section(f, &self.tables, |f, name, table| print_table(f, name, table))?;
        section(f, &self.states, print_state)?;
        for (name, entry) in &self.entries {
            writeln!(f)?;
            print_entry(f, name, entry)?;
        }
        Ok(())
    }
}

fn section<T>(
    f: &mut fmt::Formatter<'_>,
    items: &indexmap::IndexMap<String, T>,
    print: impl Fn(&mut fmt::Formatter<'_>, &str, &T) -> fmt::Result,
) -> fmt::Result {
    if !items.is_empty() {
        writeln!(f)?;
    }
    items.iter().try_for_each(|(name, item)| print(f, name, item))
}

fn over(stack: &[StackAxis]) -> String {
    if stack.is_empty() {
        return String::new();
    }
    let axes: Vec<String> = stack.iter().map(|a| format!("{} < {}", a.index, a.count)).collect();
    format!(" over ({})", axes.join(", "))
}

fn print_weight(f: &mut fmt::Formatter<'_>, name: &str, weight: &Weight) -> fmt::Result {
    let Weight {
        ty,
        stack,
        visibility,
        recipe,
        abs_sum,
    } = weight;
    write!(
        f,
        "weight {}: {ty} {visibility}{} = {}",
        sigil('@', name),
        over(stack),
        recipe_text(recipe)
    )?;
    if let Some(sum) = abs_sum {
        write!(f, " abs_sum {:?} <= {}", sum.axes, sum.bound)?;
    }
    writeln!(f)
}

fn print_state(f: &mut fmt::Formatter<'_>, name: &str, state: &State) -> fmt::Result {
    let State {
        ty,
        stack,
        axis,
        visibility,
    } = state;
    writeln!(
        f,
        "state {}: {ty} {visibility}{} axis {axis}",
        sigil('@', name),
        over(stack)
    )
}

/// Values as runs: `7 x 100` (equal), `-3..4` (ascending by one), or single.
fn print_table(f: &mut fmt::Formatter<'_>, name: &str, table: &Table) -> fmt::Result {
    let head = format!("table {} bits {} bias {}", sigil('@', name), table.bits(), table.bias());
    write!(f, "{head} hash {} = [", quote(&table.hash_text()))?;
    let mut rest = table.values();
    let mut first = true;
    while let Some(&value) = rest.first() {
        let step_run = |step: i32| {
            let follows = |w: &&[i32]| w[0].checked_add(step) == Some(w[1]);
            1 + rest.windows(2).take_while(follows).count()
        };
        let (equal, ascending) = (step_run(0), step_run(1));
        if !first {
            f.write_str(", ")?;
        }
        first = false;
        let taken = if equal > 2 {
            write!(f, "{value} x {equal}")?;
            equal
        } else if ascending > 2 {
            write!(f, "{value}..{}", rest[ascending - 1])?;
            ascending
        } else {
            write!(f, "{value}")?;
            1
        };
        rest = &rest[taken..];
    }
    writeln!(f, "]")
}

fn print_entry(f: &mut fmt::Formatter<'_>, name: &str, entry: &Entry) -> fmt::Result {
    writeln!(f, "entry {} {{", quote(name))?;
    for (port, id) in entry.inputs.iter().zip(&entry.body.params) {
        writeln!(
            f,
            "  input {} {} {}",
            typed(entry, *id),
            port.visibility,
            quote(&port.name)
        )?;
    }
    print_nodes(f, entry, &entry.body, 1)?;
    for (port, id) in entry.outputs.iter().zip(&entry.body.results) {
        writeln!(
            f,
            "  output {} {} {}",
            local(entry, *id),
            port.visibility,
            quote(&port.name)
        )?;
    }
    writeln!(f, "}}")
}

fn local(entry: &Entry, id: ValueId) -> String {
    sigil('%', &entry.value(id).name)
}

fn typed(entry: &Entry, id: ValueId) -> String {
    format!("{}: {}", local(entry, id), entry.ty(id))
}

fn joined(ids: &[ValueId], text: impl Fn(ValueId) -> String) -> String {
    ids.iter().map(|id| text(*id)).collect::<Vec<_>>().join(", ")
}

fn print_nodes(f: &mut fmt::Formatter<'_>, entry: &Entry, region: &Region, depth: usize) -> fmt::Result {
    for node in &region.nodes {
        print_node(f, entry, node, depth)?;
    }
    Ok(())
}

fn print_node(f: &mut fmt::Formatter<'_>, entry: &Entry, node: &Node, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    f.write_str(&indent)?;
    if !node.results.is_empty() {
        write!(f, "{} = ", joined(&node.results, |id| typed(entry, id)))?;
    }
    write!(
        f,
        "{}({})",
        node.op.name(),
        joined(&node.operands, |id| local(entry, id))
    )?;
    let attributes = attributes(&node.op);
    if !attributes.is_empty() {
        let list: Vec<String> = attributes
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        write!(f, " {{{}}}", list.join(", "))?;
    }
    if let Op::Repeat(repeat) = &node.op {
        let Repeat { body, .. } = repeat.as_ref();
        writeln!(f, " do ({}) {{", joined(&body.params, |id| typed(entry, id)))?;
        print_nodes(f, entry, body, depth + 1)?;
        writeln!(f, "{indent}  yield ({})", joined(&body.results, |id| local(entry, id)))?;
        write!(f, "{indent}}}")?;
    }
    if let Some(span) = &node.span {
        write!(f, " at {}:{}..{}", quote(&span.file), span.start, span.end)?;
    }
    writeln!(f)
}

/// `f32[2]{0x1p0, 0x1p1}`.
pub(super) fn floats(tensor: &Tensor<f32>) -> String {
    let mut text = format!("f32{:?}{{", tensor.shape);
    for (i, value) in tensor.data.iter().enumerate() {
        let _ = write!(text, "{}{}", if i > 0 { ", " } else { "" }, hex(f64::from(*value)));
    }
    text + "}"
}

/// `i64[2]{1, -2}`.
pub(super) fn ints(tensor: &Tensor<i64>) -> String {
    let mut text = format!("i64{:?}{{", tensor.shape);
    for (i, value) in tensor.data.iter().enumerate() {
        let _ = write!(text, "{}{value}", if i > 0 { ", " } else { "" });
    }
    text + "}"
}

/// A recipe as a call: `transpose(tensor("w", [3, 4]), [1, 0])`.
pub(super) fn recipe_text(recipe: &Recipe) -> String {
    let all = |inputs: &[Recipe]| inputs.iter().map(recipe_text).collect::<Vec<_>>().join(", ");
    match recipe {
        Recipe::Tensor { name, shape } => format!("tensor({}, {shape:?})", quote(&name.to_string())),
        Recipe::Const(tensor) => format!("const({})", floats(tensor)),
        Recipe::Slice {
            input,
            axis,
            start,
            len,
            step,
        } => {
            format!("slice({}, {axis}, {start}, {len}, {step})", recipe_text(input))
        }
        Recipe::Transpose { input, perm } => format!("transpose({}, {perm:?})", recipe_text(input)),
        Recipe::Reshape { input, shape } => format!("reshape({}, {shape:?})", recipe_text(input)),
        Recipe::Map { formula, inputs } => format!("map(fn {formula}, {})", all(inputs)),
        Recipe::Concat { axis, inputs } => format!("concat({axis}, {})", all(inputs)),
        Recipe::Contract { einsum, lhs, rhs } => {
            format!(
                "contract({}, {}, {})",
                quote(&einsum.to_string()),
                recipe_text(lhs),
                recipe_text(rhs)
            )
        }
        Recipe::Stack { index, items } => format!("stack({index}, {})", all(items)),
        Recipe::FirstOf(options) => format!("first_of({})", all(options)),
    }
}
