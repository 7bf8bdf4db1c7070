//! The other end of the daemon's socket.

use std::{io, path::PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, task::JoinHandle};

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
        let Answer { response, driver } = self.request(method, path, body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
        driver.abort();
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|error| unread(status, error).hint("daemon and `weir` may be of different versions").into());
        }
        Err(serde_json::from_slice::<Failure>(&bytes).map_err(|error| unread(status, error))?.into())
    }

    /// Asks for lines that come one after the other.
    pub async fn stream(&self, path: &str) -> Result<Lines, ClientError> {
        let Answer { response, driver } = self.request(Method::GET, path, None).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(Lines { body: response.into_body(), read: Vec::new(), _driver: driver });
        }
        let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
        Err(serde_json::from_slice::<Failure>(&bytes).map_err(|error| unread(status, error))?.into())
    }

    /// Sends a request and waits for the beginning of its answer.
    async fn request(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.no_connection(&error))?;
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
        Ok(Answer { response, driver })
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

/// An answer whose body is yet to come, and the task that brings it.
struct Answer {
    response: Response<Incoming>,
    driver: JoinHandle<hyper::Result<()>>,
}

/// The lines of an answer that goes on.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    /// What was read and not yet returned.
    read: Vec<u8>,
    _driver: JoinHandle<hyper::Result<()>>,
}

impl Lines {
    /// The next line; `None` when the daemon has ended the answer.
    pub async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()));
            }
            match self.body.frame().await {
                Some(frame) => self.read.extend_from_slice(frame.map_err(broken)?.data_ref().map_or(&[], |data| data)),
                None => return Ok(None),
            }
        }
    }
}

fn broken(error: hyper::Error) -> Failure {
    Failure::failed(format!("the daemon broke off: {error}"))
}

fn unread(status: StatusCode, error: serde_json::Error) -> Failure {
    Failure::failed(format!("the daemon's answer ({status}) cannot be read: {error}"))
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(body).map_err(|error| Failure::failed(format!("the request cannot be written: {error}")))
}

/// A word as one part of a path, escaped.
#[must_use]
pub fn segment(word: &str) -> String {
    let mut text = String::new();
    escape(word, &mut text);
    text
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
        assert_eq!(segment("a/b?"), "a%2Fb%3F");
        let pairs = [("address", "10.0.0.0/8"), ("rule", "a&b=c é")];
        assert_eq!(with_query("/v1/flows", pairs), "/v1/flows?address=10.0.0.0%2F8&rule=a%26b%3Dc%20%C3%A9");
    }
}
