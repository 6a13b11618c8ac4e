//! Integer weights in a mapped file: resident while they are worked on, and not after.
//!
//! The pages of a map are clean copies of a file, so they may be dropped at any time and come back when they are read. A prover
//! says which piece comes next, so that it is read in the background ([`super::ahead`]), and which one it is done with.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use blake2::{Blake2s256, Digest};
use memmap2::{Mmap, UncheckedAdvice};

use super::ahead::Ahead;

/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// Tensors of 16-bit integers behind each other in a file.
#[derive(Debug, Clone)]
pub struct MappedIntegers {
    map: Arc<Mmap>,
    /// Absent where there is no thread for it.
    ahead: Option<Arc<Ahead>>,
    /// Bytes of each tensor.
    tensors: Vec<Range<usize>>,
}

impl MappedIntegers {
    /// Maps a file that has `header` bytes, tensors of the given lengths, and 32 bytes of their Blake2s. `None` where it is
    /// another file, or this machine is not little-endian as the file is. The file is read once, a piece at a time.
    pub fn open(path: &Path, header: &[u8], lens: &[usize]) -> io::Result<Option<Self>> {
        if cfg!(not(target_endian = "little")) || !header.len().is_multiple_of(2) {
            return Ok(None);
        }
        let mut tensors = Vec::with_capacity(lens.len());
        let mut at = header.len();
        for len in lens {
            let Some(end) = len.checked_mul(2).and_then(|n| at.checked_add(n)) else {
                return Ok(None);
            };
            tensors.push(at..end);
            at = end;
        }
        let file = File::open(path)?;
        if file.metadata()?.len() != at as u64 + 32 || !is_whole(&file, header, at)? {
            return Ok(None);
        }
        // SAFETY: the file is private to the key directory and only replaced by rename; a concurrent truncation would be an
        // error of the user's, and what is proved from it is checked by the verifier.
        let map = Arc::new(unsafe { Mmap::map(&file)? });
        Ok(Some(Self {
            ahead: Ahead::of(Arc::clone(&map)).ok().map(Arc::new),
            map,
            tensors,
        }))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// One tensor.
    pub fn tensor(&self, at: usize) -> &[i16] {
        let bytes = &self.map[self.tensors[at].clone()];
        // SAFETY: every pattern of bits is an i16. A map begins at a page and the tensor at an even offset, so nothing is cut
        // off at either end.
        let (before, integers, after) = unsafe { bytes.align_to::<i16>() };
        debug_assert!(before.is_empty() && after.is_empty());
        integers
    }

    /// Has a part of a tensor, whose bounds are numbers of integers, read in the background. Waits until the part that was asked
    /// for before is there: with an empty part it does nothing else.
    pub fn read_ahead(&self, at: usize, part: Range<usize>) {
        if let Some(ahead) = &self.ahead {
            ahead.read(self.bytes(at, part));
        }
    }

    /// Drops the pages of a part of a tensor, and those around it in the same huge pages: the system may have mapped as much.
    pub fn release(&self, at: usize, part: Range<usize>) {
        let range = self.bytes(at, part);
        let base = self.map.as_ptr() as usize;
        let start = (base + range.start) / HUGE_PAGE * HUGE_PAGE;
        let end = (base + range.end).next_multiple_of(HUGE_PAGE);
        let range = start.saturating_sub(base)..(end - base).min(self.map.len());
        // SAFETY: the map is of a file and read-only, so a dropped page has the same bytes when it is read again. Pages that
        // are shared with a neighbouring part come back as well.
        let _ = unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
    }

    fn bytes(&self, at: usize, part: Range<usize>) -> Range<usize> {
        let tensor = &self.tensors[at];
        let byte = |n: usize| (tensor.start + 2 * n).min(tensor.end);
        byte(part.start)..byte(part.end)
    }
}

/// Whether a file begins with `header` and ends with the Blake2s of what lies between it and `end`.
fn is_whole(file: &File, header: &[u8], end: usize) -> io::Result<bool> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut begin = vec![0; header.len()];
    reader.read_exact(&mut begin)?;
    let mut hash = Blake2s256::new();
    let mut left = end - header.len();
    let mut piece = vec![0; 1 << 20];
    while left > 0 {
        let piece = &mut piece[..left.min(1 << 20)];
        reader.read_exact(piece)?;
        hash.update(&piece);
        left -= piece.len();
    }
    let mut checksum = [0; 32];
    reader.read_exact(&mut checksum)?;
    Ok(begin == header && hash.finalize()[..] == checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_those_of_the_file_and_come_back_when_released() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("integers");
        let tensors: [Vec<i16>; 3] = [vec![1, -2, 3], vec![], (0..5000).map(|v| v - 2500).collect()];
        let body: Vec<u8> = tensors.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        let whole = [&b"header"[..], &body, &Blake2s256::digest(&body)].concat();
        std::fs::write(&path, &whole).unwrap();
        let lens = [3, 0, 5000];
        let mapped = MappedIntegers::open(&path, b"header", &lens).unwrap().unwrap();
        for _ in 0..2 {
            for (at, t) in tensors.iter().enumerate() {
                mapped.read_ahead(at, 0..t.len() / 2);
                assert_eq!(mapped.tensor(at), t);
                mapped.release(at, 0..t.len());
                mapped.read_ahead(at, t.len()..t.len() + 9);
            }
        }
        assert!(MappedIntegers::open(&path, b"Header", &lens).unwrap().is_none());
        assert!(MappedIntegers::open(&path, b"header", &[3, 0, 4999]).unwrap().is_none());
        assert!(
            MappedIntegers::open(&path, b"header", &[usize::MAX, 2, 5000])
                .unwrap()
                .is_none()
        );
        for at in [7, whole.len() - 1] {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(MappedIntegers::open(&path, b"header", &lens).unwrap().is_none());
        }
    }
}
