//! Threads that write step back behind those that search: when both want the processor, the search has it.
//!
//! On Linux niceness belongs to a thread. It is raised, never lowered, so no privilege is needed; and a nice thread still
//! gets a share (at 10 about a tenth of what a search gets), so that a saturated server writes slowly, not never.
//! But niceness alone does not make it leave: a thread that runs keeps its slice of some milliseconds even when a search
//! wakes up. So long work gives way by itself, in every loop that takes longer than a search.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;
use rustix::thread::gettid;

/// Of threads whose work an answer waits for: the committer, and those that link new nodes.
pub(crate) const WRITING: i32 = 5;
/// Of threads that nobody waits for: sweeps, checkpoints, reopening.
pub(crate) const KEEPING: i32 = 10;

/// How long a thread works before it lets others run, and how long it then rests while searches are answered.
/// Shorter and longer turns, and shorter rests, were no better for the searches' tail (docs/benchmarks.md, "Searches beside writes").
const TURN: Duration = Duration::from_micros(500);
const REST: Duration = Duration::from_micros(2_000);
/// Calls between two looks at the clock.
const STEPS: u32 = 16;
/// So long after a search, in milliseconds, the next is expected.
const LATELY: u64 = 20;

thread_local! {
    static TURNS: Cell<(u32, Option<Instant>)> = const { Cell::new((0, None)) };
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Milliseconds from `START` to the last search.
static SEARCHED: AtomicU64 = AtomicU64::new(0);
/// The same to the last look at threads that work for long and do not give way, and 1 more; 0 before.
static WORKED: AtomicU64 = AtomicU64::new(0);
/// So long after such work, in milliseconds, there may be more.
const STILL: u64 = 200;

/// A search begins: long work gives way to those that follow.
pub(crate) fn note_search() {
    SEARCHED.store(START.elapsed().as_millis() as u64, Relaxed);
}

/// Threads do long work that does not give way, or are about to.
pub(crate) fn note_work() {
    WORKED.store(START.elapsed().as_millis() as u64 + 1, Relaxed);
}

/// Whether there was no such work lately: searches have the processors nearly to themselves.
pub(crate) fn is_alone() -> bool {
    let worked = WORKED.load(Relaxed);
    worked == 0 || START.elapsed().as_millis() as u64 >= worked + STILL
}

/// Lets others run, if the calling thread has worked for long. To be called often: it is cheap. Not while holding a lock.
pub(crate) fn give_way() {
    let (steps, since) = TURNS.get();
    if steps < STEPS {
        return TURNS.set((steps + 1, since));
    }
    let over = since.is_none_or(|since| since.elapsed() >= TURN);
    if over {
        let now = START.elapsed().as_millis() as u64;
        match now.saturating_sub(SEARCHED.load(Relaxed)) < LATELY {
            true => std::thread::sleep(REST),
            false => std::thread::yield_now(),
        }
    }
    TURNS.set((0, if over { Some(Instant::now()) } else { since }));
}

/// As `give_way`, of work whose steps are long: it looks at the clock each time.
pub(crate) fn give_way_now() {
    TURNS.set((STEPS, TURNS.get().1));
    give_way();
}

/// Makes the calling thread nicer.
pub(crate) fn step_back(niceness: i32) {
    if let Err(error) = setpriority_process(Some(gettid()), niceness) {
        tracing::debug!(niceness, "the thread keeps its priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;

    #[test]
    fn whoever_works_is_seen() {
        note_work();
        assert!(!is_alone());
    }

    #[test]
    fn only_the_thread_steps_back() {
        let before = getpriority_process(None).expect("readable");
        let stepped = std::thread::spawn(|| {
            step_back(KEEPING);
            getpriority_process(Some(gettid())).expect("readable")
        });
        assert_eq!(stepped.join().expect("no panic"), KEEPING.max(before));
        assert_eq!(getpriority_process(Some(gettid())).expect("readable"), before);
    }
}
