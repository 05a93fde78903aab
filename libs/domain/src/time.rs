//! Times as people write them: RFC 3339, UTC, milliseconds.

use jiff::Timestamp;

/// Why a text is no time that can be taken. Each reads on behind the name of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// It is something else.
    #[error("must be an RFC 3339 time, such as 2026-01-31T03:12:00Z")]
    NoTime,
    /// It does not say in which zone it is.
    #[error(
        "must end with Z or an offset such as +01:00: an RFC 3339 time says in which zone it is"
    )]
    NoOffset,
    /// The sign of its offset was lost on the way.
    #[error("has a space where its offset begins: in a query, write '+' as %2B")]
    LostPlus,
    /// Its fraction of a second is too long.
    #[error("has more than 9 digits behind the second")]
    Digits,
    /// It is before 1970.
    #[error("must not be before 1970")]
    Early,
    /// It is later than any time that is kept.
    #[error("is too far ahead: the last time that is taken is 9999-12-30T22:00:00Z")]
    Late,
}

/// Formats ms since the epoch as `2026-01-31T03:12:00.000Z`. Times beyond the year 9999 show as
/// its end.
#[must_use]
pub fn format_ms(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

/// The last time that is taken, ms since the epoch: 9999-12-30T22:00:00Z.
pub const LAST_MS: u64 = 253_402_207_200_000;

/// Parses an RFC 3339 time into ms since the epoch.
///
/// # Errors
/// It is none, or none that can be kept: the error says which.
pub fn parse_rfc3339_ms(text: &str) -> Result<u64, TimeError> {
    let time: Timestamp = text.parse().map_err(|_| fault(text))?;
    if time < Timestamp::UNIX_EPOCH {
        return Err(TimeError::Early);
    }
    let ms = u64::try_from(time.as_millisecond()).map_err(|_| TimeError::Early)?;
    if ms > LAST_MS {
        return Err(TimeError::Late);
    }
    Ok(ms)
}

/// Longest fraction of a second, digits.
const MAX_DIGITS: usize = 9;

/// Why a text that does not parse does not: by what would make it parse.
fn fault(text: &str) -> TimeError {
    let parses = |text: String| text.parse::<Timestamp>().is_ok();
    if let Some(rest) = text.strip_prefix("9999")
        && parses(format!("2000{rest}"))
    {
        return TimeError::Late;
    }
    if parses(format!("{text}Z")) {
        return TimeError::NoOffset;
    }
    if let Some((time, offset)) = text.rsplit_once(' ')
        && parses(format!("{time}+{offset}"))
    {
        return TimeError::LostPlus;
    }
    if let Some((whole, fraction)) = text.split_once('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits > MAX_DIGITS && parses(format!("{whole}{}", &fraction[digits..])) {
            return TimeError::Digits;
        }
    }
    TimeError::NoTime
}

#[cfg(test)]
mod tests {
    use super::{TimeError, format_ms, parse_rfc3339_ms};

    #[test]
    fn times_round_trip_with_milliseconds() {
        assert_eq!(format_ms(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_ms(1_769_829_120_007), "2026-01-31T03:12:00.007Z");
        assert_eq!(
            parse_rfc3339_ms("2026-01-31T04:12:00.007+01:00"),
            Ok(1_769_829_120_007)
        );
        assert_eq!(format_ms(u64::MAX), "9999-12-30T22:00:00.999Z");
        assert_eq!(parse_rfc3339_ms("9999-12-30T22:00:00Z"), Ok(super::LAST_MS));
    }

    #[test]
    fn a_time_that_cannot_be_taken_is_refused_with_the_true_reason() {
        for (text, fault) in [
            ("", TimeError::NoTime),
            ("yesterday", TimeError::NoTime),
            ("2026-02-30T03:12:00Z", TimeError::NoTime),
            ("2026-01-31T25:12:00Z", TimeError::NoTime),
            ("2026-01-31T03:12:00 o'clock", TimeError::NoTime),
            ("\u{e9}026-01-31T03:12:00.000Z", TimeError::NoTime),
            ("2026-01-31T03:12:00", TimeError::NoOffset),
            ("2026-01-31T03:12:00.5", TimeError::NoOffset),
            ("2026-01-31T04:12:00 01:00", TimeError::LostPlus),
            ("2026-01-31T04:12:00.000 01:00", TimeError::LostPlus),
            ("2026-01-31T03:12:00.0123456789Z", TimeError::Digits),
            ("1969-12-31T23:59:59Z", TimeError::Early),
            ("0001-01-01T00:00:00Z", TimeError::Early),
            ("9999-12-31T23:59:59Z", TimeError::Late),
            ("9999-12-31T23:59:59.999+00:00", TimeError::Late),
            ("9999-12-31T23:59Z", TimeError::Late),
            ("9999-01-01T00:00:00garbage", TimeError::NoTime),
            ("2026-01-31T03:12", TimeError::NoOffset),
            ("1969-12-31T23:59:59.9999Z", TimeError::Early),
        ] {
            assert_eq!(parse_rfc3339_ms(text), Err(fault), "{text}");
        }
    }
}
