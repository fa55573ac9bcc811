//! Makes journals ahead and removes old ones on a thread of its own, so that no use waits for either.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::config::Durability;
use crate::domain::ids::Position;
use crate::ledger::durable::{AbortOnPanic, fail_stop};
use crate::usage::journal::{Header, JournalError, JournalNumber, JournalWriter, Journals, Listed};

/// What the keeper works with.
pub(super) struct Shelf {
    pub(super) journals: Journals,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) head: Box<dyn Fn() -> Option<Position> + Send>,
    pub(super) durability: Durability,
    /// The journals that there must be.
    pub(super) roll: Vec<Listed>,
}

impl Shelf {
    /// Makes a journal, and puts it on the roll before it can hold uses.
    pub(super) fn make(
        &mut self,
        number: JournalNumber,
        first_of_run: bool,
    ) -> Result<JournalWriter, JournalError> {
        let header = Header {
            number,
            head: (self.head)(),
            created: self.clock.wall(),
            durability: self.durability,
            first_of_run,
        };
        let journal = self.journals.create(&header)?;
        self.roll.push(Listed::from(&header));
        self.journals.put_roll(&self.roll)?;
        Ok(journal)
    }

    /// Removes journals, which are taken off the roll before.
    fn remove(&mut self, numbers: &[JournalNumber]) -> Result<(), JournalError> {
        self.roll.retain(|listed| !numbers.contains(&listed.number));
        self.journals.put_roll(&self.roll)?;
        self.journals.remove(numbers)
    }
}

enum Order {
    Make(JournalNumber),
    Remove(Vec<JournalNumber>),
}

pub(super) struct Keeper {
    orders: Option<Sender<Order>>,
    made: Receiver<JournalWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(shelf: Shelf) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        let (done, made) = mpsc::channel();
        let thread = std::thread::Builder::new().name("usage-journals".to_owned());
        let thread = thread.spawn(move || keep(shelf, &ordered, &done))?;
        Ok(Keeper { orders: Some(orders), made, thread: Some(thread) })
    }

    /// Orders the journal that [`Keeper::made`] will give.
    pub(super) fn make(&self, number: JournalNumber) {
        self.order(Order::Make(number));
    }

    /// Has journals removed.
    pub(super) fn remove(&self, numbers: Vec<JournalNumber>) {
        self.order(Order::Remove(numbers));
    }

    /// The journal that was ordered; waits for it, if it is not there yet.
    pub(super) fn made(&self) -> JournalWriter {
        match self.made.recv() {
            Ok(journal) => journal,
            Err(error) => fail_stop("no usage journal is made any more", &error),
        }
    }

    fn order(&self, order: Order) {
        // It is there as long as this is; if it failed, the process ends.
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It ends the process rather than panic.
            let _ = thread.join();
        }
    }
}

fn keep(mut shelf: Shelf, ordered: &Receiver<Order>, done: &Sender<JournalWriter>) {
    let _guard = AbortOnPanic("the keeper of usage journals panicked");
    for order in ordered {
        match order {
            Order::Make(number) => match shelf.make(number, false) {
                // The recorder may have stopped; the next start removes the journal.
                Ok(journal) => drop(done.send(journal)),
                Err(error) => fail_stop("a usage journal could not be made", &error),
            },
            Order::Remove(numbers) => {
                // Nothing is lost: what is left is on record, and the next start has it removed.
                if let Err(error) = shelf.remove(&numbers) {
                    tracing::error!(%error, "usage journals on record could not be removed");
                }
            }
        }
    }
}
