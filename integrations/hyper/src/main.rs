//! A file sent by hyper over the loopback device, beside a body of `tokio::fs::File`.

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use linux_aio::{BufferPool, File};
use linux_aio_with_hyper::{Body, PER_CLIENT, connections, respond};
use measure::{Result, Work, compare, make_cold};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const LEN: u64 = 256 << 20;
const CHUNK: usize = 256 << 10;

/// The body as it is without [`linux_aio`]: read by tokio's threads, as large a piece at a time.
async fn by_tokio(path: &Path) -> io::Result<Response<Body>> {
    let file = tokio::fs::File::open(path).await?;
    let pieces = stream::try_unfold(file, |mut file| async move {
        let mut buf = Vec::with_capacity(CHUNK);
        (&mut file).take(CHUNK as u64).read_to_end(&mut buf).await?;
        io::Result::Ok((!buf.is_empty()).then(|| (Frame::data(Bytes::from(buf)), file)))
    });
    let response = Response::builder().header("content-length", LEN);
    response.body(StreamBody::new(pieces).boxed_unsync()).map_err(io::Error::other)
}

/// Asks for the whole and counts its bytes.
fn download(at: std::net::SocketAddr, path: &str) -> Result {
    let mut stream = TcpStream::connect(at)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")?;
    let (mut buf, mut bytes) = (vec![0; 1 << 20], 0);
    loop {
        match stream.read(&mut buf)? {
            0 => break,
            count => bytes += count as u64,
        }
    }
    assert!((LEN..LEN + 1000).contains(&bytes), "{bytes}");
    Ok(())
}

fn main() -> Result {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR"))?;
    let path: Arc<Path> = directory.path().join("file").into();
    std::fs::write(&path, vec![1; LEN as usize])?;
    let std_file = std::fs::File::open(&path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let at = listener.local_addr()?;
    let served = Arc::clone(&path);
    thread::spawn(move || {
        runtime.block_on(async {
            let driver = linux_aio::tokio::driver(32)?;
            let file = File::open(&driver, &*served).await?;
            let pool = BufferPool::new(8 * PER_CLIENT, CHUNK, 4096)?;
            loop {
                let (stream, _) = listener.accept().await?;
                let (file, pool, path) = (file.clone(), pool.clone(), Arc::clone(&served));
                let service = service_fn(move |request: Request<_>| {
                    let (file, pool, path) = (file.clone(), pool.clone(), Arc::clone(&path));
                    async move {
                        match request.uri().path() {
                            "/tokio" => by_tokio(&path).await,
                            _ => respond(&request, &file, &pool),
                        }
                    }
                });
                let connection = connections().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async { connection.await.ok() });
            }
            #[allow(unreachable_code, reason = "it is the type of the task")]
            io::Result::Ok(())
        })
    });
    for clients in [1, 4] {
        let get = |path: &str| {
            make_cold(&std_file)?;
            thread::scope(|threads| {
                let clients = (0..clients).map(|_| {
                    threads.spawn(|| download(at, path).map_err(|error| error.to_string()))
                });
                let clients: Vec<_> = clients.collect();
                clients.into_iter().try_for_each(|client| client.join().expect("a client"))
            })?;
            Ok(())
        };
        let what = format!("a file of 256 MiB, cold, to {clients} at a time");
        let amount = LEN as f64 * f64::from(clients) / 1e6;
        let work = Work { with: "hyper 1", what: &what, amount, unit: "MB" };
        compare(work, ("`tokio::fs::File`", || get("/tokio")), || get("/"))?;
    }
    Ok(())
}
