//! A tree of coroutines, ten children to a node, whose leaves send their numbers up. Measures the time for
//! each leaf. The number of leaves is the greatest power of ten that is at most `ops`.

use super::{Meter, Outcome, Peer, Size};

const CHILDREN: u64 = 10;

fn leaves(size: Size) -> u64 {
    CHILDREN.pow(size.ops.ilog10())
}

fn node<P: Peer>(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let below = leaves / CHILDREN;
    let spawn = |n| P::spawn(move || node::<P>(first + n * below, below));
    let children: Vec<_> = (0..CHILDREN).map(spawn).collect();
    children.into_iter().map(P::join).sum()
}

pub fn blocking<P: Peer>(size: Size) -> Outcome {
    let leaves = leaves(size);
    let meter = Meter::start();
    let sum = P::join(P::spawn(move || node::<P>(0, leaves)));
    assert_eq!(sum, leaves * (leaves - 1) / 2);
    meter.stop(leaves)
}

fn tokio_node(first: u64, leaves: u64) -> std::pin::Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if leaves == 1 {
            return first;
        }
        let below = leaves / CHILDREN;
        let spawn = |n| tokio::spawn(tokio_node(first + n * below, below));
        let children: Vec<_> = (0..CHILDREN).map(spawn).collect();
        let mut sum = 0;
        for child in children {
            sum += child.await.expect("it only adds");
        }
        sum
    })
}

pub async fn tokio(size: Size) -> Outcome {
    let leaves = leaves(size);
    let meter = Meter::start();
    let sum = tokio::spawn(tokio_node(0, leaves)).await.expect("it only adds");
    assert_eq!(sum, leaves * (leaves - 1) / 2);
    meter.stop(leaves)
}
