//! Formats that outlive a binary: what releases wrote, and whether this code still reads it, and still writes it alike.
//!
//! A crate keeps it in `tests/formats/{release}.txt`, with a line for each format that the release wrote first, or wrote
//! otherwise than the one before: `name = text` or `name : hex`. What a release wrote is never changed.
//!
//! "The next version" is made here, of what releases wrote: fields that nobody knows must be passed over, and a higher
//! version refused. What follows from that for changes of a format: `docs/operations/upgrading.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

/// Fields that no version has, one of each kind that protobuf knows: 1900 to 1903.
const UNKNOWN: &[u8] = b"\xe0\x76\x07\xea\x76\x05later\xf5\x76\x01\x02\x03\x04\xf9\x76\x01\x02\x03\x04\x05\x06\x07\x08";

/// First byte of a message whose first field is its version.
const VERSION: u8 = 0x08;

/// A protobuf `message` with fields that nobody knows, as a later version may write it.
pub fn with_unknown_fields(message: &[u8]) -> Vec<u8> {
    [message, UNKNOWN].concat()
}

type Written = BTreeMap<String, Vec<u8>>;

/// The formats of a crate.
#[derive(Debug)]
pub struct Formats {
    dir: PathBuf,
    version: Release,
    releases: BTreeMap<Release, Written>,
    /// Of no release yet, or written otherwise than by the newest.
    new: Written,
    seen: BTreeSet<String>,
    wrong: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Release(u32, u32, u32);

impl Formats {
    /// Those of the crate in `dir`, which is at `version`: `env!("CARGO_MANIFEST_DIR")` and `env!("CARGO_PKG_VERSION")`.
    ///
    /// # Panics
    /// What releases wrote cannot be read.
    pub fn of(dir: &str, version: &str) -> Self {
        let dir = Path::new(dir).join("tests/formats");
        let files = fs::read_dir(&dir).into_iter().flatten().map(|file| file.expect("a readable directory").path());
        let release = |path: PathBuf| {
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
            (Release::parse(name), parse(&fs::read_to_string(&path).expect("a readable file")))
        };
        let releases = files.filter(|path| path.extension().is_some_and(|end| end == "txt")).map(release).collect();
        let version = Release::parse(version);
        Self { dir, version, releases, new: Written::new(), seen: BTreeSet::new(), wrong: Vec::new() }
    }

    /// A protobuf message whose first field is its version. Unknown fields are passed over; a version that is higher, or
    /// none, is refused.
    pub fn message<T: PartialEq + Debug, W: AsRef<[u8]>>(
        &mut self,
        name: &str,
        value: &T,
        write: impl Fn() -> W,
        read: impl Fn(&[u8]) -> Option<T>,
    ) {
        self.unversioned(name, value, write, &read);
        for (release, old) in self.of_releases(name) {
            let Some((&[VERSION, version], rest)) = old.split_first_chunk() else {
                self.wrong(name, release, "has no version in its first field");
                continue;
            };
            self.refused(name, release, "one version higher", &read, &[&[VERSION, version + 1], rest].concat());
            self.refused(name, release, "without a version", &read, rest);
        }
    }

    /// A protobuf message of no version, which is only ever added to. Unknown fields are passed over.
    pub fn unversioned<T: PartialEq + Debug, W: AsRef<[u8]>>(
        &mut self,
        name: &str,
        value: &T,
        write: impl Fn() -> W,
        read: impl Fn(&[u8]) -> Option<T>,
    ) {
        self.whole(name, value, write, &read, &[]);
        for (release, old) in self.of_releases(name) {
            self.read(name, release, "with unknown fields", &read, &with_unknown_fields(&old), value);
        }
    }

    /// Anything that is read as a whole or not at all; `later` is what a later version might write, which must be refused.
    pub fn whole<T: PartialEq + Debug, W: AsRef<[u8]>>(
        &mut self,
        name: &str,
        value: &T,
        write: impl Fn() -> W,
        read: impl Fn(&[u8]) -> Option<T>,
        later: &[&[u8]],
    ) {
        let (written, again) = (write().as_ref().to_vec(), write().as_ref().to_vec());
        // What is random in part cannot be compared.
        let is_stable = written == again;
        assert!(self.seen.insert(name.to_owned()), "{name} is there twice");
        self.read(name, self.version, "as it is written now", &read, &written, value);
        let old = self.of_releases(name);
        for (release, old) in &old {
            self.read(name, *release, "as it was", &read, old, value);
        }
        for later in later {
            self.refused(name, self.version, "of a later version", &read, later);
        }
        match old.last() {
            Some((_, newest)) if !is_stable || *newest == written => {}
            Some((release, _)) => {
                self.changed(name, &format!("is written otherwise than by {release}, which has to read it"), written);
            }
            None => self.changed(name, "is of no release", written),
        }
    }

    /// A text that is written alike for ever, such as a name or a key.
    pub fn text(&mut self, name: &str, text: impl AsRef<str>) {
        let text = text.as_ref().to_owned();
        self.whole(name, &text, || text.as_bytes(), |old| String::from_utf8(old.to_vec()).ok(), &[]);
    }

