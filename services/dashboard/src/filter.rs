//! The filter of a list: it is the address, nothing else.

use serde::Deserialize;
use taskweir_domain::{TimeError, parse_rfc3339_ms};
use taskweir_store::{Filter, OperationKind};

use crate::url;

/// A filter as it stands in an address or a form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub(crate) status: String,
    pub(crate) queue: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) priority: String,
    pub(crate) label: String,
    pub(crate) error: String,
    pub(crate) worker: String,
    pub(crate) created_after: String,
    pub(crate) created_before: String,
    pub(crate) failed_after: String,
    pub(crate) failed_before: String,
    pub(crate) q: String,
}

fn given(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A time as a form or an address gives it; forms leave the zone out and mean UTC.
fn time(name: &str, text: &str) -> Result<Option<u64>, String> {
    let Some(text) = given(text) else {
        return Ok(None);
    };
    let whole = match parse_rfc3339_ms(&text) {
        Err(TimeError::NoOffset) => parse_rfc3339_ms(&format!("{text}Z")),
        Err(TimeError::NoTime) => parse_rfc3339_ms(&format!("{text}:00Z")),
        whole => whole,
    };
    whole.map(Some).map_err(|fault| match fault {
        TimeError::NoTime => format!("{name} must be a time such as 2026-01-31T03:12 (UTC)"),
        fault => format!("{name} {fault}"),
    })
}

impl Asked {
    /// The filter it means.
    pub(crate) fn filter(&self) -> Result<Filter, String> {
        let word = |name: &str, text: &str| format!("there is no {name} called {text:?}");
        let status = match given(&self.status) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| word("status", &text))?),
        };
        let priority = match given(&self.priority) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| word("priority", &text))?),
        };
        let label = match given(&self.label) {
            None => None,
            Some(text) => {
                let (name, value) = text.split_once('=').ok_or("label must be name=value")?;
                Some((name.to_owned(), value.to_owned()))
            }
        };
        Ok(Filter {
            statuses: status.into_iter().collect(),
            queue: given(&self.queue),
            task_type: given(&self.kind),
            priority,
            label,
            error: given(&self.error),
            worker: given(&self.worker),
            created_after_ms: time("created after", &self.created_after)?,
            created_before_ms: time("created before", &self.created_before)?,
            failed_after_ms: time("gave up after", &self.failed_after)?,
            failed_before_ms: time("gave up before", &self.failed_before)?,
            text: given(&self.q),
        })
    }

    /// The filter of an operation on all that match.
    pub(crate) fn bulk_filter(&self, kind: OperationKind) -> Result<Filter, String> {
        let filter = self.filter()?;
        let refused = |(name, why): (&str, &str)| format!("{}: {why}", name.replace('_', " "));
        kind.check(&filter).map_err(refused)?;
        Ok(filter)
    }

    /// Its parts by name, those that say something.
    pub(crate) fn parts(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("status", &self.status),
            ("queue", &self.queue),
            ("type", &self.kind),
            ("priority", &self.priority),
            ("label", &self.label),
            ("error", &self.error),
            ("worker", &self.worker),
            ("created_after", &self.created_after),
            ("created_before", &self.created_before),
            ("failed_after", &self.failed_after),
            ("failed_before", &self.failed_before),
            ("q", &self.q),
        ];
        let said = all.into_iter().filter(|(_, text)| !text.trim().is_empty());
        said.map(|(name, text)| (name, text.trim())).collect()
    }

    /// The address of a page with this filter, one part of it changed (empty: left out).
    pub(crate) fn url(&self, path: &str, name: &str, value: &str) -> String {
        let mut parts: Vec<(&str, Option<&str>)> = self
            .parts()
            .into_iter()
            .filter(|(known, _)| *known != name)
            .map(|(known, text)| (known, Some(text)))
            .collect();
        parts.push((name, Some(value)));
        url::with_query(path, &parts)
    }

    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use taskweir_domain::Status;

    use taskweir_store::OperationKind;

    use super::Asked;

    #[test]
    fn a_filter_that_does_not_fit_an_operation_is_no_filter_for_all() {
        let window = Asked {
            failed_after: "2026-01-31T03:12".to_owned(),
            ..Asked::default()
        };
        assert!(window.bulk_filter(OperationKind::DlqRetry).is_ok());
        let why = window.bulk_filter(OperationKind::TasksCancel).unwrap_err();
        assert!(why.contains("failed after"), "{why}");
        let completed = Asked {
            status: "completed".to_owned(),
            ..Asked::default()
        };
        for kind in [OperationKind::DlqRetry, OperationKind::TasksCancel] {
            assert!(completed.bulk_filter(kind).is_err());
        }
        let long = Asked {
            q: "x".repeat(2_000),
            ..Asked::default()
        };
        assert!(long.bulk_filter(OperationKind::DlqDelete).is_err());
    }

    #[test]
    fn an_address_is_a_filter_and_back() {
        let asked = Asked {
            status: "failed".to_owned(),
            kind: " mail ".to_owned(),
            label: "customer=7".to_owned(),
            failed_after: "2026-01-31T03:12".to_owned(),
            ..Asked::default()
        };
        let filter = asked.filter().unwrap();
        assert_eq!(filter.statuses, [Status::Failed]);
        assert_eq!(filter.task_type.as_deref(), Some("mail"));
        assert_eq!(filter.failed_after_ms, Some(1_769_829_120_000));
        assert_eq!(
            asked.url("/tasks", "status", ""),
            "/tasks?type=mail&label=customer%3D7&failed_after=2026-01-31T03%3A12"
        );
        assert!(asked.url("/tasks", "cursor", "x").ends_with("&cursor=x"));
        for (name, wrong) in [
            (
                "status",
                Asked {
                    status: "dead".to_owned(),
                    ..Asked::default()
                },
            ),
            (
                "label",
                Asked {
                    label: "x".to_owned(),
                    ..Asked::default()
                },
            ),
            (
                "created",
                Asked {
                    created_after: "now".to_owned(),
                    ..Asked::default()
                },
            ),
        ] {
            assert!(wrong.filter().unwrap_err().contains(name));
        }
    }
}
