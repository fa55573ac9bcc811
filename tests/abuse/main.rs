//! HTTP/2 as nobody should speak it, spoken to the real program: it answers everybody else meanwhile and afterwards, and
//! its memory stays bounded. Every attack is bounded in count; none depends on how fast the machine is.

#[path = "../common/mod.rs"]
mod common;
mod frames;
mod headers;
mod messages;
mod streams;
mod target;
