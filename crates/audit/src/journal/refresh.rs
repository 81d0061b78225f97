//! What others did since the last look: the newest file, the chain's true end, a torn tail.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, json};

use super::{Failed, Head, Journal, MAX_WRITE, append_all};
use crate::AuditError;
use crate::announced::knows_others;
use crate::chain::sha256;
use crate::error::LogShrunk;
use crate::storage::{is_settled, read_range};
use crate::tail::{self, Tail};
use crate::time::Day;

/// When others wrote more than this since our last look, the tail is read anew instead of all of it.
const MAX_CATCH_UP: u64 = 16 * 1024 * 1024;

impl Journal {
    /// Makes `head` the newest file and its tail the true end, whatever others did since the last look.
    pub(super) fn refresh(&mut self) -> Result<(), Failed> {
        let Some(head) = &self.head else { return Ok(self.open_cold()?) };
        let fail = |path: &Path, error: io::Error| AuditError::storage("inspect", path, &error);
        let changed = self.folder.changed().map_err(|e| fail(self.folder.path(), e))?;
        let open = head.file.stat().map_err(|e| fail(&self.folder.file_path(&head.name), e))?;
        // As long as the directory has not changed since its names were looked at, the open file is the one of that
        // name and the newest one.
        if self.listed == Some(changed) && open.links == 1 && open.owner == head.owner {
            return Ok(self.take_over(open.size)?);
        }
        self.listed = None;
        self.check_place()?;
        self.check_head()?;
        self.follow_newer_days()?;
        self.listed = is_settled(changed).then_some(changed);
        Ok(())
    }

    /// The open file has this size now.
    fn take_over(&mut self, size: u64) -> Result<(), AuditError> {
        let head = self.head.as_ref().expect("the caller looked");
        if size < head.end {
            return self.shrunk(size);
        }
        self.catch_up(size)
    }

    /// A directory that was moved or removed would be written to for ever, and nobody would look there.
    fn check_place(&self) -> Result<(), AuditError> {
        let path = self.folder.path();
        if self.folder.is_in_place().map_err(|e| AuditError::storage("inspect", path, &e))? {
            return Ok(());
        }
        Err(AuditError::unsafe_place(path, "it was moved, removed or replaced while in use"))
    }

    fn check_head(&mut self) -> Result<(), AuditError> {
        let head = self.head.as_ref().expect("refresh looked");
        let named = self
            .folder
            .stat(&head.name)
            .map_err(|error| AuditError::storage("inspect", self.folder.file_path(&head.name), &error))?;
        match named {
            // Our descriptor keeps the inode's number from being used again: what stands under the name is the open
            // file, and this one look says all about it.
            Some(named) if named.device == head.device && named.inode == head.inode => {
                self.check_file(&head.name, &named)?;
                self.take_over(named.size)
            }
            named => {
                // Removed or renamed under us. The chain goes on in a new file, so that the gap shows.
                let (day, mut tail) = (head.day, head.tail.clone());
                let name = Arc::clone(&head.name);
                if let Some(named) = named {
                    self.check_file(&name, &named)?;
                }
                if self.findings.iter().all(|(action, _)| *action != "audit.file_missing") {
                    let metadata = Map::from_iter([("file".to_owned(), json!(&*name))]);
                    self.findings.push(("audit.file_missing", metadata));
                }
                tail.foreign = false;
                self.open_day(day, tail)
            }
        }
    }

    fn shrunk(&mut self, now: u64) -> Result<(), AuditError> {
        let head = self.head.as_ref().expect("the caller looked");
        if !std::mem::take(&mut self.accept_shrunk) {
            let path = self.folder.file_path(&head.name);
            return Err(AuditError::Shrunk(Box::new(LogShrunk {
                path,
                known: head.end,
                now,
                unit: "bytes",
            })));
        }
        let metadata = [("known".to_owned(), json!(head.end)), ("now".to_owned(), json!(now))];
        self.findings.push(("audit.shrunk", Map::from_iter(metadata)));
        self.head = None;
        self.floor = 0;
        self.open_cold()
    }

    fn follow_newer_days(&mut self) -> Result<(), AuditError> {
        let head_day = self.head.as_ref().expect("refresh looked").day;
        let newer: Vec<Day> = self.days()?.into_iter().filter(|day| *day > head_day).collect();
        for day in newer {
            let tail = self.head.as_ref().expect("refresh looked").tail.clone();
            self.open_day(day, Tail { last_time: None, ..tail })?;
        }
        Ok(())
    }

