//! Tests of the usage projection, on real files.

mod erased;
mod files;
mod model;
mod queries;
