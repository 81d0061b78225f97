//! `$filter`, `$select`, `$top` and paging, as far as Graph takes them.

use serde_json::{Map, Value, json};

use super::error::GraphError;
use crate::stand_in::directory::Entry;
use crate::stand_in::http::Request;

/// Members that Graph refuses to filter by. Known: `agentIdentityBlueprintId`.
const NOT_FILTERABLE: &[&str] =
    &["agentIdentityBlueprintId", "identityParentId", "keyCredentials", "sponsors"];
const PAGE: usize = 100;

/// Answers a list request over these objects.
pub(crate) fn list<'a>(
    base: &str,
    request: &Request,
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<Value, GraphError> {
    let filter =
        request.parameter("$filter").map(|text| parse_filter(&text)).transpose()?.unwrap_or_default();
    let select = select(request);
    let found: Vec<&Entry> =
        entries.filter(|entry| filter.iter().all(|clause| clause.holds(entry))).collect();
    let page = request.parameter("$top").map(|text| text.parse::<usize>()).transpose();
    let page = match page {
        Ok(None) => PAGE,
        Ok(Some(size @ 1..=999)) => size,
        _ => {
            return Err(GraphError::bad_request(
                "Invalid page size specified. Must be between 1 and 999 inclusive.",
            ));
        }
    };
    let skip: usize = request.parameter("$skiptoken").and_then(|text| text.parse().ok()).unwrap_or(0);
    let values: Vec<Value> =
        found.iter().skip(skip).take(page).map(|entry| shown(entry, select.as_deref(), false)).collect();
    let mut body = json!({"@odata.context": format!("{base}/v1.0/$metadata"), "value": values});
    if skip + page < found.len() {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in url::form_urlencoded::parse(request.query.as_bytes()) {
            if name != "$skiptoken" {
                query.append_pair(&name, &value);
            }
        }
        query.append_pair("$skiptoken", &(skip + page).to_string());
        body["@odata.nextLink"] = json!(format!("{base}{}?{}", request.path, query.finish()));
    }
    Ok(body)
}

/// One object as a response shows it.
pub(crate) fn single(base: &str, request: &Request, entry: &Entry) -> Value {
    let mut body = shown(entry, select(request).as_deref(), true);
    body["@odata.context"] = json!(format!("{base}/v1.0/$metadata"));
    body
}

fn select(request: &Request) -> Option<Vec<String>> {
    let text = request.parameter("$select")?;
    Some(text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
}

/// The members that may be seen. A certificate's `key` shows only for one object whose
/// `keyCredentials` were selected by name.
fn shown(entry: &Entry, select: Option<&[String]>, single: bool) -> Value {
    let asked =
        |name: &str| select.is_none_or(|names| names.iter().any(|asked| asked.eq_ignore_ascii_case(name)));
    let mut body = Map::new();
    for (name, value) in &entry.body {
        // Guessed: the type of an agent object shows whatever was selected.
        if name.starts_with('_') || !(asked(name) || name == "@odata.type") {
            continue;
        }
        let mut value = value.clone();
        if name == "keyCredentials" {
            for key in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                key.remove("_effectiveAt");
                if !(single && select.is_some()) {
                    key.insert("key".into(), Value::Null);
                }
            }
        }
        body.insert(name.clone(), value);
    }
    Value::Object(body)
}

#[derive(Debug)]
struct Clause {
    member: String,
    value: String,
    prefix: bool,
}

impl Clause {
    fn holds(&self, entry: &Entry) -> bool {
        let member = self.member.as_str();
        let actual =
            entry.body.iter().find(|(name, _)| name.eq_ignore_ascii_case(member)).map(|(_, value)| value);
        let actual = match actual {
            Some(Value::String(text)) => text.to_lowercase(),
            Some(Value::Bool(flag)) => flag.to_string(),
            _ => return false,
        };
        let wanted = self.value.to_lowercase();
        if self.prefix { actual.starts_with(&wanted) } else { actual == wanted }
    }
}

/// `name eq 'text' and startswith(name,'text')`; a quote inside is doubled.
fn parse_filter(text: &str) -> Result<Vec<Clause>, GraphError> {
    let mut clauses = Vec::new();
    let mut rest = text.trim();
    loop {
        let (clause, after) = parse_clause(rest)?;
        if NOT_FILTERABLE.iter().any(|name| name.eq_ignore_ascii_case(&clause.member)) {
            let text = format!(
                "Unsupported or invalid query filter clause specified for property '{}'.",
                clause.member
            );
            return Err(GraphError::unsupported(text));
        }
        clauses.push(clause);
        rest = after.trim_start();
        if rest.is_empty() {
            return Ok(clauses);
        }
        rest = rest.strip_prefix("and ").ok_or_else(invalid)?.trim_start();
    }
}

fn parse_clause(text: &str) -> Result<(Clause, &str), GraphError> {
    if let Some(inner) = text.strip_prefix("startswith(").or_else(|| text.strip_prefix("startsWith(")) {
        let (member, after) = inner.split_once(',').ok_or_else(invalid)?;
        let (value, after) = parse_literal(after.trim_start())?;
        let after = after.trim_start().strip_prefix(')').ok_or_else(invalid)?;
        return Ok((Clause { member: member.trim().to_owned(), value, prefix: true }, after));
    }
    let (member, after) = text.split_once(' ').ok_or_else(invalid)?;
    let after = after.trim_start().strip_prefix("eq ").ok_or_else(invalid)?;
    let (value, after) = parse_literal(after.trim_start())?;
    Ok((Clause { member: member.to_owned(), value, prefix: false }, after))
}

fn parse_literal(text: &str) -> Result<(String, &str), GraphError> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find([' ', ')']).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '\'' {
            value.push(character);
        } else if characters.peek().is_some_and(|(_, next)| *next == '\'') {
            value.push('\'');
            characters.next();
        } else {
            return Ok((value, &quoted[at + 1..]));
        }
    }
    Err(invalid())
}

fn invalid() -> GraphError {
    GraphError::new(400, "BadRequest", "Invalid filter clause.")
}
