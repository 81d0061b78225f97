//! From the Python original to entrabot, with the original still at work beside it.

mod journey;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_tests::peers::Python;
use entrabot_tests::stand_in::{Info, Options};
use journey::Home;
use serde_json::{Value, json};

/// What the original does: its own reading of `.env`, the key by `keyring`, the token by `msal`.
const ORIGINAL: &str = r#"
import sys, keyring, msal
env = {}
for line in open(sys.argv[1] + "/.env"):
    line = line.strip()
    if line and not line.startswith('#') and "=" in line:
        name, _, value = line.partition("=")
        env.setdefault(name.strip(), value.strip())
blueprint = msal.ConfidentialClientApplication(
    env["ENTRABOT_BLUEPRINT_APP_ID"], authority=f"{sys.argv[2]}/{env['ENTRABOT_TENANT_ID']}",
    instance_discovery=False, client_credential={
        "private_key": keyring.get_password("entrabot", "blueprint-private-key"),
        "public_certificate": open(sys.argv[3]).read()})
token = blueprint.acquire_token_for_client(
    ["api://AzureADTokenExchange/.default"], fmi_path=env["ENTRABOT_AGENT_ID"])
assert "access_token" in token, token
"#;

const STORE: &str =
    "import keyring, sys; keyring.set_password(sys.argv[1], sys.argv[2], open(sys.argv[3]).read())";

/// A machine on which the Python original is set up.
struct Machine {
    home: Home,
    python: Python,
    project: PathBuf,
}

impl Machine {
    fn new() -> io::Result<Self> {
        let mut home = Home::bare(Options::default())?;
        home.unset("ENTRABOT_TENANT_ID");
        home.unset("ENTRABOT_PROVISIONER_CLIENT_ID");
        let project = home.scratch().join("original");
        fs::create_dir(&project)?;
        let info = home.cloud.info();
        write_env(&project, &env_of(info))?;
        let state = json!({
            "TENANT_ID": info.tenant_id, "PROVISIONER_CLIENT_ID": info.provisioner_client_id,
            "AGENT_ID": info.agent_id, "PROVISIONER_CLIENT_SECRET": "planted-secret",
        });
        fs::write(project.join(".entrabot-state.json"), state.to_string())?;
        let machine = Self { python: Python::ready(Path::new(env!("CARGO_TARGET_TMPDIR")))?, home, project };
        machine.store("entrabot", "blueprint-private-key", &machine.home.cloud.info().blueprint_key_pem)?;
        let info = machine.home.cloud.info();
        machine.store("entrabot-provisioner-cert", &info.tenant_id, &info.provisioner_cert_pem)?;
        Ok(machine)
    }

    /// A program of the original's, in its own session.
    fn python(&self, program: &str, arguments: &[&str]) -> io::Result<String> {
        let variables = self.home.keyring.env();
        let ca = self.home.cloud.info().ca_bundle.display().to_string();
        let mut environment: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        environment.push(("PYTHON_KEYRING_BACKEND", "keyring.backends.SecretService.Keyring"));
        environment.push(("REQUESTS_CA_BUNDLE", &ca));
        self.python.run(program, arguments, &environment)
    }

    fn store(&self, service: &str, username: &str, file: &Path) -> io::Result<()> {
        self.python(STORE, &[service, username, &file.display().to_string()]).map(drop)
    }

    fn the_original_signs_in(&self) -> io::Result<()> {
        let info = self.home.cloud.info();
        let (project, certificate) = (self.project.display().to_string(), info.blueprint_cert_pem.display());
        let arguments = [project.as_str(), &info.authority_base, &certificate.to_string()];
        self.python(ORIGINAL, &arguments).map(drop)
    }

    fn migrate(&self, more: &[&str]) -> io::Result<journey::Finished> {
        let from = self.project.display().to_string();
        self.home.run(&[&["migrate", "--from", &from], more].concat(), &[])
    }
}

