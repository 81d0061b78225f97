//! The files by name: which are there, and what makes one fit to be written to.

use std::io;
use std::sync::Arc;

use super::{Failed, Head, Journal};
use crate::AuditError;
use crate::disk::check_owner;
use crate::storage::{Kind, LogFile, Stat};
use crate::tail::Tail;
use crate::time::Day;

impl Journal {
    /// Goes on to the file of `day` when that is later than the newest one.
    pub(super) fn roll_to(&mut self, day: Day) -> Result<(), Failed> {
        if let Some(head) = &self.head {
            if day <= head.day {
                return Ok(());
            }
            // Another process's last lines may not be synced yet, and the first line of the new file covers them.
            head.file.sync_data().map_err(|e| {
                Failed::Fatal(AuditError::storage("sync", self.folder.file_path(&head.name), &e))
            })?;
            self.rolled = true;
        }
        let tail = match self.head.take() {
            Some(head) => Tail { last_time: None, ..head.tail },
            None => Tail::genesis(),
        };
        self.open_day(day, tail)?;
        Ok(())
    }

    pub(super) fn open_day(&mut self, day: Day, tail: Tail) -> Result<(), AuditError> {
        let name = day.file_name();
        let path = self.folder.file_path(&name);
        let fail = |operation, error: io::Error| AuditError::storage(operation, &path, &error);
        let file = match self.folder.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open_existing(&name)?,
            other => other.map_err(|e| fail("create", e))?,
        };
        // Whoever created the file may have died before its name was durable.
        self.folder.sync().map_err(|e| fail("sync the directory of", e))?;
        let stat = file.stat().map_err(|e| fail("inspect", e))?;
        let tail = Tail { foreign: false, ..tail };
        self.head = Some(Head {
            day,
            name: name.into(),
            file,
            device: stat.device,
            inode: stat.inode,
            owner: stat.owner,
            end: 0,
            tail,
        });
        self.listed = None;
        self.catch_up(stat.size)
    }

    pub(super) fn open_existing(&mut self, name: &str) -> Result<Arc<dyn LogFile>, AuditError> {
        let path = self.folder.file_path(name);
        // A device's or FIFO's open can have effects: look first. The descriptor is looked at again below.
        let before = self.folder.stat(name).map_err(|e| AuditError::storage("inspect", &path, &e))?;
        if let Some(stat) = before {
            self.check_file(name, &stat)?;
        }
        let file = self.folder.open_append(name).map_err(|e| AuditError::storage("open", &path, &e))?;
        let stat = file.stat().map_err(|e| AuditError::storage("inspect", &path, &e))?;
        self.check_file(name, &stat)?;
        if stat.mode & 0o077 != 0 {
            file.tighten().map_err(|e| AuditError::storage("tighten the rights of", &path, &e))?;
            self.notices.push(format!(
                "tightened the rights of {} from {:o} to 600",
                path.display(),
                stat.mode & 0o777
            ));
        }
        Ok(file)
    }

    pub(super) fn check_file(&self, name: &str, stat: &Stat) -> Result<(), AuditError> {
        let path = self.folder.file_path(name);
        if stat.kind != Kind::File {
            return Err(AuditError::unsafe_place(path, "it is a link or no plain file"));
        }
        if stat.links > 1 {
            return Err(AuditError::unsafe_place(path, "it has more than one name (a hard link)"));
        }
        check_owner(&path, stat.owner, self.as_root)
    }

    /// The day files, oldest first.
    pub(super) fn days(&self) -> Result<Vec<Day>, AuditError> {
        let (names, _strange) =
            self.folder.names().map_err(|e| AuditError::storage("list", self.folder.path(), &e))?;
        let mut days: Vec<Day> = names.iter().filter_map(|name| Day::of_file_name(name)).collect();
        days.sort_unstable();
        Ok(days)
    }
}
