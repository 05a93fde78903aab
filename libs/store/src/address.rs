//! What an address of Redis may say. Whatever would be ignored is refused instead, by name: a layout that lands in
//! another database than its owner meant is found much later.

/// Why an address of Redis cannot be used. It never shows what may be part of a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It begins with something else.
    #[error(
        "it must begin with redis:// or rediss:// (TLS), redis+cluster://, rediss+cluster://, redis+sentinel:// or \
         rediss+sentinel://"
    )]
    Scheme,
    /// A character that divides an address stands in the user or the password.
    #[error(
        "its user or password holds a character that divides an address: percent-encode it ('/' is %2F, '?' is %3F, \
         '#' is %23, '@' is %40, ':' is %3A, '%' is %25)"
    )]
    Encode,
    /// A host is missing, or a port is no number.
    #[error("it must name host:port (the port from 1 to 65535) after the user and password")]
    Host,
    /// What stands behind the host is no database.
    #[error(
        "what stands behind the host must be the number of a database, as in redis://host:6379/5"
    )]
    Database,
    /// A cluster has one database only.
    #[error("a cluster has database 0 only: nothing may stand behind its hosts")]
    ClusterDatabase,
    /// Sentinels are asked for a service.
    #[error(
        "redis+sentinel:// must end with the name of the service alone, as in redis+sentinel://a:26379/main"
    )]
    Service,
    /// An option that nobody reads.
    #[error("{name:?} is not an option; {known}")]
    Option {
        /// Its name.
        name: String,
        /// What is known instead.
        known: &'static str,
    },
    /// Something else that the client cannot read.
    #[error("it cannot be read as an address of Redis")]
    Unreadable,
}

/// The kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Cluster,
    Sentinel,
}

const SCHEMES: [(&str, Kind); 6] = [
    ("redis://", Kind::Single),
    ("rediss://", Kind::Single),
    ("redis+cluster://", Kind::Cluster),
    ("rediss+cluster://", Kind::Cluster),
    ("redis+sentinel://", Kind::Sentinel),
    ("rediss+sentinel://", Kind::Sentinel),
];

/// Options of `redis+sentinel://`.
pub(crate) const SENTINEL_OPTIONS: [&str; 3] =
    ["sentinel_user", "sentinel_password", "sentinel_tls"];

const KNOWN_SENTINEL: &str = "known are sentinel_user, sentinel_password, sentinel_tls=yes|no";
const KNOWN_NONE: &str =
    "there are none: the database stands in the path, as in redis://host:6379/5";

/// Checks that every part of an address is understood.
///
/// # Errors
/// One is not.
pub(crate) fn check(url: &str) -> Result<(), AddressError> {
    let found = SCHEMES
        .iter()
        .find_map(|(scheme, kind)| Some((url.strip_prefix(scheme)?, *kind)));
    let (rest, kind) = found.ok_or(AddressError::Scheme)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    // The sign before the host stands behind a divider: that one belongs to the password. Options may hold an encoded
    // one only.
    if behind.contains('@') || behind.contains('#') {
        return Err(AddressError::Encode);
    }
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (user, hosts),
        None => ("", authority),
    };
    // `user:password`, and the one sign between them.
    if user.contains('@') || user.matches(':').count() > 1 || has_bare_percent(user) {
        return Err(AddressError::Encode);
    }
    let many = kind != Kind::Single;
    if (!many && hosts.contains(',')) || !hosts.split(',').all(is_host) {
        return Err(AddressError::Host);
    }
    let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
    let path = path.strip_prefix('/').unwrap_or(path);
    match kind {
        Kind::Single if !path.is_empty() && path.parse::<u16>().is_err() => {
            return Err(AddressError::Database);
        }
        Kind::Cluster if !path.is_empty() => return Err(AddressError::ClusterDatabase),
        Kind::Sentinel if path.is_empty() || path.contains('/') => {
            return Err(AddressError::Service);
        }
        _ => {}
    }
    let options: (&[&str], _) = match kind {
        Kind::Sentinel => (&SENTINEL_OPTIONS, KNOWN_SENTINEL),
        _ => (&[], KNOWN_NONE),
    };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let usable = name != "sentinel_tls" || matches!(value, "yes" | "no");
        if !options.0.contains(&name) || !usable {
            return Err(AddressError::Option {
                name: name.to_owned(),
                known: options.1,
            });
        }
    }
    Ok(())
}

/// Whether a percent sign begins no encoded byte.
fn has_bare_percent(text: &str) -> bool {
    text.split('%').skip(1).any(|after| {
        let digits = after.bytes().take(2);
        digits.filter(u8::is_ascii_hexdigit).count() < 2
    })
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, "")) => (v6, None),
        Some((v6, port)) => match port.strip_prefix(':') {
            Some(port) => (v6, Some(port)),
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let named = !host.is_empty() && !host.contains(char::is_whitespace);
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::{AddressError, check};

    #[test]
    fn every_form_that_is_understood_is_taken() {
        for url in [
            "redis://localhost",
            "redis://localhost:6379/",
            "redis://:pa%2Fss@h:6380/15",
            "rediss://user:pw@[::1]:6380/1",
            "redis://user@h",
            "redis+cluster://a:1,b:2",
            "rediss+cluster://u:p@a:1,b:2/",
            "redis+sentinel://:pw@a:26379,b:26379/main",
            "rediss+sentinel://a/main?sentinel_user=u&sentinel_password=p%40&sentinel_tls=no",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn whatever_is_not_understood_is_refused_by_name_and_no_password_is_shown() {
        let option = |name: &str| AddressError::Option {
            name: name.to_owned(),
            known: super::KNOWN_NONE,
        };
        for (url, error) in [
            ("http://:hunter2@a", AddressError::Scheme),
            ("hunter2", AddressError::Scheme),
            ("redis://h:6379?db=5", option("db")),
            ("redis://h:6379/1?protocol=resp3&db=5", option("protocol")),
            ("redis+cluster://a:1?timeout=5", option("timeout")),
            (
                "redis+sentinel://a:1/main?db=5",
                AddressError::Option {
                    name: "db".to_owned(),
                    known: super::KNOWN_SENTINEL,
                },
            ),
            ("redis://:hun/ter2@h:6379", AddressError::Encode),
            ("redis://:hun?ter2=x@h:6379", AddressError::Encode),
            ("redis://:hun#ter2@h:6379", AddressError::Encode),
            ("redis://:hun@ter2@h:6379", AddressError::Encode),
            ("redis://u:hun:ter2@h:6379", AddressError::Encode),
            ("redis://u:hunter%2@h:6379", AddressError::Encode),
            ("rediss://h:6379#insecure", AddressError::Encode),
            ("redis://h:port", AddressError::Host),
            ("redis://h:0", AddressError::Host),
            ("redis://", AddressError::Host),
            ("redis://a:1,b:2", AddressError::Host),
            ("redis+cluster://", AddressError::Host),
            ("redis://h:6379/tasks", AddressError::Database),
            ("redis://h:6379/1/2", AddressError::Database),
            ("redis+cluster://a:1/3", AddressError::ClusterDatabase),
            ("redis+sentinel://a:26379", AddressError::Service),
            ("redis+sentinel://a:26379/main/3", AddressError::Service),
        ] {
            let found = check(url).unwrap_err();
            assert_eq!(found, error, "{url}");
            assert!(!found.to_string().contains("ter2"), "{found}");
        }
    }
}
