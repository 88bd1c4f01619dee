//! HTTP: routes, errors, keys, limits, metrics. axum and tokio appear only here and in the program.
//!
//! A request passes, in this order: the accept loop ([`serve`]: connections, header timeouts), the edge (request id,
//! key, timeout, audit line, metrics), its handler (collection, body), and the pool, where the body is parsed, the
//! search runs and the answer is written. The reactor computes nothing but short searches, and those only while a thread of
//! the pool is idle (`pool`), and what short writes are checked for (`write`).
//!
//! Invariants: the key is checked by the matched route pattern before the body is read; every error is an RFC 9457
//! problem; every limit has a default and is named by the error that it causes.

mod accept;
mod body;
mod collections;
mod config;
mod copies;
mod docs;
mod edge;
mod health;
mod kept;
mod keys;
mod metrics;
mod pool;
mod problem;
mod profiles;
mod record;
mod routes;
mod search;
mod state;
mod stream;
mod write;

pub use accept::{ServerError, bind, serve};
pub use config::{Limits, ServerConfig};
pub use docs::openapi;
pub use keys::{Keys, KeysError, Scope};
pub use problem::{Kind, Problem};
pub use record::RecordSettings;
pub use routes::router;
pub use state::AppState;
