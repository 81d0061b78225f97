//! Provisioning where something is wrong: the keyring, the disk, the person at the keyboard, the certificate's age.

mod journey;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use entrabot_keystore::private_keyring::{Mode, PrivateKeyring};
use entrabot_tests::stand_in::{Effect, Fault, Options, Role};
use journey::provisioning::{
    UPN, administered, assert_one_of_everything, changes, count, expect_server_to_follow, provision,
    provision_arguments, teardown,
};
use journey::{Home, spans};
use serde_json::{Value, json};

const ID: &str = "0c4f7a5e-9a1f-4b8c-8a53-5d1b0a3c2e11";

#[test]
fn behind_an_unsafe_keyring_no_command_asks_anything_or_writes_anything() -> io::Result<()> {
    let mut home = Home::ready(Options::default())?;
    home.cloud.clear_requests();
    for (mode, code) in [(Mode::Cleartext, 3), (Mode::Locked, 5)] {
        home.keyring = PrivateKeyring::start(mode)?;
        for command in [
            &["provision", "--new", "--agent-user-upn", UPN, "--sponsor", ID, "--yes"][..],
            &["provision", "--new", "--agent-user-upn", UPN, "--sponsor", ID, "--dry-run"],
            &["teardown", "--yes", "--purge"],
            &["cert", "list"],
            &["cert", "verify"],
            &["cert", "rotate"],
            &["sponsors", "list"],
            &["sponsors", "add", ID],
            &["sponsors", "remove", ID],
            &["grants", "list"],
            &["grants", "grant", "Mail.Read"],
            &["grants", "revoke", "Mail.Read"],
        ] {
            let finished = home.run(command, &[])?;
            assert_eq!(finished.code, Some(code), "{mode:?} {command:?}: {finished:?}");
        }
    }
    assert_eq!(home.cloud.requests().len(), 0);
    for file in files_below(&home.state())? {
        let of_logs = file.starts_with(home.state().join("logs"));
        assert!(of_logs || fs::metadata(&file)?.len() == 0, "{}", file.display());
    }
    Ok(())
}

fn files_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

#[test]
fn with_a_full_disk_nothing_is_changed_and_no_key_is_made() -> io::Result<()> {
    let home = administered(Options::default())?;
    fs::create_dir(home.audit_dir())?;
    let mount = ["-t", "tmpfs", "-o", "size=64k,mode=0700", "none"];
    if !Command::new("mount").args(mount).arg(home.audit_dir()).output()?.status.success() {
        println!("not run: a tmpfs cannot be mounted here");
        return Ok(());
    }
    // Full to the last byte.
    let filled = fs::write(home.audit_dir().join("filler"), vec![0; 1 << 20]);
    home.cloud.clear_requests();
    let refused = provision(&home);
    let key = home.run(&["keystore", "get", "entrabot", "blueprint-private-key"], &[]);
    let left = changes(&home.cloud.requests());
    fs::remove_file(home.audit_dir().join("filler"))?;
    let again = provision(&home);
    Command::new("umount").arg("-l").arg(home.audit_dir()).output()?;
    assert!(filled.is_err(), "the disk took a megabyte");
    refused?.assert_code(7);
    key?.assert_code(4);
    assert_eq!(left, Vec::<String>::new());
    again?.assert_code(0);
    Ok(())
}

#[test]
fn ctrl_c_closes_every_record_and_the_next_run_goes_on() -> io::Result<()> {
    let home = administered(Options::default())?;
    home.cloud.clear_requests();
    home.cloud
        .set_fault(Fault { method: Some("POST".into()), ..Fault::graph(Effect::DelayMs(5000)) }.times(1));
    let arguments = provision_arguments(&home);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = home.command(&words);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let begun = Instant::now();
    while changes(&home.cloud.requests()).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the run makes no change");
        std::thread::sleep(Duration::from_millis(5));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    let output = child.wait_with_output()?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(
        (output.status.code(), &answer["error_type"]),
        (Some(1), &json!("InterruptedError")),
        "{answer}"
    );
    let records = home.records()?;
    let closed = spans(&records);
    assert!(closed.iter().all(|span| span.len() == 2), "{records:#?}");
    assert_eq!(closed.last().map(|span| span[1].as_str()), Some("failure"), "{records:#?}");
    provision(&home)?.assert_code(0);
    assert_one_of_everything(&home)
}

