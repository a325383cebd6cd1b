//! The server on tokio: a task for each connection.

use super::{BURNERS, DEADLINE, Group, HOG, ROOM, SLICE, Service, WORK, announce, answer, burn};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub fn serve(service: Service, workers: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    let main = async move {
        let listener = TcpListener::bind(crate::peers::ANY).await?;
        announce(listener.local_addr()?.port());
        if service == Service::Burn {
            for _ in 0..BURNERS {
                tokio::spawn(async {
                    loop {
                        burn(SLICE);
                        tokio::task::yield_now().await;
                    }
                });
            }
        }
        for _ in 0..service.hogs() {
            tokio::spawn(async {
                loop {
                    tokio::time::sleep(HOG.1).await;
                    burn(HOG.0);
                }
            });
        }
        for number in 0.. {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A reset by the client is an end like any other.
            let group = (number % workers) as Group;
            tokio::spawn(async move { drop(handle(service, stream, group).await) });
        }
        Ok(())
    };
    // Spawned, since `block_on` would run it on this thread, which is no worker.
    runtime.block_on(runtime.spawn(main)).expect("it ends well")
}

async fn handle(service: Service, mut stream: TcpStream, group: Group) -> io::Result<()> {
    let (mut buffer, mut output) = ([0; ROOM], Vec::new());
    let mut grouped = false;
    loop {
        let read = stream.read(&mut buffer);
        let n = if service == Service::Deadline {
            tokio::time::timeout(DEADLINE, read).await.map_err(io::Error::from)??
        } else {
            read.await?
        };
        if n == 0 {
            return Ok(());
        }
        match service {
            Service::Http => {
                answer(&buffer[..n], &mut output);
                stream.write_all(&output).await?;
            }
            Service::Skewed => {
                burn(WORK);
                output.clear();
                output.extend_from_slice(&buffer[..n]);
                if !std::mem::replace(&mut grouped, true) {
                    output.push(group);
                }
                stream.write_all(&output).await?;
            }
            _ => stream.write_all(&buffer[..n]).await?,
        }
        if service == Service::Once {
            return Ok(());
        }
    }
}
