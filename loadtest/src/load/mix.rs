//! Which tasks a load test submits.

use std::str::FromStr;

use serde_json::{Value, json};

/// Types with their weights; drawn in turn, so that two runs submit the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    types: Vec<(String, u64)>,
}

impl FromStr for Mix {
    type Err = String;

    /// `process=8,echo=1,fail=1`, or one type alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a mix is type=weight,…, such as process=8,fail=1, not {text:?}");
        let mut types = Vec::new();
        for part in text.split(',') {
            let (kind, weight) = part.split_once('=').unwrap_or((part, "1"));
            let weight: u64 = weight.trim().parse().map_err(|_| wrong())?;
            if kind.trim().is_empty() || weight == 0 {
                return Err(wrong());
            }
            types.push((kind.trim().to_owned(), weight));
        }
        Ok(Self { types })
    }
}

impl Mix {
    /// Index of the type of a task by its number.
    pub(crate) fn draw(&self, number: u64) -> usize {
        let whole: u64 = self.types.iter().map(|(_, weight)| weight).sum();
        let mut at = number % whole.max(1);
        for (index, (_, weight)) in self.types.iter().enumerate() {
            if at < *weight {
                return index;
            }
            at -= weight;
        }
        0
    }

    /// A task of a type.
    pub(crate) fn task(&self, index: usize) -> Value {
        let kind = &self.types[index].0;
        let data = match kind.as_str() {
            "process" => json!({ "duration_ms": 10 }),
            "sleep" => json!({ "seconds": 0.05 }),
            // At once: a load test does not wait for retries.
            "fail" => json!({ "fatal": true }),
            _ => json!("hello-world"),
        };
        json!({ "type": kind, "data": data })
    }

    /// How a task of a type must end.
    pub(crate) fn expected(&self, index: usize) -> &'static str {
        if self.types[index].0 == "fail" {
            "failed"
        } else {
            "completed"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mix;

    #[test]
    fn weights_are_kept_whatever_the_count() {
        let mix: Mix = "process=3,fail=1".parse().unwrap();
        let drawn: Vec<usize> = (0..8).map(|number| mix.draw(number)).collect();
        assert_eq!(drawn, [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!((mix.expected(0), mix.expected(1)), ("completed", "failed"));
        assert_eq!("echo".parse::<Mix>().unwrap().task(0)["type"], "echo");
        for wrong in ["", "a=", "a=0", "=1", "a=1,,b=1", "a=-1"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
