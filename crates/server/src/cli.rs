//! What can be typed after `entrabot`, and where each command goes.

mod examples;

use clap::{Args, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::commands;
use crate::failure::Failure;

/// An agent with its own Microsoft Entra identity: an MCP server, and its command line.
#[derive(Debug, Parser)]
#[command(name = "entrabot", version)]
#[command(
    after_help = "Without a command: what to do next, from what is really there.\n\nExamples:\n  entrabot doctor\n  entrabot provision --new --name \"Report agent\" --agent-user-upn agent@contoso.com --dry-run\n  entrabot client add claude-code\n  entrabot audit report --html report.html"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Answer in JSON, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve MCP, over stdin and stdout unless --http is given
    Serve(commands::serve::ServeArgs),
    /// Check everything that can be wrong, each with its remedy
    Doctor(commands::doctor::DoctorArgs),
    /// Sign in and say who acts
    Whoami,
    /// Sign a person in, for ENTRABOT_MODE=delegated
    SignIn(commands::sign_in::SignInArgs),
    /// Forget a person's sign-in
    SignOut,
    /// Say what is set up, without touching keyring or network
    Status,
    /// Show the settings in effect
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check that tokens can be had
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make one audited call of a Work IQ tool
    Call(commands::call::CallArgs),
    /// Say what the configured Work IQ servers offer
    Tools {
        /// Only this server, e.g. mcp_WordServer
        server: Option<String>,
    },
    /// Check a tooling manifest
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// Trust what a Work IQ (Agent 365) server offers
    #[command(subcommand)]
    A365(A365Command),
    /// Read and write the OS keyring, guarded
    #[command(subcommand)]
    Keystore(KeystoreCommand),
    /// Read, verify, export and keep the audit log
    Audit(commands::audit::AuditArgs),
    /// Make an agent: blueprint, key, certificate, identity, user, grants; again, to resume
    Provision(commands::provision::ProvisionArgs),
    /// The app that makes agents: an administrator signs in and makes it, once
    #[command(subcommand)]
    Provisioner(commands::provisioner::ProvisionerCommand),
    /// Remove the agent; the audit log stays
    Teardown(commands::provision::TeardownArgs),
    /// Take over from an installation of the Python original, which stays as it is
    Migrate(commands::migrate::MigrateArgs),
    /// List, verify and rotate the blueprint's certificates
    #[command(subcommand)]
    Cert(commands::provision::CertCommand),
    /// Say who answers for the agent
    #[command(subcommand)]
    Sponsors(commands::access::SponsorsCommand),
    /// Say what the agent may do
    #[command(subcommand)]
    Grants(commands::access::GrantsCommand),
    /// Make an MCP client start this server
    #[command(subcommand)]
    Client(commands::client::ClientCommand),
    /// Run the HTTP server as a service of this user
    #[command(subcommand)]
    Service(commands::service::ServiceCommand),
    /// Print the manual page
    Man {
        /// One page for each command into this directory, instead of the program's own to stdout
        #[arg(long, value_name = "DIR")]
        dir: Option<std::path::PathBuf>,
    },
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Every setting in effect and where it came from, redacted
    Show,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Mint a token through the real hops and report on each; the token itself is never shown
    Check {
        /// The scope to ask for [default: that of Microsoft Graph]
        #[arg(long, value_name = "SCOPE")]
        resource: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum ManifestCommand {
    /// Check a ToolingManifest.json offline
    Lint {
        /// The manifest's path
        file: std::path::PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum A365Command {
    /// Accept what a server's tools are now, after they changed
    Trust {
        /// The server, e.g. mcp_WordServer
        server: String,
    },
}

/// Names an entry.
#[derive(Debug, Args)]
pub(crate) struct Entry {
    /// The service, e.g. entrabot
    pub(crate) service: String,
    /// The user name, e.g. blueprint-private-key
    pub(crate) username: String,
}

#[derive(Debug, Subcommand)]
enum KeystoreCommand {
    /// Write an entry's bytes to stdout
    Get {
        #[command(flatten)]
        entry: Entry,
        /// Write to a terminal as well, where it can be seen
        #[arg(long)]
        reveal: bool,
    },
    /// Store what is on stdin, byte for byte
    Set {
        #[command(flatten)]
        entry: Entry,
    },
    /// Remove an entry
    Delete {
        #[command(flatten)]
        entry: Entry,
    },
    /// List the names of a service's entries
    List {
        /// The service, e.g. entrabot
        service: String,
        /// Only this user name
        username: Option<String>,
    },
    /// Store a random value, read it back on a new connection, remove it
    Probe,
}

/// For whom a record of `audit append` speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttributionArg {
    /// The agent; fails when nobody can be named
    #[default]
    Agent,
    /// A person whose token acted
    DelegatedHuman,
    /// Nobody yet
    None,
}

impl Cli {
    /// What was typed.
    ///
    /// # Errors
    /// clap's own: also that help or the version was asked for.
    pub(crate) fn parsed() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::command().try_get_matches()?)
    }

    /// Everything that can be typed, with its help: for the help, the manual and the completions alike.
    pub(crate) fn command() -> clap::Command {
        examples::added_to(<Self as clap::CommandFactory>::command())
    }

    /// Runs the command; the number is the exit code where it is not a failure's.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let json = self.json;
        let Some(command) = self.command else { return commands::next::run(json) };
        match command {
            Command::Serve(args) => commands::serve::run(&args),
            Command::Doctor(args) => commands::doctor::run(&args, json),
            Command::Whoami => commands::whoami::whoami(json),
            Command::SignIn(args) => commands::sign_in::sign_in(&args, json),
            Command::SignOut => commands::sign_in::sign_out(json),
            Command::Status => commands::whoami::status(json),
            Command::Config(ConfigCommand::Show) => commands::config::show(json),
            Command::Token(TokenCommand::Check { resource }) => {
                commands::token::check(resource.as_deref(), json)
            }
            Command::Call(call) => commands::call::call(call),
            Command::Tools { server } => commands::call::tools(server.as_deref(), json),
            Command::Manifest(ManifestCommand::Lint { file }) => commands::manifest::lint(&file, json),
            Command::A365(A365Command::Trust { server }) => commands::call::trust(&server, json),
            Command::Keystore(command) => match command {
                KeystoreCommand::Get { entry, reveal } => commands::keystore::get(entry, reveal),
                KeystoreCommand::Set { entry } => commands::keystore::set(entry, json),
                KeystoreCommand::Delete { entry } => commands::keystore::delete(entry, json),
                KeystoreCommand::List { service, username } => {
                    commands::keystore::list(&service, username, json)
                }
                KeystoreCommand::Probe => commands::keystore::probe(json),
            },
            Command::Audit(args) => commands::audit::run(args, json),
            Command::Provision(args) => commands::provision::provision(args, json),
            Command::Provisioner(command) => commands::provisioner::run(&command, json),
            Command::Teardown(args) => commands::provision::teardown(args, json),
            Command::Migrate(args) => commands::migrate::migrate(&args, json),
            Command::Cert(command) => commands::provision::cert(&command, json),
            Command::Sponsors(command) => commands::access::sponsors(&command, json),
            Command::Grants(command) => commands::access::grants(&command, json),
            Command::Client(command) => commands::client::run(&command, json),
            Command::Service(command) => commands::service::run(&command, json),
            Command::Man { dir } => commands::man::run(dir.as_deref()),
            Command::Completions { shell } => commands::completions(shell),
        }
    }
}
