//! Times as people write them: RFC 3339, UTC, milliseconds.

use jiff::Timestamp;

/// Formats ms since the epoch as `2026-01-31T03:12:00.000Z`. Times beyond the year 9999 show as
/// its end.
#[must_use]
pub fn format_ms(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

/// Parses an RFC 3339 time into ms since the epoch; `None` when it is none, or before 1970.
#[must_use]
pub fn parse_rfc3339_ms(text: &str) -> Option<u64> {
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::{format_ms, parse_rfc3339_ms};

    #[test]
    fn times_round_trip_with_milliseconds() {
        assert_eq!(format_ms(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_ms(1_769_829_120_007), "2026-01-31T03:12:00.007Z");
        assert_eq!(
            parse_rfc3339_ms("2026-01-31T04:12:00.007+01:00"),
            Some(1_769_829_120_007)
        );
        assert_eq!(parse_rfc3339_ms("yesterday"), None);
        assert_eq!(parse_rfc3339_ms("1969-12-31T23:59:59Z"), None);
        assert_eq!(format_ms(u64::MAX), "9999-12-30T22:00:00.999Z");
    }
}
