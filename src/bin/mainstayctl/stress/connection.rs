//! One user's HTTP connection: kept alive, made again when the server has closed it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;

use super::failure::Failure;
use super::target::Target;

/// Bytes of a body that are read.
const BODY_LIMIT: usize = 32 << 20;

/// Connected or not.
pub(crate) struct Connection {
    target: Arc<Target>,
    source: Option<IpAddr>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(crate) fn new(target: Arc<Target>, source: Option<IpAddr>) -> Self {
        Self {
            target,
            source,
            sender: None,
        }
    }

    /// What comes next needs another connection.
    pub(crate) fn drop_it(&mut self) {
        self.sender = None;
    }

    /// Sends a request; its head and body may be sent twice only if the first time nothing was.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response<Incoming>, Failure> {
        let request = self.request(method, headers, body)?;
        if let Some(sender) = &mut self.sender {
            if sender.ready().await.is_ok() {
                match sender.send_request(request.clone()).await {
                    Ok(response) => return Ok(response),
                    // It had been closed meanwhile, and the request never left.
                    Err(error) if error.is_canceled() => {}
                    Err(error) => {
                        self.sender = None;
                        return Err(Failure::connection(error));
                    }
                }
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await;
        self.sender = response.is_ok().then_some(sender);
        response.map_err(Failure::connection)
    }

    fn request(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let address = &self.target.address;
        let mut request = Request::builder()
            .method(method)
            .uri(&address.path)
            .header("host", &address.authority)
            .header("accept", "application/json, text/event-stream");
        if method == "POST" {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        request.body(body).map_err(Failure::unreadable)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let to = self.target.socket;
        let socket = if to.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        };
        let socket = socket.map_err(Failure::connection)?;
        if let Some(source) = self.source {
            socket
                .bind(SocketAddr::new(source, 0))
                .map_err(Failure::connection)?;
        }
        let stream = socket.connect(to).await.map_err(Failure::connection)?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(Failure::connection)?;
        // Ends when the sender is dropped or the server closes; its errors reach the requests.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// The rest of a body.
pub(crate) async fn whole(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    while let Some(piece) = piece(&mut body).await? {
        all.extend_from_slice(&piece);
        if all.len() > BODY_LIMIT {
            return Err(Failure::unreadable(format!("more than {BODY_LIMIT} bytes")));
        }
    }
    Ok(all)
}

/// The next piece of a body; nothing at its end.
pub(crate) async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Failure::connection(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
