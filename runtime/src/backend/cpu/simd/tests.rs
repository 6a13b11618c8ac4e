//! Every operation of every implementation that this machine has, against stwo's scalars, on edge values and
//! pseudo-random ones.

use std::sync::atomic::{AtomicU8, Ordering};

use mlc_verifier::field::{M31, P, QM31};

use super::*;

static CEILING: AtomicU8 = AtomicU8::new(2);

const LEVELS: [Level; 3] = [Level::Portable, Level::Avx2, Level::Avx512];

/// The best level that kernels may use just now.
pub(crate) fn ceiling() -> Level {
    LEVELS[usize::from(CEILING.load(Ordering::Relaxed))]
}

/// Runs `f` under every ceiling, so that kernels are tested as other machines run them. All levels compute the same
/// words, so tests on other threads do not notice.
pub(crate) fn at_every_level(f: impl Fn(Level)) {
    for (i, level) in LEVELS.into_iter().enumerate() {
        CEILING.store(i as u8, Ordering::Relaxed);
        f(level);
    }
}

fn words() -> Vec<u32> {
    let edges = [
        0,
        1,
        2,
        3,
        P - 1,
        P - 2,
        1 << 30,
        (1 << 30) - 1,
        1 << 16,
        65535,
        P / 2,
        P / 2 + 1,
    ];
    let mut out = Vec::new();
    for a in edges {
        for b in edges {
            out.extend([a, b]);
        }
    }
    let mut s = 0x9e37_79b9_7f4a_7c15u64;
    while out.len() < 4096 {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        out.push((s >> 33) as u32 % P);
    }
    out
}

#[inline(always)]
fn binary<L: Lanes>(op: u32, a: &[u32], b: &[u32], out: &mut [u32]) {
    for at in (0..a.len()).step_by(L::N) {
        let (x, y) = (L::load(a, at), L::load(b, at));
        let r = match op {
            0 => x.add(y),
            1 => x.sub(y),
            2 => x.mul(y),
            3 => x.neg(),
            4 => x.double(),
            5 => x.wrapping_add(y),
            6 => x.xor(y),
            7 => x.and(y),
            8 => x.rotr(7),
            9 => x.rotr(16),
            10 => L::wide_reduce(x.mul_wide(y)),
            11 => L::wide_reduce(L::wide_fold(x.mul_wide(y))),
            12 => {
                let p = x.mul_wide(y);
                L::wide_reduce(L::wide_add(L::wide_add(p, p), L::wide_add(p, p)))
            }
            _ => L::splat(x.sum()),
        };
        r.store(out, at);
    }
}

#[inline(always)]
fn quartic<L: Lanes>(op: u32, a: [&[u32]; 4], b: [&[u32]; 4], mut out: [&mut [u32]; 4]) {
    for at in (0..a[0].len()).step_by(L::N) {
        let (x, y) = (Packed::<L>::load(&a, at), Packed::<L>::load(&b, at));
        let r = match op {
            0 => x.add(y),
            1 => x.sub(y),
            2 => x.mul(y),
            3 => x.mul_base(y.0[0]),
            4 => x.mul_base_wide(y.0[0]).reduce(),
            _ => x.mul_wide(y).fold().add(x.mul_wide(y).fold()).reduce(),
        };
        r.store(&mut out, at);
    }
}

#[inline(always)]
fn exchange<L: Lanes>(words: &[u32], lanes: &mut usize, out: &mut Vec<(usize, Vec<u32>, Vec<u32>)>) {
    *lanes = L::N;
    let mut block = 1;
    while block < L::N {
        let (a, b) = (L::load(words, 0), L::load(words, L::N));
        let (even, odd) = a.interleave(b, block);
        let (mut x, mut y) = (vec![0; L::N], vec![0; L::N]);
        even.store(&mut x, 0);
        odd.store(&mut y, 0);
        out.push((block, x, y));
        let (c, d) = even.interleave(odd, block);
        let (mut x, mut y) = (vec![0; L::N], vec![0; L::N]);
        c.store(&mut x, 0);
        d.store(&mut y, 0);
        assert_eq!((&x[..], &y[..]), (&words[..L::N], &words[L::N..2 * L::N]));
        block *= 2;
    }
}

type Binary = fn(u32, &[u32], &[u32], &mut [u32]);
type Quartic = fn(u32, [&[u32]; 4], [&[u32]; 4], [&mut [u32]; 4]);

dispatch! {
    fn best_binary(op: u32, a: &[u32], b: &[u32], out: &mut [u32]) = binary;
    fn best_quartic(op: u32, a: [&[u32]; 4], b: [&[u32]; 4], out: [&mut [u32]; 4]) = quartic;
    fn best_exchange(words: &[u32], lanes: &mut usize, out: &mut Vec<(usize, Vec<u32>, Vec<u32>)>) = exchange;
}

#[cfg(target_arch = "x86_64")]
fn avx2_binary(op: u32, a: &[u32], b: &[u32], out: &mut [u32]) {
    #[target_feature(enable = "avx2")]
    fn inner(op: u32, a: &[u32], b: &[u32], out: &mut [u32]) {
        binary::<Avx2>(op, a, b, out);
    }
    assert!(level() >= Level::Avx2);
    // SAFETY: checked above.
    unsafe { inner(op, a, b, out) }
}

