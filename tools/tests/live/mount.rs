//! File systems of a test's own: an ext4 in a file whose power can be cut, and a small one in memory.
//!
//! They need root and the mount tools. Where a machine does not allow it the test says so and is skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `FS_IOC_SHUTDOWN` with `NOLOGFLUSH`: from one moment to the next nothing is written any more, the journal neither.
/// Perl is in every Debian; Rust would need unsafe code for it.
const CUT: &str = "open(my $root, '<', $ARGV[0]) or die $!; my $flag = pack('L', 2); \
                   ioctl($root, 0x8004587d, $flag) or die $!";

/// A mounted file system; unmounted when this goes.
pub struct Mount {
    /// Image and mount point are in here.
    _home: tempfile::TempDir,
    /// What `mount` is told to mount it again.
    again: Vec<String>,
    pub root: PathBuf,
}

impl Mount {
    /// An empty ext4 of 512 MB in a file. It writes by itself as rarely as it can, so that what nobody synced is lost.
    pub fn ext4() -> Option<Mount> {
        let home = tempfile::tempdir().unwrap();
        let image = home.path().join("disk.img");
        std::fs::File::create(&image).unwrap().set_len(512 << 20).unwrap();
        let image = image.display().to_string();
        run("mkfs.ext4", &["-q", "-F", &image])?;
        let options = "loop,commit=300,noauto_da_alloc";
        Mount::new(home, &["-t", "ext4", "-o", options, &image])
    }

    /// An empty file system in memory.
    pub fn tmpfs(bytes: u64) -> Option<Mount> {
        let size = format!("size={bytes}");
        Mount::new(tempfile::tempdir().unwrap(), &["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    fn new(home: tempfile::TempDir, what: &[&str]) -> Option<Mount> {
        let root = home.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let mut again: Vec<String> = what.iter().map(ToString::to_string).collect();
        again.push(root.display().to_string());
        let mount = Mount { _home: home, again, root };
        mount.mount().map(|()| mount)
    }

    fn mount(&self) -> Option<()> {
        let arguments: Vec<&str> = self.again.iter().map(String::as_str).collect();
        run("mount", &arguments)
    }

    /// A directory in it for a server.
    pub fn data(&self) -> PathBuf {
        let data = self.root.join("data");
        std::fs::create_dir_all(&data).unwrap();
        data
    }

    /// Cuts the power: what was not synced is gone. None where the kernel cannot.
    pub fn cut(&self) -> Option<()> {
        run("perl", &["-e", CUT, path(&self.root)])
    }

    /// Unmounts it and mounts it again, as after a power cut.
    pub fn remount(&self) {
        run("umount", &[path(&self.root)]).expect("nobody uses it any more");
        self.mount().expect("mounted before");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", path(&self.root)]);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a tool; None, with what it said, when it is not there or fails.
fn run(tool: &str, arguments: &[&str]) -> Option<()> {
    match Command::new(tool).args(arguments).output() {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => {
            println!("{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
            None
        }
        Err(error) => {
            println!("{tool}: {error}");
            None
        }
    }
}
