//! A replicated store of counters: a primary and a backup, over `sward::net`.
//!
//! The primary applies each addition once, writes it to its log, sends it to the backup, and answers.
//! Clients may read from the primary or from the backup, and a read sees every addition that was answered
//! before it began.
//!
//! - *Requests have numbers.* A client that gets no answer sends its request again, perhaps over another
//!   connection. The primary keeps the last number and result of each client, and applies a number once.
//! - *Leases.* The backup answers reads only while it has a lease, which it asks for again and again. The
//!   primary grants it for [`LEASE`]; the backup counts from when it *asked*, so its lease ends no later
//!   than the primary thinks. An addition is answered once the backup has it, or once no lease is left.
//! - *Restarts.* The primary reads its log when it starts: additions and the numbers of the requests. It
//!   also waits for one lease, since its predecessor may have granted one.
//! - *Durability.* The log is written and synced before anything is answered.
//!
//! [`Bug`] leaves one of these rules out. `tests/sim/store.rs` finds each of them by simulation.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use sward::fs::{File, OpenOptions};
use sward::net::{TcpListener, TcpStream};
use sward::sync::{Condvar, Mutex};
use sward::time::Deadline;

/// How long the backup may answer reads without asking again.
pub(super) const LEASE: Duration = Duration::from_millis(300);
/// How often it asks.
const RENEWAL: Duration = Duration::from_millis(100);
/// How long a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// A rule of the protocol that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// The primary answers before the backup has the addition.
    AnswersBeforeBackup,
    /// The primary forgets the backup's lease when it loses the connection to it.
    ForgetsLease,
    /// The backup answers reads without a lease.
    ReadsWithoutLease,
    /// The backup counts its lease from when the grant arrives.
    LeaseFromGrant,
    /// A request that is sent again is applied again.
    AppliesTwice,
    /// After a restart the primary does not know which requests it has applied.
    ForgetsRequests,
    /// After a restart the primary does not wait for the lease that its predecessor has granted.
    RestartsAtOnce,
    /// The backup asks for entries from one too far on when it connects again.
    SkipsAnEntry,
    /// The backup asks for an entry that it has when it connects again, and applies it again.
    BackupAppliesTwice,
    /// The log is written after the answer.
    AnswersBeforeLog,
    /// The log is not synced.
    NeverSyncs,
}

/// One addition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    client: u64,
    number: u64,
    key: String,
    amount: i64,
}

impl Entry {
    /// As a line of the log and of the connection to the backup, without its end.
    fn to_line(&self) -> String {
        format!("{} {} {} {}", self.client, self.number, self.key, self.amount)
    }

    fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> io::Result<Entry> {
        let (client, number) = (parse(words)?, parse(words)?);
        Ok(Entry { client, number, key: parse(words)?, amount: parse(words)? })
    }
}

/// What a request needs: the next word of its line.
fn parse<'a, T: FromStr>(words: &mut impl Iterator<Item = &'a str>) -> io::Result<T> {
    words.next().and_then(|word| word.parse().ok()).ok_or_else(|| ErrorKind::InvalidData.into())
}

/// The values, and what was applied to get there.
#[derive(Debug, Default)]
struct State {
    log: Vec<Entry>,
    values: BTreeMap<String, i64>,
    /// The last number of each client, with its result.
    answered: BTreeMap<u64, (u64, i64)>,
}

impl State {
    fn apply(&mut self, entry: Entry) -> i64 {
        let value = self.values.entry(entry.key.clone()).or_default();
        *value += entry.amount;
        let value = *value;
        self.answered.insert(entry.client, (entry.number, value));
        self.log.push(entry);
        value
    }

    fn value(&self, key: &str) -> i64 {
        self.values.get(key).copied().unwrap_or(0)
    }
}

// The primary.

/// The node that applies additions.
pub(super) struct Primary {
    inner: Mutex<Inside>,
    /// Something in `inner` has changed that others wait for.
    changed: Condvar,
    path: PathBuf,
    bug: Option<Bug>,
}

struct Inside {
    state: State,
    file: File,
    /// The connection of the backup, by number, and how many entries the backup has.
    backup: Option<(u64, usize)>,
    connections: u64,
    /// When the last lease ends that was granted.
    lease: Deadline,
}

