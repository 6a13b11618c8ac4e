//! Lies in which two errors cancel, so that the check that sees them first is content and a later one must refuse.

use mlc_runtime::prover::inference::label as inference;
use mlc_runtime::prover::logup::label as logup;
use mlc_verifier::field::{M31, QM31, qm31};
use mlc_verifier::inference::VerifyError::{Lookup, Merge, Tables};
use mlc_verifier::logup::LogUpError::{Layer, ZeroDenominator};
use num_traits::Zero;

use crate::liar::{Kind, Message, Sent, counting, telling};
use crate::world::{EVERYTHING, Liar};

/// Changes extension messages, by label and occurrence.
fn outcome(mut lie: impl FnMut(&str, usize, &mut [QM31])) -> Result<(), mlc_verifier::inference::VerifyError> {
    let mut tamper = telling(|label, n, m: Message<'_>| {
        if let Message::Ext(values) = m {
            lie(label, n, values);
        }
    });
    Liar::new(&EVERYTHING).outcome(&mut tamper)
}

fn count(label: &'static str) -> usize {
    let mut sent = Sent::new();
    Liar::new(&EVERYTHING).prove(&mut counting(&mut sent));
    sent[&(Kind::Ext, label)]
}

#[test]
fn a_cell_claim_and_a_read_claim_off_by_the_same() {
    // Of the equation 'head', the last with cells and the only one that reads lookups beside its product.
    assert_eq!(count(inference::READ_CLAIM), 1);
    let last = count(inference::CELL_CLAIM) - 1;
    let refused = outcome(|label, n, v| {
        if label == inference::READ_CLAIM || (label == inference::CELL_CLAIM && n == last) {
            v[0] += qm31(5);
        }
    });
    assert_eq!(refused, Err(Tables));
}

#[test]
fn an_operand_doubled_and_its_weight_halved() {
    // The product of the two is what the batch of products ends at.
    let refused = outcome(|label, n, v| {
        if n == 0 && label == inference::OPERAND_CLAIM {
            v[0] *= qm31(2);
        }
        if n == 0 && label == inference::WEIGHT_CLAIM {
            v[0] *= QM31::from(M31::from(2).inverse());
        }
    });
    assert_eq!(refused, Err(Tables));
}

#[test]
fn fractions_over_zero() {
    // Without the check of the denominators any sum is zero: 0/0.
    let zeros = outcome(|label, _, v| {
        if label == logup::CLEAR {
            v.fill(QM31::zero());
        }
    });
    assert_eq!(zeros, Err(Lookup(ZeroDenominator)));
    let pole = outcome(|label, _, v| {
        if label == logup::CLEAR {
            let half = v.len() / 2;
            v[half] = QM31::zero();
        }
    });
    assert_eq!(pole, Err(Lookup(ZeroDenominator)));
}

#[test]
fn a_clear_layer_with_another_sum_of_zero() {
    // Numerators that add up to zero over the same denominators, but are not those of the layer below.
    let scaled = outcome(|label, _, v| {
        if label == logup::CLEAR {
            let half = v.len() / 2;
            v[..half].iter_mut().for_each(|n| *n *= qm31(3));
        }
    });
    assert!(matches!(scaled, Err(Lookup(Layer { layer: 3 }))), "{scaled:?}");
}

#[test]
fn the_cells_of_witness_and_channels_exchanged() {
    let refused = outcome(|label, _, v| {
        if label == inference::MERGED_CELLS {
            v.swap(0, 1);
        }
    });
    assert_eq!(refused, Err(Merge));
}
