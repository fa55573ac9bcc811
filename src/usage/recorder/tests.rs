//! The recorder on real files, with a clock that stands still and a disk that can be held up.

mod durability;
mod fail_stop;
mod house;
mod journals;
