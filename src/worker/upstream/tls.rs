//! Whom an upstream over TLS is believed: the certificates of the system, or those of one file in
//! their place. rustls does the rest.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Client settings with the certificates of `ca_file`, or of the system without one: Debian's
/// `ca-certificates` keeps those up to date, and an operator's own authority is added there once
/// for all programs. `SSL_CERT_FILE` and `SSL_CERT_DIR` are heeded.
///
/// # Errors
/// The file cannot be read, or there is no usable certificate.
pub(super) fn settings(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let (certificates, whence) = match ca_file {
        Some(file) => {
            let read = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|e| format!("ca_file {} cannot be read: {e}", file.display()))?;
            (read, format!("in ca_file {}", file.display()))
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                log::warn!("a certificate of the system cannot be read: {error}");
            }
            let whence = "on this system; install ca-certificates or set ca_file".to_owned();
            (found.certs, whence)
        }
    };
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(format!("there is no certificate to trust {whence}"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
