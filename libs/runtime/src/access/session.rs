//! Sessions of people who signed in with a key, and tickets for what a browser cannot send a header with. Both are
//! signed texts: nothing is kept of them on the server, every instance knows them, and a changed key ends them.
//!
//! They are signed with a random secret of the installation, which the instances share. The secret of a key goes into
//! the signed text only: who sees a cookie cannot try secrets against it.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{ApiKey, ApiKeys, Caller};

/// How long a session lasts, seconds.
pub const SESSION_SECONDS: u64 = 12 * 3_600;
/// How long a ticket is taken, seconds: long enough to open a connection, too short to be worth stealing from a log.
const TICKET_SECONDS: u64 = 60;

/// A signed-in person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub caller: Caller,
    /// The word that every form of this session carries.
    pub form_token: String,
}

/// What stands for a key in a query, for a short while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The text that is sent.
    pub token: String,
    /// Until when it is taken, seconds since the epoch.
    pub until_s: u64,
}

/// Signs and knows again what stands for a key.
#[derive(Clone)]
pub struct Signer {
    keys: ApiKeys,
    secret: Arc<[u8]>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs for these keys with a secret of the installation.
    #[must_use]
    pub fn new(keys: ApiKeys, secret: &[u8]) -> Self {
        Self {
            keys,
            secret: secret.into(),
        }
    }

    /// The cookie of a session that begins now (seconds since the epoch) for who showed the secret of a key.
    #[must_use]
    pub fn sign_in(&self, caller: &Caller, now_s: u64) -> Option<String> {
        self.signed("session", caller, now_s + SESSION_SECONDS)
    }

    /// The session of a cookie, if it is ours and has not ended.
    #[must_use]
    pub fn session(&self, cookie: &str, now_s: u64) -> Option<Session> {
        let (key, text) = self.read("session", cookie, now_s)?;
        Some(Session {
            caller: key.caller.clone(),
            form_token: hex(&self.mac(key, "form", text).finalize().into_bytes()),
        })
    }

    /// A ticket for the holder of a key, from now on.
    #[must_use]
    pub fn ticket(&self, caller: &Caller, now_s: u64) -> Option<Ticket> {
        let until_s = now_s + TICKET_SECONDS;
        let token = self.signed("ticket", caller, until_s)?;
        Some(Ticket { token, until_s })
    }

    /// Who holds a ticket, if it is ours and has not ended.
    #[must_use]
    pub fn ticket_holder(&self, token: &str, now_s: u64) -> Option<&Caller> {
        let (key, _) = self.read("ticket", token, now_s)?;
        Some(&key.caller)
    }

    /// `<signature>.<end>.<name of the key>`
    fn signed(&self, purpose: &str, caller: &Caller, until_s: u64) -> Option<String> {
        let key = self.key_of(&caller.name)?;
        let text = format!("{until_s}.{}", key.caller.name);
        let signature = self.mac(key, purpose, &text).finalize().into_bytes();
        Some(format!("{}.{text}", hex(&signature)))
    }

    fn read<'a>(&self, purpose: &str, signed: &'a str, now_s: u64) -> Option<(&ApiKey, &'a str)> {
        let (signature, text) = signed.split_once('.')?;
        let (until, name) = text.split_once('.')?;
        let key = self.key_of(name)?;
        let signature = unhex(signature)?;
        // Compares without telling by its time where two signatures differ.
        self.mac(key, purpose, text).verify_slice(&signature).ok()?;
        (until.parse::<u64>().ok()? > now_s).then_some((key, text))
    }

    fn key_of(&self, name: &str) -> Option<&ApiKey> {
        self.keys.keys.iter().find(|key| key.caller.name == name)
    }

    fn mac(&self, key: &ApiKey, purpose: &str, text: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.secret).expect("a key of any length is taken");
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        mac.update(&key.hash);
        mac.update(text.as_bytes());
        mac
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

impl Session {
    /// Whether a form of this session was sent.
    #[must_use]
    pub fn sent(&self, token: &str) -> bool {
        token.len() == self.form_token.len()
            && token
                .bytes()
                .zip(self.form_token.bytes())
                .fold(0, |differences, (a, b)| differences | (a ^ b))
                == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiKeys, SESSION_SECONDS, Signer, TICKET_SECONDS};
    use crate::Env;

    fn signer(keys: &str, secret: &str) -> Signer {
        let keys = ApiKeys::from_env(&Env::of([("TASKWEIR_API_KEYS", keys)])).unwrap();
        Signer::new(keys, secret.as_bytes())
    }

    fn cookie(signer: &Signer, secret: &str) -> String {
        let caller = signer.keys.caller_of(secret).unwrap();
        signer.sign_in(caller, 100).unwrap()
    }

    const ANN: &str = "ann:operator:correct-horse";

    #[test]
    fn a_session_is_known_until_it_ends_or_its_key_changes() {
        let ours = signer(ANN, "salt");
        let cookie = cookie(&ours, "correct-horse");
        let session = ours.session(&cookie, 200).unwrap();
        assert_eq!(session.caller.name, "ann");
        assert!(
            session.sent(&session.form_token.clone()) && !session.sent("") && !session.sent("x")
        );
        let ended = ours.session(&cookie, 100 + SESSION_SECONDS);
        assert_eq!(ended, None, "it has ended");
        let changed = signer("ann:operator:another-horse", "salt");
        assert_eq!(changed.session(&cookie, 200), None, "the key has changed");
        let forged = cookie.replace("ann", "bob");
        let both = signer(&format!("{ANN},bob:admin:battery-staple"), "salt");
        assert_eq!(both.session(&forged, 200), None);
        assert!(both.session(&cookie, 200).is_some(), "another instance");
        for odd in [
            "",
            ".",
            "..",
            "x.y.z",
            "0.99999999999999999999.ann",
            "0g.1.ann",
        ] {
            assert_eq!(ours.session(odd, 200), None);
        }
    }

    #[test]
    fn who_knows_the_cookie_and_guesses_the_key_cannot_tell_that_it_is_right() {
        let cookie = cookie(&signer(ANN, "salt of the installation"), "correct-horse");
        let guess = signer(ANN, "");
        assert_eq!(guess.session(&cookie, 200), None);
    }

    #[test]
    fn a_ticket_is_short_and_is_no_session() {
        let ours = signer(ANN, "salt");
        let ann = ours.keys.caller_of("correct-horse").unwrap();
        let ticket = ours.ticket(ann, 100).unwrap();
        assert_eq!(ticket.until_s, 100 + TICKET_SECONDS);
        let holder = ours.ticket_holder(&ticket.token, 100).unwrap();
        assert_eq!(holder.name, "ann");
        assert_eq!(ours.ticket_holder(&ticket.token, ticket.until_s), None);
        assert_eq!(ours.session(&ticket.token, 100), None);
        let session = cookie(&ours, "correct-horse");
        assert_eq!(ours.ticket_holder(&session, 100), None);
    }
}
