//! Read models folded from events. The key table answers Authenticate, the usage projection who used which key how
//! often; each can be dropped and rebuilt from the log at any time.

mod callers;
mod certificate_names;
pub mod directory;
pub mod ends;
mod id_hash;
pub mod key_table;
mod places;
pub(crate) mod private;
pub mod rate_windows;
pub mod snapshot;
pub mod table_writer;
mod tallies;
pub mod tiles;
pub mod usage;
