//! Who is at the dashboard: the session of a cookie, or anybody where there are no keys.

use poem::Request;
use poem::http::header::{COOKIE, HeaderValue};
use taskweir_domain::Actor;
use taskweir_runtime::access::{ApiKeys, Caller, Limiter, Role, SESSION_SECONDS, Session};
use taskweir_store::clock;

const COOKIE_NAME: &str = "taskweir_session";

/// Lets people in by their sessions.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    keys: ApiKeys,
    pub(crate) failures: Limiter,
    /// On loopback there is no TLS, and a secure cookie would not come back.
    loopback: bool,
}

/// Who is here.
#[derive(Debug, Clone)]
pub(crate) struct Visitor(pub(crate) Session);

impl Visitor {
    pub(crate) fn may(&self, role: Role) -> bool {
        self.0.caller.role >= role
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor(self.0.caller.name.clone())
    }

    /// Whether somebody signed in, so that signing out means something.
    pub(crate) fn is_signed_in(&self) -> bool {
        !self.0.form_token.is_empty()
    }

    pub(crate) fn token(&self) -> &str {
        &self.0.form_token
    }
}

impl Gate {
    pub(crate) fn new(keys: ApiKeys, failures: Limiter, loopback: bool) -> Self {
        Self {
            keys,
            failures,
            loopback,
        }
    }

    /// Who sent a request; `None`: somebody who must sign in first.
    pub(crate) fn visitor(&self, request: &Request) -> Option<Visitor> {
        if self.keys.is_empty() {
            return Some(Visitor(Session {
                caller: Caller::anonymous(),
                form_token: String::new(),
            }));
        }
        let cookies = request.headers().get_all(COOKIE).iter();
        let cookies = cookies
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'));
        let mut ours =
            cookies.filter_map(|cookie| cookie.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='));
        ours.find_map(|cookie| self.keys.session(cookie, clock::now_ms() / 1_000))
            .map(Visitor)
    }

    /// The `Set-Cookie` header of somebody who knows a secret.
    pub(crate) fn sign_in(&self, secret: &str) -> Option<HeaderValue> {
        let cookie = self.keys.sign_in(secret, clock::now_ms() / 1_000)?;
        self.cookie(&cookie, SESSION_SECONDS)
    }

    /// The `Set-Cookie` header that ends a session.
    pub(crate) fn sign_out(&self) -> Option<HeaderValue> {
        self.cookie("", 0)
    }

    fn cookie(&self, value: &str, seconds: u64) -> Option<HeaderValue> {
        let secure = if self.loopback { "" } else { "; Secure" };
        let text = format!(
            "{COOKIE_NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
        );
        HeaderValue::from_str(&text).ok()
    }
}
