//! Threads that write step back behind those that search: when both want the processor, the search has it.
//!
//! On Linux niceness belongs to a thread. It is raised, never lowered, so no privilege is needed; and a nice thread still
//! gets a share (at 10 about a tenth of what a search gets), so that a saturated server writes slowly, not never.

use rustix::process::setpriority_process;
use rustix::thread::gettid;

/// Of threads whose work an answer waits for: the committer, and those that link new nodes.
pub(super) const WRITING: i32 = 5;
/// Of threads that nobody waits for: sweeps, checkpoints, reopening.
pub(super) const KEEPING: i32 = 10;

/// Makes the calling thread nicer.
pub(super) fn step_back(niceness: i32) {
    if let Err(error) = setpriority_process(Some(gettid()), niceness) {
        tracing::debug!(niceness, "the thread keeps its priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;

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
