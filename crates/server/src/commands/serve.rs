//! `entrabot serve`.

use std::net::SocketAddr;

use clap::Args;
use entrabot_identity::Config;

use super::YES;
use crate::failure::Failure;
use crate::http::{Bearer, HttpOptions};
use crate::{serve, terminal};

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Serve MCP over HTTP at /mcp on this loopback address, e.g. 127.0.0.1:8765
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Ask no bearer of HTTP clients: whoever is on this machine may use the agent
    #[arg(long, requires = "http")]
    no_bearer: bool,
    /// Print the bearer that HTTP clients have to show, and end
    #[arg(long, conflicts_with_all = ["http", "no_bearer"])]
    show_bearer: bool,
}

pub(crate) fn run(args: &ServeArgs) -> Result<u8, Failure> {
    let config = Config::from_env()?;
    if args.show_bearer {
        let bearer = Bearer::load(&config)?;
        terminal::bytes(bearer.expose())?;
        terminal::line("")?;
        return Ok(YES);
    }
    match args.http {
        None => serve::over_stdio(config)?,
        Some(address) => {
            // Refused before the keyring is asked for anything.
            let open = HttpOptions::new(address, None)?;
            let options =
                if args.no_bearer { open } else { HttpOptions::new(address, Some(Bearer::load(&config)?))? };
            serve::over_http(config, options)?;
        }
    }
    Ok(YES)
}
