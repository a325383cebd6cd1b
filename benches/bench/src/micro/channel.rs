//! Values through one channel with room for 128: 1 sender to 1 receiver, 2 to 2, 16 to 1. tokio's channel has
//! one receiver; `may`'s has no bound.

use super::{Channels, Meter, Outcome, Size};

const ROOM: usize = 128;

pub fn blocking<P: Channels>(size: Size) -> Outcome {
    let each = size.ops.div_ceil(size.tasks);
    let (senders, receivers) = P::channel::<u64>(ROOM, size.tasks as usize, size.partners as usize);
    let meter = Meter::start();
    let receive = |receiver| {
        P::spawn(move || {
            let (mut count, mut sum) = (0, 0);
            while let Some(n) = P::recv(&receiver) {
                (count, sum) = (count + 1, sum + n);
            }
            (count, sum)
        })
    };
    let send = |sender| {
        P::spawn(move || {
            for n in 0..each {
                P::send(&sender, n);
            }
        })
    };
    let receiving: Vec<_> = receivers.into_iter().map(receive).collect();
    let sending: Vec<_> = senders.into_iter().map(send).collect();
    sending.into_iter().for_each(P::join);
    let got = receiving.into_iter().map(P::join).fold((0, 0), |a: (u64, u64), b| (a.0 + b.0, a.1 + b.1));
    check(got, each, size);
    meter.stop(got.0)
}

pub async fn tokio(size: Size) -> Outcome {
    assert_eq!(size.partners, 1, "tokio's channel has one receiver");
    let each = size.ops.div_ceil(size.tasks);
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<u64>(ROOM);
    let meter = Meter::start();
    let receiving = tokio::spawn(async move {
        let (mut count, mut sum) = (0, 0);
        while let Some(n) = receiver.recv().await {
            (count, sum) = (count + 1, sum + n);
        }
        (count, sum)
    });
    let send = |sender: tokio::sync::mpsc::Sender<u64>| async move {
        for n in 0..each {
            sender.send(n).await.expect("the receiver is there");
        }
    };
    let sending: Vec<_> = (0..size.tasks).map(|_| tokio::spawn(send(sender.clone()))).collect();
    drop(sender);
    for handle in sending {
        handle.await.expect("it only sends");
    }
    let got = receiving.await.expect("it only counts");
    check(got, each, size);
    meter.stop(got.0)
}

fn check((count, sum): (u64, u64), each: u64, size: Size) {
    assert_eq!(count, each * size.tasks, "each value has come once");
    assert_eq!(sum, size.tasks * (each * (each - 1) / 2), "the receivers have got what was sent");
}
