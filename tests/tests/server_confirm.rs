//! A person is asked before the agent writes, and their word counts: real client, real server, both revisions.

mod journey;

use std::io;

use entrabot_tests::mcp::{Person, Revision};
use entrabot_tests::stand_in::{Options, Role};
use journey::{Home, files_with, spans};
use serde_json::json;

const REVISIONS: [Revision; 2] = [Revision::Handshake, Revision::Stateless];

#[test]
fn a_declined_write_reaches_nobody_and_leaves_no_record_of_an_act() -> io::Result<()> {
    for revision in REVISIONS {
        let mut home = Home::ready(Options::default())?;
        home.set("ENTRABOT_CONFIRM_WRITES", "ask");
        home.set("ENTRABOT_LOG_LEVEL", "TRACE");
        let person = Person::who_declines();
        let client = home.serve_with(person.clone(), revision)?;
        let document = json!({"file_name": "Kündigung.docx", "content_html": "<p>PLANTED content</p>"});
        let answer = client.call("create_word_document", &document)?;
        assert!(answer.is_error, "{revision:?}: {answer:?}");
        assert_eq!(answer.value()["error_type"], "ConfirmationDeclinedError", "{revision:?}: {answer:?}");
        assert!(answer.meta.is_null(), "{revision:?}: there is no record to point to: {answer:?}");

        let upn = &home.cloud.info().agent_upn;
        assert_eq!(
            person.asked(),
            [format!(
                "Create \"Kündigung.docx\" in the OneDrive of agent {upn}?\n\nIts content, as HTML:\n> \
                 <p>PLANTED content</p>"
            )],
            "{revision:?}"
        );
        // What is no write goes through unasked.
        let who = client.call("whoami", &json!({}))?;
        assert!(!who.is_error, "{revision:?}: {who:?}");
        assert_eq!(person.asked().len(), 1, "{revision:?}");
        assert!(client.stop()?.success());
        let sent = home.cloud.requests().iter().filter(|request| request.host == Role::A365).count();
        assert_eq!(sent, 0, "{revision:?}");
        assert!(home.a365_records()?.is_empty(), "{revision:?}");
        for planted in ["PLANTED", "Kündigung"] {
            let told = files_with(home.scratch(), planted.as_bytes())?;
            assert!(told.is_empty(), "{revision:?}: {told:?}");
        }
    }
    Ok(())
}

#[test]
fn an_accepted_write_is_made_once_and_is_on_record_like_any_other() -> io::Result<()> {
    for revision in REVISIONS {
        let mut home = Home::ready(Options::default())?;
        home.set("ENTRABOT_CONFIRM_WRITES", "always");
        let person = Person::who_accepts();
        let client = home.serve_with(person.clone(), revision)?;
        let document = json!({"file_name": "Plan.docx", "content_html": "<p>Plan</p>"});
        let created = client.call("create_word_document", &document)?;
        assert!(!created.is_error, "{revision:?}: {created:?}");
        let url = created.value()["url"].as_str().unwrap_or_default().to_owned();
        assert!(home.cloud.document_path(&url).is_some(), "{revision:?}: the document exists");
        let read = client.call("read_word_document", &json!({"url": url}))?;
        assert!(!read.is_error, "{revision:?}: {read:?}");
        assert_eq!(person.asked().len(), 1, "{revision:?}: reading is not asked about");
        assert!(client.stop()?.success());
        let acts = home.a365_records()?;
        assert_eq!(spans(&acts), vec![vec!["pending".to_owned(), "success".to_owned()]; 2], "{revision:?}");
        for act in &acts {
            let metadata = act["metadata"].as_object().expect("metadata");
            assert!(metadata.keys().eq(["server", "tool"]), "{revision:?}: {act}");
        }
    }
    Ok(())
}

#[test]
fn without_anybody_to_ask_always_refuses_and_ask_goes_on() -> io::Result<()> {
    for revision in REVISIONS {
        let mut home = Home::ready(Options::default())?;
        let document = json!({"file_name": "Plan.docx", "content_html": "<p>Plan</p>"});
        home.set("ENTRABOT_CONFIRM_WRITES", "always");
        let client = home.serve_with(Person::default(), revision)?;
        let refused = client.call("create_word_document", &document)?;
        assert_eq!(
            refused.value()["error_type"],
            "ConfirmationUnavailableError",
            "{revision:?}: {refused:?}"
        );
        assert!(client.stop()?.success());
        assert!(home.a365_records()?.is_empty(), "{revision:?}");

        home.set("ENTRABOT_CONFIRM_WRITES", "ask");
        let client = home.serve_with(Person::default(), revision)?;
        let created = client.call("create_word_document", &document)?;
        assert!(!created.is_error, "{revision:?}: {created:?}");
        assert!(client.stop()?.success());
    }
    Ok(())
}
