//! How much memory is in use, and how much may be.
//!
//! In a container the kernel ends the process when the container's limit is reached, and counts against it what the
//! process never sees: for each socket some kilobytes of the kernel's own, which is as much as an idle connection takes
//! here. So where the limit comes from the container, what is compared with it is what the container's account says, less
//! the file cache, which the kernel drops by itself. Where an operator names a size it is compared with what the process
//! has resident.

use std::fs;
use std::path::{Path, PathBuf};

use telemetry::Resources;

/// Where the kernel shows control groups.
const GROUPS: &str = "/sys/fs/cgroup";

/// The part of a container's limit, in hundredths, beyond which nobody new is let in: what is open grows, too.
const SHARE: u64 = 90;

/// Limits that large are how version 1 says that there is none.
const NO_LIMIT: u64 = 1 << 60;

/// Memory beyond which nobody new gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// Nine tenths of what the process's control group (its container) may use; without a limit there, any.
    Auto,
    /// Any.
    Off,
    /// So many bytes resident.
    Bytes(u64),
}

/// A limit, and how what is compared with it is measured.
#[derive(Debug)]
pub(super) struct Ceiling {
    limit: u64,
    /// None: what the process has resident.
    group: Option<Group>,
}

/// A control group with a limit on memory.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    limit: u64,
    directory: PathBuf,
    files: &'static Files,
}

/// What files and lines are called in a version of control groups.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    limit: &'static str,
    used: &'static str,
    /// Lines of `memory.stat`.
    cache: [&'static str; 2],
}

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: ["total_inactive_file", "total_active_file"],
};
const VERSION_2: Files = Files { limit: "memory.max", used: "memory.current", cache: ["inactive_file", "active_file"] };

impl Ceiling {
    /// That of this process; `None` if it has none.
    pub(super) fn find(limit: MemoryLimit) -> Option<Self> {
        match limit {
            MemoryLimit::Off => None,
            MemoryLimit::Bytes(limit) => Some(Self { limit, group: None }),
            MemoryLimit::Auto => {
                let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
                let group = tightest(&own, Path::new(GROUPS))?;
                Some(Self { limit: group.limit / 100 * SHARE, group: Some(group) })
            }
        }
    }

    /// The limit, in bytes.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// What is in use, in bytes; nothing if that cannot be told.
    pub(super) fn used(&self) -> u64 {
        match &self.group {
            Some(group) => group.used(self.limit),
            None => Resources::of_this_process().map_or(0, |resources| resources.memory_bytes),
        }
    }
}

impl Group {
    /// What it uses. The cache is looked at only near a `limit`, where it matters: that takes the kernel some time.
    fn used(&self, limit: u64) -> u64 {
        let used = number(&self.directory.join(self.files.used)).unwrap_or(0);
        if used < limit / 4 * 3 {
            return used;
        }
        let stat = fs::read_to_string(self.directory.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().filter_map(|line| line.split_once(' '));
        let cache = cache.filter(|(name, _)| self.files.cache.contains(name));
        used.saturating_sub(cache.filter_map(|(_, bytes)| bytes.parse::<u64>().ok()).sum())
    }
}

/// The group with the lowest limit of those that a process is in, by its `/proc/self/cgroup`. What is above `root`, or
/// named as if there were no container, is not there and limits nothing.
fn tightest(own: &str, root: &Path) -> Option<Group> {
    let groups = own.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (files, root) = match controllers {
            "" => (&VERSION_2, root.to_owned()),
            _ if controllers.split(',').any(|name| name == "memory") => (&VERSION_1, root.join("memory")),
            _ => return None,
        };
        let lowest = root.join(path.trim_start_matches('/'));
        let above = lowest.ancestors().filter(|directory| directory.starts_with(&root));
        let limits = above.filter_map(|directory| {
            let limit = number(&directory.join(files.limit)).filter(|limit| *limit < NO_LIMIT)?;
            Some(Group { limit, directory: directory.to_owned(), files })
        });
        limits.min_by_key(|group| group.limit)
    });
    groups.min_by_key(|group| group.limit)
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn write(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn the_tightest_of_the_groups_above_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "pod/memory.max", "536870912\n");
        write(root, "pod/memory.current", "500000000\n");
        write(root, "pod/memory.stat", "anon 1\ninactive_file 100000000\nactive_file 50000000\nfile 7\n");
        write(root, "pod/edge/memory.max", "max\n");
        let group = tightest("1:cpu:/elsewhere\n0::/pod/edge\n", root).unwrap();
        assert_eq!((group.limit, &group.directory), (512 * MIB, &root.join("pod")));
        assert_eq!(group.used(700_000_000), 500_000_000, "as it is, if that is little enough");
        assert_eq!(group.used(400 * MIB), 350_000_000, "without the cache");
    }

    #[test]
    fn within_a_container_the_root_is_the_group() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "memory.max", "1048576");
        let group = tightest("0::/\n", dir.path()).unwrap();
        assert_eq!((group.limit, group.files), (MIB, &VERSION_2));
        // Where the name is the host's.
        assert_eq!(tightest("0::/../../kubepods/x\n", dir.path()).unwrap().limit, MIB);
    }

    #[test]
    fn version_1_says_no_limit_by_a_large_one() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
        let own = "4:memory:/docker/x\n0::/\n";
        assert_eq!(tightest(own, dir.path()), None);
        write(dir.path(), "memory/memory.limit_in_bytes", "2097152\n");
        write(dir.path(), "memory/memory.usage_in_bytes", "2000000\n");
        write(dir.path(), "memory/memory.stat", "inactive_file 5\ntotal_inactive_file 1000\ntotal_active_file 500\n");
        let group = tightest(own, dir.path()).unwrap();
        assert_eq!((group.limit, group.used(1)), (2 * MIB, 1_998_500));
    }

    #[test]
    fn this_process_uses_some() {
        let ceiling = Ceiling::find(MemoryLimit::Bytes(MIB)).unwrap();
        assert!(ceiling.used() > MIB);
        assert!(Ceiling::find(MemoryLimit::Off).is_none());
    }
}
