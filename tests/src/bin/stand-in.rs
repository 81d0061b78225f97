//! `stand-in [--json] [--dir DIR]`: runs the stand-in cloud until stdin closes.
#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use entrabot_tests::stand_in::{Options, StandIn};

const USAGE: &str = "usage: stand-in [--json] [--dir DIR] [--other-apps N] [--fresh-tenant]\n\
    Runs a stand-in for Entra, Graph and Work IQ on loopback until stdin closes.\n\
    --json          first one line of JSON: addresses, ids and files\n\
    --dir DIR       keep state, documents and the request log there\n\
    --other-apps N  put N unrelated apps into the directory\n\
    --fresh-tenant  without Work IQ's service principals and the ready agent's grants on them\n";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _unwritable = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> io::Result<()> {
    let mut options = Options::default();
    let mut json = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let missing = || io::Error::other(format!("{argument} needs a value\n{USAGE}"));
            arguments.next().ok_or_else(missing)
        };
        match argument.as_str() {
            "--json" => json = true,
            "--dir" => options.dir = Some(value()?.into()),
            "--other-apps" => options.other_apps = value()?.parse().map_err(io::Error::other)?,
            "--fresh-tenant" => options.without_work_iq = true,
            "-h" | "--help" => return io::stdout().write_all(USAGE.as_bytes()),
            _ => return Err(io::Error::other(format!("unknown argument {argument}\n{USAGE}"))),
        }
    }
    let cloud = StandIn::try_start(options)?;
    let info = serde_json::to_value(cloud.info()).map_err(io::Error::other)?;
    let mut stdout = io::stdout().lock();
    if json {
        writeln!(stdout, "{info}")?;
    } else {
        for (name, value) in info.as_object().into_iter().flatten() {
            writeln!(stdout, "{name:26} {}", value.as_str().unwrap_or_default())?;
        }
        writeln!(stdout, "{:26} {}", "state", cloud.dir().display())?;
        writeln!(stdout, "Close stdin (Ctrl-D) to stop.")?;
    }
    stdout.flush()?;
    drop(stdout);
    let mut ignored = [0; 4096];
    // Whatever comes is not for us; the end is.
    while io::stdin().read(&mut ignored)? > 0 {}
    Ok(())
}
