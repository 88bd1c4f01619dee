//! Settings of a server. Every limit is on by default.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Keys, RecordSettings};
use crate::collection::SearchLimits;

/// Settings of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen, 127.0.0.1:7700 unless set.
    pub listen: SocketAddr,
    /// Who may come in; everybody without keys.
    pub keys: Option<Keys>,
    /// Listen on an address that others can reach although there are no keys.
    pub allow_public_without_keys: bool,
    /// What requests may ask for.
    pub limits: Limits,
    /// Threads that search; one a core unless set.
    pub threads: usize,
    /// How often to look for newly published indexes.
    pub reload_every: Duration,
    /// Verify the files before the server is ready; otherwise in the background.
    pub verify_at_start: bool,
    /// How fast the files that are served are read to verify them in the background.
    pub verify_bytes_per_second: u64,
    /// Which searches are recorded; none unless set.
    pub record: Option<RecordSettings>,
    /// How long running requests may take to finish when the server stops.
    pub shutdown_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7700)),
            keys: None,
            allow_public_without_keys: false,
            limits: Limits::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            reload_every: Duration::from_secs(2),
            verify_at_start: true,
            verify_bytes_per_second: 32 << 20,
            record: None,
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

/// What requests may ask for. Errors name the setting as `limits.<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Limits of one search.
    pub search: SearchLimits,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Searches in one batch.
    pub batch: usize,
    /// Bytes of a batch's answers after which no more of its searches are answered.
    pub answer_bytes: usize,
    /// Searches that wait for a thread; more are refused with 503.
    pub queue: usize,
    /// Exports and backups that are under way at once; more are refused with 503.
    pub copies: usize,
    /// Open connections; more wait in the kernel's backlog.
    pub connections: usize,
    /// Time for a client to send a request's head, from the connection or the answer before; so idle connections
    /// are closed after it.
    pub header_timeout: Duration,
    /// Time for a client to send a request's body.
    pub body_timeout: Duration,
    /// Time for a request in all.
    pub request_timeout: Duration,
    /// Time that a search waits for its `min_seq`.
    pub min_seq_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            search: SearchLimits::default(),
            body_bytes: 16 << 20,
            batch: 1_000,
            answer_bytes: 256 << 20,
            queue: 1_024,
            copies: 4,
            connections: 1_024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(20),
            request_timeout: Duration::from_secs(30),
            min_seq_wait: Duration::from_secs(1),
        }
    }
}
