use super::*;
use crate::Diagnose;

const GUID: &str = "6D1F2A3B-0000-4000-8000-00000000000A";

fn config<const N: usize>(variables: [(&str, &str); N]) -> Result<Config, ConfigError> {
    Config::from_variables(variables)
}

fn refused<const N: usize>(variables: [(&str, &str); N]) -> ConfigError {
    config(variables).expect_err("must be refused")
}

#[test]
fn nothing_set_is_the_public_cloud() {
    let config = config([]).unwrap();
    assert_eq!(config.authority_base().as_str(), "https://login.microsoftonline.com");
    assert_eq!(config.graph_base().as_str(), "https://graph.microsoft.com");
    assert_eq!(config.a365_base(), "https://agent365.svc.cloud.microsoft/agents/servers");
    assert_eq!(config.cloud().exchange_audience(), "api://AzureADTokenExchange");
    assert!(!config.a365_base_is_custom());
    assert!(config.foreign_bases().is_empty());
    assert!(config.xpia_wrap());
    assert!(config.warnings().is_empty());
    assert_eq!(config.agent_id(), None);
}

#[test]
fn the_cloud_sets_every_base_and_the_exchange_audience() {
    for (cloud, authority, graph, exchange) in [
        (
            "usgov",
            "https://login.microsoftonline.us",
            "https://graph.microsoft.us",
            "api://AzureADTokenExchangeUSGov",
        ),
        (
            "usgov-dod",
            "https://login.microsoftonline.us",
            "https://dod-graph.microsoft.us",
            "api://AzureADTokenExchangeUSGov",
        ),
        (
            "china",
            "https://login.partner.microsoftonline.cn",
            "https://microsoftgraph.chinacloudapi.cn",
            "api://AzureADTokenExchangeChina",
        ),
    ] {
        let config = config([("ENTRABOT_CLOUD", cloud)]).unwrap();
        assert_eq!(config.authority_base().as_str(), authority);
        assert_eq!(config.graph_base().as_str(), graph);
        assert_eq!(config.cloud().exchange_audience(), exchange);
        assert!(config.foreign_bases().is_empty());
    }
}

#[test]
fn a_malformed_setting_is_an_error_that_names_it() {
    for (name, value) in [
        ("ENTRABOT_TENANT_ID", "a/b"),
        ("ENTRABOT_BLUEPRINT_APP_ID", "not-a-guid"),
        ("ENTRABOT_AGENT_ID", "{6d1f2a3b-0000-4000-8000-00000000000a}"),
        ("ENTRABOT_AGENT_USER_ID", "6d1f2a3b00004000800000000000000a"),
        ("ENTRABOT_CLIENT_ID", "x"),
        ("ENTRABOT_PROVISIONER_CLIENT_ID", "x"),
        ("ENTRABOT_CLOUD", "Public"),
        ("ENTRABOT_AUTHORITY_BASE", "http://login.microsoftonline.com"),
        ("ENTRABOT_GRAPH_BASE", "graph.microsoft.com"),
        ("ENTRABOT_MODE", "robot"),
        ("ENTRABOT_LOG_LEVEL", "LOUD"),
        ("ENTRABOT_XPIA_WRAP_ENABLE", "maybe"),
        ("ENTRABOT_SKIP_PROVISIONING", "2"),
        ("ENTRABOT_PLACEHOLDER_GRACE_SECONDS", "5 min"),
        ("ENTRABOT_AUDIT_DIR", "relative/path"),
        ("ENTRABOT_AUDIT_SIGNING", "file:relative"),
        ("ENTRABOT_AUDIT_OUTCOME_SYNC", "never"),
        ("ENTRABOT_CONFIRM_WRITES", "sometimes"),
        ("ENTRABOT_BLUEPRINT_CREDENTIAL", "password"),
        ("ENTRABOT_ASSERTION_ALGORITHM", "none"),
        ("ENTRABOT_PROXY", "socks5://localhost"),
        ("ENTRABOT_AGENT_UPN", "a\u{7}b@example.com"),
    ] {
        let error = refused([(name, value)]);
        assert_eq!(error.setting(), name);
        assert!(error.to_string().starts_with(name), "{error}");
        assert_eq!(error.error_type(), "ConfigError");
        assert!(error.hint().is_some());
    }
}

#[test]
fn an_empty_value_counts_as_absent() {
    let config = config([("ENTRABOT_AGENT_ID", ""), ("ENTRABOT_CLOUD", "  ")]).unwrap();
    assert_eq!(config.agent_id(), None);
    assert_eq!(config.origin("ENTRABOT_CLOUD"), Origin::Default);
}

#[test]
fn the_removed_mode_names_its_successor() {
    let error = refused([("ENTRABOT_MODE", "bot")]);
    assert_eq!(error.error_type(), "RemovedModeError");
    assert!(error.to_string().contains("agent_user"));
}

#[test]
fn half_a_blob_store_names_the_missing_half() {
    let error = refused([("ENTRABOT_BLOB_ENDPOINT", "https://x.blob.core.windows.net")]);
    assert_eq!(
        (error.error_type(), error.setting()),
        ("BackendMisconfiguredError", "ENTRABOT_BLOB_CONTAINER")
    );
    let error = refused([("ENTRABOT_BLOB_CONTAINER", "memory")]);
    assert_eq!(error.setting(), "ENTRABOT_BLOB_ENDPOINT");
}

