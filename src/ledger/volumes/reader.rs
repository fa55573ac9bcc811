//! Reading the whole history: ring, live volume and sealed files alike, beside the writer.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;

use super::ring::Ring;
use crate::domain::ids::Position;
use crate::domain::subject::Subject;
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::frame::Frame;
use crate::ledger::sled_engine::{SledFrames, SledReader, SledVolume};
use crate::ledger::volume::{Sealed, SealedFrames, SealedVolume};

/// A volume in sled, as readers see it.
#[derive(Clone, Debug)]
pub(super) struct LivePart {
    number: u64,
    reader: SledReader,
    /// Bytes of its frames.
    bytes: Arc<AtomicU64>,
}

impl LivePart {
    pub(super) fn of(number: u64, volume: &SledVolume, bytes: u64) -> Self {
        LivePart { number, reader: volume.reader(), bytes: Arc::new(AtomicU64::new(bytes)) }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn reader(&self) -> &SledReader {
        &self.reader
    }
}

/// All volumes in order: the sealed ones, then those in sled.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) sealed: Vec<SealedVolume>,
    pub(super) live: Vec<LivePart>,
}

/// What the writer, the sealer and all readers share.
#[derive(Debug)]
pub(super) struct Shared {
    dir: PathBuf,
    parts: ArcSwap<Parts>,
    ring: RwLock<Ring>,
    /// The last durable position, 0 if none: nothing beyond it is shown.
    durable: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        dir: &Path,
        sealed: Vec<SealedVolume>,
        live: Vec<LivePart>,
        head: Option<Position>,
    ) -> Self {
        Shared {
            dir: dir.to_owned(),
            parts: ArcSwap::from_pointee(Parts { sealed, live }),
            ring: RwLock::default(),
            durable: AtomicU64::new(head.map_or(0, Position::get)),
        }
    }

    /// Shows a frame that has become durable.
    pub(super) fn appended(&self, frame: &Frame) {
        if let Some(part) = self.parts.load().live.last() {
            part.bytes.fetch_add(frame.as_bytes().len() as u64, Ordering::Relaxed);
        }
        self.ring.write().unwrap_or_else(PoisonError::into_inner).push(frame.clone());
        self.durable.store(frame.last().get(), Ordering::Release);
    }

    /// Shows the volume that the next frames go to. MUST come before the first of them.
    pub(super) fn add_live(&self, part: &LivePart) {
        self.parts.rcu(|parts| {
            let mut parts = Parts::clone(parts);
            parts.live.push(part.clone());
            parts
        });
    }

    /// Shows a sealed volume in the place of the one in sled.
    pub(super) fn replace_by_sealed(&self, volume: &SealedVolume) {
        let number = volume.sealed().number;
        self.parts.rcu(|parts| {
            let mut parts = Parts::clone(parts);
            parts.live.retain(|part| part.number != number);
            parts.sealed.push(volume.clone());
            parts
        });
    }

    /// All volumes as they are now.
    pub(super) fn parts(&self) -> Arc<Parts> {
        self.parts.load_full()
    }

    /// The directory of the ledger.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn volume(&self, number: u64) -> Result<SealedVolume, LedgerError> {
        let parts = self.parts.load();
        let volume = parts.sealed.iter().find(|volume| volume.sealed().number == number);
        volume.cloned().ok_or(LedgerError::MissingVolume { number })
    }

    fn is_durable(&self, position: Position) -> bool {
        position.get() <= self.durable.load(Ordering::Acquire)
    }

    fn in_ring(&self, position: Position) -> Option<Frame> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).frame_at(position)
    }

    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError> {
        if !self.is_durable(position) {
            return Ok(None);
        }
        if let Some(frame) = self.in_ring(position) {
            return Ok(Some(frame));
        }
        let parts = self.parts.load();
        let frame = match parts.find(position) {
            Some(Part::Sealed(volume)) => Some(volume.frame_at(position)?),
            Some(Part::Live(part)) => part.reader.frame_at(position)?,
            None => None,
        };
        frame.map(Some).ok_or(LedgerError::MissingFrame { position })
    }

    fn frames_at(&self, position: Position) -> Result<PartFrames, LedgerError> {
        let parts = self.parts.load();
        match parts.find(position) {
            Some(Part::Sealed(volume)) => Ok(PartFrames::Sealed(volume.frames_from(position)?)),
            Some(Part::Live(part)) => {
                Ok(PartFrames::Live(Box::new(part.reader.frames_from(position))))
            }
            None => Err(LedgerError::MissingFrame { position }),
        }
    }
}

