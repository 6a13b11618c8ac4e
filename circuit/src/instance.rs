//! A circuit family at given run-time dimensions: concrete shapes and the layout of everything that is committed.
//!
//! Three flat spaces are laid out here, alike for prover and verifier:
//! - **cells** of each committed tree: of the witness (the committed cells of all segments, those with a table first), and
//!   in a chain those that this link and each earlier one append to segments that grow;
//! - **leaves** of the LogUp fraction tree: the looked-up witness cells at their own positions, then the virtual
//!   sites and the cells of the other trees, then the used tables (one leaf per key);
//! - **channels**: what is committed per table after the claims are known: a multiplicity vector (for sites checked
//!   cell by cell), and for each column that is read a pushforward vector of extension elements.

use alloc::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use crate::chain::{self, CellTree, MAX_LINKS};
use crate::{BlockLayout, Circuit, Entry, Equation, Label, Len, Read, SiteRef, Source, Table, bits_for};

/// Why a circuit cannot be instantiated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstanceError {
    /// No such entry.
    #[error("the circuit has no entry number {0}")]
    Entry(usize),
    /// The number of run-time dimensions differs.
    #[error("the circuit has {expected} run-time dimensions, {given} were given")]
    DimCount {
        /// Of the circuit.
        expected: usize,
        /// In the request.
        given: usize,
    },
    /// A dimension is zero or beyond the maximum for which bounds are proved.
    #[error("run-time dimension '{name}' is {value}, the circuit allows 1 to {max}")]
    DimRange {
        /// The dimension.
        name: String,
        /// Its value.
        value: u32,
        /// Its declared maximum.
        max: u32,
    },
    /// `past` and `tokens` together are beyond the maximum for which bounds are proved.
    #[error("{past} earlier and {tokens} new {name} are more than the {max} that the circuit allows")]
    Context {
        /// The dimension of what is appended.
        name: String,
        /// Appended by earlier links.
        past: u32,
        /// Appended by this one.
        tokens: u32,
        /// The most of both.
        max: u32,
    },
    /// The lengths of the earlier links do not add up to `past`.
    #[error(
        "{links} earlier links of a chain with {sum} indices in all do not make a past of {past} (at most {MAX_LINKS} links, none of them empty)"
    )]
    Links {
        /// Number of links.
        links: usize,
        /// Sum of their lengths.
        sum: u64,
        /// The dimension.
        past: u32,
    },
    /// A tensor is empty or too large.
    #[error("'{name}' has an empty axis or more than 2^29 cells at these dimensions")]
    Size {
        /// The tensor.
        name: String,
    },
}

/// What is committed for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChannelKind {
    /// How often each key is looked up by sites checked cell by cell (base field).
    Multiplicity,
    /// The pushforward of the claims on this column (extension field).
    Column(u8),
}

/// A vector over the keys of a table, committed after the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// The table.
    pub table: u16,
    /// What it counts.
    pub kind: ChannelKind,
    /// Power of the channel challenge that multiplies it in the fraction tree.
    pub theta: u32,
    /// Position of its first cell in the committed pushforward cells; extension vectors are four consecutive base
    /// vectors of the table's length.
    pub cells_offset: usize,
    /// Position in the space of column channels (only for columns).
    pub column_offset: usize,
}

/// The lookups of one site in the leaf space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteShape {
    /// Which lookups.
    pub site: SiteRef,
    /// The table.
    pub table: u16,
    /// Whether each is counted in the table's multiplicities.
    pub ranged: bool,
    /// Position in the leaf space.
    pub layout: BlockLayout,
}

/// A committed vector of cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellVector {
    /// Which.
    pub tree: CellTree,
    /// Its length, gaps included.
    pub cells: usize,
}

