//! The only reader of the environment. Everything is read once, at start; a bad value stops the
//! start and says which variable, which value, and what it takes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

/// A variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The value is not what the variable takes.
    #[error("{name} is {value:?}; it takes {takes}")]
    Value {
        /// The variable.
        name: String,
        /// What it is set to.
        value: String,
        /// What it takes.
        takes: String,
    },
    /// The value is wrong for a reason that can be told, and may be secret, so it is not shown.
    #[error("{name} is not usable: {why}")]
    Unusable {
        /// The variable.
        name: String,
        /// Why, without the value.
        why: String,
    },
}

impl EnvError {
    /// A variable that cannot be used, and why; the value is not shown.
    pub fn unusable(name: &str, why: impl Into<String>) -> Self {
        Self::Unusable {
            name: name.to_owned(),
            why: why.into(),
        }
    }
}

/// The environment, or a stand-in for tests.
#[derive(Debug, Clone)]
pub struct Env {
    values: Option<BTreeMap<String, String>>,
}

impl Env {
    /// The environment of this process.
    #[must_use]
    pub const fn process() -> Self {
        Self { values: None }
    }

    /// These variables and no others.
    #[must_use]
    pub fn of<const N: usize>(values: [(&str, &str); N]) -> Self {
        Self::from_pairs(values)
    }

    /// These variables and no others.
    pub fn from_pairs<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = values
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            values: Some(owned.collect()),
        }
    }

    /// The text of a variable; `None` where it is unset or empty.
    ///
    /// # Errors
    /// It is set to bytes that are not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<String>, EnvError> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let value = match &self.values {
            None => std::env::var_os(name).map(into_text).transpose(),
            Some(values) => Ok(values.get(name).cloned()),
        };
        let value = value.map_err(|()| EnvError::unusable(name, "it is not UTF-8"))?;
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// A variable read by `read`, or its default where it is unset.
    ///
    /// # Errors
    /// `read` gives `None` for what it is set to.
    pub fn read<T>(
        &self,
        name: &str,
        default: T,
        takes: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, EnvError> {
        match self.text(name)? {
            None => Ok(default),
            Some(value) => read(value.trim()).ok_or_else(|| EnvError::Value {
                name: name.to_owned(),
                value,
                takes: takes.to_owned(),
            }),
        }
    }

    /// A variable that parses.
    ///
    /// # Errors
    /// It does not.
    pub fn parse<T: FromStr>(&self, name: &str, default: T, takes: &str) -> Result<T, EnvError> {
        self.read(name, default, takes, |text| text.parse().ok())
    }

    /// Seconds, decimals allowed.
    ///
    /// # Errors
    /// It is no number of seconds.
    pub fn seconds(&self, name: &str, default: f64) -> Result<Duration, EnvError> {
        let takes = "a number of seconds from 0 to 2592000, decimals allowed";
        let seconds = self.read(name, default, takes, |text| {
            let seconds: f64 = text.parse().ok()?;
            (0.0..=2_592_000.0).contains(&seconds).then_some(seconds)
        })?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// A host by name or address, as it stands in a URL.
    ///
    /// # Errors
    /// It is none.
    pub fn host(&self, name: &str) -> Result<Option<String>, EnvError> {
        let takes = "a host name or an address, without a port";
        self.read(name, None, takes, |text| {
            if let Ok(v6) = text.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
                return Some(Some(format!("[{v6}]")));
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            text.chars().all(plain).then(|| Some(text.to_owned()))
        })
    }

    /// A span of time such as `90s`, `15m`, `12h` or `7d`.
    ///
    /// # Errors
    /// It is none.
    pub fn span(&self, name: &str, default: Duration) -> Result<Duration, EnvError> {
        self.read(
            name,
            default,
            "a span of time such as 90s, 15m, 12h or 7d",
            parse_span,
        )
    }

    /// A size such as `256KiB`, `64MiB` or `1048576`.
    ///
    /// # Errors
    /// It is none.
    pub fn size(&self, name: &str, default: usize) -> Result<usize, EnvError> {
        self.read(
            name,
            default,
            "a size such as 262144, 256KiB or 64MiB",
            parse_size,
        )
    }

    /// A switch: `1`, `true`, `yes` or `0`, `false`, `no`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn switch(&self, name: &str) -> Result<bool, EnvError> {
        self.read(name, false, "1 or 0", |text| match text {
            "1" | "true" | "yes" => Some(true),
            "0" | "false" | "no" => Some(false),
            _ => None,
        })
    }
}

