//! Who may call what.

use std::net::IpAddr;

use poem::Request;
use poem::http::Method;
use taskweir_runtime::access::{Caller, Doorkeeper, Refusal, Role, Signer, Ticket};
use taskweir_runtime::listen::is_own;
use taskweir_store::clock;

use crate::problem::ApiError;

/// The call that gives a ticket for the feed: it changes nothing.
const LISTEN_TICKET: &str = "/events/ticket";

/// Lets callers in by their keys.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    doorkeeper: Doorkeeper,
    signer: Signer,
}

/// The role a call needs; `None`: probes and the documentation stay open.
fn needed(method: &Method, path: &str) -> Option<Role> {
    match path {
        "/health/live" | "/health/ready" | "/openapi.json" => return None,
        docs if docs == "/docs" || docs.starts_with("/docs/") => return None,
        _ => {}
    }
    Some(match (method, path) {
        (&Method::GET | &Method::HEAD | &Method::OPTIONS, _) | (&Method::POST, LISTEN_TICKET) => {
            Role::Viewer
        }
        (&Method::POST, "/tasks" | "/tasks/batch") => Role::Submitter,
        _ => Role::Operator,
    })
}

impl Gate {
    pub(crate) const fn new(doorkeeper: Doorkeeper, signer: Signer) -> Self {
        Self { doorkeeper, signer }
    }

    /// The address of who calls, as far as the proxies in front are trusted.
    pub(crate) fn client(&self, request: &Request) -> Option<IpAddr> {
        self.doorkeeper.client(request)
    }

    /// A ticket for the holder of a key, which a browser may put into the address of the feed; `None` where there are no
    /// keys, and no ticket is needed.
    pub(crate) fn ticket(&self, caller: &Caller) -> Option<Ticket> {
        self.signer.ticket(caller, clock::now_ms() / 1_000)
    }

    /// Who listens with a ticket, which is good for the feed alone.
    fn ticket_holder(&self, request: &Request) -> Option<Caller> {
        let listens = request.method() == Method::GET && request.uri().path() == "/events";
        let query = request.uri().query().filter(|_| listens)?;
        let token = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("token="))?;
        let now_s = clock::now_ms() / 1_000;
        self.signer.ticket_holder(token, now_s).cloned()
    }

    /// Who calls, if they may.
    pub(crate) fn admit(&self, request: &Request) -> Result<Caller, ApiError> {
        let needed = needed(request.method(), request.uri().path());
        // A page of any site can have a browser send a request without a key, and a key it does not have.
        let changes = needed.is_some_and(|needed| needed > Role::Viewer);
        if self.doorkeeper.is_open() && changes && !is_own(request.headers()) {
            return Err(ApiError::forbidden(
                "this was sent by a page of another site",
            ));
        }
        let Some(needed) = needed else {
            return Ok(Caller::anonymous());
        };
        let caller = match self.ticket_holder(request) {
            Some(caller) => Ok(caller),
            None => self.doorkeeper.caller(request),
        };
        let caller = caller.map_err(|refusal| match refusal {
            Refusal::Rationed => ApiError::too_many_failures(),
            Refusal::Unknown => ApiError::unauthorized(),
        })?;
        if caller.role < needed {
            return Err(ApiError::forbidden(&format!(
                "key {} is a {}; this takes a {needed} at least",
                caller.name, caller.role
            )));
        }
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use poem::http::Method;
    use taskweir_runtime::access::Role;

    use super::needed;

    #[test]
    fn each_call_needs_its_role() {
        let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
        assert_eq!(needed(&get, "/health/live"), None);
        assert_eq!(needed(&get, "/docs"), None);
        assert_eq!(needed(&get, "/health"), Some(Role::Viewer));
        assert_eq!(needed(&get, "/metrics"), Some(Role::Viewer));
        assert_eq!(needed(&get, "/docsx"), Some(Role::Viewer));
        assert_eq!(needed(&post, "/tasks"), Some(Role::Submitter));
        assert_eq!(needed(&post, "/tasks/batch"), Some(Role::Submitter));
        assert_eq!(needed(&post, "/tasks/x/cancel"), Some(Role::Operator));
        assert_eq!(needed(&post, "/queues/q/pause"), Some(Role::Operator));
        assert_eq!(needed(&delete, "/dlq/failed-tasks/x"), Some(Role::Operator));
    }
}
