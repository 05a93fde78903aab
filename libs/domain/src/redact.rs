//! Hiding parts of payloads and results from those who look: `REDACT_FIELDS`.

use std::str::FromStr;

use serde_json::Value;

/// What stands where something is hidden.
pub const REDACTED: &str = "[redacted]";

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A field of this name.
    Field(String),
    /// Any field, or any item of a list.
    Any,
    /// This field, however deep.
    Anywhere(String),
}

/// Paths into payloads and results, such as `card.number`, `$.users[*].email` or `..password`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redaction {
    paths: Vec<Vec<Step>>,
}

/// The text is no list of paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be paths such as card.number, $.users[*].email or ..password, separated by commas")]
pub struct RedactionError;

fn path(text: &str) -> Option<Vec<Step>> {
    let text = text.trim();
    let text = text.strip_prefix('$').unwrap_or(text);
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let deep = rest.starts_with("..");
        rest = rest.trim_start_matches('.');
        if deep && rest.starts_with(['[', '*']) {
            // Everything, however deep, is everything: who means that writes `*`.
            return None;
        }
        if let Some(after) = rest.strip_prefix("[*]") {
            steps.push(Step::Any);
            rest = after;
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        steps.push(match name {
            "" => return None,
            "*" if !deep => Step::Any,
            name if deep => Step::Anywhere(name.to_owned()),
            name => Step::Field(name.to_owned()),
        });
    }
    (!steps.is_empty()).then_some(steps)
}

impl FromStr for Redaction {
    type Err = RedactionError;

    fn from_str(text: &str) -> Result<Self, RedactionError> {
        let paths = text
            .split(',')
            .filter(|path| !path.trim().is_empty())
            .map(|text| path(text).ok_or(RedactionError));
        Ok(Self {
            paths: paths.collect::<Result<_, _>>()?,
        })
    }
}

impl Redaction {
    /// Whether nothing is hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Hides what the paths name in a payload or a result.
    pub fn apply(&self, value: &mut Value) {
        for path in &self.paths {
            hide(value, path);
        }
    }

    /// Whether the marker stands where something would be hidden: what was shown came back as if it were data.
    #[must_use]
    pub fn left_in(&self, value: &Value) -> bool {
        let mut hidden = value.clone();
        unmark(&mut hidden);
        self.apply(&mut hidden);
        both_marked(value, &hidden)
    }

    /// Hides it in the body of an event: in the payload and the result that stand there.
    pub fn apply_to_body(&self, body: &mut Value) {
        for name in ["data", "result"] {
            if let Some(value) = body.get_mut(name) {
                self.apply(value);
            }
        }
    }
}

fn hide(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else {
        *value = Value::from(REDACTED);
        return;
    };
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => {
            if let Some(field) = fields.get_mut(name) {
                hide(field, rest);
            }
        }
        (Step::Any, Value::Object(fields)) => {
            fields.values_mut().for_each(|field| hide(field, rest));
        }
        (Step::Any, Value::Array(items)) => items.iter_mut().for_each(|item| hide(item, rest)),
        (Step::Anywhere(name), Value::Object(fields)) => {
            for (field, value) in fields {
                // Within one of that name there may be another.
                hide(value, path);
                if field == name {
                    hide(value, rest);
                }
            }
        }
        (Step::Anywhere(_), Value::Array(items)) => {
            items.iter_mut().for_each(|item| hide(item, path));
        }
        _ => {}
    }
}

fn unmark(value: &mut Value) {
    match value {
        Value::String(text) if text == REDACTED => *value = Value::Null,
        Value::Array(items) => items.iter_mut().for_each(unmark),
        Value::Object(fields) => fields.values_mut().for_each(unmark),
        _ => {}
    }
}

fn both_marked(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one == REDACTED && other == REDACTED,
        (Value::Array(one), Value::Array(other)) => one
            .iter()
            .zip(other)
            .any(|(one, other)| both_marked(one, other)),
        (Value::Object(one), Value::Object(other)) => one
            .iter()
            .any(|(name, one)| other.get(name).is_some_and(|other| both_marked(one, other))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Redaction;

    #[test]
    fn paths_hide_what_they_name_and_nothing_else() {
        let value = json!({
            "card": { "number": "4111", "name": "Ann" },
            "users": [{ "email": "a@b", "id": 1 }, { "email": "c@d", "id": 2 }],
            "deep": { "er": [{ "password": "x" }] },
            "password": { "whole": "object" },
        });
        let hidden = |paths: &str| {
            let mut value = value.clone();
            paths.parse::<Redaction>().unwrap().apply(&mut value);
            value
        };
        assert_eq!(
            hidden("card.number")["card"],
            json!({ "number": "[redacted]", "name": "Ann" })
        );
        let users = hidden("$.users[*].email")["users"].clone();
        assert_eq!(users[1], json!({ "email": "[redacted]", "id": 2 }));
        let everywhere = hidden(" ..password , card.*");
        assert_eq!(everywhere["deep"]["er"][0]["password"], "[redacted]");
        assert_eq!(everywhere["password"], "[redacted]");
        assert_eq!(everywhere["card"]["name"], "[redacted]");
        let mut nested = json!({ "card": { "x": { "card": { "number": "4111" } }, "number": 1 } });
        let deep: Redaction = "..card.number".parse().unwrap();
        deep.apply(&mut nested);
        assert_eq!(
            nested,
            json!({ "card": { "x": { "card": { "number": "[redacted]" } }, "number": "[redacted]" } })
        );
        assert_eq!(hidden("card.number.digits,nothing"), value);
        assert_eq!(hidden(""), value);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "$", ".", "a..", "a[0]", "..*[", "..*", "..[*]", "a..[*].b", "a[*",
        ] {
            assert!(text.parse::<Redaction>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_hidden_does_not_come_back_as_data() {
        let redaction: Redaction = "card.number,..pin".parse().unwrap();
        let left = |value: Value| redaction.left_in(&value);
        assert!(left(
            json!({ "card": { "number": "[redacted]", "name": "Ann" } })
        ));
        assert!(left(
            json!({ "card": { "number": "4111" }, "a": [{ "pin": "[redacted]" }] })
        ));
        assert!(!left(
            json!({ "card": { "number": "4111" }, "note": "[redacted]" })
        ));
        assert!(!left(json!(null)));
    }
}
