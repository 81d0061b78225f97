//! Reads settings and says who would act. No network, no keyring: the default features have neither TLS nor OAuth.

use std::sync::Arc;

use entrabot_identity::{Attribute, AttributionChain, Config, Session};

fn main() {
    let settings = [
        ("ENTRABOT_TENANT_ID", "11111111-1111-1111-1111-111111111111"),
        ("ENTRABOT_AGENT_ID", "22222222-2222-2222-2222-222222222222"),
    ];
    let config = Config::from_variables(settings).expect("sound settings");
    let chain = AttributionChain::new(&config, Arc::new(Session::new()));
    let who = chain.attribute().expect("the agent id is set");
    assert_eq!(who.agent_id(), "22222222-2222-2222-2222-222222222222");
    println!("{} acts, known by {}", who.agent_id(), who.via().as_str());

    let refused = Config::from_variables([("ENTRABOT_AGENT_ID", "not an id")]).expect_err("refused by name");
    assert!(refused.to_string().contains("ENTRABOT_AGENT_ID"));
}