/// A family at given dimensions.
#[derive(Debug, Clone)]
pub struct Instance<'c> {
    /// The family.
    pub circuit: &'c Circuit,
    /// Index of the entry.
    pub entry_index: usize,
    /// The entry, as this link of a chain sees it.
    pub entry: Cow<'c, Entry>,
    /// Values of the run-time dimensions.
    pub dims: Vec<u32>,
    /// Lengths of the earlier links of the chain.
    pub links: Vec<u32>,
    /// Shapes of the inputs.
    pub inputs: Vec<Vec<usize>>,
    /// Shapes of the outputs.
    pub outputs: Vec<Vec<usize>>,
    /// Layout of each segment in its vector.
    pub segments: Vec<BlockLayout>,
    /// Per segment, the number of its vector.
    pub vector_of: Vec<usize>,
    /// The vectors of cells that are committed, those without cells left out: witness, appended, earlier links.
    pub vectors: Vec<CellVector>,
    /// All lookups: segments with a table, then virtual sites.
    pub sites: Vec<SiteShape>,
    /// Used tables with their leaf offset, largest first.
    pub tables: Vec<(u16, usize)>,
    /// Length of the leaf space, gaps included.
    pub leaves: usize,
    /// Committed vectors per table.
    pub channels: Vec<Channel>,
    /// Number of pushforward cells (base field).
    pub channel_cells: usize,
    /// Length of the space of column channels.
    pub column_cells: usize,
}

/// Of a tensor, of an iteration space, and of all that an entry commits: sums of lengths stay below 2^31, and indices of
/// cells, bytes of base elements too, fit in 32 bits.
const MAX_CELLS: usize = 1 << 29;
/// Below p: see where it is compared.
const MAX_LEAVES: usize = 1 << 30;

/// The error of a part that is too large.
pub(crate) fn too_large(name: &str) -> InstanceError {
    InstanceError::Size { name: name.into() }
}

fn shape(name: &str, axes: &[Len], dims: &[u32]) -> Result<Vec<usize>, InstanceError> {
    let err = || too_large(name);
    let lens = axes
        .iter()
        .map(|l| l.at(dims).filter(|&n| n > 0))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(err)?;
    let size = lens.iter().try_fold(1usize, |a, &n| a.checked_mul(n)).ok_or_else(err)?;
    if size > MAX_CELLS { Err(err()) } else { Ok(lens) }
}

fn align(at: usize, block_bits: u32) -> usize {
    at.next_multiple_of(1 << block_bits)
}

fn largest_block(layouts: &[BlockLayout]) -> u32 {
    layouts.iter().map(BlockLayout::block_bits).max().unwrap_or(0)
}

/// Every (site, column) that an entry's equations read.
fn columns_read(entry: &Entry) -> BTreeSet<(SiteRef, u8)> {
    let reads = entry.equations.iter().flat_map(Equation::all_reads);
    let column = |r: &Read| match r.source {
        Source::Lookup { site, column } => Some((site, column)),
        Source::Input(_) | Source::Constant(_) | Source::Below(_) => None,
    };
    reads.filter_map(column).collect()
}

