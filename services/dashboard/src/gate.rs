//! Who is at the dashboard: the session of a cookie, or anybody where there are no keys.

use std::net::IpAddr;

use poem::Request;
use poem::http::header::{COOKIE, HeaderValue};
use taskweir_domain::Actor;
use taskweir_runtime::access::{
    Caller, Doorkeeper, Refusal, Role, SESSION_SECONDS, Session, Signer,
};
use taskweir_runtime::listen::BasePath;
use taskweir_store::clock;

const COOKIE_NAME: &str = "taskweir_session";

/// Lets people in by their sessions.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    doorkeeper: Doorkeeper,
    signer: Signer,
    /// On loopback there is no TLS, and a secure cookie would not come back.
    loopback: bool,
    /// Cookies come back below it.
    base_path: BasePath,
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
    pub(crate) const fn new(
        doorkeeper: Doorkeeper,
        signer: Signer,
        loopback: bool,
        base_path: BasePath,
    ) -> Self {
        Self {
            base_path,
            doorkeeper,
            signer,
            loopback,
        }
    }

    /// The address of who sent a request, as far as the proxies in front are trusted.
    pub(crate) fn client(&self, request: &Request) -> Option<IpAddr> {
        self.doorkeeper.client(request)
    }

    /// Who sent a request; `None`: somebody who must sign in first.
    pub(crate) fn visitor(&self, request: &Request) -> Option<Visitor> {
        if self.doorkeeper.is_open() {
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
        ours.find_map(|cookie| self.signer.session(cookie, clock::now_ms() / 1_000))
            .map(Visitor)
    }

    /// The `Set-Cookie` header of somebody who knows a secret.
    pub(crate) fn sign_in(
        &self,
        request: &Request,
        secret: &str,
    ) -> Result<Option<HeaderValue>, Refusal> {
        let caller = self.doorkeeper.holder(request, secret)?;
        let cookie = self.signer.sign_in(caller, clock::now_ms() / 1_000);
        Ok(cookie.and_then(|cookie| self.cookie(&cookie, SESSION_SECONDS)))
    }

    /// The `Set-Cookie` header that ends a session.
    pub(crate) fn sign_out(&self) -> Option<HeaderValue> {
        self.cookie("", 0)
    }

    fn cookie(&self, value: &str, seconds: u64) -> Option<HeaderValue> {
        let secure = if self.loopback { "" } else { "; Secure" };
        let text = format!(
            "{COOKIE_NAME}={value}; Path={}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
            self.base_path.before("/")
        );
        HeaderValue::from_str(&text).ok()
    }
}
