//! LayeredCircuit: the integer program, its tables and statement, shared by compiler, prover and verifier.
//!
//! A [`Circuit`] is a *family*: its layout, scales, tables and weights do not depend on the run-time dimensions
//! (`batch`, `tokens`, `past`). An [`Instance`] is the family at given dimensions, derived alike by prover and
//! verifier.
//!
//! The program is a list of **equations** between integer tensors. The right side of an equation is a sum of reads
//! and products; the left side is made of **committed cells** (or a public output). Every cell that is read carries a
//! lookup into a **table**, which bounds it and, for function tables, gives the value that is read in its place: a
//! requantised activation `y = T[t]`, `acc + offset = t·2^s + r`, costs the two cells `t` and `r`. Tensors between
//! those cut points are never materialised in the proof.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
pub mod chain;
pub mod check;
mod circuit;
mod cost;
mod dims;
pub mod format;
mod instance;
mod layout;
pub mod setup;
mod table;

pub use access::{Access, AxisMap, Gate};
pub use chain::{CellTree, ChainDims};
pub use circuit::{
    Causal, Circuit, Constant, Entry, Equation, FormSource, FormTerm, InputKind, Label, Left, Operand, Outer, Product,
    PublicInput, PublicOutput, Read, Reads, Segment, SiteRef, Source, Step, VirtualSite, Weight,
};
pub use dims::{Len, RuntimeDim};
pub use instance::{CellVector, Channel, ChannelKind, Instance, InstanceError, SiteShape, WeightLayout};
pub use layout::{BlockLayout, bits_for};
pub use table::Table;
