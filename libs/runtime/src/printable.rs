//! Texts that came from elsewhere, for a terminal: payloads, errors, reasons and names may hold what moves its cursor,
//! writes its clipboard or turns its lines around.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// A text with what would steer a terminal shown as its code. Lines and tabs stay.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| steers(c) && c != '\n' && c != '\t',
        |c| c.escape_unicode().to_string(),
    )
}

/// The same on one line.
#[must_use]
pub fn printable_line(text: &str) -> Cow<'_, str> {
    escaped(text, steers, |c| c.escape_unicode().to_string())
}

/// A JSON text with what would steer a terminal as JSON escapes it: the same JSON. Lines and tabs stay.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    escaped(
        json,
        |c| steers(c) && c != '\n' && c != '\t',
        |c| {
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units).iter();
            units.map(|unit| format!("\\u{unit:04x}")).collect()
        },
    )
}

fn escaped(
    text: &str,
    steers: impl Fn(char) -> bool,
    escape: impl Fn(char) -> String,
) -> Cow<'_, str> {
    if !text.contains(&steers) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::new(), |mut shown, c| {
        if steers(c) {
            shown.push_str(&escape(c));
        } else {
            shown.push(c);
        }
        shown
    }))
}

/// Whether a terminal takes a character for more than a letter: controls, and what turns the direction of a text or
/// hides in it.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Where log lines go: standard error, each on one line and without what steers terminals. The level has its colour
/// there; the formatter has none, for behind its own escapes nobody can tell those of a payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogLines {
    json: bool,
    coloured: bool,
}

impl LogLines {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            coloured: !json && io::stderr().is_terminal(),
        }
    }

    fn line(self, text: &str) -> String {
        let text = text.strip_suffix('\n').unwrap_or(text);
        if self.json {
            return format!("{}\n", printable_json(text));
        }
        let line = printable_line(text);
        if !self.coloured {
            return format!("{line}\n");
        }
        // `<time>  <level> …`
        let levels = [
            (Level::ERROR, 31),
            (Level::WARN, 33),
            (Level::INFO, 32),
            (Level::DEBUG, 34),
            (Level::TRACE, 35),
        ];
        let found = levels.iter().find_map(|(level, colour)| {
            let word = format!(" {level} ");
            let at = line.find(&word)?;
            (at < 40).then(|| {
                let (time, rest) = (&line[..at], &line[at + word.len()..]);
                format!("\u{1b}[2m{time}\u{1b}[0m \u{1b}[{colour}m{level}\u{1b}[0m {rest}\n")
            })
        });
        found.unwrap_or_else(|| format!("{line}\n"))
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for LogLines {
    /// The formatter writes each event at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = self.line(&String::from_utf8_lossy(bytes));
        io::stderr().lock().write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{LogLines, printable, printable_json, printable_line};

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_done() {
        for (text, shown) in [
            (
                "plain, with \u{fc} and \u{1f642}\n\ttab",
                "plain, with \u{fc} and \u{1f642}\n\ttab",
            ),
            ("\u{1b}]52;c;aGk=\u{7}", "\\u{1b}]52;c;aGk=\\u{7}"),
            ("\u{9b}2J\r\u{7f}", "\\u{9b}2J\\u{d}\\u{7f}"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert_eq!(printable_line("a\nforged"), "a\\u{a}forged");
    }

    #[test]
    fn json_says_the_same_escaped_or_not() {
        let odd = "{\"a\":\"\u{9b}\u{7f}\u{202e}\u{e0041}\u{fc}\"}";
        let shown = printable_json(odd);
        assert_eq!(
            shown,
            "{\"a\":\"\\u009b\\u007f\\u202e\\udb40\\udc41\u{fc}\"}"
        );
    }

    #[test]
    fn a_log_line_is_one_line_with_no_escape_but_that_of_its_level() {
        let event = "2026-01-31T03:12:00.0Z  INFO told error=\u{1b}[2J\nforged\n";
        let plain = LogLines {
            json: false,
            coloured: false,
        };
        let line = plain.line(event);
        assert!(
            !line.contains('\u{1b}') && line.lines().count() == 1,
            "{line}"
        );
        let coloured = LogLines {
            coloured: true,
            ..plain
        };
        let line = coloured.line(event);
        assert!(line.contains("\u{1b}[32mINFO\u{1b}[0m told"), "{line}");
        assert_eq!(line.matches('\u{1b}').count(), 4, "{line}");
    }
}
