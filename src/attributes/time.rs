//! RFC 3339 times and short durations.

/// Milliseconds since the epoch of an RFC 3339 time.
pub fn parse_time(_text: &str) -> Result<i64, String> {
    todo!()
}
/// RFC 3339 in UTC.
pub fn format_time(_millis: i64) -> String {
    todo!()
}
/// Milliseconds of `90s`, `15m`, `36h`, `7d`, `2w`.
pub fn parse_duration(_text: &str) -> Result<i64, String> {
    todo!()
}
