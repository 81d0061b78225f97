//! `entrabot serve`.

use std::net::SocketAddr;

use clap::Args;
use entrabot_a365::{A365Error, ServerName, Servers};
use entrabot_identity::Config;

use super::YES;
use crate::failure::Failure;
use crate::http::{Bearer, HttpOptions};
use crate::mcp::Exposed;
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
    /// Also offer the tools of these Work IQ servers, each as SERVER__TOOL, e.g. mcp_MailTools,mcp_CalendarTools
    #[arg(long, value_name = "SERVER", value_delimiter = ',', conflicts_with = "show_bearer")]
    expose: Vec<String>,
}

pub(crate) fn run(args: &ServeArgs) -> Result<u8, Failure> {
    let config = Config::from_env()?;
    if args.show_bearer {
        let bearer = Bearer::load(&config)?;
        terminal::bytes(bearer.expose())?;
        terminal::line("")?;
        return Ok(YES);
    }
    let exposed = exposed(&args.expose, &config)?;
    match args.http {
        None => serve::over_stdio(config, exposed)?,
        Some(address) => {
            // Refused before the keyring is asked for anything.
            let open = HttpOptions::new(address, None)?;
            let options =
                if args.no_bearer { open } else { HttpOptions::new(address, Some(Bearer::load(&config)?))? };
            serve::over_http(config, exposed, options)?;
        }
    }
    Ok(YES)
}

/// Named wrongly, a server would be missing without a word: so this is looked at before anything is served.
fn exposed(names: &[String], config: &Config) -> Result<Exposed, Failure> {
    if names.is_empty() {
        return Ok(Exposed::default());
    }
    let configured = Servers::load(config)?;
    let mut servers: Vec<ServerName> = Vec::new();
    for name in names {
        let name = super::call::server_name(name.trim())?;
        let Some(server) = configured.get(&name) else {
            return Err(A365Error::ServerNotConfigured { server: name }.into());
        };
        if !servers.contains(server.name()) {
            servers.push(server.name().clone());
        }
    }
    Ok(Exposed::new(servers))
}
