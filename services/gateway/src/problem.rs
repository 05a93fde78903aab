//! Errors as people get them: `application/problem+json` (RFC 9457).

use std::fmt::Display;
use std::io::ErrorKind;
use std::sync::Arc;

use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError};
use poem::http::{StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::error::{
    ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError,
};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Object};
use taskweir_domain::{Position, Priority, Status, TaskId};
use taskweir_store::StoreError;

use crate::body::MAX_BODY;

/// A field that cannot be taken.
#[derive(Debug, Clone, Object)]
#[oai(rename = "FieldError")]
pub(crate) struct Field {
    /// Path of the field.
    pub(crate) field: String,
    /// What it takes.
    pub(crate) message: String,
}

impl Field {
    pub(crate) fn new(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

impl From<taskweir_domain::FieldError> for Field {
    fn from(error: taskweir_domain::FieldError) -> Self {
        Self {
            field: error.field,
            message: error.message,
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct Problem {
    /// Kind of problem; `about:blank` means that the status says it all.
    #[oai(rename = "type")]
    pub(crate) kind: String,
    /// The status in words.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What happened and what helps.
    pub(crate) detail: String,
    /// The task that stands in the way.
    pub(crate) existing_id: Option<String>,
    /// Fields that cannot be taken.
    pub(crate) errors: Option<Vec<Field>>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            existing_id: None,
            errors: None,
        }
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// A [`Problem`] as a body.
#[derive(Debug)]
pub(crate) struct ProblemJson(pub(crate) Box<Problem>);

impl ProblemJson {
    fn new(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl Payload for ProblemJson {
    const CONTENT_TYPE: &'static str = "application/problem+json";

    fn schema_ref() -> MetaSchemaRef {
        Problem::schema_ref()
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}

impl IntoResponse for ProblemJson {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let mut response = Json(self.0.to_json())
            .0
            .map_or_else(String::new, |value| value.to_string())
            .with_content_type(Self::CONTENT_TYPE)
            .into_response();
        response.set_status(status);
        if status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        if matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            let retry = header::HeaderValue::from_static("2");
            response.headers_mut().insert(header::RETRY_AFTER, retry);
        }
        response
    }
}

/// Every way in which a call can be refused.
#[derive(Debug, ApiResponse)]
pub(crate) enum ApiError {
    /// The body is not JSON.
    #[oai(status = 400)]
    NotJson(ProblemJson),
    /// An API key is needed.
    #[oai(status = 401)]
    Unauthorized(ProblemJson),
    /// The key may not do this.
    #[oai(status = 403)]
    Forbidden(ProblemJson),
    /// There is no such thing.
    #[oai(status = 404)]
    NotFound(ProblemJson),
    /// Not with this method; `Allow` says with which.
    #[oai(status = 405)]
    #[expect(
        dead_code,
        reason = "answered by the framework, see `of_framework`; documented here"
    )]
    Method(ProblemJson, #[oai(header = "Allow")] String),
    /// Answers are JSON, which the caller does not take.
    #[oai(status = 406)]
    NotAcceptable(ProblemJson),
    /// It is not in a state in which this is possible.
    #[oai(status = 409)]
    Conflict(ProblemJson),
    /// It was so long ago that the log has been cut since.
    #[oai(status = 410)]
    Gone(ProblemJson),
    /// The body is too large.
    #[oai(status = 413)]
    TooLarge(ProblemJson),
    /// The body is of a content type, or in an encoding, that is not taken.
    #[oai(status = 415)]
    ContentType(ProblemJson),
    /// A field cannot be taken.
    #[oai(status = 422)]
    Fields(ProblemJson),
    /// The queue is as long as it may be, the memory budget is reached, too many wrong keys came, or too many listen.
    #[oai(status = 429)]
    TooMany(ProblemJson),
    /// Something is broken inside; it is logged.
    #[oai(status = 500)]
    Broken(ProblemJson),
    /// Redis is away, or what was written is not as durable as was asked for; try again.
    #[oai(status = 503)]
    Away(ProblemJson),
    /// Redis is out of memory.
    #[oai(status = 507)]
    Full(ProblemJson),
}

impl ApiError {
    pub(crate) fn no_task(id: &str) -> Self {
        let detail =
            format!("there is no task {id:?}, or it ended and is no longer kept (RETENTION)");
        Self::NotFound(ProblemJson::new(Problem::new(
            StatusCode::NOT_FOUND,
            detail,
        )))
    }

    /// Whether it tells of the task that was sent, and not of the system.
    pub(crate) const fn is_of_a_task(&self) -> bool {
        matches!(
            self,
            Self::Fields(_) | Self::TooLarge(_) | Self::Conflict(_) | Self::TooMany(_)
        )
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::Conflict(ProblemJson::new(Problem::new(StatusCode::CONFLICT, detail)))
    }

    /// Another task holds what was asked for.
    pub(crate) fn taken(id: TaskId, detail: impl Into<String>) -> Self {
        Self::Conflict(ProblemJson::new(Problem {
            existing_id: Some(id.to_string()),
            ..Problem::new(StatusCode::CONFLICT, detail)
        }))
    }

    /// Not now; what was sent may be sent again.
    pub(crate) fn away(detail: impl Into<String>) -> Self {
        Self::Away(ProblemJson::new(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            detail,
        )))
    }

    pub(crate) fn full(queue: &str) -> Self {
        let detail =
            format!("queue {queue} is as long as MAX_QUEUE_LENGTH allows; send it again later");
        Self::TooMany(ProblemJson::new(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            detail,
        )))
    }

    pub(crate) fn over_budget() -> Self {
        let detail = "Redis uses as much memory as MEMORY_BUDGET allows; send it again later";
        Self::TooMany(ProblemJson::new(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            detail,
        )))
    }

    pub(crate) fn crowded(queue: &str) -> Self {
        let detail = format!("queue {queue} would be one more than MAX_QUEUES allows");
        Self::TooMany(ProblemJson::new(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            detail,
        )))
    }

    /// What was asked about is older than what retention has left.
    pub(crate) fn trimmed(base: Position) -> Self {
        let since = taskweir_domain::format_ms(base.ms);
        let detail = format!("the log begins at {since}; what was before is gone");
        Self::Gone(ProblemJson::new(Problem::new(StatusCode::GONE, detail)))
    }

    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        let detail = format!("the body is not JSON: {error}");
        Self::NotJson(ProblemJson::new(Problem::new(
            StatusCode::BAD_REQUEST,
            detail,
        )))
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::NotFound(ProblemJson::new(Problem::new(
            StatusCode::NOT_FOUND,
            detail,
        )))
    }

