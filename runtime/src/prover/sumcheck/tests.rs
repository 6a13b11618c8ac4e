//! The batch against brute force over the padded hypercube, lies in a round, and backends against each other.

use mlc_verifier::field::{eq_points, eq_table, mle};
use mlc_verifier::sumcheck::{Reduced, verify};
use mlc_verifier::transcript::{Channel, ReadError, Transcript};
use proptest::prelude::*;

use super::*;
use crate::backend::cpu::Cpu;
use crate::backend::cpu::simd::tests::at_every_level;
use crate::backend::naive::Naive;
use crate::prover::channel::{Honest, Tamper};
use mlc_verifier::field::M31;

/// A summand on the host, from which each backend makes its own.
#[derive(Debug, Clone)]
struct Plain {
    coefficient: QM31,
    axes: Vec<Axis>,
    eq: Vec<QM31>,
    a: Vec<QM31>,
    b: Option<Vec<QM31>>,
    base: (bool, bool),
    know_sum: bool,
}

struct Rng(u64);

impl Rng {
    fn word(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }
    fn below(&mut self, n: u32) -> usize {
        (self.word() % n) as usize
    }
    fn base(&mut self) -> M31 {
        M31::from(self.word())
    }
    fn ext(&mut self) -> QM31 {
        QM31::from_m31(self.base(), self.base(), self.base(), self.base())
    }
    fn values(&mut self, n: usize, base: bool) -> Vec<QM31> {
        (0..n)
            .map(|_| if base { self.base().into() } else { self.ext() })
            .collect()
    }
}

fn random(seed: u64, lens: &[Vec<usize>], ext_bits: usize) -> Vec<Plain> {
    let mut rng = Rng(seed);
    lens.iter()
        .map(|lens| {
            let axes: Vec<Axis> = lens
                .iter()
                .map(|&len| Axis {
                    len,
                    bits: bits_for(len) + if rng.below(5) == 0 { ext_bits } else { 0 },
                })
                .collect();
            let covered = rng.below(axes.len() as u32 + 1);
            let variables: usize = axes[..covered].iter().map(|a| a.bits).sum();
            let mut eq: Vec<QM31> = (0..variables).map(|_| rng.ext()).collect();
            // Vertices among the coordinates: the division must pick the other side.
            for r in &mut eq {
                match rng.below(8) {
                    0 => *r = QM31::zero(),
                    1 => *r = QM31::one(),
                    _ => {}
                }
            }
            let len = axes.iter().map(|a| a.len).product();
            let base = (rng.below(2) == 0, rng.below(2) == 0);
            let (a, b) = (rng.values(len, base.0), rng.values(len, base.1));
            Plain {
                coefficient: rng.ext(),
                axes,
                eq,
                a,
                b: (rng.below(4) > 0).then_some(b),
                base,
                know_sum: rng.below(2) == 0,
            }
        })
        .collect()
}

impl Plain {
    fn variables(&self) -> usize {
        self.axes.iter().map(|a| a.bits).sum()
    }

    /// The vector over the whole hypercube, zeros written out.
    fn padded(&self, v: &[QM31]) -> Vec<QM31> {
        let mut out = vec![QM31::zero(); 1 << self.variables()];
        for (i, &x) in v.iter().enumerate() {
            let (mut rest, mut at, mut shift) = (i, 0, 0);
            for axis in self.axes.iter().rev() {
                at |= (rest % axis.len) << shift;
                rest /= axis.len;
                shift += axis.bits;
            }
            out[at] = x;
        }
        out
    }

    fn sum(&self) -> QM31 {
        let rest = 1 << (self.variables() - self.eq.len());
        let eq = eq_table(&self.eq, 1 << self.eq.len());
        let (a, b) = (self.padded(&self.a), self.b.as_ref().map(|b| self.padded(b)));
        (0..a.len()).fold(QM31::zero(), |s, i| {
            s + eq[i / rest] * a[i] * b.as_ref().map_or(QM31::one(), |b| b[i])
        })
    }

