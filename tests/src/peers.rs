//! Other people's clients, installed below the target directory from their registries, pinned.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The packages, pinned: what the captured wire forms were made with.
const PACKAGES: &[&str] = &[
    "msal==1.39.0",
    "python-docx==1.2.0",
    "ocsf-json-schema==1.2.0",
    "jsonschema==4.25.1",
    "aat-mcp==0.1.0",
    "keyring==25.7.0",
    "secretstorage==3.5.0",
];

const NODE_PACKAGE: &str = "@azure/msal-node@7.2.3";

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
    /// Makes the environment below `target`, once: other test processes wait for it.
    ///
    /// # Errors
    /// When `python3` with `venv` is missing or the packages cannot be had.
    pub fn ready(target: &Path) -> io::Result<Self> {
        fs::create_dir_all(target)?;
        let lock = File::create(target.join("python-venv.lock"))?;
        lock.lock()?;
        let home = target.join("python-venv");
        let program = home.join("bin/python");
        let wanted = PACKAGES.join("\n");
        let done = home.join("packages.txt");
        if fs::read_to_string(&done).is_ok_and(|present| present == wanted) {
            return Ok(Self { program });
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        let mut install = Command::new(&program);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
        run(&mut install)?;
        fs::write(done, wanted)?;
        Ok(Self { program })
    }

    /// Runs a program text with arguments; its stdout when it succeeds.
    ///
    /// # Errors
    /// When it fails; the error holds its stderr.
    pub fn run(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> io::Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("-W").arg("ignore").arg("-c").arg(program).args(arguments);
        command.envs(environment.iter().copied());
        let output = run(&mut command)?;
        String::from_utf8(output.stdout).map_err(io::Error::other)
    }
}

/// A Node program's home with `@azure/msal-node`.
#[derive(Debug)]
pub struct Node {
    home: PathBuf,
}

impl Node {
    /// Installs the package below `target`, once: other test processes wait for it.
    ///
    /// # Errors
    /// When `node` (20 or later) or `npm` is missing or the package cannot be had.
    pub fn ready(target: &Path) -> io::Result<Self> {
        let home = target.join("node-peers");
        fs::create_dir_all(&home)?;
        let lock = File::create(target.join("node-peers.lock"))?;
        lock.lock()?;
        let done = home.join("packages.txt");
        if !fs::read_to_string(&done).is_ok_and(|present| present == NODE_PACKAGE) {
            fs::write(home.join("package.json"), r#"{"private": true, "type": "module"}"#)?;
            run(Command::new("npm")
                .args(["install", "--silent", "--no-audit", "--no-fund", NODE_PACKAGE])
                .current_dir(&home))?;
            fs::write(done, NODE_PACKAGE)?;
        }
        Ok(Self { home })
    }

    /// Runs a program text with arguments; its stdout when it succeeds.
    ///
    /// # Errors
    /// When it fails; the error holds its stderr.
    pub fn run(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> io::Result<String> {
        let mut command = Command::new("node");
        command.args(["--input-type=module", "-e", program, "--"]).args(arguments).current_dir(&self.home);
        command.envs(environment.iter().copied());
        String::from_utf8(run(&mut command)?.stdout).map_err(io::Error::other)
    }
}

fn run(command: &mut Command) -> io::Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        io::Error::other(format!(
            "{name} cannot be run ({error}); the tests need python3 with venv, the long ones node and npm"
        ))
    })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(io::Error::other(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr))))
}
