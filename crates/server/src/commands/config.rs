//! `entrabot config show`.

use serde_json::json;

use super::YES;
use crate::failure::{Failure, cleaned};
use crate::terminal;

pub(crate) fn show(json: bool) -> Result<u8, Failure> {
    let config = super::config()?;
    let settings = config.settings();
    if json {
        let settings: Vec<_> = settings
            .iter()
            .map(|setting| {
                json!({"name": setting.name, "value": setting.value, "origin": setting.origin.to_string()})
            })
            .collect();
        terminal::json(&json!({
            "settings": settings,
            "env_file": config.env_file().map(|path| path.display().to_string()),
            "warnings": config.warnings(),
        }))?;
    } else {
        let width = settings.iter().map(|setting| setting.name.len()).max().unwrap_or_default();
        for setting in &settings {
            let value = setting.value.as_deref().map_or_else(|| "-".to_owned(), cleaned);
            terminal::line(&format!("{:width$}  {value}  ({})", setting.name, setting.origin))?;
        }
    }
    Ok(YES)
}
