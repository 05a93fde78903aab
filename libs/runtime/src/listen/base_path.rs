//! The path under which a proxy shows a service: `/queue` in `https://example.org/queue/tasks`.

use poem::Request;
use poem::http::Uri;
use poem::http::uri::PathAndQuery;

use crate::{Env, EnvError};

/// A path before every path of a service; empty where it has its host for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    /// Reads a variable such as `GATEWAY_BASE_PATH`.
    ///
    /// # Errors
    /// It is no path.
    pub fn from_env(env: &Env, variable: &str) -> Result<Self, EnvError> {
        let takes = "a path such as /queue: parts of letters, digits, '.', '_', '~' or '-', each after a '/'";
        env.read(variable, Self::default(), takes, |text| {
            let text = text.strip_suffix('/').unwrap_or(text);
            if text.is_empty() {
                return Some(Self::default());
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
            let part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(plain);
            let parts = text.strip_prefix('/')?;
            parts.split('/').all(part).then(|| Self(text.to_owned()))
        })
    }

    /// The path as it stands before others; empty where there is none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A path of the service as its callers see it.
    #[must_use]
    pub fn before(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Takes the base away from the path of a request, where the proxy has left it there.
    pub fn strip(&self, request: &mut Request) {
        if self.0.is_empty() {
            return;
        }
        let uri = request.uri();
        let Some(rest) = uri.path().strip_prefix(&self.0) else {
            return;
        };
        let path = match rest {
            "" => "/",
            rest if rest.starts_with('/') => rest,
            // `/queues` is not below `/queue`.
            _ => return,
        };
        let whole = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let mut parts = uri.clone().into_parts();
        if let Ok(whole) = whole.parse::<PathAndQuery>() {
            parts.path_and_query = Some(whole);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use poem::Request;

    use super::BasePath;
    use crate::Env;

    fn base(text: &str) -> Result<BasePath, crate::EnvError> {
        BasePath::from_env(&Env::of([("GATEWAY_BASE_PATH", text)]), "GATEWAY_BASE_PATH")
    }

    #[test]
    fn a_path_is_read_and_what_is_none_is_refused() {
        for (text, path) in [
            ("", ""),
            ("/", ""),
            ("/queue", "/queue"),
            ("/a/b-1/", "/a/b-1"),
        ] {
            assert_eq!(base(text).unwrap().as_str(), path);
        }
        for text in ["queue", "//", "/a//b", "/..", "/a b", "/a?b", "https://a/b"] {
            let refused = base(text).unwrap_err().to_string();
            assert!(refused.contains("GATEWAY_BASE_PATH"), "{refused}");
        }
    }

    #[test]
    fn the_base_is_taken_away_where_it_is() {
        let base = base("/queue").unwrap();
        for (asked, found) in [
            ("/queue/tasks?limit=1", "/tasks?limit=1"),
            ("/queue", "/"),
            ("/queue?a=b", "/?a=b"),
            ("/tasks", "/tasks"),
            ("/queues/a", "/queues/a"),
        ] {
            let mut request = Request::builder().uri(asked.parse().unwrap()).finish();
            base.strip(&mut request);
            assert_eq!(request.uri().to_string(), found);
        }
        assert_eq!(base.before("/tasks"), "/queue/tasks");
    }
}
