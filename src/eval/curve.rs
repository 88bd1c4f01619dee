//! Recall and latency at one setting of the search.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{EvalError, recall};
use crate::index::{Candidate, Index, QueryError, SearchParams};

/// Timed passes over the queries are repeated until about this much time is spent, so that few queries measure well.
const AT_LEAST: Duration = Duration::from_millis(500);
const MOST_PASSES: usize = 100;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Items wanted.
    pub k: usize,
    /// Pool width of the walk.
    pub ef: usize,
    /// Threads that query at the same time.
    pub threads: usize,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Items wanted.
    pub k: usize,
    /// Pool width of the walk.
    pub ef: usize,
    /// Threads that queried at the same time.
    pub threads: usize,
    /// Mean over the queries.
    pub recall: f64,
    /// Queries a second, of all threads together.
    pub qps: f64,
    /// Median latency of a query, microseconds.
    pub p50_us: f64,
    /// 95th percentile.
    pub p95_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// Nodes whose distance was computed, mean of a query.
    pub visited: f64,
}

/// Measures one setting. A first pass over all queries warms up and gives recall; the following ones are timed,
/// query by query, from the plain vector to the list of candidates.
pub fn measure(
    index: &Index,
    queries: &[Vec<f32>],
    truth: &[Vec<Candidate>],
    setting: Setting,
) -> Result<Point, EvalError> {
    let Setting { k, ef, threads } = setting;
    let queries = &queries[..queries.len().min(truth.len())];
    if queries.is_empty() {
        return Err(EvalError::NoQueries);
    }
    let params = SearchParams { k, ef, allowed: None, exact: false };
    let warm = warm_up(index, queries, truth, &params, threads.max(1))?;
    let passes = AT_LEAST.as_secs_f64() / warm.took.as_secs_f64().max(1e-6);
    let passes = (passes.ceil() as usize).clamp(1, MOST_PASSES);
    let Timed { begun, ended, mut latencies } = timed(index, queries, &params, threads.max(1), passes)?;
    let took = ended.duration_since(begun);
    latencies.sort_unstable();
    let count = queries.len() as f64;
    Ok(Point {
        k,
        ef,
        threads: threads.max(1),
        recall: warm.recall / count,
        qps: latencies.len() as f64 / took.as_secs_f64().max(1e-9),
        p50_us: percentile(&latencies, 0.50),
        p95_us: percentile(&latencies, 0.95),
        p99_us: percentile(&latencies, 0.99),
        visited: warm.visited as f64 / count,
    })
}

/// Sums over a pass.
#[derive(Debug, Default)]
struct Warm {
    recall: f64,
    visited: u64,
    /// Time in searches, all threads together, over the number of threads.
    took: Duration,
}

fn warm_up(
    index: &Index,
    queries: &[Vec<f32>],
    truth: &[Vec<Candidate>],
    params: &SearchParams<'_>,
    threads: usize,
) -> Result<Warm, EvalError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut sum = Warm::default();
        while let Some((row, vector)) = take(&next, queries, 1) {
            let refused = |source| EvalError::Query { row, source };
            let begun = Instant::now();
            let query = index.query(vector).map_err(refused)?;
            let found = index.search(&query, params).map_err(refused)?;
            sum.took += begun.elapsed();
            sum.visited += found.visited as u64;
            sum.recall += recall(index, &query, &found.candidates, &truth[row]);
        }
        Ok(sum)
    };
    let parts: Vec<Result<Warm, EvalError>> = on_threads(threads, &work);
    let mut all = Warm::default();
    for part in parts {
        let part = part?;
        all.recall += part.recall;
        all.visited += part.visited;
        all.took += part.took;
    }
    all.took /= u32::try_from(threads).unwrap_or(u32::MAX);
    Ok(all)
}

/// When the first query began and the last ended, and each one's latency in nanoseconds.
struct Timed {
    begun: Instant,
    ended: Instant,
    latencies: Vec<u64>,
}

/// Times `passes` passes.
fn timed(
    index: &Index,
    queries: &[Vec<f32>],
    params: &SearchParams<'_>,
    threads: usize,
    passes: usize,
) -> Result<Timed, EvalError> {
    let next = AtomicUsize::new(0);
    let ready = Barrier::new(threads);
    let work = || {
        let mut latencies = Vec::with_capacity(queries.len() * passes / threads + 1);
        ready.wait();
        let begun = Instant::now();
        while let Some((row, vector)) = take(&next, queries, passes) {
            let begun = Instant::now();
            let found = index.query(vector).and_then(|query| index.search(&query, params));
            let took = begun.elapsed();
            let found = found.map_err(|source: QueryError| EvalError::Query { row, source })?;
            std::hint::black_box(&found.candidates);
            latencies.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        Ok(Timed { begun, ended: Instant::now(), latencies })
    };
    let parts: Vec<Result<Timed, EvalError>> = on_threads(threads, &work);
    let mut all: Option<Timed> = None;
    for part in parts {
        let part = part?;
        all = Some(match all {
            None => part,
            Some(all) => all.and(part),
        });
    }
    all.ok_or(EvalError::NoQueries)
}

impl Timed {
    /// Of two threads, as one.
    fn and(mut self, other: Timed) -> Timed {
        self.begun = self.begun.min(other.begun);
        self.ended = self.ended.max(other.ended);
        self.latencies.extend(other.latencies);
        self
    }
}

/// The next query that no thread has taken.
fn take<'a>(next: &AtomicUsize, queries: &'a [Vec<f32>], passes: usize) -> Option<(usize, &'a Vec<f32>)> {
    let turn = next.fetch_add(1, Ordering::Relaxed);
    let row = turn % queries.len();
    (turn < queries.len() * passes).then(|| (row, &queries[row]))
}

fn on_threads<T: Send>(threads: usize, work: &(dyn Fn() -> T + Sync)) -> Vec<T> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Of sorted nanoseconds, in microseconds: the smallest that at least this share does not exceed.
fn percentile(sorted: &[u64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).map_or(0.0, |nanos| *nanos as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let nanos: Vec<u64> = (1..=100).map(|number| number * 1000).collect();
        assert_eq!(percentile(&nanos, 0.50), 50.0);
        assert_eq!(percentile(&nanos, 0.99), 99.0);
        assert_eq!(percentile(&[7000], 0.99), 7.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }

    #[test]
    fn every_query_is_taken_once_a_pass() {
        let queries: Vec<Vec<f32>> = (0..5).map(|number| vec![number as f32]).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut taken = Vec::new();
            while let Some((row, _)) = take(&next, &queries, 3) {
                taken.push(row);
            }
            taken
        };
        let mut all: Vec<usize> = on_threads(4, &work).into_iter().flatten().collect();
        all.sort_unstable();
        let wanted: Vec<usize> = (0..15).map(|turn| turn / 3).collect();
        assert_eq!(all, wanted);
    }
}
