//! `watch`.

use crate::common::{both, in_runtime, soon};
use crate::mpmc::MS;
use std::sync::Arc;
use sward::channel::{self, RecvError, RecvTimeoutError};

#[test]
fn watch_shows_the_latest() {
    use channel::watch;
    both(|| {
        let (s, mut r) = watch::channel(0);
        assert!(!r.has_changed());
        assert_eq!(r.changed_timeout(MS), Err(RecvTimeoutError::Timeout));
        assert_eq!(*s.send(1), 0);
        s.send_modify(|n| n + 1);
        assert!(r.has_changed());
        assert_eq!(*r.get(), 2);
        r.changed().unwrap();
        assert!(!r.has_changed());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let mut r = r.clone();
                sward::spawn(move || {
                    r.changed().unwrap();
                    *r.get()
                })
            })
            .collect();
        sward::sleep(MS);
        s.send(7);
        waiting.into_iter().for_each(|w| assert_eq!(w.join().unwrap(), 7));
        assert_eq!(*r.get_and_update(), 7);
        let waiting = sward::spawn(move || r.changed());
        sward::sleep(MS);
        assert_eq!(s.receiver_count(), 1);
        drop(s);
        assert_eq!(waiting.join().unwrap(), Err(RecvError));
    });
}

#[test]
fn modifications_of_a_watched_value_are_not_lost() {
    use channel::watch;
    in_runtime(|| {
        let (s, r) = watch::channel(0);
        let adders: Vec<_> = (0..4)
            .map(|_| {
                let s = s.clone();
                sward::spawn(move || (0..500).for_each(|_| s.send_modify(|n| n + 1)))
            })
            .collect();
        adders.into_iter().for_each(|a| a.join().unwrap());
        assert_eq!(*r.get(), 2_000);
    });
}

/// A value that `send_modify` has replaced is dropped where its destructor may use the channel, or wait.
#[test]
fn a_value_of_a_watch_may_use_it_in_its_destructor() {
    use channel::watch;
    struct Looks(Option<Arc<watch::Sender<Looks>>>);
    impl Drop for Looks {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                sward::sleep(MS);
                let _ = sender.get();
            }
        }
    }
    let modify = || {
        let (sender, _receiver) = watch::channel(Looks(None));
        let sender = Arc::new(sender);
        let mut first = true;
        sender.send_modify(|_| {
            let overtaken = std::mem::take(&mut first);
            if overtaken {
                sender.send(Looks(None));
            }
            Looks(overtaken.then(|| Arc::clone(&sender)))
        });
        assert!(!first);
    };
    soon(move || both(modify));
}
