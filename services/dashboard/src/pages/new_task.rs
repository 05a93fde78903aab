//! A task by hand.

use maud::{Markup, html};
use poem::web::Data;
use poem::{Response, handler};
use serde::Deserialize;
use taskweir_domain::{FieldError, Priority};

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
pub(crate) fn form(visitor: &Visitor, draft: &Draft, errors: &[FieldError]) -> Response {
    let shown = ["type", "data", "queue", "priority", "max_retries", "delay"];
    let elsewhere = errors
        .iter()
        .filter(|error| !shown.contains(&error.field.as_str()));
    let data_error = errors.iter().find(|error| error.field == "data");
    let body = html! {
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
            }
            label for="data" { "Data (JSON)" }
            textarea #data name="data" rows="8" spellcheck="false" { (draft.data) }
            @if let Some(error) = data_error { div.error { (error.message) } }
            p { button type="submit" { "Submit" } }
        }
        p.muted {
            "The demo worker knows " code { "process" } ", " code { "echo" } ", " code { "fail" } ", "
            code { "sleep" } " and " code { "http" } "."
        }
    };
    layout::page(visitor, "New task", url::NEW_TASK, false, &body)
}

#[handler]
pub(crate) fn new_task_page(Data(visitor): Data<&Visitor>) -> Response {
    form(visitor, &Draft::default(), &[])
}
