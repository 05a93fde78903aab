//! What differs from the log, in words and field by field.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// Longest value that is told, bytes.
const SHOWN: usize = 200;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Of what: `task <id>`, `view <key>`, `event at <position>`.
    pub subject: String,
    /// Which field of it, or what is wrong with it as a whole.
    pub what: String,
    /// What the log says; `None` where there is nothing to hold it against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What is there instead: in the `record` or the `view`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl Difference {
    /// Something that is wrong as a whole.
    pub(crate) fn whole(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            what: what.into(),
            log: None,
            found: None,
        }
    }

    /// A field of which the log says something else.
    pub(crate) fn field(
        subject: impl Into<String>,
        field: impl Into<String>,
        log: &str,
        found: &str,
    ) -> Self {
        Self {
            log: Some(cut(log)),
            found: Some(cut(found)),
            ..Self::whole(subject, field)
        }
    }
}

fn cut(text: &str) -> String {
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(SHOWN)])
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            what,
            log,
            found,
        } = self;
        match (log, found) {
            (Some(log), Some(found)) => write!(f, "{subject}: {what}: log {log}, found {found}"),
            _ => write!(f, "{subject}: {what}"),
        }
    }
}

/// The fields in which two values differ, by their paths, with what each says.
pub(crate) fn between(log: &Value, found: &Value) -> Vec<(String, String, String)> {
    let mut differing = Vec::new();
    compare("", log, found, &mut differing);
    differing
}

fn compare(path: &str, log: &Value, found: &Value, differing: &mut Vec<(String, String, String)>) {
    if log == found {
        return;
    }
    let (Value::Object(ours), Value::Object(theirs)) = (log, found) else {
        let shown = |value: &Value| match value {
            Value::Null => "nothing".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        differing.push((path.to_owned(), shown(log), shown(found)));
        return;
    };
    let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for name in names {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let of = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned();
        let (log, found) = (of(ours).unwrap_or_default(), of(theirs).unwrap_or_default());
        compare(&path, &log, &found, differing);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Difference, between};

    #[test]
    fn fields_are_told_one_by_one() {
        let log = json!({ "version": 3, "phase": { "retrying": { "due_ms": 5 } }, "queue": "a" });
        let found = json!({ "version": 7, "phase": "pending", "queue": "a" });
        let told: Vec<String> = between(&log, &found)
            .into_iter()
            .map(|(field, log, found)| Difference::field("task x", field, &log, &found).to_string())
            .collect();
        assert_eq!(
            told,
            [
                r#"task x: phase: log {"retrying":{"due_ms":5}}, found pending"#,
                "task x: version: log 3, found 7",
            ]
        );
        let long = Difference::field("a", "b", &"x".repeat(1_000), "");
        assert!(long.to_string().len() < 300);
    }
}