enum Part<'a> {
    Sealed(&'a SealedVolume),
    Live(&'a LivePart),
}

impl Parts {
    /// The volume that holds `position`, if any does.
    fn find(&self, position: Position) -> Option<Part<'_>> {
        let live = self.live.iter().rev().find(|part| part.reader.first() <= position);
        if let Some(part) = live {
            return Some(Part::Live(part));
        }
        let behind = self.sealed.partition_point(|volume| volume.sealed().first <= position);
        let volume = self.sealed.get(behind.checked_sub(1)?)?;
        (position <= volume.sealed().last).then_some(Part::Sealed(volume))
    }
}

enum PartFrames {
    Sealed(SealedFrames),
    Live(Box<SledFrames>),
}

impl PartFrames {
    fn read_next(&mut self) -> Result<Option<Frame>, LedgerError> {
        match self {
            PartFrames::Sealed(frames) => frames.read_next(),
            PartFrames::Live(frames) => frames.read_next(),
        }
    }
}

/// A reader of all durable frames.
#[derive(Debug)]
pub(super) struct VolumeReader {
    shared: Arc<Shared>,
}

impl VolumeReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        VolumeReader { shared }
    }

    /// The frame behind those read so far; `frames` is the volume that is being read.
    fn next_frame(
        &self,
        next: Position,
        frames: &mut Option<PartFrames>,
    ) -> Result<Frame, LedgerError> {
        if frames.is_none()
            && let Some(frame) = self.shared.in_ring(next)
        {
            return Ok(frame);
        }
        match frames.as_mut().map(PartFrames::read_next).transpose() {
            Ok(Some(Some(frame))) => return Ok(frame),
            // Behind the last frame of a volume the next one begins. A scan of sled does not see what
            // was appended to the leaf it stands in since it got there: that is looked for anew, and
            // what is missing then is missing.
            Ok(_) | Err(LedgerError::MissingFrame { .. }) => {}
            Err(error) => return Err(error),
        }
        let behind = frames.insert(self.shared.frames_at(next)?);
        behind.read_next()?.ok_or(LedgerError::MissingFrame { position: next })
    }
}

impl LedgerReader for VolumeReader {
    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError> {
        self.shared.frame_at(position)
    }

    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_> {
        let mut next = position;
        let mut frames = None;
        let mut failed = false;
        Box::new(std::iter::from_fn(move || {
            if failed || !self.shared.is_durable(next) {
                return None;
            }
            let frame = self.next_frame(next, &mut frames);
            match &frame {
                Ok(frame) => next = frame.last().next(),
                Err(_) => failed = true,
            }
            Some(frame)
        }))
    }

    fn sealed(&self) -> Vec<Sealed> {
        self.shared.parts.load().sealed.iter().map(SealedVolume::sealed).collect()
    }

    fn unsealed_bytes(&self) -> u64 {
        let parts = self.shared.parts.load();
        parts.live.iter().map(|part| part.bytes.load(Ordering::Relaxed)).sum()
    }

    fn sealed_file(&self, number: u64) -> Result<File, LedgerError> {
        self.shared.volume(number)?.file()
    }

    fn last_in_sealed(
        &self,
        number: u64,
        subject: &Subject,
    ) -> Result<Option<Position>, LedgerError> {
        self.shared.volume(number)?.last_of(subject)
    }
}
