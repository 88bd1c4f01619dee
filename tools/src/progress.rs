//! Progress of long jobs on standard error: a bar on a terminal, a line now and then anywhere else.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::input::grouped;

/// Time between two lines where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{name} {bar:30} {done}  {rate}  {left}";

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// A bar that is redrawn.
    Bar,
    /// A line every ten seconds, so that a short job prints nothing.
    Lines,
}

impl Report {
    /// A bar for a person at a terminal; lines under `--json`, under `--quiet`, and in a log.
    pub fn choose(json: bool, quiet: bool) -> Self {
        if json || quiet || !std::io::stderr().is_terminal() { Report::Lines } else { Report::Bar }
    }
}

/// One job. It may be advanced from many threads; dropping it takes the bar away.
#[derive(Debug)]
pub struct Progress {
    name: String,
    total: u64,
    done: AtomicU64,
    begun: Instant,
    report: Report,
    bar: ProgressBar,
    /// Milliseconds from the beginning to the next line.
    next_line: AtomicU64,
}

impl Progress {
    /// Begins a job of `total` steps; 0 if that is unknown.
    pub fn new(report: Report, name: &str, total: u64) -> Self {
        let bar = match report {
            Report::Bar => bar(name, total),
            _ => ProgressBar::hidden(),
        };
        Self {
            name: name.to_string(),
            total,
            done: AtomicU64::new(0),
            begun: Instant::now(),
            report,
            bar,
            next_line: AtomicU64::new(LINE_EVERY.as_millis() as u64),
        }
    }

    /// Some more steps are done.
    pub fn inc(&self, steps: u64) {
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        match self.report {
            Report::Bar => self.bar.inc(steps),
            Report::Lines => self.print_line(done),
        }
    }

    /// So many steps are done in all.
    pub fn set(&self, done: u64) {
        let before = self.done.swap(done, Ordering::Relaxed);
        match self.report {
            Report::Bar if before != done => self.bar.set_position(done),
            Report::Lines => self.print_line(done),
            _ => {}
        }
    }

    /// Steps done so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the job and tells how long it took, which is also printed where its progress was.
    pub fn finish(self) -> Duration {
        let took = self.begun.elapsed();
        self.bar.finish_and_clear();
        let shown = match self.report {
            Report::Bar => true,
            Report::Lines => took >= LINE_EVERY,
        };
        if shown {
            eprintln!("{}: {}", self.name, summary(self.done(), took));
        }
        took
    }

    /// Prints a line if one is due, and if no other thread is about to.
    fn print_line(&self, done: u64) {
        let elapsed = self.begun.elapsed();
        let (now, due) = (elapsed.as_millis() as u64, self.next_line.load(Ordering::Relaxed));
        if now < due {
            return;
        }
        let next = now + LINE_EVERY.as_millis() as u64;
        if self.next_line.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            eprintln!("{}: {}", self.name, line(done, self.total, elapsed));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar(name: &str, total: u64) -> ProgressBar {
    let (shown, name) = (total > 0, name.to_string());
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    let style = style
        .with_key("name", move |_: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{name:<16}");
        })
        .with_key("done", move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&share(state.pos(), if shown { total } else { 0 }));
        })
        .with_key("rate", |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{}/s", rate(state.per_sec()));
        })
        .with_key("left", move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            if shown {
                let _ = write!(out, "{} left", seconds(state.eta()));
            }
        });
    let bar =
        ProgressBar::with_draw_target(shown.then_some(total), ProgressDrawTarget::stderr()).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// `12,000 of 63,666 (18 %)`, or just the count if the total is unknown.
fn share(done: u64, total: u64) -> String {
    let count = grouped(done.into());
    match total {
        0 => count,
        _ => {
            let percent = u128::from(done) * 100 / u128::from(total);
            format!("{count} of {} ({percent} %)", grouped(total.into()))
        }
    }
}

/// Progress as a line: share, rate, time left.
fn line(done: u64, total: u64, elapsed: Duration) -> String {
    let per_second = done as f64 / elapsed.as_secs_f64().max(1e-9);
    let mut text = format!("{}, {}/s", share(done, total), rate(per_second));
    if total > done && per_second > 0.0 {
        let left = (total - done) as f64 / per_second;
        let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
        text.push_str(&format!(", {} left", seconds(left)));
    }
    text
}

fn summary(done: u64, took: Duration) -> String {
    let per_second = done as f64 / took.as_secs_f64().max(1e-9);
    format!("{} in {} ({}/s)", grouped(done.into()), seconds(took), rate(per_second))
}

fn rate(per_second: f64) -> String {
    if per_second >= 100.0 { grouped(per_second as u128) } else { format!("{per_second:.1}") }
}

/// `2.3 s`, `4 min 10 s`, `3 h 05 min`.
pub fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    match whole {
        0..=59 => format!("{:.1} s", time.as_secs_f64()),
        60..=3599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_share_rate_and_time_left() {
        let text = line(12_000, 63_666, Duration::from_secs(10));
        assert_eq!(text, "12,000 of 63,666 (18 %), 1,200/s, 43.1 s left");
        assert_eq!(line(7, 0, Duration::from_secs(2)), "7, 3.5/s");
        assert_eq!(line(0, 5, Duration::ZERO), "0 of 5 (0 %), 0.0/s");
        assert_eq!(
            line(1, u64::MAX, Duration::MAX),
            format!("1 of {} (0 %), 0.0/s, {} left", grouped(u64::MAX.into()), seconds(Duration::MAX))
        );
    }

    #[test]
    fn times_are_short_for_people() {
        for (time, text) in [(0.25, "0.2 s"), (59.0, "59.0 s"), (61.0, "1 min 01 s"), (3661.0, "1 h 01 min")]
        {
            assert_eq!(seconds(Duration::from_secs_f64(time)), text);
        }
    }

    #[test]
    fn steps_are_counted_from_all_threads() {
        for report in [Report::Lines, Report::Bar] {
            let progress = Progress::new(report, "count", 4000);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..1000).for_each(|_| progress.inc(1)));
                }
            });
            assert_eq!(progress.done(), 4000);
            progress.finish();
        }
    }
}
