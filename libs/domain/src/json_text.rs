//! JSON texts taken apart and put together again without reading their numbers: what passes through keeps every digit,
//! every key that stands twice, and the order of its keys.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Json;

/// Levels of a text that are taken apart; what lies deeper is treated as one piece. Payloads may be nested as deep as they
/// are long, and each level is a call.
pub(crate) const MAX_DEPTH: usize = 64;

/// A member of an object: its key, and the text of its value.
pub(crate) type Member<'a> = (String, &'a str);

struct Members<'a>(Vec<Member<'a>>);

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            members.push((key, value.get()));
        }
        Ok(Members(members))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// The parts of a value.
pub(crate) enum Parts<'a> {
    /// Of an object, in order, with those that stand twice.
    Object(Vec<Member<'a>>),
    /// Of a list.
    List(Vec<&'a str>),
    /// None: a text, a number, a word.
    Leaf,
}

/// The members of an object, and the names that stand twice; `None` where it is no object.
#[must_use]
pub fn members(text: &str) -> Option<(BTreeMap<String, Json>, Vec<String>)> {
    let Parts::Object(members) = Parts::of(text) else {
        return None;
    };
    let (mut fields, mut twice) = (BTreeMap::new(), Vec::new());
    for (name, value) in members {
        let value = Json::parse(value.to_owned()).ok()?;
        if fields.insert(name.clone(), value).is_some() && !twice.contains(&name) {
            twice.push(name);
        }
    }
    Some((fields, twice))
}

impl<'a> Parts<'a> {
    /// Takes the outermost level of a text apart.
    pub(crate) fn of(text: &'a str) -> Self {
        let text = text.trim_start();
        match text.as_bytes().first() {
            Some(b'{') => match serde_json::from_str(text) {
                Ok(Members(members)) => Self::Object(members),
                Err(_) => Self::Leaf,
            },
            Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
                Ok(items) => Self::List(items.into_iter().map(RawValue::get).collect()),
                Err(_) => Self::Leaf,
            },
            _ => Self::Leaf,
        }
    }
}

/// Writes an object of members whose values are JSON texts.
pub(crate) fn object(members: impl IntoIterator<Item = (String, String)>) -> String {
    let members = members.into_iter().map(|(key, value)| {
        let key = serde_json::to_string(&key).unwrap_or_default();
        format!("{key}:{value}")
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// Writes a list of JSON texts.
pub(crate) fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// The text without white space between its tokens, and with the keys of its objects in order: two texts that differ in
/// nothing that JSON gives a meaning have the same one. Numbers and texts stay as they are written.
#[must_use]
pub fn canonical(text: &str) -> String {
    canonical_to(text, MAX_DEPTH)
}

fn canonical_to(text: &str, depth: usize) -> String {
    if depth == 0 {
        return compact(text);
    }
    match Parts::of(text) {
        Parts::Object(mut members) => {
            // Stable: of two that have the same key, the order decides.
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            let members = members.into_iter();
            object(members.map(|(key, value)| (key, canonical_to(value, depth - 1))))
        }
        Parts::List(items) => list(items.into_iter().map(|item| canonical_to(item, depth - 1))),
        Parts::Leaf => match serde_json::from_str::<String>(text) {
            // A character may be written as itself or as an escape.
            Ok(text) => serde_json::to_string(&text).unwrap_or_default(),
            Err(_) => text.trim().to_owned(),
        },
    }
}

/// The text on one line, without white space between its tokens.
#[must_use]
pub fn compact(text: &str) -> String {
    spaced(text, None)
}

/// The text over several lines, for people.
#[must_use]
pub fn pretty(text: &str) -> String {
    spaced(text, Some(2))
}

/// The text with its white space made anew: none, or lines indented by so many spaces a level.
fn spaced(text: &str, indent: Option<usize>) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut escaped = false;
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            // A text of nothing but brackets would be mostly white space.
            out.extend(std::iter::repeat_n(' ', indent * depth.min(MAX_DEPTH)));
        }
    };
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            ' ' | '\n' | '\r' | '\t' => {}
            '{' | '[' => {
                out.push(c);
                while rest.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(close) = rest.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => {
                out.push(c);
                if indent.is_some() {
                    out.push(' ');
                }
            }
            c => {
                in_text = c == '"';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{canonical, pretty};

    #[test]
    fn texts_that_mean_the_same_have_one_form_and_others_do_not() {
        let one = canonical(r#" { "b" : [ 1 , 2.50 ] , "a" : { } , "c" : "x \" y" } "#);
        assert_eq!(one, r#"{"a":{},"b":[1,2.50],"c":"x \" y"}"#);
        assert_eq!(one, canonical(&one));
        for (text, other) in [
            ("12345678901234567890123", "12345678901234567890124"),
            ("0.1000000000000000000001", "0.1000000000000000000002"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#),
            ("1e400", "null"),
        ] {
            assert_ne!(canonical(text), canonical(other), "{text}");
        }
        let deep = format!("{}1{}", "[ ".repeat(50_000), " ]".repeat(50_000));
        assert_eq!(canonical(&deep).len(), 100_001);
    }

    #[test]
    fn a_character_and_its_escape_are_the_same() {
        assert_eq!(
            canonical(r#"{"a":"\u00e9\/"}"#),
            canonical("{\"a\":\"\u{e9}/\"}")
        );
    }

    #[test]
    fn a_pretty_text_is_the_same_text() {
        let text = r#"{"a":[1,{"b":"{[,:]}\\\""}],"empty":{},"none":[ ],"n":1e400}"#;
        let shown = pretty(text);
        assert_eq!(canonical(&shown), canonical(text));
        assert!(shown.starts_with("{\n  \"a\": [\n    1,\n"), "{shown}");
        assert!(shown.contains("\"empty\": {},\n  \"none\": [],"), "{shown}");
    }
}
