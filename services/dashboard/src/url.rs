//! Every address of the dashboard, and safe pieces of addresses.

use std::fmt::Write;

use taskweir_domain::TaskId;

pub(crate) const OVERVIEW: &str = "/";
pub(crate) const TASKS: &str = "/tasks";
pub(crate) const NEW_TASK: &str = "/tasks/new";
pub(crate) const DLQ: &str = "/dlq";
pub(crate) const QUEUES: &str = "/queues";
pub(crate) const OPERATIONS: &str = "/operations";
pub(crate) const BULK: &str = "/bulk";
pub(crate) const SYSTEM: &str = "/system";
pub(crate) const WORKERS: &str = "/workers";
pub(crate) const SIGN_IN: &str = "/sign-in";
pub(crate) const SIGN_OUT: &str = "/sign-out";

pub(crate) fn task(id: TaskId) -> String {
    format!("/tasks/{id}")
}

/// A task as it was after one of its events.
pub(crate) fn task_at(id: TaskId, version: u64) -> String {
    format!("/tasks/{id}?event={version}")
}

pub(crate) fn cancel(id: TaskId) -> String {
    format!("/tasks/{id}/cancel")
}

pub(crate) fn operation(id: TaskId) -> String {
    format!("/operations/{id}")
}

pub(crate) fn operation_stop(id: TaskId) -> String {
    format!("/operations/{id}/stop")
}

/// Names of queues need no escaping.
pub(crate) fn queue_switch(queue: &str, verb: &str) -> String {
    format!("/queues/{queue}/{verb}")
}

pub(crate) fn retry(id: TaskId) -> String {
    format!("/dlq/{id}/retry")
}

pub(crate) fn remove(id: TaskId) -> String {
    format!("/dlq/{id}/remove")
}

/// A path with a query; parameters without a value are left out.
pub(crate) fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut url = path.to_owned();
    let given = parameters
        .iter()
        .filter_map(|(name, value)| Some((name, (*value)?)));
    for (index, (name, value)) in given.filter(|(_, value)| !value.is_empty()).enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                url.push(char::from(byte));
            } else {
                write!(url, "%{byte:02X}").expect("writing to a string");
            }
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::with_query;

    #[test]
    fn values_are_escaped_and_empty_ones_left_out() {
        let parameters = [
            ("q", Some("a b&c")),
            ("status", None),
            ("type", Some("")),
            ("queue", Some("x")),
        ];
        assert_eq!(
            with_query("/tasks", &parameters),
            "/tasks?q=a%20b%26c&queue=x"
        );
        assert_eq!(with_query("/tasks", &[]), "/tasks");
    }
}
