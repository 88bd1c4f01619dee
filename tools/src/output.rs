//! Standard output: results only, so that it can be piped; progress and notes go to standard error.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use serde::Serialize;

use crate::table::{Table, terminal_width};

/// Writes a line.
pub fn line(text: impl AsRef<str>) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Writes a table.
pub fn table(table: &Table) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(table.render(terminal_width()).as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a JSON document, readable, with a newline.
pub fn json(document: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(document)?)
}

/// Whether the reader of a pipe went away, which is no failure: `shortlist query ... | head`.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// An error and its causes in one line. Many an error has its cause in its own text; that is not told again.
pub fn reasons(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |told, cause| {
        if told.contains(&cause) { told } else { format!("{told}: {cause}") }
    })
}

/// `12.3 MB`, `987 bytes`: powers of ten, as disks are sold.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// What the library tells, from that level on (or as RUST_LOG says), goes to standard error.
pub fn log(level: &str, json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(colours).with_env_filter(filter);
    // Set already only if this process does so twice, and then as wanted.
    let _ = if json { log.json().try_init() } else { log.try_init() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cause_is_told_twice() {
        let inner = io::Error::other("no room");
        let outer =
            anyhow::Error::new(inner).context("cannot write shop.slx: no room").context("the build failed");
        assert_eq!(reasons(&outer), "the build failed: cannot write shop.slx: no room");
        assert_eq!(reasons(&anyhow::anyhow!("a").context("b")), "b: a");
    }

    #[test]
    fn sizes_are_short_for_people() {
        assert_eq!(bytes(999), "999 bytes");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(12_345_678), "12.3 MB");
    }
}
