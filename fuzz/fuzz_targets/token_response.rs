//! Whatever a token endpoint answers, it comes to a token that fits a header, or to an error that shows nothing of it.
#![no_main]

use entrabot_identity::{ClaimsChallenge, Diagnose, Hop, parse_token_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    match parse_token_response(Hop::AgentUser, status, None, body) {
        Ok(response) => {
            assert_eq!(status, 200);
            assert!(response.lifetime().is_none_or(|life| !life.is_zero() && life.as_secs() <= 86_400));
        }
        Err(error) => {
            assert!(error.hint().is_some());
            let shown = format!("{error} {error:?}");
            assert!(shown.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            assert!(shown.len() < 1024);
        }
    }
    if let Ok(text) = std::str::from_utf8(body) {
        let _challenge = ClaimsChallenge::parse(text);
    }
});
