//! Bounded lines from a byte stream.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// How much of an overlong line is kept, to find its id.
const KEPT_OF_OVERLONG: usize = 64 * 1024;

/// What stood on one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A whole line, without its newline. The last one may have had none.
    Whole(Vec<u8>),
    /// The line was longer than the limit; this is how it began.
    Overlong(Vec<u8>),
}

/// Reads lines and never holds more of one than the limit.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(input: R, limit: usize) -> Self {
        Self { input: BufReader::with_capacity(32 * 1024, input), limit }
    }

    /// The next line; `None` at the end of the input.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let mut overlong = false;
        loop {
            let available = match self.input.fill_buf().await {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                if line.is_empty() {
                    return Ok(None);
                }
                return Ok(Some(if overlong { Line::Overlong(line) } else { Line::Whole(line) }));
            }
            let newline = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..newline.unwrap_or(available.len())];
            if !overlong && line.len() + part.len() <= self.limit {
                line.extend_from_slice(part);
            } else if !overlong {
                overlong = true;
                line.extend_from_slice(&part[..part.len().min(KEPT_OF_OVERLONG)]);
                line.truncate(KEPT_OF_OVERLONG);
                line.shrink_to_fit();
            }
            let consumed = newline.map_or(available.len(), |at| at + 1);
            self.input.consume(consumed);
            if newline.is_some() {
                return Ok(Some(if overlong { Line::Overlong(line) } else { Line::Whole(line) }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8], limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(input, limit);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_cut_and_the_next_one_is_whole() {
        let long = vec![b'x'; 200_000];
        let mut input = b"a\n".to_vec();
        input.extend_from_slice(&long);
        input.extend_from_slice(b"\nlast");
        let lines = lines(&input, 100_000).await;
        assert_eq!(lines[0], Line::Whole(b"a".to_vec()));
        assert!(
            matches!(&lines[1], Line::Overlong(head) if head.len() <= KEPT_OF_OVERLONG && head[0] == b'x')
        );
        assert_eq!(lines[2], Line::Whole(b"last".to_vec()), "the end of the input ends a line too");
    }

    #[tokio::test]
    async fn exactly_the_limit_is_whole() {
        assert_eq!(
            lines(b"abc\nabcd\n", 3).await,
            [Line::Whole(b"abc".to_vec()), Line::Overlong(b"abcd".to_vec())]
        );
    }
}
