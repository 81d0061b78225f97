//! Every setting there is, by name, so that `config show` can list them and a misspelt one is noticed.

/// What may be shown of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// The value itself.
    Value,
    /// The value without the user part of the URL.
    UrlWithoutUser,
    /// Only that it is set.
    Presence,
}

pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) show: Show,
}

const fn value(name: &'static str) -> Known {
    Known { name, show: Show::Value }
}

/// In the order `config show` prints them.
pub(super) const KNOWN: &[Known] = &[
    value("ENTRABOT_TENANT_ID"),
    value("ENTRABOT_BLUEPRINT_APP_ID"),
    value("ENTRABOT_BLUEPRINT_OBJECT_ID"),
    value("ENTRABOT_BLUEPRINT_CERT_THUMBPRINT"),
    value("ENTRABOT_BLUEPRINT_CERT_SHA1"),
    value("ENTRABOT_BLUEPRINT_KSP"),
    value("ENTRABOT_BLUEPRINT_CREDENTIAL"),
    value("ENTRABOT_TPM_DEVICE"),
    value("ENTRABOT_KEY_VAULT_KEY"),
    value("ENTRABOT_KEY_VAULT_TOKEN"),
    value("ENTRABOT_ASSERTION_ALGORITHM"),
    value("ENTRABOT_AGENT_ID"),
    value("ENTRABOT_AGENT_OBJECT_ID"),
    value("ENTRABOT_AGENT_USER_ID"),
    value("ENTRABOT_AGENT_UPN"),
    value("ENTRABOT_AGENT_USER_UPN"),
    value("ENTRABOT_CLIENT_ID"),
    value("ENTRABOT_PROVISIONER_CLIENT_ID"),
    value("ENTRABOT_HUMAN_USER_ID"),
    value("ENTRABOT_HUMAN_USER_IDS"),
    value("ENTRABOT_HUMAN_UPN"),
    value("ENTRABOT_HUMAN_UPNS"),
    value("ENTRABOT_HUMAN_USER_MAILS"),
    value("ENTRABOT_HUMAN_USER_TENANT_IDS"),
    value("ENTRABOT_HUMAN_USER_TYPES"),
    value("ENTRABOT_MODE"),
    value("ENTRABOT_ALLOW_DELEGATED_FALLBACK"),
    value("ENTRABOT_SKIP_PROVISIONING"),
    value("ENTRABOT_CLOUD"),
    value("ENTRABOT_AUTHORITY"),
    value("ENTRABOT_AUTHORITY_BASE"),
    value("ENTRABOT_GRAPH_BASE"),
    value("ENTRABOT_A365_BASE"),
    value("ENTRABOT_A365_TOOLING_MANIFEST"),
    value("ENTRABOT_CA_BUNDLE"),
    value("SSL_CERT_FILE"),
    Known { name: "ENTRABOT_PROXY", show: Show::UrlWithoutUser },
    value("ENTRABOT_KEYRING_BACKEND"),
    value("PYTHON_KEYRING_BACKEND"),
    value("ENTRABOT_KEYRING_BACKEND_ALLOWLIST"),
    value("ENTRABOT_AUDIT_DIR"),
    value("ENTRABOT_AUDIT_SIGNING"),
    value("ENTRABOT_AUDIT_OUTCOME_SYNC"),
    value("ENTRABOT_DATA_DIR"),
    value("ENTRABOT_LOG_DIR"),
    value("ENTRABOT_LOG_LEVEL"),
    value("ENTRABOT_CONFIRM_WRITES"),
    value("ENTRABOT_HTTP_BEARER_FILE"),
    value("ENTRABOT_XPIA_WRAP_ENABLE"),
    value("ENTRABOT_KEEP_MEMORY_LOCAL"),
    Known { name: "ENTRABOT_BLOB_ENDPOINT", show: Show::UrlWithoutUser },
    value("ENTRABOT_BLOB_CONTAINER"),
    value("ENTRABOT_SKIP_PLACEHOLDER_CHECK"),
    value("ENTRABOT_SKIP_COMMITMENT_CHECK"),
    value("ENTRABOT_PLACEHOLDER_GRACE_SECONDS"),
    value("ENTRABOT_FILES_DENIED_SITES"),
    value("ENTRABOT_FILES_MAX_TEXT_BYTES"),
    value("ENTRABOT_FILES_MAX_PDF_BYTES"),
    value("ENTRABOT_ENV_FILE"),
    Known { name: "PERSONA_SATI_MCP_URL", show: Show::UrlWithoutUser },
    Known { name: "PERSONA_SATI_MCP_TOKEN_COMMAND", show: Show::Presence },
    value("WAIT_TOOL_POLL_INTERVAL_S"),
    value("WAIT_TOOL_HEARTBEAT_S"),
    value("EFFERENT_COPY_ENABLE"),
    value("EFFERENT_COPY_DISABLE"),
    value("EFFERENT_COPY_SINKS"),
    value("NO_COLOR"),
    // OpenTelemetry's own.
    value("OTEL_SDK_DISABLED"),
    value("OTEL_SERVICE_NAME"),
    value("OTEL_RESOURCE_ATTRIBUTES"),
    value("OTEL_TRACES_EXPORTER"),
    value("OTEL_METRICS_EXPORTER"),
    value("OTEL_BSP_SCHEDULE_DELAY"),
    value("OTEL_METRIC_EXPORT_INTERVAL"),
    Known { name: "OTEL_EXPORTER_OTLP_ENDPOINT", show: Show::UrlWithoutUser },
    Known { name: "OTEL_EXPORTER_OTLP_HEADERS", show: Show::Presence },
    value("OTEL_EXPORTER_OTLP_PROTOCOL"),
    value("OTEL_EXPORTER_OTLP_TIMEOUT"),
    Known { name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", show: Show::UrlWithoutUser },
    Known { name: "OTEL_EXPORTER_OTLP_TRACES_HEADERS", show: Show::Presence },
    value("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    value("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"),
    Known { name: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", show: Show::UrlWithoutUser },
    Known { name: "OTEL_EXPORTER_OTLP_METRICS_HEADERS", show: Show::Presence },
    value("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"),
    value("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT"),
    Known { name: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", show: Show::UrlWithoutUser },
    Known { name: "OTEL_EXPORTER_OTLP_LOGS_HEADERS", show: Show::Presence },
    value("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"),
    value("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT"),
    // What a platform sets for the workloads on it.
    value("AZURE_CLIENT_ID"),
    value("AZURE_TENANT_ID"),
    value("AZURE_FEDERATED_TOKEN_FILE"),
    value("AZURE_ACCESS_TOKEN_FILE"),
    Known { name: "AZURE_KUBERNETES_TOKEN_PROXY", show: Show::UrlWithoutUser },
    value("AZURE_KUBERNETES_SNI_NAME"),
    value("AZURE_KUBERNETES_CA_FILE"),
    Known { name: "AZURE_KUBERNETES_CA_DATA", show: Show::Presence },
    Known { name: "AZURE_POD_IDENTITY_AUTHORITY_HOST", show: Show::UrlWithoutUser },
    Known { name: "IDENTITY_ENDPOINT", show: Show::UrlWithoutUser },
    Known { name: "IDENTITY_HEADER", show: Show::Presence },
    value("IDENTITY_SERVER_THUMBPRINT"),
    value("IMDS_ENDPOINT"),
    Known { name: "MSI_ENDPOINT", show: Show::UrlWithoutUser },
    Known { name: "MSI_SECRET", show: Show::Presence },
];

/// Not settings: where the defaults of the directories come from.
pub(super) const PLACES: &[&str] = &["HOME", "USERPROFILE", "LOCALAPPDATA"];

/// Variables that steer other HTTP clients, and must not steer this one.
pub(super) const FOREIGN_PROXIES: &[&str] =
    &["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

pub(super) fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The known `ENTRABOT_*` name that a misspelt one was most likely meant to be.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    KNOWN
        .iter()
        .filter(|known| known.name.starts_with("ENTRABOT_"))
        .map(|known| (distance(name, known.name), known.name))
        .min()
        .filter(|(distance, _)| *distance <= 6)
        .map(|(_, name)| name)
}

/// Levenshtein's distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_matched_with_the_nearest_known_one() {
        assert_eq!(nearest("ENTRABOT_TENANTID"), Some("ENTRABOT_TENANT_ID"));
        assert_eq!(nearest("ENTRABOT_AGENT_USERID"), Some("ENTRABOT_AGENT_USER_ID"));
        assert_eq!(nearest("ENTRABOT_SOMETHING_ELSE_ALTOGETHER"), None);
    }

    #[test]
    fn every_name_is_listed_once() {
        for (index, known) in KNOWN.iter().enumerate() {
            assert!(KNOWN[index + 1..].iter().all(|other| other.name != known.name), "{}", known.name);
        }
    }
}
