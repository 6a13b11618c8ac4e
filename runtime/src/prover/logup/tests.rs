//! Honest sums of every small size, a lie in every message, sums that are not zero, denominators that are.

use mlc_verifier::field::{M31, qm31};
use mlc_verifier::logup::{LogUpError, verify};
use mlc_verifier::transcript::{Channel, ReadError, Transcript};
use num_traits::{One, Zero};
use proptest::prelude::*;

use super::*;
use crate::backend::Columns;
use crate::backend::cpu::Cpu;
use crate::backend::cpu::simd::tests::at_every_level;
use crate::backend::fractions::{Denominators, LeafRun, Numerators};
use crate::backend::naive::Naive;
use crate::prover::channel::{Grinder, Honest, Tamper};

struct BruteForce;
impl Grinder for BruteForce {
    fn grind(&self, transcript: &Transcript, bits: u32) -> u64 {
        (0..).find(|&n| transcript.nonce_works(bits, n)).unwrap()
    }
}

fn ext(seed: &mut u64) -> QM31 {
    let mut limb = || {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        M31::from((*seed >> 33) as u32)
    };
    QM31::from_m31(limb(), limb(), limb(), limb())
}

/// Fractions that add up to zero: the last numerator makes up for the others.
fn zero_sum(n: usize, mut seed: u64) -> (Vec<QM31>, Vec<QM31>) {
    let den: Vec<QM31> = (0..n).map(|_| ext(&mut seed)).collect();
    let mut num: Vec<QM31> = (0..n - 1).map(|_| ext(&mut seed)).collect();
    let sum = num
        .iter()
        .zip(&den)
        .fold(QM31::zero(), |s, (&n, &d)| s + n * d.inverse());
    num.push(-sum * den[n - 1]);
    (num, den)
}

fn proof<B: FractionOps>(
    backend: &B,
    leaves: &(Vec<QM31>, Vec<QM31>),
    bits: u32,
    tamper: &mut dyn Tamper,
) -> (Vec<u8>, LeafClaim) {
    proof_within(backend, leaves, bits, tamper, STORED)
}

fn proof_within<B: FractionOps>(
    backend: &B,
    leaves: &(Vec<QM31>, Vec<QM31>),
    bits: u32,
    tamper: &mut dyn Tamper,
    stored: usize,
) -> (Vec<u8>, LeafClaim) {
    let mut channel = ProverChannel::new(Transcript::new(b"test"), tamper);
    let grind = Grind {
        bits,
        grinder: &BruteForce,
    };
    let (num, den) = (backend.ext(leaves.0.clone()), backend.ext(leaves.1.clone()));
    let claim = prove_within(
        backend,
        &mut channel,
        &Leaves::given(&num, &den, leaves.0.len()),
        grind,
        stored,
    );
    (channel.into_proof(), claim)
}

fn check(leaves: &(Vec<QM31>, Vec<QM31>), proof: &[u8], bits: u32) -> Result<LeafClaim, LogUpError> {
    let mut channel = Channel::new(Transcript::new(b"test"), proof);
    let claim = verify(&mut channel, leaves.0.len(), bits)?;
    channel.finish()?;
    Ok(claim)
}

fn is_true(leaves: &(Vec<QM31>, Vec<QM31>), claim: &LeafClaim) -> bool {
    claim.numerator == mle(&leaves.0, &claim.point)
        && claim.denominator == mle(&leaves.1, &claim.point) + padding_weight(&claim.point, leaves.1.len())
}

