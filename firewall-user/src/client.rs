//! The other end of the daemon's socket.

use std::{io, path::PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::{
    api::{Failure, Kind},
    instance::Instance,
};

/// Talks to the daemon of one instance.
#[derive(Clone, Debug)]
pub struct Client {
    instance: Instance,
    socket: PathBuf,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens.
    #[error("no weir daemon answers for instance `{0}`")]
    NotRunning(Instance),
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotRunning(_) => Self::failed(error.to_string()).hint("start it with `weir run`, or choose its --instance"),
            ClientError::Failure(failure) => failure,
        }
    }
}

impl Client {
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        Self { socket: instance.socket(), instance: instance.clone() }
    }

    /// Asks for something; `path` begins with `/v1/`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, None).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.send(Method::POST, path, Some(encode(body)?)).await
    }

    pub async fn delete<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.send(Method::DELETE, path, Some(encode(body)?)).await
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<T, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.no_connection(&error))?;
        let broken = |error: hyper::Error| Failure::failed(format!("the daemon broke off: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "weir")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| Failure::usage(format!("this cannot be asked of the daemon: {error}")))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
        driver.abort();
        let unread = |error: serde_json::Error| Failure::failed(format!("the daemon's answer ({status}) cannot be read: {error}"));
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|error| unread(error).hint("daemon and `weir` may be of different versions").into());
        }
        Err(serde_json::from_slice::<Failure>(&bytes).map_err(unread)?.into())
    }

    fn no_connection(&self, error: &io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(self.instance.clone()),
            io::ErrorKind::PermissionDenied => Failure::new(Kind::Permission, format!("you may not use {}", self.socket.display()))
                .hint("be root, or a member of the group `weir`")
                .into(),
            _ => Failure::failed(format!("{}: {error}", self.socket.display())).into(),
        }
    }
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(body).map_err(|error| Failure::failed(format!("the request cannot be written: {error}")))
}

/// A path with a query of `key=value` pairs, escaped.
#[must_use]
pub fn with_query<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = path.to_owned();
    for (separator, (key, value)) in std::iter::once('?').chain(std::iter::repeat('&')).zip(pairs) {
        text.push(separator);
        escape(key, &mut text);
        text.push('=');
        escape(value, &mut text);
    }
    text
}

/// RFC 3986 §2.1: everything but unreserved characters as percent and two digits.
fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(byte.into());
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(with_query("/v1/flows", []), "/v1/flows");
        let pairs = [("address", "10.0.0.0/8"), ("rule", "a&b=c é")];
        assert_eq!(with_query("/v1/flows", pairs), "/v1/flows?address=10.0.0.0%2F8&rule=a%26b%3Dc%20%C3%A9");
    }
}
