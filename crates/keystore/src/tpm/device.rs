//! Commands to a chip, and its answers, as bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An RSA key takes a chip seconds, and a slow one half a minute.
const WITHIN: Duration = Duration::from_secs(60);
/// No answer to our commands is longer than the chip's own buffer.
const LONGEST: usize = 4096;
const HEADER: usize = 10;

/// An open device or socket.
#[derive(Debug)]
pub(super) enum Device {
    Kernel(File),
    Socket(UnixStream),
}

impl Device {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if std::fs::metadata(path)?.file_type().is_socket() {
            let socket = UnixStream::connect(path)?;
            socket.set_read_timeout(Some(WITHIN))?;
            socket.set_write_timeout(Some(WITHIN))?;
            return Ok(Self::Socket(socket));
        }
        Ok(Self::Kernel(OpenOptions::new().read(true).write(true).open(path)?))
    }

    /// One command and its answer, header and all.
    pub(super) fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            // The kernel takes a command in one write.
            Self::Kernel(file) => file.write_all(command)?,
            Self::Socket(socket) => socket.write_all(command)?,
        }
        let mut answer = vec![0; LONGEST];
        let mut length = 0;
        loop {
            let read = match self {
                Self::Kernel(file) => file.read(&mut answer[length..])?,
                Self::Socket(socket) => socket.read(&mut answer[length..])?,
            };
            length += read;
            let whole = answer.get(2..6).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes);
            let whole = whole.filter(|_| length >= HEADER).and_then(|size| usize::try_from(size).ok());
            match whole {
                Some(whole) if !(HEADER..=LONGEST).contains(&whole) => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Some(whole) if length >= whole => {
                    answer.truncate(whole);
                    return Ok(answer);
                }
                _ if read == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }
}