    fn summand<B: Columns>(&self, backend: &B) -> Summand<B> {
        let operand = |v: &Vec<QM31>, base: bool| {
            if base {
                Operand::base(backend.base(v.iter().map(|x| x.to_m31_array()[0]).collect()))
            } else {
                Operand::ext(backend.ext(v.clone()))
            }
        };
        Summand {
            coefficient: self.coefficient,
            axes: self.axes.clone(),
            eq: self.eq.clone(),
            a: operand(&self.a, self.base.0),
            b: self.b.as_ref().map(|b| operand(b, self.base.1)),
            sum: self.know_sum.then(|| self.sum()),
        }
    }
}

struct BruteForce;
impl Grinder for BruteForce {
    fn grind(&self, transcript: &Transcript, bits: u32) -> u64 {
        (0..).find(|&n| transcript.nonce_works(bits, n)).unwrap()
    }
}

fn grind(bits: u32) -> Grind<'static> {
    Grind {
        bits,
        grinder: &BruteForce,
    }
}

fn proof<B: ProductOps>(backend: &B, batch: &[Plain], bits: u32, tamper: &mut dyn Tamper) -> (Vec<u8>, Proved) {
    let mut channel = ProverChannel::new(Transcript::new(b"test"), tamper);
    let summands = batch.iter().map(|p| p.summand(backend)).collect();
    let proved = prove(backend, &mut channel, "round", summands, grind(bits));
    (channel.into_proof(), proved)
}

fn claim(batch: &[Plain]) -> (QM31, usize, usize) {
    let rounds = batch.iter().map(Plain::variables).max().unwrap_or(0);
    let degree = if batch.iter().any(|p| !p.eq.is_empty()) { 3 } else { 2 };
    let total = batch.iter().fold(QM31::zero(), |s, p| {
        s + p.coefficient * p.sum() * pow2((rounds - p.variables()) as u32)
    });
    (total, rounds, degree)
}

fn check(batch: &[Plain], proof: &[u8], proved: &Proved, bits: u32) -> Result<(), String> {
    let (total, rounds, degree) = claim(batch);
    let mut channel = Channel::new(Transcript::new(b"test"), proof);
    let Reduced { point, value } = verify(&mut channel, total, rounds, degree, bits).map_err(|e| e.to_string())?;
    channel.finish().map_err(|e| e.to_string())?;
    assert_eq!(point, proved.point);
    let mut want = QM31::zero();
    for (p, &(a, b)) in batch.iter().zip(&proved.finals) {
        let own = &point[rounds - p.variables()..];
        assert_eq!(a, mle(&p.padded(&p.a), own));
        assert_eq!(b, p.b.as_ref().map_or(QM31::one(), |b| mle(&p.padded(b), own)));
        want += p.coefficient * eq_points(&p.eq, &own[..p.eq.len()]) * a * b;
    }
    if value == want {
        Ok(())
    } else {
        Err("final value".into())
    }
}

fn shapes() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(1usize..12, 1..4), 0..4)
}

proptest! {
    #[test]
    fn batches_agree_with_brute_force(seed: u64, lens in shapes(), extra in 0usize..2) {
        let batch = random(seed, &lens, extra);
        let (bytes, proved) = proof(&Naive, &batch, 0, &mut Honest);
        prop_assert_eq!(check(&batch, &bytes, &proved, 0), Ok(()));
    }
}

/// Long enough for whole registers, several pieces and every kind of weight table.
fn long_shapes() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let shape = prop_oneof![
        prop::collection::vec(1usize..90, 1..3),
        (1usize..4, 1usize..5000).prop_map(|(a, b)| vec![a, b]),
        (1usize..3000, 1usize..4).prop_map(|(a, b)| vec![a, b]),
        (1usize..40, 1usize..20, 1usize..20).prop_map(|(a, b, c)| vec![a, b, c]),
        (1usize..9000).prop_map(|a| vec![a]),
    ];
    prop::collection::vec(shape, 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn backends_give_the_same_bytes(seed: u64, lens in long_shapes(), extra in 0usize..2) {
        let batch = random(seed, &lens, extra);
        let (naive, cpu) = (proof(&Naive, &batch, 0, &mut Honest), proof(&Cpu, &batch, 0, &mut Honest));
        prop_assert_eq!(&naive, &cpu);
        prop_assert_eq!(check(&batch, &cpu.0, &cpu.1, 0), Ok(()));
    }
}