impl Primary {
    /// A primary with the log in that file.
    pub(super) fn open(path: &Path, bug: Option<Bug>) -> io::Result<Arc<Primary>> {
        let mut state = State::default();
        let existed = sward::fs::exists(path)?;
        if existed {
            let text = sward::fs::read_to_string(path)?;
            // A line without its end was never answered: the crash has torn it.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            for line in text[..whole].lines() {
                state.apply(Entry::parse(&mut line.split(' '))?);
            }
            if whole < text.len() {
                let file = OpenOptions::new().write(true).open(path)?;
                file.set_len(whole as u64)?;
                file.sync_all()?;
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.sync_all()?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        if bug == Some(Bug::ForgetsRequests) {
            state.answered.clear();
        }
        let predecessor = if bug == Some(Bug::RestartsAtOnce) { Duration::ZERO } else { LEASE };
        let inner = Inside { state, file, backup: None, connections: 0, lease: Deadline::after(predecessor) };
        Ok(Arc::new(Primary {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            path: path.to_owned(),
            bug,
        }))
    }

    /// The file with its log.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Serves clients and the backup, until the listener is closed.
    pub(super) fn serve(self: &Arc<Primary>, listener: &TcpListener) {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let primary = Arc::clone(self);
            sward::spawn(move || {
                // An error means that the connection is gone.
                let _ = primary.handle(stream);
            });
        }
    }

