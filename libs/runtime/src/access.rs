//! Who may do what: API keys with roles.
//!
//! Secrets are kept as SHA-256 only and compared in constant time; failures are rationed per address.

mod bearers;
mod limiter;
mod session;

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::{Env, EnvError};

pub use bearers::{Bearers, Refusal};
pub use limiter::Limiter;
pub use session::{SESSION_SECONDS, Session};

/// What a key may do; each role includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    Viewer,
    /// Submit tasks.
    Submitter,
    /// Cancel, retry, remove, pause.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// The word in `TASKWEIR_API_KEYS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Submitter => "submitter",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Viewer, Self::Submitter, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(())
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the key; `anonymous` where there are no keys.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
}

impl Caller {
    /// Anybody, where there are no keys.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            name: "anonymous".to_owned(),
            role: Role::Admin,
        }
    }
}

/// A key; its secret only as a hash.
#[derive(Clone)]
struct ApiKey {
    caller: Caller,
    hash: [u8; 32],
}

/// The keys of `TASKWEIR_API_KEYS`.
#[derive(Clone, Default)]
pub struct ApiKeys {
    keys: Vec<ApiKey>,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.caller))
            .finish()
    }
}

/// Shortest secret, bytes: a shorter one can be guessed.
const MIN_SECRET: usize = 12;

fn read_key(text: &str) -> Option<ApiKey> {
    let mut parts = text.splitn(3, ':');
    let (name, role, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) || secret.len() < MIN_SECRET {
        return None;
    }
    Some(ApiKey {
        caller: Caller {
            name: name.to_owned(),
            role: role.parse().ok()?,
        },
        hash: Sha256::digest(secret.as_bytes()).into(),
    })
}

fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter()
        .zip(b)
        .fold(0, |differences, (a, b)| differences | (a ^ b))
        == 0
}

impl ApiKeys {
    /// Reads `TASKWEIR_API_KEYS`: `name:role:secret`, separated by commas.
    ///
    /// # Errors
    /// One of them is none, or two have one name; the value is not shown.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        let Some(text) = env.text("TASKWEIR_API_KEYS") else {
            return Ok(Self::default());
        };
        let wrong = || EnvError::Secret {
            name: "TASKWEIR_API_KEYS".to_owned(),
            takes: format!(
                "name:role:secret, separated by commas; roles are viewer, submitter, operator, admin, secrets have \
                 at least {MIN_SECRET} characters"
            ),
        };
        let keys: Option<Vec<ApiKey>> = text.split(',').map(|key| read_key(key.trim())).collect();
        let keys = keys.ok_or_else(wrong)?;
        let mut names: Vec<&str> = keys.iter().map(|key| key.caller.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() == keys.len() {
            Ok(Self { keys })
        } else {
            Err(wrong())
        }
    }

    /// Whether there is none: then everybody may do everything, and only this machine may ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose secret this is. Looks at every key, whatever it finds, in the same time.
    #[must_use]
    pub fn caller_of(&self, secret: &str) -> Option<&Caller> {
        self.find(secret).map(|key| &key.caller)
    }

    fn find(&self, secret: &str) -> Option<&ApiKey> {
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        self.keys.iter().fold(None, |found, key| {
            if same(&key.hash, &hash) {
                Some(key)
            } else {
                found
            }
        })
    }

    /// Whose `Authorization` header this is.
    #[must_use]
    pub fn bearer(&self, header: Option<&str>) -> Option<&Caller> {
        let (scheme, secret) = header?.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            self.caller_of(secret.trim())
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiKeys, Role};
    use crate::Env;

    fn keys(text: &str) -> Result<ApiKeys, crate::EnvError> {
        ApiKeys::from_env(&Env::of([("TASKWEIR_API_KEYS", text)]))
    }

    #[test]
    fn keys_are_found_by_their_secret() {
        let keys = keys("ann:operator:correct-horse, bot:submitter:battery:staple").unwrap();
        let ann = keys.bearer(Some("Bearer correct-horse")).unwrap();
        assert_eq!((ann.name.as_str(), ann.role), ("ann", Role::Operator));
        assert_eq!(keys.caller_of("battery:staple").unwrap().name, "bot");
        for header in [
            None,
            Some(""),
            Some("Bearer"),
            Some("Basic correct-horse"),
            Some("Bearer wrong-horse-xx"),
        ] {
            assert_eq!(keys.bearer(header), None, "{header:?}");
        }
        assert!(!format!("{keys:?}").contains("horse"));
    }

    #[test]
    fn bad_keys_are_refused_without_being_shown() {
        for text in [
            "ann",
            "ann:boss:long-enough-secret",
            "ann:admin:short",
            ":admin:long-enough-secret",
            "a:admin:long-enough-secret,a:viewer:long-enough-secret",
            "a b:admin:long-enough-secret",
        ] {
            let error = keys(text).unwrap_err().to_string();
            assert!(
                error.contains("TASKWEIR_API_KEYS") && !error.contains("long-enough-secret"),
                "{error}"
            );
        }
        assert!(ApiKeys::from_env(&Env::of([])).unwrap().is_empty());
    }

    #[test]
    fn roles_include_the_ones_before() {
        assert!(
            Role::Admin > Role::Operator
                && Role::Operator > Role::Submitter
                && Role::Submitter > Role::Viewer
        );
    }
}