    /// Ends the table. With `FANFARE_BLESS`, writes what is new into the file of the crate's version.
    ///
    /// # Panics
    /// Something is wrong, or what a release wrote was not looked at.
    pub fn check(mut self) {
        for (release, written) in &self.releases {
            let forgotten = written.keys().filter(|name| !self.seen.contains(*name));
            self.wrong.extend(forgotten.map(|name| format!("{name} of {release}: nobody reads it")));
        }
        if std::env::var_os("FANFARE_BLESS").is_some() && !self.new.is_empty() {
            let mut file = self.releases.remove(&self.version).unwrap_or_default();
            file.append(&mut self.new);
            fs::create_dir_all(&self.dir).expect("a directory for fixtures");
            fs::write(self.dir.join(format!("{}.txt", self.version)), show(&file)).expect("a writable file");
        }
        let wrong = self.wrong.join("\n");
        assert!(wrong.is_empty(), "{wrong}\nsee \"Changing a format\" in docs/operations/upgrading.md");
    }

    /// What releases wrote, the oldest first.
    fn of_releases(&self, name: &str) -> Vec<(Release, Vec<u8>)> {
        self.releases.iter().filter_map(|(release, all)| Some((*release, all.get(name)?.clone()))).collect()
    }

    fn read<T: PartialEq + Debug>(
        &mut self,
        name: &str,
        release: Release,
        how: &str,
        read: impl Fn(&[u8]) -> Option<T>,
        bytes: &[u8],
        value: &T,
    ) {
        match read(bytes) {
            Some(found) if found == *value => {}
            Some(found) => self.wrong(name, release, &format!("{how}, is read as {found:?} instead of {value:?}")),
            None => self.wrong(name, release, &format!("{how}, is not read")),
        }
    }

    fn refused<T: Debug>(
        &mut self,
        name: &str,
        release: Release,
        how: &str,
        read: impl Fn(&[u8]) -> Option<T>,
        bytes: &[u8],
    ) {
        if let Some(found) = read(bytes) {
            self.wrong(name, release, &format!("{how}, is read as {found:?} instead of refused"));
        }
    }

    fn changed(&mut self, name: &str, what: &str, written: Vec<u8>) {
        if std::env::var_os("FANFARE_BLESS").is_none() {
            self.wrong.push(format!("{name} {what}; FANFARE_BLESS=1 writes it into the file of {}", self.version));
        }
        self.new.insert(name.to_owned(), written);
    }

    fn wrong(&mut self, name: &str, release: Release, what: &str) {
        self.wrong.push(format!("{name} of {release}: {what}"));
    }
}

impl Release {
    fn parse(text: &str) -> Self {
        let mut parts = text.split('.').map(|part| part.parse().expect("a release is three numbers"));
        let mut next = || parts.next().expect("a release is three numbers");
        Self(next(), next(), next())
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

fn parse(file: &str) -> Written {
    let line = |line: &str| {
        if let Some((name, text)) = line.split_once(" = ") {
            return (name.to_owned(), text.as_bytes().to_vec());
        }
        let (name, hex) = line.split_once(" : ").expect("a line is `name = text` or `name : hex`");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        (name.to_owned(), (0..hex.len()).step_by(2).map(byte).collect())
    };
    file.lines().filter(|line| !line.is_empty()).map(line).collect()
}

fn show(written: &Written) -> String {
    let line = |(name, bytes): (&String, &Vec<u8>)| match std::str::from_utf8(bytes) {
        Ok(text) if text.bytes().all(|b| (b' '..=b'~').contains(&b)) => format!("{name} = {text}\n"),
        Ok(_) | Err(_) => format!("{name} : {}\n", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    };
    written.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fixtures in which `count` was written as version 1 and 7.
    fn formats(dir: &Path) -> Formats {
        fs::create_dir_all(dir.join("tests/formats")).expect("a directory");
        fs::write(dir.join("tests/formats/0.1.0.txt"), "count : 08011007\nname = ch\n").expect("a file");
        Formats::of(dir.to_str().expect("a path"), "0.2.0")
    }

    /// What is wrong with a reader of `count`, and what it writes.
    fn wrong(written: &[u8], read: impl Fn(&[u8]) -> Option<u8>) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut formats = formats(dir.path());
        formats.text("name", "ch");
        formats.message("count", &7, || written, read);
        formats.wrong
    }

    fn careful(bytes: &[u8]) -> Option<u8> {
        (bytes.starts_with(&[8, 1, 16])).then(|| bytes[3])
    }

    #[test]
    fn careful_readers_pass_and_others_do_not() {
        let now: &[u8] = &[8, 1, 16, 7];
        assert_eq!(wrong(now, careful), [""; 0]);
        let says = |wrong: Vec<String>, what: &str| assert!(wrong.iter().any(|line| line.contains(what)), "{wrong:?}");
        says(wrong(&[8, 1, 16, 7, 24, 1], careful), "is written otherwise than by 0.1.0");
        says(wrong(now, |bytes| careful(bytes).filter(|_| bytes.len() == 4)), "with unknown fields, is not read");
        says(wrong(now, |bytes| bytes.get(3).copied()), "one version higher, is read as 7");
        says(wrong(now, |bytes| bytes.last().copied()), "without a version, is read as 7");
        says(wrong(now, |bytes| careful(bytes).map(|count| count + 1)), "is read as 8 instead of 7");
    }

    #[test]
    #[should_panic(expected = "count of 0.1.0: nobody reads it")]
    fn nothing_is_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut formats = formats(dir.path());
        formats.text("name", "ch");
        formats.check();
    }

    #[test]
    fn files_round_trip() {
        let written = Written::from([("a".to_owned(), b"plain text".to_vec()), ("b".to_owned(), vec![0, 255])]);
        assert_eq!(show(&written), "a = plain text\nb : 00ff\n");
        assert_eq!(parse(&show(&written)), written);
    }
}
