//! An answer of a gateway: as values to be read, and as the text that came.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde_json::Value;
use serde_json::value::RawValue;

/// Levels of an answer that are read where a number in it is none that a value holds.
const MAX_DEPTH: usize = 32;

/// An answer. It reads as its [`Value`]; payloads and results in it stand in [`Answer::text`] as they were sent, while
/// a value rounds long numbers and keeps one of two keys that stand twice.
#[derive(Debug, Clone)]
pub struct Answer {
    text: String,
    value: Value,
}

impl Answer {
    /// Reads an answer; `None` where it is no JSON.
    #[must_use]
    pub fn read(text: String) -> Option<Self> {
        if text.is_empty() {
            return Some(Self {
                text: "null".to_owned(),
                value: Value::Null,
            });
        }
        serde_json::from_str::<&RawValue>(&text).ok()?;
        let value = lenient(&text, MAX_DEPTH);
        Some(Self { text, value })
    }

    /// The JSON text that came.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self {
            text: value.to_string(),
            value,
        }
    }
}

impl Deref for Answer {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

/// A text as a value; a number that no value holds, such as 1e400, as its text.
fn lenient(text: &str, depth: usize) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    let as_text = || Value::String(text.to_owned());
    if depth == 0 {
        return as_text();
    }
    match text.trim_start().as_bytes().first() {
        Some(b'{') => match serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
            Ok(fields) => fields
                .into_iter()
                .map(|(name, field)| (name, lenient(field.get(), depth - 1)))
                .collect(),
            Err(_) => as_text(),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(items) => items
                .into_iter()
                .map(|item| lenient(item.get(), depth - 1))
                .collect(),
            Err(_) => as_text(),
        },
        _ => as_text(),
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn an_answer_is_read_whatever_numbers_it_holds() {
        let text = r#"{"status":"completed","data":{"n":1e400,"a":12345678901234567890123}}"#;
        let answer = Answer::read(text.to_owned()).unwrap();
        assert_eq!(answer["status"], "completed");
        assert_eq!(answer["data"]["n"], "1e400");
        assert_eq!(answer.text(), text);
        assert!(Answer::read(String::new()).unwrap().is_null());
        assert!(Answer::read("<html>".to_owned()).is_none());
    }
}
