//! Durable order: records, frames, the engine, the head anchor, and the single writer.
//!
//! Nothing above this room knows which engine is below it.

pub mod anchor;
pub mod backup;
#[cfg(test)]
pub(crate) mod conformance;
pub mod data_dir;
pub mod durable;
pub mod engine;
pub mod export;
pub mod frame;
pub mod lanes;
pub mod record;
pub mod replay;
#[cfg(test)]
pub(crate) mod sim;
mod sled_engine;
#[cfg(test)]
pub(crate) mod testing;
pub mod volume;
pub mod volumes;
pub mod writer;
