//! HTTP clients, with TLS by ring: it becomes the provider of the process where no other was chosen before.

use reqwest::ClientBuilder;

/// A builder of HTTP clients for the address `base`: for `https`, one that trusts whom the system trusts, or the
/// certificates that `SSL_CERT_FILE` names; else [`plain`].
pub fn for_base(base: &str) -> ClientBuilder {
    let scheme = base.get(..6).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("https:") {
        builder()
    } else {
        plain()
    }
}

/// A builder of HTTP clients that trust no certificate: what speaks `http` alone neither reads the system's
/// certificates nor fails where there are none.
pub fn plain() -> ClientBuilder {
    builder().tls_certs_only([])
}

#[expect(clippy::disallowed_methods, reason = "here is where the rest gets it")]
fn builder() -> ClientBuilder {
    // Who embeds us may have chosen another one before.
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().ok();
    reqwest::Client::builder()
}