#[test]
fn instruction_sets_give_the_same_bytes() {
    for (seed, lens) in [vec![vec![700]], vec![vec![3, 5, 70]], vec![vec![90, 3], vec![5000]]]
        .iter()
        .enumerate()
    {
        let batch = random(seed as u64, lens, 0);
        let naive = proof(&Naive, &batch, 0, &mut Honest);
        at_every_level(|level| assert_eq!(proof(&Cpu, &batch, 0, &mut Honest), naive, "{level:?}"));
    }
}

#[test]
fn a_shared_vector_survives_its_folds() {
    let values: Vec<QM31> = Rng(11).values(100, false);
    let shared = Operand::ext(Cpu.ext(values.clone()));
    let summand = |b: bool| Summand {
        coefficient: QM31::one(),
        axes: vec![Axis::of(100)],
        eq: Vec::new(),
        a: shared.clone(),
        b: b.then(|| shared.clone()),
        sum: None,
    };
    let mut honest = Honest;
    let mut channel = ProverChannel::new(Transcript::new(b"test"), &mut honest);
    let proved = prove(
        &Cpu,
        &mut channel,
        "round",
        vec![summand(true), summand(false)],
        grind(0),
    );
    let value = mle(&values, &proved.point);
    assert_eq!(proved.finals, [(value, value), (value, QM31::one())]);
    assert_eq!(shared.host(&Cpu), values);
}

#[test]
fn an_empty_axis_is_a_zero_sum() {
    let mut batch = random(3, &[vec![4, 3], vec![2, 2]], 0);
    batch[0].axes[0] = Axis { len: 0, bits: 2 };
    batch[0].a.clear();
    batch[0].b = Some(Vec::new());
    batch[0].eq.clear();
    batch[0].know_sum = false;
    let (bytes, proved) = proof(&Naive, &batch, 0, &mut Honest);
    assert_eq!(proved.finals[0], (QM31::zero(), QM31::zero()));
    assert_eq!(claim(&batch[..1]).0, QM31::zero());
    let (total, rounds, degree) = claim(&batch);
    assert!(
        verify(
            &mut Channel::new(Transcript::new(b"test"), &bytes),
            total,
            rounds,
            degree,
            0
        )
        .is_ok()
    );
}

/// Changes one element of the k-th round message.
struct Lie {
    round: usize,
    element: usize,
}
impl Tamper for Lie {
    fn ext(&mut self, label: &'static str, values: &mut [QM31]) {
        assert_eq!(label, "round");
        if self.round == 0 {
            values[self.element] += QM31::one();
        }
        self.round = self.round.wrapping_sub(1);
    }
}

#[test]
fn a_lie_in_any_round_changes_the_final_value() {
    let batch = random(5, &[vec![3, 5], vec![6]], 0);
    let (_, rounds, degree) = claim(&batch);
    for round in 0..rounds {
        for element in 0..degree {
            let (bytes, proved) = proof(&Naive, &batch, 0, &mut Lie { round, element });
            assert_eq!(check(&batch, &bytes, &proved, 0), Err("final value".into()));
        }
    }
}

/// Makes the first nonce wrong.
struct BadNonce(u64);
impl Tamper for BadNonce {
    fn nonce(&mut self, _label: &'static str, nonce: &mut u64) {
        *nonce ^= self.0;
        self.0 = 0;
    }
}

#[test]
fn nonces_are_sent_and_checked() {
    let batch = random(7, &[vec![8, 4]], 0);
    let (bytes, proved) = proof(&Naive, &batch, 6, &mut Honest);
    assert_eq!(check(&batch, &bytes, &proved, 6), Ok(()));
    let (bytes, _) = proof(&Naive, &batch, 6, &mut BadNonce(1 << 40));
    let (total, rounds, degree) = claim(&batch);
    assert_eq!(
        verify(
            &mut Channel::new(Transcript::new(b"test"), &bytes),
            total,
            rounds,
            degree,
            6
        ),
        Err(ReadError::ProofOfWork {
            before: "sumcheck round",
            bits: 6
        })
    );
}