    pub(crate) fn fields(errors: Vec<Field>) -> Self {
        let too_large = errors
            .iter()
            .all(|error| error.field == "data" && error.message.contains("bytes; at most"));
        let status = if too_large {
            StatusCode::PAYLOAD_TOO_LARGE
        } else {
            StatusCode::UNPROCESSABLE_ENTITY
        };
        let detail = errors
            .iter()
            .map(|error| {
                format!(
                    "{} {}",
                    if error.field.is_empty() {
                        "the body"
                    } else {
                        &error.field
                    },
                    error.message
                )
            })
            .collect::<Vec<_>>()
            .join("; ");
        let problem = ProblemJson::new(Problem {
            errors: Some(errors),
            ..Problem::new(status, detail)
        });
        if too_large {
            Self::TooLarge(problem)
        } else {
            Self::Fields(problem)
        }
    }

    pub(crate) fn field(field: &str, message: impl Into<String>) -> Self {
        Self::fields(vec![Field {
            field: field.to_owned(),
            message: message.into(),
        }])
    }

    /// The request came under a name that is not this machine's.
    pub(crate) fn stranger() -> Self {
        Self::forbidden("this gateway listens on loopback and answers only to localhost")
    }

    pub(crate) fn content_type(detail: String) -> Self {
        Self::ContentType(ProblemJson::new(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            detail,
        )))
    }

    pub(crate) fn not_acceptable() -> Self {
        let detail = "answers are application/json, which the Accept header leaves out";
        Self::NotAcceptable(ProblemJson::new(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            detail,
        )))
    }

    pub(crate) fn forbidden(detail: &str) -> Self {
        Self::Forbidden(ProblemJson::new(Problem::new(
            StatusCode::FORBIDDEN,
            detail,
        )))
    }

    pub(crate) fn unauthorized() -> Self {
        let detail = "an API key is needed: Authorization: Bearer <secret>";
        Self::Unauthorized(ProblemJson::new(Problem::new(
            StatusCode::UNAUTHORIZED,
            detail,
        )))
    }

    pub(crate) fn too_many_failures() -> Self {
        let detail = "too many wrong keys came from this address; wait a minute";
        Self::TooMany(ProblemJson::new(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            detail,
        )))
    }

    pub(crate) fn too_many_listeners() -> Self {
        let detail = "as many listen to this gateway as may; ask another one, or later";
        Self::TooMany(ProblemJson::new(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            detail,
        )))
    }

    pub(crate) fn broken(error: &dyn Display) -> Self {
        tracing::error!(%error, "a request met something broken");
        let detail = "something is broken inside; the log of the gateway says what";
        Self::Broken(ProblemJson::new(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            detail,
        )))
    }
}