    fn handle(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        while next_line(&mut reader, &mut line)? {
            let mut words = line.split(' ');
            match words.next() {
                Some("add") => {
                    let value = self.add(Entry::parse(&mut words)?)?;
                    (&stream).write_all(format!("{value}\n").as_bytes())?;
                }
                Some("get") => {
                    let key: String = parse(&mut words)?;
                    let value = self.inner.lock().unwrap().state.value(&key);
                    (&stream).write_all(format!("{value}\n").as_bytes())?;
                }
                Some("follow") => {
                    let from = parse(&mut words)?;
                    return self.feed(&stream, reader, from);
                }
                _ => return Err(ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    /// Applies an addition, unless it was applied, and returns the value after it.
    fn add(&self, entry: Entry) -> io::Result<i64> {
        let mut inside = self.inner.lock().unwrap();
        if self.bug != Some(Bug::AppliesTwice)
            && let Some((number, value)) = inside.state.answered.get(&entry.client).copied()
            && number >= entry.number
        {
            // Sent again. Its first sending may still wait for the backup.
            let index = inside.state.log.len();
            return self.replicated(inside, index).map(|()| value);
        }
        let line = entry.to_line() + "\n";
        if self.bug != Some(Bug::AnswersBeforeLog) {
            self.write(&inside.file, &line)?;
        }
        let value = inside.state.apply(entry);
        let index = inside.state.log.len();
        self.changed.notify_all();
        if self.bug == Some(Bug::AnswersBeforeLog) {
            let file = inside.file.try_clone()?;
            sward::spawn(move || {
                sward::sleep(Duration::from_millis(20));
                let _ = (&file).write_all(line.as_bytes()).and_then(|()| file.sync_data());
            });
        }
        self.replicated(inside, index).map(|()| value)
    }

    fn write(&self, mut file: &File, line: &str) -> io::Result<()> {
        // A primary whose log has failed does not know what is in it.
        let written = file.write_all(line.as_bytes()).and_then(|()| match self.bug {
            Some(Bug::NeverSyncs) => Ok(()),
            _ => file.sync_data(),
        });
        written.inspect_err(|error| panic!("the log has failed: {error}"))
    }

    /// Waits until the backup has that many entries, or cannot answer reads any more.
    fn replicated(&self, mut inside: sward::sync::MutexGuard<'_, Inside>, index: usize) -> io::Result<()> {
        if self.bug == Some(Bug::AnswersBeforeBackup) {
            return Ok(());
        }
        loop {
            if inside.backup.is_some_and(|(_, has)| has >= index) {
                return Ok(());
            }
            let Some(left) = inside.lease.remaining().filter(|left| !left.is_zero()) else {
                // It has no lease, and gets none before it has the entry.
                return Ok(());
            };
            inside = self.changed.wait_timeout(inside, left).unwrap().0;
        }
    }

    /// Sends the log to the backup from that index on, and grants leases.
    fn feed(&self, stream: &TcpStream, mut reader: BufReader<&TcpStream>, from: usize) -> io::Result<()> {
        let number = {
            let mut inside = self.inner.lock().unwrap();
            inside.connections += 1;
            inside.backup = Some((inside.connections, from));
            inside.connections
        };
        let sent = &Mutex::new(from);
        let outcome = sward::try_scope(|scope| {
            scope.spawn(move || {
                let outcome = self.send_entries(stream, sent, number);
                // Ends the reads below.
                let _ = stream.close();
                outcome
            });
            let mut line = String::new();
            while next_line(&mut reader, &mut line)? {
                let mut words = line.split(' ');
                match words.next() {
                    Some("have") => {
                        let has = parse(&mut words)?;
                        let mut inside = self.inner.lock().unwrap();
                        if let Some((current, known)) = &mut inside.backup
                            && *current == number
                        {
                            *known = has;
                            self.changed.notify_all();
                        }
                    }
                    // The grant comes after all entries that were answered without the backup.
                    Some("lease") => self.grant(stream, sent, number, parse(&mut words)?)?,
                    _ => return Err(io::Error::from(ErrorKind::InvalidData)),
                }
            }
            Ok(())
        });
        let mut inside = self.inner.lock().unwrap();
        if inside.backup.is_some_and(|(current, _)| current == number) {
            inside.backup = None;
            if self.bug == Some(Bug::ForgetsLease) {
                inside.lease = Deadline::after(Duration::ZERO);
            }
        }
        // The sender sees that it is not the backup's connection any more.
        self.changed.notify_all();
        drop(inside);
        outcome
    }

    /// Sends entries as they come. `sent` counts them; its lock keeps entries and grants in order.
    fn send_entries(&self, mut stream: &TcpStream, sent: &Mutex<usize>, number: u64) -> io::Result<()> {
        loop {
            // One lock after the other: `grant` takes both, this one first.
            let count = *sent.lock().unwrap();
            let mut inside = self.inner.lock().unwrap();
            while count >= inside.state.log.len() {
                if inside.backup.is_none_or(|(current, _)| current != number) {
                    return Ok(());
                }
                inside = self.changed.wait(inside).unwrap();
            }
            drop(inside);
            let mut sent = sent.lock().unwrap();
            self.send_rest(&mut stream, &mut sent)?;
        }
    }

    fn send_rest(&self, stream: &mut &TcpStream, sent: &mut usize) -> io::Result<()> {
        let entries: Vec<Entry> = {
            let inside = self.inner.lock().unwrap();
            inside.state.log.get(*sent..).unwrap_or_default().to_vec()
        };
        for entry in entries {
            let line = format!("entry {} {}\n", *sent, entry.to_line());
            stream.write_all(line.as_bytes())?;
            *sent += 1;
        }
        Ok(())
    }

    fn grant(&self, mut stream: &TcpStream, sent: &Mutex<usize>, number: u64, asked: u64) -> io::Result<()> {
        let mut sent = sent.lock().unwrap();
        loop {
            self.send_rest(&mut stream, &mut sent)?;
            let mut inside = self.inner.lock().unwrap();
            if inside.backup.is_none_or(|(current, _)| current != number) {
                return Err(ErrorKind::NotConnected.into());
            }
            if *sent < inside.state.log.len() {
                continue;
            }
            inside.lease = Deadline::after(LEASE);
            break;
        }
        stream.write_all(format!("granted {asked}\n").as_bytes())
    }
}

/// Reads a line, without its end. False at the end of the stream.
fn next_line(reader: &mut impl BufRead, line: &mut String) -> io::Result<bool> {
    line.clear();
    reader.read_line(line)?;
    match line.strip_suffix('\n') {
        Some(whole) => line.truncate(whole.len()),
        None => return Ok(false),
    }
    Ok(true)
}

// The backup.

/// The node that follows the primary and answers reads.
pub(super) struct Backup {
    inner: Mutex<Follower>,
    bug: Option<Bug>,
}

struct Follower {
    state: State,
    lease: Option<Deadline>,
    /// When the leases were asked for that were not granted so far: how long they last.
    asked: BTreeMap<u64, Deadline>,
    next: u64,
}

impl Backup {
    /// A backup that knows nothing.
    pub(super) fn new(bug: Option<Bug>) -> Arc<Backup> {
        let follower = Follower { state: State::default(), lease: None, asked: BTreeMap::new(), next: 0 };
        Arc::new(Backup { inner: Mutex::new(follower), bug })
    }

    /// Serves reads, until the listener is closed.
    pub(super) fn serve(self: &Arc<Backup>, listener: &TcpListener) {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let backup = Arc::clone(self);
            sward::spawn(move || {
                // An error means that the connection is gone.
                let _ = backup.handle(&stream);
            });
        }
    }

    fn handle(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while next_line(&mut reader, &mut line)? {
            let key = line.strip_prefix("get ").ok_or(ErrorKind::InvalidData)?;
            let answer = match self.read(key) {
                Some(value) => format!("{value}\n"),
                None => "no lease\n".to_owned(),
            };
            stream.write_all(answer.as_bytes())?;
        }
        Ok(())
    }

    fn read(&self, key: &str) -> Option<i64> {
        let follower = self.inner.lock().unwrap();
        let leased = follower.lease.is_some_and(|lease| !lease.is_past());
        (leased || self.bug == Some(Bug::ReadsWithoutLease)).then(|| follower.state.value(key))
    }

    /// How many entries it has.
    pub(super) fn entries(&self) -> usize {
        self.inner.lock().unwrap().state.log.len()
    }

    /// The value that it has, with a lease or without.
    pub(super) fn value(&self, key: &str) -> i64 {
        self.inner.lock().unwrap().state.value(key)
    }

    /// Follows the primary at that address, for ever. Connects again when the connection is lost.
    pub(super) fn follow(&self, primary: &str) {
        loop {
            // An error means that the connection is lost, or that there was none.
            let _ = self.follow_once(primary);
            sward::sleep(RENEWAL);
        }
    }

    fn follow_once(&self, primary: &str) -> io::Result<()> {
        let stream = connect(primary)?;
        stream.set_read_timeout(Some(LEASE * 2))?;
        let from = {
            let mut follower = self.inner.lock().unwrap();
            follower.asked.clear();
            let known = follower.state.log.len();
            match self.bug {
                Some(Bug::SkipsAnEntry) if known > 0 => known + 1,
                Some(Bug::BackupAppliesTwice) => known.saturating_sub(1),
                _ => known,
            }
        };
        (&stream).write_all(format!("follow {from}\n").as_bytes())?;
        let stream = &stream;
        sward::try_scope(|scope| {
            scope.spawn(move || {
                let outcome = self.ask_for_leases(stream);
                // Ends the reads below.
                let _ = stream.close();
                outcome
            });
            let outcome = self.take_entries(stream);
            let _ = stream.close();
            outcome
        })
    }

    fn ask_for_leases(&self, mut stream: &TcpStream) -> io::Result<()> {
        loop {
            let number = {
                let mut follower = self.inner.lock().unwrap();
                follower.next += 1;
                let number = follower.next;
                follower.asked.insert(number, Deadline::after(LEASE));
                number
            };
            stream.write_all(format!("lease {number}\n").as_bytes())?;
            sward::sleep(RENEWAL);
        }
    }

    fn take_entries(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while next_line(&mut reader, &mut line)? {
            let mut words = line.split(' ');
            match words.next() {
                Some("entry") => {
                    let index: usize = parse(&mut words)?;
                    let entry = Entry::parse(&mut words)?;
                    let mut follower = self.inner.lock().unwrap();
                    let unchecked = matches!(self.bug, Some(Bug::SkipsAnEntry | Bug::BackupAppliesTwice));
                    if index == follower.state.log.len() || unchecked {
                        follower.state.apply(entry);
                    }
                    let has = follower.state.log.len();
                    drop(follower);
                    let mut stream = stream;
                    stream.write_all(format!("have {has}\n").as_bytes())?;
                }
                Some("granted") => {
                    let number = parse(&mut words)?;
                    let mut follower = self.inner.lock().unwrap();
                    follower.asked = follower.asked.split_off(&number);
                    if let Some(asked) = follower.asked.remove(&number) {
                        let from_grant = self.bug == Some(Bug::LeaseFromGrant);
                        follower.lease = Some(if from_grant { Deadline::after(LEASE) } else { asked });
                    }
                }
                _ => return Err(ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }
}

// Clients.

/// Connects to a node by its name.
fn connect(node: &str) -> io::Result<TcpStream> {
    use sward::net::ToSocketAddrs;
    let address = node.to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?;
    TcpStream::connect_timeout(&address, CLIENT_TIMEOUT)
}

/// A client, which makes one request at a time.
pub(super) struct Client {
    id: u64,
    number: u64,
    node: String,
    stream: Option<TcpStream>,
}

impl Client {
    /// A client of that node. Each client has a number of its own.
    pub(super) fn new(id: u64, node: &str) -> Client {
        Client { id, number: 0, node: node.to_owned(), stream: None }
    }

    /// Adds to the value, and returns it. Sends the request again until there is an answer.
    pub(super) fn add(&mut self, key: &str, amount: i64) -> i64 {
        self.number += 1;
        let request = format!("add {} {} {key} {amount}\n", self.id, self.number);
        loop {
            match self.request(&request) {
                Ok(answer) => return answer.parse().expect("a number"),
                Err(_) => sward::sleep(RENEWAL),
            }
        }
    }

    /// The value; an error if the node does not answer, or has no lease.
    pub(super) fn get(&mut self, key: &str) -> io::Result<i64> {
        let answer = self.request(&format!("get {key}\n"))?;
        answer.parse().map_err(|_| io::Error::other(answer))
    }

    fn request(&mut self, request: &str) -> io::Result<String> {
        let outcome = self.try_request(request);
        if outcome.is_err() {
            // An answer that comes late must not be taken for that of the next request.
            self.stream = None;
        }
        outcome
    }

    fn try_request(&mut self, request: &str) -> io::Result<String> {
        if self.stream.is_none() {
            let stream = connect(&self.node)?;
            stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
            self.stream = Some(stream);
        }
        let mut stream = self.stream.as_ref().expect("it is connected");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        // Nothing is behind the answer, so the reader's buffer loses nothing.
        if next_line(&mut BufReader::new(stream), &mut answer)? {
            Ok(answer)
        } else {
            Err(ErrorKind::UnexpectedEof.into())
        }
    }
}
