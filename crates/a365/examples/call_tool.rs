//! One audited Work IQ call against the stand-in cloud.
//!
//! `call_tool STAND_IN_JSON SERVER [TOOL [ARGUMENTS]]`: the file holds the first line of `cargo xtask stand-in --json`.
//! Without a tool, it lists what the server offers.

mod stand_in;

use std::error::Error;

use entrabot_a365::{Diagnose as _, ServerName, ToolName};

#[expect(clippy::print_stdout, reason = "the answer of an example")]
fn show(value: &impl serde::Serialize) -> Result<(), Box<dyn Error>> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "call_tool STAND_IN_JSON SERVER [TOOL [ARGUMENTS]]";
    let file = arguments.next().ok_or(usage)?;
    let server = ServerName::parse(&arguments.next().ok_or(usage)?)?;
    let info = serde_json::from_slice(&std::fs::read(file)?)?;
    let directory = std::env::temp_dir().join(format!("entrabot-a365-example-{}", std::process::id()));
    let door = stand_in::door(&info, &directory)?;

    let Some(tool) = arguments.next() else {
        return show(&door.list_tools(&server).await?.reply);
    };
    let tool = ToolName::parse(&tool)?;
    let arguments = serde_json::from_str(&arguments.next().unwrap_or_else(|| "{}".into()))?;
    match door.call(&server, &tool, arguments).await {
        Ok(answered) => show(&answered.reply)?,
        Err(error) => {
            let hint = error.hint().unwrap_or_default();
            return Err(format!("{}: {error} (hint: {hint})", error.error_type()).into());
        }
    }
    show(&format!("on record in {}", directory.join("audit").display()))
}
