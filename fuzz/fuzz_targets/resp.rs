//! The parser and the commands of the example `redis`: the bytes of a client, whole and in pieces, have the same
//! answers, and the memory that is counted goes back to zero.
#![no_main]

#[path = "../../examples/common/mod.rs"]
#[allow(dead_code)] // the examples have more than is fuzzed
mod common;

#[allow(dead_code)] // as above
mod redis {
    use super::common;
    include!(concat!(env!("OUT_DIR"), "/redis.rs"));

    use std::cell::RefCell;
    use std::io::Read;
    use std::rc::Rc;

    pub struct Bytewise {
        input: Vec<u8>,
        at: usize,
        piece: usize,
        output: Rc<RefCell<Vec<u8>>>,
    }

    impl Read for Bytewise {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.fill_buf()?.len().min(buffer.len());
            buffer[..read].copy_from_slice(&self.input[self.at..self.at + read]);
            self.at += read;
            Ok(read)
        }
    }

    impl BufRead for Bytewise {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            Ok(self.buffered())
        }

        fn consume(&mut self, amount: usize) {
            self.at += amount;
        }
    }

    impl Client for Bytewise {
        fn buffered(&self) -> &[u8] {
            let left = &self.input[self.at..];
            &left[..left.len().min(self.piece)]
        }

        fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
            self.output.borrow_mut().extend_from_slice(data);
            Ok(())
        }

        fn close_gently(&mut self) {}
    }

    pub fn answers(data: &[u8], piece: usize) -> Vec<u8> {
        MEMORY.limit.store(1 << 20, Ordering::Relaxed);
        let store = Store::default();
        let output = Rc::new(RefCell::new(Vec::new()));
        let client = Bytewise { input: data.to_vec(), at: 0, piece, output: output.clone() };
        let _ = Connection::new(client).serve(|_| false, &store);
        drop(store);
        assert_eq!(MEMORY.used.load(Ordering::Relaxed), 0, "memory is counted that nobody has");
        output.take()
    }
}

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The clock is in the answers of these.
    let text = data.to_ascii_lowercase();
    let timed = [&b"ex"[..], b"px", b"ttl"].iter().any(|word| text.windows(word.len()).any(|w| w == *word));
    let whole = redis::answers(data, usize::MAX);
    for piece in [1, 7] {
        let pieces = redis::answers(data, piece);
        assert!(timed || whole == pieces, "pieces change the answer");
    }
});
