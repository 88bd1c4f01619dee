//! Exact ground truth, recall, latency curves.
