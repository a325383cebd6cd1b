//! `oneshot`.

use crate::common::{LONG, both};
use sward::channel::{self, RecvError, RecvTimeoutError, TryRecvError};

#[test]
fn oneshot_has_one_message() {
    use channel::oneshot;
    both(|| {
        let (s, r) = oneshot::channel();
        assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
        assert!(!s.is_closed());
        let sender = sward::spawn(move || s.send(1));
        assert_eq!(r.recv(), Ok(1));
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(r.recv(), Err(RecvError));
        let (s, r) = oneshot::channel::<u8>();
        drop(s);
        assert_eq!(r.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        let (s, r) = oneshot::channel();
        drop(r);
        assert!(s.is_closed());
        assert_eq!(s.send(2), Err(2));
        let (s, r) = oneshot::channel();
        s.send(3).unwrap();
        sward::select! {
            recv(r) -> message => assert_eq!(message, Ok(3)),
        }
    });
}
