//! Other people's clients, installed below the target directory from their registries, pinned.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Python packages that cannot all lie in one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PythonPeer {
    /// MSAL, with which the captured wire forms were made, and what reads the formats that we write.
    Libraries,
    /// The official MCP SDK of the revisions with sessions.
    McpOne,
    /// The official MCP SDK of 2026-07-28.
    McpTwo,
}

impl PythonPeer {
    fn environment(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Libraries => (
                "python-venv",
                &[
                    "msal==1.39.0",
                    "python-docx==1.2.0",
                    "ocsf-json-schema==1.2.0",
                    "jsonschema==4.25.1",
                    "aat-mcp==0.1.0",
                    "keyring==25.7.0",
                    "secretstorage==3.5.0",
                ],
            ),
            Self::McpOne => ("python-mcp-1", &["mcp==1.30.0"]),
            Self::McpTwo => ("python-mcp-2", &["mcp==2.3.0"]),
        }
    }
}

/// The beginning of a program for [`Python::run`] whose first argument is the stand-in's `Info` as JSON:
/// `agent_user(resource)` goes through the three hops with `msal`, by new application objects (which have nothing in
/// their caches), and gives the last of them and its token response.
pub const MSAL: &str = r#"
import json, sys, msal
info = json.loads(sys.argv[1])
exchange = ["api://AzureADTokenExchange/.default"]
key, certificate = open(info["blueprint_key_pem"]).read(), open(info["blueprint_cert_pem"]).read()
def app(client, credential, **more):
    authority = f"{info['authority_base']}/{info['tenant_id']}"
    return msal.ConfidentialClientApplication(
        client, authority=authority, instance_discovery=False, client_credential=credential, **more)
def blueprint():
    return app(info["blueprint_app_id"], {"private_key": key, "public_certificate": certificate})
def agent_user(resource):
    t1 = blueprint().acquire_token_for_client(exchange, fmi_path=info["agent_id"])
    assertion = {"client_assertion": t1["access_token"]}
    t2 = app(info["agent_id"], assertion).acquire_token_for_client(exchange)
    user = app(info["agent_id"], assertion, client_capabilities=["cp1"])
    token = user.acquire_token_by_user_federated_identity_credential(
        [resource + "/.default"], t2["access_token"], user_object_id=info["agent_user_id"])
    assert "access_token" in token, token
    return user, token
"#;

/// The same for [`Node::run`]: `agentUser(resource)` gives the token response of `@azure/msal-node`.
pub const MSAL_NODE: &str = r#"
import { readFileSync } from "node:fs";
import { ConfidentialClientApplication } from "@azure/msal-node";
const info = JSON.parse(process.argv[1]);
const app = (clientId, credential) => new ConfidentialClientApplication({ auth: {
    clientId, authority: `${info.authority_base}/${info.tenant_id}`,
    knownAuthorities: [new URL(info.authority_base).host], ...credential } });
const exchange = { scopes: ["api://AzureADTokenExchange/.default"] };
const thumbprintSha256 = Buffer.from(info.blueprint_cert_thumbprint, "base64url").toString("hex");
const privateKey = readFileSync(info.blueprint_key_pem, "utf8");
async function agentUser(resource) {
    const t1 = await app(info.blueprint_app_id, { clientCertificate: { thumbprintSha256, privateKey } })
        .acquireTokenByClientCredential({ ...exchange, fmiPath: info.agent_id });
    const assertion = { clientAssertion: t1.accessToken };
    const t2 = await app(info.agent_id, assertion).acquireTokenByClientCredential(exchange);
    return app(info.agent_id, { ...assertion, clientCapabilities: ["cp1"] })
        .acquireTokenByUserFederatedIdentityCredential({
            scopes: [`${resource}/.default`], assertion: t2.accessToken, userObjectId: info.agent_user_id });
}
"#;

/// A virtual environment that holds the pinned packages.
#[derive(Debug)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// The environment of the libraries.
    ///
    /// # Errors
    /// As [`Python::with`].
    pub fn ready(target: &Path) -> io::Result<Self> {
        Self::with(target, PythonPeer::Libraries)
    }

    /// Makes an environment below `target`, once: other test processes wait for it.
    ///
    /// # Errors
    /// When `python3` with `venv` is missing or the packages cannot be had.
    pub fn with(target: &Path, peer: PythonPeer) -> io::Result<Self> {
        let (name, packages) = peer.environment();
        let home = target.join(name);
        let program = home.join("bin/python");
        once(target, name, &packages.join("\n"), || {
            run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
            let mut install = Command::new(&program);
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
            run(&mut install).map(drop)
        })?;
        Ok(Self { program })
    }

    /// A program text, to be run with arguments.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-W").arg("ignore").arg("-c").arg(program);
        command
    }

    /// The interpreter.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a program text with arguments; its stdout when it succeeds.
    ///
    /// # Errors
    /// When it fails; the error holds its stderr.
    pub fn run(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> io::Result<String> {
        let mut command = self.command(program);
        command.args(arguments).envs(environment.iter().copied());
        text(&mut command)
    }
}

/// The Node programs of `peers/package-lock.json`, and the Node that runs them: some want a newer one than a
/// distribution has.
#[derive(Debug)]
pub struct Node {
    home: PathBuf,
}

impl Node {
    const PACKAGE: &str = include_str!("../peers/package.json");
    const LOCK: &str = include_str!("../peers/package-lock.json");

    /// Installs them below `target`, once: other test processes wait for it.
    ///
    /// # Errors
    /// When `npm` is missing or a package cannot be had.
    pub fn ready(target: &Path) -> io::Result<Self> {
        let home = target.join("node-peers");
        once(target, "node-peers", Self::LOCK, || {
            fs::write(home.join("package.json"), Self::PACKAGE)?;
            fs::write(home.join("package-lock.json"), Self::LOCK)?;
            let mut install = Command::new("npm");
            // Nobody's script runs at installation; the lock file holds every package's digest.
            install.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
            run(install.current_dir(&home)).map(drop)
        })?;
        Ok(Self { home })
    }

    /// The Node program itself: npm has it for Linux on these two; elsewhere it is the system's.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let ours = self.home.join(format!("node_modules/node-linux-{architecture}/bin/node"));
        if ours.is_file() { ours } else { "node".into() }
    }

    /// A program file of an installed package.
    #[must_use]
    pub fn script(&self, path: &str) -> Command {
        let mut command = Command::new(self.program());
        command.arg(self.home.join("node_modules").join(path)).current_dir(&self.home);
        command
    }

    /// Runs a program text with arguments; its stdout when it succeeds.
    ///
    /// # Errors
    /// When it fails; the error holds its stderr.
    pub fn run(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> io::Result<String> {
        let mut command = Command::new(self.program());
        command.args(["--input-type=module", "-e", program, "--"]).args(arguments).current_dir(&self.home);
        command.envs(environment.iter().copied());
        text(&mut command)
    }
}

/// Installs into `target/name` unless exactly this was installed there before.
fn once(target: &Path, name: &str, wanted: &str, install: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let home = target.join(name);
    fs::create_dir_all(&home)?;
    let lock = File::create(target.join(format!("{name}.lock")))?;
    lock.lock()?;
    let done = home.join("packages.txt");
    if fs::read_to_string(&done).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(done, wanted)
}

fn text(command: &mut Command) -> io::Result<String> {
    String::from_utf8(run(command)?.stdout).map_err(io::Error::other)
}

fn run(command: &mut Command) -> io::Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        io::Error::other(format!("{name} cannot be run ({error}); the tests need python3 with venv, and npm"))
    })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(io::Error::other(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr))))
}
