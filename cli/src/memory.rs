//! What the process keeps in memory.
//!
//! A proof allocates and frees vectors of many megabytes: memory that is kept costs no page faults the next time, so it is
//! kept, and in huge pages. Where memory is bounded it goes back to the system at once ([`give_back`]), and so do the pages of
//! the program that were used to compile a model ([`drop_program`]).

use std::ffi::c_long;

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay`: milliseconds after which freed pages go back to the system.
const PURGE_DELAY: mi_option_t = 15;

/// As long as the allocator waits where it is not told otherwise.
const DELAY: c_long = 1000;

/// From now on memory that is freed goes back to the system at once, and what was freed so far goes back now.
pub(crate) fn give_back() {
    // Huge pages are resident as a whole where a part is used.
    huge_pages(false);
    // SAFETY: both may be called at any time from any thread; the option is one of the allocator's version.
    unsafe {
        mi_option_set(PURGE_DELAY, 0);
        mi_collect(true);
    }
}

/// From now on memory is kept for a while again: there is enough.
pub(crate) fn keep() {
    huge_pages(true);
    // SAFETY: as above.
    unsafe { mi_option_set(PURGE_DELAY, DELAY) };
}

/// Whether the system may use huge pages. Where it does not take this there are some.
#[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
fn huge_pages(allowed: bool) {
    #[cfg(target_os = "linux")]
    {
        let (disabled, unused): (libc::c_ulong, libc::c_ulong) = (u8::from(!allowed).into(), 0);
        // SAFETY: it takes numbers and changes how later pages are mapped, not what they hold.
        let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, disabled, unused, unused, unused) };
    }
}

/// Drops the pages of the program's code, of which those that are needed come back: a model is compiled by other parts of it
/// than a proof is made by.
#[cfg(target_os = "linux")]
pub(crate) fn drop_program() {
    let Ok(program) = std::fs::read_link("/proc/self/exe") else {
        return;
    };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines().filter(|l| l.ends_with(&*program.to_string_lossy())) {
        if let Some((start, len)) = read_only(line) {
            // SAFETY: the pages are copies of a file that this process has never been able to write to, so they come back with the
            // same bytes.
            let _ = unsafe { libc::madvise(std::ptr::without_provenance_mut(start), len, libc::MADV_DONTNEED) };
        }
    }
}

/// As on Linux, where it can be done.
#[cfg(not(target_os = "linux"))]
pub(crate) fn drop_program() {}

/// Start and length of the mapping that a line of `/proc/self/maps` is about, where it was never writable: code, and the first
/// part of a file. Others are writable while the program is loaded.
#[cfg(target_os = "linux")]
fn read_only(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let never_written = rights == "r-xp" || (rights == "r--p" && offset.bytes().all(|b| b == b'0'));
    let (start, end) = range.split_once('-')?;
    let [start, end] = [start, end].map(|n| usize::from_str_radix(n, 16));
    let (start, end) = (start.ok()?, end.ok()?);
    never_written.then_some((start, end.checked_sub(start)?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_writable_is_dropped() {
        let line = |rights: &str, offset: &str| format!("1000-3000 {rights} {offset} 08:01 7    /bin/mlc");
        for (rights, offset) in [("r-xp", "00002000"), ("r--p", "00000000")] {
            assert_eq!(read_only(&line(rights, offset)), Some((0x1000, 0x2000)));
        }
        for (rights, offset) in [("r--p", "00004000"), ("rw-p", "00000000"), ("rwxp", "00002000")] {
            assert_eq!(read_only(&line(rights, offset)), None);
        }
        assert_eq!(read_only("no line"), None);
        // The program goes on.
        drop_program();
        give_back();
        keep();
        assert_eq!(vec![7u8; 1 << 20].len(), 1 << 20);
    }
}
