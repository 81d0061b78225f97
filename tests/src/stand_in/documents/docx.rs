//! Blocks to a `.docx` that Word and LibreOffice open, and its text and comments back out of the file.

use std::fs::File;
use std::io;
use std::path::Path;

use docx_rs::{
    AbstractNumbering, BreakType, Comment as DocxComment, CommentChild, DocumentChild, Docx, Hyperlink,
    HyperlinkType, IndentLevel, Level, LevelJc, LevelText, NumberFormat, Numbering, NumberingId, Paragraph,
    ParagraphChild, Run as DocxRun, RunChild, RunFonts, SpecialIndentType, Start, Style, StyleType, Table,
    TableCell, TableCellContent, TableChild, TableRow, TableRowChild, WidthType,
};

use super::html::{Block, Cell, Looks, Run};

/// Width of the text in twentieths of a point: A4 with margins of an inch.
const TEXT_WIDTH: usize = 9026;
const BULLETS: usize = 2;
const FIRST_ORDERED: usize = 10;

/// A comment in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comment {
    pub(crate) id: usize,
    /// The comment it replies to.
    pub(crate) parent: Option<usize>,
    pub(crate) author: String,
    pub(crate) date: String,
    pub(crate) text: String,
}

/// Writes the document; comments stand at its first paragraph.
pub(crate) fn write(path: &Path, blocks: &[Block], comments: &[Comment]) -> io::Result<()> {
    let mut document = styled();
    let mut pending = Some(comments);
    for block in blocks {
        document = match block {
            Block::Table(rows) => document.add_table(table(rows)).add_paragraph(Paragraph::new()),
            Block::Heading { level, runs } => {
                let paragraph = Paragraph::new().style(&format!("Heading{level}"));
                document.add_paragraph(fill(paragraph, runs, pending.take()))
            }
            Block::Paragraph { runs, quote } => {
                let mut paragraph = Paragraph::new();
                if *quote {
                    paragraph = paragraph.style("Quote");
                }
                document.add_paragraph(fill(paragraph, runs, pending.take()))
            }
            Block::Item { list, ordered, level, runs } => {
                let numbering = if *ordered { FIRST_ORDERED + list } else { BULLETS };
                let paragraph = Paragraph::new()
                    .style("ListParagraph")
                    .numbering(NumberingId::new(numbering), IndentLevel::new((*level).min(8)));
                document.add_paragraph(fill(paragraph, runs, pending.take()))
            }
        };
    }
    if let Some(comments) = pending {
        document = document.add_paragraph(fill(Paragraph::new(), &[], Some(comments)));
    }
    for (list, ordered) in lists(blocks) {
        if ordered {
            document = document
                .add_abstract_numbering(numbering(FIRST_ORDERED + list, true))
                .add_numbering(Numbering::new(FIRST_ORDERED + list, FIRST_ORDERED + list));
        }
    }
    // Whole or not at all: a reader may come between two comments.
    let beside = path.with_extension("docx.new");
    let mut parts = document.build();
    mark_default_style(&mut parts.styles);
    parts.pack(File::create(&beside)?).map_err(io::Error::other)?;
    std::fs::rename(beside, path)
}

