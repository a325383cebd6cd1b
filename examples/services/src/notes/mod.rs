//! Notes: a small web application with a JSON interface, a page, and a database.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /notes?before=ID` | 50 notes, the newest first; `before` asks for older ones |
//! | `POST /notes` with `{"title", "text"}` | 201 and the note |
//! | `GET /notes/ID` | the note |
//! | `PUT /notes/ID` with `{"title", "text", "version"}` | the note; 409 if it has another version by now |
//! | `DELETE /notes/ID` | 204 |
//! | `GET /healthz` | 200; 503 without the database, and while the service drains |
//! | `GET /metrics` | Prometheus' text format |
//!
//! A page of another origin can send nothing that changes a note: a browser asks first (CORS) before it
//! sends `application/json` or `DELETE`, and this service does not agree. The service does not check
//! `Host`, though. So a page whose own name its owner lets point to this address (DNS rebinding) is of
//! the same origin. If that matters, let a proxy in front check the name, or serve HTTPS, where the name
//! must fit the certificate.

pub mod model;
pub mod postgres;
pub mod sqlite;

use crate::counts::{Answers, runtime};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use model::{Draft, Edit, Memo, Store, StoreError};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sward::time::timeout;
use tracing::Instrument;

/// The longest body of a request, in bytes: the longest note fits, also with each character as `\uXXXX`.
pub const BODY: usize = 128 << 10;
/// How long a request may wait for the database.
const STORE_TIME: Duration = Duration::from_secs(5);

/// What the handlers share.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    store: Box<dyn Store>,
    answers: Answers,
    requests: AtomicU64,
    draining: AtomicBool,
}

impl App {
    /// The application on that store.
    pub fn new(store: impl Store) -> App {
        App(Arc::new(Inner {
            store: Box::new(store),
            answers: Answers::default(),
            requests: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        }))
    }

    /// From now on the health check fails, so that a load balancer sends its requests elsewhere.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Runs a call of the store, which parks, within the time limit.
    fn store<T>(&self, call: impl FnOnce(&dyn Store) -> Result<T, StoreError>) -> Result<T, Failure> {
        match timeout(STORE_TIME, || call(&*self.0.store)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                // The client learns nothing about the database.
                tracing::error!(%error, "the store failed");
                Err(Failure(StatusCode::SERVICE_UNAVAILABLE, "the database is not available"))
            }
            Err(_) => {
                tracing::error!("the store was too slow");
                Err(Failure(StatusCode::SERVICE_UNAVAILABLE, "the database is busy"))
            }
        }
    }

    /// The service.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/notes", get(list).post(create))
            .route("/notes/{id}", get(read).put(update).delete(delete))
            .route("/healthz", get(healthz))
            .route("/metrics", get(metrics))
            .with_state(self.clone())
            .merge(page())
            .layer(DefaultBodyLimit::max(BODY))
            .layer(from_fn_with_state(self.clone(), observe))
    }
}

/// An answer that is an error.
pub struct Failure(StatusCode, &'static str);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

const NOT_FOUND: Failure = Failure(StatusCode::NOT_FOUND, "there is no such note");

#[derive(Deserialize)]
struct Before {
    before: Option<i64>,
}

// The handlers block, which parks their requests.

async fn list(State(app): State<App>, Query(page): Query<Before>) -> Result<Json<Vec<Memo>>, Failure> {
    Ok(Json(app.store(|store| store.list(page.before))?))
}

async fn create(State(app): State<App>, Json(draft): Json<Draft>) -> Result<Response, Failure> {
    let draft = draft.checked().map_err(|why| Failure(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    let note = app.store(|store| store.create(&draft))?;
    tracing::info!(note = note.id, "created");
    let location = [(header::LOCATION, format!("/notes/{}", note.id))];
    Ok((StatusCode::CREATED, location, Json(note)).into_response())
}

async fn read(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Memo>, Failure> {
    app.store(|store| store.get(id))?.map(Json).ok_or(NOT_FOUND)
}

async fn update(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(edit): Json<Edit>,
) -> Result<Json<Memo>, Failure> {
    let version = edit.version;
    let draft = edit.draft().checked().map_err(|why| Failure(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    if let Some(note) = app.store(|store| store.update(id, version, &draft))? {
        return Ok(Json(note));
    }
    match app.store(|store| store.get(id))? {
        Some(_) => Err(Failure(StatusCode::CONFLICT, "the note was changed in the meantime")),
        None => Err(NOT_FOUND),
    }
}

async fn delete(State(app): State<App>, Path(id): Path<i64>) -> Result<StatusCode, Failure> {
    if app.store(|store| store.delete(id))? { Ok(StatusCode::NO_CONTENT) } else { Err(NOT_FOUND) }
}

async fn healthz(State(app): State<App>) -> Result<&'static str, Failure> {
    if app.0.draining.load(Ordering::Relaxed) {
        return Err(Failure(StatusCode::SERVICE_UNAVAILABLE, "draining"));
    }
    app.store(|store| store.get(0))?;
    Ok("ok\n")
}

async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let mut text = runtime();
    app.0.answers.write(&mut text, "notes");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// A span and a line in the log for each request, and its part of the metrics.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = app.0.requests.fetch_add(1, Ordering::Relaxed);
    let span = tracing::info_span!("request", id, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span.clone()).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, "nosniff".parse().expect("a value"));
    let (status, time) = (response.status().as_u16(), started.elapsed());
    app.0.answers.count(status, time);
    span.in_scope(|| tracing::info!(status, micros = time.as_micros() as u64, "answered"));
    response
}

/// Scripts and styles come from this server's files alone, so text that a user typed runs nowhere, even if a
/// defect of the page made it part of the markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page's files.
pub fn page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    const POLICIES: [(HeaderName, &str); 2] =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::REFERRER_POLICY, "no-referrer")];
    let file = |kind: &'static str, text: &'static str| {
        get(async move || (POLICIES, [(header::CONTENT_TYPE, kind)], text))
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page/index.html")))
        .route("/app.js", file("text/javascript; charset=utf-8", include_str!("page/app.js")))
        // Browsers ask for it.
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("page/style.css")))
}
