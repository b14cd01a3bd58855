//! Files that others put into a watched folder: only plain files that lie in it, and no more bytes than are allowed.
//!
//! * A link is followed only to a file that lies in the folder itself; `/proc/self/fd` says where an opened file really is, so a path
//!   that is exchanged between looking and opening is noticed.
//! * A FIFO, socket or device is refused without waiting for a process at its other end.
//! * A file that grows while it is read is refused at the limit.
//! * Whatever is wrong with one file is an [`Unread`] of that file; it never hides the others.
//!
//! It reads and never writes, moves or removes. The calls block: use them on a thread that may.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Names of a folder that are looked at in one look at most.
pub const NAMES: usize = 10_000;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("it cannot be opened: {0}; correct its permissions or remove it")]
    Io(#[from] std::io::Error),
    #[error("it is a link out of its folder; put the file itself there")]
    Outside,
    #[error("it is no plain file; remove it")]
    NoFile,
    #[error("it has more than {most} bytes; {remedy}")]
    TooLarge { most: u64, remedy: &'static str },
}

impl Unread {
    /// Whether it was removed or moved in the meantime.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == std::io::ErrorKind::NotFound)
    }
}

/// A file as it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub length: u64,
    pub modified: SystemTime,
}

/// The entries of a folder: every name with the result of looking at it.
pub type Listed = Vec<(PathBuf, Result<Look, Unread>)>;

/// The entries of a folder that `wanted` names, not those of folders below it.
///
/// # Errors
/// The folder itself cannot be read. A fault of one entry is reported with that entry.
pub fn list(folder: &Path, wanted: impl Fn(&OsStr) -> bool) -> std::io::Result<Listed> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !wanted(&entry.file_name()) {
            continue;
        }
        if found.len() >= NAMES {
            tracing::warn!(folder = %folder.display(), NAMES, "a watched folder holds more files than are looked at; remove old ones");
            break;
        }
        let path = entry.path();
        match std::fs::metadata(&path) {
            Ok(about) if about.is_dir() => {}
            Ok(about) => {
                let look = if about.is_file() {
                    about.modified().map_err(Unread::Io).map(|modified| Look {
                        length: about.len(),
                        modified,
                    })
                } else {
                    Err(Unread::NoFile)
                };
                found.push((path, look));
            }
            // It was removed meanwhile, unless it is a link to nothing.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if std::fs::symlink_metadata(&path).is_ok() {
                    found.push((path, Err(Unread::Outside)));
                }
            }
            Err(error) => found.push((path, Err(error.into()))),
        }
    }
    Ok(found)
}

/// Reads a file that lies in `folder`.
///
/// # Errors
/// See [`Unread`]; `remedy` says what to do about a file that is too large.
pub fn read(
    folder: &Path,
    path: &Path,
    most: u64,
    remedy: &'static str,
) -> Result<Vec<u8>, Unread> {
    let folder = folder.canonicalize()?;
    let real = path.canonicalize()?;
    if !real.starts_with(&folder) {
        return Err(Unread::Outside);
    }
    let file = open(&real)?;
    if !where_it_is(&file)?.starts_with(&folder) {
        return Err(Unread::Outside);
    }
    whole(&file, most, remedy)
}

/// Reads a file that the settings name, wherever it lies and whatever links lead to it.
///
/// # Errors
/// See [`Unread`]; `remedy` says what to do about a file that is too large.
pub fn read_named(path: &Path, most: u64, remedy: &'static str) -> Result<Vec<u8>, Unread> {
    whole(&open(path)?, most, remedy)
}

fn open(path: &Path) -> Result<File, Unread> {
    // Without waiting: nobody may be at the other end of a FIFO.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    match file {
        // A socket cannot be opened at all.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Err(Unread::NoFile),
        file => Ok(file?),
    }
}

/// The path of an open file as the kernel knows it.
fn where_it_is(file: &File) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn whole(file: &File, most: u64, remedy: &'static str) -> Result<Vec<u8>, Unread> {
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(Unread::NoFile);
    }
    if about.len() > most {
        return Err(Unread::TooLarge { most, remedy });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Unread::TooLarge { most, remedy });
    }
    Ok(bytes)
}

/// A file's name for people: what is no plain text is escaped.
#[must_use]
pub fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    match name.to_str() {
        Some(text) => text.escape_debug().to_string().replace("\\'", "'"),
        None => name.as_encoded_bytes().escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn names(listed: &Listed) -> Vec<String> {
        let mut names: Vec<String> = listed.iter().map(|(path, _)| shown(path)).collect();
        names.sort();
        names
    }

    #[test]
    fn only_plain_files_of_the_folder_itself_are_read() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "hidden").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("plain"), "here").unwrap();
        symlink("plain", at("inner")).unwrap();
        symlink(outside.path().join("secret"), at("outer")).unwrap();
        symlink(outside.path().join("nothing"), at("dangling")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(at("fifo"))
            .status();
        assert!(made.unwrap().success());
        std::fs::create_dir(at("below")).unwrap();
        std::fs::write(at("large"), [0; 101]).unwrap();
        let odd = folder.path().join(OsStr::from_bytes(b"\xff\n"));
        std::fs::write(&odd, "odd").unwrap();

        let listed = list(folder.path(), |_| true).unwrap();
        assert_eq!(
            names(&listed),
            [
                "\\xff\\n", "dangling", "device", "fifo", "inner", "large", "outer", "plain",
                "socket"
            ]
        );
        let read = |path: &Path| read(folder.path(), path, 100, "a.setting");
        assert_eq!(read(&at("plain")).unwrap(), b"here");
        assert_eq!(read(&at("inner")).unwrap(), b"here");
        assert_eq!(read(&odd).unwrap(), b"odd");
        assert!(matches!(read(&at("outer")), Err(Unread::Outside)));
        assert!(matches!(read(&at("device")), Err(Unread::Outside)));
        assert!(matches!(read(&at("fifo")), Err(Unread::NoFile)));
        assert!(matches!(read(&at("socket")), Err(Unread::NoFile)));
        assert!(read(&at("dangling")).unwrap_err().is_gone());
        let large = read(&at("large")).unwrap_err().to_string();
        assert!(large.contains("a.setting"), "{large}");
        assert!(matches!(
            read_named(Path::new("/dev/zero"), 100, "s"),
            Err(Unread::NoFile)
        ));
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_ends_at_the_limit() {
        // Its length is told as 0 and it has bytes all the same.
        let error = read_named(Path::new("/proc/self/status"), 10, "a.setting").unwrap_err();
        assert!(
            matches!(error, Unread::TooLarge { most: 10, .. }),
            "{error}"
        );
    }
}
