//! The crash gate's parts.
//!
//! ```text
//! shim.c -> recorder -> trace -> disk -> modes -> tree      what was done, and what a crash leaves of it
//!           workloads, uses, backups, hand   points             the runs, and where they are crashed
//!           answers, truth, journal                         what the world was told, and what is so
//! gate -> case -> worker -> recovery -> verify, verify_uses  each state recovered apart, and held to that
//! controls, control_frames                                  what the gate must find
//! ```

#![allow(unreachable_pub, reason = "shared between the parts of one test binary")]

pub mod answers;
pub mod backups;
pub mod case;
pub mod control_frames;
pub mod controls;
pub mod dice;
pub mod disk;
pub mod gate;
pub mod hand;
pub mod journal;
pub mod modes;
pub mod points;
pub mod recorder;
pub mod recovery;
mod rules;
pub mod table;
pub mod trace;
pub mod tree;
pub mod truth;
pub mod uses;
pub mod verify;
mod verify_rules;
pub mod verify_uses;
mod verify_uses_rules;
pub mod worker;
pub mod workloads;
