//! A server of one file, asked by hyper's own client.

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use linux_aio::{BufferPool, File, ReaderOptions};
use linux_aio_with_hyper::{PER_CLIENT, chunks, connections, respond};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

const CHUNK: usize = 64 << 10;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Server {
    at: std::net::SocketAddr,
    pool: BufferPool,
    path: PathBuf,
    file: File,
    _directory: tempfile::TempDir,
}

impl Server {
    /// Serves a file of `len` bytes from a pool of four buffers.
    async fn start(len: usize) -> Result<Self> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let path = directory.path().join("file");
        fs::write(&path, pattern(len))?;
        let driver = linux_aio::tokio::driver(32)?;
        let file = File::open(&driver, &path).await?;
        let pool = BufferPool::new(PER_CLIENT + 1, CHUNK, 4096)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        tokio::spawn({
            let (file, pool) = (file.clone(), pool.clone());
            async move {
                loop {
                    let (stream, _) = listener.accept().await?;
                    let (file, pool) = (file.clone(), pool.clone());
                    let service = service_fn(move |request| {
                        std::future::ready(respond(&request, &file, &pool))
                    });
                    let connection = connections().serve_connection(TokioIo::new(stream), service);
                    // A client that hangs up is no concern of the others.
                    tokio::spawn(async { connection.await.ok() });
                }
                #[allow(unreachable_code, reason = "it is the type of the task")]
                io::Result::Ok(())
            }
        });
        Ok(Self { at, pool, path, file, _directory: directory })
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>> {
        let stream = TokioIo::new(TcpStream::connect(self.at).await?);
        let (sender, connection) = handshake(stream).await?;
        tokio::spawn(async { connection.await.ok() });
        Ok(sender)
    }

    /// Asks once, with a `Range` header if there is one.
    async fn ask(&self, method: Method, range: &str) -> Result<Response<Bytes>> {
        let mut request = Request::builder().method(method).header("host", "here");
        if !range.is_empty() {
            request = request.header(RANGE, range);
        }
        let response = self.connect().await?.send_request(request.body(Empty::new())?).await?;
        let (parts, body) = response.into_parts();
        Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
    }

    /// Waits until each buffer is in the pool again.
    async fn has_its_buffers(&self) {
        self.has_buffers(self.pool.capacity()).await;
    }

    async fn has_buffers(&self, count: usize) {
        while self.pool.available() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Goal: a body is the file, or the part that was asked for, to the byte.
#[tokio::test]
async fn bodies_are_what_was_asked_for() -> Result {
    const LEN: usize = 1_000_003;
    let (server, content) = (Server::start(LEN).await?, pattern(LEN));
    for (range, expected) in [
        ("", None),
        ("bytes=0-", Some(0..LEN)),
        ("bytes=0-0", Some(0..1)),
        ("bytes=65535-65536", Some(65535..65537)),
        ("bytes=131072-196607", Some(131_072..196_608)),
        ("bytes=777-900000", Some(777..900_001)),
        ("bytes=-5", Some(LEN - 5..LEN)),
        ("bytes=1000002-9999999", Some(LEN - 1..LEN)),
        // Several ranges, and what is no range: the whole, as the standard allows.
        ("bytes=0-1,5-6", None),
        ("lines=1-2", None),
    ] {
        let response = server.ask(Method::GET, range).await?;
        let part = expected.clone().unwrap_or(0..LEN);
        assert!(response.body() == &content[part.clone()], "{range}");
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let status = match expected {
            Some(_) => {
                let text = format!("bytes {}-{}/{LEN}", part.start, part.end - 1);
                assert_eq!(header(CONTENT_RANGE), Some(&text[..]));
                StatusCode::PARTIAL_CONTENT
            }
            None => StatusCode::OK,
        };
        assert_eq!(response.status(), status, "{range}");
        assert_eq!(header(CONTENT_LENGTH), Some(&part.len().to_string()[..]));
    }
    let response = server.ask(Method::GET, "bytes=1000003-").await?;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(response.headers()[CONTENT_RANGE], "bytes */1000003");
    let response = server.ask(Method::HEAD, "").await?;
    assert_eq!(response.headers()[CONTENT_LENGTH], "1000003");
    assert!(response.body().is_empty());
    assert_eq!(server.ask(Method::POST, "").await?.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(Server::start(0).await?.ask(Method::GET, "").await?.body().is_empty());
    server.has_its_buffers().await;
    Ok(())
}

/// Goal: what is given to the socket is the buffer of the pool itself, and it goes back with the
/// last part of it.
#[tokio::test]
async fn a_pooled_buffer_becomes_bytes_without_a_copy() -> Result {
    let server = Server::start(3 * CHUNK).await?;
    let options = ReaderOptions::new().pool(server.pool.clone());
    let chunk = server.file.reader_with(5.., options).next_chunk().await?.expect("a chunk");
    let address = chunk.as_ptr();
    assert_eq!(Bytes::from_owner(chunk).as_ptr(), address);

    let mut chunks = Box::pin(chunks(&server.file, server.pool.clone(), 5..150_000));
    let first = chunks.next().await.expect("a piece")?;
    let part = first.slice(10..20);
    drop(first);
    drop(chunks);
    // The read ahead may be in flight, and keeps its buffer until it has ended.
    server.has_buffers(PER_CLIENT).await;
    assert_eq!(server.pool.available(), PER_CLIENT);
    assert_eq!(&part[..], &pattern(100)[15..25]);
    drop(part);
    assert_eq!(server.pool.available(), PER_CLIENT + 1);
    Ok(())
}

/// Goal: more clients than buffers are served, clients that do not read take a bounded memory and
/// no one's turn for ever, and those that hang up give all back.
#[tokio::test]
async fn memory_is_bounded_and_comes_back() -> Result {
    const LEN: usize = 40 << 20;
    let server = Server::start(LEN).await?;
    let content = pattern(LEN);
    // It asks for all, reads nothing, and hangs up later.
    let mut idle = server.connect().await?;
    let request = Request::builder().header("host", "here").body(Empty::new())?;
    let stuck = idle.send_request(request).await?;
    let clients = (0..8).map(|i| {
        let (server, content) = (&server, &content);
        async move {
            let start = i * 1_000_003;
            let range = format!("bytes={start}-{}", start + 2_000_000);
            let response = server.ask(Method::GET, &range).await?;
            assert!(response.body() == &content[start..start + 2_000_001], "{range}");
            Result::Ok(())
        }
    });
    futures::future::try_join_all(clients).await?;
    assert!(server.pool.available() < server.pool.capacity(), "the idle client holds none");
    drop((stuck, idle));
    server.has_its_buffers().await;
    Ok(())
}

/// Goal: a file that is cut in the middle of a body ends the connection, and is not taken for
/// whole.
#[tokio::test]
async fn a_file_that_is_cut_is_an_error_to_the_client() -> Result {
    let server = Server::start(8 << 20).await?;
    let mut sender = server.connect().await?;
    let request = Request::builder().header("host", "here").body(Empty::new())?;
    let response = sender.send_request(request).await?;
    fs::OpenOptions::new().write(true).open(&server.path)?.set_len(1000)?;
    assert!(response.into_body().collect().await.is_err());
    server.has_its_buffers().await;
    Ok(())
}
