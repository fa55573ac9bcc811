//! Where in a trace to crash: few places decide, and they are looked at more often.

use super::dice::Dice;
use super::trace::Op;

/// The kinds of places, with their share of the points in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// While a server starts and recovers.
    Start,
    /// Right before a sync.
    BeforeSync,
    /// Before and after names change or a file gets shorter.
    Names,
    /// After a write.
    Write,
}

const SHARES: [(Class, usize); 4] =
    [(Class::Start, 35), (Class::BeforeSync, 25), (Class::Names, 15), (Class::Write, 25)];

impl Class {
    pub fn row(self) -> &'static str {
        match self {
            Class::Start => "start and recovery",
            Class::BeforeSync => "before a sync",
            Class::Names => "rename, unlink, truncate",
            Class::Write => "after a write",
        }
    }
}

/// The points of a trace by class. A point is how many operations were done before the crash.
#[derive(Debug)]
pub struct Points(Vec<(Class, usize, Vec<usize>)>);

impl Points {
    pub fn of(ops: &[Op]) -> Self {
        let mut points = Points(SHARES.map(|(class, share)| (class, share, Vec::new())).to_vec());
        let mut starting = true;
        for (at, op) in ops.iter().enumerate() {
            let [before, after] = [at, at + 1];
            match op {
                Op::Start => starting = true,
                Op::Said { .. } => starting = false,
                _ => {}
            }
            if starting {
                points.add(Class::Start, after);
            }
            match op {
                Op::Sync { .. } | Op::SyncData { .. } | Op::SyncAll => {
                    points.add(Class::BeforeSync, before);
                }
                Op::Rename { .. } | Op::Link { .. } | Op::Remove { .. } | Op::Length { .. } => {
                    points.add(Class::Names, before);
                    points.add(Class::Names, after);
                }
                Op::MakeFile { .. } | Op::MakeDir { .. } => points.add(Class::Names, after),
                Op::Write { .. } | Op::Allocate { .. } | Op::SyncRange { .. } => {
                    points.add(Class::Write, after);
                }
                _ => {}
            }
        }
        points.0.retain(|(_, _, points)| !points.is_empty());
        points
    }

    /// Only the points that `keep` holds for.
    pub fn only(mut self, keep: impl Fn(usize) -> bool) -> Self {
        self.0.iter_mut().for_each(|(_, _, points)| points.retain(|point| keep(*point)));
        self.0.retain(|(_, _, points)| !points.is_empty());
        self
    }

    fn add(&mut self, class: Class, point: usize) {
        let of_class = self.0.iter_mut().find(|(found, ..)| *found == class);
        of_class.expect("every class is there").2.push(point);
    }

    /// How many there are; one that is of two classes counts twice.
    pub fn count(&self) -> usize {
        self.0.iter().map(|(_, _, points)| points.len()).sum()
    }

    pub fn pick(&self, dice: &mut Dice) -> (Class, usize) {
        let mut at = dice.below(self.0.iter().map(|(_, share, _)| share).sum());
        for (class, share, points) in &self.0 {
            if at < *share {
                return (*class, dice.one_of(points));
            }
            at -= share;
        }
        unreachable!("the shares add up")
    }
}
