//! `broadcast`.

use crate::common::both;
use crate::mpmc::MS;
use sward::channel::{self, SendError};

#[test]
fn broadcast_reaches_everyone() {
    use channel::broadcast::{self, RecvError};
    both(|| {
        let (s, mut r1) = broadcast::channel(2);
        let mut r2 = s.subscribe();
        assert_eq!(s.receiver_count(), 2);
        assert_eq!(r1.try_recv(), Err(RecvError::Empty));
        assert_eq!(r1.recv_timeout(MS), Err(RecvError::Empty));
        for i in 0..5 {
            assert_eq!(s.send(i).unwrap(), 2);
            assert_eq!(r1.recv(), Ok(i));
        }
        assert_eq!(r2.len(), 5);
        assert_eq!(r2.recv(), Err(RecvError::Lagged(3)));
        assert_eq!((r2.recv(), r2.recv()), (Ok(3), Ok(4)));
        let mut r3 = r2.clone();
        let waiting = sward::spawn(move || (r3.recv(), r3.recv()));
        sward::sleep(MS);
        s.send(9).unwrap();
        drop(s);
        assert_eq!(waiting.join().unwrap(), (Ok(9), Err(RecvError::Closed)));
        assert_eq!((r2.recv(), r2.recv()), (Ok(9), Err(RecvError::Closed)));
        let (s, r) = broadcast::channel(1);
        drop(r);
        assert_eq!(s.send(1), Err(SendError(1)));
    });
}
