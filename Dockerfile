# One image for every service: `docker run taskweir <service>`. Each FROM can be replaced by a build argument.
ARG BUILDER_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILDER_IMAGE} AS build
WORKDIR /src
COPY . .
# Cache mounts keep crates and objects from build to build: only what changed is compiled again.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --bin taskweir && cp target/release/taskweir /taskweir

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="taskweir" \
      org.opencontainers.image.description="An event-sourced distributed task queue on Redis Streams" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# Whom TLS trusts: rediss:// and https of handlers. A CA of your own is mounted, and named by SSL_CERT_FILE.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /taskweir /usr/local/bin/taskweir
USER 65532:65532
# Where services answer, whichever runs. In reach of others each of them wants keys (TASKWEIR_API_KEYS), or to be told that it may go
# without (TASKWEIR_ALLOW_ANONYMOUS=1).
ENV GATEWAY_ADDR=0.0.0.0:8000 DASHBOARD_ADDR=0.0.0.0:5001 METRICS_ADDR=0.0.0.0:9091 LOG_FORMAT=json
EXPOSE 8000 5001 9091
# Needs neither a shell nor curl.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=6 CMD ["taskweir", "probe"]
ENTRYPOINT ["taskweir"]
CMD ["--help"]
