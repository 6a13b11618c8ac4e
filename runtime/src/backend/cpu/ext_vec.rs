//! Extension vectors as four columns of limbs, so that a register holds the same limb of consecutive elements.

use mlc_verifier::field::{M31, QM31};

use super::split::{ColsMut, map_pieces};

/// A vector of extension elements, limb by limb. Limbs are canonical (below p).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtVec {
    limbs: [Vec<u32>; 4],
}

impl ExtVec {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self {
            limbs: std::array::from_fn(|_| vec![0; len]),
        }
    }

    /// From limb columns of equal length holding words below p.
    pub fn from_limbs(limbs: [Vec<u32>; 4]) -> Self {
        debug_assert!(limbs.iter().all(|l| l.len() == limbs[0].len()));
        Self { limbs }
    }

    /// From elements.
    pub fn from_values(values: &[QM31]) -> Self {
        let mut out = Self::zeros(values.len());
        map_pieces(
            (values, ColsMut::of(&mut out)),
            values.len(),
            &|_, _, (values, ColsMut([a, b, c, d]))| {
                for (i, v) in values.iter().enumerate() {
                    let [w, x, y, z] = v.to_m31_array();
                    (a[i], b[i], c[i], d[i]) = (w.0, x.0, y.0, z.0);
                }
            },
            &|(), ()| (),
        );
        out
    }

    /// From base field elements.
    pub fn from_base(values: &[M31]) -> Self {
        let n = values.len();
        Self {
            limbs: [words(values).to_vec(), vec![0; n], vec![0; n], vec![0; n]],
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.limbs[0].len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `i`.
    pub fn get(&self, i: usize) -> QM31 {
        let [a, b, c, d] = &self.limbs;
        QM31::from_u32_unchecked(a[i], b[i], c[i], d[i])
    }

    /// All elements.
    pub fn to_values(&self) -> Vec<QM31> {
        (0..self.len()).map(|i| self.get(i)).collect()
    }

    /// The limb columns.
    pub fn columns(&self) -> [&[u32]; 4] {
        self.limbs.each_ref().map(Vec::as_slice)
    }

    /// The limb columns, writable; the words must stay below p.
    pub fn columns_mut(&mut self) -> [&mut [u32]; 4] {
        self.limbs.each_mut().map(Vec::as_mut_slice)
    }

    /// Keeps the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        for limb in &mut self.limbs {
            limb.truncate(len);
        }
    }
}

/// The words of base field elements.
pub fn words(values: &[M31]) -> &[u32] {
    bytemuck::cast_slice(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_survive_the_split() {
        let values: Vec<QM31> = (0..5u32)
            .map(|i| QM31::from_u32_unchecked(i, i + 1, i * i, 7))
            .collect();
        let v = ExtVec::from_values(&values);
        assert_eq!((v.len(), v.get(3)), (5, values[3]));
        assert_eq!(v.to_values(), values);
        let base: Vec<M31> = (0..5u32).map(M31::from).collect();
        assert_eq!(ExtVec::from_base(&base).get(4), QM31::from(base[4]));
    }
}
