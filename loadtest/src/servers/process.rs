//! Processes and directories that do not outlive this process: they end when dropped, which a panic does too, and when
//! a signal tells this process to end.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal as await_signal};

use crate::error::Error;

/// How long a server may take to be there. Long, since a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How much of a log an error shows.
const LAST_LINES: usize = 5;
/// What shells answer of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// What has to be ended and removed if a signal ends this process.
static HELD: Mutex<Held> = Mutex::new(Held { processes: Vec::new(), directories: Vec::new() });

struct Held {
    processes: Vec<u32>,
    directories: Vec<PathBuf>,
}

fn held() -> MutexGuard<'static, Held> {
    HELD.lock().expect("nobody panics with the lock")
}

/// Ends what is held before a signal ends this process. Done before anything is held.
fn watch_signals() -> Result<(), Error> {
    static WATCHING: Once = Once::new();
    let mut outcome = Ok(());
    WATCHING.call_once(|| outcome = start_watching().map_err(Error::system("waiting for signals")));
    outcome
}

fn start_watching() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let (mut interrupt, mut terminate) =
        (await_signal(SignalKind::interrupt())?, await_signal(SignalKind::terminate())?);
    drop(guard);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        // Locked until the end, so that nothing more is started.
        let held = held();
        held.processes.iter().for_each(|pid| kill_group(*pid));
        for directory in &held.directories {
            std::fs::remove_dir_all(directory).ok();
        }
        eprintln!("loadtest: interrupted");
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}

/// A temporary directory, removed when dropped.
#[derive(Debug)]
pub(super) struct Directory(TempDir);

impl Directory {
    /// Makes one.
    pub(super) fn new() -> Result<Self, Error> {
        watch_signals()?;
        let mut held = held();
        let made = tempfile::Builder::new().prefix("loadtest-").tempdir();
        let directory = made.map_err(Error::system("making a temporary directory"))?;
        held.directories.push(directory.path().to_owned());
        Ok(Self(directory))
    }

    /// Where a file of it is.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file of it, for this user only, and answers where it is.
    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf, Error> {
        let path = self.file(name);
        std::fs::write(&path, text).map_err(Error::system(path.display().to_string()))?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        held().directories.retain(|path| path != self.0.path());
    }
}

/// A process in a process group of its own, so that Ctrl-C at a terminal reaches this process only. It is killed with all
/// its group when dropped.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts one; what it writes goes into `name.log` in `directory`, and its own temporary files beside it.
    pub(super) fn start(name: &str, mut command: Command, directory: &Directory) -> Result<Self, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let log = directory.file(&format!("{name}.log"));
        let opened = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (output, errors) = opened.map_err(Error::system(log.display().to_string()))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).env("TMPDIR", directory.0.path()).process_group(0);
        let mut held = held();
        let child = command.spawn().map_err(Error::system(format!("starting {program}")))?;
        held.processes.push(child.id());
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `look` finds something in what the process has written so far, or elsewhere.
    pub(super) fn wait_for<T>(
        &mut self,
        what: &'static str,
        mut look: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait().map_err(Error::system(format!("waiting for {}", self.name)))?;
            let log = last(&self.log);
            if let Some(found) = look(&log) {
                return Ok(found);
            }
            if ended.is_some() || Instant::now() > deadline {
                let lines: Vec<_> = log.lines().collect();
                let log = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
                let server = self.name.clone();
                return Err(Error::NotReady { server, ended: ended.is_some(), awaited: what, log });
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill_group(self.pid());
        // It may have ended by itself, which is what we want.
        self.child.wait().ok();
        let pid = self.pid();
        held().processes.retain(|each| *each != pid);
    }
}

/// What the process has written; the whole of it, as servers write little before they are ready.
fn last(log: &Path) -> String {
    std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Kills a process of any server, at once.
pub(crate) fn kill(pid: u32) -> Result<(), Error> {
    signal::kill(id(pid), Signal::SIGKILL)
        .map_err(|error| Error::system(format!("killing process {pid}"))(error.into()))
}

/// Fails only if all have ended by themselves, which is what we want.
fn kill_group(pid: u32) {
    signal::killpg(id(pid), Signal::SIGKILL).ok();
}

/// The system's own form of an id; it gives out none that does not fit.
fn id(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, directory: &Directory) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("shell", command, directory).unwrap()
    }

    fn is_running(pid: u32) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    #[test]
    fn what_is_dropped_ends_with_all_its_children() {
        let directory = Directory::new().unwrap();
        let mut process = shell("sleep 1000 & echo $! && wait", &directory);
        let child: u32 = process.wait_for("the child's id", |log| log.trim().parse().ok()).unwrap();
        let (pid, path) = (process.pid(), directory.file("shell.log"));
        assert!(is_running(pid) && is_running(child) && path.exists());
        drop((process, directory));
        assert!(!is_running(pid) && !path.exists());
        // A grandchild is waited for by somebody else.
        while is_running(child) {
            thread::yield_now();
        }
    }

    #[test]
    fn who_ends_early_is_quoted() {
        let directory = Directory::new().unwrap();
        let mut process = shell("echo out of luck >&2; exit 3", &directory);
        let error = process.wait_for("nothing", |_| None::<()>).unwrap_err().to_string();
        assert!(error.contains("out of luck") && error.contains("ended"), "{error}");
    }
}
