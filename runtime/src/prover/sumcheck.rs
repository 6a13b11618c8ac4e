//! Sumcheck, proving side: a batch of product sums over multi-axis index spaces of true size.
//!
//! A [`Summand`] is c · Σ_x eq(ρ, x_top) · a(x) · b(x). Its index space is a product of axes, outermost first; an axis
//! of true length `len` has `bits` variables and is continued by zeros that are never stored, so cost follows
//! `Π len`. Variables are bound outermost axis first, most significant bit first: slab i of the active axis pairs with
//! slab i + 2^(m-1) where m bits are left. That is a flat operation: with `inner` elements per slab, element j pairs
//! with j + 2^(m-1)·inner.
//!
//! Summands with fewer variables are aligned at the last variables: in the earlier rounds such a summand is the
//! constant c · Σ · 2^(variables to come − its own), as the verifier's file says.
//!
//! Round message: s(0), s(2) and, when any summand has an eq factor, s(3). The eq factor is never multiplied in:
//! s(X) = eq(ρ_k, X)·h(X) with h quadratic (Gruen 2024, "Some improvements for the PIOP for ZeroCheck"); the backend
//! computes h at one vertex and its leading coefficient, the other vertex follows from the running claim. The
//! division by ρ_k or 1 - ρ_k that this takes picks whichever is nonzero.

use mlc_verifier::field::{QM31, bits_for, eq_points, pow2, qm31};
use num_traits::{One, Zero};

use super::channel::{Grinder, ProverChannel};
use super::eq_weights::EqWeights;
use crate::backend::{Columns, Operand, ProductOps, RoundSums, Vertex};

/// Proof of work before challenges: how many bits, and who searches.
#[derive(Clone, Copy)]
pub struct Grind<'a> {
    /// Bits per challenge; with 0 nothing is sent.
    pub bits: u32,
    /// The search.
    pub grinder: &'a dyn Grinder,
}

/// An axis of a summand's index space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// True length, at most `2^bits`.
    pub len: usize,
    /// Variables.
    pub bits: usize,
}

impl Axis {
    /// An axis with as few variables as its length needs.
    pub fn of(len: usize) -> Self {
        Self {
            len,
            bits: bits_for(len),
        }
    }
}

/// One term of the batch: coefficient · Σ_x eq(ρ, x_top) · a(x) · b(x).
pub struct Summand<B: Columns> {
    /// Multiplies the sum.
    pub coefficient: QM31,
    /// The index space, outermost axis first; the vectors have `Π len` elements in row-major order.
    pub axes: Vec<Axis>,
    /// ρ over the first variables: it covers whole axes. Empty for no eq factor.
    pub eq: Vec<QM31>,
    /// A factor.
    pub a: Operand<B>,
    /// The other factor; absent for the constant 1.
    pub b: Option<Operand<B>>,
    /// The sum without the coefficient, where the caller knows it (saves a pass).
    pub sum: Option<QM31>,
}

impl<B: Columns> Summand<B> {
    /// Number of variables.
    pub fn variables(&self) -> usize {
        self.axes.iter().map(|a| a.bits).sum()
    }
}

/// The outcome of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// All challenges; a summand over m variables ends at the last m.
    pub point: Vec<QM31>,
    /// Each summand's a and b at its point (b is 1 where absent).
    pub finals: Vec<(QM31, QM31)>,
}

/// The degree of the batch's round polynomials: 3 when any summand has an eq factor, else 2.
pub fn degree<B: Columns>(summands: &[Summand<B>]) -> usize {
    if summands.iter().any(|s| !s.eq.is_empty()) {
        3
    } else {
        2
    }
}

/// The verifier's expectation of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounds {
    /// Number of rounds: at least the variables of every summand.
    pub rounds: usize,
    /// Degree of the round polynomials: 3 where a summand has an eq factor, 2 or 3 elsewhere.
    pub degree: usize,
}

/// Proves the batch in as few rounds, of as low a degree, as it needs.
pub fn prove<B: ProductOps>(
    backend: &B,
    channel: &mut ProverChannel<'_>,
    label: &'static str,
    summands: Vec<Summand<B>>,
    grind: Grind<'_>,
) -> Proved {
    let rounds = summands.iter().map(Summand::variables).max().unwrap_or(0);
    let degree = degree(&summands);
    prove_rounds(backend, channel, label, summands, Rounds { rounds, degree }, grind)
}

/// Proves the batch. Every round message is sent under `label`.
pub fn prove_rounds<B: ProductOps>(
    backend: &B,
    channel: &mut ProverChannel<'_>,
    label: &'static str,
    summands: Vec<Summand<B>>,
    Rounds { rounds, degree }: Rounds,
    grind: Grind<'_>,
) -> Proved {
    debug_assert!(degree >= self::degree(&summands));
    let mut states: Vec<State<B>> = summands.into_iter().map(|s| State::new(backend, s)).collect();
    let mut point = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let left = rounds - round;
        let mut message = vec![QM31::zero(); degree];
        for state in &mut states {
            state.add_round(backend, left, &mut message);
        }
        channel.send_ext(label, &message);
        channel.send_nonce(label, grind.bits, grind.grinder);
        let r = channel.transcript().draw();
        for state in &mut states {
            state.bind(backend, left, r);
        }
        point.push(r);
    }
    Proved {
        point,
        finals: states.iter().map(|s| s.finals(backend)).collect(),
    }
}

