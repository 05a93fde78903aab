//! A task by hand.

use maud::{Markup, html};
use poem::http::StatusCode;
use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;
use taskweir_domain::{FieldError, Priority, REDACTED, TaskId, pretty};
use taskweir_store::Totals;

use super::failed;
use crate::app::State;
use crate::components::summary_if_any;
use crate::gate::Visitor;
use crate::layout::form_token;
use crate::{layout, url};

/// The form as it was filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Draft {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) queue: String,
    pub(crate) priority: String,
    pub(crate) max_retries: String,
    pub(crate) delay: String,
    pub(crate) timeout: String,
    pub(crate) unique_key: String,
    pub(crate) labels: String,
    pub(crate) token: String,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            kind: "process".to_owned(),
            data: "\"hello-world\"".to_owned(),
            queue: "default".to_owned(),
            priority: Priority::Normal.to_string(),
            max_retries: String::new(),
            delay: String::new(),
            timeout: String::new(),
            unique_key: String::new(),
            labels: String::new(),
            token: String::new(),
        }
    }
}

fn field(name: &str, label: &str, value: &str, errors: &[FieldError]) -> Markup {
    let wrong = errors.iter().find(|error| error.field == name);
    let id = format!("error-{name}");
    html! {
        div {
            label for=(name) { (label) }
            input id=(name) name=(name) value=(value) aria-invalid=[wrong.map(|_| "true")] aria-describedby=[wrong.map(|_| &id)];
            @if let Some(wrong) = wrong { div.error id=(id) { (wrong.message) } }
        }
    }
}

/// The page with the form, with what was wrong the last time.
pub(crate) fn form(
    visitor: &Visitor,
    totals: Option<&Totals>,
    draft: &Draft,
    errors: &[FieldError],
) -> Response {
    let shown = [
        "type",
        "data",
        "queue",
        "priority",
        "max_retries",
        "delay",
        "timeout",
        "unique_key",
        "labels",
    ];
    let elsewhere = errors
        .iter()
        .filter(|error| !shown.contains(&error.field.as_str()));
    let data_error = errors.iter().find(|error| error.field == "data");
    let body = html! {
        (summary_if_any(totals))
        @for error in elsewhere { div.card.trouble role="alert" { (error.field) " " (error.message) } }
        form.card method="post" action=(url::NEW_TASK) {
            (form_token(visitor))
            div.row {
                (field("type", "Type", &draft.kind, errors))
                (field("queue", "Queue", &draft.queue, errors))
                div { label for="priority" { "Priority" }
                    select #priority name="priority" {
                        @for priority in Priority::ALL {
                            option value=(priority) selected[draft.priority == priority.as_str()] { (priority) }
                        }
                    } }
                (field("max_retries", "Retries (empty: default)", &draft.max_retries, errors))
                (field("delay", "Delay in seconds (empty: none)", &draft.delay, errors))
                (field("timeout", "Timeout in seconds (empty: none)", &draft.timeout, errors))
                (field("unique_key", "Unique key (empty: none)", &draft.unique_key, errors))
                (field("labels", "Labels (name=value, …)", &draft.labels, errors))
            }
            label for="data" { "Data (JSON)" }
            textarea #data name="data" rows="8" spellcheck="false" aria-invalid=[data_error.map(|_| "true")]
                aria-describedby=[data_error.map(|_| "error-data")] { (draft.data) }
            @if let Some(error) = data_error { div.error #error-data { (error.message) } }
            p { button type="submit" { "Submit" } }
        }
        p.muted {
            "The demo worker knows " code { "process" } ", " code { "echo" } ", " code { "fail" } ", "
            code { "sleep" } " and " code { "http" } "."
        }
    };
    layout::page(visitor, "New task", url::NEW_TASK, false, &body)
}

/// The task that is to be submitted again.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Source {
    from: String,
}

#[handler]
pub(crate) async fn new_task_page(
    Data(state): Data<&State>,
    Data(visitor): Data<&Visitor>,
    Query(source): Query<Source>,
) -> poem::Result<Response> {
    let totals = state.store.totals().await.ok();
    let Ok(id) = source.from.parse::<TaskId>() else {
        return Ok(form(visitor, totals.as_ref(), &Draft::default(), &[]));
    };
    let missing = || poem::Error::from_string("there is no such task", StatusCode::NOT_FOUND);
    let story = state.store.story(id).await.map_err(failed)?;
    let detail = story.ok_or_else(missing)?.detail;
    let mut data = detail.data.as_ref().map(|json| json.as_str().to_owned());
    if detail.data_stored.is_some() {
        let partition = state.store.partition_of(id).ok_or_else(missing)?;
        data = partition.stored_data(id).await.map_err(failed)?;
    }
    let data = data.as_deref().unwrap_or("null");
    let shown = state.redaction.of(data);
    let hidden = state.redaction.left_in(&shown).then(|| FieldError {
        field: "data".to_owned(),
        message: format!("what reads {REDACTED} is hidden here: fill it in"),
    });
    let labels = detail.labels.iter();
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let task = &detail.task;
    let timeout = task.limits.timeout_ms;
    let draft = Draft {
        kind: task.task_type.to_string(),
        data: pretty(&shown),
        queue: task.queue.to_string(),
        priority: task.priority.to_string(),
        max_retries: task.limits.retry.max_retries.to_string(),
        timeout: timeout.map_or(String::new(), |ms| (ms as f64 / 1_000.0).to_string()),
        labels: labels.join(", "),
        ..Draft::default()
    };
    Ok(form(visitor, totals.as_ref(), &draft, hidden.as_slice()))
}