impl From<&StoreError> for ApiError {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "a request met Redis away");
                Self::away("Redis is away; try again")
            }
            StoreError::Unconfirmed(durability) => {
                tracing::warn!(%error, "a submit was not confirmed");
                Self::away(format!(
                    "it is written, and DURABILITY={durability} was not confirmed in time"
                ))
            }
            StoreError::Layout(_) => {
                tracing::error!(%error, "a request met no layout");
                Self::away(error.to_string())
            }
            StoreError::OutOfMemory => {
                let detail = "Redis is out of memory: tasks are worked off, new ones are not taken";
                Self::Full(ProblemJson::new(Problem::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    detail,
                )))
            }
            other => Self::broken(other),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<Arc<StoreError>> for ApiError {
    fn from(error: Arc<StoreError>) -> Self {
        Self::from(&*error)
    }
}

/// What a caller is told while the gateway still waits for Redis.
pub(crate) fn starting() -> Response {
    ApiError::away("the gateway starts: Redis does not answer yet").into_response()
}

/// What a parameter takes, for those the framework reads.
fn takes(parameter: &str) -> String {
    match parameter {
        "status" => {
            let words = Status::ALL
                .iter()
                .filter(|status| **status != Status::Removed);
            let words: Vec<&str> = words.map(|status| status.as_str()).collect();
            format!("must be one of {}", words.join(", "))
        }
        "priority" => format!(
            "must be one of {}",
            Priority::ALL.map(Priority::as_str).join(", ")
        ),
        "limit" => "must be a whole number from 1 to 500".to_owned(),
        _ => "cannot be read".to_owned(),
    }
}

/// Any error of the framework as a problem.
pub(crate) fn of_framework(error: poem::Error) -> Response {
    let problem = if let Some(error) = error.downcast_ref::<ParseParamError>() {
        Problem {
            errors: Some(vec![Field {
                field: error.name.to_owned(),
                message: takes(error.name),
            }]),
            ..Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("{} {}", error.name, takes(error.name)),
            )
        }
    } else if error.is::<ParsePathError>() || error.is::<poem::error::ParsePathError>() {
        Problem::new(
            StatusCode::NOT_FOUND,
            "there is nothing at this address; /docs shows what there is",
        )
    } else if let Some(error) = error.downcast_ref::<ParseRequestPayloadError>() {
        Problem::new(StatusCode::BAD_REQUEST, error.reason.clone())
    } else if let Some(error) = error.downcast_ref::<ContentTypeError>() {
        let detail = format!("{error}; send application/json");
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    } else if let Some(error) = error.downcast_ref::<ReadBodyError>() {
        match error {
            ReadBodyError::PayloadTooLarge => {
                let detail = format!("the body is larger than {} MiB", MAX_BODY / (1_024 * 1_024));
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
            }
            ReadBodyError::Io(error) if error.kind() == ErrorKind::TimedOut => {
                Problem::new(StatusCode::REQUEST_TIMEOUT, error.to_string())
            }
            ReadBodyError::Utf8(_) => {
                Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8")
            }
            error => Problem::new(StatusCode::BAD_REQUEST, error.to_string()),
        }
    } else if error.is::<NotFoundError>() {
        Problem::new(
            StatusCode::NOT_FOUND,
            "there is nothing at this address; /docs shows what there is",
        )
    } else if error.is::<MethodNotAllowedError>() {
        Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "not with this method; /docs shows with which",
        )
    } else if error.is_from_response() {
        // One of our own answers on its way out.
        return error.into_response();
    } else {
        Problem::new(error.status(), error.to_string())
    };
    ProblemJson::new(problem).into_response()
}
