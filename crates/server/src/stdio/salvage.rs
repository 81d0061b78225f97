//! Finds the id in a line that is no JSON, so that its sender is not left waiting.

/// What could be made out of a broken line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Salvaged {
    /// The id as it stood there: a JSON string or number.
    pub(super) id: Option<String>,
    /// It has a `result` or an `error`: somebody's answer, which must not be answered.
    pub(super) is_answer: bool,
}

/// Longest id that is given back.
const MAX_ID: usize = 1024;

/// Walks over the top level of what may be the beginning of a JSON object, as far as it makes sense.
pub(super) fn salvage(text: &[u8]) -> Salvaged {
    let mut found = Salvaged::default();
    let mut walk = Walk { text, at: 0 };
    walk.blank();
    if !walk.eat(b'{') {
        return found;
    }
    loop {
        walk.blank();
        let Some(key) = walk.string() else { return found };
        walk.blank();
        if !walk.eat(b':') {
            return found;
        }
        walk.blank();
        let start = walk.at;
        let complete = walk.value();
        let value = &text[start..walk.at];
        match key {
            b"\"id\"" if found.id.is_none() && complete => found.id = scalar(value),
            b"\"result\"" | b"\"error\"" => found.is_answer = true,
            _ => {}
        }
        walk.blank();
        if !complete || !walk.eat(b',') {
            return found;
        }
    }
}

/// A string or number that JSON would take, no longer than what is given back.
pub(super) fn scalar(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_ID)?;
    match serde_json::from_str(text).ok()? {
        serde_json::Value::String(_) | serde_json::Value::Number(_) => Some(text.to_owned()),
        _ => None,
    }
}

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// A whole string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if !self.eat(b'"') {
            return None;
        }
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at)
    }

    /// Goes over one value without judging it; `false` when the text ended inside.
    fn value(&mut self) -> bool {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                None => return false,
                Some(b'"') => {
                    if self.string().is_none() {
                        self.at = self.text.len();
                        return false;
                    }
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') if depth == 0 => return true,
                Some(b'}' | b']') => depth -= 1,
                Some(b',') if depth == 0 => return true,
                Some(_) => {}
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<String> {
        salvage(text.as_bytes()).id
    }

    #[test]
    fn the_id_of_a_truncated_request_is_found() {
        assert_eq!(
            id(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":"#).as_deref(),
            Some("7")
        );
        assert_eq!(
            id(r#" {"method":"tools/call","params":{"id":1,"b":[{}]},"id":"x-1", bad"#).as_deref(),
            Some("\"x-1\"")
        );
        assert_eq!(id(r#"{"params":"a\"}{,","id":-3,"#).as_deref(), Some("-3"));
    }

    #[test]
    fn what_is_no_id_is_not_made_one() {
        for text in [
            r#"{"id":{},"method":"x","#,
            r#"{"id":[1],"#,
            r#"{"id":nul,"#,
            r#"{"id":12"#,
            r#"{"a":{"id":1},"#,
            "id:7",
            "",
            "{",
            r#"{"id"#,
            r#"{"id":"\"#,
            "[1,2",
            "{\"id\":1e",
        ] {
            assert_eq!(id(text), None, "{text}");
        }
        assert_eq!(id(&format!(r#"{{"id":"{}","#, "x".repeat(2000))), None);
    }

    #[test]
    fn an_answer_is_known_as_one() {
        assert!(salvage(br#"{"jsonrpc":"2.0","id":1,"error":{"code":"#).is_answer);
        assert!(!salvage(br#"{"jsonrpc":"2.0","id":1,"method":"error","#).is_answer);
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        for length in 0..64_usize {
            let noise: Vec<u8> = (0..length).map(|i| (i * 73 + 200) as u8).collect();
            salvage(&noise);
            salvage(&[b"{\"id\":\"", &noise[..], b"\",\""].concat());
        }
    }
}