impl Circuit {
    /// The family at dimensions `dims`; where there is a cache, what is there already is the work of one link.
    pub fn instantiate(&self, entry: usize, dims: &[u32]) -> Result<Instance<'_>, InstanceError> {
        let past = self.chain_dims().and_then(|d| dims.get(usize::from(d.past)).copied());
        let links: Vec<u32> = past.filter(|&n| n > 0).into_iter().collect();
        self.instantiate_link(entry, dims, &links)
    }

    /// The family at dimensions `dims`, as the link of a chain that follows links of the lengths `links`.
    pub fn instantiate_link(&self, entry: usize, dims: &[u32], links: &[u32]) -> Result<Instance<'_>, InstanceError> {
        let entry_index = entry;
        let entry = self.entries.get(entry).ok_or(InstanceError::Entry(entry))?;
        if dims.len() != self.dims.len() {
            return Err(InstanceError::DimCount {
                expected: self.dims.len(),
                given: dims.len(),
            });
        }
        for (d, &value) in self.dims.iter().zip(dims) {
            if (value == 0 && d.before.is_none()) || value > d.max {
                return Err(InstanceError::DimRange {
                    name: d.name.clone(),
                    value,
                    max: d.max,
                });
            }
        }
        self.check_links(dims, links)?;
        let chain::AtLink { entry, trees } = chain::at(self, entry, dims, links)?;
        let inputs = entry
            .inputs
            .iter()
            .map(|i| shape(&i.name, &i.axes, dims))
            .collect::<Result<Vec<_>, _>>()?;
        let outputs = entry
            .outputs
            .iter()
            .map(|o| shape(&o.name, &o.axes, dims))
            .collect::<Result<Vec<_>, _>>()?;
        for e in &entry.equations {
            shape(&e.name, &e.out, dims)?;
            for r in &e.reads {
                shape(&e.name, &e.iterations(&r.reduce), dims)?;
            }
            for p in &e.products {
                shape(&e.name, &p.group, dims)?;
            }
        }

        let CellSpace {
            segments,
            vector_of,
            vectors,
            looked_up,
        } = CellSpace::new(&entry, &trees, dims)?;

        // Leaves: looked-up cells of the witness, lookups with leaves of their own, tables.
        let mut sites: Vec<SiteShape> = entry
            .segments
            .iter()
            .zip(&segments)
            .enumerate()
            .filter_map(|(i, (s, l))| {
                Some(SiteShape {
                    site: SiteRef::Segment(i as u16),
                    table: s.table?,
                    ranged: s.ranged,
                    layout: l.clone(),
                })
            })
            .collect();
        for (i, s) in entry.sites.iter().enumerate() {
            sites.push(SiteShape {
                site: SiteRef::Virtual(i as u16),
                table: s.table,
                ranged: s.ranged,
                layout: BlockLayout::new(shape(&s.name, &s.axes, dims)?),
            });
        }
        let own_leaves = |s: &SiteShape| match s.site {
            SiteRef::Segment(id) => trees[usize::from(id)] != CellTree::Witness,
            SiteRef::Virtual(_) => true,
        };
        let (behind, mut placed): (Vec<usize>, Vec<BlockLayout>) = sites
            .iter()
            .enumerate()
            .filter(|(_, s)| own_leaves(s))
            .map(|(i, s)| (i, s.layout.clone()))
            .unzip();
        let start = if placed.is_empty() {
            looked_up
        } else {
            align(looked_up, largest_block(&placed))
        };
        let mut at = BlockLayout::place(&mut placed, start).ok_or_else(|| too_large("the lookups"))?;
        for (i, layout) in behind.into_iter().zip(placed) {
            sites[i].layout = layout;
        }
        let used: BTreeSet<u16> = sites.iter().map(|s| s.table).collect();
        let mut used: Vec<u16> = used.into_iter().collect();
        used.sort_by_key(|&t| core::cmp::Reverse(self.tables[t as usize].log_rows));
        if let Some(&first) = used.first() {
            at = align(at, self.tables[first as usize].log_rows.into());
        }
        let mut tables = Vec::with_capacity(used.len());
        for t in used {
            tables.push((t, at));
            at += self.tables[t as usize].rows();
        }

        // Channels, in the order of the tables (largest first), so that every vector is aligned.
        let table_of: BTreeMap<SiteRef, u16> = sites.iter().map(|s| (s.site, s.table)).collect();
        let counted: BTreeSet<u16> = sites.iter().filter(|s| s.ranged).map(|s| s.table).collect();
        let read: BTreeSet<(u16, u8)> = columns_read(&entry)
            .into_iter()
            .filter_map(|(site, column)| Some((*table_of.get(&site)?, column)))
            .collect();
        let (mut channels, mut channel_cells, mut column_cells) = (Vec::new(), 0, 0);
        for &(table, _) in &tables {
            let rows = self.tables[table as usize].rows();
            let mut theta = 0;
            if counted.contains(&table) {
                channels.push(Channel {
                    table,
                    kind: ChannelKind::Multiplicity,
                    theta,
                    cells_offset: channel_cells,
                    column_offset: 0,
                });
                channel_cells += rows;
                theta += 1;
            }
            for &(_, column) in read.range((table, 0)..=(table, u8::MAX)) {
                let kind = ChannelKind::Column(column);
                channels.push(Channel {
                    table,
                    kind,
                    theta,
                    cells_offset: channel_cells,
                    column_offset: column_cells,
                });
                channel_cells += 4 * rows;
                column_cells += rows;
                theta += 1;
            }
            // Table by table, so that no sum passes 32 bits.
            if channel_cells > MAX_LEAVES {
                return Err(too_large("the lookups"));
            }
        }
        // Fewer lookups than p: a multiplicity cannot wrap.
        if at > MAX_LEAVES {
            return Err(too_large("the lookups"));
        }
        let instance = Instance {
            circuit: self,
            entry_index,
            entry,
            dims: dims.to_vec(),
            links: links.to_vec(),
            inputs,
            outputs,
            segments,
            vector_of,
            vectors,
            sites,
            tables,
            leaves: at,
            channels,
            channel_cells,
            column_cells,
        };
        instance.check_cost()?;
        Ok(instance)
    }
}

