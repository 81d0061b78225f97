//! What an agent's token costs, beside PyPI's `msal` doing the same flow against the same stand-in; prints JSON, each
//! figure beside its target.
//!
//! `cargo run --release -p entrabot-tests --example bench_identity`
//!
//! Each cold token is taken by a client of its own, so that connection, TLS and the three requests are in it. Our CPU time is
//! that of the thread that the runtime runs on, with the signature (made on another thread) added; the stand-in runs on
//! others still, and msal in another process. The memory of a full cache is measured in a process of its own.

#![allow(clippy::print_stdout, reason = "the figures are the answer")]

#[path = "../tests/ready_agent/mod.rs"]
mod ready_agent;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use entrabot_identity::{Config, Resource, SignerSource, TokenError, TokenExchange, TokenSource};
use entrabot_keystore::SignatureAlgorithm;
use entrabot_tests::peers::{MSAL, Python};
use entrabot_tests::stand_in::{Options, RecordedRequest, StandIn};
use ready_agent::KeyFile;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const COLD: usize = 20;
const WARM: usize = 200_000;
const CALLERS: usize = 200;
const PAIRS: usize = 10_000;

/// Times [`MSAL`]'s flow.
const MSAL_TIMES: &str = r#"
import statistics, time
wall, cpu, warm = [], [], []
for _ in range(int(sys.argv[2])):
    start, busy = time.perf_counter(), time.process_time()
    user, _ = agent_user("https://graph.microsoft.com")
    wall.append(time.perf_counter() - start)
    cpu.append(time.process_time() - busy)
account = user.get_accounts()[0]
for _ in range(200):
    start = time.perf_counter()
    user.acquire_token_silent(["https://graph.microsoft.com/.default"], account=account)
    warm.append(time.perf_counter() - start)
print(json.dumps({"cold_ms": statistics.median(wall) * 1e3, "cold_cpu_ms": statistics.median(cpu) * 1e3,
                  "warm_us": statistics.median(warm) * 1e6}))
"#;

