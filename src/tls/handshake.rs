//! From a TCP socket to a TLS stream.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::AlertDescription;
use rustls::CertificateError;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::Keeper;
use crate::limits::TLS_BUFFER_BYTES_MAX;
use crate::peer::Certificate;

/// How long a refused client has to read why.
const GRACE: Duration = Duration::from_secs(1);

/// Lets as many handshakes compute at once as there are cores. A signature takes up to some
/// milliseconds of a worker; a crowd of new connections that all compute would stand before every
/// open one in the runtime's queue.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Gate(Arc::new(Semaphore::new(cores)))
    }
}

/// Why there is no stream; the word is the metrics' label.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {source}")]
pub(crate) struct Failed {
    pub(crate) reason: &'static str,
    pub(crate) source: io::Error,
}

impl From<io::Error> for Failed {
    fn from(source: io::Error) -> Self {
        Failed { reason: reason(&source), source }
    }
}

/// Makes a stream of a socket, with the facts of the client's certificate if it has shown one. May
/// take as long as the client likes: the caller bounds it.
pub(crate) async fn handshake(
    socket: TcpStream,
    keeper: &Keeper,
    gate: &Gate,
) -> Result<(TlsStream<TcpStream>, Option<Arc<Certificate>>), Failed> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
    let server: Arc<ServerConfig> = keeper.server();
    let accept = {
        // Taken with the client's words at hand, and only while we compute: nobody can hold it.
        let _permit = gate.0.acquire().await.expect("the gate is never closed");
        start.into_stream_with(server, |session| {
            session.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
        })
    };
    match accept.into_fallible().await {
        Ok(stream) => {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificate = chain.first().and_then(|leaf| keeper.facts(leaf));
            Ok((stream, certificate))
        }
        Err((error, socket)) => {
            dismiss(socket).await;
            Err(error.into())
        }
    }
}

/// Closes our side and reads the rest: bytes left unread would make the kernel reset the connection
/// and take the alert with it.
async fn dismiss(mut socket: TcpStream) {
    let lingering = async {
        socket.shutdown().await?;
        let mut scratch = [0; 512];
        while socket.read(&mut scratch).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(GRACE, lingering).await {
        tracing::debug!(%error, "a refused client did not wait for the alert");
    }
}

fn reason(error: &io::Error) -> &'static str {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return "gone";
    };
    match error {
        rustls::Error::InvalidMessage(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. }
        | rustls::Error::PeerSentOversizedRecord
        | rustls::Error::DecryptError
        | rustls::Error::PeerMisbehaved(_) => "garbage",
        rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => {
            "no_common_terms"
        }
        rustls::Error::NoCertificatesPresented => "no_certificate",
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => "certificate_expired",
            CertificateError::Revoked => "certificate_revoked",
            CertificateError::UnknownIssuer => "unknown_authority",
            _ => "bad_certificate",
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown => "refused_by_client",
            _ => "alert",
        },
        _ => "other",
    }
}
