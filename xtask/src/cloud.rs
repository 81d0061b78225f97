//! The stand-in cloud as a child process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use crate::Failure;
use crate::build::binary;

/// A running stand-in; it ends when this is dropped, for its stdin closes.
pub(crate) struct Cloud {
    child: Child,
    stdin: Option<ChildStdin>,
    directory: PathBuf,
    info: Value,
}

impl Cloud {
    pub(crate) fn start(directory: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(binary("stand-in"))
            .arg("--json")
            .arg("--dir")
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("the stand-in has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let info =
            serde_json::from_str(&line).map_err(|error| format!("the stand-in did not start: {error}"))?;
        Ok(Self { child, stdin, directory: directory.to_owned(), info })
    }

    /// A value of the stand-in's JSON line.
    pub(crate) fn get(&self, key: &str) -> Result<&str, Failure> {
        self.info
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("the stand-in names no {key}").into())
    }

    /// The document that Work IQ wrote last.
    pub(crate) fn newest_document(&self) -> Result<PathBuf, Failure> {
        let mut documents = Vec::new();
        collect_documents(&self.directory, &mut documents)?;
        documents.sort();
        let (_, newest) = documents.pop().ok_or("Work IQ wrote no .docx")?;
        Ok(newest)
    }
}

fn collect_documents(
    directory: &Path,
    found: &mut Vec<(std::time::SystemTime, PathBuf)>,
) -> Result<(), Failure> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_documents(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "docx") {
            found.push((fs::metadata(&path)?.modified()?, path));
        }
    }
    Ok(())
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // The stand-in ends by itself at the end of its stdin; a hung one must not outlive the demo.
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
