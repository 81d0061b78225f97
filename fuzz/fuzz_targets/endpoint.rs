//! Whatever passes the allowlist goes to Work IQ's own host and nowhere else.
#![no_main]

use entrabot_a365::{EgressAllowlist, Resource};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|url: &str| {
    let resource = Resource::from_scope("ea9ffc3e-8a23-4a7d-836d-234d7c7565c1/.default").expect("a scope");
    if let Ok(endpoint) = EgressAllowlist::microsoft().endpoint(url, resource) {
        assert_eq!(endpoint.host(), "agent365.svc.cloud.microsoft");
        let (scheme, rest) = url.split_at(8);
        assert!(scheme.eq_ignore_ascii_case("https://"));
        let authority = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
        assert!(["agent365.svc.cloud.microsoft", "agent365.svc.cloud.microsoft:443"].contains(&authority.as_str()));
    }
});