#[test]
fn honest_sums_of_every_size_end_in_true_claims() {
    for n in [1, 2, 3, 5, 7, 8, 9, 16, 17, 33, 40, 1000] {
        let leaves = zero_sum(n, n as u64);
        for bits in [0, 3] {
            let (bytes, claim) = proof(&Naive, &leaves, bits, &mut Honest);
            assert_eq!(proof(&Cpu, &leaves, bits, &mut Honest).0, bytes, "{n} leaves");
            assert_eq!(check(&leaves, &bytes, bits), Ok(claim.clone()), "{n} leaves");
            assert!(is_true(&leaves, &claim), "{n} leaves");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn random_sizes(n in 1usize..300, seed: u64) {
        let leaves = zero_sum(n, seed);
        let (bytes, claim) = proof(&Naive, &leaves, 0, &mut Honest);
        prop_assert_eq!(check(&leaves, &bytes, 0), Ok(claim.clone()));
        prop_assert!(is_true(&leaves, &claim));
        prop_assert_eq!(proof(&Cpu, &leaves, 0, &mut Honest), (bytes, claim));
    }

    // Long enough for whole registers and several pieces; just above a power of two most leaves have no partner.
    #[test]
    fn backends_give_the_same_bytes(n in prop_oneof![1usize..20_000, 4097usize..4200, 8193usize..8300], seed: u64) {
        let leaves = zero_sum(n, seed);
        let cpu = proof(&Cpu, &leaves, 0, &mut Honest);
        prop_assert_eq!(&cpu, &proof(&Naive, &leaves, 0, &mut Honest));
        prop_assert_eq!(check(&leaves, &cpu.0, 0), Ok(cpu.1));
    }
}

#[test]
fn layers_that_are_not_stored_give_the_same_bytes() {
    for n in [9, 17, 33, 40, 1000, 4097, 20_000, 40_000] {
        let leaves = zero_sum(n, n as u64);
        let all = proof(&Cpu, &leaves, 0, &mut Honest);
        for stored in [1, 2, 4, 16, 64, 1 << 10, 1 << 14] {
            let cpu = proof_within(&Cpu, &leaves, 0, &mut Honest, stored);
            assert_eq!(cpu, all, "{n} leaves, {stored} stored");
            if n < 2000 {
                assert_eq!(proof_within(&Naive, &leaves, 0, &mut Honest, stored), all, "{n} leaves");
            }
        }
    }
}

/// Runs with gaps between them, every kind of numerator and denominator, written out and formed.
#[test]
fn described_leaves_are_the_written_ones() {
    let mut seed = 11;
    let mut values = |n: usize| (0..n).map(|_| ext(&mut seed)).collect::<Vec<QM31>>();
    let (len, constant) = (9000, values(1)[0]);
    let keys: Vec<M31> = (0..len as u32).map(|i| M31::from(i * 37 % 1009)).collect();
    let (inner, outer, units, scaled, den) = (values(100), values(30), values(7), values(3000), values(2000));
    fn runs<'a, B: FractionOps>(
        [inner, scaled, den]: [&'a B::Ext; 3],
        keys: &'a B::Base,
        [outer, units]: [&[QM31]; 2],
        constant: QM31,
    ) -> Leaves<'a, B> {
        let keyed = |from| Denominators::Keys { constant, keys, from };
        let run = |at, len, den, num| LeafRun { at, len, den, num };
        Leaves {
            len: 9000,
            runs: vec![
                run(
                    5,
                    3000,
                    keyed(17),
                    vec![
                        Numerators::Outer {
                            outer: outer.to_vec(),
                            inner,
                        },
                        Numerators::Constant(constant),
                    ],
                ),
                run(
                    3005,
                    2100,
                    keyed(3005),
                    vec![Numerators::Units {
                        unit: 300,
                        values: units.to_vec(),
                    }],
                ),
                run(
                    6000,
                    2000,
                    Denominators::Given(den),
                    vec![Numerators::Scaled {
                        scale: constant,
                        values: scaled,
                        from: 900,
                    }],
                ),
            ],
        }
    }
    let naive = runs::<Naive>([&inner, &scaled, &den], &keys, [&outer, &units], constant);
    let (ci, cs, cd) = (Cpu.ext(inner.clone()), Cpu.ext(scaled.clone()), Cpu.ext(den.clone()));
    let cpu = runs::<Cpu>([&ci, &cs, &cd], &keys, [&outer, &units], constant);
    for level in 0..3 {
        let ((n, d), (num, den)) = (Naive.leaf_layer(&naive, level), Cpu.leaf_layer(&cpu, level));
        assert_eq!((Cpu.host_ext(&num), Cpu.host_ext(&den)), (n, d), "level {level}");
    }
    let (n, d) = Naive.leaf_layer(&naive, 0);
    assert_eq!((n[4], d[4]), (QM31::zero(), QM31::one()));
    assert_eq!(n[5 + 250], outer[2] * inner[50] + constant);
    assert_eq!((n[3005 + 650], d[3005]), (units[2], constant - keys[3005]));
    assert_eq!((n[6001], d[6001]), (constant * scaled[901], den[1]));
}

#[test]
fn instruction_sets_give_the_same_bytes() {
    for n in [40, 1000, 4099, 9001] {
        let leaves = zero_sum(n, n as u64);
        let naive = proof(&Naive, &leaves, 0, &mut Honest);
        at_every_level(|level| assert_eq!(proof(&Cpu, &leaves, 0, &mut Honest), naive, "{n} leaves, {level:?}"));
    }
}

/// Adds 1 to element `element` of the `at`-th message under `label`.
struct Lie {
    label: &'static str,
    at: usize,
    element: usize,
}
impl Tamper for Lie {
    fn ext(&mut self, label: &'static str, values: &mut [QM31]) {
        if label == self.label {
            if self.at == 0 {
                values[self.element] += QM31::one();
            }
            self.at = self.at.wrapping_sub(1);
        }
    }
}

#[test]
fn a_lie_in_a_round_or_a_layer_is_found_at_that_layer() {
    // 40 leaves: layers of 3, 4 and 5 bits are proved.
    let leaves = zero_sum(40, 1);
    let mut round = 0;
    for layer in 3..6 {
        for _ in 0..layer {
            for element in 0..2 {
                let lie = &mut Lie {
                    label: label::ROUND,
                    at: round,
                    element,
                };
                let (bytes, _) = proof(&Naive, &leaves, 0, lie);
                assert_eq!(check(&leaves, &bytes, 0), Err(LogUpError::Layer { layer }));
            }
            round += 1;
        }
        for element in 0..4 {
            let lie = &mut Lie {
                label: label::LAYER,
                at: layer - 3,
                element,
            };
            let (bytes, _) = proof(&Naive, &leaves, 0, lie);
            assert_eq!(check(&leaves, &bytes, 0), Err(LogUpError::Layer { layer }));
        }
    }
}

#[test]
fn a_lie_in_the_clear_layer_is_found() {
    for n in [2, 5, 8, 40] {
        let leaves = zero_sum(n, 2);
        for element in 0..n.min(8) {
            let lie = &mut Lie {
                label: label::CLEAR,
                at: 0,
                element,
            };
            let (bytes, _) = proof(&Naive, &leaves, 0, lie);
            assert_eq!(check(&leaves, &bytes, 0), Err(LogUpError::NonZeroSum));
        }
    }
}

/// Sends the clear layer with every numerator doubled: it still sums to zero, but is not the layer of these leaves.
struct Double;
impl Tamper for Double {
    fn ext(&mut self, label: &'static str, values: &mut [QM31]) {
        if label == label::CLEAR {
            let half = values.len() / 2;
            values[..half].iter_mut().for_each(|v| *v += *v);
        }
    }
}

#[test]
fn a_consistent_lie_in_the_clear_layer_is_found_one_layer_down() {
    let leaves = zero_sum(40, 3);
    let (bytes, _) = proof(&Naive, &leaves, 0, &mut Double);
    assert_eq!(check(&leaves, &bytes, 0), Err(LogUpError::Layer { layer: 3 }));
    // With few leaves the clear layer is the leaves: the claim is false, and the caller sees it.
    let leaves = zero_sum(5, 3);
    let (bytes, _) = proof(&Naive, &leaves, 0, &mut Double);
    let claim = check(&leaves, &bytes, 0).unwrap();
    assert!(!is_true(&leaves, &claim));
}

#[test]
fn sums_that_are_not_zero_are_refused() {
    for n in [1, 2, 9, 40] {
        let mut leaves = zero_sum(n, 4);
        leaves.0[n / 2] += qm31(1);
        let (bytes, _) = proof(&Naive, &leaves, 0, &mut Honest);
        assert_eq!(check(&leaves, &bytes, 0), Err(LogUpError::NonZeroSum), "{n} leaves");
    }
}

#[test]
fn vanishing_denominators_are_refused_even_where_the_projective_sum_is_zero() {
    for n in [1, 2, 9, 40, 1000] {
        for zeros in 1..3.min(n + 1) {
            let mut leaves = zero_sum(n, 5);
            for i in 0..zeros {
                leaves.1[i * (n / 2)] = QM31::zero();
            }
            let (bytes, _) = proof(&Naive, &leaves, 0, &mut Honest);
            assert_eq!(
                check(&leaves, &bytes, 0),
                Err(LogUpError::ZeroDenominator),
                "{n} leaves, {zeros} zeros"
            );
        }
    }
    // One leaf 0/0, and a pair whose projective sum is (0, 0).
    for leaves in [
        (vec![qm31(0)], vec![qm31(0)]),
        (vec![qm31(1), qm31(-1)], vec![qm31(0), qm31(0)]),
    ] {
        let (bytes, _) = proof(&Naive, &leaves, 0, &mut Honest);
        assert_eq!(check(&leaves, &bytes, 0), Err(LogUpError::ZeroDenominator));
    }
}

#[test]
fn a_proof_for_another_number_of_leaves_is_refused() {
    let leaves = zero_sum(40, 6);
    let (bytes, claim) = proof(&Naive, &leaves, 0, &mut Honest);
    let run = |n: usize, bytes: &[u8]| {
        let mut channel = Channel::new(Transcript::new(b"test"), bytes);
        verify(&mut channel, n, 0).and_then(|c| Ok(channel.finish().map(|()| c)?))
    };
    assert!(matches!(
        run(20, &bytes),
        Err(LogUpError::Read(ReadError::Trailing { .. }))
    ));
    assert!(matches!(
        run(100, &bytes),
        Err(LogUpError::Read(ReadError::Truncated { .. }))
    ));
    assert_eq!(
        run(40, &bytes[..bytes.len() - 1]),
        Err(LogUpError::Read(ReadError::Truncated { at: bytes.len() - 1 }))
    );
    // The same tree height: only the claim on the leaves tells, and it is the caller's to check.
    let other = run(41, &bytes).unwrap();
    assert_eq!(other, claim);
    assert_ne!(padding_weight(&other.point, 41), padding_weight(&other.point, 40));
}

/// Makes the `at`-th nonce wrong.
struct BadNonce(usize);
impl Tamper for BadNonce {
    fn nonce(&mut self, _label: &'static str, nonce: &mut u64) {
        if self.0 == 0 {
            *nonce = u64::MAX;
        }
        self.0 = self.0.wrapping_sub(1);
    }
}

#[test]
fn every_nonce_is_checked() {
    let leaves = zero_sum(17, 7);
    // One for the clear layer; 3 rounds and one for layer 3; 4 rounds and one for layer 4.
    let names = |i: usize| {
        if [0, 4, 9].contains(&i) {
            "logup layer"
        } else {
            "sumcheck round"
        }
    };
    for i in 0..10 {
        let (bytes, _) = proof(&Naive, &leaves, 8, &mut BadNonce(i));
        assert_eq!(
            check(&leaves, &bytes, 8),
            Err(LogUpError::Read(ReadError::ProofOfWork {
                before: names(i),
                bits: 8
            }))
        );
    }
}
