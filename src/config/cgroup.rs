//! The memory limit of the control group this process runs in: what a container may use before the kernel kills it.
//!
//! Version 2 (`memory.max`) and version 1 (`memory.limit_in_bytes`), the group's own and those of all groups above it; the smallest
//! counts. A container often sees its own group as the root, so groups of the path that are not there are passed over. Pure but for
//! reading small files below the roots it is given; what cannot be read is no limit.

use std::path::{Path, PathBuf};

/// Above this a number means "no limit": version 1 writes the largest multiple of a page.
const NONE: u64 = 1 << 60;

/// A limit and the file that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub bytes: u64,
    pub file: PathBuf,
}

/// The limit of this process.
#[must_use]
pub fn own() -> Option<Limit> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    limit(Path::new("/sys/fs/cgroup"), &groups)
}

/// The smallest limit along the path of the groups that `groups` names (as `/proc/self/cgroup` does), below `root`.
#[must_use]
pub fn limit(root: &Path, groups: &str) -> Option<Limit> {
    let of_group = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        if number == "0" && controllers.is_empty() {
            return along(root, path, "memory.max");
        }
        let is_memory = controllers.split(',').any(|name| name == "memory");
        is_memory
            .then(|| along(&root.join("memory"), path, "memory.limit_in_bytes"))
            .flatten()
    };
    groups
        .lines()
        .filter_map(of_group)
        .min_by_key(|limit| limit.bytes)
}

fn along(root: &Path, path: &str, file: &str) -> Option<Limit> {
    let mut at = root.to_path_buf();
    let mut files = vec![at.join(file)];
    for name in path
        .split('/')
        .filter(|name| !matches!(*name, "" | "." | ".."))
    {
        at.push(name);
        files.push(at.join(file));
    }
    let limits = files.into_iter().filter_map(|file| {
        let text = std::fs::read_to_string(&file).ok()?;
        // Without a limit version 2 says "max".
        let bytes = text.trim().parse().ok().filter(|bytes| *bytes < NONE)?;
        Some(Limit { bytes, file })
    });
    limits.min_by_key(|limit| limit.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn found(files: &[(&str, &str)], groups: &str) -> Option<(u64, String)> {
        let dir = tree(files);
        let limit = limit(dir.path(), groups)?;
        let file = limit.file.strip_prefix(dir.path()).unwrap();
        Some((limit.bytes, file.display().to_string()))
    }

    #[test]
    fn the_smallest_limit_along_the_path_counts() {
        let pod = [
            ("kubepods/memory.max", "1073741824\n"),
            ("kubepods/pod1/memory.max", "268435456\n"),
            ("kubepods/pod1/app/memory.max", "max\n"),
        ];
        let limit = found(&pod, "0::/kubepods/pod1/app\n");
        assert_eq!(
            limit,
            Some((268_435_456, "kubepods/pod1/memory.max".into()))
        );
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let inside = [("memory.max", "268435456\n")];
        for groups in ["0::/\n", "0::/docker/abc\n", "0::/../../abc\n"] {
            let limit = found(&inside, groups);
            assert_eq!(limit, Some((268_435_456, "memory.max".into())), "{groups}");
        }
    }

    #[test]
    fn version_1_and_both_at_once() {
        let old = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/docker/abc/memory.limit_in_bytes", "536870912\n"),
        ];
        let groups = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n";
        let limit = found(&old, groups);
        assert_eq!(
            limit,
            Some((
                536_870_912,
                "memory/docker/abc/memory.limit_in_bytes".into()
            ))
        );
    }

    #[test]
    fn without_a_limit_there_is_none() {
        assert_eq!(found(&[], "0::/user.slice\n"), None);
        assert_eq!(found(&[("memory.max", "max\n")], "0::/\n"), None);
        assert_eq!(
            found(&[("memory.max", "nonsense\n")], "rest\n\n0::\n"),
            None
        );
        let none = [("memory/memory.limit_in_bytes", "9223372036854771712\n")];
        assert_eq!(found(&none, "4:memory:/\n"), None);
    }
}
