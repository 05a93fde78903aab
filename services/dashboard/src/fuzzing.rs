//! Doors for fuzz targets: what browsers send and is otherwise private.

use poem::http::Uri;
use taskweir_domain::{DraftLimits, Redaction, draft_from_json};
use taskweir_store::OperationKind;

use crate::actions::request;
use crate::filter::Asked;
use crate::pages::Draft;

/// The query of a page: its filter means the same when the page links to itself.
///
/// # Panics
/// It does not.
pub fn query(text: &str) {
    let Some(asked) = params::<Asked>(text) else {
        return;
    };
    let again = asked.url("/tasks", "cursor", "");
    let again = params::<Asked>(again.split_once('?').map_or("", |(_, query)| query));
    assert_eq!(again.map(|again| again.filter()), Some(asked.filter()));
    for kind in [
        OperationKind::DlqRetry,
        OperationKind::DlqDelete,
        OperationKind::TasksCancel,
    ] {
        asked.bulk_filter(kind).ok();
    }
}

/// The form of a new task.
pub fn form(text: &str) {
    let redaction: Redaction = "card".parse().expect("a field");
    if let Some(draft) = params::<Draft>(text)
        && let Ok(json) = request(&draft, &redaction)
    {
        draft_from_json(&json, &DraftLimits::default()).ok();
    }
}

/// Forms are encoded as queries are.
fn params<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    let uri: Uri = format!("/?{text}").parse().ok()?;
    poem::Request::builder().uri(uri).finish().params().ok()
}
