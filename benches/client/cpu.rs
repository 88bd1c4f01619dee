//! Which core a process runs on, and the CPU time that it used, to the nanosecond.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A command that stays on one core, with all threads that it starts. The core is taken modulo those that there are.
pub fn on(core: usize, program: &Path) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &(core % cores).to_string()]).arg(program);
    command
}

/// CPU time of all threads that a process has now; those that ended are not in it.
pub fn of_process(process: &str) -> Duration {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return Duration::ZERO };
    threads.filter_map(|thread| Some(of_thread(&thread.ok()?.path()))).sum()
}

/// The first number of a thread's `schedstat`: nanoseconds on a processor.
fn of_thread(thread: &Path) -> Duration {
    let text = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}
