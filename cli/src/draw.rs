//! Pictures of a circuit: inputs, weights, equations and outputs of an entry, as Graphviz DOT and as SVG.

use std::fmt::Write as _;

use mlc_circuit::{Circuit, Entry, FormTerm, Left, Operand, Outer, SiteRef, Source};

/// A node of the picture.
struct Node {
    title: String,
    detail: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Input,
    Weight,
    Equation,
    Output,
}

/// Nodes, and edges from reader to read as `(from, to)`.
struct Graph {
    nodes: Vec<Node>,
    edges: Vec<(usize, usize)>,
}

fn graph(circuit: &Circuit, entry: &Entry) -> Graph {
    let axes = |lens: &[mlc_circuit::Len]| {
        let one = |l: &mlc_circuit::Len| {
            let mut parts: Vec<String> = l
                .per_dim
                .iter()
                .map(|(d, k)| {
                    let name = circuit.dims.get(usize::from(*d)).map_or("?", |d| &d.name);
                    if *k == 1 { name.to_owned() } else { format!("{k}{name}") }
                })
                .collect();
            if l.constant != 0 || parts.is_empty() {
                parts.push(l.constant.to_string());
            }
            parts.join("+")
        };
        lens.iter().map(one).collect::<Vec<_>>().join("×")
    };
    let mut g = Graph {
        nodes: Vec::new(),
        edges: Vec::new(),
    };
    for input in &entry.inputs {
        g.nodes.push(Node {
            title: input.name.clone(),
            detail: format!("input {} in [{}, {}]", axes(&input.axes), input.lo, input.hi),
            kind: Kind::Input,
        });
    }
    let weights = g.nodes.len();
    for w in &circuit.weights {
        let outer: Vec<String> = w.outer.iter().chain([&w.row_len]).map(u32::to_string).collect();
        g.nodes.push(Node {
            title: w.name.clone(),
            detail: format!("weight {}, {} bits", outer.join("×"), w.bits),
            kind: Kind::Weight,
        });
    }
    let equations = g.nodes.len();
    for e in &entry.equations {
        let cells = match &e.left {
            Left::Cells(cells) => {
                let names: Vec<&str> = cells
                    .iter()
                    .map(|(_, s)| entry.segments[usize::from(*s)].name.as_str())
                    .collect();
                format!("commits {}", names.join(", "))
            }
            Left::Output(_) => "output".to_owned(),
        };
        g.nodes.push(Node {
            title: e.name.clone(),
            detail: format!("{} · {cells}", axes(&e.out)),
            kind: Kind::Equation,
        });
    }
    // Which equation writes a segment.
    let writer = |segment: u16| {
        entry.equations.iter().position(|e| match &e.left {
            Left::Cells(cells) => cells.iter().any(|(_, s)| *s == segment),
            Left::Output(_) => false,
        })
    };
    let mut edge = |from: usize, source: &Source| match source {
        Source::Input(i) => g.edges.push((from, usize::from(*i))),
        Source::Constant(_) | Source::Below(_) => {}
        Source::Lookup { site, .. } => {
            let segments: Vec<u16> = match site {
                SiteRef::Segment(s) => vec![*s],
                SiteRef::Virtual(v) => entry.sites[usize::from(*v)]
                    .index
                    .iter()
                    .filter_map(FormTerm::segment)
                    .collect(),
            };
            for w in segments.into_iter().filter_map(writer) {
                g.edges.push((from, equations + w));
            }
        }
    };
    let mut used = Vec::new();
    for (i, e) in entry.equations.iter().enumerate() {
        e.reads.iter().for_each(|r| edge(equations + i, &r.read.source));
        for operand in e.products.iter().flat_map(|p| [&p.a, &p.b]) {
            match operand {
                Operand::One => {}
                Operand::Reads(reads) => reads.iter().for_each(|r| edge(equations + i, &r.source)),
                Operand::Weight { weight, outer } => {
                    used.push((equations + i, weights + usize::from(*weight)));
                    used.extend(outer.iter().filter_map(|o| match o {
                        Outer::Selected { input, .. } => Some((equations + i, usize::from(*input))),
                        Outer::Axis { .. } | Outer::Found { .. } => None,
                    }));
                }
            }
        }
    }
    g.edges.extend(used);
    for (i, e) in entry.equations.iter().enumerate() {
        let output = match e.left {
            Left::Output(o) => Some(o),
            Left::Cells(_) => e.finds(),
        };
        if let Some(o) = output {
            let output = &entry.outputs[usize::from(o)];
            g.nodes.push(Node {
                title: output.name.clone(),
                detail: format!("output {}", axes(&output.axes)),
                kind: Kind::Output,
            });
            g.edges.push((g.nodes.len() - 1, equations + i));
        }
    }
    g.edges.sort_unstable();
    g.edges.dedup();
    g
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// The entry as Graphviz DOT.
pub(crate) fn dot(circuit: &Circuit, entry: usize) -> String {
    let entry = &circuit.entries[entry];
    let g = graph(circuit, entry);
    let mut out = format!(
        "digraph \"{}\" {{\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n",
        quoted(&circuit.name)
    );
    for (i, n) in g.nodes.iter().enumerate() {
        let style = match n.kind {
            Kind::Input | Kind::Output => ", style=rounded",
            Kind::Weight => ", style=dashed",
            Kind::Equation => "",
        };
        let _ = writeln!(
            out,
            "  n{i} [label=\"{}\\n{}\"{style}];",
            quoted(&n.title),
            quoted(&n.detail)
        );
    }
    for (reader, read) in &g.edges {
        let _ = writeln!(out, "  n{read} -> n{reader};");
    }
    out + "}\n"
}

const WIDTH: usize = 240;
const HEIGHT: usize = 44;
const GAP: usize = 28;

/// The entry as SVG: one row for each step from the inputs.
pub(crate) fn svg(circuit: &Circuit, entry: usize) -> String {
    let entry = &circuit.entries[entry];
    let g = graph(circuit, entry);
    let rows = rows(&g);
    let mut columns = vec![0usize; rows.iter().max().map_or(0, |r| r + 1)];
    let mut at = Vec::new();
    for row in &rows {
        at.push((columns[*row], *row));
        columns[*row] += 1;
    }
    let place = |i: usize| (GAP + at[i].0 * (WIDTH + GAP), GAP + at[i].1 * (HEIGHT + 2 * GAP));
    let width = GAP + columns.iter().max().unwrap_or(&0) * (WIDTH + GAP);
    let height = GAP + columns.len() * (HEIGHT + 2 * GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n"
    );
    for (reader, read) in &g.edges {
        let ((x1, y1), (x2, y2)) = (place(*read), place(*reader));
        let _ = writeln!(
            out,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{y2}\" stroke=\"#888\"/>",
            x1 + WIDTH / 2,
            y1 + HEIGHT,
            x2 + WIDTH / 2
        );
    }
    for (i, n) in g.nodes.iter().enumerate() {
        let (x, y) = place(i);
        let fill = match n.kind {
            Kind::Input | Kind::Output => "#dbeafe",
            Kind::Weight => "#fef3c7",
            Kind::Equation => "#f3f4f6",
        };
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"4\" fill=\"{fill}\" stroke=\"#555\"/>\n\
             <text x=\"{0}\" y=\"{1}\" font-weight=\"bold\">{2}</text>\n<text x=\"{0}\" y=\"{3}\">{4}</text>",
            x + 8,
            y + 17,
            escaped(&n.title),
            y + 35,
            escaped(&n.detail)
        );
    }
    out + "</svg>\n"
}

/// The row of each node: one below what it reads; weights stand just above their first reader.
fn rows(g: &Graph) -> Vec<usize> {
    let mut rows = vec![0usize; g.nodes.len()];
    // Equations are in order of execution, so each is placed after what it reads.
    for i in 0..g.nodes.len() {
        let below = g
            .edges
            .iter()
            .filter(|(reader, read)| *reader == i && g.nodes[*read].kind != Kind::Weight);
        rows[i] = below.map(|(_, read)| rows[*read] + 1).max().unwrap_or(rows[i]);
    }
    for i in 0..g.nodes.len() {
        if g.nodes[i].kind == Kind::Weight {
            let readers = g
                .edges
                .iter()
                .filter(|(_, read)| *read == i)
                .map(|(reader, _)| rows[*reader]);
            rows[i] = readers.min().unwrap_or(1).saturating_sub(1);
        }
    }
    rows
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
