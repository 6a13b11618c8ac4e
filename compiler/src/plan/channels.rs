//! Factors of channels, which [`crate::passes::balance`] divides and multiplies by: powers of two, one character each.

use serde::{Deserialize, Serialize};

/// Greatest magnitude of an exponent.
pub const CHANNEL_LIMIT: u8 = 15;

/// Exponents of the factors of channels: a text for every iteration of the regions around them, in it a character for every
/// channel. `a` is 1, `b` is 2, up to `o`; capitals are negative; `0` is 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Channels(Vec<String>);

impl Channels {
    /// Exponents, iteration by iteration; what is beyond [`CHANNEL_LIMIT`] becomes that.
    pub fn new(exponents: &[Vec<i8>]) -> Self {
        let letter = |e: &i8| match e.unsigned_abs().min(CHANNEL_LIMIT) {
            0 => '0',
            n if *e > 0 => char::from(b'a' + n - 1),
            n => char::from(b'A' + n - 1),
        };
        Channels(exponents.iter().map(|row| row.iter().map(letter).collect()).collect())
    }

    /// The exponents, iteration by iteration.
    pub fn exponents(&self) -> Vec<Vec<i8>> {
        let exponent = |c: u8| match c {
            b'a'..=b'o' => (c - b'a' + 1) as i8,
            b'A'..=b'O' => -((c - b'A' + 1) as i8),
            _ => 0,
        };
        self.0.iter().map(|row| row.bytes().map(exponent).collect()).collect()
    }

    /// The first character that is no exponent.
    pub(super) fn wrong(&self) -> Option<char> {
        let known = |c: char| matches!(c, '0' | 'a'..='o' | 'A'..='O');
        self.0.iter().flat_map(|row| row.chars()).find(|c| !known(*c))
    }

    /// Whether these are factors of so many channels in so many iterations.
    pub fn fits(&self, blocks: usize, channels: usize) -> bool {
        self.0.len() == blocks && self.0.iter().all(|row| row.len() == channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_exponents() {
        let all: Vec<Vec<i8>> = vec![(-15..=15).collect(), vec![0, 1, -1]];
        let channels = Channels::new(&all);
        assert_eq!(channels.0, ["ONMLKJIHGFEDCBA0abcdefghijklmno", "0aA"]);
        assert_eq!(channels.exponents(), all);
        assert!(channels.wrong().is_none() && !channels.fits(2, 31));
        assert_eq!(Channels(vec!["0p".into()]).wrong(), Some('p'));
        assert_eq!(Channels::new(&[vec![100, -100]]).0, ["oO"]);
        assert!(Channels::new(&[vec![1, 2], vec![3, 4]]).fits(2, 2));
    }
}
