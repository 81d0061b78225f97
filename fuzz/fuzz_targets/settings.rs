//! Whatever the settings hold, no Graph or Work IQ base outside Microsoft's clouds goes with an authority inside them.
#![no_main]

use entrabot_identity::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (authority, graph, a365) = input;
    let config = Config::from_variables([
        ("ENTRABOT_AUTHORITY_BASE", authority),
        ("ENTRABOT_GRAPH_BASE", graph),
        ("ENTRABOT_A365_BASE", a365),
    ]);
    match config {
        Ok(config) => {
            let foreign = config.foreign_bases();
            let inside = config.authority_base().is_microsoft();
            assert!(!inside || foreign.is_empty());
            for base in [config.authority_base().as_str(), config.graph_base().as_str(), config.a365_base()] {
                assert!(base.starts_with("https://") && !base.ends_with('/') && !base.contains(['@', '?', '#', '\\']));
                assert!(base.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
        Err(error) => assert!(error.setting().starts_with("ENTRABOT_")),
    }
});
