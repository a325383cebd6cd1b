//! The settings of a TLS server: a certificate from files, or a new one at each start.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

type Failure = Box<dyn Error + Send + Sync>;

/// A certificate chain and its key, from two PEM files.
pub fn from_files(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>, Failure> {
    let chain = CertificateDer::pem_file_iter(certificates)?.collect::<Result<Vec<_>, _>>()?;
    settings(chain, PrivateKeyDer::from_pem_file(key)?)
}

/// A new certificate for `localhost` and the loopback addresses, which is written to that file: for tests.
pub fn self_signed(file: &Path) -> Result<Arc<ServerConfig>, Failure> {
    let own = rcgen::generate_simple_self_signed(["localhost", "127.0.0.1", "::1"].map(String::from))?;
    std::fs::write(file, own.cert.pem())?;
    settings(vec![own.cert.into()], PrivateKeyDer::try_from(own.signing_key.serialize_der())?)
}

fn settings(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, Failure> {
    let mut settings = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(settings))
}