fn env_of(info: &Info) -> String {
    format!(
        "# written by setup.sh\nENTRABOT_TENANT_ID={}\nENTRABOT_BLUEPRINT_APP_ID={}\n\
         ENTRABOT_BLUEPRINT_CERT_THUMBPRINT={}\nENTRABOT_AGENT_ID={}\nENTRABOT_AGENT_USER_ID={}\n\
         ENTRABOT_AGENT_USER_UPN={}\nENTRABOT_HUMAN_UPNS=\"ada@contoso.example\"\nENTRABOT_LOG_LEVEL=DEBUG\n\
         export ENTRABOT_KEEP_MEMORY_LOCAL=true\nENTRABOT_MODE=delegated\n\
         ENTRABOT_GRAPH_BASE=https://graph.attacker.example\n",
        info.tenant_id,
        info.blueprint_app_id,
        info.blueprint_cert_thumbprint,
        info.agent_id,
        info.agent_user_id,
        info.agent_upn
    )
}

fn write_env(project: &Path, text: &str) -> io::Result<()> {
    fs::write(project.join(".env"), text)?;
    fs::set_permissions(project.join(".env"), fs::Permissions::from_mode(0o644))
}

/// What became of a thing, by its name.
fn fate<'a>(answer: &'a Value, name: &str) -> &'a str {
    let found = answer["found"].as_array().into_iter().flatten().find(|thing| thing["name"] == name);
    found.and_then(|thing| thing["fate"].as_str()).unwrap_or("not there")
}

