//! Moves 4 to 6: from claims on looked-up values to claims on keys and channels. Used by the proof of an inference and
//! by the setup proof of the weights. See docs/protocol/relations.md and docs/protocol/logup.md.

use alloc::vec::Vec;

use mlc_circuit::{Instance, bits_for};
use num_traits::Zero;

use crate::cells::{self, Fingerprint};
use crate::field::{QM31, m31};
use crate::functional::mass;
use crate::inference::VerifyError;
use crate::logup;
use crate::relations::ReadClaim;
use crate::security::Grinding;
use crate::sumcheck;
use crate::transcript::{Channel, Hash};

/// Where the lookups end: claims on the channel cells, and one claim on the cells that hold keys.
#[derive(Debug, Clone)]
pub struct LookupEnd {
    /// Root of the channels' commitment.
    pub root: Hash,
    /// The challenges of move 5.
    pub fingerprint: Fingerprint,
    /// Point of the leaves.
    pub zeta: Vec<QM31>,
    /// `Σ_leaves eq(ζ, leaf) · cell form`, to be checked against the cells' commitment.
    pub keys: QM31,
    /// The channels' functional at ζ, to be checked against the channels' commitment.
    pub table_numerators: QM31,
    /// Point of the table sumcheck.
    pub xi: Vec<QM31>,
    /// The pushforwards at ξ, to be checked against the channels' commitment.
    pub column: QM31,
}

/// Verifies moves 4 (γ) to 6. `claims` are the claims with lookups and the part of their value that the tables must
/// give; `inputs` are those of the statement, for masks. `shifts` (per segment) is added to a cell to make its key; empty for none.
pub fn verify(
    channel: &mut Channel<'_>,
    instance: &Instance<'_>,
    grind: &Grinding,
    claims: Vec<(ReadClaim<'_>, QM31)>,
    inputs: &[Vec<i32>],
    shifts: &[i32],
) -> Result<LookupEnd, VerifyError> {
    channel.recv_nonce("source claim batching", grind.sources)?;
    let gamma = channel.transcript().draw();
    let gammas = cells::claim_powers(gamma, claims.len());

    // Move 5.
    channel.step(5);
    let root = channel.recv_hash()?;
    channel.recv_nonce("lookup fingerprint", grind.lookups)?;
    let drawn = channel.transcript().draw_many(3);
    let fingerprint = Fingerprint {
        alpha: drawn[0],
        eta: drawn[1],
        theta: drawn[2],
    };

    // Move 6: fractions.
    channel.step(6);
    let leaf = logup::verify(channel, instance.leaves, grind.fractions)?;
    let zeta = leaf.point;
    let sent = channel.recv_ext(2)?;
    let (keys, table_numerators) = (sent[0], sent[1]);
    let (claims, values): (Vec<ReadClaim<'_>>, Vec<QM31>) = claims.into_iter().unzip();
    if cells::numerator(instance, &fingerprint, &zeta, &claims, &gammas) - table_numerators != leaf.numerator {
        return Err(VerifyError::Numerator);
    }
    let public = instance
        .segments
        .iter()
        .zip(shifts)
        .fold(cells::mask_keys(instance, inputs, &zeta), |a, (s, &k)| {
            a + mass(s, &zeta) * m31(k.into())
        });
    if cells::denominator(instance, &fingerprint, &zeta, keys + public) != leaf.denominator {
        return Err(VerifyError::Denominator);
    }

    // Move 6: tables. Without columns there are no claims either.
    let total = values.iter().zip(&gammas).fold(QM31::zero(), |a, (&v, &g)| a + g * v);
    let (xi, column) = if instance.column_cells == 0 {
        if !total.is_zero() {
            return Err(VerifyError::Tables);
        }
        (Vec::new(), QM31::zero())
    } else {
        let reduced = sumcheck::verify(channel, total, bits_for(instance.column_cells), 2, grind.tables)?;
        let column = channel.recv_ext(1)?[0];
        if column * cells::table_values(instance, &reduced.point) != reduced.value {
            return Err(VerifyError::Tables);
        }
        (reduced.point, column)
    };
    Ok(LookupEnd {
        root,
        fingerprint,
        zeta,
        keys,
        table_numerators,
        xi,
        column,
    })
}
