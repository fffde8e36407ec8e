//! Letting connections in at a door, and showing them out in order.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;

use tokio::net::TcpStream;
use tokio::task::JoinError;
use tokio::task::JoinSet;

use super::Acceptor;

/// Lets clients in until `stop`, and gives each connection that ends to `reap`; answers those that there still
/// are. `admit` spawns a connection's task, or does not.
pub(crate) async fn attend<T: 'static>(
    mut acceptor: Acceptor,
    stop: impl Future<Output = ()>,
    admit: impl Fn(TcpStream, SocketAddr, &mut JoinSet<T>),
    reap: impl Fn(Result<T, JoinError>),
) -> JoinSet<T> {
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = stop.as_mut() => return connections,
            (socket, address) = acceptor.accept() => admit(socket, address, &mut connections),
            Some(ended) = connections.join_next() => reap(ended),
        }
    }
}

/// Waits until nobody is let in at any door, then for the connections that are left, until `patience`, first
/// polled then, ends. Cuts the rest, and answers how many they were.
pub(crate) async fn show_out<T: 'static>(
    mut attended: JoinSet<JoinSet<T>>,
    patience: impl Future<Output = ()>,
    reap: impl Fn(Result<T, JoinError>),
) -> usize {
    let mut left = Vec::new();
    while let Some(ended) = attended.join_next().await {
        match ended {
            Ok(connections) => left.push(connections),
            Err(error) => tracing::error!(%error, "a listener's task panicked"),
        }
    }
    let drained = async {
        for connections in &mut left {
            while let Some(ended) = connections.join_next().await {
                reap(ended);
            }
        }
    };
    tokio::select! {
        () = drained => return 0,
        () = patience => {}
    }
    let count = left.iter().map(JoinSet::len).sum();
    for mut connections in left {
        connections.shutdown().await;
    }
    count
}
