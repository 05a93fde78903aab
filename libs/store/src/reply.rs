//! Reading replies of scripts and commands without ever panicking on what Redis sends.

use redis::Value;
use taskweir_domain::{Position, TaskId};

use crate::StoreError;

/// A reply being read, with the name of what gave it for errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader(pub(crate) &'static str);

impl Reader {
    pub(crate) fn error(self, detail: impl Into<String>) -> StoreError {
        StoreError::reply(self.0, detail)
    }

    pub(crate) fn list(self, value: Value) -> Result<Vec<Value>, StoreError> {
        match value {
            Value::Array(list) => Ok(list),
            Value::Nil => Ok(Vec::new()),
            other => Err(self.error(format!("a list was expected, not {other:?}"))),
        }
    }

    /// A list of exactly `N`.
    pub(crate) fn tuple<const N: usize>(self, value: Value) -> Result<[Value; N], StoreError> {
        let list = self.list(value)?;
        let len = list.len();
        list.try_into()
            .map_err(|_| self.error(format!("{N} values were expected, not {len}")))
    }

    pub(crate) fn text(self, value: Value) -> Result<String, StoreError> {
        match value {
            Value::BulkString(bytes) => {
                String::from_utf8(bytes).map_err(|_| self.error("a text is not UTF-8"))
            }
            Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text),
            Value::Int(number) => Ok(number.to_string()),
            Value::Okay => Ok("OK".to_owned()),
            other => Err(self.error(format!("a text was expected, not {other:?}"))),
        }
    }

    pub(crate) fn number(self, value: Value) -> Result<u64, StoreError> {
        match value {
            Value::Int(number) => {
                u64::try_from(number).map_err(|_| self.error(format!("{number} is negative")))
            }
            other => {
                let text = self.text(other)?;
                text.parse()
                    .map_err(|_| self.error(format!("{text:?} is no number")))
            }
        }
    }

    pub(crate) fn small(self, value: Value) -> Result<u32, StoreError> {
        let number = self.number(value)?;
        u32::try_from(number).map_err(|_| self.error(format!("{number} is too large")))
    }

    pub(crate) fn position(self, value: Value) -> Result<Position, StoreError> {
        let text = self.text(value)?;
        text.parse()
            .map_err(|_| self.error(format!("{text:?} is no position")))
    }

    pub(crate) fn id(self, value: Value) -> Result<TaskId, StoreError> {
        let text = self.text(value)?;
        text.parse()
            .map_err(|_| self.error(format!("{text:?} is no task id")))
    }

    /// A list of texts.
    pub(crate) fn texts(self, value: Value) -> Result<Vec<String>, StoreError> {
        self.list(value)?
            .into_iter()
            .map(|item| self.text(item))
            .collect()
    }

    /// Field and value after each other, or a map.
    pub(crate) fn pairs(self, value: Value) -> Result<Vec<(String, String)>, StoreError> {
        let flat = match value {
            Value::Map(pairs) => {
                return pairs
                    .into_iter()
                    .map(|(key, value)| Ok((self.text(key)?, self.text(value)?)))
                    .collect();
            }
            other => self.list(other)?,
        };
        let mut pairs = Vec::with_capacity(flat.len() / 2);
        let mut items = flat.into_iter();
        while let Some(key) = items.next() {
            let value = items
                .next()
                .ok_or_else(|| self.error("a field without a value"))?;
            pairs.push((self.text(key)?, self.text(value)?));
        }
        Ok(pairs)
    }

    /// One word per task, `expected` of them.
    pub(crate) fn words<T>(
        self,
        value: Value,
        expected: usize,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let words = self.texts(value)?;
        if words.len() != expected {
            return Err(self.error(format!(
                "{expected} answers were expected, not {}",
                words.len()
            )));
        }
        words
            .iter()
            .map(|word| read(word).ok_or_else(|| self.error(format!("unknown answer {word:?}"))))
            .collect()
    }
}

/// An entry of a stream: id and its fields; none where they are not text, as no entry of ours is.
pub(crate) struct StreamEntry {
    pub(crate) id: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Reader {
    pub(crate) fn entries(self, value: Value) -> Result<Vec<StreamEntry>, StoreError> {
        self.list(value)?
            .into_iter()
            // 6.2 answers nil for entries that were deleted while pending.
            .filter(|entry| !matches!(entry, Value::Nil))
            .map(|entry| {
                let [id, fields] = self.tuple::<2>(entry)?;
                Ok(StreamEntry {
                    id: self.text(id)?,
                    // One that somebody wrote by hand must not take the others of the reply along.
                    fields: self.pairs(fields).unwrap_or_default(),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
    use redis::Value;

    use super::Reader;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            any::<Vec<u8>>().prop_map(Value::BulkString),
            ".*".prop_map(Value::SimpleString),
            Just(Value::Okay),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            proptest::collection::vec(inner, 0..6).prop_map(Value::Array)
        })
    }

    proptest! {
        #[test]
        fn whatever_redis_sends_is_an_answer_or_an_error(value in value()) {
            let reader = Reader("test");
            reader.entries(value.clone()).ok();
            reader.pairs(value.clone()).ok();
            reader.position(value.clone()).ok();
            reader.small(value.clone()).ok();
            reader.tuple::<2>(value.clone()).ok();
            reader.words(value, 3, |word| (word == "done").then_some(())).ok();
        }
    }
}
