//! Sessions of people who signed in with a key: a signed cookie, nothing kept on the server, so that
//! every instance knows them and a changed key ends them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{ApiKey, ApiKeys, Caller};

/// How long a session lasts, seconds.
pub const SESSION_SECONDS: u64 = 12 * 3_600;

/// A signed-in person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub caller: Caller,
    /// The word that every form of this session carries.
    pub form_token: String,
}

fn sign(key: &ApiKey, purpose: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.hash).expect("a key of any length is taken");
    mac.update(purpose.as_bytes());
    mac.update(b"\0");
    mac.update(text.as_bytes());
    let signature: [u8; 32] = mac.finalize().into_bytes().into();
    signature.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares without telling by its time where two texts differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .fold(0, |differences, (a, b)| differences | (a ^ b))
            == 0
}

impl ApiKeys {
    /// The cookie of a session that begins now (seconds since the epoch), for whoever knows a secret.
    #[must_use]
    pub fn sign_in(&self, secret: &str, now_s: u64) -> Option<String> {
        let key = self.find(secret)?;
        let text = format!("{}.{}", now_s + SESSION_SECONDS, key.caller.name);
        Some(format!("{}.{text}", sign(key, "session", &text)))
    }

    /// The session of a cookie, if it is ours and has not ended.
    #[must_use]
    pub fn session(&self, cookie: &str, now_s: u64) -> Option<Session> {
        let (signature, text) = cookie.split_once('.')?;
        let (until, name) = text.split_once('.')?;
        let key = self.keys.iter().find(|key| key.caller.name == name)?;
        if !same(signature, &sign(key, "session", text)) || until.parse::<u64>().ok()? <= now_s {
            return None;
        }
        Some(Session {
            caller: key.caller.clone(),
            form_token: sign(key, "form", text),
        })
    }
}

impl Session {
    /// Whether a form of this session was sent.
    #[must_use]
    pub fn sent(&self, token: &str) -> bool {
        same(token, &self.form_token)
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiKeys, SESSION_SECONDS};
    use crate::Env;

    fn keys(text: &str) -> ApiKeys {
        ApiKeys::from_env(&Env::of([("TASKWEIR_API_KEYS", text)])).unwrap()
    }

    #[test]
    fn a_session_is_known_until_it_ends_or_its_key_changes() {
        let ours = keys("ann:operator:correct-horse");
        assert_eq!(ours.sign_in("wrong-horse-xx", 100), None);
        let cookie = ours.sign_in("correct-horse", 100).unwrap();
        let session = ours.session(&cookie, 200).unwrap();
        assert_eq!(session.caller.name, "ann");
        assert!(
            session.sent(&session.form_token.clone()) && !session.sent("") && !session.sent("x")
        );
        assert_eq!(
            ours.session(&cookie, 100 + SESSION_SECONDS),
            None,
            "it has ended"
        );
        assert_eq!(
            keys("ann:operator:another-horse").session(&cookie, 200),
            None,
            "the key has changed"
        );
        let forged = cookie.replace("ann", "bob");
        assert_eq!(
            keys("ann:operator:correct-horse,bob:admin:battery-staple").session(&forged, 200),
            None
        );
        for odd in ["", ".", "..", "x.y.z", "0.99999999999999999999.ann"] {
            assert_eq!(ours.session(odd, 200), None);
        }
    }
}
