//! A key in a TPM, on a real software TPM.
#![cfg(all(target_os = "linux", feature = "tpm2", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::time::Instant;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use entrabot_keystore::software_tpm::SoftwareTpm;
use entrabot_keystore::{
    CertificateThumbprint, Diagnose as _, SignError, SignatureAlgorithm, Signer as _, Tpm, TpmErrorKind,
    TpmKey,
};

/// A chip of its own, and where its state is; `None` where there is no program for it.
fn chip() -> Option<(SoftwareTpm, tempfile::TempDir)> {
    let directory = tempfile::tempdir().unwrap();
    SoftwareTpm::is_installed().then(|| (SoftwareTpm::start(directory.path()).unwrap(), directory))
}

fn tpm(chip: &SoftwareTpm) -> Tpm {
    Tpm::at(chip.socket())
}

fn thumbprint() -> CertificateThumbprint {
    CertificateThumbprint::of_der(b"certificate")
}

#[test]
fn a_key_is_made_in_the_chip_and_signs_there_so_that_others_can_verify() {
    let Some((chip, _state)) = chip() else { return };
    let key = tpm(&chip).create_key().unwrap();
    let again = TpmKey::from_pem(&key.to_pem()).unwrap();
    assert_eq!(again, key);
    let signer = tpm(&chip).signer(again, thumbprint());
    let started = Instant::now();
    // As often as it takes to fill the chip's memory, if anything stayed in it.
    for _ in 0..8 {
        let signature = signer.sign(SignatureAlgorithm::Rs256, b"input").unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
        public.verify(b"input", &signature).unwrap();
        public.verify(b"other", &signature).unwrap_err();
    }
    println!("{:?} for a signature", started.elapsed() / 8);
    // A salt that is not the one of JWS is an error here and not at Entra.
    match signer.sign(SignatureAlgorithm::Ps256, b"input") {
        Ok(_) | Err(SignError::UnsupportedAlgorithm(SignatureAlgorithm::Ps256)) => {}
        Err(other) => panic!("{other}"),
    }
    assert!(signer.sign(SignatureAlgorithm::Es256, b"input").is_err());
}

#[test]
fn a_key_is_of_no_use_to_another_chip() {
    let (Some((one, _one)), Some((other, _other))) = (chip(), chip()) else { return };
    let key = tpm(&one).create_key().unwrap();
    let error = tpm(&other).signer(key, thumbprint()).sign(SignatureAlgorithm::Rs256, b"input").unwrap_err();
    let SignError::Tpm(tpm) = &error else { panic!("{error}") };
    assert!(matches!(tpm.kind(), TpmErrorKind::Refused(_)), "{tpm}");
    assert!(error.hint().unwrap().contains("another chip's"), "{error}");
}

#[test]
fn what_is_no_chip_is_told_and_not_waited_for() {
    let missing = Tpm::at("/nonexistent/tpm").create_key().unwrap_err();
    assert!(missing.hint().unwrap().contains("ENTRABOT_TPM_DEVICE"), "{missing}");
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Tpm::at(file.path()).create_key().unwrap_err().kind(), TpmErrorKind::Io(_)));
    assert!(TpmKey::from_pem("-----BEGIN PRIVATE KEY-----\nplanted\n-----END PRIVATE KEY-----").is_err());
}
