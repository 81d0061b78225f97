//! What the types rule out. Each case under `must_not_compile/` is a tiny program that must be refused by the
//! compiler, with the error code and the words that its first lines name, and with no other error. So a case fails
//! when the code begins to compile, and also when it stops compiling for another reason.

mod rustc;

use std::fs;
use std::path::{Path, PathBuf};

use rustc::{Diagnostic, Workspace};

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/must_not_compile");
    let mut cases: Vec<_> = fs::read_dir(directory)
        .expect("the cases are there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    cases.sort();
    cases
}

/// The value of a header line `// key: value`.
fn header<'a>(source: &'a str, key: &str) -> Option<&'a str> {
    source.lines().find_map(|line| line.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(": "))
}

/// What is wrong with a case, if anything.
fn judge(source: &str, errors: &[Diagnostic]) -> Result<(), String> {
    let code = header(source, "error").ok_or("the case names no `// error: CODE`")?;
    let says = header(source, "says").ok_or("the case names no `// says: WORDS`")?;
    if errors.is_empty() {
        return Err("it compiles".into());
    }
    for error in errors {
        if error.code != code || !error.text.contains(says) {
            return Err(format!("expected {code} saying {says:?}, got {} {}", error.code, error.text));
        }
    }
    Ok(())
}

#[test]
fn every_case_is_refused_for_its_own_reason() {
    let workspace = Workspace::built();
    let cases = cases();
    assert!(cases.len() >= 12, "the cases were found: {cases:?}");
    let mut wrong = Vec::new();
    for case in cases {
        let source = fs::read_to_string(&case).expect("a case is text");
        let errors = match header(&source, "inside") {
            Some(package) => workspace.compile_inside(package, &source),
            None => workspace.compile(&source),
        };
        if let Err(reason) = judge(&source, &errors) {
            wrong.push(format!("{}: {reason}", case.file_name().expect("a name").display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The control: the same crates, used as they may be, compile by the same means.
#[test]
fn the_permitted_use_compiles() {
    let workspace = Workspace::built();
    let source = r#"
        use entrabot_a365::{ToolCall, Transport, Reply, CallError};
        use entrabot_audit::{AuditLog, Settled};
        use entrabot_identity::TokenSource;
        use entrabot_keystore::{EntryName, Keystore, KeystoreError, SecretBytes};

        pub async fn act(
            log: &AuditLog, transport: &Transport, tokens: &dyn TokenSource, call: ToolCall,
        ) -> Settled<Reply, CallError> {
            let permit = log.permit(call).expect("on record");
            transport.send(permit, tokens).await
        }
        pub fn read(keystore: &Keystore) -> Result<SecretBytes, KeystoreError> {
            keystore.get(&EntryName::blueprint_private_key())
        }
        fn main() {}
    "#;
    let errors = workspace.compile(source);
    assert!(errors.is_empty(), "{errors:#?}");
    let inside = "pub fn harmless() -> usize { 1 }";
    let errors = workspace.compile_inside("entrabot-a365", inside);
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn the_judge_refuses_a_case_that_compiles_or_fails_otherwise() {
    let source = "// error: E0451\n// says: is private\n";
    let error = |code: &str, text: &str| Diagnostic { code: code.into(), text: text.into() };
    assert!(judge(source, &[]).is_err(), "it compiles");
    assert!(judge(source, &[error("E0433", "cannot find type")]).is_err(), "another code");
    assert!(judge(source, &[error("E0451", "something else")]).is_err(), "other words");
    let both = [error("E0451", "field `x` is private"), error("E0432", "unresolved import")];
    assert!(judge(source, &both).is_err(), "a second error");
    assert!(judge(source, &both[..1]).is_ok());
}
