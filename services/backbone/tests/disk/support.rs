//! What the tests share.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use backbone::{Backbone, Config, StartError};

/// The file in a data directory.
pub const FILE: &str = "fanfare.redb";

pub fn open(dir: &Path) -> Backbone {
    Backbone::open(&Config::default(), dir).unwrap()
}

/// The sentence with which `dir` is refused.
pub fn refusal(dir: &Path) -> String {
    match Backbone::open(&Config::default(), dir) {
        Ok(_) => panic!("{} was opened", dir.display()),
        Err(StartError::Refused(sentence)) => sentence,
        Err(StartError::Unreachable(sentence)) => panic!("unreachable: {sentence}"),
    }
}

/// Names the directory that a test run as a process of its own is to use.
pub const DATA_DIR: &str = "TEST_DATA_DIR";

/// A test of this binary, run as a process of its own, and what it prints. Killed when dropped.
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Runs `test` on `dir`, under the shell's `limits`.
    pub fn start(test: &str, dir: &Path, limits: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limits} exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(DATA_DIR, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that begins with `word`, without it; `None` at the end.
    pub fn line(&mut self, word: &str) -> Option<String> {
        let told = |line: std::io::Result<String>| Some(line.unwrap().strip_prefix(word)?.trim().to_owned());
        self.lines.find_map(told)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
