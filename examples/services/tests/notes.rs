//! The service `notes`, as a process of its own.

mod common;

use common::{Service, TempFile, connect, get, metric, refuses, send, talk, wait_for};
use example_services::notes::model::Draft;
use example_services::notes::sqlite;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

const JSON: &str = "Content-Type: application/json\r\n";

fn start(arguments: &[&str]) -> Service {
    Service::start(env!("CARGO_BIN_EXE_notes"), arguments)
}

fn create(service: &Service, title: &str) -> Value {
    let body = json!({ "title": title, "text": "a text" }).to_string();
    let answer = send(&service.address, "POST", "/notes", JSON, &body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// The life of notes, on whichever database the service has.
fn drive(service: &Service) {
    let address = &service.address;
    let first = create(service, " <b>first</b> ");
    assert_eq!((first["title"].as_str(), first["version"].as_i64()), (Some("<b>first</b>"), Some(1)));
    let id = first["id"].as_i64().expect("a number");
    let path = format!("/notes/{id}");

    let body = json!({ "title": "first", "text": "changed", "version": 1 }).to_string();
    let answer = send(address, "PUT", &path, JSON, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    // Somebody else has seen the former version.
    assert_eq!(send(address, "PUT", &path, JSON, &body).status, 409);
    let read: Value = serde_json::from_str(&get(address, &path).body).expect("JSON");
    assert_eq!((read["text"].as_str(), read["version"].as_i64()), (Some("changed"), Some(2)));

    assert_eq!(send(address, "DELETE", &path, "", "").status, 204);
    for (method, body) in [("GET", ""), ("DELETE", ""), ("PUT", &body)] {
        assert_eq!(send(address, method, &path, JSON, body).status, 404, "{method}");
    }

    // The list has pages. Sixteen clients make the notes at once.
    thread::scope(|s| {
        for client in 0..16 {
            s.spawn(move || (0..4).for_each(|n| drop(create(service, &format!("note {client} {n}")))));
        }
    });
    let page = |path: &str| -> Vec<i64> {
        let notes: Vec<Value> = serde_json::from_str(&get(address, path).body).expect("JSON");
        notes.iter().map(|note| note["id"].as_i64().expect("a number")).collect()
    };
    let newest = page("/notes");
    assert_eq!(newest.len(), 50);
    assert!(newest.is_sorted_by(|a, b| a > b), "{newest:?}");
    let older = page(&format!("/notes?before={}", newest[49]));
    assert_eq!(older.len(), 14);
    assert!(older[0] < newest[49]);
}

#[test]
fn notes_live_on_sqlite_over_a_restart() {
    let file = TempFile::new("life.db");
    let mut service = start(&["--sqlite", file.path()]);
    drive(&service);
    let note = create(&service, "stays");
    service.terminate();
    assert!(service.ended().success());
    let service = start(&["--sqlite", file.path()]);
    assert_eq!(get(&service.address, &format!("/notes/{}", note["id"])).status, 200);
}

/// `ci/services.sh` starts a database, and names it.
#[test]
fn notes_live_on_postgres() {
    let Ok(url) = std::env::var("NOTES_POSTGRES") else {
        println!("skipped: NOTES_POSTGRES names no database");
        return;
    };
    drive(&start(&["--postgres", &url]));
}

#[test]
fn what_is_no_note_is_refused() {
    let file = TempFile::new("refused.db");
    let service = start(&["--sqlite", file.path(), "--head-seconds", "5"]);
    let address = &service.address;
    let long = json!({ "title": "x".repeat(201) }).to_string();
    for (body, status) in [
        ("{", 400),
        (r#"{"title": " "}"#, 422),
        (r#"{"title": "x", "owner": 1}"#, 422),
        (r#"{"title": "a\u0000"}"#, 422),
        (&long, 422),
    ] {
        let answer = send(address, "POST", "/notes", JSON, body);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
    }
    assert_eq!(
        send(address, "POST", "/notes", "Content-Type: text/plain\r\n", r#"{"title": "x"}"#).status,
        415
    );
    assert_eq!(send(address, "POST", "/notes", JSON, &"x".repeat(140_000)).status, 413);
    assert_eq!(get(address, "/notes/one").status, 400);
    assert_eq!(get(address, "/nothing").status, 404);
    // A head that does not end, and one that is too large.
    assert!(!talk(address, "GET / HTTP/1.1\r\nHost: a\r\n").contains(" 200 "));
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert!(talk(address, &large).starts_with("HTTP/1.1 431"));
    assert_eq!(get(address, "/healthz").status, 200);
}

#[test]
fn arguments_are_not_misread() {
    let program = env!("CARGO_BIN_EXE_notes");
    refuses(program, &["--cert", "a.pem"]);
    refuses(program, &["--key", "a.pem"]);
}

/// The longest note fits into the longest body, even if each of its characters is escaped.
#[test]
fn the_longest_note_is_stored() {
    let file = TempFile::new("longest.db");
    let service = start(&["--sqlite", file.path()]);
    let body = format!(r#"{{"title": "x", "text": "{}"}}"#, "\\u00e9".repeat(20_000));
    assert_eq!(send(&service.address, "POST", "/notes", JSON, &body).status, 201);
}

/// SQLite returns the row of a change before the commit, so an error of the commit comes after it.
#[test]
fn a_commit_that_fails_is_no_success() {
    let file = TempFile::new("commit.db");
    let db = sqlite::open(file.path().as_ref()).expect("a database");
    let draft = Draft { title: "a".to_owned(), text: String::new() };
    let kept = sqlite::create(&db, &draft).expect("stored");
    db.execute_batch(
        "PRAGMA foreign_keys = ON;
         CREATE TABLE parents (id INTEGER PRIMARY KEY);
         CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER created AFTER INSERT ON notes BEGIN INSERT INTO children VALUES (1); END;
         CREATE TRIGGER updated AFTER UPDATE ON notes BEGIN INSERT INTO children VALUES (1); END;",
    )
    .expect("prepared");
    let draft = Draft { title: "b".to_owned(), text: String::new() };
    assert!(sqlite::create(&db, &draft).is_err());
    assert!(sqlite::update(&db, kept.id, kept.version, &draft).is_err());
    assert_eq!(sqlite::list(&db, None).expect("a list"), [kept]);
}

#[test]
fn the_page_runs_no_foreign_script() {
    let file = TempFile::new("page.db");
    let service = start(&["--sqlite", file.path()]);
    let page = get(&service.address, "/");
    assert_eq!(page.status, 200);
    assert!(
        page.head.contains("\r\ncontent-security-policy: default-src 'none'; script-src 'self'"),
        "{}",
        page.head
    );
    assert!(page.head.contains("\r\nx-content-type-options: nosniff"), "{}", page.head);
    assert!(!page.body.contains("<script>"), "a script in the page");
    let script = get(&service.address, "/app.js");
    assert!(script.head.contains("text/javascript") && !script.body.contains("innerHTML"));
}

#[test]
fn metrics_count_the_answers() {
    let file = TempFile::new("metrics.db");
    let service = start(&["--sqlite", file.path()]);
    create(&service, "one");
    get(&service.address, "/notes");
    get(&service.address, "/nothing");
    let text = get(&service.address, "/metrics").body;
    assert_eq!(metric(&text, "notes_answers_total{status=\"2xx\"}"), 2.0);
    assert_eq!(metric(&text, "notes_answers_total{status=\"4xx\"}"), 1.0);
    assert_eq!(metric(&text, "notes_answer_seconds_bucket{le=\"+Inf\"}"), 3.0);
    assert!(text.contains("\nsward_worker_turns_total{"), "the runtime's metrics");
}

/// SIGTERM: the health check fails at once, and a request that has begun is still answered.
#[test]
fn sigterm_drains() {
    let file = TempFile::new("drain.db");
    let mut service = start(&["--sqlite", file.path(), "--drain-first", "2", "--grace", "50"]);
    let mut begun = connect(&service.address);
    let body = json!({ "title": "late" }).to_string();
    let length = body.len();
    write!(begun, "POST /notes HTTP/1.1\r\nHost: a\r\n{JSON}Content-Length: {length}\r\n\r\n")
        .expect("written");
    // So that the request has begun: the answer of a later connection shows that this one was accepted.
    assert_eq!(get(&service.address, "/healthz").status, 200);
    service.terminate();
    // The listener may close before a slow machine has asked.
    wait_for("a health check that fails", || {
        let text = std::panic::catch_unwind(|| get(&service.address, "/healthz").status);
        text.map_or(true, |status| status == 503)
    });
    thread::sleep(Duration::from_millis(100));
    begun.write_all(body.as_bytes()).expect("written");
    let mut answer = String::new();
    begun.read_to_string(&mut answer).expect("an answer, and an end");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(service.ended().success());
}

/// A request that does not end is cut after the grace, and the service says so.
#[test]
fn the_grace_ends() {
    let file = TempFile::new("grace.db");
    let mut service = start(&["--sqlite", file.path(), "--grace", "1"]);
    let mut begun = connect(&service.address);
    write!(begun, "POST /notes HTTP/1.1\r\nHost: a\r\n{JSON}Content-Length: 100\r\n\r\n").expect("written");
    assert_eq!(get(&service.address, "/healthz").status, 200);
    service.terminate();
    assert_eq!(service.ended().code(), Some(1));
}