/// Where the cells of all segments lie.
struct CellSpace {
    segments: Vec<BlockLayout>,
    vector_of: Vec<usize>,
    vectors: Vec<CellVector>,
    /// The end of the witness' cells that are looked up.
    looked_up: usize,
}

impl CellSpace {
    /// Segments with a table come first, so that in the witness their positions are also their leaves.
    fn new(entry: &Entry, trees: &[CellTree], dims: &[u32]) -> Result<Self, InstanceError> {
        let mut segments = Vec::with_capacity(entry.segments.len());
        for s in &entry.segments {
            segments.push(BlockLayout::new(shape(&s.name, &s.axes, dims)?));
        }
        let mut vector_of = alloc::vec![0; segments.len()];
        let mut vectors = Vec::new();
        let (mut total, mut looked_up) = (0usize, 0);
        let distinct: BTreeSet<CellTree> = trees.iter().copied().collect();
        for tree in distinct {
            let mut end = 0;
            for with_table in [true, false] {
                let ids: Vec<usize> = (0..segments.len())
                    .filter(|&i| trees[i] == tree && entry.segments[i].table.is_some() == with_table)
                    .collect();
                let mut part: Vec<BlockLayout> = ids.iter().map(|&i| segments[i].clone()).collect();
                let start = align(end, largest_block(&part));
                end = BlockLayout::place(&mut part, start)
                    .filter(|&end| end <= MAX_CELLS)
                    .ok_or_else(|| too_large("the witness"))?;
                for (i, l) in ids.into_iter().zip(part) {
                    segments[i] = l;
                    vector_of[i] = vectors.len();
                }
                if with_table && tree == CellTree::Witness {
                    looked_up = end;
                }
            }
            total = total.saturating_add(end);
            vectors.push(CellVector { tree, cells: end });
        }
        if total > MAX_CELLS {
            return Err(too_large("the witness"));
        }
        Ok(Self {
            segments,
            vector_of,
            vectors,
            looked_up,
        })
    }
}

impl Circuit {
    /// Checks the lengths of earlier links against the dimensions.
    fn check_links(&self, dims: &[u32], links: &[u32]) -> Result<(), InstanceError> {
        let sum = links.iter().fold(0u64, |sum, &n| sum + u64::from(n));
        let chain = self.chain_dims();
        let past = chain.map_or(0, |d| dims[usize::from(d.past)]);
        if sum != u64::from(past) || links.contains(&0) || links.len() > MAX_LINKS {
            let links = links.len();
            return Err(InstanceError::Links { links, sum, past });
        }
        if let Some(d) = chain {
            let (tokens, max) = (dims[usize::from(d.tokens)], self.dims[usize::from(d.past)].max);
            if past.saturating_add(tokens) > max {
                return Err(InstanceError::Context {
                    name: self.dims[usize::from(d.tokens)].name.clone(),
                    past,
                    tokens,
                    max,
                });
            }
        }
        Ok(())
    }
}

impl<'c> Instance<'c> {
    /// Committed cells of all vectors, gaps included.
    pub fn cells(&self) -> usize {
        self.vectors.iter().map(|v| v.cells).sum()
    }

