//! Tests of the usage projection, on real files.

mod model;
mod queries;