/// The crate writes a style `Normal` but does not say that it is the default one; readers other than
/// Word then find paragraphs without a style.
fn mark_default_style(styles: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(styles);
    let plain = r#"<w:style w:type="paragraph" w:styleId="Normal">"#;
    *styles = text
        .replacen(plain, r#"<w:style w:type="paragraph" w:default="1" w:styleId="Normal">"#, 1)
        .into_bytes();
}

fn styled() -> Docx {
    let mut document = Docx::new()
        .default_size(22)
        .default_fonts(RunFonts::new().ascii("Calibri").hi_ansi("Calibri").east_asia("Noto Sans CJK SC"))
        .add_style(Style::new("ListParagraph", StyleType::Paragraph).name("List Paragraph"))
        .add_style(Style::new("Quote", StyleType::Paragraph).name("Quote").italic().indent(
            Some(720),
            None,
            None,
            None,
        ))
        .add_style(
            Style::new("Hyperlink", StyleType::Character)
                .name("Hyperlink")
                .color("0563C1")
                .underline("single"),
        )
        .add_abstract_numbering(numbering(BULLETS, false))
        .add_numbering(Numbering::new(BULLETS, BULLETS));
    for (level, size) in (1..=6).zip([36, 30, 26, 24, 22, 22]) {
        let style = Style::new(format!("Heading{level}"), StyleType::Paragraph)
            .name(format!("heading {level}"))
            .based_on("Normal")
            .next("Normal")
            .q_format(true)
            .outline_lvl(level - 1)
            .size(size)
            .bold()
            .color("1F3864");
        document = document.add_style(style);
    }
    document
}

fn numbering(id: usize, ordered: bool) -> AbstractNumbering {
    (0..9).fold(AbstractNumbering::new(id), |numbering, level| {
        let (format, text) = if ordered {
            ("decimal", format!("%{}.", level + 1))
        } else {
            ("bullet", ["•", "◦", "▪"][level % 3].to_owned())
        };
        let indent = i32::try_from(720 * (level + 1)).expect("nine levels are few");
        numbering.add_level(
            Level::new(
                level,
                Start::new(1),
                NumberFormat::new(format),
                LevelText::new(text),
                LevelJc::new("left"),
            )
            .indent(Some(indent), Some(SpecialIndentType::Hanging(360)), None, None),
        )
    })
}

fn lists(blocks: &[Block]) -> Vec<(usize, bool)> {
    let mut lists: Vec<(usize, bool)> = blocks
        .iter()
        .filter_map(|block| match block {
            Block::Item { list, ordered, .. } => Some((*list, *ordered)),
            _ => None,
        })
        .collect();
    lists.sort_unstable();
    lists.dedup();
    lists
}

fn table(rows: &[Vec<Cell>]) -> Table {
    let columns =
        rows.iter().map(|row| row.iter().map(|cell| cell.span).sum::<usize>()).max().unwrap_or(1).max(1);
    let width = TEXT_WIDTH / columns;
    let rows = rows.iter().map(|row| {
        let cells = row.iter().map(|cell| {
            let mut out = TableCell::new().width(width * cell.span, WidthType::Dxa);
            if cell.span > 1 {
                out = out.grid_span(cell.span);
            }
            for runs in &cell.paragraphs {
                let runs: Vec<Run> = runs
                    .iter()
                    .cloned()
                    .map(|mut run| {
                        run.looks.bold |= cell.header;
                        run
                    })
                    .collect();
                out = out.add_paragraph(fill(Paragraph::new(), &runs, None));
            }
            // Word refuses a cell without a paragraph.
            if cell.paragraphs.is_empty() { out.add_paragraph(Paragraph::new()) } else { out }
        });
        TableRow::new(cells.collect())
    });
    Table::new(rows.collect()).set_grid(vec![width; columns]).width(width * columns, WidthType::Dxa)
}

fn fill(mut paragraph: Paragraph, runs: &[Run], comments: Option<&[Comment]>) -> Paragraph {
    let comments = comments.unwrap_or_default();
    for comment in comments {
        let body = comment
            .text
            .lines()
            .fold(DocxComment::new(comment.id), |docx, line| {
                docx.add_paragraph(Paragraph::new().add_run(DocxRun::new().add_text(line)))
            })
            .author(&comment.author)
            .date(&comment.date);
        let body = match comment.parent {
            Some(parent) => body.parent_comment_id(parent),
            None => body,
        };
        paragraph = paragraph.add_comment_start(body);
    }
    for run in runs {
        let made = docx_run(run);
        paragraph = match &run.link {
            Some(target) => {
                let link = match target.strip_prefix('#') {
                    Some(anchor) => Hyperlink::new(anchor, HyperlinkType::Anchor),
                    None => Hyperlink::new(target, HyperlinkType::External),
                };
                paragraph.add_hyperlink(link.add_run(made.style("Hyperlink")))
            }
            None => paragraph.add_run(made),
        };
    }
    for comment in comments {
        paragraph = paragraph.add_comment_end(comment.id);
    }
    paragraph
}

fn docx_run(run: &Run) -> DocxRun {
    let mut made = DocxRun::new();
    if run.break_before {
        made = made.add_break(BreakType::TextWrapping);
    }
    for (number, piece) in run.text.split('\t').enumerate() {
        if number > 0 {
            made = made.add_tab();
        }
        if !piece.is_empty() {
            made = made.add_text(piece);
        }
    }
    let Looks { bold, italic, underline, strike, code } = run.looks;
    if bold {
        made = made.bold();
    }
    if italic {
        made = made.italic();
    }
    if underline {
        made = made.underline("single");
    }
    if strike {
        made = made.strike();
    }
    if code {
        made = made.fonts(RunFonts::new().ascii("Consolas").hi_ansi("Consolas"));
    }
    made
}

/// The plain text (a paragraph a line, cells parted by tabs) and the comments of a document.
pub(crate) fn read(bytes: &[u8]) -> io::Result<(String, Vec<Comment>)> {
    let document = docx_rs::read_docx(bytes).map_err(io::Error::other)?;
    let mut lines = Vec::new();
    for child in &document.document.children {
        match child {
            DocumentChild::Paragraph(paragraph) => lines.push(paragraph_text(paragraph)),
            DocumentChild::Table(table) => lines.extend(table_text(table)),
            _ => {}
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let comments = document.comments.inner().iter().map(|comment| {
        let text: Vec<String> = comment
            .children
            .iter()
            .filter_map(|child| match child {
                CommentChild::Paragraph(paragraph) => Some(paragraph_text(paragraph)),
                CommentChild::Table(_) => None,
            })
            .collect();
        Comment {
            id: comment.id,
            parent: comment.parent_comment_id,
            author: comment.author.clone(),
            date: comment.date.clone(),
            text: text.join("\n"),
        }
    });
    let mut comments: Vec<Comment> = comments.collect();
    comments.sort_by_key(|comment| comment.id);
    Ok((lines.join("\n"), comments))
}

fn paragraph_text(paragraph: &Paragraph) -> String {
    let mut text = String::new();
    for child in &paragraph.children {
        children_text(child, &mut text);
    }
    text
}

fn children_text(child: &ParagraphChild, text: &mut String) {
    match child {
        ParagraphChild::Run(run) => {
            for part in &run.children {
                match part {
                    RunChild::Text(piece) => text.push_str(&piece.text),
                    RunChild::Tab(_) => text.push('\t'),
                    RunChild::Break(_) => text.push('\n'),
                    _ => {}
                }
            }
        }
        ParagraphChild::Hyperlink(link) => {
            for child in &link.children {
                children_text(child, text);
            }
        }
        _ => {}
    }
}

fn table_text(table: &Table) -> Vec<String> {
    let rows = table.rows.iter().map(|TableChild::TableRow(row)| {
        let cells = row.cells.iter().map(|TableRowChild::TableCell(cell)| {
            let paragraphs = cell.children.iter().filter_map(|content| match content {
                TableCellContent::Paragraph(paragraph) => Some(paragraph_text(paragraph)),
                _ => None,
            });
            paragraphs.collect::<Vec<_>>().join(" ")
        });
        cells.collect::<Vec<_>>().join("\t")
    });
    rows.collect()
}