fn main() -> Result<(), Failure> {
    if let Some(key) = std::env::args().nth(1) {
        return memory(key.into());
    }
    let cloud = StandIn::start(Options::default());
    let info = cloud.info().clone();
    let config = Config::from_variables(ready_agent::settings(&info))?;
    let graph = Resource::graph(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let new = || ready_agent::exchange(KeyFile::of(&info), &config);

    let (mut cold, mut cold_cpu) = (Vec::new(), Vec::new());
    for _ in 0..COLD {
        let exchange = new();
        let (start, busy) = (Instant::now(), thread_cpu()?);
        runtime.block_on(exchange.token(&graph))?;
        cold.push(start.elapsed());
        cold_cpu.push(thread_cpu()?.saturating_sub(busy));
    }
    let for_cold = cloud.requests();
    cloud.clear_requests();

    let exchange = new();
    runtime.block_on(exchange.token(&graph))?;
    cloud.clear_requests();
    let warm = runtime.block_on(async {
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
    let for_warm = cloud.requests().len();

    let crowd = new();
    runtime.block_on(all_at_once(&crowd, std::slice::from_ref(&graph)));
    let for_crowd = by_hop(&cloud.requests());
    cloud.clear_requests();
    let two = [graph.clone(), Resource::from_scope(&format!("{}/.default", info.resource))?];
    runtime.block_on(all_at_once(&new(), &two));
    let for_two = by_hop(&cloud.requests());

    let signer = KeyFile::of(&info).signer()?;
    let signatures = (0..200).map(|_| {
        let start = Instant::now();
        signer.sign(SignatureAlgorithm::Ps256, &[0; 400]).map(|_| start.elapsed())
    });
    let signature = median(signatures.collect::<Result<Vec<_>, _>>()?);

    cloud.set_behaviour(|behaviour| behaviour.any_resource = true);
    let mut memory = Command::new(std::env::current_exe()?);
    memory.arg(&info.blueprint_key_pem).envs(ready_agent::settings(&info)).stderr(Stdio::inherit());
    let memory: Value = serde_json::from_slice(&memory.output()?.stdout)?;
    cloud.clear_requests();

    let ca = info.ca_bundle.display().to_string();
    let arguments = [serde_json::to_string(&info)?, COLD.to_string()];
    let text = Python::ready(&target())?.run(
        &[MSAL, MSAL_TIMES].concat(),
        &arguments.each_ref().map(String::as_str),
        &[("REQUESTS_CA_BUNDLE", &ca)],
    )?;
    let msal: Value = serde_json::from_str(&text)?;
    let cpu = ms(median(cold_cpu)) + ms(signature);
    let figures = json!({
        "cold": {
            "entrabot_ms": ms(median(cold)), "msal_ms": msal["cold_ms"],
            "entrabot_cpu_ms": cpu, "msal_cpu_ms": msal["cold_cpu_ms"],
            "cpu_of_msals": cpu / msal["cold_cpu_ms"].as_f64().unwrap_or(f64::NAN), "target_cpu_of_msals": 0.25,
            "requests_each": for_cold.len() / COLD, "target_requests_each": 3,
            "connections_each": connections(&for_cold) / COLD, "target_connections_each": 1,
        },
        "warm": {
            "entrabot_p50_us": ms(median(warm)) * 1e3, "target_p50_us": 1.0, "msal_p50_us": msal["warm_us"],
            "requests": for_warm, "target_requests": 0,
        },
        "crowd": {
            "callers": CALLERS, "posts_by_hop": for_crowd, "target_posts_by_hop": {"1": 1, "2": 1, "3": 1},
            "posts_by_hop_for_two_resources": for_two, "target_for_two_resources": {"1": 1, "2": 1, "3": 2},
        },
        "ps256_signature_ms": ms(signature), "target_ps256_signature_ms": 0.5,
        "memory": memory,
    });
    println!("{figures:#}");
    Ok(())
}

/// [`CALLERS`] callers of a cold cache, in turn for each resource.
async fn all_at_once(exchange: &TokenExchange, resources: &[Resource]) {
    let calls: Vec<_> = (0..CALLERS)
        .map(|number| {
            let (exchange, resource) = (exchange.clone(), resources[number % resources.len()].clone());
            tokio::spawn(async move { exchange.token(&resource).await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("a token");
    }
}

fn by_hop(requests: &[RecordedRequest]) -> BTreeMap<String, usize> {
    let mut posts = BTreeMap::new();
    for hop in requests.iter().filter_map(RecordedRequest::hop) {
        *posts.entry(hop.to_string()).or_default() += 1;
    }
    posts
}

fn connections(requests: &[RecordedRequest]) -> usize {
    requests.iter().map(|request| request.connection).collect::<BTreeSet<_>>().len()
}

/// Fills the cache of a process that does nothing else, and says what that took. The settings are the environment.
fn memory(key: PathBuf) -> Result<(), Failure> {
    let config = Config::from_variables(std::env::vars().filter(|(name, _)| name.starts_with("ENTRABOT_")))?;
    let thumbprint = config.blueprint_cert_thumbprint().ok_or("no thumbprint")?.as_str().to_owned();
    let exchange = ready_agent::exchange(KeyFile::new(key, thumbprint), &config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let resource =
        |number: usize| Resource::from_scope(&format!("api://00000000-0000-4000-8000-{number:012}/.default"));
    let token_bytes = runtime.block_on(async {
        let graph = Resource::graph(&config);
        Ok::<_, Failure>(exchange.token(&graph).await?.expose_for(&graph).map(str::len))
    })?;
    let fill = |from: usize, to: usize| {
        runtime.block_on(async {
            for number in from..to {
                exchange.token(&resource(number)?).await?;
            }
            Ok::<_, Failure>(())
        })
    };
    let empty = resident_kib()?;
    fill(0, PAIRS)?;
    let full = resident_kib()?;
    fill(PAIRS, PAIRS + PAIRS / 10)?;
    let beyond = resident_kib()?;
    let figures = json!({
        "pairs": PAIRS, "token_bytes": token_bytes, "resident_kib_before": empty, "resident_kib_full": full,
        "bytes_each": (full - empty) * 1024 / PAIRS, "resident_kib_after_a_tenth_more": beyond,
    });
    println!("{figures}");
    Ok(())
}

fn resident_kib() -> Result<usize, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
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
