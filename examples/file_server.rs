//! Serves files over plain tokio: HTTP/1.1 with ranges, and a bound on its memory.
//!
//! All connections read ahead into one pool, so 64 MiB are used however many clients there are. A
//! client that hangs up, or takes nothing for 30 seconds, ends its own task alone. Ctrl-C ends the
//! server: answers that have begun get five seconds, and so does the disk.
//!
//! ```text
//! cargo run --release --features tokio --example file_server -- 127.0.0.1:8080 DIRECTORY
//! curl --range 1000-1999 http://127.0.0.1:8080/name
//! ```
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};
use linux_aio::{BufferPool, Driver, File, ReaderOptions};
use std::{env::args, ops::Range, path::PathBuf, pin::pin, sync::Arc, time::Duration};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::{select, signal::ctrl_c, task::JoinSet, time::timeout};

/// Limits the time that a client may take to send a request, or to take a chunk.
const PATIENCE: Duration = Duration::from_secs(30);
/// Limits the time for what is left when the server ends.
const GRACE: Duration = Duration::from_secs(5);
/// Limits the head of a request, in bytes.
const HEAD: u64 = 16 << 10;

struct Server {
    driver: Driver,
    pool: BufferPool,
    root: PathBuf,
}

/// Holds a request, as far as it matters here.
struct Request {
    name: String,
    range: Option<String>,
    is_head: bool,
}

/// Reads the head of a request. `None` if the client has no more.
async fn request(stream: &mut BufReader<TcpStream>) -> Result<Option<Request>> {
    let (mut lines, mut line, mut range) = (stream.take(HEAD), String::new(), None);
    if lines.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let is_head = method == "HEAD";
    ensure!(is_head || method == "GET", "the method {method:?}");
    let name = path.strip_prefix('/').context("a path without a slash")?.to_owned();
    loop {
        line.clear();
        ensure!(lines.read_line(&mut line).await? > 0, "a head without an end");
        let Some((header, value)) = line.trim_end().split_once(':') else {
            return Ok(Some(Request { name, range, is_head }));
        };
        if header.eq_ignore_ascii_case("range") {
            range = value.trim().strip_prefix("bytes=").map(str::to_owned);
        }
    }
}

/// Finds the bytes that a header asks for: `a-b`, `a-` or `-n`. `None` if the file has none of it.
fn part(header: &str, len: u64) -> Option<Range<u64>> {
    let range = match header.split_once('-')? {
        ("", last) => len.saturating_sub(last.parse().ok()?)..len,
        (first, "") => first.parse().ok()?..len,
        (first, last) => first.parse().ok()?..last.parse::<u64>().ok()?.saturating_add(1).min(len),
    };
    (!range.is_empty()).then_some(range)
}

async fn send(stream: &mut BufReader<TcpStream>, bytes: &[u8]) -> Result<()> {
    timeout(PATIENCE, stream.write_all(bytes)).await.context("the client takes nothing")??;
    Ok(())
}

/// Opens a file of the directory. No path leads out of it: a name has no slash.
async fn open(server: &Server, name: &str) -> Option<(File, u64)> {
    if name.contains('/') {
        return None;
    }
    let file = File::open(&server.driver, server.root.join(name)).await.ok()?;
    let metadata = file.metadata().ok().filter(|it| it.is_file())?;
    Some((file, metadata.len()))
}

async fn answer(server: &Server, stream: &mut BufReader<TcpStream>, asked: Request) -> Result<()> {
    const NOTHING: &str = "Content-Length: 0\r\n\r\n";
    let Some((file, len)) = open(server, &asked.name).await else {
        return send(stream, format!("HTTP/1.1 404 Not Found\r\n{NOTHING}").as_bytes()).await;
    };
    let wanted = asked.range.as_deref().map_or(Some(0..len), |header| part(header, len));
    let Some(range) = wanted else {
        return send(stream, format!("HTTP/1.1 416 No Such Range\r\n{NOTHING}").as_bytes()).await;
    };
    let (Range { start, end }, last) = (range.clone(), range.end.saturating_sub(1));
    let status = match asked.range {
        None => "200 OK\r\n".to_owned(),
        Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {start}-{last}/{len}\r\n"),
    };
    let more = format!("Content-Length: {}\r\nAccept-Ranges: bytes\r\n\r\n", end - start);
    send(stream, format!("HTTP/1.1 {status}{more}").as_bytes()).await?;
    // A client that takes nothing keeps three buffers at most.
    let options = ReaderOptions::new().pool(server.pool.clone()).depth(2);
    let mut reader = file.reader_with(if asked.is_head { 0..0 } else { range }, options);
    while let Some(chunk) = reader.next_chunk().await? {
        send(stream, &chunk).await?; // The buffer of the read itself.
    }
    Ok(())
}

async fn serve(server: Arc<Server>, stream: TcpStream) -> Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = timeout(PATIENCE, request(&mut stream)).await?? {
        answer(&server, &mut stream, asked).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let (Some(address), Some(root)) = (args().nth(1), args().nth(2)) else {
        bail!("usage: file_server ADDRESS DIRECTORY")
    };
    let pool = BufferPool::new(256, 256 << 10, 4096)?;
    let driver = linux_aio::tokio::driver(128)?;
    let server = Arc::new(Server { driver, pool, root: root.into() });
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let (mut clients, mut end) = (JoinSet::new(), pin!(ctrl_c()));
    loop {
        let (stream, client) = select! {
            accepted = listener.accept() => accepted?,
            Some(_) = clients.join_next() => continue,
            _ = &mut end => break,
        };
        let server = Arc::clone(&server);
        clients.spawn(async move {
            if let Err(error) = serve(server, stream).await {
                eprintln!("{client}: {error:#}");
            }
        });
    }
    drop(listener);
    let _ = timeout(GRACE, async { while clients.join_next().await.is_some() {} }).await;
    // The tasks that are left end at once. The driver keeps their buffers while the disk has them.
    clients.shutdown().await;
    Ok(server.driver.clone().close_within(GRACE).await?)
}
