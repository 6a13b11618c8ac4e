//! Pieces of a mapped file, read by a thread of their own while others are worked on.
//!
//! Whoever goes through a file says which piece comes after the one at work. Saying so waits until the reader has the piece that
//! was named before, so that at most one is resident beside the one at work, however slow the disk is.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use memmap2::Mmap;

/// A page of the smallest size there is.
const PAGE: usize = 4096;

/// The reader of one map; it ends with this value.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Without room: a piece is handed over when the reader has nothing to do.
    pieces: SyncSender<Range<usize>>,
}

impl Ahead {
    pub(super) fn of(map: Arc<Mmap>) -> io::Result<Self> {
        let (pieces, named) = sync_channel::<Range<usize>>(0);
        let reader = thread::Builder::new().name("weights".to_owned());
        reader.spawn(move || {
            for piece in named {
                for byte in map[piece].iter().step_by(PAGE) {
                    std::hint::black_box(*byte);
                }
            }
        })?;
        Ok(Self { pieces })
    }

    /// Waits until the piece named before is read, and has the bytes of `piece` read in the background.
    pub(super) fn read(&self, piece: Range<usize>) {
        // Where the reader has gone, pages are read when they are worked on.
        let _ = self.pieces.send(piece);
    }
}