#[cfg(target_arch = "x86_64")]
fn avx2_quartic(op: u32, a: [&[u32]; 4], b: [&[u32]; 4], out: [&mut [u32]; 4]) {
    #[target_feature(enable = "avx2")]
    fn inner(op: u32, a: [&[u32]; 4], b: [&[u32]; 4], out: [&mut [u32]; 4]) {
        quartic::<Avx2>(op, a, b, out);
    }
    assert!(level() >= Level::Avx2);
    // SAFETY: checked above.
    unsafe { inner(op, a, b, out) }
}

fn implementations() -> Vec<(Binary, Quartic)> {
    let mut out: Vec<(Binary, Quartic)> = vec![(binary::<Portable>, quartic::<Portable>), (best_binary, best_quartic)];
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx2 {
        out.push((avx2_binary, avx2_quartic));
    }
    out
}

#[test]
fn words_agree_with_stwo() {
    let a = words();
    let mut b = a.clone();
    b.rotate_left(1);
    for (implementation, (f, _)) in implementations().into_iter().enumerate() {
        for op in 0..13 {
            let mut out = vec![0; a.len()];
            f(op, &a, &b, &mut out);
            for (i, (&x, &y)) in a.iter().zip(&b).enumerate() {
                let (mx, my) = (M31::from_u32_unchecked(x), M31::from_u32_unchecked(y));
                let want = match op {
                    0 => (mx + my).0,
                    1 => (mx - my).0,
                    2 | 10 | 11 => (mx * my).0,
                    3 => (-mx).0,
                    4 => (mx + mx).0,
                    5 => x.wrapping_add(y),
                    6 => x ^ y,
                    7 => x & y,
                    8 => x.rotate_right(7),
                    9 => x.rotate_right(16),
                    _ => (mx * my * M31::from(4u32)).0,
                };
                assert_eq!(out[i], want, "implementation {implementation}, op {op}: {x} {y}");
            }
        }
        let mut out = vec![0; a.len()];
        f(13, &a, &b, &mut out);
        let sum = |n: usize| {
            a[..n]
                .iter()
                .map(|&w| M31::from(w))
                .fold(M31::from(0u32), |s, w| s + w)
                .0
        };
        assert!([1, 8, 16].map(sum).contains(&out[0]));
    }
}

#[test]
fn extension_elements_agree_with_stwo() {
    let w = words();
    let n = 1024;
    let a: [&[u32]; 4] = std::array::from_fn(|k| &w[k * n..][..n]);
    let shifted: Vec<u32> = w.iter().rev().copied().collect();
    let b: [&[u32]; 4] = std::array::from_fn(|k| &shifted[k * n..][..n]);
    let at = |c: &[&[u32]; 4], i: usize| QM31::from_u32_unchecked(c[0][i], c[1][i], c[2][i], c[3][i]);
    for (_, f) in implementations() {
        for op in 0..6 {
            let mut out = vec![vec![0; n]; 4];
            let [o0, o1, o2, o3] = &mut out[..] else { unreachable!() };
            f(op, a, b, [o0, o1, o2, o3]);
            for i in 0..n {
                let (x, y) = (at(&a, i), at(&b, i));
                let base = QM31::from(M31::from_u32_unchecked(b[0][i]));
                let want = match op {
                    0 => x + y,
                    1 => x - y,
                    2 => x * y,
                    3 | 4 => x * base,
                    _ => x * y + x * y,
                };
                let got = QM31::from_u32_unchecked(out[0][i], out[1][i], out[2][i], out[3][i]);
                assert_eq!(got, want, "op {op}: {x} {y}");
            }
        }
    }
}

#[test]
fn interleave_exchanges_blocks() {
    let w = words();
    let check = |lanes: usize, got: Vec<(usize, Vec<u32>, Vec<u32>)>| {
        let (a, b) = (&w[..lanes], &w[lanes..2 * lanes]);
        for (block, even, odd) in got {
            for i in 0..lanes {
                let upper = (i / block) % 2 == 1;
                assert_eq!(even[i], if upper { b[i - block] } else { a[i] });
                assert_eq!(odd[i], if upper { b[i] } else { a[i + block] });
            }
        }
    };
    let (mut lanes, mut out) = (0, Vec::new());
    exchange::<Portable>(&w, &mut lanes, &mut out);
    check(lanes, std::mem::take(&mut out));
    best_exchange(&w, &mut lanes, &mut out);
    check(lanes, std::mem::take(&mut out));
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx2 {
        #[target_feature(enable = "avx2")]
        fn inner(words: &[u32], lanes: &mut usize, out: &mut Vec<(usize, Vec<u32>, Vec<u32>)>) {
            exchange::<Avx2>(words, lanes, out);
        }
        // SAFETY: checked above.
        unsafe { inner(&w, &mut lanes, &mut out) };
        check(lanes, out);
    }
}
