//! Export of traces by OTLP over gRPC, to Jaeger or any collector. What is down or slow is waited for by
//! nobody: spans that find no room in the queue are dropped.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider};

use crate::{Env, EnvError};

/// OTLP over gRPC.
const PORT: u16 = 4_317;
/// The agent's port of old Jaeger clients, which no OTLP exporter can talk to.
const AGENT_PORT: u16 = 6_831;
/// Longest time of an export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for the last spans when a process stops.
const FLUSH: Duration = Duration::from_secs(2);

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: String,
    /// The old agent port was asked for.
    was_agent: bool,
}

impl Endpoint {
    /// Reads `OTEL_EXPORTER_OTLP_ENDPOINT`, else `JAEGER_HOST` and `JAEGER_PORT`; `None` where none is set:
    /// nothing is exported.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn from_env(env: &Env) -> Result<Option<Self>, EnvError> {
        let port: u16 = env.parse("JAEGER_PORT", PORT, "a port number")?;
        if let Some(url) = env.text("OTEL_EXPORTER_OTLP_ENDPOINT")? {
            let wrong = || EnvError::Value {
                name: "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
                value: url.clone(),
                takes: "a URL such as http://localhost:4317".to_owned(),
            };
            if !url.starts_with("http://") {
                return Err(wrong());
            }
            return Ok(Some(Self {
                url,
                was_agent: false,
            }));
        }
        let Some(host) = env.host("JAEGER_HOST")? else {
            return Ok(None);
        };
        let was_agent = port == AGENT_PORT;
        let port = if was_agent { PORT } else { port };
        Ok(Some(Self {
            url: format!("http://{host}:{port}"),
            was_agent,
        }))
    }

    /// Begins to export; must be called within the runtime.
    ///
    /// # Errors
    /// The endpoint is no address.
    pub fn open(&self, service: &str) -> anyhow::Result<Traces> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&self.url)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let resource = Resource::builder()
            .with_service_name(service.to_owned())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).build())
            .with_resource(resource)
            .build();
        Ok(Traces { provider })
    }

    /// Says what was made of the environment; once the logs are on.
    pub fn tell(&self) {
        if self.was_agent {
            tracing::warn!(
                "JAEGER_PORT 6831 is the port of Jaeger's old agent, which is gone; traces go to {PORT} by OTLP"
            );
        }
        tracing::info!(endpoint = %self.url, "traces are exported");
    }
}

/// The export of a process.
#[derive(Debug, Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("taskweir")
    }

    /// Sends what is still here, for two seconds at most.
    pub async fn close(self) {
        let closing = tokio::task::spawn_blocking(move || {
            self.provider.shutdown_with_timeout(FLUSH).ok();
        });
        tokio::time::timeout(FLUSH * 2, closing).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;
    use crate::Env;

    fn url<const N: usize>(env: [(&str, &str); N]) -> Option<(String, bool)> {
        let endpoint = Endpoint::from_env(&Env::of(env)).unwrap();
        endpoint.map(|endpoint| (endpoint.url, endpoint.was_agent))
    }

    #[test]
    fn the_environment_says_where_traces_go() {
        let to = |url: &str, was_agent| Some((url.to_owned(), was_agent));
        assert_eq!(url([]), None);
        assert_eq!(url([("JAEGER_PORT", "4317")]), None);
        assert_eq!(url([("JAEGER_HOST", "j")]), to("http://j:4317", false));
        assert_eq!(
            url([("JAEGER_HOST", "j"), ("JAEGER_PORT", "14317")]),
            to("http://j:14317", false)
        );
        assert_eq!(
            url([("JAEGER_HOST", "j"), ("JAEGER_PORT", "6831")]),
            to("http://j:4317", true)
        );
        let both = [
            ("JAEGER_HOST", "j"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"),
        ];
        assert_eq!(url(both), to("http://c:1", false));
        for wrong in [
            ("JAEGER_PORT", "x"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317"),
        ] {
            let error = Endpoint::from_env(&Env::of([wrong])).unwrap_err();
            assert!(error.to_string().contains(wrong.0), "{error}");
        }
    }
}
