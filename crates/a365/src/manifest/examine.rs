//! From a manifest's bytes to servers and findings, in one pass: `load` and `lint` cannot differ.

use entrabot_identity::Resource;
use serde_json::{Map, Value};

use super::{Finding, Server};
use crate::strict_json::{self, StrictJsonError};
use crate::{Diagnose as _, EgressAllowlist, ServerName, catalog};

const MAX_SERVERS: usize = 128;
const KNOWN_ROOT: &[&str] = &["$schema", "version", "mcpServers"];

/// What a manifest may say.
pub(super) struct Rules<'a> {
    pub(super) allowlist: &'a EgressAllowlist,
    /// Named by the operator, and not just found in the current directory.
    pub(super) trusted: bool,
}

/// Every server that is sound, and every finding.
pub(super) fn examine(bytes: &[u8], rules: &Rules<'_>) -> (Vec<Server>, Vec<Finding>) {
    let mut examiner = Examiner { rules, servers: Vec::new(), findings: Vec::new() };
    examiner.document(bytes);
    (examiner.servers, examiner.findings)
}

struct Examiner<'a> {
    rules: &'a Rules<'a>,
    servers: Vec<Server>,
    findings: Vec<Finding>,
}

impl Examiner<'_> {
    fn error(&mut self, field: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.push(Finding::error(field, message, hint));
    }
    fn warn(&mut self, field: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.push(Finding::warning(field, message, hint));
    }

    fn document(&mut self, bytes: &[u8]) {
        if bytes.starts_with(&[0xff, 0xfe])
            || bytes.starts_with(&[0xfe, 0xff])
            || bytes.iter().take(4).any(|b| *b == 0)
        {
            return self.error("", "is UTF-16, UTF-32 or binary", "save it as UTF-8");
        }
        let text = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
        let root = match strict_json::parse(text) {
            Ok(Value::Object(root)) => root,
            Ok(_) => {
                return self.error("", "has a root that is not an object", "write {\"mcpServers\": [...]}");
            }
            Err(error) => {
                let hint = match error {
                    StrictJsonError::DuplicateKey => "keep one of the two",
                    _ => "correct the JSON",
                };
                return self.error("", error.to_string(), hint);
            }
        };
        for key in root.keys().filter(|key| !KNOWN_ROOT.contains(&key.as_str())) {
            tracing::debug!(length = key.len(), "an unknown field of the manifest is ignored");
        }
        let entries = match root.get("mcpServers") {
            Some(Value::Array(entries)) => entries,
            Some(_) => return self.error("mcpServers", "is not a list", "write {\"mcpServers\": [...]}"),
            None => return self.error("mcpServers", "is missing", "write {\"mcpServers\": [...]}"),
        };
        if entries.len() > MAX_SERVERS {
            return self.error("mcpServers", "holds more than 128 servers", "keep the servers that are used");
        }
        for (index, entry) in entries.iter().enumerate() {
            self.entry(index, entry);
        }
        if entries.is_empty() {
            self.warn("mcpServers", "is empty", "add a server, e.g. with the a365 tool's add-mcp-servers");
        }
    }

    fn entry(&mut self, index: usize, entry: &Value) {
        let at = |field: &str| format!("mcpServers[{index}].{field}");
        let Value::Object(entry) = entry else {
            return self.error(
                format!("mcpServers[{index}]"),
                "is not an object",
                "write one object per server",
            );
        };
        let before = self.errors();
        let name = self.name(&at("mcpServerName"), entry, "mcpServerName");
        let unique = self.name(&at("mcpServerUniqueName"), entry, "mcpServerUniqueName");
        let url = self.text(&at("url"), entry, "url");
        let scope = self.text(&at("scope"), entry, "scope");
        let audience = self.text(&at("audience"), entry, "audience");
        if entry.contains_key("headers") {
            self.warn(at("headers"), "is ignored", "remove it: a file cannot set request headers");
        }
        // One name stands for the other where it is missing.
        let (name, other_name) = match (name, unique) {
            (Some(name), unique) => (name, unique),
            (None, Some(unique)) => (unique, None),
            (None, None) => {
                if self.errors() == before {
                    self.error(at("mcpServerName"), "is missing", "name the server, e.g. mcp_WordServer");
                }
                return;
            }
        };
        self.duplicates(index, &name, other_name.as_ref());
        self.advise(&at("audience"), &at("scope"), &name, audience, scope);
        let Some(resource) = self.resource(&at("audience"), audience, scope) else { return };
        let endpoint = match url.map(str::trim_ascii).filter(|url| !url.is_empty()) {
            // The text as it stands: white space around it is one more trick.
            Some(_) => self.rules.allowlist.endpoint(url.unwrap_or_default(), resource),
            None => self.rules.allowlist.default_endpoint(name.as_str(), resource),
        };
        let endpoint = match endpoint {
            Ok(endpoint) => endpoint,
            Err(error) => {
                let hint = error.hint().unwrap_or_default();
                return self.error(at("url"), error.to_string(), hint);
            }
        };
        if self.errors() > before {
            return;
        }
        let scope =
            scope.filter(|scope| !scope.is_empty() && !scope.eq_ignore_ascii_case("null")).map(str::to_owned);
        self.servers.push(Server { name, other_name, endpoint, scope });
    }

    fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == super::Severity::Error).count()
    }

    /// A string field; `null` counts as absent.
    fn text<'v>(&mut self, at: &str, entry: &'v Map<String, Value>, field: &str) -> Option<&'v str> {
        match entry.get(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.error(at, "is not a string", "write a string, or leave it out");
                None
            }
        }
    }

    fn name(&mut self, at: &str, entry: &Map<String, Value>, field: &str) -> Option<ServerName> {
        let text = self.text(at, entry, field)?;
        if text.is_empty() {
            return None;
        }
        match ServerName::parse(text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.error(at, format!("is refused: {error}"), "use the name of the add-mcp-servers command");
                None
            }
        }
    }

    /// Both names of an entry are keys, and a key means one server, however it is spelled.
    fn duplicates(&mut self, index: usize, name: &ServerName, other: Option<&ServerName>) {
        let taken = std::iter::once(name)
            .chain(other)
            .any(|key| self.servers.iter().any(|server| server.answers_to(key.as_str())));
        if taken {
            let message = format!("has the name of an earlier server ({name})");
            self.error(format!("mcpServers[{index}]"), message, "keep one entry per name, whatever its case");
        }
    }

    fn resource(&mut self, at: &str, audience: Option<&str>, scope: Option<&str>) -> Option<Resource> {
        let foreign = audience.is_some_and(|audience| {
            let audience = audience.trim();
            !audience.is_empty()
                && !audience.eq_ignore_ascii_case("default")
                && !audience.eq_ignore_ascii_case("null")
                && !catalog::is_work_iq_audience(audience)
        });
        if foreign && !self.rules.trusted && !self.rules.allowlist.has_custom_base() {
            self.error(
                at,
                "is no audience of Work IQ, in a manifest that was only found in the current directory",
                "name the manifest in ENTRABOT_A365_TOOLING_MANIFEST if you trust it",
            );
            return None;
        }
        if let Ok(resource) = Resource::from_scope(&catalog::token_scope(audience, scope)) {
            return Some(resource);
        }
        self.error(at, "makes no token scope together with `scope`", "use printable ASCII without spaces");
        None
    }

    /// What works, and may not be meant.
    fn advise(
        &mut self,
        audience_at: &str,
        scope_at: &str,
        name: &ServerName,
        audience: Option<&str>,
        scope: Option<&str>,
    ) {
        let Some(known) = catalog::server(name.as_str()) else { return };
        if let Some(note) = known.note {
            self.warn(audience_at, format!("belongs to {name}: {note}"), "add the newer server beside it");
        }
        let audience = audience.map(catalog::bare_audience).unwrap_or_default();
        let scope = scope.unwrap_or_default();
        let v2 = known.v2_audience.is_some_and(|own| own.eq_ignore_ascii_case(audience));
        let v1 = audience.eq_ignore_ascii_case(catalog::SHARED_AUDIENCE);
        if v2 && scope.starts_with("McpServers.") {
            self.warn(scope_at, "is a V1 scope with a V2 audience", "use Tools.ListInvoke.All");
        }
        if v1 && scope.starts_with("Tools.") {
            let hint = known.v1_scope.map_or_else(String::new, |scope| format!("use {scope}"));
            self.warn(scope_at, "is a V2 scope with the audience that V1 servers share", hint);
        }
        let other = catalog::SERVERS.iter().find(|other| {
            !other.name.eq_ignore_ascii_case(known.name)
                && other.v2_audience.is_some_and(|own| own.eq_ignore_ascii_case(audience))
        });
        if let Some(other) = other {
            self.warn(
                audience_at,
                format!("is the audience of {}", other.name),
                "use the server's own audience",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Severity;

    fn run(text: &str, trusted: bool) -> (Vec<Server>, Vec<Finding>) {
        examine(text.as_bytes(), &Rules { allowlist: &EgressAllowlist::microsoft(), trusted })
    }

    fn refusal(text: &str) -> Finding {
        let (_, findings) = run(text, true);
        findings.into_iter().find(|finding| finding.severity == Severity::Error).expect("a refusal")
    }

    fn entry(fields: &str) -> String {
        format!(r#"{{"mcpServers":[{{{fields}}}]}}"#)
    }

    const WORD: &str = r#""mcpServerName":"mcp_WordServer","mcpServerUniqueName":"mcp_WordServer""#;

    #[test]
    fn valid_manifests_of_every_shape_are_read() {
        let shared = "ea9ffc3e-8a23-4a7d-836d-234d7c7565c1/.default";
        let url = "https://agent365.svc.cloud.microsoft/agents/servers/mcp_WordServer";
        for (fields, scope) in [
            (
                format!(
                    r#"{WORD},"scope":"McpServers.Word.All","audience":"ea9ffc3e-8a23-4a7d-836d-234d7c7565c1""#
                ),
                shared,
            ),
            (format!(r#"{WORD},"audience":"default","url":"{url}/""#), shared),
            (r#""mcpServerName":"mcp_WordServer""#.to_owned(), shared),
            (r#""mcpServerUniqueName":"mcp_WordServer","url":null"#.to_owned(), shared),
            (format!(r#"{WORD},"scope":"null","publisher":"Microsoft","extra":{{"a":1}},"url":"" "#), shared),
            (
                format!(
                    r#"{WORD},"scope":"Tools.ListInvoke.All","audience":"c2d0c2b6-8013-4346-9f8b-b81d3b754a29""#
                ),
                "c2d0c2b6-8013-4346-9f8b-b81d3b754a29/Tools.ListInvoke.All",
            ),
        ] {
            let (servers, findings) = run(&entry(&fields), false);
            assert!(findings.is_empty(), "{fields}: {findings:?}");
            assert_eq!(servers[0].endpoint().resource().scope(), scope, "{fields}");
            assert_eq!(servers[0].name().as_str(), "mcp_WordServer");
        }
    }

    #[test]
    fn a_byte_order_mark_is_accepted_and_utf16_is_named() {
        let text = format!("\u{feff}{}", entry(WORD));
        assert_eq!(run(&text, true).0.len(), 1);
        let utf16: Vec<u8> = std::iter::once(0xfeff_u16)
            .chain(entry(WORD).encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let rules = Rules { allowlist: &EgressAllowlist::microsoft(), trusted: true };
        assert!(examine(&utf16, &rules).1[0].message.contains("UTF-16"));
        assert!(examine(&utf16[2..], &rules).1[0].message.contains("UTF-16"));
    }

    /// Case 41.
    #[test]
    fn one_name_never_means_two_servers() {
        let two = |a: &str, b: &str| format!(r#"{{"mcpServers":[{{{a}}},{{{b}}}]}}"#);
        let name = |name: &str| format!(r#""mcpServerName":"{name}""#);
        for text in [
            two(&name("mcp_X"), &name("mcp_X")),
            two(&name("mcp_X"), &name("MCP_x")),
            two(r#""mcpServerName":"a","mcpServerUniqueName":"b""#, &name("B")),
            two(&name("b"), r#""mcpServerName":"a","mcpServerUniqueName":"B""#),
        ] {
            assert!(refusal(&text).message.contains("earlier server"), "{text}");
        }
        assert_eq!(
            refusal(r#"{"mcpServers":[],"mcpServers":[]}"#).message,
            StrictJsonError::DuplicateKey.to_string()
        );
        assert_eq!(
            refusal(&entry(r#""mcpServerName":"a","mcpServerName":"b""#)).message,
            StrictJsonError::DuplicateKey.to_string()
        );
    }

    #[test]
    fn malformed_manifests_name_the_field() {
        for (text, field) in [
            ("", ""),
            ("[]", ""),
            ("{}", "mcpServers"),
            (r#"{"mcpServers":{}}"#, "mcpServers"),
            (r#"{"mcpServers":[7]}"#, "mcpServers[0]"),
            (r#"{"mcpServers":[{}]}"#, "mcpServers[0].mcpServerName"),
            (&entry(r#""mcpServerName":7"#), "mcpServers[0].mcpServerName"),
            (&entry(r#""mcpServerName":"a/b""#), "mcpServers[0].mcpServerName"),
            (&entry(r#""mcpServerName":"a","url":["x"]"#), "mcpServers[0].url"),
            (&entry(r#""mcpServerName":"a","url":"mcp_W365ComputerUse""#), "mcpServers[0].url"),
            (
                &entry(r#""mcpServerName":"a","url":"http://agent365.svc.cloud.microsoft/agents/servers/a""#),
                "mcpServers[0].url",
            ),
            (
                &entry(
                    r#""mcpServerName":"a","url":" https://agent365.svc.cloud.microsoft/agents/servers/a""#,
                ),
                "mcpServers[0].url",
            ),
            (&entry(r#""mcpServerName":"a-b.c""#), "mcpServers[0].url"),
            (&entry(r#""mcpServerName":"a","audience":"x y""#), "mcpServers[0].audience"),
        ] {
            assert_eq!(refusal(text).field, field, "{text}");
        }
    }

    #[test]
    fn a_manifest_that_was_only_found_names_no_foreign_audience() {
        let text = entry(r#""mcpServerName":"a","audience":"11111111-2222-3333-4444-555555555555""#);
        assert!(run(&text, true).1.is_empty());
        let (servers, findings) = run(&text, false);
        assert!(servers.is_empty());
        assert_eq!(findings[0].field, "mcpServers[0].audience");
    }

    #[test]
    fn headers_in_a_file_are_ignored_with_a_warning() {
        let (servers, findings) =
            run(&entry(&format!(r#"{WORD},"headers":{{"Authorization":"Bearer x"}}"#)), true);
        assert_eq!(servers.len(), 1);
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Warning));
        assert_eq!(findings[0].field, "mcpServers[0].headers");
    }

    #[test]
    fn a_mix_of_v1_and_v2_is_pointed_out() {
        let mixed = format!(
            r#"{WORD},"scope":"McpServers.Word.All","audience":"c2d0c2b6-8013-4346-9f8b-b81d3b754a29""#
        );
        let (servers, findings) = run(&entry(&mixed), true);
        assert_eq!(servers.len(), 1);
        assert!(findings[0].message.contains("V1 scope"), "{findings:?}");
    }

    #[test]
    fn a_finding_repeats_nothing_of_the_file_but_checked_names() {
        for text in [
            entry(r#""mcpServerName":"PLANTED<script>""#),
            entry(r#""mcpServerName":"a","url":"https://PLANTED.example/""#),
            entry(r#""mcpServerName":"a","audience":"PLANTED x""#),
            r#"{"PLANTED":1,"PLANTED":2}"#.to_owned(),
        ] {
            assert!(!format!("{:?}", refusal(&text)).contains("PLANTED"), "{text}");
        }
    }
}
