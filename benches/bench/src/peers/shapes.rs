//! Implementations for peers with the names and signatures of std or crossbeam.

/// `Locks` for a peer whose locks are as std's.
macro_rules! locks_as_in_std {
    ($peer:ty, $mutex:ident, $rwlock:ident) => {
        impl $crate::peers::Locks for $peer {
            type Mutex = $mutex<u64>;
            type RwLock = $rwlock<u64>;

            fn mutex() -> $mutex<u64> {
                $mutex::new(0)
            }

            fn lock<R>(mutex: &$mutex<u64>, f: impl FnOnce(&mut u64) -> R) -> R {
                f(&mut mutex.lock().expect("nobody panics"))
            }

            fn rwlock() -> $rwlock<u64> {
                $rwlock::new(0)
            }

            fn read<R>(lock: &$rwlock<u64>, f: impl FnOnce(&u64) -> R) -> R {
                f(&lock.read().expect("nobody panics"))
            }

            fn write<R>(lock: &$rwlock<u64>, f: impl FnOnce(&mut u64) -> R) -> R {
                f(&mut lock.write().expect("nobody panics"))
            }
        }
    };
}

/// `Channels` for a peer whose channels are as crossbeam's.
macro_rules! channels_as_in_crossbeam {
    ($peer:ty, $sender:ident, $receiver:ident, $bounded:ident) => {
        impl $crate::peers::Channels for $peer {
            type Sender<T: Send + 'static> = $sender<T>;
            type Receiver<T: Send + 'static> = $receiver<T>;

            fn channel<T: Send + 'static>(
                capacity: usize,
                senders: usize,
                receivers: usize,
            ) -> (Vec<$sender<T>>, Vec<$receiver<T>>) {
                let (sender, receiver) = $bounded(capacity);
                (vec![sender; senders], vec![receiver; receivers])
            }

            fn send<T: Send + 'static>(sender: &$sender<T>, message: T) {
                assert!(sender.send(message).is_ok(), "the receiver is there");
            }

            fn recv<T: Send + 'static>(receiver: &$receiver<T>) -> Option<T> {
                receiver.recv().ok()
            }

            fn recv_timeout<T: Send + 'static>(
                receiver: &$receiver<T>,
                limit: std::time::Duration,
            ) -> Option<T> {
                receiver.recv_timeout(limit).ok()
            }
        }
    };
}

/// `Net` for a peer whose sockets are as std's.
macro_rules! net_as_in_std {
    ($peer:ty, $listener:ident, $stream:ident) => {
        impl $crate::peers::Net for $peer {
            type Listener = $listener;
            type Stream = $stream;

            fn bind() -> std::io::Result<($listener, std::net::SocketAddr)> {
                let listener = $listener::bind($crate::peers::ANY)?;
                let address = listener.local_addr()?;
                Ok((listener, address))
            }

            fn accept(listener: &$listener) -> std::io::Result<$stream> {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(stream)
            }

            fn set_read_timeout(stream: &$stream, limit: std::time::Duration) -> std::io::Result<()> {
                stream.set_read_timeout(Some(limit))
            }
        }
    };
}
