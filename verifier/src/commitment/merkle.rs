//! Merkle multi-proofs in one canonical form.
//!
//! A tree over `2^depth` leaves. Opening a sorted set of distinct positions sends, layer by layer from the leaves and
//! left to right, the sibling of every known node whose sibling is not known itself. So the number of hashes is a
//! function of the positions alone and no proof has two encodings.

use alloc::vec::Vec;

use super::blake2s::hash_node;
use crate::transcript::Hash;

/// The nodes that a multi-proof of `positions` contains, in its order, as (layer above the leaves, index).
/// `positions` is sorted and distinct, and below `2^depth`.
pub fn siblings(positions: &[usize], depth: u32) -> Vec<(u32, usize)> {
    let mut out = Vec::new();
    let mut known = positions.to_vec();
    for layer in 0..depth {
        let mut parents: Vec<usize> = Vec::with_capacity(known.len());
        let mut i = 0;
        while i < known.len() {
            let at = known[i];
            if at & 1 == 0 && known.get(i + 1) == Some(&(at + 1)) {
                i += 1;
            } else {
                out.push((layer, at ^ 1));
            }
            parents.push(at >> 1);
            i += 1;
        }
        known = parents;
    }
    out
}

/// The root that the leaves at `positions` (sorted, distinct, at least one) and a multi-proof lead to; `None` when
/// `path` does not have exactly the hashes that the positions ask for.
pub fn root_of(positions: &[usize], leaves: &[Hash], path: &[Hash], depth: u32) -> Option<Hash> {
    if positions.is_empty() || positions.len() != leaves.len() {
        return None;
    }
    let mut known: Vec<(usize, Hash)> = positions.iter().copied().zip(leaves.iter().copied()).collect();
    let mut path = path.iter();
    for _ in 0..depth {
        let mut parents: Vec<(usize, Hash)> = Vec::with_capacity(known.len());
        let mut i = 0;
        while i < known.len() {
            let (at, node) = known[i];
            let parent = if at & 1 == 1 {
                hash_node(path.next()?, &node)
            } else {
                match known.get(i + 1) {
                    Some((next, right)) if *next == at + 1 => {
                        i += 1;
                        hash_node(&node, right)
                    }
                    _ => hash_node(&node, path.next()?),
                }
            };
            parents.push((at >> 1, parent));
            i += 1;
        }
        known = parents;
    }
    match (known.as_slice(), path.next()) {
        ([(0, root)], None) => Some(*root),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn tree(depth: u32) -> Vec<Vec<Hash>> {
        let mut layers = vec![(0..1u8 << depth).map(|i| [i; 32]).collect::<Vec<_>>()];
        for _ in 0..depth {
            let below = layers.last().unwrap();
            layers.push(below.chunks(2).map(|c| hash_node(&c[0], &c[1])).collect());
        }
        layers
    }

    #[test]
    fn every_subset_of_eight_leaves_opens() {
        let t = tree(3);
        for set in 1..256usize {
            let positions: Vec<usize> = (0..8).filter(|i| set >> i & 1 == 1).collect();
            let leaves: Vec<Hash> = positions.iter().map(|&i| t[0][i]).collect();
            let mut path: Vec<Hash> = siblings(&positions, 3).iter().map(|&(l, i)| t[l as usize][i]).collect();
            assert_eq!(root_of(&positions, &leaves, &path, 3), Some(t[3][0]));
            path.push([0; 32]);
            assert_eq!(root_of(&positions, &leaves, &path, 3), None);
            path.pop();
            if path.pop().is_some() {
                assert_eq!(root_of(&positions, &leaves, &path, 3), None);
            }
        }
    }

    #[test]
    fn a_tree_of_one_leaf_is_its_leaf() {
        assert_eq!(root_of(&[0], &[[7; 32]], &[], 0), Some([7; 32]));
        assert!(siblings(&[0], 0).is_empty());
    }
}