#[test]
fn a_run_that_was_cut_off_can_be_taken_back() -> io::Result<()> {
    // After the blueprint, its certificate, the identity, the user: each time the settings name nothing yet.
    for cut in [1, 3, 4, 5] {
        let home = administered(Options::default())?;
        home.cloud.clear_requests();
        let arguments = provision_arguments(&home);
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = home.command(&words);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let begun = Instant::now();
        while changes(&home.cloud.requests()).len() < cut && child.try_wait()?.is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the run hangs before change {cut}");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill()?;
        child.wait()?;
        assert!(!home.state().join(".env").exists(), "it was cut off before its end");

        home.run(&["teardown", "--preserve-provisioner", "--yes"], &[])?.assert_code(0);
        for (collection, member, value) in [
            ("applications", "displayName", "demo"),
            ("servicePrincipals", "displayName", "demo"),
            ("servicePrincipals", "displayName", "demo agent"),
            ("users", "userPrincipalName", UPN),
        ] {
            let left = count(&home, collection, member, value);
            assert_eq!(left, 0, "cut after {cut}: {collection}: {:#}", home.cloud.directory());
        }
        home.run(&["keystore", "get", "entrabot", "blueprint-private-key"], &[])?.assert_code(4);
        assert!(!home.state().join("data/provisioning.json").exists());
    }
    Ok(())
}

#[test]
fn a_cut_run_under_a_blueprint_that_was_there_is_taken_back_and_the_blueprint_stays() -> io::Result<()> {
    let home = administered(Options::default())?;
    let info = home.cloud.info().clone();
    let before = home.cloud.directory()["applications"].as_array().map_or(0, Vec::len);
    home.cloud.clear_requests();
    // The identity is made; its user is refused.
    home.cloud.set_behaviour(|behaviour| {
        behaviour.missing_permissions =
            vec!["AgentIdUser.ReadWrite.IdentityParentedBy".into(), "AgentIdUser.ReadWrite.All".into()];
    });
    let arguments = ["provision", "--use-blueprint", &info.blueprint_app_id, "--name", "demo"];
    let more = ["--agent-user-upn", UPN, "--sponsor", &info.sponsor_id, "--yes"];
    home.run(&[&arguments[..], &more].concat(), &[])?.assert_code(6);
    assert_eq!(count(&home, "servicePrincipals", "displayName", "demo agent"), 1);
    let removed = home.run(&["teardown", "--yes", "--json"], &[])?;
    let remains = removed.assert_code(0).json()["remains"].to_string();
    assert!(remains.contains("was there before") && remains.contains("certificate "), "{remains}");
    assert_eq!(count(&home, "servicePrincipals", "displayName", "demo agent"), 0);
    assert_eq!(home.cloud.directory()["applications"].as_array().map_or(0, Vec::len), before);
    Ok(())
}

#[test]
fn nothing_is_asked_before_a_retry_after_is_over_not_even_whether_it_happened() -> io::Result<()> {
    let home = administered(Options::default())?;
    home.cloud.clear_requests();
    let busy = Effect::Respond {
        status: 503,
        headers: vec![("Retry-After".into(), "1".into())],
        body: r#"{"error":{"code":"serviceNotAvailable","message":"Try again."}}"#.into(),
    };
    // More often than it is tried again: then it is looked whether the certificate is there all the same.
    home.cloud.set_fault(Fault { method: Some("PATCH".into()), ..Fault::graph(busy) }.times(5));
    provision(&home)?.assert_code(5);
    let requests: Vec<_> =
        home.cloud.requests().into_iter().filter(|request| request.host == Role::Graph).collect();
    let busy: Vec<usize> =
        requests.iter().enumerate().filter(|(_, request)| request.status == 503).map(|(at, _)| at).collect();
    assert_eq!(busy.len(), 5);
    for at in busy {
        let (request, next) = (&requests[at], &requests[at + 1]);
        assert!(next.first_byte_ns >= request.answered_ns + 990_000_000, "{} came too early", next.path);
    }
    provision(&home)?.assert_code(0);
    assert_one_of_everything(&home)
}

#[test]
fn teardown_for_good_leaves_no_entry_of_any_age_and_nothing_in_the_bin() -> io::Result<()> {
    let home = administered(Options::default())?;
    provision(&home)?.assert_code(0);
    let legacy = ["blueprint_secret", "human_refresh_token", "agent_password", "http-bearer"];
    for name in legacy {
        home.run(&["keystore", "set", "entrabot", name], b"old")?.assert_code(0);
    }
    let looked = home.run(&["teardown", "--dry-run", "--purge", "--json"], &[])?;
    looked.assert_code(0);
    let removed = teardown(&home, &["--purge"])?;
    removed.assert_code(0);
    assert_eq!(looked.json()["would_remove"], removed.json()["removed"], "the dry run told the truth");
    for name in legacy.iter().chain(&["blueprint-private-key"]) {
        home.run(&["keystore", "get", "entrabot", name], &[])?.assert_code(4);
    }
    let tenant = home.cloud.info().tenant_id.clone();
    home.run(&["keystore", "get", "entrabot-provisioner-cert", &tenant], &[])?.assert_code(4);
    assert_eq!(home.cloud.directory()["deleted"], json!([]), "the directory's bin is empty");
    home.run(&["audit", "verify"], &[])?.assert_code(0);
    Ok(())
}