fn into_text(value: OsString) -> Result<String, ()> {
    value.into_string().map_err(drop)
}

fn split_unit(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

fn parse_span(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let span = Duration::try_from_secs_f64(number * seconds).ok()?;
    (span <= Duration::from_secs(3_650 * 86_400)).then_some(span)
}

fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text)?;
    let bytes = match unit {
        "" | "B" => 1.0,
        "KiB" => 1_024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return None,
    };
    let size = number * bytes;
    (size <= 1e15).then_some(size as usize)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Env;

    #[test]
    fn unset_and_empty_mean_the_default() {
        let env = Env::of([("A", "")]);
        assert_eq!(env.parse("A", 7, "a number"), Ok(7));
        assert_eq!(env.parse("B", 8, "a number"), Ok(8));
    }

    #[test]
    fn a_bad_value_names_variable_value_and_what_it_takes() {
        let env = Env::of([("WORKER_CONCURRENCY", "many")]);
        let error = env
            .parse("WORKER_CONCURRENCY", 16, "a whole number")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"WORKER_CONCURRENCY is "many"; it takes a whole number"#
        );
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_utf8_are_not_taken_for_an_unset_variable() {
        use std::os::unix::ffi::OsStringExt;
        let odd = std::ffi::OsString::from_vec(vec![b'a', 0xff]);
        assert_eq!(super::into_text(odd), Err(()));
        assert_eq!(super::into_text("plain".into()), Ok("plain".to_owned()));
    }

    #[test]
    fn hosts_are_read_as_urls_have_them() {
        for (given, host) in [
            ("redis", "redis"),
            ("redis.task-queue.svc", "redis.task-queue.svc"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(Env::of([("H", given)]).host("H"), Ok(Some(host.to_owned())));
        }
        for given in ["redis:6379", "redis://redis", "a b", "user@redis", "re/dis"] {
            let error = Env::of([("H", given)]).host("H").unwrap_err().to_string();
            assert!(error.starts_with("H is "), "{error}");
        }
        assert_eq!(Env::of([]).host("H"), Ok(None));
    }

    #[test]
    fn spans_sizes_seconds_and_switches() {
        let env = Env::of([
            ("DAYS", "7d"),
            ("MS", "250ms"),
            ("ODD", "7w"),
            ("SIZE", "256KiB"),
            ("RAW", "10"),
            ("BIG", "3XB"),
            ("SECONDS", "0.5"),
            ("NEGATIVE", "-1"),
            ("ON", "1"),
            ("MAYBE", "maybe"),
        ]);
        let span = |name| env.span(name, Duration::ZERO);
        assert_eq!(span("DAYS"), Ok(Duration::from_secs(604_800)));
        assert_eq!(span("MS"), Ok(Duration::from_millis(250)));
        assert!(span("ODD").is_err());
        assert_eq!(env.size("SIZE", 0), Ok(262_144));
        assert_eq!(env.size("RAW", 0), Ok(10));
        assert!(env.size("BIG", 0).is_err());
        assert_eq!(env.seconds("SECONDS", 1.0), Ok(Duration::from_millis(500)));
        assert!(env.seconds("NEGATIVE", 1.0).is_err());
        assert_eq!(env.switch("ON"), Ok(true));
        assert!(env.switch("MAYBE").is_err());
    }
}
