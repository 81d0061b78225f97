//! What an agent's token costs, beside PyPI's `msal` doing the same flow against the same stand-in; prints JSON.
//!
//! `cargo run --release -p entrabot-tests --example bench_identity`
//!
//! Each cold token is taken by a client of its own, so that connection, TLS and the three requests are in it. Our CPU time is
//! that of the thread that the runtime runs on, with the signature (made on another thread) added; the stand-in runs on
//! others still, and msal in another process.

#![allow(clippy::print_stdout, reason = "the figures are the answer")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use entrabot_identity::{Config, Egress, Resource, SignerSource, TokenError, TokenExchange, TokenSource};
use entrabot_keystore::{CertificateThumbprint, PemSigner, SecretBytes, SignatureAlgorithm, Signer};
use entrabot_tests::peers::Python;
use entrabot_tests::stand_in::{Options, StandIn};
use serde_json::{Value, json};

const COLD: usize = 20;
const WARM: usize = 200_000;

const MSAL: &str = r#"
import json, statistics, sys, time, msal
info = json.loads(sys.argv[1])
authority = f"{info['authority_base']}/{info['tenant_id']}"
app = lambda client, credential, **more: msal.ConfidentialClientApplication(
    client, authority=authority, instance_discovery=False, client_credential=credential, **more)
exchange = ["api://AzureADTokenExchange/.default"]
key, certificate = open(info["blueprint_key_pem"]).read(), open(info["blueprint_cert_pem"]).read()
def token():
    t1 = app(info["blueprint_app_id"], {"private_key": key, "public_certificate": certificate}).acquire_token_for_client(
        exchange, fmi_path=info["agent_id"])
    t2 = app(info["agent_id"], {"client_assertion": t1["access_token"]}).acquire_token_for_client(exchange)
    user = app(info["agent_id"], {"client_assertion": t1["access_token"]}, client_capabilities=["cp1"])
    result = user.acquire_token_by_user_federated_identity_credential(
        ["https://graph.microsoft.com/.default"], t2["access_token"], user_object_id=info["agent_user_id"])
    assert "access_token" in result, result
    return user
wall, cpu = [], []
for _ in range(int(sys.argv[2])):
    start, busy = time.perf_counter(), time.process_time()
    user = token()
    wall.append(time.perf_counter() - start)
    cpu.append(time.process_time() - busy)
warm = []
account = user.get_accounts()[0]
for _ in range(200):
    start = time.perf_counter()
    user.acquire_token_silent(["https://graph.microsoft.com/.default"], account=account)
    warm.append(time.perf_counter() - start)
print(json.dumps({"cold_ms": statistics.median(wall) * 1e3, "cold_cpu_ms": statistics.median(cpu) * 1e3,
                  "warm_us": statistics.median(warm) * 1e6}))
"#;

#[derive(Debug)]
struct ThrowAwayKey(PathBuf, CertificateThumbprint);

impl SignerSource for ThrowAwayKey {
    fn signer(&self) -> Result<Box<dyn Signer>, TokenError> {
        let pem = std::fs::read(&self.0)
            .map_err(|error| TokenError::AgentIdNotAvailable { reason: error.to_string() })?;
        Ok(Box::new(PemSigner::from_pkcs8_pem(&SecretBytes::new(pem), self.1.clone())?))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cloud = StandIn::start(Options::default());
    let info = cloud.info().clone();
    let ca = info.ca_bundle.display().to_string();
    let config = Config::from_variables([
        ("ENTRABOT_AUTHORITY_BASE", info.authority_base.as_str()),
        ("ENTRABOT_CA_BUNDLE", &ca),
        ("ENTRABOT_TENANT_ID", &info.tenant_id),
        ("ENTRABOT_BLUEPRINT_APP_ID", &info.blueprint_app_id),
        ("ENTRABOT_AGENT_ID", &info.agent_id),
        ("ENTRABOT_AGENT_USER_ID", &info.agent_user_id),
    ])?;
    let thumbprint = CertificateThumbprint::parse(&info.blueprint_cert_thumbprint)?;
    let key = Arc::new(ThrowAwayKey(info.blueprint_key_pem.clone(), thumbprint));
    let egress = Egress::from_config(&config)?;
    let graph = Resource::graph(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    let (mut cold, mut cold_cpu) = (Vec::new(), Vec::new());
    for _ in 0..COLD {
        let exchange = TokenExchange::from_config(&config, Arc::clone(&key) as _, &egress)?;
        let (start, busy) = (Instant::now(), thread_cpu()?);
        runtime.block_on(exchange.token(&graph))?;
        cold.push(start.elapsed());
        cold_cpu.push(thread_cpu()?.saturating_sub(busy));
    }
    let requests_for_one = cloud.requests().len() / COLD;

    let exchange = TokenExchange::from_config(&config, Arc::clone(&key) as _, &egress)?;
    let warm = runtime.block_on(async {
        exchange.token(&graph).await?;
        let mut warm = Vec::with_capacity(WARM / 100);
        for _ in 0..WARM / 100 {
            let start = Instant::now();
            for _ in 0..100 {
                exchange.token(&graph).await?;
            }
            warm.push(start.elapsed() / 100);
        }
        Ok::<_, TokenError>(warm)
    })?;

    cloud.clear_requests();
    let crowd = TokenExchange::from_config(&config, Arc::clone(&key) as _, &egress)?;
    runtime.block_on(async {
        let calls: Vec<_> = (0..200)
            .map(|_| {
                let (exchange, graph) = (crowd.clone(), graph.clone());
                tokio::spawn(async move { exchange.token(&graph).await.is_ok() })
            })
            .collect();
        for call in calls {
            assert!(call.await.expect("no panic"));
        }
    });
    let requests_for_crowd = cloud.requests().len();

    let signer = key.signer()?;
    let signatures = (0..200).map(|_| {
        let start = Instant::now();
        signer.sign(SignatureAlgorithm::Ps256, &[0; 400]).map(|_| start.elapsed())
    });
    let signatures: Vec<Duration> = signatures.collect::<Result<_, _>>()?;

    let signature = median(signatures);

    let python = Python::ready(&target())?;
    let text = python.run(
        MSAL,
        &[&serde_json::to_string(&info)?, &COLD.to_string()],
        &[("REQUESTS_CA_BUNDLE", &info.ca_bundle.display().to_string())],
    )?;
    let msal: Value = serde_json::from_str(&text)?;
    let figures = json!({
        "cold": {
            "entrabot_ms": ms(median(cold)), "entrabot_cpu_ms": ms(median(cold_cpu)) + ms(signature),
            "requests": requests_for_one, "msal_ms": msal["cold_ms"], "msal_cpu_ms": msal["cold_cpu_ms"],
        },
        "warm": { "entrabot_p50_us": ms(median(warm)) * 1e3, "msal_p50_us": msal["warm_us"] },
        "crowd": { "callers": 200, "requests": requests_for_crowd },
        "ps256_signature_ms": ms(signature),
    });
    println!("{figures:#}");
    Ok(())
}

/// This thread's own time: the runtime, TLS and the hops run on it, the stand-in and the signature do not.
fn thread_cpu() -> std::io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = stat.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(Duration::from_nanos(nanoseconds))
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Where the tests put other people's clients.
fn target() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    here.ancestors().nth(3).unwrap_or(Path::new("target")).join("tmp")
}
