//! HTTP and JSON on a unix socket. Handlers only translate; every answer, also a refusal, is JSON.

use std::{fs, future::Future, io, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        ConnectInfo, DefaultBodyLimit, Path, Query, Request, State,
        connect_info::Connected,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::IncomingStream,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixListener;

use super::{Controller, blocking, sets};
use crate::{
    api::{
        ApplyRequest, AttachRequest, By, BypassAdd, BypassRemove, DetachRequest, DiffRequest, Failure, Kind, MAX_TRACED_BYTES,
        MAX_TRACED_PACKETS, RollbackRequest, TraceRequest,
    },
    event_filter::EventFilter,
    filter::Filter,
    group,
    instance::Instance,
};

/// Largest request body: requests are a few lines.
pub const MAX_BODY: usize = 64 * 1024;
/// Largest body of a change of a set: as many members as fit, each as long as an address can be.
pub const MAX_MEMBERS_BODY: usize = 8 << 20;
/// How long open requests may take once the daemon is told to end.
const GRACE: Duration = Duration::from_secs(3);

/// Largest body of `POST /v1/trace`: its frames in hexadecimal digits, and what is around them.
pub const MAX_TRACE_BODY: usize = 2 * MAX_TRACED_BYTES + 512 * MAX_TRACED_PACKETS;
/// How long that body may take to come: nobody else can trace meanwhile.
const TRACE_BODY_TIME: Duration = Duration::from_secs(10);

type Shared = State<Arc<Controller>>;
type Answer = Result<Response, Failure>;
type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Who asks, as far as the kernel knows.
#[derive(Clone, Copy, Debug)]
struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|credentials| credentials.uid()))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self)).into_response()
    }
}

