//! What a proxy that asks before it lets a request through has to be told, and what is taken from the request for
//! that. The same for every proxy, however it asks: pure, of headers as bytes.
//!
//! What the client sends is not believed but where it is a key: [`route`] comes from the proxy's own configuration,
//! and what [`identity`] names is taken out of the request before anything is put in.

pub mod context;
pub mod credential;
pub mod identity;
pub mod query;
pub mod refusal;
pub mod route;
