//! `entrabot.log`: appended to by every process of this user, turned over at 5 MiB, three old ones kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::private_files;

/// A file is turned over before it grows beyond this.
const MAX_SIZE: u64 = 5 * 1024 * 1024;
/// `entrabot.log.1` is the youngest of the old ones.
const KEPT: u32 = 3;

pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    max_size: u64,
}

impl LogFile {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        Self::open_with(dir, MAX_SIZE)
    }

    fn open_with(dir: &Path, max_size: u64) -> io::Result<Self> {
        private_files::make_dir(dir)?;
        let path = dir.join("entrabot.log");
        let file = open(&path)?;
        Ok(Self { path, file, max_size })
    }

    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.is_current() {
            self.file = open(&self.path)?;
        }
        if self.file.metadata()?.len() + line.len() as u64 > self.max_size {
            self.turn_over()?;
        }
        self.file.write_all(line)
    }

    /// Another process may have turned the file over.
    fn is_current(&self) -> bool {
        match (self.file.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(open), Ok(named)) => private_files::same_file(&open, &named),
            _ => false,
        }
    }

    fn turn_over(&mut self) -> io::Result<()> {
        let _held = private_files::lock_exclusively(&self.file)?;
        if !self.is_current() {
            // Somebody else was first.
            self.file = open(&self.path)?;
            return Ok(());
        }
        let old = |number: u32| self.path.with_extension(format!("log.{number}"));
        for number in (1..KEPT).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, old(1))?;
        let next = open(&self.path)?;
        self.file = next;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    private_files::open(path, OpenOptions::new().append(true).create(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_turns_over_and_keeps_three() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        let mut log = LogFile::open_with(&logs, 1000).unwrap();
        let mut other = LogFile::open_with(&logs, 1000).unwrap();
        for number in 0..100 {
            let line = format!("{{\"number\":{number},\"filler\":\"{}\"}}\n", "x".repeat(60));
            (if number % 2 == 0 { &mut log } else { &mut other }).append(line.as_bytes()).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(&logs)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["entrabot.log", "entrabot.log.1", "entrabot.log.2", "entrabot.log.3"]);
        let newest = fs::read_to_string(logs.join("entrabot.log")).unwrap();
        assert!(newest.contains("\"number\":99"));
        for name in names {
            assert!(fs::metadata(logs.join(name)).unwrap().len() <= 1000);
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_user_reads_the_log_and_a_link_is_not_followed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        drop(LogFile::open(&logs).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&logs), mode(&logs.join("entrabot.log"))), (0o700, 0o600));

        fs::remove_file(logs.join("entrabot.log")).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, logs.join("entrabot.log")).unwrap();
        assert!(LogFile::open(&logs).is_err());
    }
}
