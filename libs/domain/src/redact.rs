//! Hiding parts of payloads and results from those who look: `REDACT_FIELDS`.

use std::borrow::Cow;
use std::str::FromStr;

use crate::json_text::{MAX_DEPTH, Parts, list, object};

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

/// Shortest text of a hidden value that is looked for in words about it, bytes: shorter ones stand everywhere. Said in
/// docs/settings.md.
const MIN_SECRET: usize = 3;

impl Redaction {
    /// Whether nothing is hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The paths as they begin.
    fn active(&self) -> Vec<&[Step]> {
        self.paths.iter().map(Vec::as_slice).collect()
    }

    /// A payload or a result without what the paths name; the rest of it stays as it is written.
    #[must_use]
    pub fn of<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(hide(text, &self.active(), MAX_DEPTH))
    }

    /// The body of an event, without what is hidden of the payload and the result that stand there.
    #[must_use]
    pub fn of_body<'a>(&self, body: &'a str) -> Cow<'a, str> {
        match Parts::of(body) {
            Parts::Object(members) if !self.is_empty() => {
                let members = members.into_iter().map(|(name, value)| {
                    let shown = match name.as_str() {
                        "data" | "result" => self.of(value),
                        _ => Cow::Borrowed(value),
                    };
                    (name, shown.into_owned())
                });
                Cow::Owned(object(members))
            }
            _ => Cow::Borrowed(body),
        }
    }

    /// Words about a task, such as an error, without the values that are hidden of its payload.
    #[must_use]
    pub fn of_words<'a>(&self, words: &'a str, payload: &str) -> Cow<'a, str> {
        if self.is_empty() {
            return Cow::Borrowed(words);
        }
        let mut secrets = Vec::new();
        collect(payload, &self.active(), MAX_DEPTH, &mut secrets);
        secrets.retain(|secret| secret.len() >= MIN_SECRET);
        // A secret may be part of another one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(Cow::Borrowed(words), |words, secret| {
            if words.contains(secret.as_str()) {
                Cow::Owned(words.replace(secret.as_str(), REDACTED))
            } else {
                words
            }
        })
    }

    /// Whether the marker stands where something would be hidden: what was shown came back as if it were data.
    #[must_use]
    pub fn left_in(&self, text: &str) -> bool {
        is_marked(text, &self.active(), MAX_DEPTH)
    }
}

/// The paths that go on below a member or an item, which has a key in an object alone.
fn below<'a>(paths: &[&'a [Step]], key: Option<&str>) -> Vec<&'a [Step]> {
    let mut further = Vec::new();
    for path in paths {
        let Some((step, rest)) = path.split_first() else {
            continue;
        };
        match step {
            Step::Field(name) if key == Some(name) => further.push(rest),
            Step::Any => further.push(rest),
            Step::Anywhere(name) => {
                // Within one of that name there may be another.
                further.push(path);
                if key == Some(name) {
                    further.push(rest);
                }
            }
            Step::Field(_) => {}
        }
    }
    further
}

/// Whether a path ends here, or goes on deeper than is looked.
fn is_hidden(paths: &[&[Step]], depth: usize) -> bool {
    paths.iter().any(|path| path.is_empty()) || (depth == 0 && !paths.is_empty())
}

fn marker() -> String {
    format!("\"{REDACTED}\"")
}

fn hide(text: &str, paths: &[&[Step]], depth: usize) -> String {
    if is_hidden(paths, depth) {
        return marker();
    }
    if paths.is_empty() {
        return text.to_owned();
    }
    match Parts::of(text) {
        Parts::Object(members) => object(members.into_iter().map(|(key, value)| {
            let value = hide(value, &below(paths, Some(&key)), depth - 1);
            (key, value)
        })),
        Parts::List(items) => {
            let paths = below(paths, None);
            list(items.into_iter().map(|item| hide(item, &paths, depth - 1)))
        }
        // An object or a list that cannot be taken apart may hold anything.
        Parts::Leaf if text.trim_start().starts_with(['{', '[']) => marker(),
        Parts::Leaf => text.to_owned(),
    }
}

/// Every text and number below a value, in each form in which words may quote it.
fn leaves(text: &str, depth: usize, found: &mut Vec<String>) {
    let parts = if depth == 0 {
        Parts::Leaf
    } else {
        Parts::of(text)
    };
    match parts {
        Parts::Object(members) => {
            for (key, value) in members {
                found.push(key);
                leaves(value, depth - 1, found);
            }
        }
        Parts::List(items) => items
            .into_iter()
            .for_each(|item| leaves(item, depth - 1, found)),
        Parts::Leaf => match serde_json::from_str::<String>(text) {
            Ok(inner) => {
                let quoted = [text.trim().to_owned(), format!("{inner:?}")];
                let quoted = quoted.iter().filter_map(|quoted| {
                    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
                    Some(inner.to_owned())
                });
                found.extend(quoted.chain(serde_json::to_string(&inner).ok()));
                found.push(inner);
            }
            // `true` and `null` tell nothing.
            Err(_) if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                found.push(text.trim().to_owned());
                found.extend(text.trim().parse().map(|number: f64| number.to_string()));
            }
            Err(_) if depth == 0 => found.push(text.trim().to_owned()),
            Err(_) => {}
        },
    }
}