#[test]
fn sponsors_and_scopes_change_by_name() -> io::Result<()> {
    let home = administered(Options::default())?;
    provision(&home)?.assert_code(0);
    let list = home.run(&["grants", "list", "--json"], &[])?.json();
    let grants = list["grants"].as_array().cloned().unwrap_or_default();
    let on =
        |name: &str| grants.iter().find(|grant| grant["resource_name"] == name).cloned().unwrap_or_default();
    assert!(on("Microsoft Graph")["scopes"].to_string().contains("Mail.Send"), "{list:#}");
    assert_eq!(on("Work IQ Tools")["by_blueprint"], true, "{list:#}");
    let work_iq = home.cloud.info().resource.clone();
    let mail = ["McpServers.Mail.All", "--resource", &work_iq, "--json"];
    let granted = home.run(&[&["grants", "grant"][..], &mail].concat(), &[])?;
    assert_eq!(granted.assert_code(0).json()["changed"], json!(["McpServers.Mail.All"]));
    let revoked = home.run(&[&["grants", "revoke"][..], &mail].concat(), &[])?;
    assert_eq!(revoked.assert_code(0).json()["changed"], json!(["McpServers.Mail.All"]));
    home.run(&["grants", "grant", "Mail.Read Mail.Send"], &[])?.assert_code(1);
    home.run(&["grants", "grant", "Mail.Reed"], &[])?.assert_code(1);
    home.run(&["grants", "grant", "Mail.Read", "--resource", ID], &[])?.assert_code(4);

    let only = home.cloud.info().sponsor_id.clone();
    home.run(&["sponsors", "remove", &only], &[])?.assert_code(1);
    home.run(&["sponsors", "add", &only], &[])?.assert_code(0);
    home.run(&["sponsors", "add", "ada"], &[])?.assert_code(2);
    let listed = home.run(&["sponsors", "list", "--json"], &[])?.json();
    assert_eq!(listed["sponsors"][0]["id"], only.as_str(), "{listed}");
    assert_eq!(listed["sponsors"][0]["upn"], "ada@contoso.example", "{listed}");
    Ok(())
}

#[test]
fn what_graph_would_refuse_halfway_is_refused_before_anything_is_made() -> io::Result<()> {
    let home = administered(Options::default())?;
    let with = |upn: &str, sponsor: &str| {
        let arguments =
            ["provision", "--new", "--name", "demo", "--agent-user-upn", upn, "--sponsor", sponsor, "--yes"];
        home.run(&arguments, &[])
    };
    let (sponsor, agent) = (home.cloud.info().sponsor_id.clone(), home.cloud.info().agent_user_id.clone());
    home.cloud.clear_requests();
    for (upn, sponsor, word) in [
        ("demo@elsewhere.example", sponsor.as_str(), "not a domain of this tenant"),
        (UPN, ID, "has no user"),
        (UPN, &agent, "an agent's user"),
    ] {
        let refused = with(upn, sponsor)?;
        refused.assert_code(1);
        assert!(refused.stderr.contains(word), "{word}: {refused:?}");
    }
    assert_eq!(changes(&home.cloud.requests()), Vec::<String>::new());
    home.run(&["keystore", "get", "entrabot", "blueprint-private-key"], &[])?.assert_code(4);

    with(UPN, &sponsor)?.assert_code(0);
    home.cloud.clear_requests();
    let second = with("second@contoso.example", &sponsor)?;
    second.assert_code(1);
    assert!(second.stderr.contains("a user of another name"), "{second:?}");
    assert_eq!(changes(&home.cloud.requests()), Vec::<String>::new());

    // A reading that is not allowed is named like a change that is not.
    home.cloud
        .set_behaviour(|behaviour| behaviour.missing_permissions = vec!["Organization.Read.All".into()]);
    home.cloud.set_behaviour(|behaviour| {
        behaviour.missing_permissions.push("LicenseAssignment.ReadWrite.All".into());
    });
    let denied = with(UPN, &sponsor)?;
    denied.assert_code(6);
    assert!(denied.stderr.contains("Organization.Read.All"), "{denied:?}");
    Ok(())
}

#[test]
fn a_certificate_that_ends_soon_is_warned_about_by_doctor_and_server() -> io::Result<()> {
    let home = Home::ready(Options { certificate_days: Some(10), ..Options::default() })?;
    let checks = home.run(&["doctor", "--json"], &[])?.json()["checks"].clone();
    let check = checks.as_array().into_iter().flatten().find(|check| check["name"] == "certificate").cloned();
    let check = check.unwrap_or_default();
    assert_eq!(
        (&check["status"], &check["hint"]),
        (&json!("warn"), &json!("run entrabot cert rotate")),
        "{check}"
    );

    let client = home.serve()?;
    let begun = Instant::now();
    let warned = |log: &str| log.contains("certificate ends soon") && log.contains("entrabot cert rotate");
    while !warned(&fs::read_to_string(home.serve_log())?) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", fs::read_to_string(home.serve_log())?);
        std::thread::sleep(Duration::from_millis(50));
    }
    client.stop().map(drop)
}

#[test]
fn a_running_server_follows_a_rotation() -> io::Result<()> {
    let home = administered(Options::default())?;
    provision(&home)?.assert_code(0);
    expect_server_to_follow(&home, &["cert", "rotate", "--json"])
}
