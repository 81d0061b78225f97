//! Checkpoints and trees, checked by other people's implementations: C2SP signed notes (`signed_note`), tlog checkpoints
//! and the tree of Go's checksum database (`tlog_tiles`), and Certificate Transparency's (`ct-merkle`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write as _;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Call, Home, entry};
use ct_merkle::{RootHash, mem_backed_tree::MemoryBackedTree};
use entrabot_audit::{AuditLog, SigningPolicy, VerifyingKey, check_notes, generate_signing_key};
use sha2::{Digest as _, Sha256};
use signed_note::{Note, StandardSigner, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::{Checkpoint, Hash, HashReader, stored_hash_index, stored_hashes, tree_hash};

fn sealing(home: &Home) -> AuditLog {
    let pem = home.dir.path().join("key.pem");
    std::fs::write(&pem, generate_signing_key().unwrap().expose()).unwrap();
    reopen(home)
}

fn reopen(home: &Home) -> AuditLog {
    let policy = SigningPolicy::File(home.dir.path().join("key.pem"));
    AuditLog::open(home.options().with_signing(policy), common::who()).unwrap()
}

/// A P-256 key as the signed-note specification has it (type 2), read from its published line.
struct P256 {
    name: String,
    id: u32,
    spki: Vec<u8>,
}

impl P256 {
    fn parse(vkey: &str) -> Self {
        let mut parts = vkey.trim().splitn(3, '+');
        let (name, id, key) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let key = STANDARD.decode(key).unwrap();
        assert_eq!(key[0], 2);
        let spki = key[1..].to_vec();
        let id = u32::from_str_radix(id, 16).unwrap();
        assert_eq!(id.to_be_bytes(), Sha256::digest(&spki)[..4]);
        Self { name: name.to_owned(), id, spki }
    }
}

impl Verifier for P256 {
    fn name(&self) -> &str {
        &self.name
    }
    fn key_id(&self) -> u32 {
        self.id
    }
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        // A key on P-256 in this form ends with its uncompressed point.
        let point = &self.spki[self.spki.len() - 65..];
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
    }
}

/// The hashes that Go's checksum database would store.
#[derive(Default)]
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

#[test]
fn checkpoints_of_every_size_are_what_others_compute_and_accept() {
    const SIZES: u64 = 40;
    let home = Home::new();
    let log = sealing(&home);
    let notes: Vec<String> = (0..SIZES)
        .map(|number| {
            log.log_event(&entry(usize::try_from(number).unwrap())).unwrap();
            log.checkpoint().unwrap().unwrap().note.unwrap()
        })
        .collect();
    let vkey = std::fs::read_to_string(home.data().join("audit-vkeys")).unwrap();
    let known = VerifierList::new(vec![Box::new(P256::parse(&vkey))]);
    let log_text = std::fs::read(home.day_file()).unwrap();
    let lines: Vec<&[u8]> = log_text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len() as u64, SIZES);

    let mut stored = Stored::default();
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut before: Option<RootHash<Sha256>> = None;
    for (index, (note, line)) in notes.iter().zip(&lines).enumerate() {
        let size = index as u64 + 1;
        // Signed notes: read, verified and written again, byte by byte the same.
        let parsed = Note::from_bytes(note.as_bytes()).unwrap();
        let (verified, unverified) = parsed.verify(&known).unwrap();
        assert_eq!((verified.len(), unverified.len()), (1, 0));
        assert_eq!(parsed.to_bytes(), note.as_bytes());
        // A tlog checkpoint with one extension line.
        let checkpoint = Checkpoint::from_reader(&mut parsed.text(), false).unwrap();
        assert_eq!(checkpoint.size(), size);
        assert!(checkpoint.extension().starts_with("chain ") && checkpoint.extension().len() == 71);
        // The root, by the tiled log's arithmetic and by Certificate Transparency's.
        assert_eq!(tlog_tiles::stored_hash_count(size - 1), stored.0.len() as u64);
        assert_eq!(stored_hash_index(0, size - 1), stored.0.len() as u64);
        let new = stored_hashes(size - 1, line, &stored).unwrap();
        stored.0.extend(new);
        assert_eq!(tree_hash(size, &stored).unwrap(), *checkpoint.hash(), "size {size}");
        tree.push(line.to_vec());
        assert_eq!(tree.root().as_bytes().as_slice(), checkpoint.hash().0, "size {size}");
        // One event, and the log as it was before, are proved against our root alone.
        let ours = RootHash::<Sha256>::new(checkpoint.hash().0.into(), size);
        ours.verify_inclusion(&line.to_vec(), size - 1, &tree.prove_inclusion(index)).unwrap();
        if let Some(before) = before {
            ours.verify_consistency(&before, &tree.prove_consistency(1)).unwrap();
        }
        before = Some(ours);
    }
    // A byte of the text, and the others refuse as we do.
    let forged = format!("{}\n", notes[6].replace("\n7\n", "\n8\n"));
    let theirs = Note::from_bytes(forged.strip_suffix('\n').unwrap().as_bytes()).unwrap();
    assert!(theirs.verify(&known).is_err());
    assert!(
        check_notes(forged.as_bytes(), &VerifyingKey::parse(vkey.trim()).unwrap()).is_ok_and(|(_, ok)| !ok)
    );
}

#[test]
fn a_note_that_others_signed_is_read_and_verified() {
    // The key pair of the documentation of Go's note package.
    let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let secret = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let signer = StandardSigner::new(secret).unwrap();
    let text = "example.com/log\n7\nq8aBpJpaKBlDDfFLuZTIOgI0QOi5XkHnyHVfMgbmiqQ=\n";
    let mut note = Note::new(text.as_bytes(), &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let ours = VerifyingKey::parse(public).unwrap();
    assert_eq!(ours.to_string(), public);
    assert!(StandardVerifier::new(&ours.to_string()).is_ok());
    let whole = format!("{}\n", String::from_utf8(note.to_bytes()).unwrap());
    assert_eq!(check_notes(whole.as_bytes(), &ours), Ok((1, true)));
    let changed = whole.replace("log\n7", "log\n8");
    assert_eq!(check_notes(changed.as_bytes(), &ours), Ok((1, false)));
}

#[test]
fn a_foreign_and_an_abandoned_line_count_as_leaves_like_all_others() {
    let home = Home::new();
    let log = sealing(&home);
    drop(log.permit(Call).unwrap());
    log.log_event(&entry(0)).unwrap();
    drop(log);
    let mut file = std::fs::OpenOptions::new().append(true).open(home.day_file()).unwrap();
    file.write_all(
        concat!(
            r#"{"event_id":"f","timestamp":"t","agent_id":"a","action":"x","resource":"y","outcome":"o","#,
            r#""attribution_type":"agent","metadata":{}}"#,
            "\n"
        )
        .as_bytes(),
    )
    .unwrap();
    let log = reopen(&home);
    log.log_event(&entry(1)).unwrap();
    let note = log.checkpoint().unwrap().unwrap().note.unwrap();
    let checkpoint = Checkpoint::from_reader(&mut note.as_bytes(), false).unwrap();
    let log_text = std::fs::read(home.day_file()).unwrap();
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for line in log_text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n') {
        tree.push(line.to_vec());
    }
    assert_eq!(checkpoint.size(), tree.len());
    assert_eq!(tree.root().as_bytes().as_slice(), checkpoint.hash().0);
}
