//! What the recorder does with uses: their bytes for the journal, and their windows for the log.

use std::collections::HashMap;
use std::time::Duration;

use crate::app::uses::sealer::{self, SealerInbox};
use crate::domain::usage::Use;
use crate::domain::usage::used::{GapCause, UsageGap};
use crate::random::{self, Random};
use crate::usage::entry::{self, Encoder};
use crate::usage::journal::JournalNumber;
use crate::usage::open_windows::OpenWindows;
use crate::usage::recorder::{Batch, Ended, Fold, Shed};

/// Random numbers that draw samples: not to be foreseen by who is sampled, and no more than that.
pub(crate) struct Ranks(u64);

impl Ranks {
    pub(crate) fn new(random: &dyn Random) -> Self {
        Ranks(u64::from_be_bytes(random::bytes(random)))
    }

    /// The next number; SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// Folds uses as they are flushed.
pub(crate) struct UseFold {
    open: HashMap<JournalNumber, OpenWindows>,
    span: Duration,
    ranks: Ranks,
    encoder: Encoder,
    inbox: SealerInbox,
}

impl UseFold {
    /// Into windows of `span`, which go to `inbox` when their journal has ended.
    pub(crate) fn new(span: Duration, ranks: Ranks, inbox: SealerInbox) -> Self {
        UseFold { open: HashMap::new(), span, ranks, encoder: Encoder::default(), inbox }
    }
}

impl Fold for UseFold {
    type Entry = Use;

    fn flush(&mut self, batch: &Batch, entries: impl Iterator<Item = Use>, payload: &mut Vec<u8>) {
        self.inbox.note_open(batch.journal.get(), batch.window);
        entry::encode_head(self.span, batch.shed, payload);
        let open = self.open.entry(batch.journal).or_default();
        for used in entries {
            self.encoder.put(&used, payload);
            open.add_use(&used, self.span, self.ranks.next());
        }
        open.add_shed(batch.shed);
    }

    fn ended(&mut self, ended: Ended) {
        let Some(windows) = self.open.remove(&ended.journal) else { return };
        let (parts, shed) = windows.into_parts();
        let journal = ended.journal.get();
        // Most of the time until the next one ends, so that there is some to catch up in.
        let spread = self.span / 4 * 3;
        self.inbox.put(sealer::Ended { journal, parts, gaps: shed_gaps(journal, &shed), spread });
    }
}

/// What was shed of a journal's uses, as it goes on record.
pub(crate) fn shed_gaps(journal: u64, shed: &[Shed]) -> Vec<UsageGap> {
    let gaps = shed.iter().zip(0..).map(|(Shed { count, from, to }, part)| UsageGap {
        journal,
        part,
        cause: GapCause::Shed,
        from: *from,
        to: *to,
        lost: Some(*count),
    });
    gaps.collect()
}
