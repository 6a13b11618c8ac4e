//! Verifies mlc proofs: transcript, sumcheck, LogUp, commitment opening, security sum.
