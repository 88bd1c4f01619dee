//! RFC 3339 times and short durations.

use jiff::Timestamp;

const UNITS: [(char, i64); 5] =
    [('s', 1_000), ('m', 60_000), ('h', 3_600_000), ('d', 86_400_000), ('w', 604_800_000)];

/// Milliseconds since the epoch of an RFC 3339 time; finer fractions are cut off.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let expected = || format!("expected an RFC 3339 time such as 2026-01-31T08:00:00Z, not {text:?}");
    if !looks_like_time(text.as_bytes()) {
        return Err(expected());
    }
    let time: Timestamp = text.parse().map_err(|error| format!("{}: {error}", expected()))?;
    // In a time of jiff's years -9999 to 9999 the milliseconds fit i64 by far.
    Ok(time.as_nanosecond().div_euclid(1_000_000) as i64)
}

/// RFC 3339 in UTC. A number outside the years -9999 to 9999, which no parsed time has, is written as it is.
pub fn format_time(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| format!("{millis} ms"), |time| time.to_string())
}

/// Milliseconds of `90s`, `15m`, `36h`, `7d`, `2w`.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let expected = || {
        format!(
            "expected a duration such as 90s, 15m, 36h, 7d or 2w (at most i64 milliseconds), not {text:?}"
        )
    };
    let unit = text.chars().next_back().and_then(|last| UNITS.iter().find(|(unit, _)| *unit == last));
    let Some((unit, millis)) = unit else { return Err(expected()) };
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    digits.parse::<i64>().ok().and_then(|count| count.checked_mul(*millis)).ok_or_else(expected)
}

/// The offset from now, in milliseconds, of `now`, `now-7d` or `now+2h`; None when the text is none of these.
pub(super) fn parse_now(text: &str) -> Option<Result<i64, String>> {
    let rest = text.strip_prefix("now")?;
    match rest.as_bytes().first() {
        None => Some(Ok(0)),
        Some(b'-') => Some(parse_duration(&rest[1..]).map(|millis| -millis)),
        Some(b'+') => Some(parse_duration(&rest[1..])),
        Some(_) => None,
    }
}

/// Whether `format_time` can write it.
pub(super) fn in_range(millis: i64) -> bool {
    Timestamp::from_millisecond(millis).is_ok()
}

/// `dddd-dd-ddTdd:dd:dd`, a fraction perhaps, then `Z` or `+dd:dd`: jiff alone takes more than RFC 3339.
fn looks_like_time(text: &[u8]) -> bool {
    let Some((start, rest)) = text.split_at_checked(19) else { return false };
    let shaped = start.iter().zip(b"0000-00-00T00:00:00").all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        other => byte == other,
    });
    let zone = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return false;
            }
            &fraction[digits..]
        }
        _ => rest,
    };
    let zoned = match zone {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    shaped && zoned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_to_milliseconds_and_back() {
        for (text, millis, again) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            ("2026-11-27T00:00:00.25Z", 1_795_737_600_250, "2026-11-27T00:00:00.25Z"),
            ("2026-11-27t02:30:00+02:30", 1_795_737_600_000, "2026-11-27T00:00:00Z"),
            ("1969-12-31T23:59:59.9999Z", -1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(parse_time(text), Ok(millis), "{text}");
            assert_eq!(format_time(millis), again);
        }
    }

    #[test]
    fn other_shapes_are_refused_with_what_was_expected() {
        for text in [
            "",
            "2026",
            "2026-11-27",
            "2026-11-27T00:00Z",
            "2026-11-27T00:00:00",
            "2026-13-27T00:00:00Z",
            "2026-11-27T00:00:00.Z",
            "2026-11-27T00:00:00Z[UTC]",
            "2026-11-27T00:00:00+02",
            "20261127T000000Z",
            "2026-02-30T00:00:00Z",
            "é026-11-27T00:00:00Z",
        ] {
            let error = parse_time(text).expect_err(text);
            assert!(error.contains("RFC 3339") && error.contains(&format!("{text:?}")), "{error}");
        }
        assert_eq!(format_time(i64::MAX), "9223372036854775807 ms");
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("90s", 90_000),
            ("15m", 900_000),
            ("36h", 129_600_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(millis), "{text}");
        }
        for text in ["", "7", "d", "-7d", "+7d", "7 d", "1.5h", "7D", "7é", "9223372036854775807w"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_now("now"), Some(Ok(0)));
        assert_eq!(parse_now("now-1d"), Some(Ok(-86_400_000)));
        assert_eq!(parse_now("now+1d"), Some(Ok(86_400_000)));
        assert!(parse_now("now-").is_some_and(|result| result.is_err()));
        assert_eq!(parse_now("nowhere"), None);
    }
}