#[test]
fn an_installation_is_taken_over_and_the_original_still_works() -> io::Result<()> {
    let machine = Machine::new()?;
    let home = &machine.home;
    machine.the_original_signs_in()?;
    home.cloud.clear_requests();
    let settings = home.state().join(".env");
    let before =
        (fs::read(machine.project.join(".env"))?, fs::read(machine.project.join(".entrabot-state.json"))?);

    // Looking changes nothing, and neither does nobody's answer.
    let looked = machine.migrate(&["--dry-run", "--json"])?;
    looked.assert_code(0);
    let found = looked.json();
    for (name, expected) in [
        ("ENTRABOT_TENANT_ID", "take"),
        ("ENTRABOT_AGENT_USER_UPN", "take"),
        ("PROVISIONER_CLIENT_ID", "take"),
        ("TENANT_ID", "same"),
        ("ENTRABOT_KEEP_MEMORY_LOCAL", "leave"),
        ("ENTRABOT_MODE", "leave"),
        ("ENTRABOT_GRAPH_BASE", "leave"),
        ("PROVISIONER_CLIENT_SECRET", "danger"),
        ("entrabot/blueprint-private-key", "same"),
    ] {
        assert_eq!(fate(&found, name), expected, "{name}: {found:#}");
    }
    assert!(!looked.stdout.contains("planted-secret"));
    machine.migrate(&[])?.assert_code(2);
    assert!(!settings.exists() && !home.audit_dir().exists());

    // What our file says already stays, its comments too.
    fs::write(&settings, "# mine\nENTRABOT_LOG_LEVEL=INFO\n")?;
    let taken = machine.migrate(&["--yes", "--json"])?;
    taken.assert_code(0);
    assert_eq!(fate(&taken.json(), "ENTRABOT_LOG_LEVEL"), "leave");
    let text = fs::read_to_string(&settings)?;
    assert!(text.starts_with("# mine\nENTRABOT_LOG_LEVEL=INFO\n"), "{text}");
    for line in ["ENTRABOT_HUMAN_UPNS=ada@contoso.example\n", "ENTRABOT_PROVISIONER_CLIENT_ID="] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for absent in ["attacker", "MODE", "planted"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    assert_eq!(fs::metadata(&settings)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(home.cloud.requests().len(), 0, "Entra is not asked");
    let records = home.records()?;
    let story: Vec<_> = records.iter().filter(|record| record["src"] == "provisioning").collect();
    assert_eq!(story.len(), 2, "{story:?}");
    assert!(
        story.iter().all(
            |record| record["action"] == "migrate.settings.write" && record["attribution_type"] == "none"
        )
    );

    // The agent is ours to use, and theirs.
    home.run(&["token", "check", "--json"], &[])?.assert_code(0);
    home.run(&["cert", "verify"], &[])?.assert_code(0);
    machine.the_original_signs_in()?;
    let after =
        (fs::read(machine.project.join(".env"))?, fs::read(machine.project.join(".entrabot-state.json"))?);
    assert_eq!(before, after, "the original's files are as they were");
    assert_eq!(machine.migrate(&["--yes", "--json"])?.assert_code(0).json()["changed"], 0);
    // A state file of another run does not matter beside the .env, now as then.
    let other = json!({"AGENT_ID": "935f2967-9cc4-4b1c-93f2-2cd059eb8f23"}).to_string();
    fs::write(machine.project.join(".entrabot-state.json"), other)?;
    assert_eq!(fate(&machine.migrate(&["--yes", "--json"])?.assert_code(0).json(), "AGENT_ID"), "leave");

    // A rotation afterwards is ours: taking over again does not bring the old thumbprint back.
    home.run(&["cert", "rotate"], &[])?.assert_code(0);
    let rotated = fs::read_to_string(&settings)?;
    machine.migrate(&["--yes"])?.assert_code(0);
    assert_eq!(fs::read_to_string(&settings)?, rotated);
    home.run(&["token", "check"], &[])?.assert_code(0);
    Ok(())
}

#[test]
fn what_cannot_be_taken_over_is_refused_and_nothing_is_written() -> io::Result<()> {
    let mut machine = Machine::new()?;
    let settings = machine.home.state().join(".env");
    let refused = |machine: &Machine, code: i32, word: &str| -> io::Result<()> {
        for arguments in [&["--yes", "--json"][..], &["--dry-run", "--json"]] {
            let finished = machine.migrate(arguments)?;
            finished.assert_code(code);
            let answer = finished.json();
            assert!(answer.to_string().contains(word), "{word}: {answer:#}");
            assert!(answer["hint"].is_string(), "{answer:#}");
        }
        let said = machine.migrate(&["--yes"])?;
        said.assert_code(code);
        assert!(said.stderr.contains("error:") && said.stderr.contains("hint:"), "{said:?}");
        Ok(())
    };

    // Our file is another agent's.
    let other = "ENTRABOT_AGENT_ID=935f2967-9cc4-4b1c-93f2-2cd059eb8f23\n";
    fs::write(&settings, other)?;
    refused(&machine, 1, "another agent")?;
    assert_eq!(fs::read_to_string(&settings)?, other);
    fs::remove_file(&settings)?;

    // Our file would be theirs.
    let theirs = machine.project.join(".env");
    machine.home.set("ENTRABOT_ENV_FILE", theirs.display().to_string());
    refused(&machine, 2, "the original's own")?;
    machine.home.set("ENTRABOT_ENV_FILE", settings.display().to_string());

    // Somebody else could have written theirs.
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o666))?;
    refused(&machine, 2, "written by others")?;
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o644))?;

    // The key is nowhere, then in a file alone.
    machine.home.run(&["keystore", "delete", "entrabot", "blueprint-private-key"], &[])?.assert_code(0);
    refused(&machine, 4, "no private key")?;
    let leaks = machine.home.scratch().join("data/python_keyring");
    fs::create_dir_all(&leaks)?;
    fs::write(leaks.join("keyring_pass.cfg"), "[entrabot]\nblueprint_2dprivate_2dkey = \n\tcGxhbnRlZA==\n")?;
    machine.home.set("XDG_DATA_HOME", machine.home.scratch().join("data").display().to_string());
    refused(&machine, 3, "lies in a file")?;

    // There is no installation at all.
    fs::remove_file(machine.project.join(".entrabot-state.json"))?;
    fs::remove_file(&theirs)?;
    refused(&machine, 4, "neither .env nor")?;
    assert!(!settings.exists());

    // A keyring that keeps nothing secret is not even looked into.
    write_env(&machine.project, &env_of(machine.home.cloud.info()))?;
    machine.home.keyring = PrivateKeyring::start(Mode::Cleartext)?;
    refused(&machine, 3, "insecure")?;
    assert!(!settings.exists() && !machine.home.audit_dir().exists());
    Ok(())
}

#[test]
fn a_leak_beside_a_key_in_the_keyring_is_warned_about() -> io::Result<()> {
    let mut machine = Machine::new()?;
    let leaks = machine.home.scratch().join("data/python_keyring");
    fs::create_dir_all(&leaks)?;
    fs::write(leaks.join("keyring_pass.cfg"), "[entrabot]\nblueprint_2dprivate_2dkey = \n\tcGxhbnRlZA==\n")?;
    machine.home.set("XDG_DATA_HOME", machine.home.scratch().join("data").display().to_string());
    let taken = machine.migrate(&["--yes", "--json"])?;
    taken.assert_code(0);
    let warnings = taken.json()["warnings"].to_string();
    assert!(warnings.contains("rotate now") && warnings.contains("keyring_pass.cfg"), "{warnings}");
    Ok(())
}