    /// The segments of one vector, ascending.
    pub fn segments_of(&self, tree: CellTree) -> impl Iterator<Item = usize> + '_ {
        let vector = self.vectors.iter().position(|v| v.tree == tree);
        (0..self.segments.len()).filter(move |&i| Some(self.vector_of[i]) == vector)
    }

    /// Concrete lengths of axes (which instantiation has checked).
    pub fn lens(&self, axes: &[Len]) -> Vec<usize> {
        axes.iter().map(|l| l.at(&self.dims).unwrap_or(0)).collect()
    }

    /// Shape of an equation's output.
    pub fn out(&self, e: &Equation) -> Vec<usize> {
        self.lens(&e.out)
    }

    /// The table with this id.
    pub fn table(&self, id: u16) -> &'c Table {
        &self.circuit.tables[id as usize]
    }

    /// The site's shape in the leaf space.
    pub fn site(&self, site: SiteRef) -> Option<&SiteShape> {
        // Segments come first, then virtual sites, each ascending, whatever the order of their leaves.
        let at = self.sites.binary_search_by_key(&site, |s| s.site).ok()?;
        self.sites.get(at)
    }

    /// The channel of (table, kind).
    pub fn channel(&self, table: u16, kind: ChannelKind) -> Option<&Channel> {
        // As they are laid out: by tables, largest first, and inside a table by kind.
        let key = |table: u16, kind: ChannelKind| (core::cmp::Reverse(self.table(table).log_rows), table, kind);
        let own = key(table, kind);
        let at = self
            .channels
            .binary_search_by_key(&own, |c| key(c.table, c.kind))
            .ok()?;
        self.channels.get(at)
    }

    /// Shape of a source tensor.
    pub fn source_shape(&self, source: Source) -> Vec<usize> {
        match source {
            Source::Input(i) => self.inputs[i as usize].clone(),
            Source::Constant(k) => {
                let axes = &self.circuit.constants[k as usize].axes;
                axes.iter().map(|&n| n as usize).collect()
            }
            Source::Below(o) => {
                let rows = self.outputs[o as usize].iter().copied();
                let scores = match self.entry.outputs[o as usize].label {
                    Label::Index(n) => n as usize,
                    Label::None | Label::ArgMax => 0,
                };
                rows.chain([scores]).collect()
            }
            Source::Lookup { site, .. } => self.site(site).map(|s| s.layout.shape.clone()).unwrap_or_default(),
        }
    }

    /// Number of lookups.
    pub fn lookups(&self) -> usize {
        self.sites.iter().map(|s| s.layout.len()).sum()
    }
}

/// The layout of all weights in one committed matrix: rows are the low bits of the contraction axis; columns are the
/// outer axes and the high part of the contraction axis, blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightLayout {
    /// log2 of the number of rows.
    pub row_bits: u32,
    /// Per weight, the layout over `outer ++ [high part of the contraction axis]`.
    pub columns: Vec<BlockLayout>,
    /// Number of columns used.
    pub used_columns: usize,
}

impl WeightLayout {
    /// The layout of a circuit's weights, whose number [`check`](crate::check) bounds. It depends on the family alone:
    /// `row_bits` weighs opened columns (2^r cells each) against columns (which the recursion carries) and cells lost to
    /// padding the contraction axis.
    pub fn new(circuit: &Circuit) -> Self {
        let with = |row_bits: u32| {
            let mut columns: Vec<BlockLayout> = circuit
                .weights
                .iter()
                .map(|w| {
                    let high = (w.row_len as usize).div_ceil(1 << row_bits);
                    BlockLayout::new(w.outer.iter().map(|&n| n as usize).chain([high]).collect())
                })
                .collect();
            let used_columns = BlockLayout::place(&mut columns, 0)?;
            Some(Self {
                row_bits,
                columns,
                used_columns,
            })
        };
        let cost = |l: &Self| {
            let opened = 440u64 << l.row_bits;
            let carried = 1760u64 << bits_for(l.used_columns).div_ceil(3);
            opened + carried + ((l.used_columns as u64) << l.row_bits) / 64
        };
        (0..=10u32).filter_map(with).min_by_key(cost).unwrap_or(Self {
            row_bits: 0,
            columns: Vec::new(),
            used_columns: 0,
        })
    }

    /// log2 of the number of message columns.
    pub fn log_columns(&self) -> u32 {
        bits_for(self.used_columns) as u32
    }

    /// Index of the cell (row, column) of weight `w` at row-major `(outer.., k)`: `(column position, row)` for every
    /// outer index and high part in order.
    pub fn column_positions(&self, w: usize) -> Vec<usize> {
        self.columns[w].positions()
    }
}
