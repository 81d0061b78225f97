//! What a person is asked, in words that say what is about to happen.

use std::borrow::Cow;

use entrabot_a365::OfferedTool;
use rmcp::model::JsonObject;
use serde_json::Value;

use crate::failure::visible;
use crate::mcp::arguments::Arguments;

/// Characters of a content that are shown.
const SHOWN: usize = 1_500;

/// The question about one call.
pub(in crate::mcp) struct Question {
    tool: Cow<'static, str>,
    /// The call itself, byte for byte: what a sealed answer is good for.
    call: Vec<u8>,
    act: Act,
}

/// What a tool is about to do.
pub(in crate::mcp) struct Act {
    /// Ends before "agent NAME?".
    does: String,
    content: Option<Content>,
}

struct Content {
    /// E.g. "The comment".
    is: &'static str,
    text: String,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("tool", &self.tool).finish_non_exhaustive()
    }
}

impl Question {
    /// About a call of `tool` with checked arguments.
    pub(in crate::mcp) fn new(tool: &'static str, arguments: &Arguments, act: Act) -> Self {
        let mut call = tool.as_bytes().to_vec();
        for (name, value) in arguments.iter() {
            for part in [name, value] {
                call.extend_from_slice(&(part.len() as u64).to_be_bytes());
                call.extend_from_slice(part.as_bytes());
            }
        }
        Self { tool: tool.into(), call, act }
    }

    /// About a call of another server's tool, which goes by `name` here.
    pub(in crate::mcp) fn exposed(name: &str, tool: &OfferedTool, arguments: &JsonObject) -> Self {
        // Also to the definition that was shown: the answer is good for no other.
        let mut call = [name, "\n", tool.sha256(), "\n"].concat().into_bytes();
        call.extend(Value::from(arguments.clone()).to_string().into_bytes());
        Self { tool: name.to_owned().into(), call, act: Act::exposed(tool, arguments) }
    }

    pub(super) fn tool(&self) -> &str {
        &self.tool
    }

    pub(super) fn call(&self) -> &[u8] {
        &self.call
    }

    /// For a person's eyes only. Lines of the content are marked, so that none of them passes for ours.
    pub(super) fn text(&self, agent: &str) -> String {
        let mut text = format!("{} agent {}?", self.act.does, visible(agent));
        let Some(content) = &self.act.content else { return text };
        let length = content.text.chars().count();
        let rest = if length > SHOWN {
            format!(", the first {SHOWN} of {length} characters")
        } else {
            String::new()
        };
        text.push_str(&format!("\n\n{}{rest}:", content.is));
        let shown: String = content.text.chars().take(SHOWN).collect();
        for line in shown.lines() {
            text.push_str("\n> ");
            text.push_str(&visible(line));
        }
        text
    }
}

impl Act {
    /// A tool of another server.
    fn exposed(tool: &OfferedTool, arguments: &JsonObject) -> Self {
        let text = format!("{:#}", Value::from(arguments.clone()));
        Self {
            does: format!("Call {} of {} as", tool.tool(), tool.server()),
            content: Some(Content { is: "Its arguments", text }),
        }
    }

    /// `create_word_document`.
    pub(in crate::mcp) fn create_document(arguments: &Arguments) -> Self {
        let name = arguments.get("file_name");
        let what =
            if name.is_empty() { "a Word document with an automatic name".to_owned() } else { quoted(name) };
        Self {
            does: format!("Create {what} in the OneDrive of"),
            content: Some(Content {
                is: "Its content, as HTML",
                text: arguments.get("content_html").to_owned(),
            }),
        }
    }

    /// `add_word_comment`.
    pub(in crate::mcp) fn comment(arguments: &Arguments) -> Self {
        Self {
            does: format!("Comment on {} as", document(arguments)),
            content: Some(Content { is: "The comment", text: arguments.get("content").to_owned() }),
        }
    }

    /// `reply_to_word_comment`.
    pub(in crate::mcp) fn reply(arguments: &Arguments) -> Self {
        let comment = quoted(arguments.get("comment_id"));
        Self {
            does: format!("Reply to comment {comment} in {} as", document(arguments)),
            content: Some(Content { is: "The reply", text: arguments.get("content").to_owned() }),
        }
    }
}

fn document(arguments: &Arguments) -> String {
    let (document, drive) = (quoted(arguments.get("document_id")), quoted(arguments.get("drive_id")));
    format!("the Word document {document} in drive {drive}")
}

/// On one line, and unable to end its own quotation.
fn quoted(text: &str) -> String {
    format!("\"{}\"", visible(text).replace('"', "'"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mcp::request::Request;
    use crate::mcp::tools::ToolSpec;

    fn question(tool: &str, given: serde_json::Value) -> Question {
        let given = given.as_object().cloned();
        let (_, question) = Request::parse(ToolSpec::named(tool).unwrap(), given).unwrap();
        question.expect("a write is asked about")
    }

    #[test]
    fn the_question_names_the_act_and_shows_the_content() {
        let asked = question(
            "create_word_document",
            json!({"file_name": "Q3 report.docx", "content_html": "<h1>Sales</h1>\n<p>Up 4 %</p>"}),
        );
        assert_eq!(
            asked.text("iris@contoso.example"),
            "Create \"Q3 report.docx\" in the OneDrive of agent iris@contoso.example?\n\n\
             Its content, as HTML:\n> <h1>Sales</h1>\n> <p>Up 4 %</p>"
        );
        let asked = question(
            "reply_to_word_comment",
            json!({"drive_id": "b!1", "document_id": "01A", "comment_id": "7", "content": "Agreed."}),
        );
        assert_eq!(
            asked.text("iris"),
            "Reply to comment \"7\" in the Word document \"01A\" in drive \"b!1\" as agent iris?\n\nThe reply:\n> Agreed."
        );
    }

    #[test]
    fn content_cannot_pass_for_the_question() {
        let asked = question(
            "create_word_document",
            json!({"file_name": "x\" in drive \"y", "content_html":
                "<p>\r\n\nPress accept to stop the agent.\u{2028}Really.\u{202e}"}),
        );
        let text = asked.text("a");
        assert!(text.starts_with("Create \"x' in drive 'y\" in the OneDrive of agent a?\n\n"), "{text}");
        let (_, content) = text.split_once("\n\n").unwrap();
        assert!(content.lines().skip(1).all(|line| line.starts_with("> ")), "{text}");
        assert!(!text.contains(['\u{2028}', '\u{202e}', '\r']), "{text}");
    }

    #[test]
    fn a_long_content_is_cut_and_says_so() {
        let html = "é".repeat(2_000);
        let asked = question("create_word_document", json!({"file_name": "", "content_html": html}));
        let text = asked.text("a");
        assert!(text.contains("a Word document with an automatic name"), "{text}");
        assert!(text.contains("the first 1500 of 2000 characters"), "{text}");
        assert_eq!(text.matches('é').count(), 1_500);
    }

    #[test]
    fn reads_and_records_are_not_asked_about_and_debug_shows_no_content() {
        for (tool, given) in [
            ("whoami", json!({})),
            ("audit_log", json!({"action": "a", "resource": "r"})),
            ("read_word_document", json!({"url": "https://x.example/"})),
        ] {
            let parsed = Request::parse(ToolSpec::named(tool).unwrap(), given.as_object().cloned()).unwrap();
            assert!(parsed.1.is_none(), "{tool}");
        }
        let asked =
            question("create_word_document", json!({"file_name": "PLANTED", "content_html": "PLANTED"}));
        assert!(!format!("{asked:?}").contains("PLANTED"));
    }
}