/// Opens the instance's socket for root and the group `weir`. A socket left by a daemon that died is replaced: the caller holds the
/// instance's lock.
pub(super) fn listen(instance: &Instance) -> Result<UnixListener, Failure> {
    let path = instance.socket();
    let failed = |error: io::Error| Failure::failed(format!("cannot listen at {}: {error}", path.display()));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let mode = match group::weir() {
        Some(group) => {
            std::os::unix::fs::chown(&path, None, Some(group)).map_err(failed)?;
            0o660
        }
        None => 0o600,
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

/// Answers until `ended` resolves.
pub(super) async fn serve(
    listener: UnixListener,
    controller: Arc<Controller>,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let (stop, mut stopping) = tokio::sync::watch::channel(());
    let events = Arc::clone(&controller);
    let server =
        axum::serve(listener, router(controller).into_make_service_with_connect_info::<Peer>()).with_graceful_shutdown(async move {
            ended.await;
            // A stream of events would never end by itself.
            events.events.end();
            // Fails only when nobody waits any more.
            let _ = stop.send(());
        });
    let late = async {
        let _ = stopping.changed().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = server.into_future() => served.map_err(|error| Failure::failed(format!("the socket failed: {error}"))),
        () = late => Ok(()),
    }
}

fn router(controller: Arc<Controller>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/interfaces", post(attach).delete(detach))
        .route("/v1/policy", get(policy))
        .route("/v1/policy/apply", post(apply))
        .route("/v1/policy/confirm", post(confirm))
        .route("/v1/policy/rollback", post(rollback))
        .route("/v1/policy/diff", post(diff))
        .route("/v1/policy/history", get(history))
        .route("/v1/policy/history/{number}", get(shown))
        .route("/v1/policy/profiles", get(profiles))
        .route("/v1/flows", get(flows).delete(kill))
        .route("/v1/counters", get(counters))
        .route("/v1/quality", get(quality))
        .route("/v1/events", get(events))
        .route("/v1/trace", post(trace))
        .route("/v1/bypass", get(bypass).post(bypass_add).delete(bypass_remove))
        .route("/v1/sets", get(all_sets))
        .route("/v1/sets/{name}", get(one_set))
        .route("/v1/sets/{name}/{verb}", post(change_set).layer(DefaultBodyLimit::max(MAX_MEMBERS_BODY)))
        .fallback(async || Failure::new(Kind::NotFound, "there is nothing at this path").hint("paths begin with /v1/, such as /v1/status"))
        .method_not_allowed_fallback(async || Failure::usage("this path does not know that method"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(controller)
}

fn json<T: Serialize>(value: T) -> Response {
    Json(value).into_response()
}

/// A body as the request's type; what is wrong with it is told in words.
fn body<T: DeserializeOwned>(bytes: Result<Bytes, axum::extract::rejection::BytesRejection>) -> Result<T, Failure> {
    let bytes = bytes.map_err(|error| Failure::usage(error.body_text()))?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::usage(format!("the body is not what this path takes: {error}")))
}

fn pairs(query: Pairs) -> Result<Vec<(String, String)>, Failure> {
    query.map(|Query(pairs)| pairs).map_err(|error| Failure::usage(error.body_text()))
}

type Body = Result<Bytes, axum::extract::rejection::BytesRejection>;

async fn status(State(controller): Shared) -> Answer {
    blocking(&controller, Controller::status).await.map(json)
}

async fn attach(State(controller): Shared, bytes: Body) -> Answer {
    let request: AttachRequest = body(bytes)?;
    let attached = blocking(&controller, move |controller| {
        controller.attach(&request)?;
        let status = controller.status()?;
        Ok(status.interfaces.into_iter().find(|interface| interface.name == request.name))
    });
    attached.await.map(json)
}

async fn detach(State(controller): Shared, bytes: Body) -> Answer {
    let request: DetachRequest = body(bytes)?;
    if request.name.is_some() == request.all {
        return Err(Failure::usage("say which interface to detach, or all"));
    }
    blocking(&controller, move |controller| controller.detach(request.name.as_deref())).await.map(json)
}

async fn policy(State(controller): Shared) -> Answer {
    blocking(&controller, Controller::policy_in_force).await.map(json)
}

async fn apply(State(controller): Shared, ConnectInfo(Peer(uid)): ConnectInfo<Peer>, bytes: Body) -> Answer {
    let request: ApplyRequest = body(bytes)?;
    blocking(&controller, move |controller| controller.apply(&request, uid)).await.map(json)
}

async fn confirm(State(controller): Shared) -> Answer {
    blocking(&controller, Controller::confirm).await.map(json)
}

async fn rollback(State(controller): Shared, ConnectInfo(Peer(uid)): ConnectInfo<Peer>, bytes: Body) -> Answer {
    let request: RollbackRequest = body(bytes)?;
    blocking(&controller, move |controller| controller.rollback(&request, uid)).await.map(json)
}

async fn diff(State(controller): Shared, bytes: Body) -> Answer {
    let request: DiffRequest = body(bytes)?;
    blocking(&controller, move |controller| controller.diff(&request)).await.map(json)
}

async fn history(State(controller): Shared) -> Answer {
    blocking(&controller, Controller::history).await.map(json)
}

async fn shown(State(controller): Shared, number: Result<Path<u64>, PathRejection>) -> Answer {
    let Path(number) = number.map_err(|error| Failure::usage(error.body_text()))?;
    blocking(&controller, move |controller| controller.show(number)).await.map(json)
}

async fn profiles(State(controller): Shared) -> Answer {
    blocking(&controller, Controller::profiles).await.map(json)
}

/// Splits what is no filter off a query: `limit` and `all`.
fn filter(query: Pairs) -> Result<(Filter, Option<usize>, bool), Failure> {
    let (mut conditions, mut limit, mut all) = (Vec::new(), None, false);
    for (key, value) in pairs(query)? {
        match key.as_str() {
            "limit" => limit = Some(value.parse().map_err(|_| Failure::usage(format!("limit={value} is no number")))?),
            "all" => all = flag(&key, &value)?,
            _ => conditions.push(format!("{key}={value}")),
        }
    }
    Ok((Filter::parse(&conditions)?, limit, all))
}

fn flag(key: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Failure::usage(format!("{key}={value} is neither true nor false"))),
    }
}

async fn flows(State(controller): Shared, query: Pairs) -> Answer {
    let (filter, limit, _) = filter(query)?;
    blocking(&controller, move |controller| controller.flows(&filter, limit)).await.map(json)
}

async fn kill(State(controller): Shared, query: Pairs) -> Answer {
    let (filter, _, all) = filter(query)?;
    if filter.is_empty() != all {
        return Err(Failure::usage("say which flows to kill, or all").hint("for example rule=vpn-clients, or all=true"));
    }
    blocking(&controller, move |controller| controller.kill(&filter)).await.map(json)
}

async fn counters(State(controller): Shared, query: Pairs) -> Answer {
    let mut all = false;
    for (key, value) in pairs(query)? {
        match key.as_str() {
            "all" => all = flag(&key, &value)?,
            other => return Err(Failure::usage(format!("counters take `all`, not `{other}`"))),
        }
    }
    blocking(&controller, move |controller| controller.counters(all)).await.map(json)
}

async fn quality(State(controller): Shared, query: Pairs) -> Answer {
    let mut by = By::default();
    for (key, value) in pairs(query)? {
        by = match (key.as_str(), value.as_str()) {
            ("by", "interface") => By::Interface,
            ("by", "rule") => By::Rule,
            ("by", other) => return Err(Failure::usage(format!("by={other} is neither interface nor rule"))),
            (other, _) => return Err(Failure::usage(format!("quality takes `by`, not `{other}`"))),
        };
    }
    blocking(&controller, move |controller| controller.quality(by)).await.map(json)
}

/// Events as they come, one JSON object a line, until the client goes.
async fn events(State(controller): Shared, query: Pairs) -> Answer {
    let conditions: Vec<String> = pairs(query)?.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let stream = controller.events.subscribe(EventFilter::parse(&conditions)?)?;
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], axum::body::Body::new(stream)).into_response())
}

