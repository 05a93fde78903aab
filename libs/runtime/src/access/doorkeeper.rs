//! Who is let in by the secret of a key: over HTTP, at a sign-in form, at `/metrics`.
//!
//! A right secret always passes, whatever its address has shown before: behind a proxy or a NAT one client
//! that guesses must not shut out the others. Only wrong secrets are rationed.

use poem::Request;
use poem::http::header::AUTHORIZATION;

use super::{ApiKeys, Caller, Limiter};
use crate::{Env, EnvError};

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It shows a wrong secret, and so many came from its address lately that it is asked to wait.
    Rationed,
    /// It shows no secret, or a wrong one.
    Unknown,
}

/// The keys, and how often each address has shown a wrong secret.
#[derive(Debug, Clone, Default)]
pub struct Doorkeeper {
    keys: ApiKeys,
    failures: Limiter,
}

impl Doorkeeper {
    /// Reads `TASKWEIR_API_KEYS` and `TRUSTED_PROXIES`.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            keys: ApiKeys::from_env(env)?,
            failures: Limiter::from_env(env)?,
        })
    }

    /// The keys.
    #[must_use]
    pub const fn keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// Whether there are no keys, so that everybody is let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose secret a request shows.
    ///
    /// # Errors
    /// Nobody's.
    pub fn holder(&self, request: &Request, secret: &str) -> Result<&Caller, Refusal> {
        match self.keys.caller_of(secret) {
            Some(caller) => Ok(caller),
            None if self.failures.has_failed_again(request) => Err(Refusal::Rationed),
            None => Err(Refusal::Unknown),
        }
    }

    /// Who calls, by the `Authorization` header; anonymous where there are no keys.
    ///
    /// # Errors
    /// The caller is not let in.
    pub fn caller(&self, request: &Request) -> Result<Caller, Refusal> {
        if self.is_open() {
            return Ok(Caller::anonymous());
        }
        let Some(header) = request.headers().get(AUTHORIZATION) else {
            return Err(Refusal::Unknown);
        };
        let bearer = header.to_str().ok().and_then(|text| {
            let (scheme, secret) = text.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| secret.trim_start())
        });
        // Another scheme is no secret of ours, and counts as a wrong one.
        self.holder(request, bearer.unwrap_or_default()).cloned()
    }

    /// The address of who sent a request, as far as the proxies in front are trusted.
    #[must_use]
    pub fn client(&self, request: &Request) -> Option<std::net::IpAddr> {
        self.failures.client(request)
    }
}

#[cfg(test)]
mod tests {
    use poem::Request;

    use super::{Doorkeeper, Refusal};
    use crate::Env;

    fn with(header: &str) -> Request {
        Request::builder().header("authorization", header).finish()
    }

    fn doorkeeper() -> Doorkeeper {
        let keys = "ann:viewer:correct-horse";
        Doorkeeper::from_env(&Env::of([("TASKWEIR_API_KEYS", keys)])).unwrap()
    }

    #[test]
    fn wrong_secrets_are_rationed_and_the_right_one_always_passes() {
        let doorkeeper = doorkeeper();
        let right = with("Bearer correct-horse");
        for _ in 0..100 {
            let none = doorkeeper.caller(&Request::default());
            assert_eq!(none, Err(Refusal::Unknown), "no secret is no wrong one");
        }
        for _ in 0..10 {
            let guess = doorkeeper.caller(&with("Bearer guess"));
            assert_eq!(guess, Err(Refusal::Unknown));
        }
        let guess = doorkeeper.caller(&with("Bearer guess"));
        assert_eq!(guess, Err(Refusal::Rationed));
        assert_eq!(doorkeeper.caller(&right).unwrap().name, "ann");
        let form = doorkeeper.holder(&Request::default(), "guess");
        assert_eq!(form, Err(Refusal::Rationed), "forms count with headers");
        let form = doorkeeper.holder(&Request::default(), "correct-horse");
        assert_eq!(form.unwrap().name, "ann");
    }

    #[test]
    fn headers_are_read_as_clients_write_them() {
        for (header, known) in [
            ("Bearer correct-horse", true),
            ("bearer correct-horse", true),
            ("Bearer  correct-horse", true),
            ("", false),
            ("Bearer", false),
            ("Bearer ", false),
            ("Basic correct-horse", false),
            ("correct-horse", false),
        ] {
            let found = doorkeeper().caller(&with(header));
            assert_eq!(found.is_ok(), known, "{header:?}");
        }
    }

    #[test]
    fn without_keys_everybody_is_let_in() {
        let caller = Doorkeeper::default()
            .caller(&with("Bearer anything"))
            .unwrap();
        assert_eq!(caller.name, "anonymous");
    }
}
