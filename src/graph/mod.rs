//! HNSW over node numbers.
