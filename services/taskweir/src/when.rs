//! Instants as people type them at a prompt: an RFC 3339 time, a time of the day, or how long from now.

use taskweir_domain::{LAST_MS, parse_rfc3339_ms};

use crate::output::Misuse;

const DAY_MS: u64 = 86_400_000;

/// Which way from now an instant lies that does not say so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `30m` is half an hour ago, `03:12` the latest one.
    Past,
    /// `30m` is in half an hour, `03:12` the next one.
    Future,
}

/// An instant, from now; ms since the epoch.
///
/// # Errors
/// It is none; the reason reads on behind the name of what it was typed for.
pub fn instant(text: &str, direction: Direction, now_ms: u64) -> Result<u64, String> {
    if let Some(of_day) = of_day(text) {
        let today = now_ms / DAY_MS * DAY_MS + of_day;
        return Ok(match direction {
            Direction::Past if today > now_ms => today - DAY_MS,
            Direction::Future if today <= now_ms => today + DAY_MS,
            _ => today,
        });
    }
    if let Some(span) = span(text) {
        let found = match direction {
            Direction::Past => now_ms.checked_sub(span),
            Direction::Future => now_ms.checked_add(span).filter(|ms| *ms < LAST_MS),
        };
        return found.ok_or_else(|| format!("is too long a time: {text}"));
    }
    parse_rfc3339_ms(text).map_err(|fault| {
        let else_forms = match direction {
            Direction::Past => "03:12 (UTC, the latest one) or 90m (ago; also s, h, d)",
            Direction::Future => "03:12 (UTC, the next one) or 90m (from now; also s, h, d)",
        };
        format!("{fault}; else {else_forms}, not {text:?}")
    })
}

/// An instant of the past that may be a position, as the gateway takes it.
pub fn as_of(name: &str, text: String, now_ms: u64) -> Result<String, Misuse> {
    let is_position = text.contains('-')
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '-' | '@'));
    if is_position {
        return Ok(text);
    }
    let ms = instant(&text, Direction::Past, now_ms);
    ms.map(taskweir_domain::format_ms)
        .map_err(|why| Misuse(format!("--{name} {why}; or a position")))
}

/// Whether a text is a time of the day.
pub fn is_of_day(text: &str) -> bool {
    of_day(text).is_some()
}

/// `03:12` as ms of a day.
fn of_day(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str, below: u64| {
        let number = number(text)?;
        (text.len() == 2 && number < below).then_some(number)
    };
    Some((two(hours, 24)? * 60 + two(minutes, 60)?) * 60_000)
}

/// A number of nothing but digits.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// `90m` in ms.
pub fn span(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let count = number(text.strip_suffix(unit)?)?;
    let ms = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => DAY_MS,
        _ => return None,
    };
    count.checked_mul(ms)
}

#[cfg(test)]
mod tests {
    use super::{Direction, as_of, instant};

    /// 2026-01-31T03:30:00Z
    const NOW: u64 = 1_769_830_200_000;
    const MINUTE: u64 = 60_000;

    #[test]
    fn times_are_read_as_people_type_them() {
        for (text, past, future) in [
            ("2026-01-31T03:12:00Z", NOW - 18 * MINUTE, NOW - 18 * MINUTE),
            ("03:12", NOW - 18 * MINUTE, NOW + 1_422 * MINUTE),
            ("23:30", NOW - 240 * MINUTE, NOW + 1_200 * MINUTE),
            ("90m", NOW - 90 * MINUTE, NOW + 90 * MINUTE),
            ("2h", NOW - 120 * MINUTE, NOW + 120 * MINUTE),
        ] {
            assert_eq!(instant(text, Direction::Past, NOW), Ok(past), "{text}");
            assert_eq!(instant(text, Direction::Future, NOW), Ok(future), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_true_reason() {
        for (text, why) in [
            ("", "RFC 3339"),
            ("3:12", "RFC 3339"),
            ("24:00", "RFC 3339"),
            ("m", "90m"),
            ("-5m", "03:12"),
            ("5w", "also s, h, d"),
            ("+5m", "RFC 3339"),
            ("+1:12", "RFC 3339"),
            ("9999999999999d", "RFC 3339"),
            ("99999999d", "too long"),
            ("2026-01-31T03:12:00", "Z or an offset"),
            ("1969-12-31T00:00:00Z", "before 1970"),
        ] {
            let refused = instant(text, Direction::Past, NOW).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn nothing_lies_behind_the_last_time() {
        assert!(instant("999999d", Direction::Future, NOW).is_ok());
        let far = instant("9999999d", Direction::Future, NOW).unwrap_err();
        assert!(far.contains("too long"), "{far}");
    }

    #[test]
    fn an_instant_of_history_may_be_a_position() {
        for text in ["1769830200000-0", "3@1769830200000-7"] {
            assert_eq!(as_of("as-of", text.to_owned(), NOW).unwrap(), text);
        }
        let ago = as_of("as-of", "30m".to_owned(), NOW).unwrap();
        assert_eq!(ago, "2026-01-31T03:00:00.000Z");
        let refused = as_of("from", "soon".to_owned(), NOW).unwrap_err();
        assert!(refused.0.starts_with("--from must be"), "{}", refused.0);
    }
}