fn collect(text: &str, paths: &[&[Step]], depth: usize, found: &mut Vec<String>) {
    if paths.is_empty() {
        return;
    }
    if is_hidden(paths, depth) {
        leaves(text, depth, found);
    }
    if depth == 0 {
        return;
    }
    match Parts::of(text) {
        Parts::Object(members) => {
            for (key, value) in members {
                collect(value, &below(paths, Some(&key)), depth - 1, found);
            }
        }
        Parts::List(items) => {
            let paths = below(paths, None);
            for item in items {
                collect(item, &paths, depth - 1, found);
            }
        }
        Parts::Leaf => {}
    }
}

fn is_marked(text: &str, paths: &[&[Step]], depth: usize) -> bool {
    if paths.is_empty() {
        return false;
    }
    if depth == 0 {
        return text.trim() == marker();
    }
    match Parts::of(text) {
        Parts::Object(members) => members
            .into_iter()
            .any(|(key, value)| is_marked(value, &below(paths, Some(&key)), depth - 1)),
        Parts::List(items) => {
            let paths = below(paths, None);
            items
                .into_iter()
                .any(|item| is_marked(item, &paths, depth - 1))
        }
        Parts::Leaf => is_hidden(paths, depth) && text.trim() == marker(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{REDACTED, Redaction};

    #[test]
    fn paths_hide_what_they_name_and_nothing_else() {
        let value = json!({
            "card": { "number": "4111", "name": "Ann" },
            "users": [{ "email": "a@b", "id": 1 }, { "email": "c@d", "id": 2 }],
            "deep": { "er": [{ "password": "x" }] },
            "password": { "whole": "object" },
        });
        let hidden = |paths: &str| {
            let redaction: Redaction = paths.parse().unwrap();
            let text = value.to_string();
            serde_json::from_str::<Value>(&redaction.of(&text)).unwrap()
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
        let nested = r#"{"card":{"x":{"card":{"number":"4111"}},"number":1}}"#;
        let deep: Redaction = "..card.number".parse().unwrap();
        assert_eq!(
            deep.of(nested),
            r#"{"card":{"x":{"card":{"number":"[redacted]"}},"number":"[redacted]"}}"#
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
        let left = |value: Value| redaction.left_in(&value.to_string());
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

    #[test]
    fn what_is_not_hidden_stays_as_it_is_written() {
        let redaction: Redaction = "pin,..deep".parse().unwrap();
        let text = r#"{"n":12345678901234567890.10,"pin":1,"a":{"x":1e400},"a":2,"pin":"2"}"#;
        assert_eq!(
            redaction.of(text),
            r#"{"n":12345678901234567890.10,"pin":"[redacted]","a":{"x":1e400},"a":2,"pin":"[redacted]"}"#
        );
        assert_eq!(Redaction::default().of(text), text);
        let body = r#"{"data":{"pin":1},"result":{"pin":2},"pin":3}"#;
        assert_eq!(
            redaction.of_body(body),
            r#"{"data":{"pin":"[redacted]"},"result":{"pin":"[redacted]"},"pin":3}"#
        );
        // Nothing hides by lying deep, and no depth is too deep.
        let nested = format!("{}{{\"deep\":1}}{}", "[".repeat(9_000), "]".repeat(9_000));
        let hidden = redaction.of(&nested);
        assert!(!hidden.contains("deep") && hidden.contains("[redacted]"));
        assert!(
            redaction.left_in(&hidden),
            "what is hidden deep is known again"
        );
        let torn = r#"{"a":{"\ud800":1,"pin":1}}"#;
        let deep: Redaction = "..pin".parse().unwrap();
        assert_eq!(deep.of(torn), r#"{"a":"[redacted]"}"#);
    }

    #[test]
    fn words_about_a_task_hide_what_its_payload_hides() {
        let redaction: Redaction = "card.number,users[*].email,token".parse().unwrap();
        let payload = r#"{"card":{"number":"4111-1111","name":"Ann"},"users":[{"email":"a@b.example"}],
            "token":{"id":123456,"short":"x"}}"#;
        let words = "Ann's card 4111-1111 of a@b.example was refused: token 123456 (x)";
        assert_eq!(
            redaction.of_words(words, payload),
            "Ann's card [redacted] of [redacted] was refused: token [redacted] (x)"
        );
        assert_eq!(redaction.of_words("nothing", payload), "nothing");
        // As an error may quote it: escaped, or with its numbers read.
        let odd = r#"{"token":{"a":"x\"yz\u00e9","n":1234560.50}}"#;
        for words in [
            r#"got x"yz\u{e9}"#.replace("\\u{e9}", "\u{e9}"),
            r#"got {"a":"x\"yz\u00e9"}"#.to_owned(),
            "got 1234560.5".to_owned(),
        ] {
            let told = redaction.of_words(&words, odd).into_owned();
            assert!(told.contains(REDACTED), "{told}");
            assert!(!told.contains("yz") && !told.contains("1234560"), "{told}");
        }
        assert_eq!(Redaction::default().of_words(words, payload), words);
    }
}
