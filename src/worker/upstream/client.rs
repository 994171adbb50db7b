//! The HTTP client of one upstream worker: kept-alive connections to one origin, a bound on how
//! long one takes to make, no redirects, no proxies. It knows nothing of MCP.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::observe::causes;
use crate::worker::loss::{Fate, Loss};

/// A silent connection is probed after this long, so that one whose far side has vanished is not
/// used again.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Between probes; the third one that gets no answer ends the connection.
const TCP_PROBE: Duration = Duration::from_secs(10);
const TCP_PROBES: u32 = 3;
/// Servers close idle connections after a minute or more; be earlier.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);
/// Idle connections kept.
const IDLE_CONNECTIONS: usize = 16;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// The client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
}

impl Client {
    /// A client whose connections may take `connect_timeout` to make.
    pub(super) fn new(tls: Option<rustls::ClientConfig>, connect_timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        tcp.set_keepalive_interval(Some(TCP_PROBE));
        tcp.set_keepalive_retries(Some(TCP_PROBES));
        let tcp = match tls {
            Some(tls) => Tcp::Tls(
                hyper_rustls::HttpsConnectorBuilder::new()
                    .with_tls_config(tls)
                    .https_only()
                    .enable_http1()
                    .wrap_connector(tcp),
            ),
            None => Tcp::Plain(tcp),
        };
        let connector = Connector {
            tcp,
            timeout: connect_timeout,
        };
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Self { inner }
    }

    /// Sends a request and waits for the head of its answer, at most `patience`. A request that
    /// provably never left on a connection the far side had closed meanwhile is sent again on
    /// another one; nothing else is.
    ///
    /// # Errors
    /// What became of the request.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, Loss> {
        match tokio::time::timeout(patience, self.inner.request(request)).await {
            Ok(answer) => answer.map_err(|e| loss(&e)),
            Err(_) => Err(Loss {
                fate: Fate::Unknown,
                what: format!("did not answer within {} s", patience.as_secs_f32()),
            }),
        }
    }
}

fn loss(error: &legacy::Error) -> Loss {
    if error.is_connect() {
        let what = error.source().map_or_else(String::new, causes::one_line);
        return Loss {
            fate: Fate::Unsent,
            what: format!("cannot be reached: {what}"),
        };
    }
    // hyper calls a request canceled that was still in its hands when the connection ended.
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    let mut unsent = false;
    while let Some(error) = cause {
        unsent |= error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled);
        cause = error.source();
    }
    Loss {
        fate: if unsent { Fate::Unsent } else { Fate::Unknown },
        what: format!("broke the connection: {}", causes::one_line(error)),
    }
}

/// TCP with or without TLS, within a time that counts for both and for the look-up of the name.
#[derive(Clone, Debug)]
struct Connector {
    tcp: Tcp,
    timeout: Duration,
}

#[derive(Clone, Debug)]
enum Tcp {
    Plain(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
}

/// Why there is no connection.
type NoConnection = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
#[error("no connection within {} s", .0.as_secs_f32())]
struct TooSlow(Duration);

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = NoConnection;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, NoConnection>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NoConnection>> {
        match &mut self.tcp {
            Tcp::Plain(tcp) => tcp.poll_ready(context).map_err(Into::into),
            Tcp::Tls(tls) => tls.poll_ready(context),
        }
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let limit = self.timeout;
        let connecting: Self::Future = match &mut self.tcp {
            Tcp::Plain(tcp) => {
                let connecting = tcp.call(to);
                Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) })
            }
            Tcp::Tls(tls) => Box::pin(tls.call(to)),
        };
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(TooSlow(limit).into()),
            }
        })
    }
}
