//! What the network promises, with seeds where chance decides.

use super::*;
use std::net::Ipv4Addr;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const STREAM: (Family, Kind) = (Family::Internet, Kind::Stream);

fn network(seed: u64) -> Network {
    let mut network = Network::new(seed);
    network.add_host(1);
    network.add_host(2);
    network
}

fn open(network: &mut Network, host: HostId, (family, kind): (Family, Kind)) -> SocketId {
    network.open(host, family, kind).expect("opened")
}

fn at(host: HostId, port: u16) -> Address {
    Address::Internet(SocketAddrV4::new(address_of(host), port))
}

/// Lets everything happen that is planned, up to a time.
fn run_until(network: &mut Network, end: u64) {
    while let Some(next) = network.next_event()
        && next <= end
    {
        network.advance(next);
    }
    network.advance(end);
}

fn run_for(network: &mut Network, time: u64) {
    run_until(network, network.now + time);
}

fn listener(network: &mut Network, host: HostId, port: u16, backlog: usize) -> SocketId {
    let id = open(network, host, STREAM);
    let any = Address::Internet(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    network.bind(id, any).expect("bound");
    network.listen(id, backlog).expect("listens");
    id
}

/// A connection from host 1 to host 2: the client's end and the server's.
fn connection(network: &mut Network) -> (SocketId, SocketId) {
    let listener = listener(network, 2, 80, 8);
    let client = open(network, 1, STREAM);
    assert_eq!(network.connect(client, &at(2, 80)), Err(libc::EINPROGRESS));
    run_for(network, SECOND);
    let (server, peer) = network.accept(listener).expect("accepted");
    assert_eq!(network.name(client), Ok(peer));
    (client, server)
}

fn is(network: &Network, id: SocketId, flags: libc::c_short) -> bool {
    network.readiness(id) & flags == flags
}

#[test]
fn a_connection_carries_bytes_both_ways_and_ends() {
    let mut net = network(1);
    let (client, server) = connection(&mut net);
    assert_eq!(net.peer_name(client), Ok(at(2, 80)));
    assert_eq!(net.receive(server, 10, false), Err(libc::EAGAIN));
    assert_eq!(net.send(client, b"hello", None), Ok(5));
    assert_eq!(net.receive(server, 10, false), Err(libc::EAGAIN), "it takes time");
    run_until(&mut net, 2 * SECOND);
    assert!(is(&net, server, libc::POLLIN));
    assert_eq!(net.receive(server, 10, true).expect("peeked").0, b"hello");
    assert_eq!(net.receive(server, 2, false).expect("read").0, b"he");
    assert_eq!(net.receive(server, 10, false).expect("read").0, b"llo");
    net.shutdown(client, false, true).expect("shut");
    run_until(&mut net, 3 * SECOND);
    assert_eq!(net.receive(server, 10, false).expect("the end").0, b"");
    assert_eq!(net.send(server, b"x", None), Ok(1), "the other direction stays open");
    run_until(&mut net, 4 * SECOND);
    assert_eq!(net.receive(client, 10, false).expect("read").0, b"x");
    net.close(client);
    net.close(server);
    run_until(&mut net, 5 * SECOND);
    assert_eq!(net.sockets.len(), 1, "nothing is left but the listener");
}

/// Whatever links and sizes: the bytes arrive in order, none is lost, and the writer waits for the reader.
#[test]
fn all_bytes_arrive_in_order_whatever_the_link_does() {
    for seed in 0..300 {
        let mut net = network(seed);
        let (client, server) = connection(&mut net);
        let link = Link::new()
            .latency(Duration::ZERO, Duration::from_millis(50))
            .loss(0.1)
            .slow(0.1)
            .bandwidth(1_000_000);
        net.set_link(Some((2, 1)), link);
        net.settings().buffer = 1000;
        let mut random = Random::new(seed);
        let data: Vec<u8> = (0..20_000u32).map(|n| (n % 251) as u8).collect();
        let (mut sent, mut got) = (0, Vec::new());
        let mut waits = 0;
        while got.len() < data.len() {
            if sent < data.len() && random.below(2) == 0 {
                let len = 1 + random.below(3000) as usize;
                match net.send(client, &data[sent..data.len().min(sent + len)], None) {
                    Ok(count) => sent += count,
                    Err(errno) => {
                        assert_eq!(errno, libc::EAGAIN);
                        assert!(!is(&net, client, libc::POLLOUT));
                        waits += 1;
                    }
                }
                if sent == data.len() {
                    net.shutdown(client, false, true).expect("shut");
                }
            }
            match net.receive(server, 1 + random.below(900) as usize, false) {
                Ok((bytes, _)) => got.extend(bytes),
                Err(errno) => {
                    assert_eq!(errno, libc::EAGAIN);
                    if let Some(next) = net.next_event() {
                        net.advance(next);
                    }
                }
            }
            assert!(sent - got.len() <= 1000, "more is under way than there is room for");
        }
        assert!(got == data, "seed {seed}");
        assert!(waits > 0, "seed {seed}: the writer never waited");
        run_for(&mut net, 100 * SECOND);
        assert_eq!(net.receive(server, 1, false).expect("the end").0, b"");
    }
}

#[test]
fn a_port_without_listener_refuses_and_a_full_queue_lets_wait() {
    let mut net = network(2);
    let client = open(&mut net, 1, STREAM);
    assert_eq!(net.connect(client, &at(2, 81)), Err(libc::EINPROGRESS));
    assert!(!is(&net, client, libc::POLLOUT));
    run_until(&mut net, SECOND);
    assert!(is(&net, client, libc::POLLOUT | libc::POLLERR));
    assert_eq!(net.take_error(client), Ok(libc::ECONNREFUSED));

    let listener = listener(&mut net, 2, 80, 1);
    let (first, second) = (open(&mut net, 1, STREAM), open(&mut net, 1, STREAM));
    for client in [first, second] {
        assert_eq!(net.connect(client, &at(2, 80)), Err(libc::EINPROGRESS));
        run_for(&mut net, SECOND / 2);
    }
    assert!(is(&net, first, libc::POLLOUT) && !is(&net, second, libc::POLLOUT));
    net.accept(listener).expect("the first");
    run_for(&mut net, 2 * SECOND);
    assert!(is(&net, second, libc::POLLOUT), "its request was sent again");
}

#[test]
fn a_partition_delays_and_then_ends_connections() {
    let mut net = network(3);
    let (client, server) = connection(&mut net);
    net.partition(2, 1);
    net.send(client, b"late", None).expect("sent");
    run_until(&mut net, 20 * SECOND);
    assert_eq!(net.receive(server, 10, false), Err(libc::EAGAIN));
    net.heal(1, 2);
    run_until(&mut net, 60 * SECOND);
    assert_eq!(net.receive(server, 10, false).expect("arrived").0, b"late");

    net.partition(1, 2);
    net.send(client, b"never", None).expect("sent");
    let other = open(&mut net, 1, STREAM);
    assert_eq!(net.connect(other, &at(2, 80)), Err(libc::EINPROGRESS));
    run_for(&mut net, 128 * SECOND);
    assert_eq!(net.take_error(other), Ok(libc::ETIMEDOUT));
    run_for(&mut net, 16 * 60 * SECOND);
    assert_eq!(net.receive(client, 10, false), Err(libc::ETIMEDOUT));
    assert_eq!(net.send(client, b"x", None), Err(libc::EPIPE));
    assert_eq!(net.receive(server, 10, false), Err(libc::EAGAIN), "it has heard nothing");
}

#[test]
fn closing_with_unread_bytes_resets_and_sending_to_a_closed_end_too() {
    let mut net = network(4);
    let (client, server) = connection(&mut net);
    net.send(client, b"unread", None).expect("sent");
    run_for(&mut net, SECOND);
    net.close(server);
    run_for(&mut net, SECOND);
    assert_eq!(net.receive(client, 10, false), Err(libc::ECONNRESET));
    assert_eq!(net.receive(client, 10, false).expect("then the end").0, b"");

    let mut net = network(4);
    let (client, server) = connection(&mut net);
    net.close(server);
    run_for(&mut net, SECOND);
    assert_eq!(net.send(client, b"x", None), Ok(1), "the client knows of one direction only");
    run_for(&mut net, SECOND);
    // As Linux has it, since the client knows that the server has ended.
    assert_eq!(net.send(client, b"x", None), Err(libc::EPIPE));
    assert_eq!(net.receive(client, 10, false).expect("the end").0, b"");
}

/// A packet that is lost again and again waits twice as long each time, and is given up in the end.
#[test]
fn pauses_between_repeated_losses_double() {
    let mut net = network(8);
    let (client, _server) = connection(&mut net);
    run_for(&mut net, SECOND);
    net.set_link(None, Link::new().loss(1.0));
    net.send(client, b"x", None).expect("sent");
    let mut at = net.now;
    for expected in [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
        let next = net.next_event().expect("it is sent again");
        assert_eq!((next - at) / 1_000_000, expected);
        net.advance(next);
        at = next;
    }
    run_for(&mut net, 16 * 60 * SECOND);
    assert_eq!(net.receive(client, 10, false), Err(libc::ETIMEDOUT));
}

#[test]
fn a_close_that_lingers_for_no_time_resets() {
    let mut net = network(9);
    let (client, server) = connection(&mut net);
    let linger = [1i32, 0].map(i32::to_ne_bytes).concat();
    net.options(server).expect("open").insert((libc::SOL_SOCKET, libc::SO_LINGER), linger);
    net.close(server);
    run_for(&mut net, SECOND);
    assert_eq!(net.receive(client, 10, false), Err(libc::ECONNRESET));
}

#[test]
fn listeners_that_share_a_port_share_its_connections() {
    let mut net = network(10);
    let shared = |net: &mut Network| {
        let socket = open(net, 2, STREAM);
        let on = 1i32.to_ne_bytes().to_vec();
        net.options(socket).expect("open").insert((libc::SOL_SOCKET, libc::SO_REUSEPORT), on);
        net.bind(socket, at(2, 80)).expect("shared");
        net.listen(socket, 50).expect("shared");
        socket
    };
    let listeners = [shared(&mut net), shared(&mut net)];
    let alone = open(&mut net, 2, STREAM);
    assert_eq!(net.bind(alone, at(2, 80)), Err(libc::EADDRINUSE));
    for _ in 0..20 {
        let client = open(&mut net, 1, STREAM);
        assert_eq!(net.connect(client, &at(2, 80)), Err(libc::EINPROGRESS));
    }
    run_for(&mut net, SECOND);
    let counts = listeners.map(|listener| std::iter::from_fn(|| net.accept(listener).ok()).count());
    assert!(counts[0] > 2 && counts[1] > 2 && counts[0] + counts[1] == 20, "{counts:?}");
}

#[test]
fn after_a_crash_the_others_see_a_reset_or_silence() {
    let (mut resets, mut silences) = (0, 0);
    for seed in 0..40 {
        let mut net = network(seed);
        let (client, _server) = connection(&mut net);
        net.crash(2);
        run_for(&mut net, SECOND);
        match net.receive(client, 10, false) {
            Err(libc::ECONNRESET) => resets += 1,
            other => {
                assert_eq!(other, Err(libc::EAGAIN));
                silences += 1;
                net.send(client, b"x", None).expect("sent");
                run_for(&mut net, SECOND);
                assert_eq!(net.receive(client, 10, false), Err(libc::EAGAIN), "nobody answers");
                net.restart(2);
                run_for(&mut net, 60 * SECOND);
                assert_eq!(net.receive(client, 10, false), Err(libc::ECONNRESET));
            }
        }
    }
    assert!(resets > 5 && silences > 5);
}

#[test]
fn datagrams_get_lost_overtake_and_arrive_twice() {
    let (mut lost, mut twice, mut overtaken) = (0, 0, 0);
    for seed in 0..50 {
        let mut net = network(seed);
        net.set_link(None, Link::new().loss(0.2).duplicate(0.2));
        let kind = (Family::Internet, Kind::Datagram);
        let (a, b) = (open(&mut net, 1, kind), open(&mut net, 2, kind));
        net.bind(b, at(2, 53)).expect("bound");
        for n in 0..10u8 {
            assert_eq!(net.send(a, &[n], Some(&at(2, 53))), Ok(1));
        }
        run_until(&mut net, SECOND);
        let mut got = Vec::new();
        while let Ok((bytes, from)) = net.receive(b, 100, false) {
            assert!(matches!(from, Address::Internet(from) if *from.ip() == address_of(1)));
            got.push(bytes[0]);
        }
        lost += (0..10).filter(|n| !got.contains(n)).count();
        twice += (0..10).filter(|n| got.iter().filter(|got| *got == n).count() == 2).count();
        overtaken += got.windows(2).filter(|two| two[0] > two[1]).count();
    }
    assert!(lost > 10 && twice > 10 && overtaken > 10, "{lost} {twice} {overtaken}");
}

#[test]
fn a_connected_datagram_socket_hears_that_nobody_is_there() {
    let mut net = network(5);
    let socket = open(&mut net, 1, (Family::Internet, Kind::Datagram));
    net.connect(socket, &at(2, 9)).expect("connected");
    net.send(socket, b"x", None).expect("sent");
    run_until(&mut net, SECOND);
    assert_eq!(net.receive(socket, 1, false), Err(libc::ECONNREFUSED));
    assert_eq!(net.receive(socket, 1, false), Err(libc::EAGAIN));
}

#[test]
fn unix_sockets_stay_within_their_host() {
    let mut net = network(6);
    let name = || Address::Unix(b"/run/socket\0".to_vec());
    let unix = (Family::Unix, Kind::Stream);
    let listener = open(&mut net, 1, unix);
    net.bind(listener, name()).expect("bound");
    net.listen(listener, 5).expect("listens");
    let (near, far) = (open(&mut net, 1, unix), open(&mut net, 2, unix));
    assert_eq!(net.connect(far, &name()), Err(libc::ENOENT));
    assert_eq!(net.connect(near, &name()), Ok(()));
    let (server, _) = net.accept(listener).expect("accepted");
    net.send(near, b"x", None).expect("sent");
    run_until(&mut net, SECOND);
    assert_eq!(net.receive(server, 9, false).expect("read").0, b"x");
}

#[test]
fn descriptors_run_out() {
    let mut net = network(7);
    net.settings().descriptors = 2;
    let first = open(&mut net, 1, STREAM);
    open(&mut net, 1, STREAM);
    assert_eq!(net.open(1, Family::Internet, Kind::Stream), Err(libc::EMFILE));
    net.close(first);
    assert!(net.open(1, Family::Internet, Kind::Stream).is_ok());
}

#[test]
fn the_same_seed_gives_the_same_network() {
    let run = |seed| {
        let mut net = network(seed);
        let (client, server) = connection(&mut net);
        net.set_link(None, Link::new().loss(0.1));
        let mut seen = Vec::new();
        for _ in 0..50 {
            let _ = net.send(client, &[7; 5000], None);
            if let Some(next) = net.next_event() {
                net.advance(next);
            }
            seen.push((net.now, net.receive(server, 4000, false)));
        }
        seen
    };
    for seed in 0..20 {
        assert!(run(seed) == run(seed));
    }
    assert!(run(1) != run(2));
}
