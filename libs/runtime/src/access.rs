//! Who may do what: API keys with roles.
//!
//! Secrets are kept as SHA-256 only and compared in constant time; wrong ones are rationed per address.

mod doorkeeper;
mod limiter;
mod session;

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::{Env, EnvError};

pub use doorkeeper::{Doorkeeper, Refusal};
use limiter::Limiter;
pub(crate) use limiter::trusted_proxies;
pub use session::{SESSION_SECONDS, Session, Signer, Ticket};

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

/// The variable that holds the keys.
const VARIABLE: &str = "TASKWEIR_API_KEYS";
/// Shortest secret, bytes: a shorter one can be guessed.
const MIN_SECRET: usize = 12;
/// Longest name of a key, bytes.
const MAX_NAME: usize = 64;

/// Reads one key, or says why it can never be used. The reason shows no part of the text: any of it may be the secret.
fn read_key(text: &str) -> Result<ApiKey, String> {
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(role), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("is not name:role:secret".to_owned());
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !(1..=MAX_NAME).contains(&name.len()) || !name.chars().all(plain) {
        return Err(format!(
            "has a name that is not 1 to {MAX_NAME} letters, digits, '.', '_' or '-'"
        ));
    }
    let role = role
        .parse()
        .map_err(|()| "has a role that is not viewer, submitter, operator or admin".to_owned())?;
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "has a secret with a space, a line break or a letter outside ASCII, which no Authorization header carries"
                .to_owned(),
        );
    }
    if secret.len() < MIN_SECRET {
        return Err(format!(
            "has a secret of fewer than {MIN_SECRET} characters, which can be guessed"
        ));
    }
    Ok(ApiKey {
        caller: Caller {
            name: name.to_owned(),
            role,
        },
        hash: Sha256::digest(secret.as_bytes()).into(),
    })
}

/// The first two of many that have the same, by what `of` takes from each; counted from 1.
fn twins<T: PartialEq>(keys: &[ApiKey], of: impl Fn(&ApiKey) -> T) -> Option<(usize, usize)> {
    let later = keys.iter().enumerate();
    later.clone().find_map(|(second, key)| {
        let mut before = later.clone().take(second);
        let (first, _) = before.find(|(_, other)| of(other) == of(key))?;
        Some((first + 1, second + 1))
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
    /// One of them can never be used, or two have the same name or secret. The error says which by its place, and why;
    /// the value is not shown.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        let Some(text) = env.text(VARIABLE)? else {
            return Ok(Self::default());
        };
        let unusable = |why: String| EnvError::unusable(VARIABLE, why);
        let mut keys = Vec::new();
        for (place, key) in (1..).zip(text.split(',')) {
            let key = read_key(key.trim()).map_err(|why| unusable(format!("key {place} {why}")))?;
            keys.push(key);
        }
        if let Some((first, second)) = twins(&keys, |key| key.caller.name.clone()) {
            let why = format!("keys {first} and {second} have the same name");
            return Err(unusable(why));
        }
        if let Some((first, second)) = twins(&keys, |key| key.hash) {
            let why = format!("keys {first} and {second} have the same secret");
            return Err(unusable(why));
        }
        Ok(Self { keys })
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
        let ann = keys.caller_of("correct-horse").unwrap();
        assert_eq!((ann.name.as_str(), ann.role), ("ann", Role::Operator));
        assert_eq!(keys.caller_of("battery:staple").unwrap().name, "bot");
        assert_eq!(keys.caller_of("wrong-horse-xx"), None);
        assert!(!format!("{keys:?}").contains("horse"));
    }

    #[test]
    fn keys_that_can_never_be_used_are_refused_with_the_reason_and_without_being_shown() {
        for (text, why) in [
            ("ann", "key 1 is not name:role:secret"),
            (
                "ann:viewer:long-enough-secret,",
                "key 2 is not name:role:secret",
            ),
            ("ann:boss:long-enough-secret", "key 1 has a role"),
            ("ann:admin:short", "fewer than 12 characters"),
            (":admin:long-enough-secret", "key 1 has a name"),
            ("a b:admin:long-enough-secret", "key 1 has a name"),
            (
                "b:admin:long-enough-secret,a:admin:long-enough secret",
                "key 2 has a secret with a space",
            ),
            ("a:admin:long-enough\nsecret", "a line break"),
            ("a:admin:long-enough-secr\u{e9}t", "outside ASCII"),
            (
                "a:admin:long-enough-secret,a:viewer:long-enough-other",
                "keys 1 and 2 have the same name",
            ),
            (
                "a:admin:long-enough-secret,b:viewer:other-enough-secret,c:viewer:long-enough-secret",
                "keys 1 and 3 have the same secret",
            ),
        ] {
            let error = keys(text).unwrap_err().to_string();
            assert!(
                error.contains("TASKWEIR_API_KEYS") && error.contains(why),
                "{error}"
            );
            assert!(!error.contains("long-enough"), "{error}");
        }
        assert!(ApiKeys::from_env(&Env::of([])).unwrap().is_empty());
        // What a file or a manifest puts around a key is no part of it.
        let padded = keys(" ann:viewer:long-enough-secret \n").unwrap();
        assert!(padded.caller_of("long-enough-secret").is_some());
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
