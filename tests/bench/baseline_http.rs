//! The reference for all ratios: an HTTP server with the daemon's own parts and settings that
//! does nothing. It reads the body of any POST and answers one constant JSON-RPC result.
//!
//! Usage: `baseline_http ADDR:PORT`.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

/// As long as an echo.
const ANSWER: &[u8] = br#"{"jsonrpc":"2.0","id":1000000000,"result":{"content":[{"type":"text","text":"0000-1000000000"}],"resultType":"complete"}}"#;

async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A body that breaks off breaks the connection too.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn connection(socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    // How a client leaves is of no interest here.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_buf_size(64 * 1024)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(socket), service_fn(respond))
        .await;
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("usage: baseline_http ADDR:PORT")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&address).await?;
        loop {
            let (socket, _) = listener.accept().await?;
            tokio::spawn(connection(socket));
        }
    })
}
