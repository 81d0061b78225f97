//! HTML to blocks: the subset that documents are written in. Unknown elements are looked through,
//! scripts and styles dropped.

use html5gum::{Token, Tokenizer};

/// A piece of text with its looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) text: String,
    pub(crate) looks: Looks,
    pub(crate) link: Option<String>,
    /// A line break stands before the text.
    pub(crate) break_before: bool,
}

/// How a run looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    pub(crate) bold: bool,
    pub(crate) italic: bool,
    pub(crate) underline: bool,
    pub(crate) strike: bool,
    pub(crate) code: bool,
}

/// A block of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    Heading {
        level: usize,
        runs: Vec<Run>,
    },
    Paragraph {
        runs: Vec<Run>,
        quote: bool,
    },
    /// An item of a list; all items of one list share its number.
    Item {
        list: usize,
        ordered: bool,
        level: usize,
        runs: Vec<Run>,
    },
    Table(Vec<Vec<Cell>>),
}

/// A table cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) header: bool,
    pub(crate) span: usize,
    /// One entry for each paragraph in it.
    pub(crate) paragraphs: Vec<Vec<Run>>,
}

/// Parses a document or a fragment.
pub(crate) fn parse(html: &str) -> Vec<Block> {
    let mut builder = Builder::default();
    for Ok(token) in Tokenizer::new(html) {
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                let attribute = |wanted: &str| {
                    tag.attributes
                        .iter()
                        .find(|(name, _)| name.as_slice() == wanted.as_bytes())
                        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
                };
                builder.open(&name, attribute("href"), attribute("colspan"));
            }
            Token::EndTag(tag) => builder.close(&String::from_utf8_lossy(&tag.name)),
            Token::String(text) => builder.text(&String::from_utf8_lossy(&text)),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    builder.flush();
    builder.end_table();
    builder.blocks
}

#[derive(Debug, Default)]
struct Builder {
    blocks: Vec<Block>,
    runs: Vec<Run>,
    heading: Option<usize>,
    /// Open lists: number and whether ordered.
    lists: Vec<(usize, bool)>,
    list_count: usize,
    in_item: bool,
    quote: usize,
    preformatted: usize,
    hidden: usize,
    bold: usize,
    italic: usize,
    underline: usize,
    strike: usize,
    code: usize,
    link: Option<String>,
    table: Option<Vec<Vec<Cell>>>,
    in_cell: bool,
    break_next: bool,
}

