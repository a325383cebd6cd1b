//! notes on tokio, to compare with: the same queries on the same pool of four connections, the same page, the
//! same counts and limits; axum's own server, and `spawn_blocking` in place of `sward::blocking`.
//! `notes-tokio ADDRESS FILE`; `ci/services-p99.sh` runs both.

use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use example_services::counts::Answers;
use example_services::notes::model::{Draft, Edit, Memo};
use example_services::notes::{BODY, page, sqlite};
use rusqlite::Connection;
use serde::Deserialize;
use std::path::Path as File;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::Semaphore;
use tracing::{Instrument, Level};

#[derive(Clone)]
struct App(Arc<Inner>);

struct Inner {
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    answers: Answers,
}

type Failure = (StatusCode, String);

fn failed(error: impl ToString) -> Failure {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

const NOT_FOUND: Failure = (StatusCode::NOT_FOUND, String::new());

impl App {
    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let _permit = self.0.permits.acquire().await.map_err(failed)?;
        let app = self.clone();
        let run = tokio::task::spawn_blocking(move || {
            let connection = app.0.idle.lock().expect("no panic inside").pop().expect("one for each permit");
            let result = query(&connection);
            app.0.idle.lock().expect("no panic inside").push(connection);
            result
        });
        run.await.map_err(failed)?.map_err(failed)
    }
}

#[derive(Deserialize)]
struct Before {
    before: Option<i64>,
}

async fn list(State(app): State<App>, Query(page): Query<Before>) -> Result<Json<Vec<Memo>>, Failure> {
    Ok(Json(app.run(move |db| sqlite::list(db, page.before)).await?))
}

async fn create(State(app): State<App>, Json(draft): Json<Draft>) -> Result<Response, Failure> {
    let draft = draft.checked().map_err(|why| (StatusCode::UNPROCESSABLE_ENTITY, why.to_owned()))?;
    let note = app.run(move |db| sqlite::create(db, &draft)).await?;
    Ok((StatusCode::CREATED, Json(note)).into_response())
}

async fn read(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Memo>, Failure> {
    app.run(move |db| sqlite::get(db, id)).await?.map(Json).ok_or(NOT_FOUND)
}

async fn update(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(edit): Json<Edit>,
) -> Result<Json<Memo>, Failure> {
    let version = edit.version;
    let draft = edit.draft().checked().map_err(|why| (StatusCode::UNPROCESSABLE_ENTITY, why.to_owned()))?;
    app.run(move |db| sqlite::update(db, id, version, &draft)).await?.map(Json).ok_or(NOT_FOUND)
}

async fn delete(State(app): State<App>, Path(id): Path<i64>) -> Result<StatusCode, Failure> {
    if app.run(move |db| sqlite::delete(db, id)).await? { Ok(StatusCode::NO_CONTENT) } else { Err(NOT_FOUND) }
}

async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let span = tracing::info_span!("request", method = %request.method(), path = request.uri().path());
    let response = next.run(request).instrument(span.clone()).await;
    let (status, time) = (response.status().as_u16(), started.elapsed());
    app.0.answers.count(status, time);
    span.in_scope(|| tracing::info!(status, micros = time.as_micros() as u64, "answered"));
    response
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(file)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: notes-tokio ADDRESS FILE");
        std::process::exit(2);
    };
    let workers = std::env::var("SWARD_WORKERS").ok().and_then(|text| text.parse().ok());
    let subscriber = tracing_subscriber::fmt().with_max_level(Level::ERROR).finish();
    tracing::subscriber::set_global_default(subscriber).expect("the first");
    let connections = (0..sqlite::CONNECTIONS).map(|_| sqlite::open(File::new(&file)).expect("a database"));
    let app = App(Arc::new(Inner {
        idle: Mutex::new(connections.collect()),
        permits: Semaphore::new(sqlite::CONNECTIONS),
        answers: Answers::default(),
    }));
    let router = Router::new()
        .route("/notes", get(list).post(create))
        .route("/notes/{id}", get(read).put(update).delete(delete))
        .with_state(app.clone())
        .merge(page())
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(app, observe));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await.expect("bound");
        println!("serves http://{}/", listener.local_addr().expect("an address"));
        axum::serve(listener, router).await.expect("it serves for ever");
    });
}
