//! What the documents tell a reader to type works: the tutorial is walked from its first line to its last, and every
//! other command is one that `entrabot` takes.

mod journey;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use entrabot_tests::stand_in::Options;
use journey::provisioning::{UPN, administered};
use journey::{Home, files_with};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

/// The commands of a document's console blocks, in order, lines that go on put together, without comments.
fn commands(document: &Path) -> Vec<String> {
    let text = fs::read_to_string(document).expect("a document");
    let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks
        .map(|block| block.replace("\\\n", " "))
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| line.strip_prefix("$ ").map(str::to_owned))
        .map(|line| line.split(" # ").next().unwrap_or_default().trim().to_owned())
        .collect()
}

/// A line of a document in this home, as a shell runs it.
fn typed(home: &Home, line: &str, variables: &[(&str, &str)]) -> io::Result<Output> {
    let entrabot = home.command(&[]);
    let directory = Path::new(entrabot.get_program()).parent().expect("a directory").to_owned();
    let mut path = vec![directory];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut shell = Command::new("bash");
    shell.args(["-c", line]).env_clear().current_dir(home.scratch());
    shell.envs(entrabot.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.envs(variables.iter().copied()).env("HOME", home.scratch());
    shell.env("PATH", std::env::join_paths(path).expect("a path"));
    shell.output()
}

#[test]
fn the_tutorial_leads_to_a_document_its_record_and_back() -> io::Result<()> {
    let home = administered(Options { without_work_iq: true, ..Options::default() })?;
    let sponsor = home.cloud.info().sponsor_id.clone();
    let commands = commands(&root().join("docs/tutorial.md"));
    assert!(commands.len() >= 15, "{commands:?}");
    for line in &commands {
        let output = typed(&home, line, &[("AGENT_UPN", UPN), ("SPONSOR", &sponsor)])?;
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "$ {line}\n{told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!told.is_empty(), "$ {line}: says nothing");
        // What the page promises beside the exit code.
        match line.as_str() {
            "entrabot" => assert!(told.contains("next: entrabot provision"), "{told}"),
            "entrabot audit tail -n 4" => {
                assert!(
                    told.contains("a365.mcp_WordServer.CreateDocument") && told.contains("pending"),
                    "{told}"
                );
            }
            "entrabot audit verify" => assert!(told.contains("intact (anchored level)"), "{told}"),
            _ => {}
        }
    }
    let report = fs::read_to_string(home.scratch().join("report.html"))?;
    assert!(report.contains("The log is intact, signed and anchored") && report.contains("CreateDocument"));
    // "Look for your heading or the file's name": neither is on record, nor on the page.
    for needle in ["Written by an agent", "first.docx"] {
        assert_eq!(files_with(&home.state(), needle.as_bytes())?, Vec::<PathBuf>::new(), "{needle}");
        assert!(!report.contains(needle), "{needle}");
    }
    assert!(!home.scratch().join(".claude.json").exists(), "a dry run changes nothing");
    Ok(())
}

#[test]
fn the_provisioner_is_made_as_its_page_says() -> io::Result<()> {
    let mut home = Home::bare(Options::default())?;
    home.unset("ENTRABOT_PROVISIONER_CLIENT_ID");
    let sponsor = home.cloud.info().sponsor_id.clone();
    let commands = commands(&root().join("docs/provisioner-app.md"));
    assert!(commands.len() >= 4, "{commands:?}");
    for line in &commands {
        let output = typed(&home, line, &[("AGENT_UPN", UPN), ("SPONSOR", &sponsor)])?;
        let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "$ {line}\n{told}{said}");
        // Without a desktop a code takes the browser's place.
        assert_eq!(line.contains("provisioner create"), said.contains("enter the code"), "$ {line}\n{said}");
    }
    Ok(())
}

#[test]
fn every_command_in_the_documents_is_one_that_entrabot_takes() -> io::Result<()> {
    let home = Home::bare(Options::default())?;
    let mut documents = vec![root().join("README.md")];
    for entry in fs::read_dir(root().join("docs"))? {
        documents.push(entry?.path());
    }
    for layer in ["keystore", "identity", "audit", "a365", "server"] {
        documents.push(root().join("crates").join(layer).join("README.md"));
    }
    let mut seen = 0;
    for document in
        documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    {
        let ours = commands(document).into_iter();
        for line in ours.filter(|line| line.split(' ').next() == Some("entrabot") && !line.contains('|')) {
            // Arguments are read before the help is shown, so a wrong one is found.
            let output = typed(&home, &format!("{line} --help"), &[("ORIGINAL", "a directory")])?;
            let document = document.display();
            assert!(
                output.status.success(),
                "{document}: $ {line}\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen} commands");
    let wrong = typed(&home, "entrabot audit verify --no-such-flag --help", &[])?;
    assert!(!wrong.status.success(), "a wrong flag is found");
    Ok(())
}
