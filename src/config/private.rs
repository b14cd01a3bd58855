//! Files that others must not read: made readable by their owner alone, and what to say of those that are not.
//!
//! Files of ours with customers' names and phones (the orders store, exports) are made with mode 0600 whatever the umask says. The
//! mode of a file that is there already is its owner's decision: it is told of and left alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const MODE: u32 = 0o600;
/// Reading by the file's group and by everybody else.
const OTHERS: u32 = 0o044;

/// Opens a file for writing; one that is not there is made private.
///
/// # Errors
/// As [`File::create`].
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(MODE);
    options.open(path)
}

/// Writes a whole file; one that is not there is made private.
///
/// # Errors
/// As [`std::fs::write`].
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(path)?.write_all(bytes)
}

/// Makes an empty private file, if nothing is there: for a library that would make it readable by everybody.
///
/// # Errors
/// It cannot be made.
pub fn prepare(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(MODE);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Of a file that others may read: what to say of it.
#[must_use]
pub fn read_by_others(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & OTHERS != 0).then(|| {
        format!(
            "{} has mode {mode:04o}: other users of this machine can read it; chmod 600 ends that",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let written = folder.path().join("export.csv");
        write(&written, b"a,b\n").unwrap();
        let prepared = folder.path().join("orders.db");
        prepare(&prepared).unwrap();
        prepare(&prepared).unwrap();
        assert_eq!((mode(&written), mode(&prepared)), (0o600, 0o600));
        assert_eq!(read_by_others(&written), None);
        for shared in [0o640, 0o604, 0o644] {
            std::fs::set_permissions(&written, std::fs::Permissions::from_mode(shared)).unwrap();
            let told = read_by_others(&written).unwrap();
            assert!(told.contains("chmod 600"), "{told}");
        }
        // What its owner decided stays.
        write(&written, b"c\n").unwrap();
        assert_eq!(mode(&written), 0o644);
        assert_eq!(read_by_others(&folder.path().join("absent")), None);
    }
}