    /// The first look: opens the newest file and finds the chain's end from the tail alone.
    fn open_cold(&mut self) -> Result<(), AuditError> {
        let days = self.days()?;
        self.beside_others = knows_others(&*self.lock);
        let Some(newest) = days.last() else {
            self.check_floor(0);
            return Ok(());
        };
        let name = newest.file_name();
        let file = self.open_existing(&name)?;
        let path = self.folder.file_path(&name);
        let fail = |operation, error: io::Error| AuditError::storage(operation, &path, &error);
        self.folder.sync().map_err(|e| fail("sync the directory of", e))?;
        let stat = file.stat().map_err(|e| fail("inspect", e))?;
        file.forget_cache(stat.size.saturating_sub(MAX_WRITE as u64));
        let found = tail::find(&*self.folder, &days, stat.size)?;
        if found.tail.foreign {
            self.note_others();
        }
        self.head = Some(Head {
            day: *newest,
            name: name.into(),
            file,
            device: stat.device,
            inode: stat.inode,
            owner: stat.owner,
            end: found.end,
            tail: found.tail,
        });
        self.catch_up(stat.size)?;
        if let Err(error) = self.look_for_race(0) {
            self.head = None;
            return Err(error);
        }
        self.check_floor(self.next_seq());
        Ok(())
    }

    /// A log that begins anew behind its anchor is no reason to stop the agent, and is put on record.
    fn check_floor(&mut self, now: u64) {
        if now < self.floor {
            let metadata = [("known".to_owned(), json!(self.floor)), ("now".to_owned(), json!(now))];
            self.findings.push(("audit.shrunk", Map::from_iter(metadata)));
        }
        self.floor = 0;
    }

    /// Reads what others wrote, up to `size`, and moves an unterminated rest aside.
    pub(super) fn catch_up(&mut self, size: u64) -> Result<(), AuditError> {
        let head = self.head.as_ref().expect("the caller opened a file");
        if size == head.end {
            return Ok(());
        }
        self.others_wrote = true;
        let path = self.folder.file_path(&head.name);
        let fail = |error: io::Error| AuditError::storage("read", &path, &error);
        let before = (head.end, head.tail.clone());
        let (from, mut tail) = if size - head.end > MAX_CATCH_UP {
            let found = tail::find(&*self.folder, &self.days()?, size)?;
            (found.end, found.tail)
        } else {
            (head.end, Tail { foreign: false, ..head.tail.clone() })
        };
        let head = self.head.as_mut().expect("the caller opened a file");
        let bytes = read_range(&*head.file, from, size).map_err(fail)?;
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        tail.extend_over(&bytes[..whole]);
        let slipped = tail.foreign;
        tail.foreign |= before.1.foreign;
        (head.end, head.tail) = (from + whole as u64, tail);
        if slipped {
            self.note_others();
            if let Err(error) = self.look_for_race(before.0) {
                // All of it is looked at again.
                let head = self.head.as_mut().expect("still open");
                (head.end, head.tail) = before;
                return Err(error);
            }
        }
        let torn = &bytes[whole..];
        if torn.is_empty() { Ok(()) } else { self.move_aside(torn) }
    }

    /// A line that was never finished was never acknowledged. Its bytes are kept in `YYYY-MM-DD.torn`.
    fn move_aside(&mut self, torn: &[u8]) -> Result<(), AuditError> {
        let head = self.head.as_ref().expect("the caller opened a file");
        let name = format!("{}.torn", head.day);
        let path = self.folder.file_path(&name);
        let fail = |operation, error: io::Error| AuditError::storage(operation, &path, &error);
        let aside = match self.folder.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let stat = self.folder.stat(&name).map_err(|e| fail("inspect", e))?;
                if let Some(stat) = stat {
                    self.check_file(&name, &stat)?;
                }
                self.folder.open_append(&name)
            }
            other => other,
        }
        .map_err(|e| fail("create", e))?;
        append_all(&*aside, torn)
            .and_then(|()| append_all(&*aside, b"\n"))
            .map_err(|e| fail("append to", e))?;
        aside.sync_data().map_err(|e| fail("sync", e))?;
        self.folder.sync().map_err(|e| fail("sync the directory of", e))?;
        let log = self.folder.file_path(&head.name);
        head.file.truncate(head.end).map_err(|e| AuditError::storage("cut the torn tail of", log, &e))?;
        let metadata = [
            ("bytes".to_owned(), json!(torn.len())),
            ("file".to_owned(), json!(&*head.name)),
            ("sha256".to_owned(), json!(crate::json::hex(&sha256(torn)))),
        ];
        self.findings.push(("audit.recovered", Map::from_iter(metadata)));
        Ok(())
    }
}
