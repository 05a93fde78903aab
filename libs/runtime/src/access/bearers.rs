//! Callers of an API, let in by the key they bear.

use poem::Request;
use poem::http::header::AUTHORIZATION;

use super::{ApiKeys, Caller, Limiter};

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its address has shown so many wrong keys lately that it is not heard.
    Barred,
    /// It bears no key, or one that is not ours.
    Unknown,
}

/// The keys, and how often each address has shown a wrong one.
#[derive(Debug, Clone, Default)]
pub struct Bearers {
    keys: ApiKeys,
    failures: Limiter,
}

impl Bearers {
    /// The keys, and who counts wrong ones.
    #[must_use]
    pub const fn new(keys: ApiKeys, failures: Limiter) -> Self {
        Self { keys, failures }
    }

    /// Whether there are no keys, so that everybody is let in.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.keys.is_empty()
    }

    /// Who calls, by the `Authorization` header; anonymous where there are no keys.
    ///
    /// # Errors
    /// The caller is not let in.
    pub fn caller(&self, request: &Request) -> Result<Caller, Refusal> {
        if self.are_all() {
            return Ok(Caller::anonymous());
        }
        if self.failures.bars(request) {
            return Err(Refusal::Barred);
        }
        let header = request.headers().get(AUTHORIZATION);
        let text = header.and_then(|header| header.to_str().ok());
        if let Some(caller) = self.keys.bearer(text) {
            return Ok(caller.clone());
        }
        if header.is_some() {
            self.failures.failed(request);
        }
        Err(Refusal::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use poem::Request;

    use super::{ApiKeys, Bearers, Limiter, Refusal};
    use crate::Env;

    fn with(key: &str) -> Request {
        Request::builder()
            .header("authorization", format!("Bearer {key}"))
            .finish()
    }

    #[test]
    fn who_guesses_keys_is_barred_and_who_shows_none_is_not() {
        let env = Env::of([("TASKWEIR_API_KEYS", "ann:viewer:correct-horse")]);
        let bearers = Bearers::new(ApiKeys::from_env(&env).unwrap(), Limiter::default());
        assert_eq!(bearers.caller(&with("correct-horse")).unwrap().name, "ann");
        for _ in 0..100 {
            let none = bearers.caller(&Request::default());
            assert_eq!(none, Err(Refusal::Unknown));
        }
        for _ in 0..10 {
            assert_eq!(bearers.caller(&with("guess")), Err(Refusal::Unknown));
        }
        for key in ["guess", "correct-horse"] {
            assert_eq!(bearers.caller(&with(key)), Err(Refusal::Barred), "{key}");
        }
    }

    #[test]
    fn without_keys_everybody_is_let_in() {
        let caller = Bearers::default().caller(&with("anything")).unwrap();
        assert_eq!(caller.name, "anonymous");
    }
}