#[test]
fn a_real_token_can_never_be_sent_to_a_made_up_host() {
    for name in ["ENTRABOT_GRAPH_BASE", "ENTRABOT_A365_BASE"] {
        assert_eq!(refused([(name, "https://localhost:1")]).setting(), name);
        assert_eq!(refused([(name, "https://graph.microsoft.com.evil.example")]).setting(), name);
        assert!(
            config([(name, "https://localhost:1"), ("ENTRABOT_AUTHORITY_BASE", "https://localhost:2")])
                .is_ok()
        );
        assert_eq!(
            refused([
                (name, "https://localhost:1"),
                ("ENTRABOT_AUTHORITY_BASE", "https://login.windows.net")
            ])
            .setting(),
            name
        );
    }
}

#[test]
fn bases_that_are_not_microsofts_are_named() {
    let config = config([
        ("ENTRABOT_AUTHORITY_BASE", "https://localhost:1"),
        ("ENTRABOT_GRAPH_BASE", "https://localhost:2/"),
        ("ENTRABOT_A365_BASE", "https://localhost:3/agents/servers"),
    ])
    .unwrap();
    let names: Vec<_> = config.foreign_bases().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["ENTRABOT_AUTHORITY_BASE", "ENTRABOT_GRAPH_BASE", "ENTRABOT_A365_BASE"]);
    assert_eq!(config.graph_base().as_str(), "https://localhost:2");
    assert!(config.a365_base_is_custom());
}

#[test]
fn the_originals_authority_setting_is_an_alias_and_loses_to_the_new_name() {
    let alias = ("ENTRABOT_AUTHORITY", "https://login.microsoftonline.us/common");
    assert_eq!(config([alias]).unwrap().authority_base().as_str(), "https://login.microsoftonline.us");
    let both = config([alias, ("ENTRABOT_AUTHORITY_BASE", "https://login.microsoftonline.com")]).unwrap();
    assert_eq!(both.authority_base().as_str(), "https://login.microsoftonline.com");
}

#[test]
fn ids_have_one_spelling() {
    let config = config([("ENTRABOT_AGENT_ID", GUID)]).unwrap();
    assert_eq!(config.agent_id().unwrap().as_str(), GUID.to_lowercase());
    assert_eq!(config.agent_object_id(), Some(GUID.to_lowercase().as_str()));
}

#[test]
fn an_unknown_name_is_a_warning_with_the_nearest_known_one() {
    let config = config([("ENTRABOT_TENANTID", "x"), ("UNRELATED", "y")]).unwrap();
    assert_eq!(config.warnings(), ["ENTRABOT_TENANTID is not a setting; is ENTRABOT_TENANT_ID meant?"]);
}

#[test]
fn the_environments_proxy_is_ignored_with_one_warning() {
    let config = config([("HTTPS_PROXY", "http://proxy:1"), ("http_proxy", "http://proxy:1")]).unwrap();
    assert_eq!(config.proxy(), None);
    assert_eq!(config.warnings().len(), 1);
    assert!(config.warnings()[0].contains("ENTRABOT_PROXY"));
}

#[test]
fn the_environment_wins_over_the_file_and_each_origin_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings");
    std::fs::write(
        &path,
        format!("# ours\nexport ENTRABOT_AGENT_ID='{GUID}'\nENTRABOT_TENANT_ID=from-file\nnonsense\n"),
    )
    .unwrap();
    let path_text = path.to_str().unwrap();
    let config = config([("ENTRABOT_ENV_FILE", path_text), ("ENTRABOT_TENANT_ID", "from-env")]).unwrap();
    assert_eq!(config.tenant_id().unwrap().as_str(), "from-env");
    assert_eq!(config.agent_id().unwrap().as_str(), GUID.to_lowercase());
    assert_eq!(config.origin("ENTRABOT_TENANT_ID"), Origin::Environment);
    assert_eq!(config.origin("ENTRABOT_AGENT_ID"), Origin::File(path.clone()));
    assert_eq!(config.warnings().len(), 1);
    assert!(config.warnings()[0].contains("line 4"), "{:?}", config.warnings());
}

#[test]
fn a_dot_env_of_the_current_directory_is_never_read() {
    let config = config([("HOME", "/nonexistent/home")]).unwrap();
    assert_eq!(config.env_file(), Some(Path::new("/nonexistent/home/.entrabot/.env")));
    assert_eq!(config.audit_dir(), Path::new("/nonexistent/home/.entrabot/audit"));
}

#[test]
fn shown_settings_keep_credentials_back() {
    let config = config([
        ("ENTRABOT_PROXY", "http://user:planted-secret@proxy.example:3128"),
        ("PERSONA_SATI_MCP_TOKEN_COMMAND", "echo planted-secret"),
        ("ENTRABOT_BLOB_ENDPOINT", "https://x.example/?sig=planted-secret"),
        ("ENTRABOT_BLOB_CONTAINER", "c"),
    ])
    .unwrap();
    let shown = format!("{:?}", config.settings());
    assert!(!shown.contains("planted-secret"), "{shown}");
    assert!(shown.contains("http://****@proxy.example:3128"), "{shown}");
    assert!(!format!("{config:?}").contains("planted-secret"));
}

#[test]
fn blanks_are_dropped_and_the_plural_wins() {
    let config = config([
        ("ENTRABOT_HUMAN_UPN", "x@example.com"),
        ("ENTRABOT_HUMAN_UPNS", "a@example.com, ,b@example.com"),
    ])
    .unwrap();
    assert_eq!(config.human_upns(), ["a@example.com", "b@example.com"]);
}
