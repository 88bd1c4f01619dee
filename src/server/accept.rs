//! The accept loop: connections within limits, slow clients cut off, a graceful end.
//!
//! `axum::serve` has neither a header timeout nor a limit of connections, so connections are driven here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tower::Service;

use super::{AppState, ServerConfig, router};
use crate::collection::{Catalogue, CatalogueError, Reload};

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Others could reach it without a key.
    #[error(
        "{address} can be reached from other machines and no keys are set: set keys, listen on 127.0.0.1, or set `allow_public_without_keys`"
    )]
    PublicWithoutKeys {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// The address is not to be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The listener's address is not known.
    #[error("the listener has no address: {0}")]
    Address(io::Error),
    /// A collection did not open.
    #[error(transparent)]
    Start(Box<CatalogueError>),
    /// A thread did not start.
    #[error("cannot start the server's threads: {0}")]
    Threads(io::Error),
    /// Searches cannot be recorded.
    #[error("cannot make the directory of recorded searches: {0}")]
    Record(io::Error),
}

/// Binds the configured address, unless it is public and there are no keys.
pub async fn bind(config: &ServerConfig) -> Result<TcpListener, ServerError> {
    check_address(config, config.listen)?;
    TcpListener::bind(config.listen)
        .await
        .map_err(|source| ServerError::Listen { address: config.listen, source })
}

fn check_address(config: &ServerConfig, address: SocketAddr) -> Result<(), ServerError> {
    let private = address.ip().to_canonical().is_loopback();
    if private || config.keys.is_some() || config.allow_public_without_keys {
        Ok(())
    } else {
        Err(ServerError::PublicWithoutKeys { address })
    }
}

/// Starts the catalogue, if nobody has, while the probes are answered already; serves until `shutdown` comes; then finishes the running requests, at most for `shutdown_timeout`.
pub async fn serve(
    config: ServerConfig,
    catalogue: Arc<Catalogue>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServerError> {
    check_address(&config, listener.local_addr().map_err(ServerError::Address)?)?;
    let state = AppState::new(config, Arc::clone(&catalogue))?;
    let mut starting = start(&catalogue, state.config.verify_at_start)?;
    let reloading = tokio::spawn(reload(Arc::clone(&catalogue), state.config.reload_every));
    let verifying = verify(&state, Arc::clone(&catalogue)).inspect_err(|_| catalogue.stop_start())?;
    let connections = GracefulShutdown::new();

    let mut failed = None;
    let end = async {
        tokio::select! {
            () = shutdown => {}
            error = failure(&mut starting) => failed = Some(error),
        }
    };
    accept(&state, &listener, &connections, end).await;

    state.stop();
    catalogue.stop_start();
    if !starting.is_terminated() {
        // It ends at its next step; what it says of that is no news.
        let _ = starting.await;
    }
    reloading.abort();
    // It is over, or was cut off: either way it holds the directory no more.
    let _ = reloading.await;
    // It looks at the stop after every block; a thread that panicked has nothing left to do.
    let _ = tokio::task::spawn_blocking(move || verifying.join()).await;
    drop(listener);
    let limit = state.config.shutdown_timeout;
    if tokio::time::timeout(limit, connections.shutdown()).await.is_err() {
        tracing::warn!(seconds = limit.as_secs_f64(), "requests still ran at the end of shutdown_timeout");
    }
    // A panic there has been told; what was answered is in the log.
    let _ = tokio::task::spawn_blocking(move || catalogue.close()).await;
    failed.map_or(Ok(()), Err)
}

type Starting = oneshot::Receiver<Result<(), CatalogueError>>;

/// In a thread of its own: a task that blocks would wait for ever where tokio gets no more threads.
fn start(catalogue: &Arc<Catalogue>, verify: bool) -> Result<Starting, ServerError> {
    let catalogue = Arc::clone(catalogue);
    let (tell, told) = oneshot::channel();
    let work = move || {
        if catalogue.starting().is_none() {
            return Ok(());
        }
        let began = Instant::now();
        catalogue.start(verify)?;
        tracing::info!(seconds = began.elapsed().as_secs_f64(), "ready");
        Ok(())
    };
    let thread = std::thread::Builder::new().name("start".into());
    // Nobody listens any more only where serving has ended.
    thread.spawn(move || drop(tell.send(work()))).map_err(ServerError::Threads)?;
    Ok(told)
}

/// Comes when a start has failed, and never otherwise.
async fn failure(starting: &mut Starting) -> ServerError {
    match starting.await {
        Ok(Ok(())) => std::future::pending().await,
        Ok(Err(error)) => ServerError::Start(Box::new(error)),
        Err(_) => ServerError::Threads(io::Error::other("the one that starts the collections panicked")),
    }
}

async fn accept(
    state: &Arc<AppState>,
    listener: &TcpListener,
    connections: &GracefulShutdown,
    shutdown: impl Future<Output = ()>,
) {
    let limits = &state.config.limits;
    let slots = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let builder = builder(limits.header_timeout);
    let router = router(Arc::clone(state));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut shutdown => return,
            next = next => next,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the client went away at once: others may still come in later.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let began = Arc::new(AtomicBool::new(false));
        let service = Began { router: router.clone(), began: Arc::clone(&began) };
        let connection = builder.serve_connection(
            TokioIo::new(prepared(stream, limits.request_timeout)),
            TowerToHyperService::new(service),
        );
        let connection = connections.watch(connection.into_owned());
        let timeout = limits.header_timeout;
        tokio::spawn(async move {
            drive(connection, &began, timeout).await;
            drop(slot);
        });
    }
}