/// h(X) = zero + slope X + leading X(X - 1).
#[derive(Clone, Copy)]
struct Quadratic {
    zero: QM31,
    /// h(1) - h(0).
    slope: QM31,
    leading: QM31,
}

impl Quadratic {
    fn at(&self, x: QM31) -> QM31 {
        self.zero + x * self.slope + self.leading * x * (x - QM31::one())
    }
}

/// The vertex to sum at when eq(ρ, ·) weighs the claim: the other one is then found by a division by a nonzero.
pub(super) fn vertex(rho: QM31) -> Vertex {
    if rho.is_zero() { Vertex::One } else { Vertex::Zero }
}

/// h(1) - h(0) and h(0) from (1 - ρ)h(0) + ρh(1) = claim and the sum at `vertex(rho)`.
pub(super) fn complete(claim: QM31, rho: QM31, at: QM31) -> (QM31, QM31) {
    match vertex(rho) {
        Vertex::Zero => ((claim - at) * rho.inverse(), at),
        // ρ = 0: the claim is h(0).
        Vertex::One => (at - claim, claim),
    }
}

/// A summand while it is being bound.
struct State<B: Columns> {
    scale: QM31,
    axes: Vec<Axis>,
    /// ρ over the variables still to be bound.
    eq: Vec<QM31>,
    a: Operand<B>,
    b: Option<Operand<B>>,
    weights: EqWeights<B>,
    /// Σ of what is left, without `scale` (which absorbs the eq factors of the bound variables).
    claim: QM31,
    round: Option<Quadratic>,
}

impl<B: ProductOps> State<B> {
    fn new(backend: &B, s: Summand<B>) -> Self {
        debug_assert!(s.axes.iter().all(|a| a.len <= 1 << a.bits));
        debug_assert_eq!(s.a.len(backend), s.axes.iter().map(|a| a.len).product::<usize>());
        debug_assert!(s.b.as_ref().is_none_or(|b| b.len(backend) == s.a.len(backend)));
        let mut state = Self {
            scale: s.coefficient,
            axes: s.axes,
            eq: s.eq,
            a: s.a,
            b: s.b,
            weights: EqWeights::new(),
            claim: QM31::zero(),
            round: None,
        };
        state.claim = s.sum.unwrap_or_else(|| {
            let weights = state.weights.update(backend, &state.axes, &state.eq);
            backend.product_sum(&state.a, state.b.as_ref(), weights)
        });
        state
    }

    fn variables(&self) -> usize {
        self.axes.iter().map(|a| a.bits).sum()
    }

    /// The axis being bound.
    fn active(&self) -> usize {
        self.axes.iter().position(|a| a.bits > 0).unwrap_or(self.axes.len())
    }

    /// Elements below the middle of the active axis.
    fn half(&self) -> usize {
        let active = self.active();
        let inner: usize = self.axes[active + 1..].iter().map(|a| a.len).product();
        inner << (self.axes[active].bits - 1)
    }

    /// Adds this summand's round polynomial at 0, 2, (3) to `message`; `left` variables are left in the batch.
    fn add_round(&mut self, backend: &B, left: usize, message: &mut [QM31]) {
        let own = self.variables();
        if left > own {
            let constant = self.scale * self.claim * pow2((left - 1 - own) as u32);
            message.iter_mut().for_each(|m| *m += constant);
            return;
        }
        let (half, rho) = (self.half(), self.eq.first().copied());
        let at = rho.map_or(Vertex::Zero, vertex);
        // The weights of the pairs: the active axis without its top bit, and what lies inside it.
        let mut axes = self.axes.clone();
        fold_axis(&mut axes);
        let weights = self.weights.update(backend, &axes, self.eq.get(1..).unwrap_or(&[]));
        let RoundSums { at, leading } = backend.product_round(&self.a, self.b.as_ref(), half, at, weights);
        let (slope, zero) = match rho {
            Some(rho) => complete(self.claim, rho, at),
            None => (self.claim - at - at, at),
        };
        let h = Quadratic { zero, slope, leading };
        for (m, x) in message.iter_mut().zip([0, 2, 3]) {
            let x = qm31(x);
            let eq = rho.map_or(QM31::one(), |rho| eq_points(&[rho], &[x]));
            *m += self.scale * eq * h.at(x);
        }
        self.round = Some(h);
    }

    fn bind(&mut self, backend: &B, left: usize, r: QM31) {
        if left > self.variables() {
            return;
        }
        let half = self.half();
        backend.fold(&mut self.a, half, r);
        if let Some(b) = &mut self.b {
            backend.fold(b, half, r);
        }
        if let Some(h) = self.round.take() {
            self.claim = h.at(r);
        }
        if !self.eq.is_empty() {
            self.scale *= eq_points(&[self.eq.remove(0)], &[r]);
        }
        fold_axis(&mut self.axes);
    }

    fn finals(&self, backend: &B) -> (QM31, QM31) {
        let value = |v: &Operand<B>| v.host(backend).first().copied().unwrap_or(QM31::zero());
        (value(&self.a), self.b.as_ref().map_or(QM31::one(), value))
    }
}

/// Removes the top variable of the first axis that has one.
fn fold_axis(axes: &mut [Axis]) {
    if let Some(axis) = axes.iter_mut().find(|a| a.bits > 0) {
        axis.bits -= 1;
        axis.len = axis.len.min(1 << axis.bits);
    }
}

#[cfg(test)]
mod tests;