impl Builder {
    fn open(&mut self, name: &str, href: Option<String>, span: Option<String>) {
        match name {
            "script" | "style" | "head" | "title" => self.hidden += 1,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.flush();
                self.heading = name[1..].parse().ok();
            }
            "p" | "div" | "section" | "article" | "header" | "footer" | "main" | "figure" | "figcaption"
            | "caption" | "dl" | "dt" | "dd" | "hr" => self.flush(),
            "blockquote" => {
                self.flush();
                self.quote += 1;
            }
            "pre" => {
                self.flush();
                self.preformatted += 1;
                self.code += 1;
            }
            "ul" | "ol" => {
                self.flush();
                self.list_count += 1;
                self.lists.push((self.list_count, name == "ol"));
            }
            "li" => {
                self.flush();
                self.in_item = true;
            }
            "table" => {
                self.flush();
                self.table = Some(Vec::new());
            }
            "tr" => {
                self.flush();
                if let Some(rows) = &mut self.table {
                    rows.push(Vec::new());
                }
            }
            "td" | "th" => {
                self.flush();
                if let Some(row) = self.table.as_mut().and_then(|rows| rows.last_mut()) {
                    let span = span.and_then(|text| text.parse().ok()).unwrap_or(1).clamp(1, 50);
                    row.push(Cell { header: name == "th", span, paragraphs: Vec::new() });
                    self.in_cell = true;
                }
            }
            "b" | "strong" => self.bold += 1,
            "i" | "em" | "cite" => self.italic += 1,
            "u" | "ins" => self.underline += 1,
            "s" | "del" | "strike" => self.strike += 1,
            "code" | "kbd" | "samp" | "tt" => self.code += 1,
            "a" => self.link = href,
            "br" => self.break_next = true,
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        let less = |count: &mut usize| *count = count.saturating_sub(1);
        match name {
            "script" | "style" | "head" | "title" => less(&mut self.hidden),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.flush();
                self.heading = None;
            }
            "p" | "div" | "section" | "article" | "header" | "footer" | "main" | "figure" | "figcaption"
            | "caption" | "dl" | "dt" | "dd" => self.flush(),
            "blockquote" => {
                self.flush();
                less(&mut self.quote);
            }
            "pre" => {
                self.flush();
                less(&mut self.preformatted);
                less(&mut self.code);
            }
            "ul" | "ol" => {
                self.flush();
                self.lists.pop();
                self.in_item = false;
            }
            "li" => {
                self.flush();
                self.in_item = false;
            }
            "table" => self.end_table(),
            "td" | "th" => {
                self.flush();
                self.in_cell = false;
            }
            "b" | "strong" => less(&mut self.bold),
            "i" | "em" | "cite" => less(&mut self.italic),
            "u" | "ins" => less(&mut self.underline),
            "s" | "del" | "strike" => less(&mut self.strike),
            "code" | "kbd" | "samp" | "tt" => less(&mut self.code),
            "a" => self.link = None,
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.hidden > 0 {
            return;
        }
        if self.preformatted > 0 {
            for (number, line) in text.split('\n').enumerate() {
                self.break_next |= number > 0;
                self.push(line.trim_end_matches('\r').to_owned());
            }
            return;
        }
        let mut collapsed = String::with_capacity(text.len());
        let mut space = self.runs.last().is_none_or(|run| run.text.ends_with(' ')) || self.break_next;
        for character in text.chars() {
            // A no-break space is text.
            if character.is_ascii_whitespace() {
                if !space {
                    collapsed.push(' ');
                }
                space = true;
            } else {
                collapsed.push(character);
                space = false;
            }
        }
        self.push(collapsed);
    }

    fn push(&mut self, text: String) {
        if text.is_empty() && !(self.break_next && self.preformatted > 0) {
            return;
        }
        // XML 1.0 has no place for control characters.
        let text: String = text.chars().filter(|letter| !letter.is_control() || *letter == '\t').collect();
        let looks = Looks {
            bold: self.bold > 0,
            italic: self.italic > 0,
            underline: self.underline > 0,
            strike: self.strike > 0,
            code: self.code > 0,
        };
        let break_before = std::mem::take(&mut self.break_next);
        self.runs.push(Run { text, looks, link: self.link.clone(), break_before });
    }

    /// Ends the present paragraph, whatever it is part of.
    fn flush(&mut self) {
        self.break_next = false;
        let mut runs = std::mem::take(&mut self.runs);
        if let Some(last) = runs.last_mut() {
            let kept = last.text.trim_end_matches(' ').len();
            last.text.truncate(kept);
        }
        if runs.iter().all(|run| run.text.is_empty()) {
            return;
        }
        if self.in_cell
            && let Some(cell) =
                self.table.as_mut().and_then(|rows| rows.last_mut()).and_then(|row| row.last_mut())
        {
            cell.paragraphs.push(runs);
            return;
        }
        let block = match (self.heading, self.lists.last()) {
            (Some(level), _) => Block::Heading { level, runs },
            (None, Some((list, ordered))) if self.in_item => {
                Block::Item { list: *list, ordered: *ordered, level: self.lists.len() - 1, runs }
            }
            _ => Block::Paragraph { runs, quote: self.quote > 0 },
        };
        self.blocks.push(block);
    }

    fn end_table(&mut self) {
        self.flush();
        self.in_cell = false;
        if let Some(mut rows) = self.table.take() {
            rows.retain(|row| !row.is_empty());
            if !rows.is_empty() {
                self.blocks.push(Block::Table(rows));
            }
        }
    }
}
