//! Trace contexts: taken from the headers of a caller, given to spans, kept in events as a W3C
//! `traceparent`, and given back in the headers of an answer.
//!
//! Spans of ours have the target [`TARGET`]. Where nothing is exported they cost next to nothing: nobody is
//! interested in them, and every function here answers `None`.

mod jaeger;

use std::collections::HashMap;
use std::sync::LazyLock;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator as W3c;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of every span of ours: what is exported, and kept out of the logs.
pub const TARGET: &str = "taskweir_trace";

/// Where an event or a record keeps its context.
const TRACEPARENT: &str = "traceparent";

static W3C: LazyLock<W3c> = LazyLock::new(W3c::new);

fn valid(context: &Context) -> Option<SpanContext> {
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// Makes a span part of its caller's trace: by `traceparent`, else by Jaeger's `uber-trace-id`.
pub fn adopt<'a>(span: &Span, header: impl Fn(&str) -> Option<&'a str>) {
    if span.is_disabled() {
        return;
    }
    if let Some(context) = caller(header) {
        // Fails only where no layer exports: then there is nothing to be part of.
        span.set_parent(context).ok();
    }
}

/// The context that a caller sent.
fn caller<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Context> {
    let names = [TRACEPARENT, "tracestate", "uber-trace-id"].into_iter();
    let given = names.filter_map(|name| Some((name.to_owned(), header(name)?.to_owned())));
    let headers: HashMap<String, String> = given.collect();
    let nothing = Context::new();
    let mut context = W3C.extract_with_context(&nothing, &headers);
    if valid(&context).is_none() {
        context = jaeger::extract(&nothing, &headers);
    }
    valid(&context).map(|_| context)
}

/// A door for fuzz targets: one text as each header, and as what an event keeps.
#[cfg(fuzzing)]
pub fn fuzz(text: &str) {
    for name in [TRACEPARENT, "tracestate", "uber-trace-id"] {
        caller(|asked| (asked == name).then_some(text));
    }
    if let Some(id) = trace_id(text) {
        assert!(text.contains(id));
    }
}

/// The `traceparent` of a span; `None` where nothing is exported.
#[must_use]
pub fn of(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    headers(span).remove(TRACEPARENT)
}

/// The `traceparent` of the span we are in.
#[must_use]
pub fn current() -> Option<String> {
    of(&Span::current())
}

fn headers(span: &Span) -> HashMap<String, String> {
    let mut headers = HashMap::new();
    let context = span.context();
    if valid(&context).is_some() {
        W3C.inject_context(&context, &mut headers);
        jaeger::inject(&context, &mut headers);
        headers.retain(|_, value| !value.is_empty());
    }
    headers
}

/// The headers that tell a caller which span served it.
#[must_use]
pub fn answer(span: &Span) -> Vec<(String, String)> {
    if span.is_disabled() {
        return Vec::new();
    }
    headers(span).into_iter().collect()
}

/// Gives a span that has begun another name.
pub fn rename(span: &Span, name: impl FnOnce() -> String) {
    if !span.is_disabled() {
        span.context().span().update_name(name());
    }
}

/// Links a span to the one of a `traceparent`.
pub fn link(span: &Span, traceparent: &str) {
    if span.is_disabled() {
        return;
    }
    let headers = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = W3C.extract_with_context(&Context::new(), &headers);
    if let Some(linked) = valid(&context) {
        span.add_link(linked);
    }
}

/// The trace id within a `traceparent`.
#[must_use]
pub fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (version.len() == 2 && id.len() == 32 && hex(id)).then_some(id)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{TARGET, adopt, answer, of, trace_id};

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn with_layer(test: impl FnOnce()) {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, test);
    }

    #[test]
    fn a_caller_is_joined_by_either_header_and_told_by_both() {
        for (name, value) in [
            ("traceparent", PARENT),
            (
                "uber-trace-id",
                "0af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1",
            ),
        ] {
            with_layer(|| {
                let span = tracing::info_span!(target: TARGET, "served");
                adopt(&span, |asked| (asked == name).then_some(value));
                let told = of(&span).unwrap();
                assert_eq!(trace_id(&told), Some("0af7651916cd43dd8448eb211c80319c"));
                assert_ne!(told, PARENT, "a span of its own");
                let answer = answer(&span);
                let names: Vec<&str> = answer.iter().map(|(name, _)| name.as_str()).collect();
                assert!(
                    names.contains(&"traceparent") && names.contains(&"uber-trace-id"),
                    "{answer:?}"
                );
            });
        }
    }

    #[test]
    fn headers_that_are_none_begin_a_trace_of_their_own() {
        with_layer(|| {
            let span = tracing::info_span!(target: TARGET, "served");
            adopt(&span, |_| Some("nonsense"));
            assert!(of(&span).is_some());
        });
    }

    #[test]
    fn where_nothing_is_exported_there_is_nothing_to_tell() {
        let span = tracing::info_span!(target: TARGET, "served");
        adopt(&span, |name| (name == "traceparent").then_some(PARENT));
        assert_eq!(of(&span), None);
        assert!(answer(&span).is_empty());
        assert_eq!(trace_id("nonsense"), None);
    }
}