/// One trace at a time, for each has tables of its own. The body is read when its turn has come.
async fn trace(State(controller): Shared, request: Request) -> Answer {
    let _turn = controller.tracing.lock().await;
    let read = tokio::time::timeout(TRACE_BODY_TIME, axum::body::to_bytes(request.into_body(), MAX_TRACE_BODY));
    let bytes = read.await.map_err(|_| Failure::usage("the body did not come in time"))?;
    let bytes = bytes.map_err(|error| {
        Failure::usage(format!("the body cannot be read: {error}")).hint(format!("a trace takes {MAX_TRACE_BODY} bytes at most"))
    })?;
    let request: TraceRequest = body(Ok(bytes))?;
    blocking(&controller, move |controller| controller.trace(&request)).await.map(json)
}

async fn bypass(State(controller): Shared) -> Answer {
    blocking(&controller, Controller::bypass_rules).await.map(json)
}

async fn bypass_add(State(controller): Shared, ConnectInfo(Peer(uid)): ConnectInfo<Peer>, bytes: Body) -> Answer {
    let request: BypassAdd = body(bytes)?;
    blocking(&controller, move |controller| controller.bypass_add(&request, uid)).await.map(json)
}

async fn bypass_remove(State(controller): Shared, ConnectInfo(Peer(uid)): ConnectInfo<Peer>, bytes: Body) -> Answer {
    let request: BypassRemove = body(bytes)?;
    blocking(&controller, move |controller| controller.bypass_remove(&request, uid)).await.map(json)
}

async fn all_sets(State(controller): Shared) -> Answer {
    blocking(&controller, Controller::sets).await.map(json)
}

async fn one_set(State(controller): Shared, name: Result<Path<String>, PathRejection>) -> Answer {
    let Path(name) = name.map_err(|error| Failure::usage(error.body_text()))?;
    blocking(&controller, move |controller| controller.set(&name)).await.map(json)
}

async fn change_set(
    State(controller): Shared,
    ConnectInfo(Peer(uid)): ConnectInfo<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
    bytes: Body,
) -> Answer {
    let Path((name, verb)) = path.map_err(|error| Failure::usage(error.body_text()))?;
    sets::change(&controller, name, &verb, body(bytes)?, uid).await.map(json)
}
