//! One envelope has exactly one end, and nothing invisible inside.
#![no_main]

use entrabot_a365::envelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (source, body) = input;
    let wrapped = envelope(source, body);
    let inner = wrapped.strip_suffix("</external_content>").expect("it ends so");
    assert!(inner.starts_with("<external_content source=\""));
    let flat: String = inner.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    for (at, tag) in flat.match_indices("</external_content") {
        // `</external_contents>` and the like are other words.
        let next = flat[at + tag.len()..].chars().next();
        assert!(next.is_some_and(|c| c.is_alphanumeric() || c == '_'), "{wrapped}");
    }
    assert!(!wrapped.contains(['\0', '\u{200b}', '\u{202e}', '\u{feff}', '\u{e0041}']));
    let attribute = &inner["<external_content source=\"".len()..];
    let end = attribute.find('"').expect("the attribute ends");
    assert!(!attribute[..end].contains(['<', '>']));
});
