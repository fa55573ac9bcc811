//! How far something long has come: told to whoever shows it to people.

/// Is told of one long piece of work at a time. An implementation MUST be quick: it is called often.
pub trait Progress: Send + Sync {
    /// Work begins: `what` in a few words, in `total` steps.
    fn begin(&self, what: &'static str, total: u64);
    /// So many steps are done.
    fn reached(&self, done: u64);
    /// The work that was begun last has ended.
    fn end(&self);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &'static str, _: u64) {}
    fn reached(&self, _: u64) {}
    fn end(&self) {}
}