fn builder(header_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(header_timeout)
        .keep_alive_timeout(header_timeout)
        .max_concurrent_streams(128)
        .max_header_list_size(64 << 10);
    builder
}

/// Answers go out at once, and to a client that takes nothing of one for so long no more: the kernel ends the connection.
fn prepared(stream: TcpStream, taking: Duration) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let millis = u32::try_from(taking.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, millis) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT could not be set");
    }
    stream
}

/// Drives a connection; one that sends no whole request within the header timeout is cut off. The builder's own
/// timeout starts only when it knows which HTTP is spoken.
async fn drive<E: std::fmt::Display>(
    connection: impl Future<Output = Result<(), E>>,
    began: &AtomicBool,
    timeout: Duration,
) {
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = tokio::time::sleep(timeout) => {
            if !began.load(Ordering::Acquire) {
                return;
            }
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// The router, noting that a first request has come.
#[derive(Clone)]
struct Began {
    router: Router,
    began: Arc<AtomicBool>,
}

impl<B> Service<Request<B>> for Began
where
    Router: Service<Request<B>>,
{
    type Response = <Router as Service<Request<B>>>::Response;
    type Error = <Router as Service<Request<B>>>::Error;
    type Future = <Router as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.router.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.began.store(true, Ordering::Release);
        self.router.call(request)
    }
}

/// Starts the thread that slowly verifies whatever is served.
fn verify(
    state: &Arc<AppState>,
    catalogue: Arc<Catalogue>,
) -> Result<std::thread::JoinHandle<()>, ServerError> {
    let state = Arc::clone(state);
    let rounds = move || {
        while !state.is_stopping() {
            // While the server starts, it verifies by itself.
            let collections = if catalogue.starting().is_some() { Vec::new() } else { catalogue.all() };
            for collection in collections {
                let (new, before) = (!collection.is_verified(), collection.unread());
                collection.verify_slowly(state.config.verify_bytes_per_second, &|| state.is_stopping());
                if let Some(unread) = collection.unread().filter(|unread| before.as_ref() != Some(unread)) {
                    tracing::error!(collection = %collection.name(), unread, "blocks of the index file; they are tried again");
                }
                match collection.damage() {
                    Some(damage) if new => {
                        tracing::error!(collection = %collection.name(), damage, "the index file is damaged; searches of it fail");
                    }
                    None if new && collection.is_verified() => {
                        tracing::info!(collection = %collection.name(), "every block of the index file is verified");
                    }
                    _ => {}
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    std::thread::Builder::new().name("verify".into()).spawn(rounds).map_err(ServerError::Threads)
}

/// Takes up what is published, every so often. A failure that stays is told once.
async fn reload(catalogue: Arc<Catalogue>, every: Duration) {
    let mut told = String::new();
    loop {
        tokio::time::sleep(every).await;
        if catalogue.starting().is_some() {
            continue;
        }
        let catalogue = Arc::clone(&catalogue);
        let Ok(report) = tokio::task::spawn_blocking(move || catalogue.reload()).await else { continue };
        tell(&report, &mut told);
    }
}

fn tell(report: &Reload, told: &mut String) {
    for name in &report.opened {
        tracing::info!(collection = %name, "a newly published index is served");
    }
    for name in &report.removed {
        tracing::info!(collection = %name, "the collection is gone");
    }
    let failed: Vec<String> = report.failed.iter().map(ToString::to_string).collect();
    let failed = failed.join("; ");
    if failed != *told && !failed.is_empty() {
        tracing::error!(error = failed, "a published index does not open; the one before is still served");
    }
    *told = failed;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_needs_keys_or_a_flag() {
        let config = ServerConfig::default();
        let check =
            |config: &ServerConfig, address: &str| check_address(config, address.parse().unwrap()).is_ok();
        for private in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(check(&config, private), "{private}");
        }
        let open = ServerConfig { allow_public_without_keys: true, ..ServerConfig::default() };
        for public in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert!(!check(&config, public), "{public}");
            assert!(check(&open, public), "{public}");
        }
    }
}
