//! Jaeger's own header, `uber-trace-id`.
#![expect(
    deprecated,
    reason = "new programs should send traceparent; those that still send uber-trace-id are to be joined all the same"
)]

use std::collections::HashMap;
use std::sync::LazyLock;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_jaeger_propagator::Propagator;

static JAEGER: LazyLock<Propagator> = LazyLock::new(Propagator::new);

pub(crate) fn extract(context: &Context, headers: &HashMap<String, String>) -> Context {
    JAEGER.extract_with_context(context, headers)
}

pub(crate) fn inject(context: &Context, headers: &mut HashMap<String, String>) {
    JAEGER.inject_context(context, headers);
}
