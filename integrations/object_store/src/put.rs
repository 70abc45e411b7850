//! Puts: the bytes go to a file beside the object, which then takes its name.

use crate::{AioStore, generic};
use bytes::Bytes;
use linux_aio::File;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, ObjectStore, PutMode, PutOptions, PutPayload, PutResult, Result,
};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path as FsPath, PathBuf};

/// Puts an object. As in the local store without `with_fsync`, a crash of the machine may lose it.
///
/// The entity tag is that of the object that has the name afterwards. If somebody else puts at the
/// same time, it may be theirs.
pub(crate) async fn put(
    store: &AioStore,
    location: &Path,
    payload: PutPayload,
    options: PutOptions,
) -> Result<PutResult> {
    let is_new = match options.mode {
        PutMode::Overwrite => false,
        PutMode::Create => true,
        PutMode::Update(_) => return Err(not_implemented(store, "PutMode::Update")),
    };
    if !options.attributes.is_empty() {
        return Err(not_implemented(store, "attributes"));
    }
    let path = store.local.path_to_filesystem(location)?;
    let (file, staged) = Staged::create(store, &path).await?;
    let len = payload.content_length();
    let (result, _payload) = file.writev_at(payload.into_iter().collect::<Vec<Bytes>>(), 0).await;
    if result.map_err(generic)? < len {
        return Err(generic(ErrorKind::WriteZero.into()));
    }
    file.close().await.map_err(generic)?;
    blocking(move || staged.publish(&path, is_new)).await.map_err(|source| {
        match source.kind() {
            ErrorKind::AlreadyExists => {
                Error::AlreadyExists { path: location.to_string(), source: source.into() }
            }
            _ => generic(source),
        }
    })?;
    let found = store.local.get_opts(location, GetOptions::new().with_head(true)).await?;
    Ok(PutResult { e_tag: found.meta.e_tag, version: None, extensions: Default::default() })
}

fn not_implemented(store: &AioStore, what: &str) -> Error {
    Error::NotImplemented { operation: format!("put with {what}"), implementer: store.to_string() }
}

/// A file that is no object yet. It is removed unless it becomes one.
struct Staged(PathBuf);

impl Staged {
    /// Creates a file beside `path`, under a name that listings leave out.
    ///
    /// A thread makes file and guard together, so a put that is dropped meanwhile leaves no file.
    async fn create(store: &AioStore, path: &FsPath) -> Result<(File, Self)> {
        let path = path.to_owned();
        let staged = blocking(move || Self::create_at(&path)).await.map_err(generic)?;
        let file = File::options().write(true).open(&store.driver, &staged.0).await;
        Ok((file.map_err(generic)?, staged))
    }

    fn create_at(path: &FsPath) -> io::Result<Self> {
        for number in 1u32.. {
            let mut name = path.as_os_str().to_owned();
            name.push(format!("#{number}"));
            match fs::File::create_new(&name) {
                Ok(_) => return Ok(Self(name.into())),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    fs::create_dir_all(path.parent().unwrap_or(FsPath::new("/")))?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    fn publish(self, path: &FsPath, is_new: bool) -> io::Result<()> {
        if is_new {
            return fs::hard_link(&self.0, path);
        }
        fs::rename(&self.0, path)?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Nobody can be told that it failed. The next put takes another name.
        let _ = fs::remove_file(&self.0);
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.map_err(io::Error::other)?
}
